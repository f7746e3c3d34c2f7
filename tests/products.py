"""Watches what torch multiplies."""

from torch import bfloat16
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "linear", "matmul", "attention", "mkldnn")


class NoBfloat16(TorchDispatchMode):
    """Raises where one of the factors of a product is bfloat16, forward and backward."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        factors = [each for each in args if getattr(each, "dtype", None) is bfloat16]
        if factors and any(product in name for product in PRODUCTS):
            raise AssertionError(f"{name} multiplies in bfloat16")
        return function(*args, **(kwargs or {}))

"""A device that is not there, to see on any machine what code written for a GPU would do on one.

Its tensors are the host's, wrapped: whatever is computed with them is computed on the host, by the
same kernels. But as on CUDA they do not mix with the host's own, but for single numbers, and
whatever makes the host wait for the device is noted: values that are read, sizes that depend on
values, and copies that block. As Metal, it has no float64.

Simplifications: what a kernel of CUDA does inside is not seen; ``torch.inference_mode`` becomes
``no_grad``; of autocast there is nothing. Importing this registers the device for good, with what
torch has for backends in Python, so it is for a process of its own.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils import _device, backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from transformers import PreTrainedModel

NAME = "pretend"
_ROOT = Path(__file__).parents[2]
_ROOMS = tuple(str(_ROOT / room) for room in ("agents", "reward_models", "textgym"))
_COPIES = ("aten::_to_copy", "aten::copy_", "aten::to")  # the last in inference mode
_LOOKUPS = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
_READS = (
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::bincount",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::unique_consecutive",
    "aten::unique_dim",
)


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend(NAME, _Backend())


class Wait(NamedTuple):
    """What made the host wait, and where it was asked for."""

    operator: str
    place: str


class _There(torch.Tensor):
    """A tensor of the device; ``inner`` has its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError(f"{function} on a device that is switched off")

    def __deepcopy__(self, memo):
        twin = _There(self.inner.clone()).requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):
            twin._is_param = True  # what torch knows a parameter by
        return memo.setdefault(id(self), twin)

    def tolist(self):
        return self.cpu().tolist()

    def data_ptr(self):
        return self.inner.data_ptr()

    def storage(self):
        return self.inner.storage()

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, value):
        torch.Tensor.data.__set__(self, value)
        self.inner = value.inner


class _Generator(torch.Generator):
    """One of the host's that says it is the device's."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self._device = torch.device(device)

    @property
    def device(self):
        return self._device


class PretendDevice(TorchDispatchMode):
    """Switches the device on, for the length of a ``with`` block.

    Attributes:
        waits: What the host has waited for, in order.
    """

    def __init__(self):
        super().__init__()
        self.waits = []

    def __enter__(self):
        _device._device_constructors()  # remembers for good what is in torch when first called
        names = ("Generator", "as_tensor", "inference_mode", "tensor")
        self._kept = {name: getattr(torch, name) for name in names}
        self._send_model = PreTrainedModel.to
        PreTrainedModel.to = _and_tie(PreTrainedModel.to)
        torch.Generator, torch.inference_mode = _Generator, torch.no_grad
        torch.tensor, torch.as_tensor = map(_made_here_and_sent, (torch.tensor, torch.as_tensor))
        return super().__enter__()

    def __exit__(self, *error):
        for name, value in self._kept.items():
            setattr(torch, name, value)
        PreTrainedModel.to = self._send_model
        return super().__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, function._schema.name
        leaves = tree_leaves((args, kwargs))
        targets = [each.type == NAME for each in leaves if isinstance(each, torch.device)]
        there = [each for each in leaves if isinstance(each, _There)]
        if not there and not any(targets):
            return function(*args, **kwargs)
        if name in _COPIES:
            from_there = isinstance(args[1 if name == "aten::copy_" else 0], _There)
            to_there = (targets or [from_there])[0]
            if name == "aten::copy_":
                to_there = isinstance(args[0], _There)
            blocks = from_there or not (kwargs.get("non_blocking") or args[2:] == (True,))
            if from_there != to_there and blocks and args[0].numel():
                self._note(name)
        else:
            to_there = True
            self._check(name, args, leaves)
            if name in _READS or (name == "aten::repeat_interleave" and _size_is_open(kwargs)):
                self._note(name)
        wrapped = {id(each.inner): each for each in there}
        result = function(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if not to_there:
            return args[0] if name == "aten::copy_" else result
        wide = [getattr(each, "dtype", None) == torch.float64 for each in tree_leaves(result)]
        if any(wide):
            raise TypeError(f"{name}: the device has no float64")
        return tree_map(lambda each: _outer(each, wrapped), result)

    def _check(self, name, args, leaves):
        """Refuses tensors of the host's; some operators copy single numbers, or look values up."""
        foreign = [
            each
            for each in leaves
            if isinstance(each, torch.Tensor) and not isinstance(each, _There)
        ]
        indices = tree_leaves(args[1]) if name in _LOOKUPS else []
        for each in foreign:
            if each.dim() and not any(each is index for index in indices):
                raise RuntimeError(f"{name} of tensors of the host's and the device's")
        of_host = any(each is index for each in foreign for index in indices)
        masks = [each for each in indices if getattr(each, "dtype", None) == torch.bool]
        fills = name != "aten::index" and len(indices) == 1 and masks and args[2].numel() == 1
        if of_host or (masks and not fills) or (foreign and name == "aten::where"):
            self._note(name)

    def _note(self, name):
        frame = sys._getframe()  # traceback would read every file, for seconds
        while frame.f_back is not None and not frame.f_code.co_filename.startswith(_ROOMS):
            frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        place = file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else file
        self.waits.append(Wait(name, f"{place}:{frame.f_lineno}"))


def _made_here_and_sent(make):
    """As torch makes tensors of Python's values for a GPU, which no mode is shown."""

    def made(data, *, dtype=None, device=None):
        if isinstance(data, _There):
            return data.to(device=device or data.device, dtype=dtype or data.dtype)
        if device is None or torch.device(device).type != NAME:
            return make(data, dtype=dtype, device=device)
        return make(data, dtype=dtype, device="cpu").to(device)

    return made


def _and_tie(send):
    """A model's parameters are exchanged for the device's one by one, and would come apart."""

    def sent(model, *args, **kwargs):
        send(model, *args, **kwargs)
        model.tie_weights()
        return model

    return sent


def _size_is_open(kwargs):
    return kwargs.get("output_size") is None


def _inner(leaf):
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    return leaf.inner if isinstance(leaf, _There) else leaf


def _outer(leaf, wrapped):
    """The tensor around a result, which may be one of those that were written to."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return wrapped[id(leaf)] if id(leaf) in wrapped else _There(leaf)

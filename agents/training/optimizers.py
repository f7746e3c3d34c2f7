"""Adam for a policy; Muon for a model's inner matrices and AdamW for all else, behind one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from transformers import PreTrainedModel

    from agents.config import LearnerConfig
    from agents.models.policy import TransformerPolicy

__all__ = ["Muon", "MuonWithAdamW", "adam", "share_of_rate", "usual_rate"]

_MATRIX = 2  # dimensions
_MOMENTUM = 0.95  # torch's and Jordan's
_STEPS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)
_LEAST_NORM = 1e-7


def adam(policy: TransformerPolicy, config: LearnerConfig) -> torch.optim.AdamW:
    """Makes the optimiser of what learns in a policy.

    Args:
        policy: Whose frozen parameters are left out.
        config: Its averages and its decay.

    Returns:
        AdamW, which is Adam without a decay; its first group is what acts, its second what gives
        values alone. Their step sizes are set before each iteration.
    """
    valuing = {*policy.value_parameters()}
    learns = [p for p in policy.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learns if p not in valuing]},
        {"params": [p for p in learns if p in valuing]},
    ]
    betas = config.adam_beta1, config.adam_beta2
    decay = config.weight_decay
    return torch.optim.AdamW(groups, betas=betas, eps=1e-5, weight_decay=decay)


def share_of_rate(config: LearnerConfig, iteration: int) -> float:
    """How much of the highest step size an iteration has: it falls in equal steps.

    While it warms up, it is that times a share that rises in equal steps, to 1 at the last of them.

    Args:
        config: Of the run.
        iteration: Its number, from 0.
    """
    falling = 1 - (1 - config.final_rate) * min(1.0, iteration / config.iterations)
    return falling * min(1.0, (iteration + 1) / max(1, config.warmup))


def usual_rate(policy: torch.nn.Module) -> float:
    """The step size of Adam that is usual for so many weights as learn, by interpolation.

    Three points are known and joined by straight lines of logarithms, the last of which goes on: it
    is about 1e-6 for 8 billion. With adapters, they alone count.

    Sources: our own quickstart for 4 million; Ziegler et al. 2019 for GPT-2's 124 million; TRL's
    examples of PPO for a billion.

    Args:
        policy: What learns; frozen weights do not count.
    """
    sizes, rates = np.log([4e6, 124e6, 1e9]), np.log([4e-4, 1e-5, 3e-6])
    weights = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    size = np.log(max(weights, 4e6))
    if size <= sizes[-1]:
        return float(np.exp(np.interp(size, sizes, rates)))
    slope = (rates[-1] - rates[-2]) / (sizes[-1] - sizes[-2])
    return float(np.exp(rates[-1] + slope * (size - sizes[-1])))


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Brings the singular values of a matrix near 1, and leaves its singular vectors.

    Five steps of the Newton-Schulz iteration of Jordan et al. (2024), whose coefficients bring
    singular values from 0.01 of the largest upwards to between 0.5 and 1.5. Each step is a
    polynomial of the Gram matrix, which is as small as the matrix's smaller side: all five are
    multiplied with each other first, and once with the matrix.

    Args:
        matrix: ``(a, b)``; what is computed has its dtype.

    Returns:
        Another one of the same shape and dtype.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=_LEAST_NORM)
    gram = wide @ wide.T
    product = step = _quintic(gram)
    for _ in range(_STEPS - 1):
        gram = step @ gram @ step
        step = _quintic(gram)
        product = step @ product
    near_one: torch.Tensor = product @ wide
    return near_one if matrix.shape[0] <= matrix.shape[1] else near_one.T


def _quintic(gram: torch.Tensor) -> torch.Tensor:
    """What a step multiplies the matrix with, ``a + b G + c G^2``."""
    a, b, c = _QUINTIC
    step: torch.Tensor = torch.addmm(gram, gram, gram, beta=b, alpha=c)
    step.diagonal().add_(a)
    return step


class Muon(torch.optim.Muon):
    """``torch.optim.Muon`` in the precision of the run.

    torch's multiplies in bfloat16 whatever the weights are, which a processor without such products
    does number by number in one thread, for several times as long as all else in a training step.
    """

    def __init__(
        self, matrices: list[nn.Parameter], *, rate: float, weight_decay: float, bf16: bool
    ) -> None:
        """Has torch's momentum, coefficients and scale by shape.

        Args:
            matrices: Float32, each of two dimensions.
            rate: Step size.
            weight_decay: The share, times the step size, by which a step shrinks a matrix.
            bf16: Whether to multiply in bfloat16.
        """
        super().__init__(
            matrices,
            lr=rate,
            weight_decay=weight_decay,
            momentum=_MOMENTUM,
            adjust_lr_fn="original",
        )
        self._bf16 = bf16

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override] # torch's returns a loss
        """Makes one step; a closure is not supported."""
        if self._bf16:
            super().step(closure)  # type: ignore[no-untyped-call] # torch's decorator hides the type
            return
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, matrix.grad, group["lr"], group["weight_decay"])

    def _move(
        self, matrix: torch.Tensor, gradient: torch.Tensor, rate: float, decay: float
    ) -> None:
        """Along the momentum with Nesterov's look ahead, as torch's does."""
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - _MOMENTUM)
        update = orthogonalised(gradient.lerp(momentum, _MOMENTUM))
        rows, columns = matrix.shape
        matrix.mul_(1 - rate * decay)
        matrix.add_(update, alpha=-rate * max(1.0, rows / columns) ** 0.5)


class MuonWithAdamW(torch.optim.Optimizer):
    """Updates hidden matrices along orthogonalised momentum, the other parameters by AdamW.

    Muon is Jordan et al. (2024). At a few million parameters it reaches
    the perplexity of AdamW in well under half the steps. Embeddings, the output layer, gains and
    biases are not what it is made for.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        matrix_rate: float,
        rate: float,
        weight_decay: float,
        bf16: bool,
    ) -> None:
        """Sorts the parameters of ``model``.

        Args:
            model: What to train; tied parameters count once.
            matrix_rate: Step size of Muon.
            rate: Step size of AdamW.
            weight_decay: Of the matrices; what AdamW updates does not decay.
            bf16: Whether Muon multiplies in bfloat16.
        """
        embeddings: list[nn.Module] = [model.get_input_embeddings()]
        output = model.get_output_embeddings()  # type: ignore[no-untyped-call] # transformers' is
        if output is not None:
            embeddings.append(output)
        outer = {id(p) for module in embeddings for p in module.parameters()}
        trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        # GPT-2's learned positions are a matrix by shape only.
        matrices = [
            p for n, p in trainable if p.ndim == _MATRIX and id(p) not in outer and ".wpe." not in n
        ]
        inner = {id(p) for p in matrices}
        rest = [p for _, p in trainable if id(p) not in inner]
        self.muon = Muon(matrices, rate=matrix_rate, weight_decay=weight_decay, bf16=bf16)
        self.adamw = torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
        super().__init__([*matrices, *rest], {})
        # Schedulers write into these dictionaries, so they must be the very ones that are read.
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override] # torch's returns a loss
        """Makes one step with each of the two; a closure is not supported.

        Raises:
            ValueError: If a closure is given.
        """
        if closure is not None:
            raise ValueError("MuonWithAdamW evaluates no closure: compute gradients before step()")
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Both optimisers' states."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores both, and keeps the groups shared."""
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]

"""Optimisers by name, and their state as named tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.registry import OPTIMISERS
from gannet.core.schedule import Constant, Schedule, schedule_from


class Recipe(ABC):
    """How to make an optimiser: a learning-rate schedule and the algorithm's own constants."""

    lr: Schedule
    factor: float = 1.0
    """What the rate is multiplied by, for lazy penalties."""

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer: ...


def check_betas(betas: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= b < 1 for b in betas):
        raise UsageError(f"betas must lie in [0, 1), got {list(betas)}.")
    return betas


@OPTIMISERS.register("adam")
class Adam(Recipe):
    """Adam (Kingma & Ba 2015), fused.

    `lazy` = k, the interval of a lazy penalty, multiplies lr by k/(k+1) and raises betas to that power (Karras et al.
    2020, appendix B).
    """

    def __init__(
        self,
        *,
        lr: Schedule = Constant(2e-4),  # noqa: B008  frozen
        betas: tuple[float, float] = (0.5, 0.999),
        eps: float = 1e-8,
        lazy: int | None = None,
    ):
        self.betas, self.eps, self.lazy = check_betas(betas), eps, lazy
        self.lr = schedule_from(lr)
        self.factor = 1.0 if lazy is None else lazy / (lazy + 1)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        betas = (self.betas[0] ** self.factor, self.betas[1] ** self.factor)
        return torch.optim.Adam(parameters, lr=1.0, betas=betas, eps=self.eps, fused=True)


@OPTIMISERS.register("adamw")
class AdamW(Recipe):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    def __init__(
        self,
        *,
        lr: Schedule = Constant(2e-4),  # noqa: B008  frozen
        betas: tuple[float, float] = (0.0, 0.99),
        eps: float = 1e-8,
        decay: float = 0.01,
    ):
        self.lr, self.betas, self.eps, self.decay = schedule_from(lr), check_betas(betas), eps, decay

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters, lr=1.0, betas=self.betas, eps=self.eps, weight_decay=self.decay, fused=True
        )


@OPTIMISERS.register("rmsprop")
class RMSProp(Recipe):
    """RMSProp (Hinton 2012), the optimiser of the original WGAN."""

    def __init__(self, *, lr: Schedule = Constant(5e-5), decay: float = 0.99, eps: float = 1e-8):  # noqa: B008  frozen
        self.lr, self.decay, self.eps = schedule_from(lr), decay, eps

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(parameters, lr=1.0, alpha=self.decay, eps=self.eps)


@OPTIMISERS.register("sgd")
class SGD(Recipe):
    """Stochastic gradient descent, with momentum where asked."""

    def __init__(self, *, lr: Schedule = Constant(0.01), momentum: float = 0.0):  # noqa: B008  frozen
        self.lr, self.momentum = schedule_from(lr), momentum

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1.0, momentum=self.momentum, fused=True)


def state_tensors(optimiser: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """The optimiser's state as `parameter-name/key` tensors; `names` are in the order of its parameters."""
    parameters = optimiser.param_groups[0]["params"]
    return {
        f"{name}/{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in zip(names, parameters, strict=True)
        for key, value in optimiser.state.get(parameter, {}).items()
        if value is not None
    }


def restore(optimiser: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]) -> None:
    """Undo `state_tensors`, bit for bit."""
    found: dict[str, dict[str, Any]] = {}
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        found.setdefault(name, {})[key] = value
    optimiser.state.clear()
    for name, parameter in zip(names, optimiser.param_groups[0]["params"], strict=True):
        if name in found:
            fused = bool(optimiser.defaults.get("fused"))
            optimiser.state[parameter] = {k: _placed(k, v, parameter, fused) for k, v in found[name].items()}


def _placed(key: str, value: Tensor, parameter: nn.Parameter, fused: bool) -> Tensor:
    """A copy of a stored tensor as the optimiser keeps it beside `parameter`."""
    if key == "step":
        return value.clone().to(parameter.device) if fused else value.clone()
    # In another memory layout than its parameter's, kernels would round differently than before the restart.
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)

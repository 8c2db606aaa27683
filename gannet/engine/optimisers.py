"""Optimisers by name, and their state as named tensors."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.registry import OPTIMISERS
from gannet.core.schedule import Constant, Schedule, not_negative
from gannet.core.spec import render


class Recipe(ABC):
    """How to make an optimiser: a learning-rate schedule and the algorithm's own constants."""

    lr: Schedule
    factor: float = 1.0
    """What the rate is multiplied by, for lazy penalties."""

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer: ...


def check_shares(**options: float | tuple[float, float]) -> None:
    """Raise `UsageError` for the first option outside [0, 1): each is the part of a moving mean that is kept."""
    for name, value in options.items():
        for share in value if isinstance(value, tuple) else (value,):
            if not 0 <= share < 1:
                raise UsageError(f"{name}={render(value)} is out of range. Allowed: 0 up to but not including 1.")


def check_eps(eps: float) -> float:
    if not 0 < eps < math.inf:
        raise UsageError(f"eps={eps:g} is out of range. It keeps a division from 0: above 0, usually 1e-8.")
    return eps


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
        if lazy is not None and lazy < 1:
            raise UsageError(f"lazy={lazy} is out of range. It is the `every` of a lazy penalty: 1 or more, or none.")
        check_shares(betas=betas)
        self.betas, self.eps, self.lazy = betas, check_eps(eps), lazy
        self.lr = not_negative(lr, "lr")
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
        if not 0 <= decay < math.inf:
            raise UsageError(f"decay={decay:g} is out of range. Weights shrink by lr · decay a step: 0 or more.")
        check_shares(betas=betas)
        self.lr, self.betas, self.eps, self.decay = not_negative(lr, "lr"), betas, check_eps(eps), decay

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters, lr=1.0, betas=self.betas, eps=self.eps, weight_decay=self.decay, fused=True
        )


@OPTIMISERS.register("rmsprop")
class RMSProp(Recipe):
    """RMSProp (Hinton 2012), the optimiser of the original WGAN."""

    def __init__(self, *, lr: Schedule = Constant(5e-5), decay: float = 0.99, eps: float = 1e-8):  # noqa: B008  frozen
        check_shares(decay=decay)
        self.lr, self.decay, self.eps = not_negative(lr, "lr"), decay, check_eps(eps)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(parameters, lr=1.0, alpha=self.decay, eps=self.eps)


@OPTIMISERS.register("sgd")
class SGD(Recipe):
    """Stochastic gradient descent, with momentum where asked."""

    def __init__(self, *, lr: Schedule = Constant(0.01), momentum: float = 0.0):  # noqa: B008  frozen
        check_shares(momentum=momentum)
        self.lr, self.momentum = not_negative(lr, "lr"), momentum

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

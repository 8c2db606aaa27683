"""The moving average of the networks that are sampled."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gannet.core.parts import Advancing


class Ema:
    """θ̄ ← β·θ̄ + (1 − β)·θ with β = ½^(samples/half-life).

    Floating buffers (batch norm's statistics) are averaged like parameters, counters are copied. With `ramp` the
    half-life is at most that share of the samples seen, so the first weights are soon forgotten. A `halflife` of None
    keeps an exact copy.

    A module that advances (spectral norm) does so on the averaged weights. Its vectors are not averaged: they turn, the
    average of unit vectors that turn is short, and so σ would be too small and the averaged network too loud.
    """

    def __init__(self, modules: dict[str, nn.Module], halflife: float | None, ramp: float | None):
        self.halflife, self.ramp = halflife, ramp
        self.modules = {name: copy.deepcopy(module).eval().requires_grad_(False) for name, module in modules.items()}
        self._advancing = list(zip(_advancing(self.modules), _advancing(modules), strict=True))
        theirs = {id(buffer) for module, _ in self._advancing for buffer in module.buffers()}
        pairs = list(zip(_tensors(self.modules), _tensors(modules), strict=True))
        pairs = [(a, b) for a, b in pairs if id(a) not in theirs]
        self._float = [(a, b) for a, b in pairs if a.is_floating_point()]
        self._other = [(a, b) for a, b in pairs if not a.is_floating_point()]

    @torch.no_grad()
    def update(self, moved: int, seen: int) -> None:
        """Follow the live weights after `moved` samples, `seen` in all."""
        halflife = self.halflife
        if halflife is not None and self.ramp is not None:
            halflife = min(halflife, self.ramp * seen)
        keep = 0.0 if not halflife else 0.5 ** (moved / halflife)
        torch._foreach_lerp_([a for a, _ in self._float], [b for _, b in self._float], 1 - keep)
        for a, b in self._other:
            a.copy_(b)
        for module, live in self._advancing:
            if keep:
                module.advance()
            else:
                module.load_state_dict(live.state_dict())


def _tensors(modules: dict[str, nn.Module]) -> list[Tensor]:
    return [t for name in sorted(modules) for t in [*modules[name].parameters(), *modules[name].buffers()]]


def _advancing(modules: dict[str, nn.Module]) -> list[Advancing]:
    return [m for name in sorted(modules) for m in modules[name].modules() if isinstance(m, Advancing)]

"""The moving averages of the networks that are sampled."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gannet.core.parts import Advancing


class Average:
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

    @torch.no_grad()
    def exchange(self, other: Average) -> None:
        """Trade half-life and weights with another average of the same modules."""
        self.halflife, other.halflife = other.halflife, self.halflife
        for a, b in zip(_tensors(self.modules), _tensors(other.modules), strict=True):
            kept = a.clone()
            a.copy_(b)
            b.copy_(kept)


class Ema:
    """One average or, of several half-lives, as many of the same training: the first is the one that is sampled, and
    `choose` puts another in its place. Training never sees them.

    How long an average should be depends on the data and on the length of the run, and can be told only afterwards
    (Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", §3).
    """

    def __init__(
        self, modules: dict[str, nn.Module], halflife: float | Sequence[float] | None, ramp: float | None = None
    ):
        given = halflife if isinstance(halflife, Sequence) else [halflife]
        self.averages = [Average(modules, each, ramp) for each in given]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The averaged networks that are sampled, always the same objects."""
        return self.averages[0].modules

    @property
    def others(self) -> dict[str, nn.Module]:
        """The networks of the averages that are not sampled now."""
        return {
            f"{number}.{name}": module
            for number, average in enumerate(self.averages[1:], 1)
            for name, module in average.modules.items()
        }

    @property
    def networks(self) -> list[nn.Module]:
        """Those of all averages, in an order that no choice changes: processes whose choices differ average alike."""
        inorder = sorted(self.averages, key=lambda average: average.halflife or 0)
        return [module for average in inorder for module in average.modules.values()]

    @property
    def halflives(self) -> list[float | None]:
        """The half-lives as they stand: first that of the average that is sampled."""
        return [average.halflife for average in self.averages]

    @halflives.setter
    def halflives(self, value: list[float | None]) -> None:
        for average, halflife in zip(self.averages, value, strict=True):
            average.halflife = halflife

    def update(self, moved: int, seen: int) -> None:
        """Follow the live weights after `moved` samples, `seen` in all."""
        for average in self.averages:
            average.update(moved, seen)

    def choose(self, number: int) -> None:
        """Sample average `number` from now on."""
        if number:
            self.averages[0].exchange(self.averages[number])


def _tensors(modules: dict[str, nn.Module]) -> list[Tensor]:
    return [t for name in sorted(modules) for t in [*modules[name].parameters(), *modules[name].buffers()]]


def _advancing(modules: dict[str, nn.Module]) -> list[Advancing]:
    return [m for name in sorted(modules) for m in modules[name].modules() if isinstance(m, Advancing)]

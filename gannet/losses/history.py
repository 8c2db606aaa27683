"""Historical averaging: a pull towards where the weights have been."""

# ruff: noqa: B008 — schedules are immutable, so they may be defaults.

from __future__ import annotations

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.parts import WeightRegularizer
from gannet.core.registry import REGULARIZERS
from gannet.core.schedule import Constant, Schedule
from gannet.core.types import sum_entries
from gannet.losses.constraints import Player


@REGULARIZERS.register("historical-averaging")
class HistoricalAveraging(WeightRegularizer):
    """|θ − θ̄|² over every parameter of one side, 0-dim; θ̄ is the mean of θ after each past step.

    Salimans et al. 2016, section 3.3, where both sides pay it: list it twice, once with side=discriminator. With
    `decay`, θ̄ moves by max(1 − decay, 1/t) after step t of its network and forgets what lies 1/(1 − decay) steps
    back; without, it is the plain mean. Before the first step the term is 0. It keeps a copy of the weights.

    Raises `UsageError` for a decay out of range.
    """

    def __init__(
        self,
        *,
        weight: Schedule = Constant(1.0),
        decay: float | None = None,
        side: Player = "generator",
        every: int = 1,
    ):
        super().__init__(weight, every)
        if decay is not None and not 0 <= decay < 1:
            raise UsageError(
                f"decay={decay:g} is out of range. Allowed: 0 up to but not including 1, or none for the plain mean."
            )
        self.decay = decay
        self.side = side
        self._places: dict[int, tuple[int, str]] = {}

    def watch(self, modules: list[nn.Module]) -> None:
        # Parameters are known by identity: a player may move only some of the watched networks, and these may share.
        for number, module in enumerate(modules):
            self.register_buffer(f"steps/{number}", torch.zeros((), dtype=torch.int64))
            for name, parameter in module.named_parameters():
                if id(parameter) not in self._places:
                    place = f"mean/{number}/{name.replace('.', '/')}"
                    self._places[id(parameter)] = number, place
                    self.register_buffer(place, torch.zeros_like(parameter, requires_grad=False))

    @torch.no_grad()
    def after_step(self, modules: list[nn.Module]) -> None:
        for steps, pairs in self._networks(modules):
            steps += 1
            rate = max(1 / int(steps), 0.0 if self.decay is None else 1 - self.decay)
            for parameter, mean in pairs:
                mean.lerp_(parameter, rate)

    def forward(self, modules: list[nn.Module]) -> Tensor:
        terms = [
            torch.where(steps > 0, sum_entries([(parameter - mean).square().sum() for parameter, mean in pairs]), 0.0)
            for steps, pairs in self._networks(modules)
        ]
        return sum_entries(terms)

    def _networks(self, modules: list[nn.Module]) -> list[tuple[Tensor, list[tuple[nn.Parameter, Tensor]]]]:
        """For every network how often it has stepped, and its parameters, shared ones once, with their means."""
        found: dict[int, list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter in nn.ModuleList(modules).parameters():
            number, place = self._places[id(parameter)]
            found.setdefault(number, []).append((parameter, self.get_buffer(place)))
        return [(self.get_buffer(f"steps/{number}"), pairs) for number, pairs in found.items()]

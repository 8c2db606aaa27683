"""Top-k training: the generator learns from its best fakes only."""

# ruff: noqa: B008 — schedules and specs are immutable, so they may be defaults.

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.parts import Objective
from gannet.core.registry import OBJECTIVES
from gannet.core.schedule import Linear, Schedule
from gannet.core.spec import Spec
from gannet.core.types import Clock


@OBJECTIVES.register("top-k")
class TopK(Objective):
    """Another objective, `of`, whose generator learns from its best fakes only.

    L_D = L_D of `of`
    L_G = mean of L_G of `of` over the k = ⌈share·B⌉ fakes with the highest scores

    Sinha et al. 2020: the gradients of the worst fakes point away from the data. Entries of the chosen rows are scaled
    by B/k and the others are 0, so the mean over the batch is the mean over the chosen. Rows of scores `[B, …]` are
    ranked by their mean over the other axes, in the batch of each process and micro-batch by itself.

    Raises `UsageError` for a share that begins above 1 or ever reaches 0.
    """

    def __init__(self, *, of: Spec = Spec("nonsaturating"), share: Schedule = Linear(1.0, 0.5, over="50%")):
        if share.lowest <= 0 or share(Clock()) > 1:
            raise UsageError(
                f"share={share} is out of range. It is the part of the fakes that count: above 0, at most 1, "
                f'as in share=linear(1, 0.5, over="50%").'
            )
        self.of = OBJECTIVES.build(of, where="top-k.of")
        self.share = share
        self.now = share(Clock())
        self.wants_real = self.of.wants_real
        self.pairs_rows = self.of.pairs_rows

    def at(self, clock: Clock) -> Objective:
        found = copy.copy(self)
        found.of, found.now = self.of.at(clock), self.share(clock)
        return found

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.of.discriminator(real, fake)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        rows = len(fake)
        # Without the slack 0.07 · 100 = 7.000000000000001 would take an eighth row.
        k = min(rows, max(1, math.ceil(self.now * rows - 1e-9)))
        chosen = fake.detach().reshape(rows, -1).mean(1).topk(k).indices
        factor = torch.zeros_like(fake).index_fill_(0, chosen, rows / k)
        return self.of.generator(real, fake) * factor

    def equilibrium(self) -> float:
        return self.of.equilibrium()

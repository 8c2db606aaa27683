"""A Round: what one comparison became this turn. Regularizers, terms and diagnostics read it; nothing writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from gannet.core.random import Draw
from gannet.core.types import Clock, Comparison, Generated, Inputs, Verdict, sum_entries

Side = Literal["real", "fake"]


@dataclass(frozen=True, eq=False)
class Round:
    """One comparison as it was judged.

    `real` and `fake` are the inputs before augmentation, the points at which penalties differentiate; `verdicts` holds
    what the discriminator said of each side (a side that was not judged is absent); `judge(inputs, side="real")` asks
    the same discriminator about other points, through the augmentation that side's first rows went through; `player`
    is whose turn it is.
    """

    comparison: Comparison
    real: Inputs
    fake: Inputs
    verdicts: dict[str, Verdict]
    judge: Callable[..., Verdict]
    module: nn.Module
    draw: Draw
    clock: Clock
    player: str
    generated: Generated | None = None
    _gradients: dict[str, Tensor] = field(default_factory=dict)

    def verdict(self, side: Side) -> Verdict:
        return self.verdicts[side]

    def inputs(self, side: Side) -> Inputs:
        return self.real if side == "real" else self.fake

    def gradient(self, side: Side) -> Tensor:
        """∂D/∂x at every sample of `side`, `[B, *shape]`, with its graph.

        D is the per-sample score (`Verdict.per_sample`). Both sides whose inputs require a gradient are
        differentiated in one `autograd.grad` call and remembered, so R1 and R2 together cost one. The result is per
        sample only when no layer of the discriminator couples the batch.
        """
        if not self._gradients:
            sides = [s for s in ("real", "fake") if s in self.verdicts and self.inputs(s).x.requires_grad]  # type: ignore[arg-type]
            total = sum_entries([self.verdicts[s].per_sample().sum() for s in sides])
            found = torch.autograd.grad(total, [self.inputs(s).x for s in sides], create_graph=True)  # type: ignore[arg-type]
            self._gradients.update(zip(sides, found, strict=True))
        return self._gradients[side]

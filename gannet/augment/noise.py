"""Instance noise, and how an augmentation draws its numbers."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.parts import Augmentation
from gannet.core.random import Draw
from gannet.core.registry import AUGMENTATIONS


@AUGMENTATIONS.register("noise")
class Noise(Augmentation):
    """x + std·n, n ~ N(0, I), at every number of every sample; Sønderby et al. 2017. Any shape `[B, …]`."""

    def __init__(self, *, std: float = 0.1, sync: bool = False):
        super().__init__()
        if not std >= 0:
            raise UsageError(
                f"std={std:g} is out of range. It is a standard deviation in units of the data: 0 or more."
            )
        self.std = std
        self.sync = sync

    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        return x + self.std * numbers(draw, x, "normal", *x.shape[1:], sync=self.sync)


def numbers(draw: Draw, x: Tensor, kind: Literal["normal", "uniform", "integers"], *shape: int, sync: bool) -> Tensor:
    """Numbers for the rows of `x`, which may stack several groups (real, fake) of the rows of `draw`.

    Every group has its own, or with `sync` all the same. For "integers" the first of `shape` is the exclusive bound.
    """
    if not sync:
        found = draw.for_rows(len(x), *shape, kind=kind)
    else:
        one = getattr(draw, kind)(*shape)
        found = one.repeat(len(x) // len(draw), *[1] * (one.dim() - 1))
    return found if kind == "integers" else found.to(x)

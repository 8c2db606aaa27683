"""Instance noise, and how an augmentation draws its numbers."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from gannet.core.parts import Augmentation
from gannet.core.random import Draw, Stacked
from gannet.core.registry import AUGMENTATIONS
from gannet.core.schedule import Constant, Schedule, not_negative


@AUGMENTATIONS.register("noise")
class Noise(Augmentation):
    """x + std·n, n ~ N(0, I), at every number of every sample; Sønderby et al. 2017. Any shape `[B, …]`.

    `std` is in units of the data, where pixels span 2; instance noise usually fades, as in std=linear(0.5, 0).
    """

    images_only = False

    def __init__(self, *, std: Schedule = Constant(0.1), sync: bool = False):  # noqa: B008  frozen
        super().__init__(not_negative(std, "std"), sync)

    def forward(self, x: Tensor, draw: Draw | Stacked, amount: float = 1.0) -> Tensor:
        return x + amount * numbers(draw, x, "normal", *x.shape[1:], sync=self.sync)


def numbers(
    draw: Draw | Stacked, x: Tensor, kind: Literal["normal", "uniform", "integers"], *shape: int, sync: bool
) -> Tensor:
    """Numbers for the rows of `x`, which may stack several groups (real, fake) of the rows of `draw`.

    Every group has its own, or with `sync` all the same. For "integers" the first of `shape` is the exclusive bound.
    """
    found = draw.for_rows(len(x), *shape, kind=kind, same=sync)
    return found if kind == "integers" else found.to(x)

"""Differentiable augmentation of images, with plain arithmetic and gathers only, so that penalties pass through it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gannet.augment.images import by_row, check_images
from gannet.augment.noise import numbers
from gannet.core.parts import Augmentation
from gannet.core.random import Draw, Stacked
from gannet.core.registry import AUGMENTATIONS
from gannet.core.schedule import Constant, Schedule

Change = Literal["color", "translation", "cutout"]

SHIFT = 1 / 8
CUT = 1 / 2


@AUGMENTATIONS.register("diffaugment")
class DiffAugment(Augmentation):
    """Colour, translation and cutout of `[B, C, H, W]`, each drawn for every sample; Zhao et al. 2020.

    - color: brightness x + U(−½, ½); saturation, the distance of each pixel from its mean over channels times U(0, 2);
      contrast, the distance from the mean of the image times U(½, 3/2).
    - translation: a shift of up to 1/8 of height and of width, whole pixels, filled as `fill` says.
    - cutout: a rectangle of half the height and half the width, anywhere, is set to 0.

    policy: any of the three; they are applied in this order. amount: the share of samples that are changed, 0 … 1; the
    others pass as they are. fill: what a shift moves in, "zero" as in the paper, or "edge", the outermost row or column
    repeated, which leaves no grey band on images with a black or white ground. Any size and number of channels. Samples
    that are not images are a `UsageError`.
    """

    def __init__(
        self,
        *,
        policy: tuple[Change, ...] = ("color", "translation", "cutout"),
        amount: Schedule = Constant(1.0),  # noqa: B008  frozen
        sync: bool = False,
        fill: Literal["zero", "edge"] = "zero",
    ):
        super().__init__(amount, sync)
        self.policy, self.fill = policy, fill

    def forward(self, x: Tensor, draw: Draw | Stacked, amount: float = 1.0) -> Tensor:
        check_images("diffaugment", x)
        if amount <= 0:
            return x
        # All of a row's numbers at once: on small images a draw costs as much as what is done with it.
        drawn = numbers(draw, x, "uniform", 8, sync=self.sync)
        bright, vivid, sharp, down, right, row, column, chosen = drawn.unbind(1)
        changed = x
        if "color" in self.policy:
            changed = _colored(changed, by_row(bright), by_row(vivid), by_row(sharp))
        if "translation" in self.policy:
            changed = self._moved(changed, down, right)
        if "cutout" in self.policy:
            changed = changed * ~(_cut(x.shape[2], row)[:, None, :, None] & _cut(x.shape[3], column)[:, None, None, :])
        return changed if amount >= 1 else torch.where(by_row(chosen) < amount, changed, x)

    def _moved(self, x: Tensor, down: Tensor, right: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = _sources(height, down)[:, :, None], _sources(width, right)[:, None, :]
        # Both axes in one gather, whose derivative costs more than itself.
        places = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)  # [B, H, W]
        moved = x.flatten(2).gather(2, places.flatten(1)[:, None].expand(-1, x.shape[1], -1)).view_as(x)
        if self.fill == "zero":
            moved = moved * ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))[:, None]
        return moved


def _colored(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    x = x + (brightness - 0.5)
    if x.shape[1] > 1:  # one channel is its own mean
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * (2 * saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def _sources(size: int, unit: Tensor) -> Tensor:
    """What each place of a side shows after a shift by a number from `unit` `[B]`: places `[B, size]`, some outside."""
    furthest = int(size * SHIFT + 0.5)
    return torch.arange(size, device=unit.device) - (_whole(unit, 2 * furthest + 1) - furthest)


def _cut(size: int, unit: Tensor) -> Tensor:
    """Where along a side the rectangle lies, `[B, size]`; its centre is anywhere, so it may reach over the edge."""
    length = int(size * CUT + 0.5)
    start = _whole(unit, size + 1 - length % 2) - length // 2
    place = torch.arange(size, device=unit.device)
    return (place >= start) & (place < start + length)


def _whole(unit: Tensor, count: int) -> Tensor:
    """Numbers of `unit` `[B]`, in [0, 1), as whole ones 0 … count − 1, `[B, 1]`."""
    return (unit * count).long()[:, None]

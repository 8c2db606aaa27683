"""Differentiable augmentation of images, with plain arithmetic and gathers only, so that penalties pass through it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gannet.augment.images import check_images
from gannet.augment.noise import numbers
from gannet.core.parts import Augmentation
from gannet.core.random import Draw
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

    def forward(self, x: Tensor, draw: Draw, amount: float = 1.0) -> Tensor:
        check_images("diffaugment", x)
        if amount <= 0:
            return x
        changed = x
        if "color" in self.policy:
            changed = self._color(changed, draw)
        if "translation" in self.policy:
            changed = self._translation(changed, draw)
        if "cutout" in self.policy:
            changed = self._cutout(changed, draw)
        if amount >= 1:
            return changed
        chosen = numbers(draw.child("chosen"), x, "uniform", 1, 1, 1, sync=self.sync) < amount
        return torch.where(chosen, changed, x)

    def _color(self, x: Tensor, draw: Draw) -> Tensor:
        brightness, saturation, contrast = numbers(draw, x, "uniform", 3, 1, 1, 1, sync=self.sync).unbind(1)
        x = x + (brightness - 0.5)
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * (2 * saturation)
        mean = x.mean((1, 2, 3), keepdim=True)
        return mean + (x - mean) * (contrast + 0.5)

    def _translation(self, x: Tensor, draw: Draw) -> Tensor:
        for axis in (2, 3):
            size = x.shape[axis]
            furthest = int(size * SHIFT + 0.5)
            shift = numbers(draw, x, "integers", 2 * furthest + 1, 1, sync=self.sync) - furthest
            source = torch.arange(size, device=x.device) - shift  # [B, size]
            x = x.gather(axis, _along(source.clamp(0, size - 1), axis).expand_as(x))
            if self.fill == "zero":
                x = x * _along((source >= 0) & (source < size), axis)
        return x

    def _cutout(self, x: Tensor, draw: Draw) -> Tensor:
        rows, columns = (self._span(x, axis, draw) for axis in (2, 3))
        return x * ~(rows & columns)

    def _span(self, x: Tensor, axis: int, draw: Draw) -> Tensor:
        """Where along `axis` the rectangle lies; its centre is anywhere in the image, so it may reach over the edge."""
        size = x.shape[axis]
        length = int(size * CUT + 0.5)
        start = numbers(draw, x, "integers", size + 1 - length % 2, 1, sync=self.sync) - length // 2
        place = torch.arange(size, device=x.device)
        return _along((place >= start) & (place < start + length), axis)


def _along(rows: Tensor, axis: int) -> Tensor:
    """`[B, size]` as a tensor that broadcasts along `axis` of an image batch."""
    return rows[:, None, :, None] if axis == 2 else rows[:, None, None, :]

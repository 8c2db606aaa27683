"""Which grids lead to an image of any height and width: the sizes networks halve and double between."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from gannet.core.errors import UsageError
from gannet.core.types import DataSpec, Field


@dataclass(frozen=True)
class Grid:
    """An image of `size` (height, width), reached from `start` by `stages` doublings and a crop."""

    size: tuple[int, int]
    start: tuple[int, int]
    stages: int

    @property
    def padded(self) -> tuple[int, int]:
        """The size that halves exactly: start · 2^stages, never smaller than `size`."""
        return self.start[0] << self.stages, self.start[1] << self.stages

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Zeros around the image: left, right, top, bottom."""
        (height, width), (tall, wide) = self.size, self.padded
        left, top = (wide - width) // 2, (tall - height) // 2
        return left, wide - width - left, top, tall - height - top

    def pad(self, x: Tensor) -> Tensor:
        """`[B, C, *size]` in the middle of `[B, C, *padded]`."""
        return F.pad(x, self.margins) if self.padded != self.size else x

    def crop(self, x: Tensor) -> Tensor:
        """`[B, C, *size]` out of the middle of `[B, C, *padded]`."""
        left, _, top, _ = self.margins
        return x[..., top : top + self.size[0], left : left + self.size[1]] if self.padded != self.size else x


SMALLEST = 4
"""Side that is not halved any more."""


def plan(size: tuple[int, int], smallest: int = SMALLEST, most: int | None = None) -> Grid:
    """Halve while both sides are even and above `smallest`, at most `most` times.

    A side that stays odd while still larger than 2 · `smallest`, or an image that could not be halved at all, is
    padded to the next even size instead: 28 → 14 → 7, 32 → 16 → 8 → 4, 29 → 15 → 8 → 4, 30×45 → 15×23 → 8×12 → 4×6.
    """
    height, width = size
    stages = 0
    while min(height, width) > smallest and stages != most:
        even = height % 2 == 0 and width % 2 == 0
        if not even and stages > 0 and min(height, width) <= 2 * smallest:
            break
        height, width = -(-height // 2), -(-width // 2)
        stages += 1
    return Grid(size, (height, width), stages)


def image_shape(field: Field, network: str) -> tuple[int, int, int]:
    """`(C, H, W)` of an image field. Raises `UsageError` for any other shape."""
    if len(field.shape) != 3:
        raise UsageError(
            f"{network}: it works on images [channels, height, width], but the data has shape {list(field.shape)}. "
            f"Use mlp, which takes any shape, or a source of images."
        )
    channels, height, width = field.shape
    return channels, height, width


def judged_shape(data: DataSpec, network: str) -> tuple[int, int, int]:
    """`(C, H, W)` of what a discriminator sees: `x` with `given`, where there is one, concatenated on channels."""
    channels, height, width = image_shape(data.x, network)
    if data.given is None:
        return channels, height, width
    more, *size = image_shape(data.given, network)
    if (height, width) != tuple(size):
        raise UsageError(f"{network}: x is {height}×{width} but given is {size[0]}×{size[1]}; give them one size=")
    return channels + more, height, width


def doubling(width: int, count: int, largest: int) -> list[int]:
    """Channels of `count` grids, finest first: `width`, 2 · `width`, … up to `largest`."""
    return [min(width << i, largest) for i in range(count)]

"""Pictures of plain shapes drawn from known factors, where what a model learned can be held against the truth."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import mix
from gannet.core.registry import SOURCES
from gannet.core.types import Batch, DataSpec, Field
from gannet.data.counter import MadeSource, MadeSplit, check_count
from gannet.data.memory import scaled

TEST = 10_000
NAMES = ("circle", "square", "triangle", "cross")
RADIUS = (0.1, 0.2)
CENTRE = (0.32, 0.68)  # the widest shape, a triangle of radius 0.2, reaches 0.311 from its centre
SYMMETRY = (math.inf, 4, 3, 4)
"""By how many turns in a circle a shape maps onto itself: rotations are drawn within one, so no two look the same."""
DRAWING = 1  # goes up whenever the same factors give other pixels, for the fingerprint
CHUNK = 256


class ShapesSplit(MadeSplit):
    """Shapes and the factors they are drawn from."""

    columns = 6

    def __init__(self, name: str, rows: int, key: int, size: int, channels: int):
        super().__init__(name, rows, key)
        self.size, self.channels = size, channels

    def factors(self, indices: Tensor) -> dict[str, Tensor]:
        """The true factors of rows, `[B]` each, independent of one another but for the rotation's period.

        | factor     | what                                                                   | range              |
        |------------|------------------------------------------------------------------------|--------------------|
        | `shape`    | index into `NAMES`, int64                                              | 0 … 3              |
        | `colour`   | hue as a share of the colour circle; brightness with one channel       | 0 … 1; 0.3 … 1     |
        | `radius`   | that of the circle of the same area, as a share of the side            | 0.1 … 0.2          |
        | `x`, `y`   | centre as a share of the side, from the left and from the top          | 0.32 … 0.68        |
        | `rotation` | clockwise in radians, within one period of the shape; 0 of circles     | 0 … π/2; 0 … 2π/3  |
        """
        u = torch.from_numpy(self.numbers(indices)).T
        shape = (u[0] * len(NAMES)).long()
        return {
            "shape": shape,
            "colour": u[1] if self.channels == 3 else 0.3 + 0.7 * u[1],
            "radius": _between(u[2], RADIUS),
            "x": _between(u[3], CENTRE),
            "y": _between(u[4], CENTRE),
            "rotation": u[5] * 2 * math.pi / torch.tensor(SYMMETRY, dtype=torch.float64)[shape],
        }

    def take(self, indices: Tensor) -> Batch:
        factors = self.factors(indices)
        parts = [
            draw({k: v[at : at + CHUNK] for k, v in factors.items()}, self.size, self.channels)
            for at in range(0, max(1, len(indices)), CHUNK)
        ]  # small enough to stay in a processor's cache
        return {"x": scaled(torch.cat(parts)), "y": factors["shape"]}


@SOURCES.register("shapes")
class Shapes(MadeSource):
    """One circle, square, triangle or cross on black, anti-aliased, of random colour, size, place and rotation.

    `size` is the side in pixels, `channels` 3 for hues or 1 for brightnesses; y is the shape. A row follows from `seed`
    and its index alone, so `count` costs no memory and a larger one begins with a smaller one's rows; the 10,000 test
    rows count on from where no training row can be. `split(…).factors(indices)` are the true factors.
    """

    def __init__(self, *, count: int = 50_000, size: int = 32, channels: Literal[1, 3] = 3, seed: int = 0):
        check_count(count)
        if not 8 <= size <= 1024:
            raise UsageError(f"shapes.size={size} is outside 8 … 1024.")
        key = mix(seed, "shapes")
        splits: list[MadeSplit] = [
            ShapesSplit(name, rows, key, size, channels) for name, rows in (("train", count), ("test", TEST))
        ]
        spec = DataSpec({"x": Field((channels, size, size))}, len(NAMES), NAMES)
        super().__init__(spec, splits, f"shapes {DRAWING}")


def draw(factors: dict[str, Tensor], size: int, channels: int) -> Tensor:
    """Pictures of `factors`, uint8 `[B, channels, size, size]`.

    A pixel is covered by clamp(½ − d), where d is the signed distance from its centre to the outline in pixels: exact
    for an outline along an axis, and within a few hundredths for any other that is straight across the pixel.
    """
    axis = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    f = {name: value.float().view(-1, 1, 1) for name, value in factors.items()}
    right, down = axis.view(1, 1, -1) - f["x"], axis.view(1, -1, 1) - f["y"]
    cos, sin = f["rotation"].cos(), f["rotation"].sin()
    u, v = cos * right + sin * down, cos * down - sin * right  # [B, H, W] in the shape's own frame
    distance = torch.empty_like(u)
    for number, outline in enumerate((_circle, _square, _triangle, _cross)):
        rows = factors["shape"] == number
        distance[rows] = outline(u[rows], v[rows], f["radius"][rows])
    coverage = (0.5 - distance * size).clamp_(0, 1).unsqueeze(1)
    tint = _rgb(factors["colour"]) if channels == 3 else factors["colour"].view(-1, 1)
    return (coverage * tint.float()[:, :, None, None] * 255).round_().byte()


# Each outline encloses the area π r² of the circle, so that how bright a picture is does not tell its class.


def _circle(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    return torch.hypot(u, v) - r


def _box(u: Tensor, v: Tensor, width: Tensor, height: Tensor) -> Tensor:
    """Distance to a rectangle of half sides `width` and `height`, outside it the larger of those along its axes."""
    return torch.maximum(u.abs() - width, v.abs() - height)


def _square(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    half = r * (math.sqrt(math.pi) / 2)
    return _box(u, v, half, half)


def _triangle(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    # Equilateral and point up; of the three half planes, two are mirror images. Area 3√3 a² for the inner radius a.
    inner = r * math.sqrt(math.pi / (3 * math.sqrt(3)))
    return torch.maximum(v, u.abs() * (math.sqrt(3) / 2) - v / 2) - inner


def _cross(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    # Five squares of side 2w, area 20 w².
    w = r * math.sqrt(math.pi / 20)
    return torch.minimum(_box(u, v, w, 3 * w), _box(u, v, 3 * w, w))


def _rgb(hue: Tensor) -> Tensor:
    """Full colours `[B, 3]` round the circle of hues: red at 0, green at 1/3, blue at 2/3."""
    around = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0], dtype=hue.dtype)) % 6
    return ((around - 3).abs() - 1).clamp(0, 1)


def _between(u: Tensor, interval: tuple[float, float]) -> Tensor:
    low, high = interval
    return low + (high - low) * u

"""The augmentations of adaptive discriminator augmentation: plain arithmetic and gathers, differentiable twice.

Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020 (ADA), appendix B. As long as
each transformation leaves enough samples alone, the generator cannot gain by imitating it: nothing leaks into its
samples. How often they are applied is the amount, which a controller may steer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from gannet.augment.images import by_row, check_images
from gannet.augment.noise import numbers
from gannet.core.parts import Augmentation
from gannet.core.random import Draw, Stacked
from gannet.core.registry import AUGMENTATIONS
from gannet.core.schedule import Constant, Schedule

Group = Literal["blit", "geometric", "color", "noise", "cutout"]
Roll = Callable[..., Tensor]
"""`roll(kind, count)`: numbers `[B, count]` for the rows of one image batch."""

SHIFT = 1 / 8
CUT = 1 / 2


@AUGMENTATIONS.register("adaptive")
class Adaptive(Augmentation):
    """Many transformations of `[B, C, H, W]`, each of a share `amount` of the samples; Karras et al. 2020 (ADA).

    With n ~ N(0, 1) and u ~ U(−1, 1), in the order they are applied:

    - blit, exact: flip left to right (every other time), turn by 0, 90, 180 or 270° (0 or 180° where height and width
      differ), shift by up to 1/8 of each side, whole pixels.
    - geometric, one bilinear resampling: scale 2^(n/5), rotate πu, stretch one axis by 2^(n/5) and the other by its
      inverse, rotate πu, shift n/8 of each side. The two rotations together count as one transformation.
    - color, in units where pixels span −1 … 1: brightness + n/5, contrast · 2^(n/2), the mean over channels negated
      (every other time), hue turned by πu (three channels), saturation · 2^n (two or more).
    - noise: + |n|/10 · N(0, 1) at every number.
    - cutout: a rectangle of half the height and half the width, anywhere, is set to 0.

    What moves in from outside is the image mirrored at its border. policy: which groups, the paper's "bgc" by default.
    amount: 0 … 1, more counts as 1. Samples that are not images are a `UsageError`.
    """

    def __init__(
        self,
        *,
        policy: tuple[Group, ...] = ("blit", "geometric", "color"),
        amount: Schedule = Constant(0.2),  # noqa: B008  frozen
        sync: bool = False,
    ):
        super().__init__(amount, sync)
        self.policy = policy

    def forward(self, x: Tensor, draw: Draw | Stacked, amount: float = 1.0) -> Tensor:
        check_images("adaptive", x)
        if amount <= 0:
            return x
        groups = {"blit": _blit, "geometric": _geometric, "color": _color, "noise": _noise, "cutout": _cutout}
        for name, change in groups.items():
            if name in self.policy:
                x = change(x, partial(numbers, draw.child(name), x, sync=self.sync), min(1.0, amount))
        return x


def _coins(roll: Roll, *shares: float) -> Tensor:
    """`[B, len(shares)]`, 1 as often as each share says and else 0."""
    tossed = roll("uniform", len(shares))
    return (tossed < torch.tensor(shares).to(tossed)).to(tossed)


# -------------------------------------------------------------------------------------------------------- blit


def _blit(x: Tensor, roll: Roll, amount: float) -> Tensor:
    flip, turn, move = _coins(roll, amount, amount, amount).bool().unbind(1)
    square = x.shape[2] == x.shape[3]
    quarters = roll("integers", 4) if square else 2 * roll("integers", 2)
    x = flipped(x, flip & (roll("integers", 2) == 1))
    x = turned(x, quarters * turn)
    for axis in (2, 3):
        furthest = int(x.shape[axis] * SHIFT + 0.5)
        x = shifted(x, (roll("integers", 2 * furthest + 1) - furthest) * move, axis)
    return x


def flipped(x: Tensor, which: Tensor) -> Tensor:
    """`x` with left and right exchanged in the rows `which` `[B]`."""
    return torch.where(by_row(which), x.flip(3), x)


def turned(x: Tensor, quarters: Tensor) -> Tensor:
    """`x` turned counterclockwise by `quarters` `[B]` of a circle; only by 0 or 2 where height and width differ."""
    for k in (1, 2, 3) if x.shape[2] == x.shape[3] else (2,):
        x = torch.where(by_row(quarters == k), x.rot90(k, (2, 3)), x)
    return x


def shifted(x: Tensor, by: Tensor, axis: int) -> Tensor:
    """`x` moved by whole pixels `by` `[B]` down (axis 2) or to the right (axis 3), mirrored at the border."""
    size = x.shape[axis]
    source = mirrored(torch.arange(size, device=x.device) - by[:, None], size)  # [B, size]
    return x.gather(axis, (source[:, None, :, None] if axis == 2 else source[:, None, None, :]).expand_as(x))


def mirrored(place: Tensor, size: int) -> Tensor:
    """Any place on a line as the place 0 … size − 1 it shows, where mirrors stand on the outermost pixels."""
    last = size - 1
    return last - (place.abs() % (2 * last) - last).abs() if last else torch.zeros_like(place)


# --------------------------------------------------------------------------------------------------- geometric


def _geometric(x: Tensor, roll: Roll, amount: float) -> Tensor:
    either = 1 - math.sqrt(1 - amount)  # each rotation so often that at least one of the two is as often as `amount`
    coins = _coins(roll, amount, either, amount, either, amount)
    scale, stretch, down, right = roll("normal", 4).unbind(1)
    before, after = (math.pi * (2 * roll("uniform", 2) - 1)).unbind(1)
    grow, first, pull, second, move = coins.unbind(1)
    # The transformations are undone from the last to the first: a target place is asked where it came from.
    matrix = rotation(-first * before) @ stretched(pull * stretch / 5) @ rotation(-second * after)
    matrix = matrix * torch.exp2(-grow * scale / 5)[:, None, None]
    shift = torch.stack([move * down * x.shape[2], move * right * x.shape[3]], dim=1) / 8
    return resampled(x, matrix, shift)


def rotation(angle: Tensor) -> Tensor:
    """Matrices `[B, 2, 2]` on (down, right) that turn counterclockwise, as one looks at the image, by `angle` `[B]`."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], dim=1).unflatten(1, (2, 2))


def stretched(exponent: Tensor) -> Tensor:
    """Matrices `[B, 2, 2]` that shrink the first axis and stretch the second by 2^`exponent` `[B]`."""
    return torch.diag_embed(torch.exp2(torch.stack([-exponent, exponent], dim=1)))


def resampled(x: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """Each target place p shows the source at matrix · (p − shift), both seen from the middle; bilinear, mirrored.

    `matrix` `[B, 2, 2]` and `shift` `[B, 2]` are in pixels (down, right). A gather, because `grid_sample` has no second
    derivative.
    """
    height, width = x.shape[2:]
    middle = torch.tensor([height - 1, width - 1], device=x.device, dtype=x.dtype) / 2
    rows, columns = (torch.arange(n, device=x.device, dtype=x.dtype) for n in (height, width))
    down = (rows - middle[0] - shift[:, :1])[:, :, None]  # [B, H, 1]
    right = (columns - middle[1] - shift[:, 1:])[:, None, :]  # [B, 1, W]
    sources = []
    for axis, size in enumerate((height, width)):
        place = matrix[:, axis, :1, None] * down + matrix[:, axis, 1:, None] * right + middle[axis]  # [B, H, W]
        place = mirrored(place, size)
        near = place.floor().clamp(0, max(0, size - 2))
        sources.append((near.long(), (near.long() + 1).clamp(max=size - 1), place - near))
    (top, bottom, low), (left, far, along) = sources
    weights = [(top, left, (1 - low) * (1 - along)), (top, far, (1 - low) * along)]
    weights += [(bottom, left, low * (1 - along)), (bottom, far, low * along)]
    pixels, result = x.flatten(2), torch.zeros_like(x)
    for i, j, weight in weights:
        place = (i * width + j).flatten(1)[:, None].expand(-1, x.shape[1], -1)
        result = result + pixels.gather(2, place).unflatten(2, (height, width)) * weight[:, None]
    return result


# ------------------------------------------------------------------------------------------------------- color


def _color(x: Tensor, roll: Roll, amount: float) -> Tensor:
    bright, sharp, negate, turn, vivid = _coins(roll, *[amount] * 5).unbind(1)
    brightness, contrast, saturation = roll("normal", 3).unbind(1)
    negate = negate * roll("integers", 2)
    angle = turn * math.pi * (2 * roll("uniform", 1)[:, 0] - 1)
    x = (x + by_row(bright * brightness / 5)) * by_row(torch.exp2(sharp * contrast / 2))
    return recolored(x, negate, angle, torch.exp2(vivid * saturation))


def recolored(x: Tensor, negate: Tensor, angle: Tensor, saturation: Tensor) -> Tensor:
    """`x` with its mean over channels negated where `negate` is 1, and what differs from that mean turned by `angle`
    about the grey axis (three channels only) and multiplied by `saturation`; all `[B]`."""
    grey = x.mean(1, keepdim=True)
    color = x - grey
    new = color
    if x.shape[1] == 3:
        across = (color.roll(1, 1) - color.roll(-1, 1)) / math.sqrt(3)  # the grey axis × color
        new = color * by_row(angle.cos()) + across * by_row(angle.sin())
    # As a change of x and not as a sum of parts, so that what is left alone stays the same to the last bit.
    return x + (new * by_row(saturation) - color) - grey * by_row(2 * negate)


# ------------------------------------------------------------------------------------------- noise and cutout


def _noise(x: Tensor, roll: Roll, amount: float) -> Tensor:
    std = (_coins(roll, amount) * roll("normal", 1).abs() / 10)[:, 0]
    return x + by_row(std) * roll("normal", *x.shape[1:])


def _cutout(x: Tensor, roll: Roll, amount: float) -> Tensor:
    chosen, centre = _coins(roll, amount)[:, 0].bool(), roll("uniform", 2)
    inside = []
    for axis, middle in zip((2, 3), centre.unbind(1), strict=True):
        size = x.shape[axis]
        places = torch.arange(size, device=x.device) + 0.5
        inside.append((places - size * middle[:, None]).abs() < CUT * size / 2)  # [B, size]
    gone = inside[0][:, None, :, None] & inside[1][:, None, None, :] & by_row(chosen)
    return torch.where(gone, torch.zeros_like(x), x)

"""A norm-free residual pair after R3GAN: Huang et al., "The GAN is dead; long live the GAN!", NeurIPS 2024.

Every grid holds `blocks` residual blocks; the bilinear kernel resamples between grids. No normalisation: the last
convolution of each block starts at zero and the others at L^(-1/4) of He's scale, L being the number of blocks
(Zhang et al., "Fixup Initialization", ICLR 2019), so that the untrained network is as deep as its stem and head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import SCORE, DataSpec, Verdict
from gannet.networks.initialise import initialise, scaled
from gannet.networks.layers import (
    Head,
    activation,
    at_least,
    bounded,
    downsample,
    flat,
    joined,
    one_hot,
    upsample,
    weighted,
)
from gannet.networks.sizes import doubling, image_shape, judged_shape, plan

SLOPE = 0.2
LINEAR = ((1 + SLOPE**2) / 2) ** 0.5  # He's scale without the activation's factor, for layers nothing rectifies

# No "equalised" and no "default": the first hides the zero start in the scale for good, the second is no fixup.
ResidualInit = Literal["he", "xavier", "normal", "orthogonal"]


class Block(nn.Module):
    """x + project(σ(mix(σ(expand(x))))): 1×1 → 3×3, dense or in groups → 1×1 from zero. `[B, C, H, W]` to the same.

    The two biases belong to the activations; the convolutions have none of their own.
    """

    def __init__(self, channels: int, expansion: int, group_size: int, blocks: int):
        super().__init__()
        hidden = channels * expansion
        if group_size and hidden % group_size:
            raise UsageError(
                f"group_size={group_size} does not divide the {hidden} channels of a block ({channels} · {expansion}). "
                f"Choose a divisor of {hidden}, or 0 for a dense convolution."
            )
        groups = hidden // group_size if group_size else 1
        fixup = blocks**-0.25
        self.expand = scaled(nn.Conv2d(channels, hidden, 1), fixup)
        self.mix = scaled(nn.Conv2d(hidden, hidden, 3, padding=1, groups=groups), fixup)
        self.project = scaled(nn.Conv2d(hidden, channels, 1, bias=False), 0.0)
        self.activation = activation(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.activation(self.mix(self.activation(self.expand(x)))))


class Resample(nn.Module):
    """×2 or ÷2 with the bilinear kernel, and a 1×1 convolution where the width changes, on the smaller of the grids."""

    def __init__(self, inputs: int, outputs: int, how: Callable[[Tensor], Tensor]):
        super().__init__()
        self.how = how
        self.width = linear_conv(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.width(x)) if self.how is upsample else self.width(self.how(x))


def linear_conv(inputs: int, outputs: int) -> nn.Module:
    return scaled(nn.Conv2d(inputs, outputs, 1, bias=False), LINEAR)


def _check(width: int, blocks: int, group_size: int, expansion: int, max_width: int) -> None:
    at_least(1, width=width, blocks=blocks, expansion=expansion, max_width=max_width)
    at_least(0, group_size=group_size)


@GENERATORS.register("residual")
class ResidualGenerator(nn.Module):
    """Residual blocks on grids that double from a learned basis, scaled channel by channel by the latent, to the image.

    `z` `[B, latent]`, `y` `[B]` (embedded beside `z`) → `[B, C, H, W]` in the range of the data. `width` is the number
    of channels at the image's own grid; each coarser one has twice as many, up to `max_width`. `group_size` is the
    number of channels in a group of the 3×3 convolution, 0 for a dense one (faster on a CPU). Raises `UsageError` for
    data that is no image, sizes out of range and groups that do not divide.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 16,
        blocks: int = 1,
        group_size: int = 0,
        expansion: int = 2,
        latent: int = 64,
        max_width: int = 128,
        init: ResidualInit = "he",
    ):
        super().__init__()
        _check(width, blocks, group_size, expansion, max_width)
        at_least(1, latent=latent)
        channels, *size = image_shape(data.x, "residual")
        self.latent = latent
        self.classes = data.classes
        self.grid = plan((size[0], size[1]))
        widths = doubling(width, self.grid.stages + 1, max_width)[::-1]
        total = blocks * len(widths)
        # One number a class for each latent coordinate, so that the label weighs as much as the noise.
        self.embedding = nn.Linear(data.classes, latent, bias=False) if data.classes else None
        self.linear = scaled(nn.Linear(latent * (2 if data.classes else 1), widths[0], bias=False), LINEAR)
        self.basis = nn.Parameter(torch.randn(widths[0], *self.grid.start))
        self.stages = nn.ModuleList()
        for inputs, outputs in zip([widths[0], *widths], widths, strict=False):
            stage = nn.Sequential()
            if len(self.stages):
                stage.add_module("resample", Resample(inputs, outputs, upsample))
            for i in range(blocks):
                stage.add_module(f"block{i}", Block(outputs, expansion, group_size, total))
            self.stages.append(stage)
        self.output = linear_conv(widths[-1], channels)
        self.bounded = bounded(data.x.range)
        initialise(self, init, SLOPE)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            z = torch.cat([z, self.embedding(one_hot(y, self.classes).to(z.dtype))], dim=1)
        h = self.basis * self.linear(z)[:, :, None, None]  # [B, C, *start]
        for stage in self.stages:
            h = stage(h)
        return self.bounded(self.grid.crop(self.output(h)))


@DISCRIMINATORS.register("residual")
class ResidualDiscriminator(nn.Module):
    """The generator's mirror: residual blocks on grids that halve, a depthwise reading of the last, a linear score.

    `x` and `given` `[B, C, H, W]` (joined on channels), `y` `[B]` (projection) → score `[B]`, features one a grid.
    Options and errors as the generator's.
    """

    def __init__(
        self,
        data: DataSpec,
        heads: Mapping[str, int] = SCORE,
        *,
        width: int = 16,
        blocks: int = 1,
        group_size: int = 0,
        expansion: int = 2,
        max_width: int = 128,
        init: ResidualInit = "he",
    ):
        super().__init__()
        _check(width, blocks, group_size, expansion, max_width)
        channels, *size = judged_shape(data, "residual")
        self.data = data
        self.grid = plan((size[0], size[1]))
        widths = doubling(width, self.grid.stages + 1, max_width)
        total = blocks * len(widths)
        self.input = linear_conv(channels, widths[0])
        self.stages = nn.ModuleList()
        for inputs, outputs in zip([widths[0], *widths], widths, strict=False):
            stage = nn.Sequential()
            if len(self.stages):
                stage.add_module("resample", Resample(inputs, outputs, downsample))
            for i in range(blocks):
                stage.add_module(f"block{i}", Block(outputs, expansion, group_size, total))
            self.stages.append(stage)
        last = widths[-1]
        self.reading = scaled(nn.Conv2d(last, last, self.grid.start, groups=last, bias=False), LINEAR)
        self.head = Head(last, data.classes, heads)
        for layer in weighted(self.head):
            scaled(layer, LINEAR)
        initialise(self, init, SLOPE)

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        h = self.input(self.grid.pad(joined(x, given, self.data)))
        features = []
        for stage in self.stages:
            h = stage(h)
            features.append(h)
        return self.head(flat(self.reading(h)), y, features)

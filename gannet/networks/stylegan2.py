"""A style-based pair: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020 (StyleGAN2).

Every layer has an equalised rate, so an optimiser's rate is the same relative speed everywhere; the paper's is 0.0025.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Names
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import SCORE, DataSpec, Verdict
from gannet.networks.layers import (
    Head,
    at_least,
    bounded,
    downsample,
    equalized_rate,
    flat,
    joined,
    upsample,
)
from gannet.networks.minibatch import MinibatchStddev
from gannet.networks.sizes import doubling, image_shape, judged_shape, plan
from gannet.networks.styles import Mapping, StyledLayer, ToImage, conv, dense, drawn, leaky


class GeneratorBlock(nn.Module):
    """Two styled layers on a grid twice as large, beside a 1×1 convolution where `residual`.

    x `[B, I, H, W]` and two styles `[B, D]` → `[B, O, 2H, 2W]`.
    """

    def __init__(self, inputs: int, outputs: int, latent: int, residual: bool):
        super().__init__()
        self.first = StyledLayer(inputs, outputs, latent, up=True)
        self.second = StyledLayer(outputs, outputs, latent)
        self.skip = conv(inputs, outputs, 1, bias=False) if residual else None

    def forward(self, x: Tensor, one: Tensor, two: Tensor) -> Tensor:
        h = self.second(self.first(x, one), two)
        return h if self.skip is None else (upsample(self.skip(x)) + h) * math.sqrt(0.5)


@GENERATORS.register("stylegan2")
class StyleGAN2Generator(nn.Module):
    """A learned constant grows to the image through convolutions that styles, mapped from the latent, modulate.

    `z` `[B, latent]`, `y` `[B]` → `[B, C, H, W]`, through tanh to the range of the data (the paper's output is linear).

    A generator that maps its latent says `maps_latent = True` and has, besides `forward`, its two halves: `map(z, y,
    truncation)` → w `[B, L, latent]`, a style for each of L layers, and `synthesise(w)` → the image. Paths are measured
    and truncated in w.

    width: channels of the image's own grid; each coarser one has twice as many, up to `max_width`. layers: of the
    mapping, from z to w. variant: "skip" sums an image from every grid, "residual" reads it from the last and has
    shortcuts around the blocks. mixing: how often, in training, a sample takes the styles of a second latent from some
    layer on. Noise and mixing come from the current draw; without one there is none. Raises `UsageError` for data that
    is no image and values out of range.
    """

    maps_latent = True

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        latent: int = 64,
        layers: int = 2,
        variant: Literal["skip", "residual"] = "skip",
        mixing: float = 0.9,
        max_width: int = 512,
    ):
        super().__init__()
        at_least(1, width=width, latent=latent, layers=layers, max_width=max_width)
        if not 0 <= mixing <= 1:
            raise UsageError(f"mixing={mixing:g} is not allowed: it is a share of the samples, 0 … 1, usually 0.9.")
        channels, *size = image_shape(data.x, "stylegan2")
        self.latent, self.mixing = latent, mixing
        self.grid = plan((size[0], size[1]))
        self.styles = 2 * self.grid.stages + 2
        widths = doubling(width, self.grid.stages + 1, max_width)[::-1]
        self.mapping = Mapping(latent, layers, data.classes)
        self.start = nn.Parameter(torch.randn(1, widths[0], *self.grid.start))
        self.first = StyledLayer(widths[0], widths[0], latent)
        self.blocks = nn.ModuleList(GeneratorBlock(a, b, latent, variant == "residual") for a, b in pairwise(widths))
        last = self.grid.stages
        grids = range(last + 1) if variant == "skip" else [last]
        # The images of all grids add up to a variance near 1, so that tanh starts where it is steep.
        gain = len(grids) ** -0.5
        self.images = nn.ModuleDict({str(i): ToImage(widths[i], channels, latent, gain) for i in grids})
        self.bounded = bounded(data.x.range)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.synthesise(self.map(z, y))

    def map(self, z: Tensor, y: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """Styles `[B, L, latent]` of the latents `z` `[B, latent]` and labels `y` `[B]`.

        Truncation ψ pulls them to the mean style, of their class where there are classes: w ← w̄ + ψ·(w − w̄).
        """
        w = self.mapping(z, y).unsqueeze(1).expand(-1, self.styles, -1)
        if self.training and self.mixing:
            w = self._mixed(w, z, y)
        if truncation == 1:
            return w
        mean = self.mapping.mean(z, y).unsqueeze(1)
        return mean + truncation * (w - mean)

    def _mixed(self, w: Tensor, z: Tensor, y: Tensor | None) -> Tensor:
        """`w` whose rows, as often as `mixing` says, carry the style of another latent from a random layer on."""
        rows = len(z)
        other = drawn(rows, self.latent, kind="normal", like=z)
        chance = drawn(rows, 1, 1, kind="uniform", like=z)
        start = drawn(rows, self.styles - 1, 1, 1, kind="integers", like=z)  # the first number is the bound
        if other is None or chance is None or start is None:
            return w
        layer = torch.arange(self.styles, device=z.device)[:, None]
        return torch.where((chance < self.mixing) & (layer > start), self.mapping(other, y).unsqueeze(1), w)

    def synthesise(self, w: Tensor) -> Tensor:
        """The image `[B, C, H, W]` of the styles `w` `[B, L, latent]`. Raises `UsageError` for another shape."""
        if w.shape[1:] != (self.styles, self.latent):
            raise UsageError(
                f"styles of shape {list(w.shape)}: this generator takes [rows, {self.styles}, {self.latent}], "
                "as its map(z, y) gives them."
            )
        style = w.unbind(1)
        h = self.first(self.start.expand(len(w), -1, -1, -1), style[0])
        image = self._image(0, h, style[1], None)
        for i, block in enumerate(self.blocks):
            # The image of a grid reads the style of the next grid's first layer, as in the paper.
            h = block(h, style[2 * i + 1], style[2 * i + 2])
            image = self._image(i + 1, h, style[2 * i + 3], image)
        assert image is not None  # the last grid always has one
        return self.bounded(self.grid.crop(image))

    def _image(self, grid: int, h: Tensor, w: Tensor, below: Tensor | None) -> Tensor | None:
        """The image so far: what lay below, doubled, and what this grid adds."""
        if str(grid) not in self.images:
            return below
        added = self.images[str(grid)](h, w)
        return added if below is None else upsample(below) + added


class DiscriminatorBlock(nn.Module):
    """Two 3×3 convolutions, the second to half the grid, beside a 1×1 one where `residual`.

    `[B, I, H, W]` → `[B, O, H/2, W/2]`. The grid is halved by the bilinear kernel, the paper's filter [1, 3, 3, 1].
    """

    def __init__(self, inputs: int, outputs: int, residual: bool):
        super().__init__()
        self.first = conv(inputs, inputs, 3)
        self.second = conv(inputs, outputs, 3)
        self.skip = conv(inputs, outputs, 1, bias=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        h = leaky(downsample(self.second(leaky(self.first(x)))))
        return h if self.skip is None else (self.skip(downsample(x)) + h) * math.sqrt(0.5)


@DISCRIMINATORS.register("stylegan2")
class StyleGAN2Discriminator(nn.Module):
    """Residual blocks halve the image to the generator's first grid, which two more layers and a linear head score.

    `x` and `given` `[B, C, H, W]` (joined on channels), `y` `[B]` (projection) → score `[B]`, features one a halving
    and one of the last grid. width: channels of the image's own grid, doubling up to `max_width`. variant: "residual",
    or "orig" without shortcuts, for small images. stddev: rows in a group of the minibatch standard deviation, 4 in the
    paper; 0 leaves it out, so that no sample sees another. Raises `UsageError` for data that is no image and bad sizes.
    """

    def __init__(
        self,
        data: DataSpec,
        heads: Names[str, int] = SCORE,
        *,
        width: int = 32,
        variant: Literal["residual", "orig"] = "residual",
        stddev: int = 0,
        max_width: int = 512,
    ):
        super().__init__()
        at_least(1, width=width, max_width=max_width)
        at_least(0, stddev=stddev)
        channels, *size = judged_shape(data, "stylegan2")
        self.data = data
        self.grid = plan((size[0], size[1]))
        widths = doubling(width, self.grid.stages + 1, max_width)
        self.input = conv(channels, widths[0], 1)
        self.blocks = nn.ModuleList(DiscriminatorBlock(a, b, variant == "residual") for a, b in pairwise(widths))
        last, (height, wide) = widths[-1], self.grid.start
        self.stddev = MinibatchStddev(stddev) if stddev else nn.Identity()
        self.last = conv(last + bool(stddev), last, 3)
        self.dense = dense(last * height * wide, last)
        self.head = equalized_rate(Head(last, data.classes, heads))

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        h = leaky(self.input(self.grid.pad(joined(x, given, self.data))))
        features = []
        for block in self.blocks:
            h = block(h)
            features.append(h)
        h = leaky(self.last(self.stddev(h)))
        features.append(h)
        return self.head(leaky(self.dense(flat(h))), y, features)

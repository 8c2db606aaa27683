"""Convolutional networks after DCGAN, for images of any height, width and number of channels.

Radford, Metz & Chintala, "Unsupervised Representation Learning with Deep Convolutional GANs", ICLR 2016.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import DataSpec, Verdict
from gannet.networks.initialise import Init, initialise
from gannet.networks.layers import (
    Head,
    Norm,
    at_least,
    bounded,
    convolution,
    flat,
    fraction,
    joined,
    labelled,
    resampling_conv,
    spectral_norm,
    stem,
)
from gannet.networks.sizes import doubling, image_shape, judged_shape, plan


def _widths(width: int, stages: int, largest: int) -> list[int]:
    """Channels of the halved grids, finest first. The coarsest has at least 2 · `width`, however small the image."""
    return doubling(width, max(2, stages), largest)[-max(1, stages) :]


def _depth(depth: int | None, stages: int) -> int:
    """How many 3×3 convolutions stand at the coarsest grid: small images, halved less than twice, get depth there."""
    return max(0, 2 - stages) if depth is None else depth


@GENERATORS.register("dcgan")
class DCGANGenerator(nn.Module):
    """Transposed convolutions double a grid learned from the latent until it is the image: 7 → 14 → 28.

    `z` `[B, latent]`, `y` `[B]` (one-hot beside `z`) → `[B, C, H, W]` in the range of the data. `width` is the number
    of channels of the finest hidden grid; each coarser one has twice as many, up to `max_width`. `depth` adds 3×3
    convolutions at the coarsest grid; by default only where fewer than two doublings fit. A `slope` of 0 is ReLU.
    Raises `UsageError` for data that is no image and sizes out of range.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        kernel: int = 4,
        latent: int = 64,
        norm: Norm = "batch",
        slope: float = 0.0,
        dropout: float = 0.0,
        max_width: int = 512,
        depth: int | None = None,
        init: Init = "normal",
    ):
        super().__init__()
        at_least(1, width=width, latent=latent, max_width=max_width)
        at_least(2, kernel=kernel)
        at_least(0, depth=depth or 0)
        fraction(dropout=dropout, slope=slope)
        channels, *size = image_shape(data.x, "dcgan")
        self.latent = latent
        self.classes = data.classes
        self.grid = plan((size[0], size[1]))
        stages = self.grid.stages
        widths = _widths(width, stages, max_width)[::-1]
        self.stem = stem(latent + data.classes, widths[0], self.grid.start, norm, slope, dropout)
        self.deep = nn.Sequential(
            *(
                convolution(widths[0], widths[0], step="same", kind=norm, slope=slope, dropout=dropout)
                for _ in range(_depth(depth, stages))
            )
        )
        self.stages = nn.Sequential(
            *(
                convolution(a, b, kernel=kernel, step="up", kind=norm, slope=slope, dropout=dropout)
                for a, b in pairwise(widths)
            )
        )
        self.output = resampling_conv(widths[-1], channels, kernel, "up" if stages else "same")
        self.bounded = bounded(data.x.range)
        initialise(self, init, slope)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.stages(self.deep(self.stem(labelled(z, y, self.classes))))
        return self.bounded(self.grid.crop(self.output(h)))


@DISCRIMINATORS.register("dcgan")
class DCGANDiscriminator(nn.Module):
    """Strided convolutions halve the image to the generator's first grid, which a linear head scores.

    `x` and `given` `[B, C, H, W]` (joined on channels), `y` `[B]` (projection) → score `[B]`, features one a stage.
    `width` is the number of channels of the first stage; each further one has twice as many, up to `max_width`. The
    first stage is never normalised. Raises `UsageError` for data that is no image and sizes out of range.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        kernel: int = 4,
        norm: Norm = "none",
        slope: float = 0.2,
        dropout: float = 0.0,
        spectral: bool = False,
        max_width: int = 512,
        depth: int | None = None,
        init: Init = "default",
    ):
        super().__init__()
        at_least(1, width=width, max_width=max_width)
        at_least(2, kernel=kernel)
        at_least(0, depth=depth or 0)
        fraction(dropout=dropout, slope=slope)
        channels, *size = judged_shape(data, "dcgan")
        self.data = data
        self.grid = plan((size[0], size[1]))
        stages = self.grid.stages
        coarsest = _widths(width, stages, max_width)[-1]
        widths = doubling(width, stages, max_width) + [coarsest] * _depth(depth, stages)
        self.stages = nn.ModuleList(
            convolution(
                inputs,
                outputs,
                kernel=kernel,
                step="down" if i < stages else "same",
                kind=norm if i else "none",
                slope=slope,
                dropout=dropout,
            )
            for i, (inputs, outputs) in enumerate(zip([channels, *widths], widths, strict=False))
        )
        last = widths[-1] if widths else channels
        self.head = Head(last * self.grid.start[0] * self.grid.start[1], data.classes)
        initialise(self, init, slope)
        if spectral:
            spectral_norm(self)

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        h = self.grid.pad(joined(x, given, self.data))
        features = []
        for stage in self.stages:
            h = stage(h)
            features.append(h)
        return Verdict((self.head(flat(h), y),), features=tuple(features))

"""Convolutional networks after DCGAN, for images of any height, width and number of channels.

Radford, Metz & Chintala, "Unsupervised Representation Learning with Deep Convolutional GANs", ICLR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import SCORE, DataSpec, Verdict
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
from gannet.networks.minibatch import MinibatchStatistics, statistics
from gannet.networks.reference import DrawnReference, NoReference, ShownReference, referring
from gannet.networks.sizes import SMALLEST, Grid, doubling, image_shape, judged_shape, plan

DCGANNorm = Literal["none", "batch", "instance", "layer", "reference"]


def _widths(width: int, stages: int, largest: int) -> list[int]:
    """Channels of the halved grids, finest first. The coarsest has at least 2 · `width`, however small the image."""
    return doubling(width, max(2, stages), largest)[-max(1, stages) :]


def _depth(depth: int | None, grid: Grid) -> int:
    """How many 3×3 convolutions stand at the coarsest grid. Small images, halved less than twice, get depth there, and
    one stands after two halvings that end at a large grid: of 28 → 14 → 7 two strided layers see strokes, no shape."""
    if depth is None:
        return int(min(grid.start) > SMALLEST) if grid.stages == 2 else max(0, 2 - grid.stages)
    return depth


def _kind(norm: DCGANNorm, dropout: float) -> Norm:
    """The normalisation of the layers as they are built; reference norms take the places of batch norms after that."""
    if norm != "reference":
        return norm
    if dropout:
        raise UsageError(
            f"norm=reference runs its own rows beside the batch, for which dropout={dropout:g} has no random numbers. "
            f"Use dropout=0, or another norm: none, batch, instance or layer."
        )
    return "batch"


@GENERATORS.register("dcgan")
class DCGANGenerator(nn.Module):
    """Transposed convolutions double a grid learned from the latent until it is the image: 7 → 14 → 28.

    `z` `[B, latent]`, `y` `[B]` (one-hot beside `z`) → `[B, C, H, W]` in the range of the data. `width` is the number
    of channels of the finest hidden grid; each coarser one has twice as many, up to `max_width`. `depth` adds 3×3
    convolutions at the coarsest grid; by default those that doublings are short of two, and one where two doublings
    start from more than 4×4. A `slope` of 0 is ReLU. norm="reference" is batch norm over latents that are drawn once
    (`networks.reference`). Raises `UsageError` for data that is no image and sizes out of range.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        kernel: int = 4,
        latent: int = 64,
        norm: DCGANNorm = "batch",
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
        kind = _kind(norm, dropout)
        channels, *size = image_shape(data.x, "dcgan")
        self.latent = latent
        self.classes = data.classes
        self.grid = plan((size[0], size[1]))
        stages = self.grid.stages
        widths = _widths(width, stages, max_width)[::-1]
        self.stem = stem(latent + data.classes, widths[0], self.grid.start, kind, slope, dropout)
        self.deep = nn.Sequential(
            *(
                convolution(widths[0], widths[0], step="same", kind=kind, slope=slope, dropout=dropout)
                for _ in range(_depth(depth, self.grid))
            )
        )
        self.stages = nn.Sequential(
            *(
                convolution(a, b, kernel=kernel, step="up", kind=kind, slope=slope, dropout=dropout)
                for a, b in pairwise(widths)
            )
        )
        self.output = resampling_conv(widths[-1], channels, kernel, "up" if stages else "same")
        self.bounded = bounded(data.x.range)
        initialise(self, init, slope)
        self.reference: DrawnReference | NoReference = NoReference()
        if norm == "reference":
            self.reference = DrawnReference(latent, data.classes)
            referring(self, self.reference)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.stages(self.deep(self.stem(self.reference.beside(labelled(z, y, self.classes)))))
        return self.bounded(self.grid.crop(self.output(self.reference.apart(h))))


@DISCRIMINATORS.register("dcgan")
class DCGANDiscriminator(nn.Module):
    """Strided convolutions halve the image to the generator's first grid, which a linear head scores.

    `x` and `given` `[B, C, H, W]` (joined on channels), `y` `[B]` (projection) → score `[B]`, features one a stage.
    `width` is the number of channels of the first stage; each further one has twice as many, up to `max_width`. The
    first stage is never normalised. norm="reference" is batch norm over training rows that are shown once, and couples
    no rows of the batch (`networks.reference`). `minibatch` lays statistics across the batch beside the last features.
    Raises `UsageError` for data that is no image and sizes out of range.
    """

    def __init__(
        self,
        data: DataSpec,
        heads: Mapping[str, int] = SCORE,
        *,
        width: int = 32,
        kernel: int = 4,
        norm: DCGANNorm = "none",
        slope: float = 0.2,
        dropout: float = 0.0,
        spectral: bool = False,
        minibatch: MinibatchStatistics = "none",
        max_width: int = 512,
        depth: int | None = None,
        init: Init = "default",
    ):
        super().__init__()
        at_least(1, width=width, max_width=max_width)
        at_least(2, kernel=kernel)
        at_least(0, depth=depth or 0)
        fraction(dropout=dropout, slope=slope)
        kind = _kind(norm, dropout)
        channels, *size = judged_shape(data, "dcgan")
        self.data = data
        self.grid = plan((size[0], size[1]))
        stages = self.grid.stages
        coarsest = _widths(width, stages, max_width)[-1]
        widths = doubling(width, stages, max_width) + [coarsest] * _depth(depth, self.grid)
        self.stages = nn.ModuleList(
            convolution(
                inputs,
                outputs,
                kernel=kernel,
                step="down" if i < stages else "same",
                kind=kind if i else "none",
                slope=slope,
                dropout=dropout,
            )
            for i, (inputs, outputs) in enumerate(zip([channels, *widths], widths, strict=False))
        )
        last = widths[-1] if widths else channels
        self.minibatch = statistics(minibatch, last * self.grid.start[0] * self.grid.start[1])
        self.head = Head(self.minibatch.outputs, data.classes, heads)  # type: ignore[arg-type]
        initialise(self, init, slope)
        self.reference: ShownReference | NoReference = NoReference()
        if norm == "reference":
            self.reference = ShownReference(data)
            referring(self, self.reference)
        if spectral:
            spectral_norm(self)

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        h = self.grid.pad(self.reference.beside(joined(x, given, self.data)))
        features = []
        for stage in self.stages:
            h = stage(h)
            features.append(self.reference.apart(h))
        return self.head(self.minibatch(flat(self.reference.apart(h))), y, features)

"""A pre-activation residual pair after SN-GAN, with what SAGAN and BigGAN added to it as options.

Miyato et al., "Spectral Normalization for GANs", ICLR 2018; Zhang et al., "Self-Attention GANs", ICML 2019; Brock et
al., "Large Scale GAN Training for High Fidelity Natural Image Synthesis" (BigGAN), ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gannet.core.errors import UsageError
from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import SCORE, DataSpec, Verdict
from gannet.networks.attention import SelfAttention
from gannet.networks.initialise import Init, initialise
from gannet.networks.layers import (
    Grid,
    Head,
    SpectralNorm,
    at_least,
    bounded,
    embedding,
    joined,
    keeps_bias,
    norm,
    one_hot,
    spectral_norm,
    weighted,
)
from gannet.networks.sizes import doubling, image_shape, judged_shape, plan

ResNetNorm = Literal["none", "batch"]


# ------------------------------------------------------------------------------------------------- conditions


class Reading(nn.Module):
    """What a condition says of each channel: table[y] + W v, `[B, channels]`, of the two what there is.

    `y` `[B]` is one of `classes`, `v` is `[B, vector]`. W has no bias.
    """

    def __init__(self, channels: int, classes: int, vector: int):
        super().__init__()
        self.table = embedding(classes, channels) if classes else None
        self.matrix = nn.Linear(vector, channels, bias=False) if vector else None

    def forward(self, y: Tensor | None, v: Tensor) -> Tensor:
        if self.table is None:
            return self.matrix(v)  # type: ignore[misc]
        return self.table(y) if self.matrix is None else self.table(y) + self.matrix(v)


class ConditionalNorm(nn.Module):
    """(1 + gain) · (h − μ)/σ + bias, gain and bias being a `Reading` each: `[B, C, H, W]` to the same.

    Batch norm with a gain and a bias for each class (Miyato & Koyama, ICLR 2018), or for each embedding and chunk of
    the latent (BigGAN). Without `classes` and `vector` it is the plain normalisation `kind`.
    """

    def __init__(self, kind: ResNetNorm, channels: int, classes: int = 0, vector: int = 0):
        super().__init__()
        self.conditional = bool(classes or vector)
        self.norm = nn.BatchNorm2d(channels, affine=False) if self.conditional else norm(kind, channels)
        if self.conditional:
            self.gain, self.bias = Reading(channels, classes, vector), Reading(channels, classes, vector)

    def forward(self, h: Tensor, y: Tensor | None, v: Tensor) -> Tensor:
        h = self.norm(h)
        if not self.conditional:
            return h
        return h * (1 + self.gain(y, v))[:, :, None, None] + self.bias(y, v)[:, :, None, None]


# ----------------------------------------------------------------------------------------------------- blocks


class GeneratorBlock(nn.Module):
    """skip(up(h)) + conv(relu(norm(conv(up(relu(norm(h))))))): `[B, inputs, H, W]` → `[B, outputs, 2H, 2W]`.

    Convolutions are 3×3, up repeats each pixel 2×2, or nothing where not `up`; the skip is a 1×1 convolution, or
    nothing where neither grid nor width changes. Condition: `y` and `v` of `ConditionalNorm`.
    """

    def __init__(self, inputs: int, outputs: int, up: bool, kind: ResNetNorm, classes: int, vector: int):
        super().__init__()
        # What a bias adds is constant over a channel and stays so along the skips, until the next norm removes it.
        bias = keeps_bias(kind)
        self.up = up
        self.norm1 = ConditionalNorm(kind, inputs, classes, vector)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        self.norm2 = ConditionalNorm(kind, outputs, classes, vector)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=bias) if up or inputs != outputs else nn.Identity()

    def forward(self, h: Tensor, y: Tensor | None, v: Tensor) -> Tensor:
        # A 1×1 convolution and repeating commute: on the coarse grid it costs a quarter.
        skipped = self.skip(h)
        h = F.relu(self.norm1(h, y, v))
        if self.up:
            skipped, h = _doubled(skipped), _doubled(h)
        return skipped + self.conv2(F.relu(self.norm2(self.conv1(h), y, v)))


class DiscriminatorBlock(nn.Module):
    """skip(down(h)) + down(conv(relu(conv(relu(h))))): `[B, inputs, H, W]` → `[B, outputs, H/2, W/2]`.

    Convolutions are 3×3, down is the mean of 2×2 pixels, or nothing where not `down`; the skip as the generator's. The
    `first` block reads an image, which no relu may cut.
    """

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool):
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if down or inputs != outputs else nn.Identity()

    def forward(self, h: Tensor) -> Tensor:
        # Not in place: the skip needs what came in.
        inner = self.conv2(F.relu(self.conv1(h if self.first else F.relu(h))))
        if self.down:
            h, inner = F.avg_pool2d(h, 2), F.avg_pool2d(inner, 2)
        return self.skip(h) + inner


def _doubled(h: Tensor) -> Tensor:
    return F.interpolate(h, scale_factor=2, mode="nearest")


def _place(attention: int, heights: list[int]) -> int:
    """After which block attention stands: the first on the finest grid of at most `attention` rows; −1 for nowhere."""
    if not attention:
        return -1
    fitting = [height for height in heights if height <= attention]
    if not fitting:
        rows = " and ".join(map(str, sorted(set(heights))))
        raise UsageError(
            f"attention={attention} is below every grid of this network, which have {rows} rows. "
            f"Choose {min(heights)} or more, or 0 for none."
        )
    return heights.index(max(fitting))


# --------------------------------------------------------------------------------------------------- networks


@GENERATORS.register("resnet")
class ResNetGenerator(nn.Module):
    """Pre-activation residual blocks double a grid learned from the latent until it is the image (SN-GAN to BigGAN).

    `z` `[B, latent]`, `y` `[B]` → `[B, C, H, W]` in the range of the data. `width` is the number of channels of the
    last block; each block before has twice as many, up to `max_width`.

    | option         | what                                                                                            |
    |----------------|-------------------------------------------------------------------------------------------------|
    | `norm`         | batch: a gain and bias for each class; none: the class stands beside the latent                 |
    | `shared`       | length of one embedding of the class that all blocks read; 0 is a table of gains in each layer  |
    | `hierarchical` | a chunk of the latent for each block's norms, the rest for the first grid (BigGAN's skip-z)     |
    | `spectral`     | spectral norm of all layers but the tables of classes (SAGAN)                                   |
    | `attention`    | self-attention on the finest grid of at most so many rows; 0 is none                            |

    Raises `UsageError` for data that is no image, sizes out of range, a latent shorter than its chunks, `hierarchical`
    without a norm, and `attention` below every grid.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        latent: int = 64,
        max_width: int = 256,
        norm: ResNetNorm = "batch",
        shared: int = 0,
        hierarchical: bool = False,
        spectral: bool = False,
        attention: int = 0,
        init: Init = "xavier",
    ):
        super().__init__()
        at_least(1, width=width, latent=latent, max_width=max_width)
        at_least(0, shared=shared, attention=attention)
        channels, *size = image_shape(data.x, "resnet")
        self.latent, self.classes = latent, data.classes
        self.grid = plan((size[0], size[1]))
        stages = self.grid.stages
        # An image too small to double still gets a block, which is where the condition enters.
        widths = doubling(width, max(1, stages) + 1, max_width)[::-1]
        self.chunks = _chunks(latent, len(widths), norm) if hierarchical else [latent] + [0] * (len(widths) - 1)
        self.embedding = embedding(data.classes, shared) if data.classes and shared else None
        self.beside = norm == "none"
        label = shared if self.embedding is not None else data.classes if self.beside else 0
        tables = 0 if self.beside or self.embedding is not None else data.classes
        vector = 0 if self.beside else label + self.chunks[-1]
        start = self.grid.start
        self.stem = nn.Sequential(
            nn.Linear(self.chunks[0] + (label if self.beside else 0), widths[0] * start[0] * start[1]),
            Grid(widths[0], *start),
        )
        self.blocks = nn.ModuleList(GeneratorBlock(a, b, stages > 0, norm, tables, vector) for a, b in pairwise(widths))
        heights = [start[0] << i for i in range(1, stages + 1)] or [start[0]]
        self.place = _place(attention, heights)
        self.attention = SelfAttention(widths[self.place + 1]) if attention else nn.Identity()
        self.norm = ConditionalNorm(norm, widths[-1])
        self.output = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.bounded = bounded(data.x.range)
        initialise(self, init)
        if spectral:
            # A row of a table is added as it is: its size scales nothing, and would only be held below 1.
            for layer in weighted(self):
                if not isinstance(layer, nn.Embedding):
                    SpectralNorm(layer)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        label = self._label(z, y)
        first, *chunks = z.split(self.chunks, dim=1)
        h = self.stem(torch.cat([first, label], dim=1) if self.beside else first)
        for i, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=True)):
            h = block(h, y, torch.cat([label, chunk], dim=1))
            if i == self.place:
                h = self.attention(h)
        return self.bounded(self.grid.crop(self.output(F.relu(self.norm(h, y, label)))))

    def _label(self, z: Tensor, y: Tensor | None) -> Tensor:
        """The class as numbers, `[B, shared]`, or `[B, classes]` beside the latent; `[B, 0]` where tables hold it."""
        if self.classes and y is None:
            raise UsageError(
                f"this generator is conditional on {self.classes} classes: "
                f"pass y, whole numbers 0 … {self.classes - 1}."
            )
        if self.embedding is not None:
            return self.embedding(y)
        return one_hot(y, self.classes).to(z) if self.classes and self.beside else z[:, :0]


def _chunks(latent: int, count: int, norm: ResNetNorm) -> list[int]:
    """How a hierarchical latent is divided: equal chunks for the blocks, and the rest, no smaller, for the stem."""
    if norm == "none":
        raise UsageError(
            "hierarchical=true feeds chunks of the latent to the batch norms, and norm=none leaves none. "
            "Use norm=batch, or hierarchical=false."
        )
    if latent < count:
        raise UsageError(
            f"latent={latent} is too short for hierarchical=true, which needs a number for the first grid and one for "
            f"each of {count - 1} blocks. Use latent={count} or more, or hierarchical=false."
        )
    each = latent // count
    return [latent - each * (count - 1)] + [each] * (count - 1)


@DISCRIMINATORS.register("resnet")
class ResNetDiscriminator(nn.Module):
    """Pre-activation residual blocks halve the image; a linear head reads the sum over the last grid. No norm.

    `x` and `given` `[B, C, H, W]` (joined on channels), `y` `[B]` (projection) → score `[B]`, features one a block.
    The image is halved while its sides are above `smallest`, then `blocks` blocks keep the grid. `width` is the number
    of channels of the first block; each further one has twice as many, up to `max_width` and the first that keeps the
    grid. `spectral` and `attention` as the generator's; here tables are normed too. Raises `UsageError` for data that
    is no image, sizes out of range and `attention` below every grid.
    """

    def __init__(
        self,
        data: DataSpec,
        heads: Mapping[str, int] = SCORE,
        *,
        width: int = 32,
        max_width: int = 256,
        blocks: int = 1,
        smallest: int = 4,
        spectral: bool = False,
        attention: int = 0,
        init: Init = "xavier",
    ):
        super().__init__()
        at_least(1, width=width, max_width=max_width, blocks=blocks, smallest=smallest)
        at_least(0, attention=attention)
        channels, *size = judged_shape(data, "resnet")
        self.data = data
        self.grid = plan((size[0], size[1]), smallest)
        stages = self.grid.stages
        widths = doubling(width, stages + 1, max_width)
        widths += widths[-1:] * (blocks - 1)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(a, b, down=i < stages, first=i == 0)
            for i, (a, b) in enumerate(pairwise([channels, *widths]))
        )
        heights = [self.grid.start[0] << max(0, stages - 1 - i) for i in range(len(widths))]
        self.place = _place(attention, heights)
        self.attention = SelfAttention(widths[self.place]) if attention else nn.Identity()
        self.head = Head(widths[-1], data.classes, heads)
        initialise(self, init)
        if spectral:
            spectral_norm(self)

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        h = self.grid.pad(joined(x, given, self.data))
        features = []
        for i, block in enumerate(self.blocks):
            h = block(h)
            if i == self.place:
                h = self.attention(h)
            features.append(h)
        return self.head(F.relu(h).sum((2, 3)), y, features)

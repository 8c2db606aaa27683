"""A light pair for few images: gates instead of residuals, and a discriminator that learns to rebuild what it saw.

Liu et al., "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis", ICLR 2021.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import SCORE, DataSpec, Verdict
from gannet.networks.initialise import Init, initialise
from gannet.networks.layers import (
    Grid,
    Head,
    Norm,
    activation,
    at_least,
    bounded,
    convolution,
    embedding,
    finished,
    joined,
    keeps_bias,
    labelled,
    looked_up,
    spectral_norm,
)
from gannet.networks.sizes import doubling, image_shape, judged_shape, plan
from gannet.networks.styles import Noise

SLOPE = 0.2
REACH = 4
"""Doublings between the grid that a skip reads and the grid it excites, and at most those of a decoder."""


def gate() -> nn.Module:
    """a · sigmoid(b) of the two halves a, b of the channels: `[B, 2C, H, W]` → `[B, C, H, W]` (Dauphin et al. 2017)."""
    return nn.GLU(dim=1)


def gated(inputs: int, outputs: int, kind: Norm, noise: bool = False) -> nn.Sequential:
    """3×3 convolution → noise, where asked for → normalisation → gate: `[B, inputs, H, W]` → `[B, outputs, H, W]`."""
    core: OrderedDict[str, nn.Module] = OrderedDict()
    core["conv"] = nn.Conv2d(inputs, 2 * outputs, 3, padding=1, bias=keeps_bias(kind))
    if noise:
        core["noise"] = Noise()
    return finished(core, 2 * outputs, kind, gate(), 0.0)


def doubled(inputs: int, outputs: int, kind: Norm, thorough: bool = False) -> nn.Sequential:
    """Nearest neighbours → `gated`: `[B, inputs, H, W]` → `[B, outputs, 2H, 2W]`; a thorough stage adds noise and a
    second gated convolution."""
    stage = nn.Sequential(OrderedDict(up=nn.Upsample(scale_factor=2), first=gated(inputs, outputs, kind, thorough)))
    if thorough:
        stage.add_module("second", gated(outputs, outputs, kind, noise=True))
    return stage


class SkipExcitation(nn.Module):
    """high · sigmoid(project(σ(summarise(pool(low))))): a coarse grid weighs the channels of a fine one.

    `low` `[B, C, start · factor]`, `high` `[B, C', H, W]` → `[B, C', H, W]`. The pool averages `low` to the size
    `start`, the first convolution takes that to 1×1, the second is 1×1; σ is leaky ReLU of slope 0.1. Equation 1 of the
    paper, whose `start` is 4×4.
    """

    def __init__(self, low: int, high: int, start: tuple[int, int], factor: int):
        super().__init__()
        self.factor = factor
        self.summarise = nn.Conv2d(low, high, start)
        self.project = nn.Conv2d(high, high, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        summary = F.leaky_relu(self.summarise(F.avg_pool2d(low, self.factor)), 0.1)
        return high * torch.sigmoid(self.project(summary))


@GENERATORS.register("fastgan")
class FastGANGenerator(nn.Module):
    """Gated convolutions on grids that double from the latent to the image, coarse grids exciting fine ones.

    `z` `[B, latent]`, `y` `[B]` (one-hot beside `z`) → `[B, C, H, W]` in the range of the data. `width` is the number
    of channels at the image's own grid; each coarser one has twice as many, up to `max_width`. Every other stage, the
    first among them, has two convolutions, with noise from the current draw (none where no draw is installed). A grid
    is excited by the one four doublings below it, in smaller images by the first. `spectral` is of the published
    programs. Raises `UsageError` for data that is no image and sizes out of range.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        latent: int = 64,
        norm: Norm = "batch",
        spectral: bool = False,
        max_width: int = 256,
        init: Init = "he",
    ):
        super().__init__()
        at_least(1, width=width, latent=latent, max_width=max_width)
        channels, *size = image_shape(data.x, "fastgan")
        self.latent = latent
        self.classes = data.classes
        self.grid = plan((size[0], size[1]))
        stages, start = self.grid.stages, self.grid.start
        widths = doubling(width, stages + 1, max_width)[::-1]
        linear = nn.Linear(latent + data.classes, 2 * widths[0] * start[0] * start[1], bias=keeps_bias(norm))
        core: OrderedDict[str, nn.Module] = OrderedDict(linear=linear, grid=Grid(2 * widths[0], *start))
        self.stem = finished(core, 2 * widths[0], norm, gate(), 0.0)
        self.stages = nn.ModuleList(
            doubled(a, b, norm, thorough=i % 2 == 0) for i, (a, b) in enumerate(pairwise(widths))
        )
        self.reach = min(REACH, stages)
        pairs = zip(widths, widths[self.reach :], strict=False) if stages else ()
        self.skips = nn.ModuleList(SkipExcitation(low, high, start, 1 << i) for i, (low, high) in enumerate(pairs))
        self.output = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.bounded = bounded(data.x.range)
        initialise(self, init)
        if spectral:
            spectral_norm(self)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        grids = [self.stem(labelled(z, y, self.classes))]
        for number, stage in enumerate(self.stages, 1):
            h = stage(grids[-1])
            low = number - self.reach
            grids.append(self.skips[low](grids[low], h) if low >= 0 else h)
        return self.bounded(self.grid.crop(self.output(grids[-1])))


class Halved(nn.Module):
    """The mean of two branches: 4×4 convolution of stride 2 and a 3×3 one; 2×2 means and a 1×1 convolution. Each
    convolution is normalised and rectified. `[B, inputs, 2H, 2W]` → `[B, outputs, H, W]`."""

    def __init__(self, inputs: int, outputs: int, kind: Norm):
        super().__init__()
        self.main = nn.Sequential(
            convolution(inputs, outputs, step="down", kind=kind, slope=SLOPE),
            convolution(outputs, outputs, step="same", kind=kind, slope=SLOPE),
        )
        conv = nn.Conv2d(inputs, outputs, 1, bias=keeps_bias(kind))
        core: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.AvgPool2d(2), conv=conv)
        self.direct = finished(core, outputs, kind, activation(SLOPE), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.direct(x)) / 2


class Trunk(nn.Module):
    """A 3×3 convolution and a halving for each further width: `[B, C, H, W]` → the activations of every grid."""

    def __init__(self, channels: int, widths: list[int], kind: Norm):
        super().__init__()
        self.input = convolution(channels, widths[0], step="same", slope=SLOPE)
        self.stages = nn.ModuleList(Halved(a, b, kind) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        grids = [self.input(x)]
        for stage in self.stages:
            grids.append(stage(grids[-1]))
        return grids


class ScoreMap(nn.Module):
    """A score for every place, with a projection on the class: `h` `[B, C, H, W]`, `y` `[B]` → `[B, 1, H, W]`."""

    def __init__(self, features: int, classes: int, kind: Norm):
        super().__init__()
        conv = nn.Conv2d(features, features, 1, bias=keeps_bias(kind))
        self.mix = finished(OrderedDict(conv=conv), features, kind, activation(SLOPE), 0.0)
        self.score = nn.Conv2d(features, 1, 3, padding=1)
        self.embedding = embedding(classes, features) if classes else None

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        h = self.mix(h)
        score = self.score(h)
        if self.embedding is None:
            return score
        return score + (h * looked_up(self.embedding, y)[:, :, None, None]).sum(1, keepdim=True)


@DISCRIMINATORS.register("fastgan")
class FastGANDiscriminator(nn.Module):
    """Halvings in two branches score the image and its half-size copy place by place; a decoder rebuilds the image.

    `x` and `given` `[B, C, H, W]` (joined on channels), `y` `[B]` (projection at every place) → scores `[B, 1, h, w]`,
    one map of the image and one of its copy (none where it cannot be halved), features one a grid of the image. The
    heads `reconstruction` and `seen` `[B, C, h, w]` are the image out of its coarsest grid, linear, by at most four
    doublings of half the width, and the image as it came in, averaged to that size, without a gradient: the regularizer
    `decoding` compares them. The paper has two more decoders, of a quarter of the image and of the copy. Other `heads`
    are read from the mean over places. `width` and `max_width` as the generator's. Raises `UsageError` for data that is
    no image and sizes out of range.
    """

    def __init__(
        self,
        data: DataSpec,
        heads: Mapping[str, int] = SCORE,
        *,
        width: int = 32,
        norm: Norm = "none",
        spectral: bool = False,
        max_width: int = 256,
        init: Init = "default",
    ):
        super().__init__()
        at_least(1, width=width, max_width=max_width)
        channels, *size = judged_shape(data, "fastgan")
        self.data = data
        self.grid = plan((size[0], size[1]))
        stages = self.grid.stages
        widths = doubling(width, stages + 1, max_width)
        scales = [widths, widths[:-1]] if stages and "score" in heads else [widths]
        self.trunks = nn.ModuleList(Trunk(channels, each, norm) for each in scales)
        self.maps = nn.ModuleList(ScoreMap(each[-1], data.classes, norm) for each in scales if "score" in heads)
        self.head = Head(widths[-1], 0, {name: n for name, n in heads.items() if name != "score"})
        built = widths[-1:] + [max(1, each // 2) for each in widths[-2 : -2 - REACH : -1]]
        self.factor = 1 << (len(widths) - len(built))
        self.decoder = nn.Sequential(
            *(doubled(a, b, norm) for a, b in pairwise(built)), nn.Conv2d(built[-1], channels, 3, padding=1)
        )
        initialise(self, init, SLOPE)
        if spectral:
            spectral_norm(self)

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        image = self.grid.pad(joined(x, given, self.data))
        features = self.trunks[0](image)
        last = [features[-1], *(trunk(F.avg_pool2d(image, 2))[-1] for trunk in self.trunks[1:])]
        score = tuple(scored(h, y) for scored, h in zip(self.maps, last, strict=False))
        others = self.head(last[0].mean((2, 3)), None).heads
        rebuilt = {"reconstruction": self.decoder(last[0]), "seen": F.avg_pool2d(image.detach(), self.factor)}
        return Verdict(score, {**others, **rebuilt}, tuple(features))

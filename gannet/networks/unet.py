"""Image to image: two translators, and the discriminator of patches that judges them.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017; Zhu et al., "Unpaired
Image-to-Image Translation using Cycle-Consistent Adversarial Networks", ICCV 2017.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.registry import DISCRIMINATORS, TRANSLATORS
from gannet.core.types import DataSpec, Verdict
from gannet.networks.initialise import Init, initialise
from gannet.networks.layers import (
    Norm,
    at_least,
    bounded,
    convolution,
    embedding,
    fraction,
    joined,
    keeps_bias,
    looked_up,
    resampling_conv,
    spectral_norm,
)
from gannet.networks.layers import (
    norm as normalisation,
)
from gannet.networks.sizes import doubling, image_shape, judged_shape, plan


def _translated(data: DataSpec, network: str) -> tuple[int, int, tuple[int, int]]:
    """Channels in, channels out and the size both images share."""
    if data.given is None:
        raise UsageError(
            f"{network}: it turns the field given into x, but the data has only x. Choose data with a field given."
        )
    total, height, width = judged_shape(data, network)
    inputs = image_shape(data.given, network)[0]
    return inputs, total - inputs, (height, width)


@TRANSLATORS.register("unet")
class UNet(nn.Module):
    """An encoder and decoder of one depth whose equal grids are joined, so that places in the image stay places.

    `given` `[B, C, H, W]` → `[B, C', H, W]` in the range of `x`. The sides are halved until about 2; `width` is the
    number of channels after the first halving and doubles up to `max_width`. `dropout` acts on the coarsest half of
    the decoder. Raises `UsageError` where there is no `given`, for sides of 2 or less and for sizes out of range.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        kernel: int = 4,
        norm: Norm = "batch",
        slope: float = 0.2,
        dropout: float = 0.0,
        max_width: int = 256,
        init: Init = "normal",
    ):
        super().__init__()
        at_least(1, width=width, max_width=max_width)
        at_least(2, kernel=kernel)
        fraction(dropout=dropout, slope=slope)
        inputs, outputs, size = _translated(data, "unet")
        self.grid = plan(size, smallest=2)
        if self.grid.stages == 0:
            raise UsageError(f"unet: images of {size[0]}×{size[1]} cannot be halved; both sides must be above 2.")
        widths = doubling(width, self.grid.stages, max_width)
        self.encoder = nn.ModuleList(
            convolution(a, b, kernel=kernel, step="down", kind=norm if i else "none", slope=slope)
            for i, (a, b) in enumerate(zip([inputs, *widths[:-1]], widths, strict=True))
        )
        self.decoder = nn.ModuleList()
        below = 0
        for i in reversed(range(len(widths))):
            above = widths[max(0, i - 1)]
            drop = dropout if 2 * i >= len(widths) else 0.0
            self.decoder.append(
                convolution(widths[i] + below, above, kernel=kernel, step="up", kind=norm, dropout=drop)
            )
            below = above
        self.output = resampling_conv(below + inputs, outputs, kernel, "same")
        self.bounded = bounded(data.x.range)
        initialise(self, init, slope)

    def forward(self, given: Tensor) -> Tensor:
        h = self.grid.pad(given)
        passed = []
        for stage in self.encoder:
            passed.append(h)
            h = stage(h)
        for stage in self.decoder:
            h = torch.cat([stage(h), passed.pop()], dim=1)
        return self.bounded(self.grid.crop(self.output(h)))


class NormalisedBlock(nn.Module):
    """x + norm(conv(σ(norm(conv(x))))), both 3×3: `[B, C, H, W]` to the same."""

    def __init__(self, channels: int, kind: Norm):
        super().__init__()
        self.first = convolution(channels, channels, step="same", kind=kind)
        self.second = resampling_conv(channels, channels, 3, "same", bias=keeps_bias(kind))
        self.norm = normalisation(kind, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.second(self.first(x)))


@TRANSLATORS.register("resnet-translator")
class ResNetTranslator(nn.Module):
    """At most two halvings, `blocks` residual blocks, and back: a translator that keeps the shape and changes the look.

    `given` `[B, C, H, W]` → `[B, C', H, W]` in the range of `x`. `width` is the number of channels at the image's own
    grid and doubles with each halving. Raises `UsageError` where there is no `given` and for sizes out of range.
    """

    def __init__(
        self, data: DataSpec, *, width: int = 32, blocks: int = 3, norm: Norm = "instance", init: Init = "normal"
    ):
        super().__init__()
        at_least(1, width=width, blocks=blocks)
        inputs, outputs, size = _translated(data, "resnet-translator")
        self.grid = plan(size, most=2)
        widths = [width << i for i in range(self.grid.stages + 1)]
        pairs = list(pairwise(widths))
        self.input = convolution(inputs, width, step="same", kind=norm)
        self.encoder = nn.Sequential(*(convolution(a, b, step="down", kind=norm) for a, b in pairs))
        self.blocks = nn.Sequential(*(NormalisedBlock(widths[-1], norm) for _ in range(blocks)))
        self.decoder = nn.Sequential(*(convolution(b, a, step="up", kind=norm) for a, b in reversed(pairs)))
        self.output = resampling_conv(width, outputs, 3, "same")
        self.bounded = bounded(data.x.range)
        initialise(self, init)

    def forward(self, given: Tensor) -> Tensor:
        h = self.decoder(self.blocks(self.encoder(self.input(self.grid.pad(given)))))
        return self.bounded(self.grid.crop(self.output(h)))


@DISCRIMINATORS.register("patch")
class PatchDiscriminator(nn.Module):
    """A score for every patch of the image instead of one for the whole.

    `x` and `given` `[B, C, H, W]` (joined on channels), `y` `[B]` (projection at every place) → score `[B, 1, h, w]`,
    features one a stage. At most `layers` strided convolutions, as many as leave a map of about 4×4, then two of
    stride 1; the channels double up to 8 · `width`. Raises `UsageError` for data that is no image and bad sizes.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 32,
        layers: int = 3,
        kernel: int = 4,
        norm: Norm = "none",
        slope: float = 0.2,
        dropout: float = 0.0,
        spectral: bool = False,
        init: Init = "default",
    ):
        super().__init__()
        at_least(1, width=width, layers=layers)
        at_least(2, kernel=kernel)
        fraction(dropout=dropout, slope=slope)
        channels, *size = judged_shape(data, "patch")
        self.data = data
        self.grid = plan((size[0], size[1]), most=layers)
        widths = doubling(width, self.grid.stages + 1, 8 * width)
        self.stages = nn.ModuleList(
            convolution(
                inputs,
                outputs,
                kernel=kernel,
                step="down" if i < self.grid.stages else "same",
                kind=norm if i else "none",
                slope=slope,
                dropout=dropout,
            )
            for i, (inputs, outputs) in enumerate(zip([channels, *widths[:-1]], widths, strict=True))
        )
        self.score = resampling_conv(widths[-1], 1, kernel, "same")
        self.embedding = embedding(data.classes, widths[-1]) if data.classes else None
        initialise(self, init, slope)
        if spectral:
            spectral_norm(self)

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        h = self.grid.pad(joined(x, given, self.data))
        features = []
        for stage in self.stages:
            h = stage(h)
            features.append(h)
        score = self.score(h)  # [B, 1, h, w]
        if self.embedding is not None:
            score = score + (h * looked_up(self.embedding, y)[:, :, None, None]).sum(1, keepdim=True)
        return Verdict((score,), features=tuple(features))

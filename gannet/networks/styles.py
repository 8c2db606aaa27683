"""What style-based networks are made of: equalised layers, the mapping from z to w, and convolutions that w modulates.

Karras, Laine & Aila, "A Style-Based Generator Architecture for GANs", CVPR 2019; Karras et al., "Analyzing and
Improving the Image Quality of StyleGAN" (StyleGAN2), CVPR 2020.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gannet.core import random
from gannet.core.random import Draw
from gannet.networks.layers import equalized_rate, one_hot, stored, upsample

SLOPE = 0.2
RATE = 0.01
"""How slowly the mapping moves, as a multiplier of the rate of every other layer."""
MEAN_OF = 4096
"""How many latents the mean style is taken over."""
TINY = 1e-8


def leaky(x: Tensor) -> Tensor:
    """√2 · leaky ReLU of slope 0.2: what it is given with a variance near 1, it returns with one."""
    return F.leaky_relu(x, SLOPE) * math.sqrt(2)


def dense(inputs: int, outputs: int, gain: float = 1.0, multiplier: float = 1.0) -> nn.Module:
    """A linear layer under an equalised rate: `[B, inputs]` → `[B, outputs]`."""
    return equalized_rate(nn.Linear(inputs, outputs), gain, multiplier)


def conv(inputs: int, outputs: int, kernel: int, bias: bool = True, gain: float = 1.0) -> nn.Module:
    """A convolution under an equalised rate that keeps the size, for an odd `kernel`."""
    return equalized_rate(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias), gain)


def normalised(x: Tensor) -> Tensor:
    """x / √mean(x²), row by row: its second moment becomes 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + TINY)


def drawn(rows: int, *shape: int, kind: Literal["normal", "uniform", "integers"], like: Tensor) -> Tensor | None:
    """Numbers of the current draw on the device of `like`; none where no draw is installed, as when a network is called
    by itself."""
    try:
        draw = random.current()
    except RuntimeError:
        return None
    found = draw.for_rows(rows, *shape, kind=kind)
    return found.to(like.device) if kind == "integers" else found.to(like)


class Mapping(nn.Module):
    """The latent as a style: `z` `[B, D]`, `y` `[B]` → w `[B, D]` through `layers` dense layers.

    z enters with a second moment of 1, beside the embedding of its class, likewise normalised. The rate of the layers
    is a hundredth of the others'. Raises `UsageError` where there are classes and no y.
    """

    def __init__(self, latent: int, layers: int, classes: int):
        super().__init__()
        self.latent, self.classes = latent, classes
        self.embedding = equalized_rate(nn.Linear(classes, latent, bias=False)) if classes else None
        inputs = [latent * (2 if classes else 1)] + [latent] * (layers - 1)
        self.layers = nn.ModuleList(dense(i, latent, multiplier=RATE) for i in inputs)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = normalised(z)
        if self.embedding is not None:
            h = torch.cat([h, normalised(self.embedding(one_hot(y, self.classes).to(h)))], dim=1)
        for layer in self.layers:
            h = leaky(layer(h))
        return h

    @torch.no_grad()
    def mean(self, like: Tensor, y: Tensor | None = None) -> Tensor:
        """w̄, the mean style of all `[1, D]` or of the class of each row `[B, D]`, over 4096 latents that are always the
        same, in the type and on the device of `like`."""
        z = Draw(0, "mean style", 0, range(MEAN_OF), like.device, like.dtype).normal(self.latent)
        if not self.classes or y is None:
            return self(z, y).mean(0, keepdim=True)
        classes, place = y.unique(return_inverse=True)
        return torch.stack([self(z, one.expand(MEAN_OF)).mean(0) for one in classes])[place]


class Modulated(nn.Module):
    """A convolution whose weights the style scales: x `[B, I, H, W]`, w `[B, D]` → `[B, O, H, W]`, or `2H × 2W`.

    StyleGAN2, equations 1 and 3: with the scales s = A(w) of the input channels, the weights of a row are

        w'(o, i, k) = s(i) · w(o, i, k) / √(Σ over i, k of (s(i) · w(o, i, k))² + 1e-8),

    without the root where `demodulate` is off. s(i) can stand before the shared weights and the root after them, so one
    ordinary convolution serves all rows. `up` doubles the grid first, by the bilinear kernel: the paper's filter
    [1, 3, 3, 1], and in the paper's fused order the same but for the border.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        latent: int,
        kernel: int = 3,
        *,
        up: bool = False,
        demodulate: bool = True,
        gain: float = 1.0,
    ):
        super().__init__()
        self.up, self.demodulate = up, demodulate
        self.style = dense(latent, inputs)
        nn.init.ones_(stored(self.style, "bias"))
        self.conv = conv(inputs, outputs, kernel, bias=False, gain=gain)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        s = self.style(w)
        h = x * s[:, :, None, None]
        weight: Tensor = self.conv.weight  # type: ignore[assignment]
        h = F.conv2d(upsample(h) if self.up else h, weight, padding=weight.shape[2] // 2)
        if not self.demodulate:
            return h
        power = s.square() @ weight.square().sum((2, 3)).T  # [B, O]
        return h * torch.rsqrt(power + TINY)[:, :, None, None]


class Noise(nn.Module):
    """x + strength · n, one n ~ N(0, 1) a pixel from the current draw, one learned strength that starts at 0.

    `[B, C, H, W]` to the same. In training and in evaluation alike; without an installed draw there is no noise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        n = drawn(len(x), 1, *x.shape[2:], kind="normal", like=x)
        return x if n is None else x + self.strength * n


class StyledLayer(nn.Module):
    """Modulated 3×3 convolution → noise → bias → leaky ReLU: x `[B, I, H, W]`, w `[B, D]` → `[B, O, H, W]`."""

    def __init__(self, inputs: int, outputs: int, latent: int, up: bool = False):
        super().__init__()
        self.conv = Modulated(inputs, outputs, latent, up=up)
        self.noise = Noise()
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return leaky(self.noise(self.conv(x, w)) + self.bias)


class ToImage(nn.Module):
    """Features as an image, by a modulated 1×1 convolution that is not demodulated: `[B, I, H, W]` → `[B, C, H, W]`."""

    def __init__(self, inputs: int, channels: int, latent: int, gain: float):
        super().__init__()
        self.conv = Modulated(inputs, channels, latent, 1, demodulate=False, gain=gain)
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        return self.conv(x, w) + self.bias

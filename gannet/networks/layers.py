"""Layers every family shares: convolution stages, heads, conditions, resampling, dropout, two parametrisations."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from gannet.core import random
from gannet.core.errors import UsageError
from gannet.core.parts import Advancing
from gannet.core.types import SCORE, DataSpec, Verdict
from gannet.networks.thin import THIN, ThinDown, ThinUp

Norm = Literal["none", "batch", "instance", "layer"]
Step = Literal["down", "same", "up"]


# ---------------------------------------------------------------------------------------------------- checks


def at_least(low: int, **options: int | float) -> None:
    """Raise `UsageError` for the first option below `low`."""
    for name, value in options.items():
        if value < low:
            raise UsageError(f"{name}={value} is too small: it must be {low} or more. Leave it out for the default.")


def fraction(**options: float) -> None:
    """Raise `UsageError` for the first option outside [0, 1)."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise UsageError(f"{name}={value} is not allowed: it must be at least 0 and below 1, as in {name}=0.2.")


# ------------------------------------------------------------------------------------------------ conditions


def labelled(z: Tensor, y: Tensor | None, classes: int) -> Tensor:
    """`z` `[B, d]` with the one-hot label appended, `[B, d + classes]`; `z` itself where there are no classes."""
    return torch.cat([z, one_hot(y, classes).to(z.dtype)], dim=1) if classes else z


def one_hot(y: Tensor | None, classes: int) -> Tensor:
    """`[B, classes]` int64. Raises `UsageError` where a conditional network is called without labels."""
    if y is None:
        raise UsageError(f"this network is conditional on {classes} classes: pass y, whole numbers 0 … {classes - 1}.")
    return F.one_hot(y, classes)


def joined(x: Tensor, given: Tensor | None, data: DataSpec) -> Tensor:
    """What a discriminator looks at: `x` and, where the data has one, its condition, concatenated on axis 1."""
    if data.given is None:
        return x
    if given is None:
        raise UsageError("this discriminator judges x together with its condition: pass given.")
    return torch.cat([x, given], dim=1)


class Head(nn.Module):
    """What a discriminator says of a feature vector: one linear layer for every name in `heads`.

    "score" is ⟨h, w⟩ + b, and with classes the projection ⟨h, w + e_y⟩ + b (Miyato & Koyama, "cGANs with Projection
    Discriminator", ICLR 2018), `[B]`; every other name gives its numbers, `[B, heads[name]]`.
    """

    def __init__(self, features: int, classes: int, heads: Mapping[str, int] = SCORE):
        super().__init__()
        scores = "score" in heads
        self.linear = nn.Linear(features, 1) if scores else None
        self.embedding = embedding(classes, features) if classes and scores else None
        self.others = nn.ModuleDict({name: nn.Linear(features, n) for name, n in heads.items() if name != "score"})

    def forward(self, h: Tensor, y: Tensor | None, features: Sequence[Tensor] = ()) -> Verdict:
        """The verdict on `h` `[B, features]`, with the inner activations `features`."""
        score: tuple[Tensor, ...] = ()
        if self.linear is not None:
            plain = self.linear(h).squeeze(1)
            score = (plain if self.embedding is None else plain + (h * looked_up(self.embedding, y)).sum(1),)
        return Verdict(score, {name: layer(h) for name, layer in self.others.items()}, tuple(features))


def embedding(classes: int, features: int) -> nn.Embedding:
    """One vector a class, read against `features` numbers: it starts at the scale of a linear layer of that fan-in
    (the usual standard normal start would drown the unconditional score)."""
    table = nn.Embedding(classes, features)
    nn.init.uniform_(table.weight, -(features**-0.5), features**-0.5)
    return table


def looked_up(table: nn.Embedding, y: Tensor | None) -> Tensor:
    """Rows `[B, features]` of the classes `y` `[B]`."""
    if y is None:
        raise UsageError(f"this discriminator is conditional: pass y, whole numbers 0 … {table.num_embeddings - 1}.")
    return table(y)


# ---------------------------------------------------------------------------------------- convolution stages


def norm(kind: Norm, channels: int, flat: bool = False) -> nn.Module:
    """The normalisation `kind` over `[B, C, H, W]`, or over `[B, C]` where `flat`."""
    match kind:
        case "batch":
            return nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "layer":
            return nn.GroupNorm(1, channels)
    return nn.Identity()


def activation(slope: float) -> nn.Module:
    """ReLU, or leaky ReLU where `slope` is not 0. In place: half the memory traffic of the narrow networks."""
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


def resampling_conv(inputs: int, outputs: int, kernel: int, step: Step, bias: bool = True) -> nn.Module:
    """A convolution that halves, keeps or doubles both sides exactly, for any `kernel` ≥ 2 (3×3 where it keeps)."""
    if step == "same":
        return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    edge = (kernel - 1) // 2
    if kernel == 4 and step == "down" and inputs <= THIN:
        return ThinDown(inputs, outputs, bias)
    if kernel == 4 and step == "up" and outputs <= THIN:
        return ThinUp(inputs, outputs, bias)
    if step == "down":
        return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=edge, bias=bias)
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=edge, output_padding=kernel % 2, bias=bias)


def finished(
    core: OrderedDict[str, nn.Module], channels: int, kind: Norm, active: nn.Module, dropout: float, flat: bool = False
) -> nn.Sequential:
    """`core` followed by normalisation, activation and dropout, each only where asked for."""
    if kind != "none":
        core["norm"] = norm(kind, channels, flat)
    core["activation"] = active
    if dropout:
        core["dropout"] = Dropout(dropout)
    return nn.Sequential(core)


def convolution(
    inputs: int,
    outputs: int,
    *,
    kernel: int = 4,
    step: Step,
    kind: Norm = "none",
    slope: float = 0.0,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Convolution → normalisation → activation → dropout: one stage `[B, inputs, H, W]` → `[B, outputs, H', W']`."""
    conv = resampling_conv(inputs, outputs, kernel, step, bias=keeps_bias(kind))
    return finished(OrderedDict(conv=conv), outputs, kind, activation(slope), dropout)


def keeps_bias(kind: Norm) -> bool:
    """Whether a bias before the normalisation `kind` has any effect: batch and instance norm subtract it again."""
    return kind in ("none", "layer")


class Grid(nn.Module):
    """A vector as a grid, channels last in memory: `[B, height · width · channels]` → `[B, channels, H, W]`."""

    def __init__(self, channels: int, height: int, width: int):
        super().__init__()
        self.shape = (height, width, channels)

    def forward(self, h: Tensor) -> Tensor:
        return h.unflatten(1, self.shape).permute(0, 3, 1, 2)


def flat(h: Tensor) -> Tensor:
    """Undo `Grid`. In channels-last memory neither it nor its gradient copies anything; plain flattening would send
    back gradients of the other layout, and the activation before it would take ten times as long."""
    return h.permute(0, 2, 3, 1).flatten(1)


def stem(inputs: int, channels: int, start: tuple[int, int], kind: Norm, slope: float, dropout: float) -> nn.Sequential:
    """The first grid of a generator, learned from a vector: `[B, inputs]` → `[B, channels, *start]`."""
    linear = nn.Linear(inputs, channels * start[0] * start[1], bias=keeps_bias(kind))
    core: OrderedDict[str, nn.Module] = OrderedDict(linear=linear, grid=Grid(channels, *start))
    return finished(core, channels, kind, activation(slope), dropout)


class Bounded(nn.Module):
    """tanh stretched to the interval (low, high)."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.middle, self.reach = (low + high) / 2, (high - low) / 2

    def forward(self, x: Tensor) -> Tensor:
        return self.middle + self.reach * torch.tanh(x)


def bounded(interval: tuple[float, float] | None) -> nn.Module:
    """The last layer of a network whose output lives in `interval`; nothing where it is unbounded."""
    if interval is None:
        return nn.Identity()
    return nn.Tanh() if interval == (-1.0, 1.0) else Bounded(*interval)


# ----------------------------------------------------------------------------------------------- resampling


def upsample(x: Tensor) -> Tensor:
    """`[B, C, H, W]` → `[B, C, 2H, 2W]` with the bilinear kernel: nearest neighbours filtered by [1, 2, 1]."""
    return _bilinear(x, 2.0)


def downsample(x: Tensor) -> Tensor:
    """`[B, C, 2H, 2W]` → `[B, C, H, W]` with the bilinear kernel: [1, 2, 1] filtering, then the mean of 2×2."""
    return _bilinear(x, 0.5)


def _bilinear(x: Tensor, factor: float) -> Tensor:
    # On a CPU the antialiased kernel does not exist in bf16.
    wide = x.float() if x.dtype == torch.bfloat16 else x
    return F.interpolate(wide, scale_factor=factor, mode="bilinear", align_corners=False, antialias=factor < 1).to(x)


# --------------------------------------------------------------------------------------------------- dropout


class Dropout(nn.Module):
    """Zero each activation with probability `p` and scale the others by 1/(1 − p); the identity in evaluation.

    Srivastava et al., JMLR 2014. The mask of a row comes from the current draw, so it belongs to the sample and not to
    its place in a batch. Raises `RuntimeError` in training where no draw is installed.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = random.current().for_rows(len(x), *x.shape[1:], kind="uniform") >= self.p
        return x * keep.to(x) / (1 - self.p)


# ------------------------------------------------------------------------------------------ parametrisations


def weighted(module: nn.Module) -> list[nn.Module]:
    """The linear, convolution and embedding layers inside `module`, itself included."""
    return [m for m in module.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd | nn.Embedding)]


def fans(layer: nn.Module) -> tuple[float, float]:
    """How many inputs meet in one output of `layer`, and how many outputs one input reaches.

    A transposed convolution of stride s uses only one in s² of its taps for each output; an embedding is read against
    a feature vector of its own length.
    """
    if isinstance(layer, nn.Embedding):
        return layer.embedding_dim, 1
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    assert isinstance(layer, nn.modules.conv._ConvNd)
    taps = math.prod(layer.kernel_size) / layer.groups
    spread = taps / math.prod(layer.stride)
    if layer.transposed:
        return layer.in_channels * spread, layer.out_channels * taps
    return layer.in_channels * taps, layer.out_channels * spread


def stored(layer: nn.Module, name: str) -> Tensor:
    """The parameter behind a parametrised tensor: what the optimiser moves."""
    return layer.parametrizations[name].original  # type: ignore[union-attr, index, return-value]


class SpectralNorm(Advancing):
    """W / σ with σ = uᵀ W v, the largest singular value of the weight as a matrix [outputs, rest].

    Miyato et al., "Spectral Normalization for GANs", ICLR 2018. The gradient flows through σ: dσ/dW = u vᵀ. The vectors
    u and v take one step of power iteration in `advance` and never in a forward, so that real and fake are judged by
    one function and evaluation changes nothing.
    """

    u: Tensor
    v: Tensor

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.axis = 1 if getattr(layer, "transposed", False) else 0
        matrix = self._matrix(layer.weight.detach())  # type: ignore[arg-type, operator]
        self.register_buffer("u", F.normalize(torch.randn_like(matrix[:, 0]), dim=0))
        self.register_buffer("v", torch.zeros_like(matrix[0]))
        parametrize.register_parametrization(layer, "weight", self)
        # In a tuple, so that the owner of the weight does not become a child of its own parametrisation.
        self._layer = (layer,)
        for _ in range(15):
            self.advance()

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.transpose(0, self.axis).flatten(1)

    @torch.no_grad()
    def advance(self) -> None:
        """One step of power iteration: v ← Wᵀu / |Wᵀu|, u ← Wv / |Wv|."""
        # The raw weight serves: a parametrisation before this one scales it, which turns no singular vector.
        matrix = self._matrix(stored(self._layer[0], "weight"))
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        # Elementwise and not as a matrix product, which autocast would take in bf16.
        sigma = (self._matrix(weight) * torch.outer(self.u, self.v)).sum()
        return weight / sigma


def spectral_norm(module: nn.Module) -> nn.Module:
    """Give every weighted layer inside `module` a `SpectralNorm`, from the weights it has now. Returns `module`."""
    for layer in weighted(module):
        SpectralNorm(layer)
    return module


class EqualizedRate(nn.Module):
    """w · scale: the weight is stored with unit variance and scaled where it is used, so that an adaptive optimiser
    moves every layer at the same relative speed.

    Karras et al., "Progressive Growing of GANs", ICLR 2018: scale = gain / √fan_in. With a rate multiplier λ the stored
    weight is N(0, 1/λ²) and the scale λ · gain / √fan_in (Karras et al., "A Style-Based Generator", CVPR 2019).
    """

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale


def equalized_rate(
    module: nn.Module, gain: float = 1.0, multiplier: float = 1.0, generator: torch.Generator | None = None
) -> nn.Module:
    """Redraw every weighted layer inside `module` under an `EqualizedRate`; biases become 0. Returns `module`."""
    for layer in weighted(module):
        scale = multiplier * gain / math.sqrt(fans(layer)[0])
        parametrize.register_parametrization(layer, "weight", EqualizedRate(scale))
        nn.init.normal_(stored(layer, "weight"), std=1 / multiplier, generator=generator)
        if getattr(layer, "bias", None) is not None:
            parametrize.register_parametrization(layer, "bias", EqualizedRate(multiplier))
            nn.init.zeros_(stored(layer, "bias"))
    return module

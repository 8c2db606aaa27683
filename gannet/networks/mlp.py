"""Fully connected networks for data of any shape: points, small images, anything that can be laid out in a row."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from gannet.core.registry import DISCRIMINATORS, GENERATORS
from gannet.core.types import SCORE, DataSpec, Verdict
from gannet.networks.initialise import Init, initialise
from gannet.networks.layers import (
    Head,
    activation,
    at_least,
    bounded,
    finished,
    fraction,
    joined,
    keeps_bias,
    labelled,
    spectral_norm,
)
from gannet.networks.minibatch import MinibatchStatistics, statistics

Activation = Literal["relu", "leaky", "tanh", "silu", "maxout"]
MLPNorm = Literal["none", "batch", "layer"]
PIECES = 5
"""Linear numbers a maxout unit chooses from, as in the first GAN's discriminators."""


class Maxout(nn.Module):
    """The largest of every `PIECES` neighbours: `[B, n · PIECES]` → `[B, n]`, a convex function that is learned.

    Goodfellow et al., "Maxout Networks", ICML 2013, equation 1.
    """

    def forward(self, h: Tensor) -> Tensor:
        return h.unflatten(1, (-1, PIECES)).max(2).values


def dense(inputs: int, outputs: int, active: Activation, kind: MLPNorm, slope: float, dropout: float) -> nn.Sequential:
    """Linear → normalisation → activation → dropout: `[B, inputs]` → `[B, outputs]`."""
    choices = {
        "relu": activation(0.0),
        "leaky": activation(slope),
        "tanh": nn.Tanh(),
        "silu": nn.SiLU(),
        "maxout": Maxout(),
    }
    numbers = outputs * PIECES if active == "maxout" else outputs
    linear = nn.Linear(inputs, numbers, bias=keeps_bias(kind))
    return finished(OrderedDict(linear=linear), numbers, kind, choices[active], dropout, flat=True)


@GENERATORS.register("mlp")
class MLPGenerator(nn.Module):
    """A fully connected generator: latent and label through `layers` hidden layers to a sample of any shape.

    Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014. `z` `[B, latent]`, `y` `[B]` → `[B, *shape]`:
    through tanh to the range of the data, linear where it is unbounded. Raises `UsageError` for sizes below 1.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 128,
        layers: int = 3,
        latent: int = 16,
        activation: Activation = "relu",
        norm: MLPNorm = "none",
        slope: float = 0.2,
        dropout: float = 0.0,
        init: Init = "default",
    ):
        super().__init__()
        at_least(1, width=width, layers=layers, latent=latent)
        fraction(dropout=dropout, slope=slope)
        self.latent = latent
        self.classes = data.classes
        sizes = [latent + data.classes] + [width] * layers
        self.layers = nn.ModuleList(dense(a, b, activation, norm, slope, dropout) for a, b in pairwise(sizes))
        self.output = nn.Linear(width, math.prod(data.shape))
        self.sample = nn.Sequential(nn.Unflatten(1, data.shape), bounded(data.x.range))
        initialise(self, init, slope if activation == "leaky" else 0.0)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = labelled(z, y, self.classes)
        for layer in self.layers:
            h = layer(h)
        return self.sample(self.output(h))


@DISCRIMINATORS.register("mlp")
class MLPDiscriminator(nn.Module):
    """A fully connected discriminator of samples of any shape, with a projection head where there are classes.

    `x` `[B, *shape]`, `y` `[B]`, `given` `[B, …]` (laid beside `x`) → score `[B]`, features `layers` × `[B, width]`.
    `minibatch` lays statistics across the batch beside the last features.
    Raises `UsageError` for sizes below 1.
    """

    def __init__(
        self,
        data: DataSpec,
        heads: Mapping[str, int] = SCORE,
        *,
        width: int = 128,
        layers: int = 3,
        activation: Activation = "leaky",
        norm: MLPNorm = "none",
        slope: float = 0.2,
        dropout: float = 0.0,
        spectral: bool = False,
        minibatch: MinibatchStatistics = "none",
        init: Init = "default",
    ):
        super().__init__()
        at_least(1, width=width, layers=layers)
        fraction(dropout=dropout, slope=slope)
        self.data = data
        inputs = math.prod(data.shape) + (math.prod(data.given.shape) if data.given else 0)
        sizes = [inputs] + [width] * layers
        self.layers = nn.ModuleList(dense(a, b, activation, norm, slope, dropout) for a, b in pairwise(sizes))
        self.minibatch = statistics(minibatch, width)
        self.head = Head(self.minibatch.outputs, data.classes, heads)  # type: ignore[arg-type]
        initialise(self, init, slope if activation == "leaky" else 0.0)
        if spectral:
            spectral_norm(self)

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        h = joined(x.flatten(1), None if given is None else given.flatten(1), self.data)
        features = []
        for layer in self.layers:
            h = layer(h)
            features.append(h)
        return self.head(self.minibatch(h), y, features)

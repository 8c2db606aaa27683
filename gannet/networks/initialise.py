"""How weights start: normal(0.02), Xavier, He, orthogonal, equalised rate, or as each layer's own default."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from gannet.networks.layers import equalized_rate, fans, weighted

Init = Literal["default", "normal", "xavier", "he", "orthogonal", "equalised"]


def scaled(layer: nn.Module, gain: float) -> nn.Module:
    """Mark `layer` so that `initialise` multiplies its weights by `gain`: 0 starts it at zero, L^(-1/4) is fixup."""
    layer.init_gain = gain  # type: ignore[assignment]
    return layer


def initialise(module: nn.Module, how: Init, slope: float = 0.0, generator: torch.Generator | None = None) -> nn.Module:
    """Draw every weighted layer inside `module` anew, from `generator` or else from torch's own; returns `module`.

    | how        | weights                                        | source                                   |
    |------------|------------------------------------------------|------------------------------------------|
    | default    | as the layer drew them                         | torch                                    |
    | normal     | N(0, 0.02²)                                    | Radford et al., "DCGAN", 2016            |
    | xavier     | N(0, 2 / (fan_in + fan_out))                   | Glorot & Bengio, 2010                    |
    | he         | N(0, 2 / ((1 + slope²) fan_in))                | He et al., 2015                          |
    | orthogonal | orthonormal rows or columns                    | Saxe et al., 2014                        |
    | equalised  | N(0, 1), scaled in the forward to He's         | Karras et al., "Progressive GANs", 2018  |

    Biases start at 0 and normalisations at gain 1, with `normal` at N(1, 0.02²). Marks of `scaled` hold throughout.
    """
    for layer in weighted(module):
        gain = getattr(layer, "init_gain", 1.0)
        if how == "equalised":
            equalized_rate(layer, gain * math.sqrt(2 / (1 + slope**2)), generator=generator)
        else:
            _draw(layer, how, slope, generator)
            with torch.no_grad():
                layer.weight.mul_(gain)  # type: ignore[operator]
    if how == "normal":
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.InstanceNorm2d) and layer.affine:
                nn.init.normal_(layer.weight, 1.0, 0.02, generator=generator)
                nn.init.zeros_(layer.bias)
    return module


def _draw(layer: nn.Module, how: Init, slope: float, generator: torch.Generator | None) -> None:
    if how == "default":
        return
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    fan_in, fan_out = fans(layer)
    if how == "orthogonal":
        nn.init.orthogonal_(weight, generator=generator)
    else:
        variances = {"normal": 0.02**2, "xavier": 2 / (fan_in + fan_out), "he": 2 / ((1 + slope**2) * fan_in)}
        nn.init.normal_(weight, std=math.sqrt(variances[how]), generator=generator)
    bias = getattr(layer, "bias", None)
    if bias is not None:
        nn.init.zeros_(bias)

"""Constraints: projections of the weights after a step, in place and without a graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gannet.core.errors import UsageError
from gannet.core.parts import Constraint
from gannet.core.registry import CONSTRAINTS

Player = Literal["discriminator", "generator"]


@CONSTRAINTS.register("clip")
class Clip(Constraint):
    """Every parameter is cut to [−limit, limit]; Arjovsky et al. 2017, limit 0.01."""

    def __init__(self, *, limit: float = 0.01, side: Player = "discriminator"):
        if not limit > 0:
            raise UsageError(
                f"limit={limit:g} is out of range. Parameters are cut to −limit … limit: above 0, usually 0.01."
            )
        self.limit = limit
        self.side = side

    @torch.no_grad()
    def apply(self, modules: Iterable[nn.Module]) -> None:
        for module in modules:
            for parameter in module.parameters():
                parameter.clamp_(-self.limit, self.limit)


@CONSTRAINTS.register("forced-weight-norm")
class ForcedWeightNorm(Constraint):
    """Every output filter w of fan-in n is scaled to |w| = √n, entries of mean square 1; Karras et al. 2024 (EDM2).

    Meant for layers that divide by √n when they are used (equalised rate): then each has gain 1 and the direction of
    a filter alone is learned, at a rate its growing norm cannot slow. Filters that are exactly zero stay so.
    """

    def __init__(self, *, side: Player = "discriminator"):
        self.side = side

    @torch.no_grad()
    def apply(self, modules: Iterable[nn.Module]) -> None:
        for layer, weight in weights(modules):
            by_output = filters(layer, weight)
            norm = by_output.flatten(2).norm(dim=2)
            scale = math.sqrt(by_output[0, 0].numel()) / torch.where(norm > 0, norm, 1.0)
            by_output.mul_(scale.reshape(*norm.shape, *[1] * (by_output.dim() - 2)))


def weights(modules: Iterable[nn.Module]) -> Iterator[tuple[nn.Module, Tensor]]:
    """Every layer with a weight of two or more axes, and that weight as it is trained.

    Biases, gains, learned constants and lookup tables of labels are not among them. Shared layers come once.
    """
    for layer in nn.ModuleList(modules).modules():
        if isinstance(layer, nn.Embedding):
            continue
        if parametrize.is_parametrized(layer, "weight"):
            weight = layer.parametrizations["weight"].original  # type: ignore[index, union-attr]
        else:
            weight = getattr(layer, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dim() >= 2:
            yield layer, weight


def filters(layer: nn.Module, weight: Tensor) -> Tensor:
    """A view `[groups, outputs, inputs, …]` of `weight`, one filter for each pair of the first two indices.

    Transposed convolutions keep their outputs in the second axis, `[groups · inputs, outputs, …]`.
    """
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return weight.unflatten(0, (layer.groups, -1)).transpose(1, 2)
    return weight.unsqueeze(0)

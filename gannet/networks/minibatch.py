"""Statistics across the rows of one call, so that a discriminator sees when its samples are all alike."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gannet.networks.layers import at_least

MinibatchStatistics = Literal["none", "stddev", "discrimination"]


class MinibatchStddev(nn.Module):
    """How much each group of rows varies, as one more map: `[B, C, …]` → `[B, C + 1, …]`.

    Karras et al., "Progressive Growing of GANs", ICLR 2018: the standard deviation √(var + 1e-8) of every feature over
    the group, its mean over features and places, repeated at every place of each row of the group. A group is `group`
    rows that follow each other; the last may be smaller. Raises `UsageError` for a group below 1.
    """

    couples_batch = True
    couples_weakly = True
    """Rows meet in one number alone, so a penalty of one sample's gradient nearly still is one: StyleGAN2 has both."""

    def __init__(self, group: int = 4):
        super().__init__()
        at_least(1, group=group)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        whole = len(x) - len(x) % self.group
        deviations = []
        if whole:
            deviations.append(_deviation(x[:whole].unflatten(0, (whole // self.group, self.group))))
        if whole < len(x):
            deviations.append(_deviation(x[whole:].unsqueeze(0)))
        each = torch.cat(deviations).to(x).view(-1, *[1] * (x.dim() - 1))  # one number a row
        return torch.cat([x, each.expand(-1, 1, *x.shape[2:])], dim=1)


def _deviation(groups: Tensor) -> Tensor:
    """`[G, rows, …]` → `[G · rows]`: the mean standard deviation of each group, once a row."""
    deviation = (groups.var(1, correction=0) + 1e-8).sqrt().flatten(1).mean(1)
    return deviation.repeat_interleave(groups.shape[1])


class MinibatchDiscrimination(nn.Module):
    """How close the other rows are, in `kernels` learned projections: `[B, F]` → `[B, F + kernels]`.

    Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016, section 3.2: M = x·T, `[B, kernels, dims]`,
    and o(i, b) = Σ over j ≠ i of exp(−|M(i, b) − M(j, b)|₁), laid beside x. It compares all pairs of rows.
    Raises `UsageError` for sizes below 1.
    """

    couples_batch = True

    def __init__(self, features: int, kernels: int = 50, dims: int = 5):
        super().__init__()
        at_least(1, features=features, kernels=kernels, dims=dims)
        self.outputs = features + kernels
        self.shape = (kernels, dims)
        self.project = nn.Linear(features, kernels * dims, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        m = self.project(x).unflatten(1, self.shape)
        near = torch.exp(-(m.unsqueeze(0) - m.unsqueeze(1)).abs().sum(3))  # [B, B, kernels]
        itself = torch.eye(len(x), dtype=torch.bool, device=x.device).unsqueeze(2)
        return torch.cat([x, near.masked_fill(itself, 0.0).sum(1)], dim=1)


def statistics(kind: MinibatchStatistics, features: int) -> nn.Module:
    """The layer `kind` for vectors `[B, features]`; its attribute `outputs` is the length of what it returns."""
    if kind == "discrimination":
        return MinibatchDiscrimination(features)
    layer = MinibatchStddev() if kind == "stddev" else nn.Identity()
    layer.outputs = features + 1 if kind == "stddev" else features  # type: ignore[assignment]
    return layer

"""Draws for latents that somebody chose: a row of each of several seeds, and mixes that stay what they are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gannet.core.random import BLOCK, Draw, Fill, generator, mix

STREAM = "sample"
"""The stream that samples are drawn from: row k of a seed is its sample number k."""
EDGE = 2.0**-25
"""How near to 0 and 1 a uniform number may come before its quantile is taken: half a step of those in fp32."""


class Seeds(Draw):
    """A draw whose row i has the numbers of sample number 0 of `seeds[i]`, the very ones of `gannet sample`."""

    def __init__(
        self,
        seeds: Sequence[int],
        stream: str = STREAM,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(seeds[0], stream, 0, [0] * len(seeds), device, dtype)
        self.seeds = list(seeds)

    def _like(self, stream: str, indices: Sequence[int]) -> Draw:
        return Seeds(self.seeds[: len(indices)], stream, self.device, self.dtype)

    def _rows(self, fill: Fill, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        call, self.calls = self.calls, self.calls + 1
        _, stream, step = self.key
        rows = {}
        for seed in dict.fromkeys(self.seeds):
            block = torch.empty(BLOCK, *shape, dtype=dtype)
            rows[seed] = fill(block, generator(mix(seed, stream, step), call, 0))[0]
        return torch.stack([rows[seed] for seed in self.seeds]).to(self.device)


class Mixed(Draw):
    """Mixes of `draws` of the same rows by `weights` `[B, K]`, whose squares sum to 1 in every row.

    Normal numbers Σ w·n are normal again, of variance 1; uniform numbers are mixed as the normal numbers they are
    quantiles of, and are uniform again; of whole numbers a row takes those of its largest weight. A row with a weight
    of 1 has the numbers of that draw, to the bit. With `rest`, only normal numbers are mixed: all others, and those of
    children, are its own.
    """

    def __init__(self, draws: Sequence[Draw], weights: Tensor, rest: Draw | None = None):
        first = rest or draws[0]
        super().__init__(*first.key, first.indices, first.device, first.dtype)
        self.draws, self.weights, self.rest = list(draws), weights.double(), rest

    def child(self, name: str) -> Draw:
        if self.rest is not None:
            return self.rest.child(name)
        return Mixed([draw.child(name) for draw in self.draws], self.weights)

    def first(self, rows: int) -> Draw:
        rest = None if self.rest is None else self.rest.first(rows)
        return Mixed([draw.first(rows) for draw in self.draws], self.weights[:rows], rest)

    def normal(self, *shape: int) -> Tensor:
        return self._sum([draw.normal(*shape).double() for draw in self.draws]).to(self.dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        if self.rest is not None:
            return self.rest.uniform(*shape, low=low, high=high)
        found = [draw.uniform(*shape).double() for draw in self.draws]
        mixed = torch.special.ndtr(self._sum([torch.special.ndtri(u.clamp(EDGE, 1 - EDGE)) for u in found]))
        alone = (self.weights == 1).any(1).view(-1, *[1] * len(shape))
        return torch.where(alone, self._sum(found), mixed).to(self.dtype) * (high - low) + low

    def integers(self, high: int, *shape: int) -> Tensor:
        if self.rest is not None:
            return self.rest.integers(high, *shape)
        found = torch.stack([draw.integers(high, *shape) for draw in self.draws])
        rows = torch.arange(len(self), device=found.device)
        return found[self.weights.argmax(1).to(found.device), rows]

    def _sum(self, parts: list[Tensor]) -> Tensor:
        """Σ w·part, `[B, …]`."""
        weights = self.weights.to(parts[0].device)
        total = torch.zeros_like(parts[0])
        for number, part in enumerate(parts):
            total = total + weights[:, number].view(-1, *[1] * (part.dim() - 1)) * part
        return total

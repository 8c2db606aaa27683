"""Codes at the front of a latent: how they are drawn, what reading them costs, what sweeping them shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.losses.reconstruction import cross_entropy

SWEEP = (-1.0, 0.0, 1.0)
"""The values of a continuous code that are shown."""


class Codes:
    """One-hot codes of `categories`, then `continuous` codes in (−1, 1): `size` numbers together.

    Raises `UsageError` for a category without a choice and for no codes at all.
    """

    def __init__(self, categories: tuple[int, ...], continuous: int):
        self.categories, self.continuous = categories, continuous
        self.hot, self.size = sum(categories), sum(categories) + continuous
        if continuous < 0 or any(values < 2 for values in categories) or not self.size:
            raise UsageError(
                f"task.categories={list(categories)} with task.continuous={continuous} is not possible: a category has "
                "2 values or more, and there is at least one code, as in categories=[10] and continuous=2."
            )

    def noise(self, latent: int) -> int:
        """How many of `latent` numbers are no code. Raises `UsageError` where there are fewer numbers than codes."""
        if latent < self.size:
            raise UsageError(
                f"generator.latent={latent} is too small: the codes of task infogan alone take {self.size} numbers. "
                f"Set generator.latent={self.size + 62}, or smaller task.categories and task.continuous."
            )
        return latent - self.size

    def draw(self, draw: Draw, first: Tensor | None = None) -> Tensor:
        """Codes `[B, size]`; `first` `[B]` fixes the first category and leaves all others as they were."""
        values = [draw.child(f"category {k}").integers(size) for k, size in enumerate(self.categories)]
        if first is not None and not values:
            raise UsageError("this generator has no categorical code that a label could set; leave the label out.")
        values[:1] = [first] if first is not None else values[:1]
        hot = [F.one_hot(value, size) for value, size in zip(values, self.categories, strict=True)]
        return torch.cat([*hot, draw.child("continuous").uniform(self.continuous, low=-1, high=1)], dim=1)

    def pairs(self, codes: Tensor, said: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For every category its value `[B]`, and the logits `[B, values]` that were said of it."""
        ends = [sum(self.categories[:k]) for k in range(len(self.categories) + 1)]
        return [(codes[:, a:b].argmax(1), said[:, a:b]) for a, b in pairwise(ends)]

    def losses(self, codes: Tensor, said: Tensor) -> dict[str, Tensor]:
        """−log Q(codes) where Q is given by `said` `[B, size]`: Σ CE of the categories and, for a Gaussian of unit
        variance without its constant, Σ ½(c − ĉ)² of the continuous codes, `[B]` each."""
        entropies = [cross_entropy(logits, value) for value, logits in self.pairs(codes, said)]
        found = {"categories": torch.stack(entropies).sum(0)} if entropies else {}
        square = 0.5 * (codes[:, self.hot :] - said[:, self.hot :]).square().sum(1)
        return {**found, "continuous": square} if self.continuous else found

    def recognised(self, codes: Tensor, said: Tensor) -> dict[str, Tensor]:
        """The share of categories that have the largest logit, and the bound H(c) − CE on what they tell, in nats."""
        if not self.categories:
            return {}
        right = [(logits.argmax(1) == value).float() for value, logits in self.pairs(codes, said)]
        information = sum(map(math.log, self.categories)) - self.losses(codes, said)["categories"].mean()
        return {"code_accuracy": torch.stack(right).mean(), "code_information": information}

    def swept(self, z: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The latents `z` `[B, latent]` with one code moved through its values, all else as it is, and what it is."""
        place = 0
        for number, size in enumerate((*self.categories, *[1] * self.continuous), 1):
            values, rows = (range(size), torch.eye(size)) if size > 1 else (SWEEP, torch.tensor(SWEEP).view(-1, 1))
            for value, row in zip(values, rows.type_as(z), strict=True):
                moved = z.clone()
                moved[:, place : place + size] = row
                yield f"c{number}={value:g}", moved
            place += size

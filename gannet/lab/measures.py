"""Scores of points on the line or in the plane that can be trusted: each beside what fresh reals would score."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from gannet.core.errors import DataError, DivergedError
from gannet.core.random import mix
from gannet.core.types import Source
from gannet.lab.overlays import Bounds, bounds, spans
from gannet.metrics.distances import clouds, finite, projected
from gannet.metrics.modes import HighQuality, ModesCovered, divergence

BINS = 20
"""Cells on a side of the histograms."""
DIRECTIONS = 32
"""Directions of the sliced distance, evenly over the half circle."""
DRAWS = 20
"""Samples of fresh reals behind a band."""


class Band(NamedTuple):
    """What as many fresh reals score: the 5 %, 50 % and 95 % points of 20 draws."""

    low: float
    median: float
    high: float


def counts(x: np.ndarray, bounds: Bounds, bins: int = BINS) -> np.ndarray:
    """How many of the points `[n, D]` lie in every cell of `bounds`, and last, outside of all: `[bins ** D + 1]`.

    They sum to n: nothing is dropped. A point on the upper edge is inside.
    """
    low, high = np.array(spans(bounds)).T
    inside = ((x >= low) & (x <= high)).all(axis=1)
    place = np.minimum((x[inside] - low) / (high - low) * bins, bins - 1).astype(int)
    cell = place @ bins ** np.arange(x.shape[1])
    cells = bins ** x.shape[1]
    return np.append(np.bincount(cell, minlength=cells), (~inside).sum())


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p ‖ q) in nats of two histograms of counts with the same cells.

    Every cell of both counts half a point more, and the shares still sum to 1: (c + ½)/(n + ½ cells) (Krichevsky and
    Trofimov 1981). So an empty cell is not an infinite one, and no mass is made up; equal counts give exactly 0 where
    both have as many points.
    """
    return divergence((p + 0.5) / (p + 0.5).sum(), (q + 0.5) / (q + 0.5).sum())


def js(p: np.ndarray, q: np.ndarray) -> float:
    """The Jensen–Shannon divergence in nats, 0 … log 2, of two histograms of counts, without any smoothing."""
    p, q = p / p.sum(), q / q.sum()
    return (divergence(p, (p + q) / 2) + divergence(q, (p + q) / 2)) / 2


def sliced(x: np.ndarray, y: np.ndarray, directions: int = DIRECTIONS) -> float:
    """The sliced 1-Wasserstein distance of points `[n, D]`, `[m, D]`, in their unit: the mean over directions u of
    ∫₀¹ |F⁻¹(q; u·x) − F⁻¹(q; u·y)| dq. On a line it is the 1-Wasserstein distance."""
    angle = np.pi * (np.arange(directions) + 0.5) / directions
    u = np.ones((1, 1)) if x.shape[1] == 1 else np.stack([np.cos(angle), np.sin(angle)])
    return sum(float((np.abs(a - b) @ width).sum()) for width, a, b in projected(x, y, u)) / u.shape[1]


class Measures:
    """What is measured of fakes of `source`, against `size` fixed reals of it, and the band of fresh reals.

    | name         | what                                                                | unit        |
    |--------------|---------------------------------------------------------------------|-------------|
    | modes        | modes with a sample within 3σ of their centre, of `of`                | modes       |
    | high_quality | share of the samples within 3σ of a mode's centre                     |             |
    | kl           | KL(real ‖ fake) of histograms of 20 cells a side: what is missed      | nats        |
    | reverse_kl   | KL(fake ‖ real): what is made up                                      | nats        |
    | js           | Jensen–Shannon divergence of the same, at most log 2 = .693           | nats        |
    | sliced       | sliced 1-Wasserstein distance                                         | data's own  |

    Samples outside the plane that is shown count in a cell of their own. The first two need a source that knows its
    modes. Divergences of finite samples never reach 0, so `band` says what a perfect generator reads. Of a small source
    (a drawing of few rows) at most half the rows are the fixed reals, and the band's draws repeat the others.
    Raises `UsageError` for data that are no points of one or two coordinates.
    """

    def __init__(self, source: Source, size: int = 1000, seed: int = 0):
        self.bounds = bounds(source)
        splits = [source.split(name) for name in ("train", "test")]
        rows = torch.cat([s.take(torch.arange(len(s)))["x"] for s in splits]).double().numpy()
        rng = np.random.default_rng(mix(seed, "measures"))
        rows = rows[rng.permutation(len(rows))]
        kept = min(size, max(1, len(rows) // 2))
        self.real, self._fresh = rows[:kept], rows[kept:]
        self._expected = counts(self.real, self.bounds)
        self._seed = seed
        self._bands: dict[int, dict[str, Band]] = {}
        self._scores: dict[int, list[dict[str, float]]] = {}
        self._modes = None
        if getattr(source, "centres", None) is not None and getattr(source, "sigma", None) is not None:
            self._modes = ModesCovered(source), HighQuality(source)

    def values(self, fake: np.ndarray) -> dict[str, float]:
        """Every score of the samples `[n, D]`. Raises `DivergedError` for numbers that are not finite."""
        finite(fake, "generated", DivergedError)
        fake, real = clouds(fake, self.real)
        seen = counts(fake, self.bounds)
        found: dict[str, float] = {}
        if self._modes:
            found = {n: m(fake, real) for n, m in zip(("modes", "high_quality"), self._modes, strict=True)}
        return {
            **found,
            "kl": kl(self._expected, seen),
            "reverse_kl": kl(seen, self._expected),
            "js": js(self._expected, seen),
            "sliced": sliced(fake, real),
        }

    def band(self, n: int) -> dict[str, Band]:
        """What n fresh reals score against the same fixed reals, by name; computed once for each n."""
        while not self.grow(n):
            pass
        return self._bands[n]

    def grow(self, n: int, draws: int = DRAWS) -> bool:
        """Score up to `draws` more samples of n fresh reals; whether the band of n is whole. So whoever has no time for
        all of it at once can have it bit by bit. Raises `DataError` for none."""
        if n < 1:
            raise DataError("0 samples: at least 1 is needed for a measure.")
        scores = self._scores.setdefault(n, [])
        for number in range(len(scores), min(DRAWS, len(scores) + draws)):
            rng = np.random.default_rng(mix(self._seed, "band", n, number))
            scores.append(self.values(self._fresh[self._drawn(rng, n, number)]))
        if len(scores) == DRAWS and n not in self._bands:
            self._bands[n] = {
                name: Band(*np.quantile([s[name] for s in scores], (0.05, 0.5, 0.95)).tolist()) for name in scores[0]
            }
        return n in self._bands

    def _drawn(self, rng: np.random.Generator, n: int, number: int) -> np.ndarray:
        if DRAWS * n <= len(self._fresh):
            return np.arange(number * n, (number + 1) * n)
        return rng.choice(len(self._fresh), n, replace=n > len(self._fresh))

    def report(self, fake: np.ndarray) -> dict[str, Any]:
        """The scores, how many samples lie `outside`, how many modes there are (`of`), and for every score `floor`
        [5 %, 95 %] and `typical` (the median) of as many fresh reals, once `grow` has them: plain numbers for JSON."""
        self.grow(len(fake), 0)
        band = self._bands.get(len(fake), {})
        found: dict[str, Any] = dict(self.values(fake))
        if self._modes:
            found |= {"modes": int(found["modes"]), "of": len(self._modes[0].centres)}
        return {
            **found,
            "outside": int(counts(fake, self.bounds)[-1]),
            "floor": {name: [b.low, b.high] for name, b in band.items()},
            "typical": {name: b.median for name, b in band.items()},
        }

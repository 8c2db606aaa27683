"""How far a metric may be trusted: its standard deviation over samples, from one set of samples."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gannet.core.parts import Metric

DRAWS = 200
"""Resamplings of a set: they give its standard deviation to about 5 %."""
SECONDS = 10.0
"""Most seconds a metric is resampled for, once `LEAST` draws are there."""
LEAST = 10
"""With fewer draws a standard deviation says nothing."""
NORMAL = 1.96
"""Standard deviations either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Spread:
    """Standard deviation `sd` of a metric over sets of samples of this size. `draws` resamplings went into it; 0 where
    it was computed exactly."""

    sd: float
    draws: int

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval, value ± half."""
        return NORMAL * self.sd


def spread(
    metric: Metric,
    sides: tuple[np.ndarray, ...],
    draws: int = DRAWS,
    seconds: float = SECONDS,
    seed: int = 0,
    tell: Callable[[int], object] = lambda draws: None,
) -> Spread:
    """The bootstrap standard deviation (Efron 1979) of `metric(*sides)`: fakes `[n, d]`, reals `[m, d]`, training rows.

    A metric that is a mean of numbers a row (it has `rows`) gets the limit for endless draws, √(Σ (v − v̄)²)/n, the
    balls and the other side held as they are: resampled rows would be each other's nearest neighbours. Any other is
    taken again of rows drawn with replacement on both sides, training rows as they are, until there are `draws` values
    or `seconds` have passed. Repeated rows move such values (a Fréchet distance up, as fewer distinct rows do), so only
    their standard deviation is used, never their mean or their quantiles. The same `seed` draws the same rows. `tell`
    hears of draws, `draws` in all.
    """
    by_row = getattr(metric, "rows", None)
    if by_row is not None:
        values = np.asarray(by_row(*sides), np.float64)
        tell(draws)
        return Spread(float(values.std() / np.sqrt(len(values))), 0)
    rng, began = np.random.default_rng(seed), time.monotonic()
    found: list[float] = []
    while len(found) < draws and (len(found) < LEAST or time.monotonic() - began < seconds):
        again = [side[rng.integers(len(side), size=len(side))] if len(side) else side for side in sides[:2]]
        found.append(float(metric(*again, *sides[2:])))
        tell(1)
    tell(draws - len(found))
    return Spread(float(np.std(found, ddof=1)), len(found))

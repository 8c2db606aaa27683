"""Whether fakes are nearer to the training rows than samples that were not learnt by heart would be."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np

from gannet.core.errors import DataError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS
from gannet.metrics.distances import clouds, enough, finite
from gannet.metrics.neighbours import nearest, radii


class AgainstTraining(Metric):
    """A metric of fakes `[n, d]`, held-out reals `[m, d]` and training rows `[t, d]`."""

    reads, better = "features", "higher"
    wants_train = True

    # Whoever calls a metric asks `wants_train` first, so a third argument surprises nobody.
    @abstractmethod
    def __call__(self, fake: np.ndarray, real: np.ndarray, train: np.ndarray) -> float:  # type: ignore[override]
        """The value for `fake` against `real` and `train`, computed in fp64."""


@METRICS.register("nearest-ratio")
class NearestRatio(AgainstTraining):
    """Median distance of a fake to its nearest training row, over that to its nearest held-out row.

    About 1 for a generator that knows the distribution and not the rows; below 1 for one that copies, 0 if half of the
    fakes are exact copies. Above 1 is no better than 1. More rows are nearer, whoever made the fakes, so of the larger
    set only its first rows are used, as many as the smaller has. Raises `DataError` where half of the fakes are exact
    copies of held-out rows: nothing can be divided by their distance.
    """

    def __call__(self, fake: np.ndarray, real: np.ndarray, train: np.ndarray) -> float:  # type: ignore[override]
        fake, real, train = _three(fake, real, train)
        size = min(len(real), len(train))
        to_train, to_real = (float(np.median(nearest(fake, rows[:size])[0])) for rows in (train, real))
        if to_real == 0:
            raise DataError(
                "nearest-ratio: half of the generated samples or more are exact copies of held-out rows, so there is "
                "no distance to divide by. Look for rows that stand in both splits of the data."
            )
        return to_train / to_real


@METRICS.register("authenticity")
class Authenticity(AgainstTraining):
    """Share of the fakes that are farther from their nearest training row than that row is from its own nearest.

    (1/n) #{x : |x − t| > min_{s≠t} |s − t|}, t the training row nearest to x (Alaa et al. 2022, arXiv 2102.08921). 0
    for copies, also of a row that occurs twice; about ½ for new samples of the distribution. Of equally near rows the
    one with the nearer neighbour counts. Two training rows or more; the held-out rows are not looked at.
    """

    side: ClassVar[Literal["fake", "real"]] = "fake"
    needs_rows = 2

    def rows(self, fake: np.ndarray, real: np.ndarray, train: np.ndarray) -> np.ndarray:
        """1 for an authentic fake, else 0, `[n]`."""
        fake, _, train = _three(fake, real, train, least=2)
        radius = radii(train, 1)
        order = np.argsort(radius, kind="stable")  # of equally near rows, the first is found
        away, place = nearest(fake, train[order])
        return (away[:, 0] > radius[order][place[:, 0]]).astype(float)

    def __call__(self, fake: np.ndarray, real: np.ndarray, train: np.ndarray) -> float:  # type: ignore[override]
        return float(self.rows(fake, real, train).mean())


def _three(
    fake: np.ndarray, real: np.ndarray, train: np.ndarray, least: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    fake, real = clouds(fake, real)
    if train.ndim != 2 or train.shape[1] != fake.shape[1]:
        raise DataError(f"training rows are [t, {fake.shape[1]}] here; received {list(train.shape)}.")
    enough(train, "training", least)
    finite(train, "training")
    return fake, real, np.ascontiguousarray(train, np.float64)

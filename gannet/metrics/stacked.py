"""Modes that a classifier can count: the thousand classes of stacked MNIST, each sample in one of them."""

from __future__ import annotations

import numpy as np

from gannet.core.errors import DataError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS
from gannet.metrics.distances import clouds
from gannet.metrics.modes import divergence


def class_counts(probabilities: np.ndarray) -> np.ndarray:
    """Rows `[n, classes]` in their most probable class, counted: `[classes]` int64."""
    return np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])


def modes_hit(counts: np.ndarray) -> int:
    """Classes with at least one sample."""
    return int(np.count_nonzero(counts))


def divergence_of_counts(fake: np.ndarray, real: np.ndarray) -> float:
    """KL(fake ‖ real) in nats of two histograms of the same classes, `[classes]` counts or shares.

    Raises `DataError` for a class with fakes and without a real, where it is infinite.
    """
    missed = np.flatnonzero((fake > 0) & (real == 0))
    if len(missed):
        raise DataError(f"no reference sample is of class {missed[0]}: {real.sum():g} are too few. Raise n.")
    return divergence(fake / fake.sum(), real / real.sum())


@METRICS.register("stacked-modes")
class StackedModes(Metric):
    """Number of classes with at least one fake, each counted for its most probable class: 0 … 1,000 on stacked MNIST.

    Metz et al. 2017, arXiv 1611.02163; published of 26,000 samples, of which reals reach all classes. It grows with n,
    and one wrong look of the classifier is enough for a class. `fake` `[n, classes]`; reals are not looked at.
    """

    reads, better, unit = "probabilities", "higher", "modes"

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        return float(modes_hit(class_counts(clouds(fake, real)[0])))


@METRICS.register("stacked-kl")
class StackedKL(Metric):
    """KL(fake ‖ real) of the shares of samples in each class, every sample in its most probable one.

    Σ_c p_c log(p_c / q_c), p from fakes, q from reals (Srivastava et al. 2017, arXiv 1705.07761). Equal distributions
    give about classes/2 · (1/n + 1/m) and not 0: .04 for the 1,000 classes of stacked MNIST at n = m = 26,000. Raises
    `DataError` if a class with fakes has no real: n is too small.
    """

    reads, better, unit = "probabilities", "lower", "nat"

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real)
        return divergence_of_counts(class_counts(fake), class_counts(real))

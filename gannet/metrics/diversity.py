"""A score of the fakes alone, from the classes a classifier sees in them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from gannet.core.errors import DataError, UsageError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS
from gannet.metrics.distances import clouds


@METRICS.register("classifier-score")
class ClassifierScore(Metric):
    """exp of the mean KL(p(y|x) ‖ p(y)) over fakes: 1 … classes, high for samples of clear and of many classes.

    p(y) is the mean of p(y|x) (Salimans et al. 2016, arXiv 1606.03498, in whose classifier's classes it is the
    inception score). With `splits`, the mean over as many contiguous parts of the fakes in their order, as it is
    published with 10; then it depends on the order, and more than one split lowers it. `fake` `[n, classes]`, rows that
    sum to 1. Reals are not looked at, so samples may be of every class and look like none of the data.
    """

    reads, better = "probabilities", "higher"

    def __init__(self, *, splits: int = 1):
        if splits < 1:
            raise UsageError(f"classifier-score: splits={splits}; at least 1 is needed, 1 or 10 are usual.")
        self.splits = splits
        self.needs_rows = splits

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, _ = clouds(fake, real, fakes=self.splits)
        if (fake < 0).any() or (np.abs(fake.sum(1) - 1) > 1e-3).any():
            raise DataError("classifier-score reads class probabilities; some row is negative or does not sum to 1.")
        ends = [len(fake) * i // self.splits for i in range(self.splits + 1)]
        return float(np.mean([_score(fake[a:b]) for a, b in pairwise(ends)]))


def _score(p: np.ndarray) -> float:
    ratio = np.divide(p, p.mean(0), out=np.ones_like(p), where=p > 0)  # a class of probability 0 adds nothing
    return float(np.exp((p * np.log(ratio)).sum(1).mean()))

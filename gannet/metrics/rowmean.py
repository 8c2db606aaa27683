"""Metrics that are a mean over rows, and say which."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np

from gannet.core.parts import Metric


class RowMean(Metric):
    """A metric that is the mean of one value a row, so that its spread can be had by resampling the values.

    Resampling the rows themselves would not do: a row drawn twice has itself for a neighbour, and every ball of nearest
    neighbours shrinks.
    """

    side: ClassVar[Literal["fake", "real"]]
    """Whose rows the values belong to."""

    @abstractmethod
    def rows(self, fake: np.ndarray, real: np.ndarray) -> np.ndarray:
        """One fp64 value for each row of `side`, `[n]` or `[m]`; their mean is the metric."""

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        return float(self.rows(fake, real).mean())

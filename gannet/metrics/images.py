"""What metrics of images themselves have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from gannet.core.errors import UsageError
from gannet.core.parts import Metric


class ImageMetric(Metric):
    """A metric on the pixels of images of the source's shape. Raises `UsageError` for a source of anything else."""

    reads = "samples"
    wants_source = True

    def __init__(self, source: Any):
        self.shape = tuple(source.spec.shape)
        if len(self.shape) != 3:
            raise UsageError(
                f"{type(source).__name__} gives samples {list(self.shape)}; this metric reads images [C, H, W]. "
                f"sliced-wasserstein works on any samples."
            )

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Flattened samples `[n, C·H·W]` as images `[n, C, H, W]`."""
        return rows.reshape(len(rows), *self.shape)

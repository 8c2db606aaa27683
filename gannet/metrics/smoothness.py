"""How evenly samples change along the latent space."""

from __future__ import annotations

import numpy as np

from gannet.core.errors import DataError, DivergedError
from gannet.core.parts import Metric
from gannet.core.registry import METRICS
from gannet.metrics.distances import enough, finite


@METRICS.register("path-length")
class PathLength(Metric):
    """Perceptual path length: mean of |Δ|², Δ the change of a fake's features over a small latent step, over the step.

    Δ = (f(G(z_{t+ε})) − f(G(z_t)))/ε, `fake` `[n, d]` (Karras et al. 2019, arXiv 1812.04948, §4.1). Lengths outside the
    1st and 99th percentile are left out; the percentiles are lengths that occur, the first rounded down and the last
    up, and both are kept. Features, step and latent are part of the number. Reals are not looked at.
    """

    reads, better, symbol = "steps", "lower", "path-length"

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        if fake.ndim != 2:
            raise DataError(f"path-length reads steps [n, d]; received {list(fake.shape)}.")
        enough(fake, "generated", 1)
        finite(fake, "generated", DivergedError)
        length = (fake.astype(np.float64) ** 2).sum(1)
        low, high = np.percentile(length, 1, method="lower"), np.percentile(length, 99, method="higher")
        return float(length[(length >= low) & (length <= high)].mean())

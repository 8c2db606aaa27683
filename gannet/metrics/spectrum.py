"""How much detail of every size images have, compared between fakes and reals."""

from __future__ import annotations

import numpy as np

from gannet.core.registry import METRICS
from gannet.metrics.distances import clouds, row_slices
from gannet.metrics.images import ImageMetric

FAINT = 1e-12
"""A frequency with less than this part of the reals' strongest power counts as having this much."""


@METRICS.register("spectrum")
class Spectrum(ImageMetric):
    """Distance of the radial power spectra: mean over frequencies k of |log P_fake(k) − log P_real(k)|.

    P(k) is the mean of |FFT|² over images, channels and the frequencies whose length rounds to k, in cycles over the
    longer side; k = 0 is brightness, and the corners count (Durall et al. 2020, arXiv 2003.01826, has the profile).
    Upsampling that leaves grids or blur shows here whatever the features say; place and content do not. A power below
    1e-12 of the reals' greatest reads as that, so black images give a finite value. Images of any height and width.
    """

    better, unit = "lower", "nat"

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        fake, real = clouds(fake, real)
        p, q = self.profile(fake), self.profile(real)
        least = max(FAINT * q.max(), np.finfo(float).tiny)
        return float(np.abs(np.log(np.maximum(p, least)) - np.log(np.maximum(q, least))).mean())

    def profile(self, rows: np.ndarray) -> np.ndarray:
        """P(k) of flattened images `[n, C·H·W]`, `[frequencies]`."""
        channels, height, width = self.shape
        power = np.zeros((height, width))
        for part in row_slices(*rows.shape):
            power += (np.abs(np.fft.fft2(self.images(rows[part]))) ** 2).sum((0, 1))
        y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
        ring = np.rint(np.hypot(y, x) * max(height, width)).astype(int).ravel()
        return np.bincount(ring, power.ravel()) / np.bincount(ring) / (len(rows) * channels)

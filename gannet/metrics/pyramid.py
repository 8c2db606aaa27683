"""Local structure at every scale: sliced Wasserstein distance between patches of Laplacian pyramids."""

from __future__ import annotations

from typing import Any

import numpy as np

from gannet.core.errors import UsageError
from gannet.core.registry import METRICS
from gannet.metrics.distances import clouds, projected, row_slices, unit_directions
from gannet.metrics.images import ImageMetric

PATCH = 7
"""Height and width of a patch, where the level is as large."""
SMALLEST = 16
"""Height or width under which no further level is made."""
TAPS = np.array([1, 4, 6, 4, 1]) / 16


@METRICS.register("pyramid")
class Pyramid(ImageMetric):
    """Sliced 1-Wasserstein distance between 7 × 7 patches of Laplacian pyramids, ×10³, mean over levels.

    Of every level, from full size down to 16 pixels, `patches` random patches an image are taken; each channel is
    shifted and scaled to mean 0 and deviation 1 over a set's patches; then the distance is the mean of
    ∫₀¹ |F_x⁻¹(q) − F_y⁻¹(q)| dq over `directions` (Karras et al. 2018, arXiv 1710.10196, §5, ×10³ as printed there).
    Row i of both sets is cut at the same places, so a set is at 0 from itself; other orders give other cuts, to within
    the noise of the draw. Images smaller than 7 give patches of their own size. Free of any network.
    """

    better, unit = "lower", "×10⁻³"

    def __init__(self, source: Any, *, patches: int = 128, directions: int = 512, seed: int = 0):
        super().__init__(source)
        if patches < 1 or directions < 1:
            raise UsageError(
                f"pyramid: patches={patches}, directions={directions}; each is at least 1, 128 and 512 are usual."
            )
        self.patches, self.directions, self.seed = patches, directions, seed

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        return 1000 * float(np.mean(self.levels(fake, real)))

    def levels(self, fake: np.ndarray, real: np.ndarray) -> list[float]:
        """The distance at every level, from the finest to the coarsest, not multiplied."""
        fake, real = clouds(fake, real)
        count = max(1, (min(self.shape[1:]) // SMALLEST).bit_length())
        return [self._distance(fake, real, level, last=level == count - 1) for level in range(count)]

    def _distance(self, fake: np.ndarray, real: np.ndarray, level: int, last: bool) -> float:
        x, y = (self._descriptors(rows, level, last) for rows in (fake, real))
        u = unit_directions(np.random.default_rng([self.seed, level, 1]), x.shape[1], self.directions)
        total = sum(float((np.abs(a - b) @ width).sum()) for width, a, b in projected(x, y, u))
        return total / self.directions

    def _descriptors(self, rows: np.ndarray, level: int, last: bool) -> np.ndarray:
        """Normalised patches of one level, `[n · patches, C · height · width]`."""
        images = [_band(self.images(rows[part]), level, last) for part in row_slices(*rows.shape)]
        band = np.concatenate(images)
        side = [min(PATCH, size) for size in band.shape[2:]]
        rng = np.random.default_rng([self.seed, level, 0])
        windows = np.lib.stride_tricks.sliding_window_view(band, side, axis=(2, 3))  # [n, C, y, x, *side]
        y, x = np.moveaxis(rng.integers(windows.shape[2:4], size=(len(rows), self.patches, 2)), 2, 0)
        found = windows[np.arange(len(rows))[:, None], :, y, x]  # [n, patches, C, *side]
        found = found - found.mean((0, 1, 3, 4), keepdims=True)
        deviation = found.std((0, 1, 3, 4), keepdims=True)
        found /= np.where(deviation > 0, deviation, 1)  # an even channel has no structure to compare
        return found.reshape(len(rows) * self.patches, -1)


def _band(images: np.ndarray, level: int, last: bool) -> np.ndarray:
    """Level `level` of the Laplacian pyramid of `[n, C, H, W]`: what the next coarser level lacks; the coarsest level
    is the reduced image itself."""
    for _ in range(level):
        images = _reduce(images)
    return images if last else images - _expand(_reduce(images), images.shape[2:])


def _reduce(images: np.ndarray) -> np.ndarray:
    return _blur(images)[:, :, ::2, ::2]


def _expand(images: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    n, channels, height, width = images.shape
    spread = np.zeros((n, channels, 2 * height, 2 * width))
    spread[:, :, ::2, ::2] = 4 * images
    return _blur(spread)[:, :, : size[0], : size[1]]


def _blur(images: np.ndarray) -> np.ndarray:
    """Convolution with the binomial [1 4 6 4 1]/16 in both directions, mirrored at the edges."""
    for axis in (2, 3):
        padded = np.pad(images, [(2, 2) if a == axis else (0, 0) for a in range(4)], mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(TAPS), axis=axis)
        images = windows @ TAPS
    return images

"""The 1,797 grey 8×8 digits that scikit-learn carries: real data that needs no download."""

from __future__ import annotations

import numpy as np
import torch

from gannet.core.registry import SOURCES
from gannet.data.memory import MemorySource, padded

TEST = 297


@SOURCES.register("digits")
class Digits(MemorySource):
    """Handwritten digits, 8×8 grey, ten classes (Alpaydin and Kaynak, 1998).

    1,500 training and 297 test images. The order is fixed and interleaves the classes evenly, so the split is
    stratified and so is any `limit`. Ink 0 … 16 becomes 0 … 255. `size` pads with background to size × size and does
    not resample.
    """

    def __init__(
        self, *, size: int | None = None, limit: int | None = None, labels: tuple[int | str, ...] | None = None
    ):
        # Imported late: scikit-learn takes about a second to load, and listing sources should not.
        from sklearn.datasets import load_digits

        bunch = load_digits()
        order = interleaved(bunch.target)
        ink = np.rint(bunch.images[order] * (255 / 16)).astype(np.uint8)
        x = padded(torch.from_numpy(ink).unsqueeze(1), size)  # [1797, 1, H, W]
        y = torch.from_numpy(bunch.target[order].astype(np.int64))
        train, test = ({"x": x[rows], "y": y[rows]} for rows in (slice(None, -TEST), slice(-TEST, None)))
        super().__init__(train, test, [str(digit) for digit in range(10)], labels, limit)


def interleaved(y: np.ndarray) -> np.ndarray:
    """A fixed random order of the rows in which every class is spread evenly: any prefix is stratified."""
    shuffled = np.random.RandomState(0).permutation(len(y))  # RandomState: its streams are frozen for good
    place = np.empty(len(y))
    for label in np.unique(y):
        rows = shuffled[y[shuffled] == label]
        place[rows] = np.arange(len(rows)) / len(rows)
    return shuffled[np.argsort(place[shuffled], kind="stable")]

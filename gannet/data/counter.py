"""Rows that are made when they are asked for, each from uniform numbers that follow from its index alone."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import numpy as np
from torch import Tensor

from gannet.core.errors import UsageError, unknown
from gannet.core.types import Batch, DataSpec, Source

MAX_ROWS = 1 << 32
FIRST = {"train": 0, "test": MAX_ROWS}
"""Where a split begins to count: no training row and test row share a number, however many there are."""


def uniforms(key: int, rows: np.ndarray, columns: int) -> np.ndarray:
    """Uniform numbers in [0, 1), `[B, columns]` float64, each a function of (key, row, column) and nothing else.

    SplitMix64 (Steele, Lea and Flood, 2014) at position row · columns + column: a permutation of 64-bit numbers, so no
    two rows share one, and row 10⁹ costs what row 0 does.
    """
    place = rows.astype(np.uint64)[:, None] * np.uint64(columns) + np.arange(1, columns + 1, dtype=np.uint64)
    state: np.ndarray = place * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


class MadeSplit(ABC):
    """The split `name` of `rows` rows, made of `columns` uniform numbers each; nothing is kept between calls."""

    columns: int

    def __init__(self, name: str, rows: int, key: int):
        self.name, self.rows, self.key = name, rows, key

    def __len__(self) -> int:
        return self.rows

    def numbers(self, indices: Tensor) -> np.ndarray:
        """The numbers `[B, columns]` that rows are made of. `IndexError` for a row that does not exist."""
        if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= self.rows):
            raise IndexError(f"indices {int(indices.min())} … {int(indices.max())} of a split of {self.rows} rows")
        return uniforms(self.key, indices.numpy() + FIRST[self.name], self.columns)

    @abstractmethod
    def take(self, indices: Tensor) -> Batch:
        """Rows by index, `[B]` int64."""


class MadeSource(Source):
    """A source of made splits. `content` is all that rows follow from beside their number, for the fingerprint."""

    def __init__(self, spec: DataSpec, splits: list[MadeSplit], content: str):
        self.spec, self._splits, self._content = spec, {split.name: split for split in splits}, content

    def split(self, name: str) -> MadeSplit:
        """ "train" or "test"; any other name is a `UsageError`."""
        if name not in self._splits:
            raise UsageError(unknown("split", name, self._splits))
        return self._splits[name]

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of BLAKE2b over what the rows follow from, their shape and how many there are."""
        splits = [(split.name, split.rows, split.key) for split in self._splits.values()]
        return hashlib.blake2b(repr((self._content, self.spec, splits)).encode(), digest_size=8).hexdigest()


def check_count(count: int) -> None:
    """`UsageError` for a number of rows that is not 1 … 2³²."""
    if not 1 <= count <= MAX_ROWS:
        raise UsageError(f"count={count} is outside 1 … {MAX_ROWS:,}.")

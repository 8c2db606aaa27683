"""Packed data: rows in plain files that are mapped into memory, so a set of any size opens at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import DataError, UsageError, unknown
from gannet.core.registry import SOURCES
from gannet.core.types import Batch, DataSpec, Source
from gannet.data.index import DTYPES, SPLITS, Index, check_files, read_index, shard_file
from gannet.data.memory import check_limit, class_numbers, scaled


@SOURCES.register("shards")
class Shards(Source):
    """Data packed by `gannet data pack`, read from disk row by row: it may be larger than memory.

    Nothing is loaded: the files are mapped, and the system keeps in its cache what is used. Opening checks the length
    and the first bytes of every file; `verify` reads all of them and compares their SHA-256. `limit` keeps the first N
    training rows, `labels` keeps and renumbers classes, `flip` adds the mirror image of every training row.

    Raises `DataError` naming the file that is missing, cut short, too long or changed.
    """

    def __init__(
        self,
        *,
        path: str,
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
        flip: bool = False,
        verify: bool = False,
    ):
        check_limit(limit)
        folder = Path(path).expanduser()
        index = read_index(folder)
        check_files(folder, index, every_byte=verify)
        classes = class_numbers(labels, index.spec.names)
        if flip and index.spec.kind != "image":
            raise UsageError(f"flip=true mirrors images, and {folder} holds {index.spec.kind}. Leave flip out.")
        columns = {split: _columns(folder, index, split) for split in SPLITS}
        for split in SPLITS if "y" in index.dtypes else ():
            _check_labels(folder, split, columns[split]["y"], index.spec.classes)
        chosen = {s: _rows_of(columns[s]["y"], classes) if labels is not None else None for s in SPLITS}
        self._splits = {
            "train": MappedSplit(columns["train"], chosen["train"], classes, limit, flip),
            "test": MappedSplit(columns["test"], chosen["test"], classes),
        }
        for name, rows in self._splits.items():
            if not len(rows):
                raise DataError(f"{folder}: no {name} rows are left with labels={list(labels or ())}.")
        names = tuple(index.spec.names[c] for c in classes)
        self.spec = DataSpec(index.spec.fields, len(classes), names)
        self._identity = repr((index.fingerprint(), classes, limit, flip))

    def split(self, name: str) -> MappedSplit:
        """ "train" or "test"; any other name is a `UsageError`."""
        if name not in self._splits:
            raise UsageError(unknown("split", name, self._splits))
        return self._splits[name]

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the hashes in the index and of what is kept of the rows."""
        return hashlib.blake2b(self._identity.encode(), digest_size=8).hexdigest()


class Column:
    """One field of a split over all its shards: `column[rows]` gathers rows by number, in any order."""

    def __init__(self, maps: Sequence[np.ndarray]):
        self.maps = maps
        self.ends = np.cumsum([len(m) for m in maps])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *self.maps[0].shape[1:]), self.maps[0].dtype)
        # In the order of the files, so that each is read once and forwards.
        order = np.argsort(rows, kind="stable")
        rising = rows[order]
        cuts = np.searchsorted(rising, self.ends)
        for number in np.unique(np.searchsorted(self.ends, rising, side="right")):
            start = cuts[number - 1] if number else 0
            first = self.ends[number - 1] if number else 0
            place = slice(start, cuts[number])
            found[order[place]] = self.maps[number][rising[place] - first]
        return found


class MappedSplit:
    """Rows of mapped files. uint8 is given out as float32 in [−1, 1], everything else as it is.

    `chosen` are the rows that are kept, `None` for all; `classes` the label numbers in their new order. With `flip`
    index i ≥ N is the mirror image of row i − N.
    """

    def __init__(
        self,
        columns: dict[str, Column],
        chosen: np.ndarray | None,
        classes: Sequence[int],
        limit: int | None = None,
        flip: bool = False,
    ):
        self.columns, self.flip = columns, flip
        self.chosen = chosen if chosen is None else chosen[:limit]
        self.rows = min(len(columns["x"]), limit or len(columns["x"])) if self.chosen is None else len(self.chosen)
        self.table = np.full(max(classes, default=-1) + 1, -1)
        self.table[list(classes)] = np.arange(len(classes))

    def __len__(self) -> int:
        return self.rows * (1 + self.flip)

    def take(self, indices: Tensor) -> Batch:
        """Rows by index (`[B]` int64, any order, repeats allowed). `IndexError` for one outside 0 … len − 1."""
        wanted = indices.numpy()
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"indices {wanted.min()} … {wanted.max()} of a split of {len(self)} rows")
        rows = wanted % self.rows
        if self.chosen is not None:
            rows = self.chosen[rows]
        batch = {name: torch.from_numpy(column[rows]) for name, column in self.columns.items()}
        if "y" in batch:
            batch["y"] = torch.from_numpy(self.table[batch["y"].numpy()])
        if self.flip:
            mirrored = torch.from_numpy(wanted >= self.rows).view(-1, 1, 1, 1)
            for name in batch.keys() - {"y"}:
                batch[name] = torch.where(mirrored, batch[name].flip(-1), batch[name])
        return {name: scaled(rows) for name, rows in batch.items()}


def _columns(folder: Path, index: Index, split: str) -> dict[str, Column]:
    def opened(number: int, rows: int, field: str) -> np.ndarray:
        shape, dtype = (rows, *index.shape(field)), np.dtype(DTYPES[index.dtypes[field]])
        # An empty file, of a shard none of whose images could be read, cannot be mapped.
        file = folder / shard_file(split, number, field)
        return np.asarray(np.memmap(file, dtype, "r", shape=shape)) if rows else np.empty(shape, dtype)

    return {
        field: Column([opened(number, shard.rows, field) for number, shard in enumerate(index.splits[split])])
        for field in index.dtypes
    }


def _check_labels(folder: Path, split: str, labels: Column, classes: int) -> None:
    """`DataError` for a label that is no class: an embedding would stop at it in the middle of a run."""
    for number, part in enumerate(labels.maps):
        if len(part) and not 0 <= part.min() <= part.max() < classes:
            raise DataError(
                f"{folder / shard_file(split, number, 'y')}: labels {part.min()} … {part.max()}; 0 … {classes - 1} "
                f"are expected. Pack the data again."
            )


def _rows_of(labels: Column, classes: Sequence[int]) -> np.ndarray:
    """Numbers of the rows whose label is one of `classes`."""
    kept = [np.flatnonzero(np.isin(part, classes)) for part in labels.maps]
    return np.concatenate(
        [rows + end - len(part) for rows, end, part in zip(kept, labels.ends, labels.maps, strict=True)]
    )

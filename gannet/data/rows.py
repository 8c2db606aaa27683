"""Any source as rows to be stored or looked at: what they are, how many, and a chunk of them at a time."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch

from gannet.core.errors import DataError, UsageError
from gannet.core.experiment import data_shorthand
from gannet.core.registry import SOURCES
from gannet.core.spec import Spec
from gannet.core.types import DataSpec, Field, Source, Split
from gannet.data.folder import ImageFiles
from gannet.data.index import SPLITS
from gannet.data.listing import shown
from gannet.data.memory import MemorySplit
from gannet.data.survey import Survey

Chunk = dict[str, np.ndarray]


class Rows(ABC):
    """Rows of a source in their order. `planned` says how many there are to read in a split; of image files fewer may
    come, where bad ones are skipped. `dtypes` has the type that every field is stored in."""

    spec: DataSpec
    dtypes: dict[str, str]
    planned: dict[str, int]

    @abstractmethod
    def read(self, split: str, start: int, stop: int) -> Chunk:
        """The planned rows `start … stop − 1`, each field `[n, *shape]` in its type."""

    @abstractmethod
    def stamp(self) -> str:
        """Sixteen hexadecimal digits that change when the source does."""


class FileRows(Rows):
    """Image files, decoded when they are asked for, so memory holds no more than a chunk."""

    def __init__(self, survey: Survey):
        self.survey = survey
        names = tuple(shown(name) for name in survey.names)
        self.spec = DataSpec({"x": Field(survey.shape)}, len(names), names)
        survey.check_splits()
        self.dtypes = {"x": "uint8", **({"y": "int64"} if names else {})}
        self.planned = {split: len(found) for split, found in survey.splits.items()}

    def read(self, split: str, start: int, stop: int) -> Chunk:
        found = list(self.survey.decoded(self.survey.splits[split][start:stop]))
        self.survey.judge()
        x = np.stack([image for _, image in found]) if found else np.empty((0, *self.survey.shape), np.uint8)
        return {"x": x, **({"y": self.survey.numbers([name for name, _ in found])} if self.survey.names else {})}

    def stamp(self) -> str:
        digest = hashlib.blake2b(repr((self.spec, self.survey.crop)).encode(), digest_size=8)
        for split, names in self.survey.splits.items():
            for name in names:
                try:
                    stamp = self.survey.files.stamp(name)
                except OSError as error:
                    raise DataError(f"{self.survey.files.path}: {shown(name)} is gone ({error.strerror}).") from None
                line = f"{split} {name} {self.survey.classes.get(name)} {stamp}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


class SourceRows(Rows):
    """Rows of a source that was built. Images go into bytes where that loses nothing."""

    def __init__(self, source: Source):
        self.source, self.spec = source, source.spec
        self.splits = {name: source.split(name) for name in SPLITS}
        self.planned = {name: _length(split) for name, split in self.splits.items()}

    @cached_property
    def dtypes(self) -> dict[str, str]:  # type: ignore[override]
        return {name: self._dtype(name, array) for name, array in _stored(self.splits["train"], 0, 1).items()}

    def read(self, split: str, start: int, stop: int) -> Chunk:
        rows = _stored(self.splits[split], start, stop)
        return {
            name: as_bytes(array) if self.dtypes[name] == "uint8" and array.dtype != np.uint8 else array
            for name, array in rows.items()
        }

    def stamp(self) -> str:
        return self.source.fingerprint()

    def _dtype(self, name: str, first: np.ndarray) -> str:
        field = self.spec.fields.get(name)
        if first.dtype != np.float32 or field is None or field.kind != "image" or field.range != (-1.0, 1.0):
            return first.dtype.name
        for split in SPLITS:
            for start in range(0, self.planned[split], 1024):
                floats = _stored(self.splits[split], start, min(start + 1024, self.planned[split]))[name]
                if not np.array_equal(as_bytes(floats).astype(np.float32) / np.float32(127.5) - 1, floats):
                    return "float32"
        return "uint8"


def source_spec(text: str, options: Mapping[str, Any] | None = None) -> Spec:
    """What stands after `data=`, with further options."""
    spec = data_shorthand(text)
    for key, value in (options or {}).items():
        spec = spec.with_arg(key, value)
    return spec


def rows_of(spec: Spec, where: str = "") -> Rows:
    """The rows of the source `spec`. Image files are surveyed and not decoded. Raises what the source raises."""
    part, arguments = SOURCES.get(spec.name, where), SOURCES.resolve(spec, where)
    if arguments.pop("flip", False):
        raise UsageError(f"{where or spec.name}: mirror images are made while training. Leave flip=true out here.")
    if issubclass(part, ImageFiles):
        return FileRows(part.survey(**arguments))
    return SourceRows(SOURCES.build(spec, where=where))


def as_bytes(floats: np.ndarray) -> np.ndarray:
    """[−1, 1] as 0 … 255, rounded."""
    return np.rint((floats + 1) * np.float32(127.5)).clip(0, 255).astype(np.uint8)


def _length(split: Split) -> int:
    return split.rows if isinstance(split, MemorySplit) else len(split)


def _stored(split: Split, start: int, stop: int) -> dict[str, Any]:
    """Rows as a split in memory holds them, as any other gives them out."""
    if isinstance(split, MemorySplit):
        return {name: rows[start:stop].numpy() for name, rows in split.fields.items()}
    return {name: rows.numpy() for name, rows in split.take(torch.arange(start, stop)).items()}

"""The index of packed data: what a directory of shards holds, how it was made, and the hash of every byte.

    NAME/index.json   train-00000-x.bin   train-00000-y.bin   …   test-00000-x.bin   test-00000-y.bin

A file holds the rows of one field of one shard, one after the other, without a header: uint8 for pixels, float32 for
other numbers, int64 for labels, little-endian, in C order. So any program can read it, and opening it runs no code.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gannet.core.errors import DataError
from gannet.core.experiment import PACKED
from gannet.core.types import DataSpec

VERSION = 1
INDEX, UNFINISHED = "index.json", "packing.json"
HEAD = 4096
"""Bytes at the beginning of a file whose hash is checked whenever it is opened."""
DTYPES = {"uint8": "<u1", "float32": "<f4", "int64": "<i8"}
SPLITS = ("train", "test")
MAX_INDEX = 64 << 20


@dataclass(frozen=True)
class Shard:
    """Some consecutive rows of a split: how many, and for every field the SHA-256 of its file and of its beginning."""

    rows: int
    sha256: dict[str, str]
    head: dict[str, str]


@dataclass(frozen=True)
class Index:
    """What a directory of shards holds. `dtypes` has the type of every field, labels `y` included; `made` says from
    what and with which options."""

    spec: DataSpec
    dtypes: dict[str, str]
    splits: dict[str, list[Shard]]
    made: dict[str, Any]

    def shape(self, field: str) -> tuple[int, ...]:
        """Shape of one row of a field."""
        return () if field == "y" else self.spec.fields[field].shape

    def row_bytes(self) -> int:
        """Bytes of one row over all fields."""
        return sum(self.bytes(field, 1) for field in self.dtypes)

    def bytes(self, field: str, rows: int) -> int:
        """Bytes of `rows` rows of a field."""
        return rows * math.prod(self.shape(field)) * np.dtype(DTYPES[self.dtypes[field]]).itemsize

    def rows(self, split: str) -> int:
        """Rows of a split."""
        return sum(shard.rows for shard in self.splits[split])

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the content: the spec and the hashes of every shard, not where it came from."""
        content = json.dumps([self.spec.to_json(), self.dtypes, self._shards()], sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()

    def to_text(self) -> str:
        """The file's text. It carries its own hash, so that an edit is noticed."""
        body = {
            "format": PACKED,
            "version": VERSION,
            "spec": self.spec.to_json(),
            "dtypes": self.dtypes,
            "splits": self._shards(),
            "made": self.made,
        }
        return json.dumps({**body, "sha256": _digest(body)}, indent=1, ensure_ascii=False) + "\n"

    def _shards(self) -> dict[str, list[dict[str, Any]]]:
        return {split: [asdict(shard) for shard in shards] for split, shards in self.splits.items()}


def shard_file(split: str, number: int, field: str) -> str:
    """The name of a file of a shard. Names are made, never read, so an index cannot point elsewhere."""
    return f"{split}-{number:05d}-{field}.bin"


def read_index(path: Path) -> Index:
    """The index of the directory `path`. Raises `DataError` for one that is missing, newer, edited or malformed."""
    file = path / INDEX
    if not file.is_file():
        if (path / UNFINISHED).is_file():
            raise DataError(f"{path} is packed only in part. Give the command that packs it again: it goes on.")
        raise DataError(f"{path} is no packed data: it has no {INDEX}. Make it with: gannet data pack SOURCE {path}")
    try:
        if file.stat().st_size > MAX_INDEX:
            raise ValueError(f"{file.stat().st_size:,} bytes, over {MAX_INDEX:,}")
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != PACKED:
            raise ValueError(f'it does not say "format": "{PACKED}"')
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is not a readable index ({error}). Copy or pack the data again.") from None
    version = content.get("version")
    if version != VERSION:
        raise DataError(
            f"{file} is of version {version}, this Gannet reads version {VERSION}. Update it or pack again."
        )
    recorded = content.pop("sha256", None)
    if recorded != _digest(content):
        raise DataError(f"{file} was changed after it was written: its own hash differs. Copy or pack the data again.")
    try:
        splits = {split: [Shard(**shard) for shard in content["splits"][split]] for split in SPLITS}
        index = Index(DataSpec.from_json(content["spec"]), content["dtypes"], splits, content["made"])
        _check(index)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{file} is malformed ({error!r}). Copy or pack the data again.") from None
    return index


def check_files(path: Path, index: Index, every_byte: bool = False) -> None:
    """`DataError` naming the first file that is missing, of another length or with another beginning than the index
    says; with `every_byte`, of another content."""
    mend = "Copy it again, or pack the data again."
    files = [(s, n, f) for s in SPLITS for n, _ in enumerate(index.splits[s]) for f in index.dtypes]
    for split, number, field in tqdm(files, "checking", unit=" files", delay=2, leave=False, disable=None):
        shard, file = index.splits[split][number], path / shard_file(split, number, field)
        expected = index.bytes(field, shard.rows)
        try:
            found = file.stat().st_size
            if found != expected:
                what = "cut short" if found < expected else "too long"
                raise DataError(f"{file} is {what}: {found:,} bytes, {expected:,} are expected. {mend}")
            changed = _head(file) != shard.head[field]
            if not changed and every_byte:
                with open(file, "rb") as stream:
                    changed = hashlib.file_digest(stream, "sha256").hexdigest() != shard.sha256[field]
        except OSError as error:
            raise DataError(
                f"{file} cannot be read ({error.strerror}); {expected:,} bytes are expected. {mend}"
            ) from None
        if changed:
            raise DataError(f"{file} is not the file that was packed: its SHA-256 differs. {mend}")


def _check(index: Index) -> None:
    """`ValueError` for numbers that no pack could have written."""
    fields = {*index.spec.fields, *(["y"] if index.spec.classes else [])}
    if set(index.dtypes) != fields or not set(index.dtypes.values()) <= set(DTYPES):
        raise ValueError(f"types {index.dtypes} of fields {sorted(fields)}")
    if any(not isinstance(side, int) or side < 1 for field in index.spec.fields.values() for side in field.shape):
        raise ValueError("a shape that is no shape")
    for split, shards in index.splits.items():
        if any(not isinstance(s.rows, int) or s.rows < 0 or not {*s.sha256} == {*s.head} == fields for s in shards):
            raise ValueError(f"shards of {split}")
        if not index.rows(split):
            raise ValueError(f"no rows in {split}")


def _head(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.sha256(stream.read(HEAD)).hexdigest()


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def write_atomic(file: Path, text: str) -> None:
    """Write `text` so that a reader finds the old file or the new one."""
    temporary = file.with_name(f".{file.name}.part")
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, file)

"""CIFAR-10 from its binary archive, read in place: nothing is extracted."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import DataError
from gannet.core.registry import SOURCES
from gannet.data.download import data_home, fetch
from gannet.data.memory import MemorySource

ARCHIVE = "cifar-10-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
JPEGS = "cifar10-jpg.zip"
"""Where `cifar10-jpg` has them."""
SIDE = 32
FOLDER = "cifar-10-batches-bin"
SPLITS = {"train": [f"{FOLDER}/data_batch_{k}.bin" for k in range(1, 6)], "test": [f"{FOLDER}/test_batch.bin"]}
RECORD = 1 + 3 * SIDE * SIDE
ROWS = 10_000
MAX_CONTENT = 256 << 20


@SOURCES.register("cifar10")
class Cifar10(MemorySource):
    """Small photographs, 32×32 RGB, ten classes, 50,000 + 10,000 (Krizhevsky, 2009).

    Read from `$GANNET_DATA/cifar-10-binary.tar.gz`, else downloaded with a pinned SHA-256. The order is the files' own,
    which mixes the classes. `grey` keeps the luma only, `flip` adds the mirror image of every training image. Raises
    `DataError` naming the archive and the member that is missing or damaged.
    """

    def __init__(
        self,
        *,
        grey: bool = False,
        flip: bool = False,
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        path = _archive()
        members = read_members(path, [name for names in SPLITS.values() for name in names], RECORD * ROWS)
        train, test = (_rows(path, [(name, members[name]) for name in SPLITS[split]], grey) for split in SPLITS)
        super().__init__(train, test, NAMES, labels, limit, flip)


def _archive() -> Path:
    """Where the archive is. Raises `DataError`, which names the JPEGs where they are at hand: whoever has those should
    not be sent to a download."""
    try:
        return fetch(ARCHIVE, URL, SHA256)
    except DataError as error:
        home = data_home()
        if home is None or not (home / JPEGS).is_file():
            raise
        raise DataError(f"{error}\nThe same photographs are here as JPEGs, {home / JPEGS}: data=cifar10-jpg.") from None


def _rows(path: Path, members: list[tuple[str, bytes]], grey: bool) -> dict[str, Tensor]:
    """A record is the label and three planes of 32 rows each: red, green, blue."""
    for name, content in members:
        labels = np.frombuffer(content, np.uint8)[::RECORD]
        if labels.max() >= len(NAMES):
            raise DataError(f"{path}: label {labels.max()} at index {labels.argmax()} of {name}; CIFAR-10 has 0 … 9.")
    records = np.concatenate([np.frombuffer(content, np.uint8).reshape(-1, RECORD) for _, content in members])
    x = torch.from_numpy(records[:, 1:].reshape(-1, 3, SIDE, SIDE))
    return {"x": luma(x) if grey else x, "y": torch.from_numpy(records[:, 0].astype(np.int64))}


def luma(images: Tensor) -> Tensor:
    """Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601) of uint8 `[N, 3, H, W]`, rounded, as `[N, 1, H, W]`."""
    weights = (19595, 38470, 7471)  # in 1/65536, so that white stays 255
    total = sum(w * images[:, k : k + 1].int() for k, w in enumerate(weights))
    return (total + 32768).bitwise_right_shift(16).byte()  # type: ignore[union-attr]


class _Bounded:
    """A stream that may be read up to a number of bytes, so that a small file cannot unpack to fill the memory."""

    def __init__(self, path: Path, file: BinaryIO, most: int):
        self.path, self.file, self.most, self.left = path, file, most, most

    def read(self, size: int) -> bytes:
        content = self.file.read(min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise DataError(f"{self.path}: unpacks to more than {self.most:,} bytes, which is no {ARCHIVE}.")
        return content


def read_members(path: Path, names: list[str], size: int) -> dict[str, bytes]:
    """The files `names` of a gzipped tar, each of exactly `size` bytes; all others are passed over.

    Read once from front to end, so that gzip's checksum is compared. Raises `DataError` for a damaged archive, and for
    a member that is missing, comes twice, is no plain file or has another size.
    """
    found: dict[str, bytes] = {}
    try:
        with gzip.open(path) as unzipped:
            stream = _Bounded(path, unzipped, MAX_CONTENT)  # type: ignore[arg-type]
            with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
                for member in tar:
                    if member.name not in names:
                        continue
                    content = tar.extractfile(member) if member.isreg() else None
                    if content is None or member.size != size or member.name in found:
                        kind = f"{member.size:,} bytes" if member.isreg() else "not a plain file"
                        what = "there twice" if member.name in found else f"{kind}, not {size:,} bytes"
                        raise DataError(f"{path}: {member.name} is {what}. Delete the archive and fetch it again.")
                    found[member.name] = content.read()
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, tarfile.TarError) as error:
        raise DataError(
            f"{path}: damaged or not a gzipped tar ({error}). Delete the archive and fetch it again."
        ) from None
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{path}: holds no {', '.join(missing)}. It must be the binary version of CIFAR-10, {URL}.")
    return found

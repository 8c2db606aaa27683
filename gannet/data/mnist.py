"""MNIST from its four gzipped IDX files, found in the data folder or downloaded once."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import DataError
from gannet.core.registry import SOURCES
from gannet.data.download import fetch
from gannet.data.memory import MemorySource, SplitName, padded

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES: dict[SplitName, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
SHA256 = {
    "train-images-idx3-ubyte.gz": "db8f937d487057fb14a9f0fbe97f0bc8d311ab41b750d41e1ff37c43b9e55e19",
    "train-labels-idx1-ubyte.gz": "51fc562b6747b666fbf6e84ce29d43c3cb5f9c388c664d43b33f02095313405a",
    "t10k-images-idx3-ubyte.gz": "cfeddb84311ecf044fc6a5b0f6ee8a24d265d4e83e388400186eb114082f4209",
    "t10k-labels-idx1-ubyte.gz": "e41c74e484045d39b462a7790a4af51301bd9b0b24f0154798d713ec68c45920",
}
MAX_BYTES = 1 << 30


class IdxSource(MemorySource):
    """A set in the four files that MNIST made common: grey images and labels of two splits, in the files' own order.

    A set says the `folder` the files lie in, the `mirror` they come from, their `sha256` and the `names` of its
    classes. `size` pads with background to size × size and does not resample.
    """

    folder: ClassVar[str]
    mirror: ClassVar[str]
    sha256: ClassVar[Mapping[str, str]]
    names: ClassVar[tuple[str, ...]]

    def __init__(
        self, *, size: int | None = None, limit: int | None = None, labels: tuple[int | str, ...] | None = None
    ):
        train, test = (self._load(*FILES[name], size) for name in ("train", "test"))
        super().__init__(train, test, self.names, labels, limit)

    def _load(self, images: str, labels: str, size: int | None) -> dict[str, Tensor]:
        paths = [fetch(f"{self.folder}/{file}", self.mirror + file, self.sha256[file]) for file in (images, labels)]
        x, y = (read_idx(path, dims) for path, dims in zip(paths, (3, 1), strict=True))
        if len(x) != len(y):
            raise DataError(f"{paths[0]} has {len(x):,} images, {paths[1]} {len(y):,} labels; they are not a pair.")
        if y.max() >= len(self.names):
            allowed = f"0 … {len(self.names) - 1}"
            raise DataError(f"{paths[1]}: label {y.max()} at index {int(y.argmax())}; {self.folder} has {allowed}.")
        return {"x": padded(torch.from_numpy(x).unsqueeze(1), size), "y": torch.from_numpy(y.astype(np.int64))}


@SOURCES.register("mnist")
class Mnist(IdxSource):
    """Handwritten digits, 28×28 grey, ten classes, 60,000 + 10,000 (LeCun, Cortes, Burges; CC BY-SA 3.0).

    Read from `$GANNET_DATA/mnist/`, else downloaded with a pinned SHA-256. The order is the files' own. `size` pads
    with background to size × size and does not resample. Raises `DataError` naming the file that is missing or damaged.
    """

    folder, mirror, sha256 = "mnist", MIRROR, SHA256
    names = tuple(str(digit) for digit in range(10))


def read_idx(path: Path, dims: int) -> np.ndarray:
    """The uint8 array of `dims` axes in a gzipped IDX file.

    The header is two zero bytes, the type (8 = uint8), the number of axes and each length as a big-endian 32-bit
    number. Raises `DataError` naming the file for another header, or for fewer or more bytes than the header promises.
    """
    try:
        with gzip.open(path) as file:
            header = file.read(4)
            if header != bytes([0, 0, 8, dims]):
                expected = f"00 00 08 {dims:02x} as an IDX file of {dims} axes of bytes does"
                raise DataError(f"{path}: starts with {header.hex(' ') or 'nothing'}, not {expected}.")
            lengths = np.frombuffer(file.read(4 * dims), dtype=">u4").tolist()
            wanted = math.prod(lengths)
            if len(lengths) != dims or not 0 < wanted <= MAX_BYTES:
                raise DataError(f"{path}: the header promises lengths {lengths}; 1 … {MAX_BYTES:,} bytes are read.")
            content = file.read(wanted + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: damaged or not a gzip file ({error}). Delete it and fetch it again.") from None
    if len(content) != wanted:
        found = "more" if len(content) > wanted else f"only {len(content):,}"
        raise DataError(f"{path}: {wanted:,} bytes are promised, the file holds {found}. Delete it and fetch it again.")
    return np.frombuffer(bytearray(content), dtype=np.uint8).reshape(lengths)

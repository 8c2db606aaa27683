"""Images in a folder, a tree of class folders or a zip archive."""

from __future__ import annotations

import math
import os
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gannet.core.errors import DataError, ResourceError, UsageError
from gannet.core.registry import SOURCES
from gannet.data.images import BadImage, Crop, Header, decode, probe
from gannet.data.layout import layout
from gannet.data.listing import Listing, listing, shown
from gannet.data.memory import MemorySource, check_limit, class_numbers

T = TypeVar("T")
Shape = tuple[int, int, int]
FIRST = 5


@SOURCES.register("folder")
class Folder(MemorySource):
    """Images of a folder or zip: flat, in class folders, or labelled by a `dataset.json` in StyleGAN's format.

    All are decoded once, to uint8. Classes are the folders below `path`, or below `train/` and `test/` where both are
    there. Without `test/`, a share `test` of the images is held out, chosen by a hash of their names. `limit` keeps the
    first N training images in the order of that hash, and at most N test images; the others are not decoded.

    `size` makes squares as `crop` says: center cuts, pad adds black, stretch distorts. Without it all images must have
    one size, which stays. `channels=auto` is 3 if any image has colour, else 1; transparency is composited on white
    unless `channels=4`. `flip` adds the mirror image of every training image.

    Raises `DataError` for no images, labels that do not fit, sizes that differ and, unless `on_bad=skip`, unreadable
    files; `ResourceError` if the pixels would not fit in memory.
    """

    def __init__(
        self,
        *,
        path: str,
        size: int | None = None,
        crop: Crop = "center",
        flip: bool = False,
        channels: Literal["auto", 1, 3, 4] = "auto",
        test: float = 0.1,
        on_bad: Literal["error", "skip"] = "error",
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        if not 0 < test < 1:
            raise UsageError(f"test={test} is not a share; use a number between 0 and 1, such as 0.1.")
        if size is not None and not 1 <= size <= 4096:
            raise UsageError(f"size={size} is outside 1 … 4096.")
        check_limit(limit)
        files = listing(Path(path).expanduser())
        found = layout(files, test)
        kept = [found.names[number] for number in class_numbers(labels, found.names)]
        wanted = [
            [n for n in names if not kept or found.classes[n] in kept][:limit] for names in (found.train, found.test)
        ]

        scan = _Scan(files)
        headers = dict(scan.each("scanning", [*wanted[0], *wanted[1]], probe))
        scan.judge(on_bad)
        shape = _shape(files, headers, size, channels)
        _check_memory(files, len(headers), shape)
        splits: list[dict[str, Tensor]] = []
        for names in wanted:
            images, names = _decoded(scan, [name for name in names if name in headers], shape, size, crop)
            y = torch.tensor([kept.index(found.classes[name]) for name in names] if kept else [], dtype=torch.int64)
            splits.append({"x": images, "y": y} if kept else {"x": images})
            if not names:
                raise DataError(f"{files.path}: of its training or test images none can be read: {scan.told()}.")
        scan.judge(on_bad)
        if scan.bad:
            warnings.warn(f"{files.path}: skipped {scan.told()}.")
        super().__init__(splits[0], splits[1], [shown(name) for name in kept], flip=flip)


class _Scan:
    """Reads files one by one and remembers those that could not be read, and why."""

    def __init__(self, files: Listing):
        self.files = files
        self.bad = dict(files.refused)

    def each(self, title: str, names: list[str], read: Callable[[BinaryIO], T]) -> Iterator[tuple[str, T]]:
        """The name and the reading of every readable file."""
        for name in tqdm(names, title, unit=" images", delay=2, leave=False, disable=None):
            try:
                with self.files.open(name) as file:
                    if not file.read(1):
                        raise BadImage("empty file")
                    file.seek(0)
                    value = read(file)
            # RuntimeError and zlib's error are what zipfile says to damaged or strangely packed entries.
            except (BadImage, OSError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
                self.bad[name] = getattr(error, "strerror", None) or str(error)
            else:
                yield name, value

    def judge(self, on_bad: str) -> None:
        if self.bad and on_bad == "error":
            raise DataError(
                f"{self.files.path}: {self.told()}.\nMend or remove them, or leave them out with on_bad=skip."
            )

    def told(self) -> str:
        first = "; ".join(f"{shown(name)} ({why})" for name, why in list(self.bad.items())[:FIRST])
        count = "1 unreadable file" if len(self.bad) == 1 else f"{len(self.bad):,} unreadable files"
        return f"{count}, {'first ' if len(self.bad) > FIRST else ''}{first}"


def _shape(files: Listing, headers: dict[str, Header], size: int | None, channels: Literal["auto", 1, 3, 4]) -> Shape:
    """The (C, H, W) that all images will have."""
    if not headers:
        raise DataError(f"{files.path}: none of its images can be read.")
    if channels == "auto":
        channels = 3 if any(header.colour for header in headers.values()) else 1
    if size is not None:
        return channels, size, size
    sizes = Counter((header.height, header.width) for header in headers.values())
    if len(sizes) > 1:
        found = ", ".join(f"{count:,} of {h}×{w}" for (h, w), count in sizes.most_common(FIRST))
        more = f" and {len(sizes) - FIRST:,} other sizes" if len(sizes) > FIRST else ""
        hint = min(sizes.most_common(1)[0][0])
        raise DataError(
            f"{files.path}: the images differ in height×width: {found}{more}. Give the size of the squares to make of "
            f"them, such as size={hint}, and how (crop=center, pad or stretch)."
        )
    return channels, *next(iter(sizes))


def _check_memory(files: Listing, count: int, shape: Shape) -> None:
    """`ResourceError` if the pixels would take more than 80 % of the machine's memory (where that is known)."""
    if not hasattr(os, "sysconf"):
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = count * math.prod(shape)
    if needed > 0.8 * memory:
        asked = f"{count:,} images of {'×'.join(map(str, shape))}"
        raise ResourceError(
            f"{files.path}: {asked} need {needed / 2**30:.1f} GiB, this machine has {memory / 2**30:.1f}. "
            f"Use a smaller size= or a limit=."
        )


def _decoded(scan: _Scan, names: list[str], shape: Shape, size: int | None, crop: Crop) -> tuple[Tensor, list[str]]:
    """Pixels `[N, C, H, W]` uint8 of the images that could be decoded, and their names."""
    pixels = np.empty((len(names), *shape), dtype=np.uint8)

    def read(file: BinaryIO) -> np.ndarray:
        image = decode(file, shape[0], size, crop).transpose(2, 0, 1)
        if image.shape != shape:
            raise BadImage("changed while it was read")
        return image

    done: list[str] = []
    for name, image in scan.each("decoding", names, read):
        pixels[len(done)] = image
        done.append(name)
    return torch.from_numpy(pixels[: len(done)]), done

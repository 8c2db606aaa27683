"""Image files as training would take them: chosen, probed and judged before a pixel is kept."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import BinaryIO, Literal, TypeVar

import numpy as np
from tqdm import tqdm

from gannet.core.errors import DataError, UsageError
from gannet.data.images import BadImage, Crop, Header, decode, probe
from gannet.data.layout import Layout
from gannet.data.listing import Listing, shown
from gannet.data.memory import check_limit, class_numbers

T = TypeVar("T")
Shape = tuple[int, int, int]
Channels = Literal["auto", 1, 3, 4]
OnBad = Literal["error", "skip"]
FIRST = 5
UNREADABLE = (BadImage, OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What reading a file may raise; RuntimeError and zlib's error are zipfile's words for damaged entries."""


class Survey:
    """Which files training reads, and what it makes of them. The folder source decodes them, packing streams them and
    inspecting looks at them, so all three refuse the same files in the same words.

    | attribute | what                                                              |
    |-----------|-------------------------------------------------------------------|
    | `splits`  | readable file names, in order, of "train" and "test"              |
    | `names`   | class names in order, empty without labels                        |
    | `headers` | what is known of every readable file without decoding it          |
    | `bad`     | what could not be read, and why                                   |

    Raises `DataError` for unreadable files unless `on_bad=skip`; `UsageError` for options out of range.
    """

    def __init__(
        self,
        files: Listing,
        found: Layout,
        *,
        size: int | None = None,
        crop: Crop = "center",
        channels: Channels = "auto",
        on_bad: OnBad = "error",
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        check_limit(limit)
        if size is not None and not 1 <= size <= 4096:
            raise UsageError(f"size={size} is outside 1 … 4096.")
        self.files, self.size, self.crop, self.on_bad = files, size, crop, on_bad
        self.channels = channels
        self.names = [found.names[number] for number in class_numbers(labels, found.names)]
        self.classes = found.classes
        wanted = {
            split: [n for n in names if not self.names or found.classes[n] in self.names][:limit]
            for split, names in (("train", found.train), ("test", found.test))
        }
        self.bad = dict(files.refused)
        self.headers: dict[str, Header] = dict(self.each("scanning", [*wanted["train"], *wanted["test"]], probe))
        self.judge()
        self.splits = {split: [n for n in names if n in self.headers] for split, names in wanted.items()}

    def decoded(self, names: list[str], title: str | None = None) -> Iterator[tuple[str, np.ndarray]]:
        """Name and pixels `[C, H, W]` uint8 of the files that can be decoded; the others go to `bad`.

        With a `title`, a progress bar is shown.
        """

        def read(file: BinaryIO) -> np.ndarray:
            image = decode(file, self.shape[0], self.size, self.crop).transpose(2, 0, 1)
            if image.shape != self.shape:
                raise BadImage("changed while it was read")
            return image

        return self.each(title, names, read)

    def numbers(self, names: list[str]) -> np.ndarray:
        """Class numbers `[N]` int64 of files."""
        places = {name: number for number, name in enumerate(self.names)}
        return np.array([places[self.classes[name]] for name in names], dtype=np.int64)

    def judge(self) -> None:
        """`DataError` naming what could not be read so far, unless it may be skipped."""
        if self.bad and self.on_bad == "error":
            raise DataError(
                f"{self.files.path}: {self.told()}.\nMend or remove them, or leave them out with on_bad=skip."
            )

    def check_splits(self) -> None:
        """`DataError` if nothing is left to train on or to hold out."""
        for split, names in self.splits.items():
            if not names:
                why = f": {self.told()}" if self.bad else " with these labels"
                raise DataError(f"{self.files.path}: no {split} images are left{why}.")

    def told(self) -> str:
        """The unreadable files in a few words."""
        first = "; ".join(f"{shown(name)} ({why})" for name, why in list(self.bad.items())[:FIRST])
        count = "1 unreadable file" if len(self.bad) == 1 else f"{len(self.bad):,} unreadable files"
        return f"{count}, {'first ' if len(self.bad) > FIRST else ''}{first}"

    def each(self, title: str | None, names: list[str], read: Callable[[BinaryIO], T]) -> Iterator[tuple[str, T]]:
        """Name and reading of every file that can be read; the others go to `bad`."""
        bar = tqdm(names, title, unit=" images", delay=2, leave=False, disable=None if title else True)
        for name in bar:
            try:
                with self.files.open(name) as file:
                    if not file.read(1):
                        raise BadImage("empty file")
                    file.seek(0)
                    value = read(file)
            except UNREADABLE as error:
                self.bad[name] = reason(error)
            else:
                yield name, value

    @cached_property
    def shape(self) -> Shape:
        """(C, H, W) that all images will have. Raises `DataError` if nothing can be read or sizes differ."""
        if not self.headers:
            raise DataError(f"{self.files.path}: none of its images can be read.")
        channels = self.channels
        if channels == "auto":
            channels = 3 if any(header.colour for header in self.headers.values()) else 1
        if self.size is not None:
            return channels, self.size, self.size
        sizes = Counter((header.height, header.width) for header in self.headers.values())
        if len(sizes) > 1:
            found = ", ".join(f"{count:,} of {h}×{w}" for (h, w), count in sizes.most_common(FIRST))
            more = f" and {len(sizes) - FIRST:,} other sizes" if len(sizes) > FIRST else ""
            hint = min(sizes.most_common(1)[0][0])
            raise DataError(
                f"{self.files.path}: the images differ in height×width: {found}{more}. Give the size of the squares "
                f"to make of them, such as size={hint}, and how (crop=center, pad or stretch)."
            )
        return channels, *next(iter(sizes))


def reason(error: Exception) -> str:
    """Why a file could not be read, without its path."""
    return getattr(error, "strerror", None) or str(error)

"""The files of a folder tree or a zip archive, read in place: nothing is ever extracted to a name an archive chose."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from gannet.core.errors import DataError, nearest

SUFFIXES = (".png", ".apng", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
UNREAD = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".eps", ".psd", ".svg", ".tga", ".ico", ".ppm", ".pgm", ".exr")
MAX_FILE = 256 << 20
MAX_EXPANSION = 200
LABELS = "dataset.json"


class Listing(ABC):
    """Names, relative and with `/`: `images`, `folders`, `labels` (the `dataset.json` files) and `refused` (what looks
    like an image but will not be read, and why). `others` counts the rest by suffix. Hidden files are left out."""

    def __init__(self, path: Path):
        self.path = path
        self.images: list[str] = []
        self.refused: dict[str, str] = {}
        self.others: Counter[str] = Counter()
        self.labels: list[str] = []
        self.folders: list[str] = []

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """The file `name` for reading. Raises `OSError` or `ValueError` with the reason if it cannot be."""

    @abstractmethod
    def stamp(self, name: str) -> str:
        """Text that changes when the file does, without reading it: its size, and its time or checksum."""

    def _add(self, name: str) -> None:
        parts = PurePosixPath(name).parts
        if _hidden(parts):
            return
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in SUFFIXES:
            self.images.append(name)
        elif suffix in UNREAD:
            self.refused[name] = f"{suffix[1:]} is not read; convert it to PNG"
        elif parts[-1] == LABELS:
            self.labels.append(name)
        else:
            self.others[suffix or "no suffix"] += 1


class Tree(Listing):
    """A folder and everything below it. Links are followed, each folder once, so a loop ends."""

    def __init__(self, path: Path):
        super().__init__(path)
        seen: set[tuple[int, int]] = set()
        for folder, inner, files in os.walk(path, followlinks=True, onerror=self._unreadable):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                inner.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            inner[:] = sorted(name for name in inner if not _hidden([name]))
            self.folders += [self._relative(os.path.join(folder, name)) for name in inner]
            for file in files:
                self._add(self._relative(os.path.join(folder, file)))

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self.path).replace(os.sep, "/")

    def _unreadable(self, error: OSError) -> None:
        self.refused[self._relative(error.filename)] = error.strerror or "unreadable folder"

    def open(self, name: str) -> BinaryIO:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(self.path / name, flags), "rb")
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
            file.close()
            what = (
                f"{status.st_size:,} bytes, over {MAX_FILE:,}" if stat.S_ISREG(status.st_mode) else "not a regular file"
            )
            raise ValueError(what)
        return file

    def stamp(self, name: str) -> str:
        status = os.stat(self.path / name)
        return f"{status.st_size} {status.st_mtime_ns}"


class Archive(Listing):
    """A zip file. Names that leave the archive are refused, encrypted entries too; an archive that would expand more
    than two hundred times is a `DataError`."""

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(
                f"{path} is not a folder and not a readable zip archive ({error}). "
                "Beside these .npz, .npy, .csv and .tar files are read."
            ) from None
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            name = entry.filename.replace("\\", "/")
            if entry.is_dir():
                self.folders.append(name.rstrip("/"))
                continue
            if name.startswith("/") or ":" in name.split("/")[0] or ".." in name.split("/"):
                self.refused[name] = "the name leaves the archive"
            elif entry.flag_bits & 1:
                self.refused[name] = "encrypted"
            elif name in self._entries:
                self.refused[name] = "the name comes twice"
            else:
                self._entries[name] = entry
        for name in self._entries:
            self._add(name)
        total = sum(entry.file_size for entry in self._entries.values())
        size = path.stat().st_size
        if total > MAX_EXPANSION * size + (64 << 20):
            raise DataError(f"{path}: {size:,} bytes expand to {total:,}; more than {MAX_EXPANSION} times is not read.")

    def open(self, name: str) -> BinaryIO:
        entry = self._entries[name]
        if entry.file_size > MAX_FILE:
            raise ValueError(f"{entry.file_size:,} bytes, over {MAX_FILE:,}")
        # zipfile stops at the size the directory declares, so a lying entry cannot fill the memory.
        return io.BytesIO(self._zip.read(entry))

    def stamp(self, name: str) -> str:
        entry = self._entries[name]
        return f"{entry.file_size} {entry.CRC:08x}"


def listing(where: str) -> Listing:
    """What is at the path `where`. Raises `DataError` if nothing is there, with the nearest names that are."""
    path = Path(where).expanduser()
    if path.is_dir():
        return Tree(path)
    if path.is_file():
        return Archive(path)
    close = nearest(path.name, os.listdir(path.parent)) if path.parent.is_dir() else []
    raise DataError(f"{path} does not exist." + (f" Did you mean: {', '.join(close)}?" if close else ""))


def _hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def shown(name: str) -> str:
    """A file name as text that can always be printed."""
    return name.encode("utf-8", "backslashreplace").decode()

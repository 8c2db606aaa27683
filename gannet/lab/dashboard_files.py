"""Files of run directories, which anybody may have written: only plain ones are opened, and never too much of them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO


def opened(path: Path) -> BinaryIO:
    """A plain file to read. A link, a pipe or a device raises `OSError`; a pipe is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is no plain file")
    return os.fdopen(descriptor, "rb")


def content(path: Path, most: int) -> bytes:
    """All of a plain file of at most `most` bytes. Raises `OSError`."""
    with opened(path) as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise OSError(f"{path.name} is larger than {most:,} bytes")
    return found


def json_object(path: Path, most: int = 1_000_000) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is none that can be read."""
    try:
        found = json.loads(content(path, most))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Kept:
    """What was made of a file, until the file is another: `make(path)` is called when inode, size or time differ."""

    def __init__(self, make: Any):
        self.make = make
        self.known: dict[Path, tuple[tuple[int, int, int], Any]] = {}

    def get(self, path: Path) -> Any:
        try:
            told = path.lstat()
            mark = (told.st_ino, told.st_size, told.st_mtime_ns)
        except OSError:
            mark = (0, 0, 0)
        if path not in self.known or self.known[path][0] != mark:
            self.known[path] = mark, self.make(path)
        return self.known[path][1]

    def forget(self, kept: set[Path]) -> None:
        """Keep only what was made of these."""
        self.known = {path: value for path, value in self.known.items() if path in kept}

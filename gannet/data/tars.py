"""WebDataset shards: images and labels in tar files, read in place. Nothing is extracted, unpickled or run."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm import tqdm

from gannet.core.errors import DataError, UsageError
from gannet.core.registry import SOURCES
from gannet.data.folder import ImageFiles
from gannet.data.images import Crop
from gannet.data.layout import TEST_NAMES, Layout, hold_out, in_order
from gannet.data.listing import MAX_FILE, Listing, shown
from gannet.data.survey import Channels, OnBad

BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_SHARDS = 100_000
MAX_LABEL = 1 << 20
FIRST = 5


@dataclass(frozen=True, slots=True)
class Member:
    """Where the bytes of a member lie."""

    shard: Path
    offset: int
    size: int


class TarShards(Listing):
    """The members of tar files by `shard/member`, found by reading headers only."""

    def __init__(self, path: str):
        super().__init__(Path(path).expanduser())
        self.shards = _shards(path)
        self._members: dict[str, Member] = {}
        self._keys: dict[str, str] = {}
        """Name without its suffixes → the label file with that name."""
        for shard in tqdm(self.shards, "reading headers", unit=" shards", delay=2, leave=False, disable=None):
            self._scan(shard)

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self._bytes(name, MAX_FILE))

    def stamp(self, name: str) -> str:
        member = self._members[name]
        return f"{member.offset} {member.size} {os.stat(member.shard).st_mtime_ns}"

    def layout(self, share: float) -> Layout:
        """Splits by the names of the shards or by `share`, classes by the label files."""
        if not self.images:
            others = ", ".join(f"{count:,} × {suffix}" for suffix, count in self.others.most_common(FIRST))
            refused = "; ".join(f"{shown(n)} ({why})" for n, why in list(self.refused.items())[:FIRST])
            held = " and ".join(filter(None, (others, refused and f"refused {refused}"))) or "nothing"
            raise DataError(f"{self.path} holds no images (.png .jpg .webp .bmp .gif .tif), but {held}.")
        names = in_order(self.images)
        held_out = [n for n in names if n.lower().startswith(TEST_NAMES)]
        train = [n for n in names if n.lower().startswith("train")]
        if not held_out or len(train) + len(held_out) != len(names):
            train, held_out = hold_out(self, names, share)
        numbers = self._labels()
        classes = [str(number) for number in sorted(set(numbers.values()))]
        return Layout(train, held_out, {name: str(number) for name, number in numbers.items()}, classes)

    def _scan(self, shard: Path) -> None:
        length = shard.stat().st_size
        last = "its beginning"
        try:
            with tarfile.open(shard, "r:") as tar:
                for member in tar:
                    name = f"{shard.stem}/{member.name}"
                    last = member.name
                    if member.isdir():
                        continue
                    if why := _refusal(member, name in self._members):
                        self.refused[name] = why
                        continue
                    if member.offset_data + member.size > length:
                        raise DataError(f"{shard} is cut short inside {shown(member.name)}. Copy it again.")
                    self._members[name] = Member(shard, member.offset_data, member.size)
                    self._sort(name)
                end = tar.offset
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise DataError(f"{shard} is no readable tar file ({error}); compressed ones are not read.") from None
        with open(shard, "rb") as file:
            file.seek(end)
            # A tar file ends with blocks of zeros; tarfile takes damage and a missing end for the end.
            if file.read(512) != bytes(512):
                raise DataError(f"{shard} is damaged or cut short after {shown(last)}. Copy it again.")

    def _sort(self, name: str) -> None:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in (".cls", ".json"):
            self._add(name)
        elif (key := _key(name)) in self._keys:
            self.refused[name] = f"a second label beside {shown(self._keys[key])}"
        else:
            self._keys[key] = name

    def _labels(self) -> dict[str, int]:
        """The class number of every image, or none at all."""
        found = {}
        for image in self.images:
            if (label := self._keys.get(_key(image))) is not None:
                number = self._label(label)
                if number is not None:
                    found[image] = number
        missing = [name for name in self.images if name not in found]
        if found and missing:
            raise DataError(f"{self.path}: {len(missing):,} images have no label, first {shown(missing[0])}.")
        return found

    def _label(self, name: str) -> int | None:
        """A whole number from a label file; `None` from JSON that speaks of something else."""
        where = f"{self.path}: {shown(name)}"
        try:
            text = self._bytes(name, MAX_LABEL).decode("utf-8")
            value = json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{where} is no readable label ({error}).") from None
        if name.lower().endswith(".json"):
            if not isinstance(value, dict) or "label" not in value:
                return None
            value = value["label"]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise DataError(f"{where} holds {text[:40]!r}; a label is a whole number from 0.")
        return value

    def _bytes(self, name: str, most: int) -> bytes:
        member = self._members[name]
        if member.size > most:
            raise ValueError(f"{member.size:,} bytes, over {most:,}")
        with open(member.shard, "rb") as file:
            file.seek(member.offset)
            content = file.read(member.size)
        if len(content) != member.size:
            raise ValueError(f"{member.shard.name} was cut short while it was read")
        return content


@SOURCES.register("tars")
class Tars(ImageFiles):
    """Images in tar shards, in the layout of WebDataset: `0001.jpg` beside its label `0001.cls` or `0001.json`.

    `path` is a tar file, a folder of them, or a pattern such as `shards/train-{000..010}.tar`. A sample is what shares
    a name up to its first dot. `.cls` holds a whole number, `.json` an object with a whole number `label`; either all
    images have one or none. Shards named `train…` beside `test…` or `val…` are the splits, else a share `test` is held
    out. The other options are those of `folder`.

    Only images and labels are read, by their place in the file: members of other kinds are passed over, links, devices
    and names that leave the archive are refused. Raises `DataError` naming the shard and the member.
    """

    listing = staticmethod(TarShards)
    layout = staticmethod(TarShards.layout)

    def __init__(
        self,
        *,
        path: str,
        size: int | None = None,
        crop: Crop = "center",
        flip: bool = False,
        channels: Channels = "auto",
        test: float = 0.1,
        on_bad: OnBad = "error",
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        choice = {"size": size, "crop": crop, "channels": channels, "on_bad": on_bad, "limit": limit, "labels": labels}
        super().__init__(self.survey(path=path, test=test, **choice), flip)


def _refusal(member: tarfile.TarInfo, known: bool) -> str:
    """Why a member is not read; empty for one that is."""
    if member.issym() or member.islnk():
        return f"a link to {shown(member.linkname)[:80]}"
    if not member.isreg():
        return "a device or another special member"
    if member.issparse():
        return "a sparse member"
    if member.name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", member.name):
        return "the name leaves the archive"
    return "the name comes twice" if known else ""


def _key(name: str) -> str:
    """The name up to the first dot behind its last slash: what the files of one sample share."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.split(".", 1)[0]


def _shards(path: str) -> list[Path]:
    """The tar files that `path` stands for, in order. Raises `UsageError` for what is no path, `DataError` for files
    that are not there."""
    if re.match(r"\s*(pipe|\w+)://?|\s*pipe:", path):
        raise UsageError(f"path={path}: only files are read; commands and addresses are not.")
    found = [Path(text).expanduser() for text in _expanded(path)]
    if len(found) == 1 and found[0].is_dir():
        inside = sorted(p for p in found[0].iterdir() if p.suffix == ".tar" and not p.name.startswith("."))
        if not inside:
            raise DataError(f"{path} holds no .tar files.")
        return inside
    missing = [shard.name for shard in found if not shard.is_file()]
    if missing:
        first = ", ".join(missing[:FIRST])
        raise DataError(f"{path}: {len(missing):,} of {len(found):,} shards are missing, first {first}.")
    return found


def _expanded(path: str) -> Iterator[str]:
    """`a-{08..10}.tar` as a-08.tar, a-09.tar, a-10.tar; several braces count like wheels."""
    wheels, count = [], 1
    for low, high in BRACES.findall(path):
        count *= int(high) - int(low) + 1
        if not 0 < count <= MAX_SHARDS:
            raise UsageError(f"path={path}: {{{low}..{high}}} stands for no shard, or for over {MAX_SHARDS:,}.")
        wheels.append([f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)])
    pieces = BRACES.sub("\0", path).split("\0")
    for numbers in itertools.product(*wheels):
        yield "".join(itertools.chain.from_iterable(itertools.zip_longest(pieces, numbers, fillvalue="")))

"""Writing packed data: any source once, to shards that open at once, in steps that survive a kill."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gannet.core.errors import DataError, ResourceError, UsageError
from gannet.core.experiment import PACKED
from gannet.core.registry import SOURCES
from gannet.core.spec import Spec
from gannet.data.index import (
    DTYPES,
    HEAD,
    INDEX,
    SPLITS,
    UNFINISHED,
    Index,
    Shard,
    check_files,
    read_index,
    shard_file,
    write_atomic,
)
from gannet.data.rows import Rows, rows_of, source_spec

CHUNK = 16 << 20
"""Bytes of rows read, and so held in memory, at once."""


@dataclass(frozen=True)
class Packed:
    """What `pack` left behind: where, its index, how many rows were skipped, and whether it was there before."""

    path: Path
    index: Index
    skipped: int
    already: bool

    def told(self) -> str:
        """The same in a sentence or two."""
        rows = ", ".join(f"{self.index.rows(split):,} {split}" for split in SPLITS)
        size = sum(self.index.bytes(f, self.index.rows(s)) for s in SPLITS for f in self.index.dtypes)
        skipped = f", {self.skipped:,} unreadable files left out" if self.skipped else ""
        head = "is already packed from this" if self.already else "packed"
        return f"{self.path} {head}: {rows} rows, {size / 2**20:,.1f} MiB{skipped}. Train with: data={self._word()}"

    def _word(self) -> str:
        return str(self.path) if self.path.is_absolute() else f"./{self.path}"


def pack(source: str, out: str | Path, options: Mapping[str, Any] | None = None, shard_mb: float = 256) -> Packed:
    """Pack `source` (what stands after `data=`) with further `options` of it into the new directory `out`.

    Images are decoded once, to the pixels that training would see. Rows are written in shards of about `shard_mb` MiB,
    each to a temporary file, synced and renamed; `packing.json` lists those that are finished. Killed at any point,
    the same call goes on after the last of them and ends with the same bytes. Memory holds a few rows.

    Raises `DataError` for a source that cannot be read or changed meanwhile, `UsageError` for a place that is in use
    or was begun with other options, `ResourceError` for a full disk.
    """
    if not shard_mb > 0:
        raise UsageError(f"shard_mb={shard_mb:g} is no size; use MiB above 0, such as 256.")
    spec, out = source_spec(source, options), Path(out).expanduser()
    request = {"source": str(Spec(spec.name, (), SOURCES.resolve(spec, "source"))), "shard_mb": shard_mb}
    _check_place(out, request)
    rows = rows_of(spec, "source")
    _check_storable(spec, rows)
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with _lock(out):
            return _Packing(out, rows, request).finish()


class _Packing:
    """One directory on its way from empty to packed."""

    def __init__(self, out: Path, rows: Rows, request: dict[str, Any]):
        self.out, self.rows = out, rows
        self.made = {**request, "stamp": rows.stamp()}
        self.index = Index(rows.spec, rows.dtypes, {split: [] for split in SPLITS}, self.made)
        self.step = max(1, int(request["shard_mb"] * 2**20 / self.index.row_bytes()))
        self.chunk = max(1, min(1024, CHUNK // self.index.row_bytes()))

    def finish(self) -> Packed:
        if (self.out / INDEX).is_file():
            done = read_index(self.out)
            self._same(done.made)
            (self.out / UNFINISHED).unlink(missing_ok=True)  # a kill may have come between the last two steps
            return Packed(self.out, done, self._skipped(done), already=True)
        self._go_on()
        total = sum(self.rows.planned.values())
        first = sum(min(self.step * len(self.index.splits[s]), self.rows.planned[s]) for s in SPLITS)
        _check_space(self.out, self.index.row_bytes() * (total - first))
        with tqdm(total=total, initial=first, desc="packing", unit=" rows", delay=1, disable=None) as bar:
            for split in SPLITS:
                shards = self.index.splits[split]
                for start in range(self.step * len(shards), self.rows.planned[split], self.step):
                    stop = min(start + self.step, self.rows.planned[split])
                    shards.append(self._write(split, len(shards), start, stop, bar))
                    self._remember()
        for split in SPLITS:
            if not self.index.rows(split):
                raise DataError(f"{self.out}: none of the {split} images can be read; nothing can be trained on this.")
        write_atomic(self.out / INDEX, self.index.to_text())
        (self.out / UNFINISHED).unlink()
        return Packed(self.out, self.index, self._skipped(self.index), already=False)

    def _write(self, split: str, number: int, start: int, stop: int, bar: tqdm) -> Shard:
        """Write one shard: temporary files first, then their names, so a name stands for a whole file."""
        files = {field: self.out / shard_file(split, number, field) for field in self.rows.dtypes}
        parts = {field: file.with_name(f".{file.name}.part") for field, file in files.items()}
        digests, heads, count = {field: hashlib.sha256() for field in files}, dict.fromkeys(files, b""), 0
        with contextlib.ExitStack() as stack:
            streams = {field: stack.enter_context(open(part, "wb")) for field, part in parts.items()}
            for place in range(start, stop, self.chunk):
                chunk = self.rows.read(split, place, min(place + self.chunk, stop))
                for field, stream in streams.items():
                    content = np.ascontiguousarray(chunk[field], DTYPES[self.rows.dtypes[field]]).tobytes()
                    digests[field].update(content)
                    heads[field] += content[: HEAD - len(heads[field])]
                    stream.write(content)
                count += len(chunk["x"])
                bar.update(min(place + self.chunk, stop) - place)
            for stream in streams.values():
                stream.flush()
                os.fsync(stream.fileno())
        for field, file in files.items():
            os.replace(parts[field], file)
        return Shard(
            count,
            {field: digest.hexdigest() for field, digest in digests.items()},
            {field: hashlib.sha256(head).hexdigest() for field, head in heads.items()},
        )

    def _remember(self) -> None:
        finished = {split: [asdict(shard) for shard in shards] for split, shards in self.index.splits.items()}
        content = {"format": PACKED, "made": self.made, "finished": finished}
        write_atomic(self.out / UNFINISHED, json.dumps(content) + "\n")

    def _go_on(self) -> None:
        """Take over what an interrupted packing finished."""
        file = self.out / UNFINISHED
        if not file.is_file():
            self._remember()
            return
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            made = content["made"]
            finished = {split: [Shard(**shard) for shard in content["finished"][split]] for split in SPLITS}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} is damaged ({error!r}). Remove {self.out} and pack again.") from None
        self._same(made)
        for split, shards in finished.items():
            self.index.splits[split][:] = shards
        check_files(self.out, self.index)

    def _same(self, made: Mapping[str, Any]) -> None:
        if made != self.made:
            raise DataError(
                f"{self.out} was begun from {made.get('source')} as it was then; files of it have changed since. "
                f"Remove {self.out}, or pack into another directory."
            )

    def _skipped(self, index: Index) -> int:
        """Files that were found and are not among the rows."""
        survey = getattr(self.rows, "survey", None)
        unread = len(survey.bad.keys() - survey.headers.keys()) if survey else 0
        return unread + sum(self.rows.planned[split] - index.rows(split) for split in SPLITS)


def _check_place(out: Path, request: dict[str, Any]) -> None:
    """Refuse a place that holds something else, before the source is read."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file; packed data is a directory. Choose another OUT.")
    held = sorted(p.name for p in out.iterdir())
    known = [name for name in (INDEX, UNFINISHED) if name in held]
    if not known:
        if [name for name in held if name != f".{UNFINISHED}.part"]:
            raise UsageError(f"{out} is not empty (it holds {', '.join(held[:3])}). Choose a new or empty OUT.")
        return
    made = read_index(out).made if INDEX in known else _begun(out / UNFINISHED)
    other = [f"{key} {made.get(key)}" for key in request if made.get(key) != request[key]]
    if other:
        raise UsageError(
            f"{out} was packed with other options: {'; '.join(other)}. "
            f"Now asked for: {'; '.join(f'{k} {v}' for k, v in request.items())}. Choose another OUT, or remove {out}."
        )


def _begun(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))["made"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error!r}). Remove {file.parent} and pack again.") from None


def _check_storable(spec: Spec, rows: Rows) -> None:
    own = [name for name, field in rows.spec.fields.items() if field.order == "own"]
    if own:
        raise UsageError(f"{spec.name} has an unpaired field ({', '.join(own)}), which packed data cannot hold.")
    odd = {name: dtype for name, dtype in rows.dtypes.items() if dtype not in DTYPES}
    if odd:
        raise DataError(f"{spec.name} has fields of types {odd}; packed data holds {', '.join(DTYPES)}.")


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed > free:
        raise ResourceError(
            f"{out}: {needed / 2**30:.2f} GiB are needed, {free / 2**30:.2f} GiB are free. "
            f"Make room, or use a smaller size or a limit."
        )


@contextlib.contextmanager
def _lock(out: Path) -> Iterator[None]:
    """Two processes that pack into one directory would mix their files. The lock ends with the process."""
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UsageError(f"{out} is being packed by another process. Wait for it, or choose another OUT.") from None
    finally:
        os.close(handle)


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """A disk that fills up, and a place that takes no files, in a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ResourceError(
                f"{out}: {error.strerror}. Make room and give the same command again: it goes on."
            ) from None
        raise UsageError(f"{out}: {error.strerror}. Choose a place that exists and is yours.") from None

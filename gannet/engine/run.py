"""The run directory, which is the interface: training writes it, everything else only reads it.

runs/0001-quick-digits/
    experiment.yaml   environment.json   log.jsonl   progress.png
    samples/000.png …   checkpoints/000012800/ …   lock.json
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import platform
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gannet.core.errors import CheckpointError, DataError, ResourceError, UsageError, nearest
from gannet.engine.checkpoint import replace_file

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True)
class Run:
    """One run's directory. Make it with `create` or `at`, find it again with `open`."""

    path: Path

    @property
    def experiment(self) -> Path:
        return self.path / "experiment.yaml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def progress(self) -> Path:
        return self.path / "progress.png"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    # ------------------------------------------------------------------------------------------ making and finding

    @classmethod
    def create(cls, parent: Path = Path("runs"), name: str = "run") -> Run:
        """A new `parent/NNNN-name` with the next free number, also when several processes ask at once.

        Raises UsageError when nothing can be written there.
        """
        parent = Path(parent)
        with _teach(parent):
            parent.mkdir(parents=True, exist_ok=True)
            with _directory_lock(parent):
                path = cls.next_path(parent, name)
                path.mkdir()
        return cls._prepared(path)

    @staticmethod
    def next_path(parent: Path, name: str) -> Path:
        """The `parent/NNNN-name` that `create` would make now."""
        words = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:80] or "run"
        numbers = [int(m[1]) for m in (re.match(r"(\d{4,})-", p.name) for p in parent.glob("*")) if m]
        return parent / f"{max(numbers, default=0) + 1:04d}-{words}"

    @staticmethod
    def check_free(path: Path) -> Path:
        """`path`, where a run may be made: `UsageError` if it is a file or holds anything."""
        with _teach(path):
            held = sorted(p.name for p in path.iterdir()) if path.exists() else []
        if "experiment.yaml" in held:
            raise UsageError(
                f"{path} already holds a run. Go on with it: gannet resume {path}. Or choose a new --run DIR."
            )
        if held:
            raise UsageError(f"{path} is not empty (it holds {', '.join(held[:3])}). Choose a new or empty --run DIR.")
        return path

    @classmethod
    def at(cls, path: Path) -> Run:
        """A new run in exactly this directory, which must not exist or be empty. Raises UsageError."""
        path = cls.check_free(Path(path))
        with _teach(path):
            path.mkdir(parents=True, exist_ok=True)
        return cls._prepared(path)

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run. Raises UsageError, with the nearest names, where there is none."""
        run = cls(Path(path))
        if run.experiment.is_file():
            return run
        siblings = sorted(run.path.parent.glob("*/experiment.yaml"))
        close = nearest(run.path.name, [p.parent.name for p in siblings])
        hint = f" Did you mean: {', '.join(str(run.path.parent / name) for name in close)}?" if close else ""
        what = "has no experiment.yaml" if run.path.is_dir() else "is a file" if run.path.exists() else "does not exist"
        raise UsageError(f"{run.path} is no run: it {what}.{hint} A run is a directory that 'gannet train' made.")

    @classmethod
    def _prepared(cls, path: Path) -> Run:
        run = cls(path)
        with _teach(path):
            run.samples.mkdir()
            run.checkpoints.mkdir()
            # Written and removed now, so that a place that takes no files is refused before the first step.
            probe = path / ".tmp-probe"
            probe.write_bytes(b"\0")
            probe.unlink()
        return run

    def facts(self) -> dict[str, Any]:
        """What `environment.json` says the run was made of. Raises CheckpointError."""
        try:
            return dict(json.loads(self.environment.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.environment} cannot be read ({error}); it says what the run was trained on."
            ) from None

    def sample_path(self, number: int) -> Path:
        """Where the sample grid of this number belongs."""
        return self.samples / f"{number:09d}.png"

    # ------------------------------------------------------------------------------------------------------- lock

    @contextlib.contextmanager
    def lock(self, notice: Callable[[str], object] = warnings.warn) -> Iterator[None]:
        """Hold the run while the block runs. Raises UsageError, saying who holds it, if another process does.

        The kernel's lock decides; `lock.json` only says whose it is. Where the file system has no locks, the process
        id in `lock.json` decides. What a dead process left is taken over with a `notice`.
        """
        with _teach(self.path):
            descriptor = os.open(self.path / "lock.json", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            holder = _holder(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = False
            except BlockingIOError:
                held = True
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                held = bool(holder) and _maybe_alive(holder)
            whose = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
            if held:
                raise UsageError(
                    f"{self.path} is in use by {whose}. Wait for it, stop it, or choose another --run DIR."
                )
            if holder:
                notice(f"{self.path}: taking over from {whose}, which ended without letting go.")
            mine = {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            _overwrite(descriptor, json.dumps(mine).encode())
            try:
                yield
            finally:
                # Emptied, not deleted: a deleted file could be locked by one process and made anew by the next.
                _overwrite(descriptor, b"")
        finally:
            os.close(descriptor)

    # -------------------------------------------------------------------------------------------------------- log

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line to `log.jsonl`. NaN and infinities, which JSON lacks, are written as "NaN", "Infinity" and
        "-Infinity". Raises ResourceError, leaving whole lines only, when the disk takes no more."""
        line = (json.dumps(_plain(record), allow_nan=False) + "\n").encode()
        try:
            descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                before = os.fstat(descriptor).st_size
                if os.write(descriptor, line) < len(line):
                    os.ftruncate(descriptor, before)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ResourceError(
                f"{self.log} could not be written: {error.strerror or error}. Free space, or check the disk."
            ) from error

    def log_position(self) -> int:
        """Bytes of the log that are safely on the disk: what a checkpoint stores, for `truncate_log` on resume."""
        if not self.log.exists():
            return 0
        with open(self.log, "rb+") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size

    def truncate_log(self, position: int) -> None:
        """Cut the log back to a checkpoint's position: lines written after it will be written again.

        A log that somebody shortened is kept as it is, but for a torn line, with a warning.
        """
        data = self.log.read_bytes() if self.log.exists() else b""
        kept = data[:position]
        whole = kept[: kept.rfind(b"\n") + 1]
        if len(whole) != position:
            warnings.warn(f"{self.log} ends before byte {position}, where the checkpoint was taken: lines are missing.")
        if len(whole) < len(data):
            with open(self.log, "rb+") as file:
                file.truncate(len(whole))
                os.fsync(file.fileno())

    def read_log(self) -> list[dict[str, Any]]:
        """The records, non-finite numbers restored. A last line still being written is left out. Raises DataError."""
        raw = self.log.read_bytes() if self.log.exists() else b""
        records = []
        for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise DataError(
                    f"{self.log}, line {number} is not a JSON object: {line[:60]!r}. Remove the line to go on."
                )
            records.append(_restored(record))
        return records


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a kill, finds the old text or the new. Raises ResourceError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise ResourceError(
            f"{path} could not be written: {error.strerror or error}. Free space, or check the disk."
        ) from error


def environment(device: str, world_size: int = 1) -> dict[str, Any]:
    """What a run's numbers depend on beside its experiment: the content of `environment.json`."""
    return {
        "gannet": version("gannet"),
        "torch": str(torch.__version__),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "world_size": world_size,
        "device": device,
        "command": sys.argv,
    }


@contextlib.contextmanager
def _teach(path: Path) -> Iterator[None]:
    """Say what is wrong with a place as a UsageError, before any training."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(
            f"Nothing can be written in {str(path)[:200]!r}: {reason}. Choose another with --run DIR."
        ) from error


@contextlib.contextmanager
def _directory_lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # Without locks two runs may share a number, never a directory.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> dict[str, Any]:
    """What `lock.json` says: empty when it was let go, or when the kill came before it was written."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _maybe_alive(holder: Mapping[str, Any]) -> bool:
    """False only if the holder ran here and is gone; a process of another machine cannot be asked."""
    if holder.get("host") != socket.gethostname() or not isinstance(holder.get("pid"), int):
        return True
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _overwrite(descriptor: int, data: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)


def _plain(value: Any) -> Any:
    """Numbers of torch and numpy as Python's, non-finite ones as words."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _restored(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_restored(v) for v in value]
    return NON_FINITE.get(value, value) if isinstance(value, str) else value

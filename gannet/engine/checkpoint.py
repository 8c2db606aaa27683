"""Checkpoints that survive a kill, a full disk and a flipped bit.

A checkpoint is a directory of safetensors and JSON files, listed with sizes and SHA-256 in its `MANIFEST.json`:

    checkpoints/000012800/{ema,training,…}.safetensors  state.json  MANIFEST.json
    checkpoints/latest.json  best.json

It is written to a temporary sibling, fsynced, renamed, and counts from the moment `latest.json` names it. A directory
that was renamed but never named (a kill in between) is no checkpoint: the next commit removes it. So a reader finds
the old checkpoint or the new one, never a mix. Names are sample counts; a second commit at the same count gets the
suffix `-1`, because a directory cannot be replaced in one step.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import uuid
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from gannet.core.errors import CheckpointError, ResourceError

SCHEMA = 1
CHUNK = 1 << 16
HEADER_LIMIT = 1 << 24
"""Bytes a safetensors header may have: room for 100,000 tensors, and too little to keep a parser busy."""
WEIGHTS = ("ema", "weights")
"""Groups that somebody will sample from: never published with a non-finite number."""
DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}
NAME = re.compile(r"\d{9,18}(-\d{1,6})?")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

FAULT: Callable[[str], None] = lambda boundary: None  # noqa: E731
"""Called before every `open`, `write`, `fsync`, `rename`, `pointer` and `delete`; fault tests put a kill here."""


class Damaged(CheckpointError):
    """The bytes are not those that were committed, so an older checkpoint may be tried instead."""


class NotFinite(CheckpointError):
    """Weights with NaN or infinity, which are never published."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint: `tensors[group][name]` on the CPU, `state` plain JSON, `path` where it lies."""

    path: Path
    name: str
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def checkpoint_name(samples: int) -> str:
    """The name of the checkpoint at this sample count."""
    return f"{samples:09d}"


# ------------------------------------------------------------------------------------------------------- writing


def commit(
    folder: Path,
    name: str,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep: int = 2,
    pinned: Collection[str] = (),
) -> Path:
    """Write a checkpoint, make it the latest, then drop all but the `keep` newest and the `pinned` names.

    `tensors` maps a file's stem to its tensors; `state` is strict JSON. Returns the directory, whose name is `name`
    or, if that is taken, `name-1`, `name-2`, …. Whatever happens, what was the latest before stays valid until the
    new one is. Raises CheckpointError (nothing written) for non-finite weights or a state that is not JSON, and
    ResourceError when the disk is full or fails.
    """
    folder = Path(folder)
    if not NAME.fullmatch(name) or "-" in name:
        raise CheckpointError(f"{name!r} cannot name a checkpoint. Use checkpoint_name(samples), such as '000012800'.")
    _refuse_non_finite(name, tensors)
    try:
        state_bytes = json.dumps(state, allow_nan=False, indent=1).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"The state of checkpoint {name} is not plain JSON: {error}.") from None
    needed = sum(t.numel() * t.element_size() for group in tensors.values() for t in group.values()) + len(state_bytes)
    temporary = folder / f".tmp-{name}-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _require_space(folder, needed)
        temporary.mkdir()
        files = {"state.json": _write(temporary / "state.json", state_bytes)}
        for group, named in tensors.items():
            # Cloning gives every tensor memory of its own: safetensors refuses views that share storage.
            plain = {k: t.detach().cpu().clone(memory_format=torch.contiguous_format) for k, t in named.items()}
            files[f"{group}.safetensors"] = _write(temporary / f"{group}.safetensors", safetensors.torch.save(plain))
        present = _names(folder)
        # After a return to an older checkpoint, those beyond it belong to a future that was given up.
        older = [n for n in _committed(folder, warnings.warn) if n in present and _order(n)[0] <= int(name)]
        name = _free_name(folder, name)
        manifest = {"schema": SCHEMA, "name": name, "gannet": version("gannet"), "torch": str(torch.__version__)}
        _write(temporary / "MANIFEST.json", _seal({**manifest, "files": files}))
        _fsync_directory(temporary)
        FAULT("rename")
        os.rename(temporary, folder / name)
        _fsync_directory(folder)
        history = older[: max(0, keep - 1)]
        point(folder, "latest", name, history)
    except OSError as error:
        raise _resource_error(folder / name, error, needed) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _retain(folder, {name, *history, *pinned})
    return folder / name


def point(folder: Path, which: str, name: str, history: Collection[str] = ()) -> None:
    """Let `which`.json (latest, best) name a checkpoint, in one step; `history` lists older ones, newest first."""
    FAULT("pointer")
    replace_file(folder / f"{which}.json", _seal({"schema": SCHEMA, "name": name, "history": list(history)}))


def sweep(folder: Path) -> None:
    """Remove what a killed save left behind. Call it at the start of a run, under the run's lock."""
    for path in folder.glob(".tmp-*") if folder.is_dir() else ():
        _remove(path)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that, whatever happens, `path` holds the old bytes or the new ones. Raises OSError."""
    temporary = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex}")
    try:
        _write(temporary, data)
        FAULT("rename")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_directory(path.parent)


def _write(path: Path, data: bytes) -> dict[str, Any]:
    """Write and fsync a new file; its entry in the manifest."""
    FAULT("open")
    with open(path, "xb", buffering=0) as file:
        view = memoryview(data)
        while view:
            FAULT("write")
            view = view[file.write(view[:CHUNK]) :]
        FAULT("fsync")
        os.fsync(file.fileno())
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _fsync_directory(path: Path) -> None:
    FAULT("fsync")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_non_finite(name: str, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    for group in WEIGHTS:
        for key, tensor in tensors.get(group, {}).items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise NotFinite(
                    f"Checkpoint {name} was not written: {group}/{key} holds NaN or infinity. The last one stays valid."
                )


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < 1.2 * needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _resource_error(path: Path, error: OSError, needed: int) -> ResourceError:
    reason = error.strerror or str(error)
    mend = "Check the disk and that the directory still exists."
    if error.errno in FULL:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            reason += f"; it needs {needed / 1e6:.1f} MB and a fifth more, {free / 1e6:.1f} MB are free"
        mend = "Free space, or move the run directory to a larger disk."
    return ResourceError(f"Checkpoint {path} could not be written: {reason}. {mend} The last one stays valid.")


def _free_name(folder: Path, name: str) -> str:
    taken = [n for n in _names(folder) if n.split("-")[0] == name]
    if not taken:
        return name
    # Beyond the greatest, not the first gap: names must sort in the order of their commits.
    return f"{name}-{max(int(n.partition('-')[2] or 0) for n in taken) + 1}"


def _retain(folder: Path, kept: Collection[str]) -> None:
    # Renamed before it is deleted, so that half a directory never looks like a checkpoint. What cannot be deleted now
    # is tried again after the next commit: the new checkpoint stands either way.
    with contextlib.suppress(OSError):
        for name in set(_names(folder)) - set(kept):
            FAULT("delete")
            os.rename(folder / name, folder / f".tmp-{name}-{uuid.uuid4().hex}")
        FAULT("delete")
        sweep(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------- reading


def read(path: Path) -> Checkpoint:
    """Verify every file of a checkpoint directory, then parse it: nothing is parsed before all of it is verified.

    Raises CheckpointError naming the file, what was expected, what was found and what to do.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_dir():
        what = "is a symbolic link" if path.is_symlink() else "does not exist" if not path.exists() else "is a file"
        raise Damaged(f"{path} {what}; a checkpoint is a directory, such as RUN/checkpoints/000012800.")
    try:
        manifest = _manifest(path)
        data = {file: _verified(path / file, entry) for file, entry in manifest["files"].items()}
    except OSError as error:
        raise CheckpointError(f"{error.filename or path} cannot be read: {error.strerror or error}.") from error
    state = strict_json(data.pop("state.json"), path / "state.json")
    if not isinstance(state, dict):
        raise Damaged(f"{path / 'state.json'} holds a {type(state).__name__}, expected an object.")
    tensors = {Path(file).stem: parse_tensors(raw, path / file) for file, raw in data.items()}
    return Checkpoint(path, manifest["name"], tensors, state)


def latest(folder: Path, fallback: bool = False, warn: Callable[[str], object] = warnings.warn) -> Checkpoint:
    """The checkpoint `latest.json` names.

    With `fallback`, a damaged one is renamed `*.corrupt` with a warning and the one before it is read; `latest.json`
    then names what was found. Without `latest.json` (a kill inside the very first commit) the newest directory
    counts. Raises CheckpointError when nothing usable is left, and for a checkpoint that is sound but unreadable
    here (a newer schema, no permission): stepping back from that would lose work.
    """
    folder = Path(folder)
    names = _committed(folder, warn if fallback else None)
    for position, name in enumerate(names):
        try:
            found = read(folder / name)
        except Damaged as error:
            if not fallback:
                raise
            moved = _quarantine(folder / name)
            warn(f"{error} {moved}Trying the checkpoint before it; training since then is lost.")
            continue
        if position:
            with contextlib.suppress(OSError):  # A disk that takes no more writes still lets the run be read.
                point(folder, "latest", name, names[position + 1 :])
        return found
    tried = f" (damaged: {', '.join(names)})" if names else ""
    raise CheckpointError(f"{folder} holds no usable checkpoint{tried}. Start a new run with 'gannet train'.")


def pointed(folder: Path, which: str) -> str:
    """The name of the checkpoint that `which`.json (latest, best) names."""
    return _pointer(folder, which)["name"]


def parse_tensors(data: bytes, where: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file's bytes, whoever made them. Raises CheckpointError for anything else."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(HEADER_LIMIT, len(data) - 8):
        raise Damaged(
            f"{where} is no safetensors file: its header claims {size} bytes, {max(0, len(data) - 8)} follow."
        )
    try:
        tensors = safetensors.torch.load(data)
    except Exception as error:  # The library's errors have no common base, and hostile bytes reach all of them.
        raise Damaged(f"{where} is no sound safetensors file: {str(error)[:200] or type(error).__name__}.") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise Damaged(f"{where}: tensor {name[:100]!r} has type {tensor.dtype}, which nothing here writes.")
    return tensors


def strict_json(data: bytes, where: Path | str) -> Any:
    """JSON as the standard has it: no NaN, no repeated keys, no nesting deeper than Python's stack."""

    def refuse(text: str) -> None:
        raise ValueError(f"{text} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key is repeated")
        return dict(pairs)

    try:
        return json.loads(data.decode(), parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError, MemoryError) as error:
        raise Damaged(f"{where} is not sound JSON: {str(error)[:200]}.") from None


def _seal(body: Mapping[str, Any]) -> bytes:
    """JSON that carries the SHA-256 of itself, in one canonical spelling, so that any changed byte shows."""
    text = json.dumps(body, indent=1, sort_keys=True)
    return json.dumps({**body, "sha256": hashlib.sha256(text.encode()).hexdigest()}, indent=1, sort_keys=True).encode()


def _unseal(path: Path) -> dict[str, Any]:
    if not _is_regular(path) or path.stat().st_size > HEADER_LIMIT:
        raise Damaged(f"{path} is missing, not a plain file or absurdly large.")
    raw = path.read_bytes()
    body = strict_json(raw, path)
    try:
        sound = isinstance(body, dict) and _seal({k: v for k, v in body.items() if k != "sha256"}) == raw
    except RecursionError:  # Writing nested JSON takes more of the stack than reading it.
        sound = False
    if not sound:
        raise Damaged(f"{path} does not match its own SHA-256: it was changed after it was written.")
    if not isinstance(body.get("schema"), int) or body["schema"] < 1:
        raise Damaged(f"{path} has schema {body.get('schema')!r}, expected a whole number up to {SCHEMA}.")
    if body["schema"] > SCHEMA:
        raise CheckpointError(
            f"{path} has schema {body['schema']}; this Gannet ({version('gannet')}) reads up to {SCHEMA}. "
            f"Upgrade Gannet to {body.get('gannet', 'a newer version')} or later."
        )
    if not isinstance(body.get("name"), str) or not NAME.fullmatch(body["name"]):
        raise Damaged(f"{path} names the checkpoint {str(body.get('name'))[:80]!r}, expected a sample count.")
    return body


def _manifest(path: Path) -> dict[str, Any]:
    manifest = _unseal(path / "MANIFEST.json")
    files = manifest.get("files")
    if not isinstance(files, dict) or "state.json" not in files:
        raise Damaged(f"{path / 'MANIFEST.json'} does not list state.json.")
    for file in files:
        if file != "state.json" and (Path(file).suffix != ".safetensors" or Path(file).name != file):
            raise Damaged(
                f"{path / 'MANIFEST.json'} lists {file[:80]!r}; only state.json and *.safetensors belong here."
            )
    found = set(os.listdir(path)) - {"MANIFEST.json"}
    if missing := sorted(set(files) - found):
        raise Damaged(f"{path} lacks {', '.join(missing)}, which its manifest lists.")
    if extra := sorted(found - set(files)):
        raise Damaged(f"{path} holds {', '.join(extra)[:200]}, which its manifest does not list. Remove it to go on.")
    return manifest


def _verified(path: Path, entry: Any) -> bytes:
    """The bytes of a file, if they are those the manifest lists. Read once, so what is checked is what is used."""
    if not _is_regular(path):
        raise Damaged(f"{path} is not a plain file.")
    expected = entry if isinstance(entry, dict) else {}
    if (size := path.stat().st_size) != expected.get("bytes"):
        raise Damaged(f"{path} has {size} bytes, expected {expected.get('bytes')}: it was cut off or replaced.")
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != expected.get("sha256"):
        raise Damaged(f"{path} has SHA-256 {found[:16]}…, expected {str(expected.get('sha256'))[:16]}…: it is damaged.")
    return data


def _is_regular(path: Path) -> bool:
    """Neither missing, nor a link out of the run directory, nor a pipe that would block for ever."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split("-"))


def _names(folder: Path) -> list[str]:
    """Every directory named like a checkpoint, newest first."""
    found = [p.name for p in folder.iterdir() if NAME.fullmatch(p.name)] if folder.is_dir() else []
    return sorted(found, key=_order, reverse=True)


def _committed(folder: Path, warn: Callable[[str], object] | None) -> list[str]:
    """Names of the committed checkpoints, newest first. A damaged `latest.json` is passed over if `warn` is given."""
    if not (folder / "latest.json").exists():
        return _names(folder)
    try:
        pointer = _pointer(folder, "latest")
    except Damaged as error:
        if warn is None:
            raise
        warn(f"{error} Taking the newest directory instead.")
        return _names(folder)
    listed = [pointer["name"], *pointer["history"]]
    return listed + [n for n in _names(folder) if _order(n) < _order(listed[-1])]


def _pointer(folder: Path, which: str) -> dict[str, Any]:
    body = _unseal(folder / f"{which}.json")
    history = body.get("history")
    if not isinstance(history, list) or not all(isinstance(n, str) and NAME.fullmatch(n) for n in history):
        raise Damaged(f"{folder / which}.json lists older checkpoints that are no names.")
    return body


def _quarantine(path: Path) -> str:
    if not os.path.lexists(path):
        return ""
    targets = (path.with_name(f"{path.name}.corrupt" + (f"-{n}" if n else "")) for n in itertools.count())
    target = next(t for t in targets if not os.path.lexists(t))
    try:
        os.rename(path, target)
    except OSError:
        return ""
    return f"It is now {target.name}. "

"""Opens weights that others saved with `torch.save`: the one place in the house where a pickle is read.

Only with `weights_only=True`, and only to write them again as safetensors: nothing else ever meets the file. What comes
out is checked name by name against what is wanted, so a hostile file can be refused but cannot be used.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gannet.core.errors import CheckpointError
from gannet.core.tensorfile import write_tensors

MAX_BYTES = 1 << 31
"""Larger files are not opened: no network that is read here is near this size."""


def converted(path: Path, shapes: Mapping[str, tuple[int, ...]], out: Path, sha256: str | None = None) -> Path:
    """Write the tensors named in `shapes` from the state dict in `path` to the safetensors file `out`, as fp32.

    The file notes the SHA-256 of `path` as `source_sha256`. With `sha256` no other file is even opened. Raises
    `CheckpointError`, listing what is wrong, for a file that cannot be read, would run code, or lacks a tensor or has
    it in another shape; tensors that are not in `shapes` are left out.
    """
    state, source = _state(path, sha256)
    missing = [name for name in shapes if name not in state]
    other = [n for n in state if n not in shapes]
    if missing:
        raise CheckpointError(
            f"{path}: {len(missing)} of {len(shapes)} tensors are missing: {_listed(missing)}. "
            f"It holds {_listed(other) or 'no others'}: these are the weights of something else."
        )
    wrong = [f"{n} {_kind(state[n])}, not {list(shape)}" for n, shape in shapes.items() if not _is(state[n], shape)]
    if wrong:
        raise CheckpointError(f"{path}: {len(wrong)} tensors are not as they must be: {_listed(wrong)}.")
    tensors = {
        name: value.detach().float().contiguous().clone()
        for name, value in state.items()
        if name in shapes and isinstance(value, Tensor)
    }
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise CheckpointError(f"{path}: {len(bad)} tensors are not finite: {_listed(bad)}.")
    return write_tensors(out, tensors, {"source_sha256": source})


def _state(path: Path, sha256: str | None) -> tuple[Mapping[str, object], str]:
    """The dictionary in `path`, and the SHA-256 of the file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read.")
        with path.open("rb") as file:
            source = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 not in (None, source):
                raise CheckpointError(
                    f"{path} has SHA-256 {source}, not {sha256}: it is another file, or a damaged one. "
                    f"To convert it all the same, name the file to write."
                )
            file.seek(0)
            with warnings.catch_warnings(action="ignore"):  # of a file that is refused anyway
                state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}).") from None
    except CheckpointError:
        raise
    except Exception as error:  # a file from elsewhere may fail in any way; none of them is worth a traceback
        reason = str(error).strip().split("\n")[0][:200]
        raise CheckpointError(
            f"{path} is not a plain dictionary of tensors saved by torch.save, or would run code when opened; "
            f"nothing of it was used ({type(error).__name__}: {reason})."
        ) from None
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a dictionary of tensors.")
    return state, source


def _is(value: object, shape: tuple[int, ...]) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.dtype.is_floating_point
        and tuple(value.shape) == tuple(shape)
    )


def _kind(value: object) -> str:
    return f"is {value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else f"is a {type(value).__name__}"


def _listed(names: list[str]) -> str:
    return ", ".join(map(str, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

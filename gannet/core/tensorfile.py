"""Safetensors files that say what they are and notice when they are damaged, written in one step or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from gannet.core.errors import CheckpointError, ResourceError


def put(path: Path, content: bytes) -> Path:
    """Write `content` to `path`: a reader finds the old file or the new one, never a part.

    Missing folders are made. Raises `ResourceError` where it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise ResourceError(f"{path} cannot be written ({error.strerror or error}).") from None
    return path


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> Path:
    """Write `tensors` to the safetensors file `path` with `notes` in its header, and the SHA-256 of the tensors."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return put(path, safetensors.torch.save(held, {**notes, "sha256": _digest(held)}))


def read_tensors(path: Path, needs: tuple[str, ...], mend: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the notes of a file made by `write_tensors`, whose notes have the names in `needs`.

    Raises `CheckpointError`, ending in how to `mend` it, for a file that is missing, damaged or something else.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}). {mend}") from None
    lacking = [name for name in ("sha256", *needs) if name not in notes]
    if lacking:
        raise CheckpointError(f"{path} is something else: it has no note of its {lacking[0]}. {mend}")
    if _digest(tensors) != notes["sha256"]:
        raise CheckpointError(f"{path} is damaged: its tensors do not have the SHA-256 it notes. {mend}")
    return tensors, notes


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            digest.update(tensor.numpy().data.cast("B"))
    return digest.hexdigest()

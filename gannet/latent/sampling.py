"""Samples from a trained generator that depend on the seed and their number alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gannet.core.errors import UsageError, unknown
from gannet.core.random import Draw, installed
from gannet.core.types import DataSpec, Task
from gannet.latent.draws import STREAM

CHUNK = 64
"""Samples are always computed in chunks of this size at fixed places, so sample k has the same bytes however many are
asked for: kernels may round differently for other batch sizes."""


@torch.no_grad()
def sample(
    task: Task,
    n: int,
    seed: int = 0,
    label: int | None = None,
    truncation: float = 1.0,
    given: Callable[[range], Tensor] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Samples number 0 … n−1 of `seed`, `[n, *shape]` on the CPU in the range of the data.

    `label` fixes the class of all of them; `given(positions)` supplies conditions to translators. Raises `UsageError`
    for an n, label or truncation that is out of range.
    """
    if not 1 <= n <= 10_000_000:
        raise UsageError(f"n={n}: ask for 1 to 10,000,000 samples.")
    if not 0 <= truncation <= 2:
        raise UsageError(f"truncation={truncation}: allowed are 0 (the mean sample) to 2; 1 leaves the latents alone.")
    chunks = []
    for start in range(0, n, CHUNK):
        positions = range(start, start + CHUNK)
        draw = Draw(seed, STREAM, 0, positions, device, dtype)
        y = None if label is None else torch.full((CHUNK,), label, dtype=torch.long, device=device)
        with installed(draw.child("layers")):
            x = task.sample(draw, y, None if given is None else given(positions).to(device, dtype), truncation)
        chunks.append(x[: n - start].float().cpu())
    return torch.cat(chunks)


def label_index(label: int | str | None, task: Task, data: DataSpec) -> int | None:
    """The class number of a label given as a number or a name. Raises `UsageError` with the classes there are."""
    if label is None:
        return None
    if not task.classes:
        raise UsageError("this generator was trained without labels; leave the label out.")
    # Codes that a task finds by itself have no names.
    named = any(role.data.classes for role in task.roles.values())
    names = (list(data.names) if named else []) or [str(i) for i in range(task.classes)]
    if str(label) in names:
        return names.index(str(label))
    if isinstance(label, int) or str(label).isdigit():
        index = int(label)
        if 0 <= index < task.classes:
            return index
    raise UsageError(unknown("label", str(label), names))

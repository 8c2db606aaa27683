"""What a generator starts from: read from a draw, changed by whoever likes, and made into samples.

A task draws latents, labels, codes in its own way and hands them to its network `generator`. So that every task can be
steered by the same few lines, another network stands in that place for the while: one that only listens, or one that
puts other numbers into the true generator. The start is w, a style for each layer, where the generator maps its latent,
else z as the generator is given it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.random import Draw, installed
from gannet.core.types import Task
from gannet.latent.arcs import Blend
from gannet.latent.draws import Mixed, Seeds

ROWS = 8
"""Samples are made in batches of this size, filled up where there are fewer, so the first row of a batch has the same
bytes whatever is asked for with it: kernels may round differently for other sizes, and at other places."""


@dataclass(frozen=True)
class Start:
    """`latent` `[N, n]`, or `[N, L, n]` of a generator that maps its latent, and the classes `y` `[N]` it was read
    with, none where the generator is told none."""

    latent: Tensor
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latent)

    def moved(self, latent: Tensor) -> Start:
        """The same classes, with another latent."""
        return Start(latent, self.y)

    @staticmethod
    def cat(parts: Sequence[Start]) -> Start:
        labels = [part.y for part in parts if part.y is not None]
        return Start(torch.cat([part.latent for part in parts]), torch.cat(labels) if labels else None)


class _Heard(Exception):
    """The generator was reached; what it was given need not be made into a picture."""

    def __init__(self, start: Start):
        self.start = start


class _Listening(nn.Module):
    """In the place of a generator: raises what it is given."""

    def __init__(self, generator: Any):
        super().__init__()
        self.latent, self.maps_latent = generator.latent, maps(generator)
        self._generator = (generator,)  # in a tuple, so that it is no child of this

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        raise _Heard(Start(z, y))

    def map(self, z: Tensor, y: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        raise _Heard(Start(self._generator[0].map(z, y, truncation), y))

    def synthesise(self, w: Tensor) -> Tensor:
        raise _Heard(Start(w))


class _Given(nn.Module):
    """In the place of a generator: the generator, started from what was given."""

    def __init__(self, generator: Any, start: Start):
        super().__init__()
        self.latent, self.maps_latent = generator.latent, maps(generator)
        self._generator, self._start = (generator,), start

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self._generator[0](self._start.latent, self._start.y)

    def map(self, z: Tensor, y: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        return self._start.latent

    def synthesise(self, w: Tensor) -> Tensor:
        return self._generator[0].synthesise(w)


def maps(generator: nn.Module) -> bool:
    """Whether a generator maps its latent to styles, and can make samples of those."""
    return bool(getattr(generator, "maps_latent", False))


def generator_of(task: Task) -> nn.Module:
    """The network that makes samples from latents. Raises `UsageError` where a task has none."""
    if "generator" not in task.networks or "given" in task.fields:
        raise UsageError(
            "this model translates pictures that it is given: it has no latents to move in. "
            "Give a run of a generator that starts from noise, as of gannet train quick."
        )
    return task.networks["generator"]


def _standing_in(task: Task, other: nn.Module) -> Task:
    """`task` with `other` for its generator; the task itself stays as it is, so others may use it meanwhile."""
    twin = copy.copy(task)
    twin._modules = {**task._modules, "networks": nn.ModuleDict({**task.networks, "generator": other})}
    return twin


# ---------------------------------------------------------------------------------------------------- read and make


def draw_of(blends: Sequence[Blend], dtype: torch.dtype = torch.float32) -> Draw:
    """The draw whose row i is the latent of `blends[i]`, with everything else that a task draws beside it."""
    most = max(len(blend) for blend in blends)
    # In the order of their size, a row's seeds fill the same number of places; those that are left weigh nothing.
    rows = [sorted(blend.items(), key=lambda item: (-abs(item[1]), item[0])) for blend in blends]
    rows = [row + [(row[0][0], 0.0)] * (most - len(row)) for row in rows]
    draws = [Seeds([row[k][0] for row in rows], dtype=dtype) for k in range(most)]
    return Mixed(draws, torch.tensor([[value for _, value in row] for row in rows], dtype=torch.float64))


@torch.no_grad()
def read(task: Task, draw: Draw, label: int | None = None, truncation: float = 1.0) -> Start:
    """What the generator is given for the rows of `draw`, with `label` for the class of all of them if one is given.
    Raises `UsageError` for a task that makes nothing from latents."""
    twin = _standing_in(task, _Listening(generator_of(task)))
    y = None if label is None else torch.full((len(draw),), label, dtype=torch.long)
    try:
        with installed(draw.child("layers")):
            twin.sample(draw, y, None, truncation)
    except _Heard as heard:
        return heard.start
    raise UsageError("this task makes its samples without its generator: it has no latents to move in.")


@torch.no_grad()
def make(task: Task, start: Start, blends: Sequence[Blend], dtype: torch.dtype = torch.float32) -> Tensor:
    """Samples `[N, *shape]` of `start`, in the range of the data. What else the generator draws (noise of its layers)
    is that of `blends`, one a row."""
    found = []
    for at in range(0, len(start), ROWS):
        rows = [min(row, len(start) - 1) for row in range(at, at + ROWS)]
        part = Start(start.latent[rows], None if start.y is None else start.y[rows])
        draw = draw_of([blends[row] for row in rows], dtype)
        twin = _standing_in(task, _Given(generator_of(task), part))
        with installed(draw.child("layers")):
            x = twin.sample(draw)
        found.append(x[: len(start) - at].float())
    return torch.cat(found)

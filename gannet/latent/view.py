"""A trained generator, looked at: looks to samples, and ways through looks to frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.types import Task
from gannet.latent import arcs, sampling
from gannet.latent.arcs import Blend
from gannet.latent.directions import Directions, principal
from gannet.latent.looks import Look, Point
from gannet.latent.starts import ROWS, Start, draw_of, generator_of, make, maps, read
from gannet.latent.styles import mixed, styles

FRAMES = 600
"""Most frames of one way."""
Asked = tuple[Blend, int | None, float]
"""What a start is read for: a latent, a class and a truncation."""


class View:
    """The samples of `task` in evaluation mode that looks describe. Raises `UsageError` for a task without latents."""

    def __init__(self, task: Task, dtype: torch.dtype = torch.float32):
        self.task, self.dtype = task, dtype
        generator = generator_of(task)
        self.maps, self.styles = maps(generator), styles(generator)

    @cached_property
    def directions(self) -> Directions:
        """The principal directions: a second or a few, once."""
        return principal(self.task, dtype=self.dtype)

    def images(self, looks: Sequence[Look], together: bool = False) -> Tensor:
        """One sample a look, `[N, *shape]` in the range of the data.

        Each is computed as if it were asked for alone, and one that is a seed's as `sampling.sample` does, so its bytes
        depend on nothing else. `together` they cost a fraction, and may differ from that in the last bit of a number.
        Raises `UsageError` for a direction or a style layer that there is not.
        """
        if not together:
            return torch.cat([self._alone(look) for look in looks])
        return make(self.task, self.starts(looks), [look.point.blend for look in looks], self.dtype)

    def _alone(self, look: Look) -> Tensor:
        if look.seed is None:
            return self.images([look], together=True)
        return sampling.sample(self.task, 1, look.seed, look.label, look.truncation, dtype=self.dtype)

    def starts(self, looks: Sequence[Look]) -> Start:
        """What the generator starts from for each look."""
        asked: list[Asked] = []
        for look in looks:
            asked += [(blend, look.label, look.truncation) for _, blend in self._parts(look.point)]
            if look.style is not None:
                asked += [(blend, look.label, look.truncation) for _, blend in self._parts(look.style[0])]
        all_read, at = self._read(asked), 0
        latents, labels = [], []
        for look in looks:
            parts = self._parts(look.point)
            latent = _sum(parts, all_read.latent[at : at + len(parts)])
            labels.append(None if all_read.y is None else all_read.y[at])
            at += len(parts)
            if look.style is not None:
                others = self._parts(look.style[0])
                latent = mixed(latent, _sum(others, all_read.latent[at : at + len(others)]), look.style[1])
                at += len(others)
            latents.append(latent + self._moves(look).to(latent))
        known = [label for label in labels if label is not None]
        return Start(torch.cat(latents), torch.stack(known) if known else None)

    def frames(self, looks: Sequence[Look], count: int, closed: bool = True) -> Tensor:
        """`count` samples along a smooth way through `looks`, `[count, *shape]`; a closed one comes back to the first.

        In w the way is a spline; in z it is one over the blends, brought back to a latent's length, with truncation and
        directions moving along. A class lasts until the way is nearer to the next look. Raises `UsageError` for a count
        out of range and no look.
        """
        if not 1 <= count <= FRAMES:
            raise UsageError(f"frames={count}: ask for 1 to {FRAMES} frames.")
        weights = arcs.way(len(looks), count, closed)
        blends = arcs.blended([look.point.blend for look in looks], weights)
        near = weights.argmax(1)
        if self.maps:
            keys = self.starts(looks)
            latent = torch.einsum("fk,kln->fln", weights.to(keys.latent), keys.latent)
            start = Start(latent, None if keys.y is None else keys.y[near])
        else:
            truncations = (weights @ torch.tensor([look.truncation for look in looks], dtype=torch.float64)).clamp(0, 2)
            # Looks truncated alike stay so: a sum of weights may miss 1 in its last bit, and would cost a reading each.
            alike = len({look.truncation for look in looks}) == 1
            amounts = [looks[0].truncation] * count if alike else truncations.tolist()
            labels = [looks[int(place)].label for place in near]
            start = self._read(list(zip(blends, labels, amounts, strict=True)))
            moves = torch.cat([self._moves(look).expand(1, start.latent.shape[1]) for look in looks])
            start = start.moved(start.latent + (weights.to(moves) @ moves).to(start.latent))
        return make(self.task, start, blends, self.dtype)

    def _parts(self, point: Point) -> tuple[tuple[float, Blend], ...]:
        return point.parts if self.maps else ((1.0, point.blend),)

    def _moves(self, look: Look) -> Tensor:
        """What directions add to the latent of a look, `[1, n]`, or `[1, 1, n]` in w."""
        total = torch.zeros(1, 1, dtype=torch.float64)
        for number, amount in look.directions:
            if number >= len(self.directions):
                raise UsageError(f"direction {number} is not there: this generator has 0 … {len(self.directions) - 1}.")
            total = total + amount * self.directions.steps[number]
        return total[None] if self.maps else total

    def _read(self, asked: Sequence[Asked]) -> Start:
        """The starts in the order asked for, read in batches of one size for each class and truncation."""
        found: dict[int, tuple[Tensor, Tensor | None]] = {}
        for kind in dict.fromkeys(each[1:] for each in asked):
            places = [i for i, each in enumerate(asked) if each[1:] == kind]
            for at in range(0, len(places), ROWS):
                part = places[at : at + ROWS]
                full = part + part[-1:] * (ROWS - len(part))
                start = read(self.task, draw_of([asked[i][0] for i in full], self.dtype), *kind)
                for row, i in enumerate(part):
                    found[i] = start.latent[row], None if start.y is None else start.y[row]
        latents, labels = zip(*(found[i] for i in range(len(asked))), strict=True)
        known = [label for label in labels if label is not None]
        return Start(torch.stack(latents), torch.stack(known) if known else None)


def _sum(parts: Sequence[tuple[float, Blend]], latents: Tensor) -> Tensor:
    """Σ weight · latent over the parts of one point, `[1, …]`."""
    if len(parts) == 1:
        return latents[:1]
    weights = torch.tensor([weight for weight, _ in parts]).to(latents)
    return (weights.view(-1, *[1] * (latents.dim() - 1)) * latents).sum(0, keepdim=True)

"""Randomness as an argument: counter-based draws keyed by seed, stream, step and global sample index.

Row k of a draw depends on nothing but (seed, stream, step, how many draws came before, global index k). So a resumed
run, a run on another number of processes and a run with other micro-batches draw the same numbers for the same
samples. Rows are made in blocks of `BLOCK`, one small generator a block, so a draw costs microseconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import lru_cache

import torch
from torch import Tensor

BLOCK = 16
_MASK = (1 << 64) - 1
_START = 0x9E3779B97F4A7C15

Fill = Callable[[Tensor, torch.Generator], Tensor]
"""Fills a block in place and returns it."""


def mix(*parts: int | str) -> int:
    """A 63-bit seed from any number of integers and words (SplitMix64's finaliser, chained)."""
    return _chained(_START, *parts) >> 1


def _chained(state: int, *parts: int | str) -> int:
    for part in parts:
        values = [part] if isinstance(part, int) else [*part.encode(), -1]
        for value in values:
            state = (state ^ (value & _MASK)) & _MASK
            state = (state + 0x9E3779B97F4A7C15) & _MASK
            state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
            state ^= state >> 31
    return state


@lru_cache(maxsize=1024)
def _of_stream(seed: int, stream: str) -> int:
    # Remembered, as every step asks for the same few streams.
    return _chained(_START, seed, stream)


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by `mix(*parts)`."""
    return torch.Generator().manual_seed(mix(*parts))


class Draw:
    """Random numbers for the rows `indices` (global sample indices, `[B]`) of one turn.

    Every method takes the row shape without the batch axis and returns `[B, *shape]` (or `[groups·B, *shape]` inside
    a forward that stacks several groups of the same rows, see `for_rows`). Successive calls differ.
    """

    def __init__(
        self,
        seed: int,
        stream: str,
        step: int,
        indices: Sequence[int] | Tensor,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.key = (seed, stream, step)
        self.indices: Sequence[int] = indices.tolist() if isinstance(indices, Tensor) else indices
        self.device = torch.device(device)
        self.dtype = dtype
        self.calls = 0

    def __len__(self) -> int:
        return len(self.indices)

    def child(self, name: str) -> Draw:
        """An independent draw for the same rows, whose numbers do not depend on what was drawn here before."""
        return self._like(f"{self.key[1]}/{name}", self.indices)

    def first(self, rows: int) -> Draw:
        """The same numbers for only the first `rows` rows."""
        return self if rows == len(self.indices) else self._like(self.key[1], self.indices[:rows])

    def _like(self, stream: str, indices: Sequence[int]) -> Draw:
        return Draw(self.key[0], stream, self.key[2], indices, self.device, self.dtype)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers `[B, *shape]`."""
        return self._rows(lambda block, gen: block.normal_(generator=gen), shape).to(self.dtype)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high), `[B, *shape]`."""
        unit = self._rows(lambda block, gen: block.uniform_(generator=gen), shape).to(self.dtype)
        return unit * (high - low) + low

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform whole numbers 0 … high−1, `[B, *shape]` int64."""
        return self._rows(lambda block, gen: block.random_(0, high, generator=gen), shape, torch.int64)

    def for_rows(self, rows: int, *shape: int, kind: str = "normal", same: bool = False) -> Tensor:
        """`[rows, *shape]` numbers where `rows` is a multiple of B: one independent group for each multiple, as layers
        need when real and fake rows are judged in one forward, or with `same` each group the same."""
        groups, rest = divmod(rows, len(self.indices))
        if rest or not groups:
            raise ValueError(f"{rows} rows are no multiple of the {len(self.indices)} samples of this draw")
        if same:
            return torch.cat([getattr(self, kind)(*shape)] * groups)
        return torch.cat([getattr(self, kind)(*shape) for _ in range(groups)])

    def _rows(self, fill: Fill, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        indices = self.indices
        following = isinstance(indices, range) and indices.step == 1
        numbers: Sequence[int]
        if following:
            numbers = range(indices[0] // BLOCK, indices[-1] // BLOCK + 1)
        else:
            numbers = list(dict.fromkeys(index // BLOCK for index in indices))
        # What the blocks' seeds share is mixed once, and one generator serves all: seeding costs as much as drawing.
        seed, stream, step = self.key
        state = _chained(_START, _chained(_of_stream(seed, stream), step) >> 1, self.calls)
        small = torch.Generator()
        self.calls += 1
        blocks = torch.empty(len(numbers), BLOCK, *shape, dtype=dtype)
        for block, number in zip(blocks.unbind(), numbers, strict=True):
            fill(block, small.manual_seed(_chained(state, number) >> 1))
        rows = blocks.flatten(0, 1)
        if following:
            first = indices[0] % BLOCK
            rows = rows[first : first + len(indices)]
        else:
            place = {number: i * BLOCK for i, number in enumerate(numbers)}
            rows = rows[[place[i // BLOCK] + i % BLOCK for i in indices]]
        return rows.to(self.device)


class Stacked:
    """The draws of several groups of rows judged in one forward: each group gets the numbers it would get alone."""

    def __init__(self, draws: Sequence[Draw]):
        self.draws = draws

    def child(self, name: str) -> Stacked:
        return Stacked([draw.child(name) for draw in self.draws])

    def for_rows(self, rows: int, *shape: int, kind: str = "normal", same: bool = False) -> Tensor:
        each = rows // len(self.draws)
        return torch.cat([draw.for_rows(each, *shape, kind=kind, same=same) for draw in self.draws])


_CURRENT: ContextVar[Draw | Stacked | None] = ContextVar("gannet_draw", default=None)


def current() -> Draw | Stacked:
    """The draw installed for this forward; layers (dropout, style noise) ask it `for_rows`."""
    draw = _CURRENT.get()
    if draw is None:
        raise RuntimeError("no draw is installed; wrap the call in gannet.core.random.installed(draw)")
    return draw


@contextlib.contextmanager
def installed(draw: Draw | Stacked) -> Iterator[None]:
    """Make `draw` the current one inside the block."""
    token = _CURRENT.set(draw)
    try:
        yield
    finally:
        _CURRENT.reset(token)

"""Ways between latents on which every point is as likely as any other: great arcs, the plane of seeds, closed loops.

A latent is written as a *blend*: seeds with coefficients whose squares sum to 1. The latents of different seeds are
independent and normal, so a blend of them is one again (a straight line between two would pass through latents that are
too short). Blends with the same coefficients are the same latent, whatever the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import mix

Blend = dict[int, float]
"""Coefficient of every seed; Σ c² = 1."""

WIDE = 100
"""Seeds in a row of the plane: seed n lies at (n mod 100, n div 100)."""
TINY = 1e-9


# ------------------------------------------------------------------------------------------------------ great arcs


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The point at `t` of the great arc from `a` to `b` (Shoemake 1985, §3.3), each `[…, n]` and of any length:

        sin((1 − t)·θ)/sin θ · a + sin(t·θ)/sin θ · b,  θ the angle between them,

    its length moving evenly from |a| to |b|. Raises `UsageError` for opposite points, which many arcs join.
    """
    lengths = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    u, v = (x / length.clamp(min=TINY) for x, length in zip((a, b), lengths, strict=True))
    angle = torch.atan2((u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True)) * 2
    if bool((angle > math.pi - 1e-6).any()):
        raise UsageError("no one arc joins opposite latents: put another one between them.")
    sine = angle.sin()
    flat = sine < 1e-6
    weights = [torch.where(flat, s, (s * angle).sin() / sine.masked_fill(flat, 1)) for s in (1 - t, t)]
    return (weights[0] * u + weights[1] * v) * ((1 - t) * lengths[0] + t * lengths[1])


def between(a: Blend, b: Blend, t: float) -> Blend:
    """The blend at `t` of the great arc from `a` to `b`: cos(πt/2)·a + sin(πt/2)·b where they share no seed."""
    if t in (0, 1) or a == b:
        return dict(b if t == 1 else a)
    names = sorted({*a, *b})
    start, end = (torch.tensor([blend.get(seed, 0.0) for seed in names], dtype=torch.float64) for blend in (a, b))
    return _blend(names, slerp(start, end, t).tolist())


def _blend(names: Sequence[int], values: Sequence[float]) -> Blend:
    kept = {seed: value for seed, value in zip(names, values, strict=True) if abs(value) > TINY}
    length = math.sqrt(math.fsum(value * value for value in kept.values()))
    if len(kept) == 1 and min(kept.values()) > 0:
        return dict.fromkeys(kept, 1.0)  # rounding must not cost a seed its own bytes
    return {seed: value / length for seed, value in kept.items()}


# ------------------------------------------------------------------------------------------------------- the plane


def seed_at(column: int, row: int) -> int:
    """The seed at a point of the lattice: column + 100·row where that is a seed's place, elsewhere one of its own."""
    return column + WIDE * row if 0 <= column < WIDE and row >= 0 else mix("plane", column, row)


def place(seed: int) -> tuple[int, int]:
    """Where `seed` lies in the plane."""
    return seed % WIDE, seed // WIDE


def plane(x: float, y: float) -> Blend:
    """The blend at a point of the plane: of the four corners around it, with the weights cos and sin of πf/2 along each
    axis, f being how far the point lies from one corner to the next."""
    weights: Blend = {}
    column, row = math.floor(x), math.floor(y)
    for i, across in enumerate(_quarter(x - column)):
        for j, down in enumerate(_quarter(y - row)):
            if across and down:
                weights[seed_at(column + i, row + j)] = across * down
    return weights


def _quarter(t: float) -> tuple[float, float]:
    return (math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)) if t else (1.0, 0.0)


# ------------------------------------------------------------------------------------------------------- long ways


def way(keys: int, frames: int, closed: bool) -> Tensor:
    """Weights `[frames, keys]` of a smooth way through `keys` points: those of a Catmull-Rom spline, which sum to 1.

    Frame 0 is point 0. A closed way goes on from the last point to the first and has no seam; an open one ends at the
    last point with its last frame. Points are evenly apart in time, and both neighbours of one say how fast it is
    passed. Raises `UsageError` for no point or no frame.
    """
    if keys < 1 or frames < 1:
        raise UsageError(f"a way of {frames} frames through {keys} latents is none. Give one of each, or more.")
    weights = torch.zeros(frames, keys, dtype=torch.float64)
    for frame in range(frames):
        at = keys * frame / frames if closed else (keys - 1) * frame / max(1, frames - 1)
        number = min(math.floor(at), keys - 1 if closed else max(0, keys - 2))
        t = at - number
        for step, value in enumerate(_catmull_rom(t), number - 1):
            weights[frame, step % keys if closed else min(max(step, 0), keys - 1)] += value
    return weights


def _catmull_rom(t: float) -> tuple[float, float, float, float]:
    """Weights of four points in a row, at `t` of the way from the second to the third."""
    return (
        (-t + 2 * t**2 - t**3) / 2,
        (2 - 5 * t**2 + 3 * t**3) / 2,
        (t + 4 * t**2 - 3 * t**3) / 2,
        (-(t**2) + t**3) / 2,
    )


def blended(blends: Sequence[Blend], weights: Tensor) -> list[Blend]:
    """The blends of `weights` `[F, K]` over `blends`, brought back to a latent's length. Raises `UsageError` for one
    that has none left: points that cancel each other."""
    names = sorted({seed for blend in blends for seed in blend})
    table = torch.tensor([[blend.get(seed, 0.0) for seed in names] for blend in blends], dtype=torch.float64)
    rows = weights.double() @ table
    if bool((rows.norm(dim=1) < 1e-6).any()):
        raise UsageError("the way leads through the middle, where there is no latent: put another one between them.")
    return [_blend(names, row) for row in rows.tolist()]

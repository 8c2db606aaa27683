"""Numbers drawn over the plane, or the line: pure functions of networks and points, tensors in, arrays out.

A `Judge` says what the discriminator thinks of points, without augmentation: `lambda x: discriminator(x)`, with labels
bound where it needs them. A `Generate` makes samples of latents. Both should be called under `evaluating`. Everything
is computed in the type of the points given. `D` is 1 for data on a line and 2 for data in the plane.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.core.parts import Objective
from gannet.core.types import Source, Verdict, sum_entries
from gannet.data.plane import Density, Mixture, kernel
from gannet.lab.pushforward import pushforward
from gannet.losses.objectives import Game

Judge = Callable[[Tensor], Verdict]
Generate = Callable[[Tensor], Tensor]
Bounds = tuple[float, ...]
"""(x0, y0, x1, y1) of the plane, (x0, x1) of a line."""
How = Literal["exact", "kernel"]


@contextlib.contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Inside, the modules are as in evaluation: no dropout, batch norm with its running statistics."""
    before = [(m, m.training) for module in modules for m in module.modules()]
    try:
        for module, _ in before:
            module.training = False
        yield
    finally:
        for module, training in before:
            module.training = training


# ------------------------------------------------------------------------------------------------------------ where


def bounds(source: Source) -> Bounds:
    """What of the line or plane shows `source`: its own view, else the extent of its training rows and a tenth more.

    Raises `UsageError` for data that are no points of one or two coordinates.
    """
    shape = source.spec.shape
    if shape not in ((1,), (2,)):
        raise UsageError(f"the plane shows points of 1 or 2 coordinates; this data has samples of shape {list(shape)}.")
    if (view := getattr(source, "view", None)) is not None:
        return tuple(view) if shape == (1,) else (view[0], view[0], view[1], view[1])
    rows = source.split("train").take(torch.arange(len(source.split("train"))))["x"].double()
    low, high = rows.amin(0), rows.amax(0)
    spare = 0.1 * (high - low).clamp(min=1e-6)
    return (*(low - spare).tolist(), *(high + spare).tolist())


def centres(bounds: Bounds, n: int = 50, like: Tensor | None = None) -> Tensor:
    """The centres of n cells a side, `[n, n, 2]` with row 0 at the bottom, or `[n, 1]` on a line; fp32, or `like`."""
    d = len(bounds) // 2
    axes = [torch.linspace(0.5 / n, 1 - 0.5 / n, n, dtype=torch.float64) * (b - a) + a for a, b in spans(bounds)]
    grid = axes[0][:, None] if d == 1 else torch.stack(torch.meshgrid(axes[0], axes[1], indexing="xy"), dim=-1)
    return grid.to(like) if like is not None else grid.float()


def outside(x: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Which of the points `[n, D]` lie outside: `[n]` bool."""
    low, high = np.array(spans(bounds)).T
    return ~((x >= low) & (x <= high)).all(axis=1)


def spans(bounds: Bounds) -> list[tuple[float, float]]:
    """(low, high) of every axis."""
    return list(zip(bounds[: len(bounds) // 2], bounds[len(bounds) // 2 :], strict=True))


# ------------------------------------------------------------------------------------------------- the discriminator


def heat(judge: Judge, grid: Tensor) -> np.ndarray:
    """σ(D(x)) at `grid` `[…, D]`: `[…]` in 0 … 1. For logits the probability that x is real; for other scores a picture
    of their order."""
    with torch.no_grad():
        return _array(torch.sigmoid(judge(_rows(grid)).per_sample()).reshape(grid.shape[:-1]))


def gradient_norm(judge: Judge, grid: Tensor) -> np.ndarray:
    """|∇ₓD| of the score at `grid` `[…, D]`: `[…]`; R1 is the mean of its square over reals."""
    x = _rows(grid).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(judge(x).per_sample().sum(), x)
    return _array(slope.norm(dim=1).reshape(grid.shape[:-1]))


def generator_loss(judge: Judge, objective: Objective, fake: Tensor, real: Tensor | None = None) -> Tensor:
    """L_G of the batch as the engine takes it, 0-dim with its graph: the mean over a score's other axes, the sum over
    scores, the mean over rows. `objective` is the one of the moment (`at(clock)`)."""
    scores = judge(fake).score
    with torch.no_grad():
        reals = judge(real).score if objective.wants_real and real is not None else [None] * len(scores)
    entries = [objective.generator(r, f) for r, f in zip(reals, scores, strict=True)]
    return sum_entries([e.flatten(1).mean(1) if e.dim() > 1 else e for e in entries]).mean()


def arrows(judge: Judge, objective: Objective, fake: Tensor, real: Tensor | None = None) -> np.ndarray:
    """Where the generator's loss pulls each of its fakes `[m, D]`: `[m, 2 D]`, the place x and −m·∂L_G/∂x.

    L_G is the mean over the batch, so m times its gradient is what a fake feels for itself. Objectives that compare
    (paired, average) need `real`, as many rows as there are fakes. What else a generator pays (task, regularizers) and
    opponents that look ahead are not in it. Raises `UsageError` where the objective does.
    """
    x = fake.detach().clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(generator_loss(judge, objective, x, real), x)
    return _array(torch.cat([fake.detach(), -len(x) * slope], dim=1))


def field(judge: Judge, objective: Objective, grid: Tensor, fake: Tensor, real: Tensor | None = None) -> np.ndarray:
    """−m·∂L_G/∂x for a fake that stood at each point of `grid` `[…, D]`: the same shape.

    It takes the place of the first of the m rows of `fake`; where rows are paired, of every row in turn (under top-k of
    one row, another for each point). The discriminator gives one score a point; with more it is a `UsageError`.
    """
    x = _rows(grid).requires_grad_()
    with torch.enable_grad():
        score = _score(judge(x))
    with torch.no_grad():
        others = _score(judge(fake))
        reals = _score(judge(real)) if objective.wants_real and real is not None else None
    with torch.enable_grad():
        at = score.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(_swapped(objective, at, others, reals), at)
    (pull,) = torch.autograd.grad(score, x, grad_outputs=-slope)
    return _array(pull.reshape(grid.shape))


def _swapped(objective: Objective, at: Tensor, fake: Tensor, real: Tensor | None) -> Tensor:
    """m times L_G with one fake's score exchanged for `at[p]`, summed over p; scores `[P]`, `[m]`, `[m]`."""
    m, points = len(fake), len(at)
    if real is not None and objective.pairs_rows and isinstance(objective, Game):
        # Row by row, so p against every real is the whole of what p costs.
        return objective.generator(real[:, None].expand(m, points), at.expand(m, points)).mean(0).sum()

    def one(score: Tensor, row: Tensor) -> Tensor:
        return objective.generator(real, torch.where(row, score, fake)).mean()

    number = torch.arange(points, device=fake.device) % m * objective.pairs_rows
    rows = torch.arange(m, device=fake.device) == number[:, None]
    return m * torch.func.vmap(one)(at, rows).sum()


def _score(verdict: Verdict) -> Tensor:
    if len(verdict.score) != 1 or verdict.score[0].dim() != 1:
        raise UsageError("the field needs a discriminator with one score a point, such as mlp. Turn this layer off.")
    return verdict.score[0]


# ----------------------------------------------------------------------------------------------------- the generator


class Manifold(NamedTuple):
    """`points` `[n, n, 2]` (or `[n, D]` of a line of latents): G on a lattice of latents.

    `stretch` `[n − 1, n − 1]`: the signed area of every quad over the area of its latent cell, positive the way most of
    the manifold is turned, so that a fold is where it is negative. Of a line in the plane: the length over the
    latent's, `[n − 1]`; of a line on the line: the signed slope. `mirrored`: G turns most of the plane over, which is
    no fold.
    """

    points: np.ndarray
    stretch: np.ndarray
    mirrored: bool


def lattice(
    latent: int,
    n: int = 21,
    directions: Tensor | None = None,
    interval: tuple[float, float] | None = None,
    like: Tensor | None = None,
) -> Tensor:
    """Latents on a lattice, `[n, n, latent]`, or `[n, latent]` along one direction.

    Nodes stand at the quantiles (i + ½)/n of a standard normal number, or evenly over `interval` for uniform ones.
    Latents of more than two numbers are cut by the line or plane through 0 that `directions` `[1 | 2, latent]` span.
    Raises `UsageError` for directions that are missing, of another length, parallel or 0.
    """
    plain = torch.eye(latent, dtype=torch.float64)[:2] if directions is None else directions.double().cpu()
    if plain.dim() != 2 or plain.shape[1] != latent or len(plain) > 2 or (directions is None and latent > 2):
        given = "none" if directions is None else list(directions.shape)
        raise UsageError(f"a latent of {latent} numbers is cut along directions [1 or 2, {latent}]; received {given}.")
    basis, upper = torch.linalg.qr(plain.T)
    if (upper.diagonal().abs() <= 1e-9 * plain.norm(dim=1).clamp(min=1e-300)).any():
        raise UsageError("the directions through the latent space must be neither 0 nor parallel; choose two others.")
    basis = (basis * upper.diagonal().sign()).T
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    a = torch.special.ndtri(u) if interval is None else torch.linspace(*interval, n, dtype=torch.float64)
    found = a[:, None] * basis[0]
    if len(basis) == 2:
        found = found[:, None] + a[:, None] * basis[1]
    return found.to(like) if like is not None else found.float()


def manifold(generate: Generate, latents: Tensor) -> Manifold:
    """G on the latents of `lattice`. Raises `UsageError` for a plane of latents where samples lie on a line."""
    with torch.no_grad():
        points = _array(generate(latents.reshape(-1, latents.shape[-1]))).reshape(*latents.shape[:-1], -1)
    z, d = _array(latents.double()), points.shape[-1]
    if latents.dim() == 2:
        step = np.diff(points.astype(np.float64), axis=0)
        stretch = (step[:, 0] if d == 1 else np.linalg.norm(step, axis=1)) / np.linalg.norm(np.diff(z, axis=0), axis=1)
    elif d == 2:
        across, along = z[1:, 0] - z[:-1, 0], z[0, 1:] - z[0, :-1]
        stretch = areas(points) / np.outer(np.linalg.norm(across, axis=1), np.linalg.norm(along, axis=1))
    else:
        raise UsageError("a plane of latents has no areas on a line; give one direction, lattice(…, directions=[[…]]).")
    mirrored = bool((stretch < 0).sum() > (stretch > 0).sum())
    return Manifold(points, -stretch if mirrored else stretch, mirrored)


def areas(points: np.ndarray) -> np.ndarray:
    """Signed areas of the quads of a lattice of points `[n, m, 2]`: `[n − 1, m − 1]`, by their diagonals."""
    x = points.astype(np.float64)
    one, two = x[1:, 1:] - x[:-1, :-1], x[:-1, 1:] - x[1:, :-1]
    return (one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]) / 2


class Trails:
    """Where samples of fixed latents stood in the last `length` states that were shown."""

    def __init__(self, length: int = 50):
        self._seen: deque[tuple[int, np.ndarray]] = deque(maxlen=length)

    def add(self, step: int, points: Tensor) -> None:
        """The samples `[m, D]` at `step`. What was seen at that step or later, before a rewind, is forgotten."""
        while self._seen and (self._seen[-1][0] >= step or self._seen[-1][1].shape != tuple(points.shape)):
            self._seen.pop()
        self._seen.append((step, _array(points)))

    def array(self) -> np.ndarray:
        """`[m, t, D]`, oldest first; empty before the first state."""
        return np.stack([points for _, points in self._seen], axis=1) if self._seen else np.empty((0, 0, 2))


class Densities(NamedTuple):
    """p of the reals and q of the fakes at the points of a grid `[…]`, and how each was found."""

    real: np.ndarray
    fake: np.ndarray
    real_by: How
    fake_by: How

    def optimal(self) -> np.ndarray:
        """D* = p / (p + q), the best answer to "how probably is x real?"; ½ where neither has any density."""
        total = np.maximum(self.real + self.fake, 1e-300)
        return np.where(total > 1e-300, self.real / total, 0.5)


def densities(
    grid: Tensor, real: Density | np.ndarray, fake: np.ndarray, generate: Generate | None = None
) -> Densities:
    """p and q at the centres `grid` `[n, n, 2]` or `[n, 1]`.

    `real` is the density itself where the source has one, else rows to estimate it from; `fake` are samples `[m, D]`.
    With `generate`, a generator from a latent plane to the plane, q is the exact push-forward where that can be
    believed, else (and on a line) an estimate by kernels no finer than half a cell.
    """
    finest = _cell(grid) / 2
    p = _on(grid, real if callable(real) else kernel(real, finest))
    pushed = pushforward(generate, grid) if generate is not None and grid.shape[-1] == 2 else None
    q = _on(grid, kernel(fake, finest)) if pushed is None else pushed
    return Densities(p, q, "exact" if callable(real) else "kernel", "kernel" if pushed is None else "exact")


def _on(grid: Tensor, density: Density) -> np.ndarray:
    x = _array(grid.double())
    if isinstance(density, Mixture):
        return density.on_lattice(x[:, 0]) if x.ndim == 2 else density.on_lattice(x[0, :, 0], x[:, 0, 1])
    return density(x.reshape(-1, x.shape[-1])).reshape(x.shape[:-1])


def _cell(grid: Tensor) -> float:
    """The shorter side of a cell."""
    return float((grid[1] - grid[0] if grid.dim() == 2 else grid[1, 1] - grid[0, 0]).abs().min())


def _rows(grid: Tensor) -> Tensor:
    return grid.detach().reshape(-1, grid.shape[-1]).clone()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()

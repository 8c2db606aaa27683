"""The density a generator from the plane to the plane gives its samples, by the change of variables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

REACH = 4.5
"""Standard deviations on every axis of the latent plane within which preimages are looked for."""
SIDE = 65
"""Nodes on a side of the lattice they are looked for with."""
PAIRS = 2_000_000
"""Pairs of a cell and a triangle that are looked at, at most."""
MISSED = 0.05
"""How much of the mass may be missing, or too much, before the whole is not believed."""


def pushforward(generate: Callable[[Tensor], Tensor], grid: Tensor) -> np.ndarray | None:
    """q at the cell centres `grid` `[n, n, 2]` of x = G(z), z ~ N(0, I) in the plane: `[n, n]` fp64.

    q(x) = Σ over z with G(z) = x of p_z(z) / |det J(z)|: one preimage where G is injective, several where it folds.
    They are found in a lattice of triangles, which G bends only a little, and made exact by Newton's method with the
    Jacobian of autograd; where that does not settle, at a kink of G, the triangle's own areas stand for the Jacobian.

    `None` where the sum cannot be believed: its mass over the grid differs from the mass that the triangles carry there
    by more than a twentieth, as for a generator that maps the plane to curves or points, too thin for the cells.
    """
    centres = grid.reshape(-1, 2).double().cpu().numpy()
    side = torch.linspace(-REACH, REACH, SIDE, dtype=grid.dtype, device=grid.device)
    z = torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1).reshape(-1, 2)
    with torch.no_grad():
        x = generate(z).double().cpu().numpy()
    if not np.isfinite(x).all():
        return None
    triangles = _triangles(SIDE)
    corners, sources = x[triangles], z.double().cpu().numpy()[triangles]
    hits = _hits(corners, grid)
    if hits is None:
        return None
    cell, triangle, share = hits
    found = (share[:, :, None] * sources[triangle]).sum(axis=1)
    areas = np.abs(_doubled(sources)) / np.maximum(np.abs(_doubled(corners)), 1e-300)  # 1/|det| of every triangle
    exact, inverse = _settled(generate, found, centres[cell], grid, areas[triangle])
    _, first = np.unique(np.column_stack([cell, np.round(exact, 4)]), axis=0, return_index=True)
    q = np.bincount(cell[first], (_normal(exact) * inverse)[first], minlength=len(centres))
    carried = _normal(sources.mean(axis=1)) * np.abs(_doubled(sources)) / 2
    spacing = _spacing(grid)
    low, high = centres[0] - spacing / 2, centres[-1] + spacing / 2
    middle = corners.mean(axis=1)
    mass = carried[((middle >= low) & (middle <= high)).all(axis=1)].sum()
    return q.reshape(grid.shape[:2]) if abs(q.sum() * spacing.prod() - mass) <= MISSED else None


def _spacing(grid: Tensor) -> np.ndarray:
    return (grid[1, 1] - grid[0, 0]).double().cpu().numpy()


def _triangles(side: int) -> np.ndarray:
    """Corners of the two triangles of every square of a lattice, `[2 (side − 1)², 3]`."""
    node = np.arange(side * side).reshape(side, side)
    a, b, c, d = node[:-1, :-1].ravel(), node[1:, :-1].ravel(), node[1:, 1:].ravel(), node[:-1, 1:].ravel()
    return np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def _doubled(corners: np.ndarray) -> np.ndarray:
    """Twice the signed area of triangles `[t, 3, 2]`."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]


def _hits(corners: np.ndarray, grid: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Every pair of a cell whose centre lies in a triangle: cell `[h]`, triangle `[h]`, barycentric shares `[h, 3]`."""
    n = np.array([grid.shape[1], grid.shape[0]])
    origin, spacing = grid[0, 0].double().cpu().numpy(), _spacing(grid)
    place = (corners - origin) / spacing  # in cells: the centre of cell (i, j) is at (i, j)
    first = np.clip(np.ceil(place.min(axis=1) - 1e-9), 0, n).astype(int)
    last = np.clip(np.floor(place.max(axis=1) + 1e-9), -1, n - 1).astype(int)
    wide = np.maximum(last - first + 1, 0)
    count = wide.prod(axis=1) * (_doubled(place) != 0)
    if count.sum() > PAIRS:
        return None
    triangle = np.repeat(np.arange(len(corners)), count)
    number = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
    column = first[triangle, 0] + number % wide[triangle, 0]
    row = first[triangle, 1] + number // wide[triangle, 0]
    point = np.stack([column, row], axis=1).astype(float)
    a, b, c = (place[triangle, i] for i in range(3))
    whole = _doubled(np.stack([a, b, c], axis=1))
    share = np.stack([_doubled(np.stack(t, axis=1)) / whole for t in ([point, b, c], [a, point, c], [a, b, point])], 1)
    inside = (share >= -1e-9).all(axis=1)
    return (row * n[0] + column)[inside], triangle[inside], share[inside]


def _settled(
    generate: Callable[[Tensor], Tensor], start: np.ndarray, target: np.ndarray, grid: Tensor, rough: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Latents `[h, 2]` with G(z) = `target`, and 1/|det J| `[h]` there; `start` and `rough` where Newton fails."""
    z = start
    for _ in range(3):
        there, jacobian = _jacobian(generate, z, grid)
        z = z - _solved(jacobian, there - target)
    there, jacobian = _jacobian(generate, z, grid)
    right = np.linalg.norm(there - target, axis=1) <= 1e-3 * _spacing(grid).min()
    # A root far from its triangle is another triangle's.
    right &= np.abs(z - start).max(axis=1) <= 2 * (2 * REACH / (SIDE - 1))
    inverse = 1 / np.maximum(np.abs(_determinant(jacobian)), 1e-300)
    return np.where(right[:, None], z, start), np.where(right, inverse, rough)


def _determinant(jacobian: np.ndarray) -> np.ndarray:
    return jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]


def _solved(jacobian: np.ndarray, off: np.ndarray) -> np.ndarray:
    """J⁻¹ off, 0 where J has none: `[h, 2, 2]`, `[h, 2]` → `[h, 2]`."""
    det = _determinant(jacobian)
    (a, b), (c, d) = jacobian[:, 0].T, jacobian[:, 1].T
    step = np.stack([d * off[:, 0] - b * off[:, 1], a * off[:, 1] - c * off[:, 0]], axis=1)
    return step / np.where(det == 0, np.inf, det)[:, None]


def _jacobian(generate: Callable[[Tensor], Tensor], z: np.ndarray, like: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """G(z) `[h, 2]` and ∂G/∂z `[h, 2, 2]`."""
    latent = torch.from_numpy(z).to(like).requires_grad_()
    with torch.enable_grad():
        x = generate(latent)
        rows = [torch.autograd.grad(x[:, i].sum(), latent, retain_graph=True)[0] for i in range(2)]
    return x.detach().double().cpu().numpy(), torch.stack(rows, dim=1).double().cpu().numpy()


def _normal(z: np.ndarray) -> np.ndarray:
    return np.exp(-(z**2).sum(axis=1) / 2) / (2 * np.pi)

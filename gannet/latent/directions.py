"""Directions of the latent along which samples change most, or change in what somebody asks about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gannet.core.errors import DataError, UsageError
from gannet.core.random import Draw, generator
from gannet.core.types import Task
from gannet.latent.activations import early, first_layer
from gannet.latent.starts import Start, draw_of, generator_of, make, maps, read

ROWS = 4096
"""Latents that principal directions are taken over."""
NUMBERS = 1 << 25
"""Most activations held at once; of a wide layer fewer rows are taken."""
CHUNK = 256
ROUNDS = 8
"""Rounds of subspace iteration."""
RIDGE = 1e-3
EXTREME = 0.3
"""Share of the rows with the highest, and with the lowest, scores that a probe learns from."""


@dataclass(frozen=True)
class Directions:
    """`steps` `[K, n]`: what one standard deviation along each direction adds to a latent. `space` is where they were
    found: "w", or "activations" of an early layer, from which they were brought back to z. `sd` and `share` `[K]` are
    the standard deviation and the share of the variance of each there."""

    space: Literal["w", "activations"]
    steps: Tensor
    sd: Tensor
    share: Tensor

    def __len__(self) -> int:
        return len(self.steps)


@torch.no_grad()
def principal(
    task: Task, count: int = 20, rows: int = ROWS, label: int | None = None, dtype: torch.dtype = torch.float32
) -> Directions:
    """The first `count` principal directions of a generator (GANSpace: Härkönen et al. 2020, §3.1).

    Of one that maps its latent those of w. Of another the activations h of the first layer that depends on the latent
    are taken: with V their principal directions and x = Vᵀ(h − μ), step k is that of the regression of z on x_k,
    u_k = argmin Σ |u·x_k − z|², times the standard deviation of x_k. What a class adds is taken away first, so the
    directions are those within classes; `label` looks at one class alone. Always the same latents, so always the same
    directions. Raises `UsageError` for a count out of range and a task that makes nothing from latents.
    """
    if not 1 <= count <= 64:
        raise UsageError(f"count={count}: ask for 1 to 64 directions.")
    if maps(generator_of(task)):
        draws = (Draw(0, "directions", 0, at, dtype=dtype) for at in _chunks(rows))
        start = Start.cat([read(task, draw, label) for draw in draws])
        w = _within(start.latent[:, 0].double(), start.y)
        values, vectors = torch.linalg.eigh(w.T @ w / len(w))
        sd, basis = values.flip(0).clamp(min=0).sqrt()[:count], _signed(vectors.flip(1).T)[:count]
        return Directions("w", sd[:, None] * basis, sd, sd.square() / values.sum().clamp(min=1e-30))
    name = first_layer(task, dtype)
    h, start = _activations(task, name, rows, label, dtype)
    h, z = _within(h, start.y), _within(start.latent.double(), start.y)
    basis = _signed(_subspace(h, min(count, h.shape[1], z.shape[1], len(h) - 1)))
    x = (h @ basis.T.to(h)).double()
    power = x.square().sum(0)
    alive = power > 1e-12 * power.max()
    x, power = x[:, alive], power[alive]
    sd = (power / len(x)).sqrt()
    total = h.double().square().sum() / len(h)
    return Directions("activations", sd[:, None] * (x.T @ z) / power[:, None], sd, sd.square() / total)


def _chunks(rows: int) -> list[range]:
    return [range(at, min(at + CHUNK, rows)) for at in range(0, rows, CHUNK)]


def _activations(task: Task, name: str, rows: int, label: int | None, dtype: torch.dtype) -> tuple[Tensor, Start]:
    """The activations `[N, d]` of a layer, and what they came of."""
    found: list[Tensor] = []
    starts: list[Start] = []
    for at in _chunks(rows):
        draw = Draw(0, "directions", 0, at, dtype=dtype)
        start = read(task, draw, label)
        h = early(task, start, draw, name).flatten(1).float()
        found, starts = [*found, h], [*starts, start]
        if len(found) * h.numel() > NUMBERS:
            break
    return torch.cat(found), Start.cat(starts)


def _within(x: Tensor, y: Tensor | None) -> Tensor:
    """`x` `[N, d]` less the mean of its rows, of those of the same class where there are classes."""
    if y is None:
        return x - x.mean(0)
    x = x.clone()
    for value in y.unique():
        x[y == value] -= x[y == value].mean(0)
    return x


def _subspace(h: Tensor, count: int) -> Tensor:
    """The leading right singular directions of centred rows `h` `[N, d]`, `[count, d]`, by subspace iteration from a
    start that is always the same (Halko et al. 2011, algorithm 4.4)."""
    wide = min(count + 12, h.shape[1], len(h))
    basis = torch.randn(h.shape[1], wide, generator=generator(0, "subspace"), dtype=h.dtype)
    for _ in range(ROUNDS):
        basis = torch.linalg.qr(h.T @ (h @ basis)).Q
    small = (h @ basis).double()
    vectors = torch.linalg.eigh(small.T @ small).eigenvectors.flip(1)
    return (basis.double() @ vectors).T[:count]


def _signed(vectors: Tensor) -> Tensor:
    """Each of the vectors `[K, d]` with its largest entry positive: a decomposition leaves the sign open."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0).to(vectors)


# -------------------------------------------------------------------------------------------------------- a question


@dataclass(frozen=True)
class Probe:
    """The unit normal `[n]` of the plane that parts latents with an attribute from those without, its place, and the
    share of latents it was not fitted on that lie on the right side."""

    normal: Tensor
    bias: float
    accuracy: float

    def moved(self, latent: Tensor, amount: float) -> Tensor:
        """`latent` + amount · normal (InterFaceGAN: Shen et al. 2020, eq. 3); a w at every one of its layers."""
        return latent + amount * self.normal.to(latent)


def probe(latents: Tensor, scores: Tensor) -> Probe:
    """The linear boundary of an attribute among `latents` `[N, n]`, by logistic regression with a little ridge.

    `scores` `[N]` are yes and no (bool), or numbers, of which the highest and the lowest 30 % are taken for yes and no.
    Every fourth row is kept aside to count how often the boundary is right. Raises `DataError` for fewer than 16 rows
    or 2 of either kind, and numbers that are not finite.
    """
    if len(latents) != len(scores) or latents.dim() != 2:
        raise DataError(
            f"a probe takes latents [N, n] and scores [N]; received {list(latents.shape)} and {len(scores)}."
        )
    x, yes = latents.double(), scores
    if scores.dtype != torch.bool:
        if not bool(scores.isfinite().all()):
            raise DataError("scores that are not finite say nothing of an attribute; mend what scores the samples.")
        order, some = scores.argsort(stable=True), int(EXTREME * len(scores))
        rows = torch.cat([order[:some], order[len(order) - some :]]).sort().values
        yes = torch.zeros(len(scores), dtype=torch.bool)
        yes[order[len(order) - some :]] = True
        x, yes = x[rows], yes[rows]
    apart = torch.arange(len(x)) % 4 == 3
    if len(x) < 16 or min(int(yes[~apart].sum()), int((~yes[~apart]).sum())) < 2:
        raise DataError(
            f"{int(yes.sum())} of {len(yes)} samples have the attribute: too few of one kind to learn from. "
            "Take more samples, or ask about something that some have and some lack."
        )
    weights = _logistic(x[~apart], yes[~apart].double())
    length = weights[:-1].norm().clamp(min=1e-30)
    said = x[apart] @ weights[:-1] + weights[-1] > 0
    return Probe(
        (weights[:-1] / length).to(latents), float(weights[-1] / length), float((said == yes[apart]).double().mean())
    )


def _logistic(x: Tensor, y: Tensor) -> Tensor:
    """argmin mean log(1 + exp(−±(w·x + b))) + ½·ridge·|w|², `[n + 1]` with b last, by Newton's method."""
    ones = torch.cat([x, torch.ones(len(x), 1).to(x)], dim=1)
    ridge = torch.full((ones.shape[1],), RIDGE).to(x)
    weights = torch.zeros(ones.shape[1]).to(x)
    for _ in range(50):
        p = torch.sigmoid(ones @ weights)
        slope = ones.T @ (p - y) / len(x) + ridge * weights
        bend = ones.T @ (ones * (p * (1 - p))[:, None]) / len(x) + torch.diag(ridge)
        step = torch.linalg.solve(bend, slope)
        weights = weights - step
        if float(step.abs().max()) < 1e-10:
            break
    return weights


@torch.no_grad()
def attribute(
    task: Task,
    scorer: Callable[[Tensor], Tensor],
    rows: int = 1024,
    label: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Probe:
    """The boundary of what `scorer` says of samples `[B, *shape]`: scores `[B]`, or yes and no (bool)."""
    latents, scores = [], []
    for seeds in _chunks(rows):
        blends = [{seed: 1.0} for seed in seeds]
        start = read(task, draw_of(blends, dtype), label)
        scores.append(torch.as_tensor(scorer(make(task, start, blends, dtype))).flatten())
        latents.append(start.latent[:, 0] if start.latent.dim() == 3 else start.latent)
    return probe(torch.cat(latents), torch.cat(scores))

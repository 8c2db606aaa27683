"""What the engine costs beside the arithmetic of a GAN.

- shares: seconds in steps, log lines, grids, scores and commits of a real run with all its defaults.
- points: steps a second of the preset `points` beside a loop written by hand that does the same arithmetic and keeps
  the same figures.
- memory: resident memory over many steps of `points`, and its slope.

    python benchmarks/overhead.py [--only shares|points|memory] [--minutes 1] [--rounds 100] [--seconds 0.25]
                                  [--steps 40000]
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import softplus

from gannet import api
from gannet.core.overrides import resolve
from gannet.engine.assembly import Game, assemble
from gannet.engine.console import Silent
from gannet.engine.ema import Ema
from gannet.engine.health import p_above, spread
from gannet.engine.run import Run
from gannet.engine.trainer import Trainer
from gannet.engine.turn import Table

EVERY = 100  # steps between two log lines of the race


def verdict(met: bool) -> str:
    return "MET" if met else "MISSED"


# --------------------------------------------------------------------------------------------------------------- shares

PARTS: dict[str, tuple[type, str]] = {
    "steps": (Trainer, "_step"),
    "checks": (Table, "_check"),
    "log lines": (Trainer, "_log"),
    "sample grids": (Trainer, "_show"),
    "scores": (Trainer, "_score"),
    "commits": (Trainer, "_commit"),
}
"""Checks are part of the steps; commits hold the hashing and the syncing of files."""


def shares(args: argparse.Namespace) -> None:
    spent = dict.fromkeys(PARTS, 0.0)
    for title, (owner, name) in PARTS.items():
        setattr(owner, name, timed(getattr(owner, name), title, spent))
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        _, outcome = api.train(args.preset, {"stop.minutes": args.minutes}, Path(folder) / "run")
        wall = time.perf_counter() - begun
    print(f"{args.preset}: {outcome.samples:,} samples in {wall:.1f} s of wall time")
    for title, seconds in spent.items():
        print(f"{title:>14} {seconds:8.2f} s {100 * seconds / wall:6.1f} %")
    keeping, scoring = (spent["commits"] + spent["checks"]) / wall, spent["scores"] / wall
    print(f"checkpoints, hashing and checks {100 * keeping:.1f} %, at most 2 %: {verdict(keeping <= 0.02)}")
    print(f"scores {100 * scoring:.1f} %, at most 5 %: {verdict(scoring <= 0.05)}")


def timed(inner: Callable[..., Any], title: str, spent: dict[str, float]) -> Callable[..., Any]:
    def outer(*rest: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return inner(*rest, **named)
        finally:
            spent[title] += time.perf_counter() - begun

    return outer


# --------------------------------------------------------------------------------------------------------------- points


class ByHand:
    """The arithmetic of `points`: relativistic pairing, R1 + R2 on every step, decaying Adam, a moving average, and
    the means of losses, gradient norms and P(real > fake) that the log shows."""

    def __init__(self, game: Game, total: int):
        self.total, self.samples, self.steps = total, 0, 0
        self.generator, self.discriminator = game.networks["generator"], game.networks["discriminator"]
        rows = game.source.split("train")
        self.points = rows.take(torch.arange(len(rows)))["x"]
        self.heldout = game.source.split("test").take(torch.arange(64))["x"]
        options = {"lr": 1e-3, "betas": (0.0, 0.99), "fused": True}
        self.sides = {
            side: (list(module.parameters()), torch.optim.Adam(module.parameters(), **options))
            for side, module in (("d", self.discriminator), ("g", self.generator))
        }
        self.ema = Ema(game.averaged(), 50_000, 0.1)
        self.batch, self.sums = game.experiment.batch, dict.fromkeys(("d", "g", "norm d", "norm g", "p"), 0.0)

    def step(self) -> None:
        real = self.points[torch.randint(len(self.points), (self.batch,))].requires_grad_()
        self._free("g")
        made = self.generator(torch.randn(self.batch, self.generator.latent))
        fake = made.detach().requires_grad_()
        self._free("d")
        scores = self._judge(torch.cat([real, fake]))
        r, f = scores.chunk(2)
        slopes = torch.autograd.grad(scores.sum(), [real, fake], create_graph=True)
        share = self.samples / self.total
        weight = 0.001 + (0.1 - 0.001) * (1 + math.cos(math.pi * share)) / 2
        penalty = sum(0.5 * slope.square().sum(1).mean() for slope in slopes)
        self._move("d", softplus(f - r).mean() + weight * penalty)
        self.sums["p"] += p_above(r.detach(), f.detach())
        self._free("g")
        with torch.no_grad():
            r = self._judge(real)
        self._move("g", softplus(r - self._judge(made)).mean())
        self.samples += self.batch
        self.steps += 1
        self.ema.update(self.batch, self.samples)
        if self.steps % EVERY == 0:
            self._log(real.detach(), fake.detach())

    def _judge(self, x: torch.Tensor) -> torch.Tensor:
        return self.discriminator(x).score[0]

    def _free(self, side: str) -> None:
        for name, (parameters, _) in self.sides.items():
            for parameter in parameters:
                parameter.requires_grad_(name == side)

    def _move(self, side: str, loss: torch.Tensor) -> None:
        parameters, optimiser = self.sides[side]
        optimiser.zero_grad()
        loss.backward()
        norms = torch._foreach_norm([p.grad for p in parameters])
        self.sums[f"norm {side}"] += float(torch.linalg.vector_norm(torch.stack(norms)))
        self.sums[side] += float(loss.detach())
        share = max(0.0, 2 * self.samples / self.total - 1)
        optimiser.param_groups[0]["lr"] = 1e-3 + (1e-4 - 1e-3) * share
        optimiser.step()

    @torch.no_grad()
    def _log(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        means = {key: total / EVERY for key, total in self.sums.items()}
        means["spread"] = spread(real, fake)
        means["heldout"] = p_above(self._judge(self.heldout), self._judge(fake[:64]))
        self.sums = dict.fromkeys(self.sums, 0.0)


def points(args: argparse.Namespace) -> None:
    total = 10**9
    words = {"stop.samples": total, "evaluate.metrics": [], "keep.log": 256 * EVERY}
    experiment = resolve("points", words).experiment
    with tempfile.TemporaryDirectory() as folder:
        trainer, loop = Trainer(assemble(experiment), Run.at(Path(folder) / "run")), ByHand(assemble(experiment), total)

        def engine() -> None:
            trainer._step(False)
            if trainer.crossed(experiment.keep.log):
                trainer._log()

        for _ in range(EVERY):
            engine()
            loop.step()
        pairs = [(pace(loop.step, args.seconds), pace(engine, args.seconds)) for _ in range(args.rounds)]
    by_hand, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(
        f"points: {ours:.0f} steps/s, by hand {by_hand:.0f}, ratio {ratio:.2f}, at least 0.9: {verdict(ratio >= 0.9)}"
    )


def pace(step: Callable[[], None], seconds: float) -> float:
    """Steps a second over at least `seconds`."""
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - begun)


# --------------------------------------------------------------------------------------------------------------- memory


class Gauge(Silent):
    """Resident memory at every log line, in MiB."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, float]] = []

    def update(self, record: dict[str, Any]) -> None:
        if record["kind"] == "step":
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen.append((record["step"], pages * os.sysconf("SC_PAGE_SIZE") / 2**20))


def memory(args: argparse.Namespace) -> None:
    gauge = Gauge()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        api.train("points", {"stop.samples": 256 * args.steps}, Path(folder) / "run", console=gauge)
        hour = 3600 * args.steps / (time.perf_counter() - begun)
    # Libraries are loaded and caches filled in the first half; a leak shows in the second as well.
    steps, used = np.array(gauge.seen[len(gauge.seen) // 2 :]).T
    growth = float(np.polyfit(steps, used, 1)[0]) * hour
    print(f"points: {used[0]:.0f} MiB after {steps[0]:,.0f} steps, {used[-1]:.0f} MiB after {steps[-1]:,.0f}")
    print(f"slope {growth:+.1f} MiB an hour ({hour:,.0f} steps), at most 10: {verdict(growth <= 10)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    looks = {"shares": shares, "points": points, "memory": memory}
    parser.add_argument("--only", choices=tuple(looks))
    parser.add_argument("--minutes", type=float, default=1, help="of the run whose shares are taken")
    parser.add_argument("--preset", default="quick", help="of the run whose shares are taken")
    parser.add_argument("--rounds", type=int, default=100, help="of the race, alternating")
    parser.add_argument("--seconds", type=float, default=0.25, help="of each side in a round of the race")
    parser.add_argument("--steps", type=int, default=40_000, help="of the run whose memory is watched")
    args = parser.parse_args()
    # The race first: shares wraps the methods that it times.
    for name in (args.only,) if args.only else ("points", "memory", "shares"):
        looks[name](args)


if __name__ == "__main__":
    main()

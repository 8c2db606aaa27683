"""Exact R1 + R2: a step of `r3gan` beside the straightforward one; what estimates of the penalty cost and are worth.

- step: the preset `r3gan` in Gannet against `Straightforward`, written out below as it is commonly written: the same
  networks, rows, batch, loss, weights of the penalty, fused Adam and moving average. Their gradients are compared
  first, in fp64. What each computes a step, of a batch of B:

      |                                    | Gannet                             | straightforward               |
      |------------------------------------|------------------------------------|-------------------------------|
      | generator forward                  | B, once for both turns             | B in each turn                |
      | discriminator forward, its turn    | 2B, reals and fakes in one         | B reals, then B fakes         |
      | gradient to the samples, with graph| one call, 2B                       | two calls, B each             |
      | discriminator forward, other turn  | B fakes; B reals without a graph   | B fakes and B reals, graphs   |
      | backward in the generator's turn   | through the discriminator to fakes | and to its weights, both sides|
      | moving average                     | one fused call                     | a loop over parameters        |

  Operations are counted beside the seconds: the difference between the two ratios is not arithmetic.
- estimators: steps a second of exact, finite-difference and forward-mode penalties on the whole batch, on a quarter
  of it, and on every eighth turn; with --minutes, also the distance of digits after so many minutes of each.

    python benchmarks/penalties.py [--only step|estimators] [--rounds 5] [--seconds 6] [--width 8] [--batch 64]
                                   [--minutes 0] [--seeds 0,1,2]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gannet import api
from gannet.core.overrides import resolve
from gannet.core.random import Draw
from gannet.core.registry import SOURCES
from gannet.data.array import ArraySource
from gannet.engine.assembly import assemble
from gannet.engine.trainer import Trainer
from gannet.fakes import of_run
from gannet.metrics.evaluator import Evaluator

WANTED = 1.25
"""How many times the straightforward step's speed is asked for."""
EQUAL = 1e-6
LATENT, SIDE = 64, 32
PRESET = resolve("r3gan").experiment
WEIGHT = float(PRESET.regularizers["r1"].args["weight"].positional[0])
RATE = float(PRESET.optim["generator"].args["lr"].positional[0])
ROWS = {"all": {}, "a quarter": {"share": 0.25}, "every 8th turn": {"every": 8}}
ESTIMATORS = ("exact", "finite-difference", "forward-mode")


# ----------------------------------------------------------------------------------------------- the step, twice


class Straightforward:
    """R3GAN's step without any thought for what it costs, with the preset's first weight and learning rate."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, rows: Tensor, batch: int):
        self.generator, self.discriminator = generator.requires_grad_(), discriminator.requires_grad_()
        self.averaged = copy.deepcopy(generator)
        self.rows, self.batch, self.samples = rows, batch, 0
        options = {"lr": RATE, "betas": (0.0, 0.99), "fused": True}
        self.generator_adam = torch.optim.Adam(generator.parameters(), **options)
        self.discriminator_adam = torch.optim.Adam(discriminator.parameters(), **options)

    def step(self) -> None:
        real = self.rows[torch.randint(len(self.rows), (self.batch,))]
        self.discriminator_gradients(real, torch.randn(self.batch, LATENT).to(real))
        self.discriminator_adam.step()
        self.generator_gradients(real, torch.randn(self.batch, LATENT).to(real))
        self.generator_adam.step()
        self.samples += self.batch
        keep = 0.5 ** (self.batch / min(20_000, 0.1 * self.samples))
        with torch.no_grad():
            for mean, now in zip(self.averaged.parameters(), self.generator.parameters(), strict=True):
                mean.copy_(keep * mean + (1 - keep) * now)

    def discriminator_gradients(self, real: Tensor, z: Tensor) -> None:
        """Leave in `.grad` what the discriminator's turn gives its weights."""
        self.discriminator_adam.zero_grad()
        real = real.detach().requires_grad_()
        fake = self.generator(z).detach().requires_grad_()
        of_real, of_fake = self._score(real), self._score(fake)
        adversarial = softplus(of_fake - of_real).mean()
        penalty = self._penalty(of_real, real) + self._penalty(of_fake, fake)
        (adversarial + WEIGHT * penalty).backward()

    def generator_gradients(self, real: Tensor, z: Tensor) -> None:
        """The same of the generator's turn. The discriminator's weights collect gradients that nobody wants."""
        self.generator_adam.zero_grad()
        of_fake, of_real = self._score(self.generator(z)), self._score(real)
        softplus(of_real - of_fake).mean().backward()

    def _score(self, x: Tensor) -> Tensor:
        return self.discriminator(x).score[0]

    def _penalty(self, score: Tensor, x: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
        return 0.5 * slope.square().sum((1, 2, 3)).mean()


def engine(source: ArraySource | None, width: int, batch: int, **more: Any) -> Trainer:
    overrides = {
        "generator": f"residual(width={width}, latent={LATENT})",
        "discriminator": f"residual(width={width})",
        "batch": batch,
        "stop.samples": 10**12,
        "stop.minutes": None,
        "evaluate.metrics": [],
        **more,
    }
    return Trainer(assemble(resolve("r3gan", overrides).experiment, source))


def race(source: ArraySource, width: int, batch: int) -> tuple[Trainer, Straightforward]:
    """Both with the same networks, the rows of the second in memory as the first keeps them."""
    trainer = engine(source, width, batch)
    networks = [copy.deepcopy(trainer.game.networks[role]) for role in ("generator", "discriminator")]
    rows = source.split("train").take(torch.arange(2000))["x"].contiguous(memory_format=torch.channels_last)
    return trainer, Straightforward(networks[0], networks[1], rows, batch)


def same_gradients(source: ArraySource) -> float:
    """The largest difference between the two steps' gradients of a network, as a share of their norm, in fp64."""
    batch = 8
    trainer = engine(source, 4, batch, precision="fp64")
    g, d = (trainer.game.networks[role] for role in ("generator", "discriminator"))
    # At its start the last convolution of a block is zero, and what lies before it would be compared with nothing.
    with torch.no_grad():
        for parameter in (*g.parameters(), *d.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    plain = Straightforward(copy.deepcopy(g), copy.deepcopy(d), torch.empty(0), batch)
    real = trainer.table.feed.take("discriminator", range(batch))["x"]
    z = Draw(0, "discriminator", 0, range(batch), dtype=torch.float64).child("generate").normal(LATENT)
    trainer._step(False)
    plain.discriminator_gradients(real, z)
    shares = [apart(plain.discriminator, d)]
    plain.discriminator.load_state_dict(d.state_dict())  # the generator plays against the one that has moved
    plain.generator_gradients(real, z)
    return max(*shares, apart(plain.generator, g))


def apart(one: nn.Module, other: nn.Module) -> float:
    mine, theirs = (torch.cat([p.grad.flatten() for p in module.parameters()]) for module in (one, other))
    return float((mine - theirs).norm() / theirs.norm())


class Operations(TorchDispatchMode):
    """Counts floating-point operations; `FlopCounterMode` follows modules too, which `autograd.grad` interrupts."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def operations(step: Callable[[], Any]) -> int:
    with Operations() as counted:
        step()
    return counted.total


def step(args: argparse.Namespace, source: ArraySource) -> None:
    different = same_gradients(source)
    print(f"gradients of both steps differ by {different:.1e} of their norm in fp64, at most {EQUAL:g}")
    if not different <= EQUAL:
        raise SystemExit("they are not the same step, so their speeds say nothing.")
    trainer, plain = race(source, args.width, args.batch)

    def ours() -> None:
        trainer._step(False)

    for _ in range(2):
        ours()
        plain.step()
    work = operations(plain.step) / operations(ours)
    pairs = [(pace(plain.step, args.seconds), pace(ours, args.seconds)) for _ in range(args.rounds)]
    slow, fast = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(
        f"r3gan, residual(width={args.width}) at {SIDE}×{SIDE}×1, batch {args.batch}, medians of {args.rounds} rounds"
    )
    print(f"{'straightforward':>16} {slow:8.3f} steps/s\n{'gannet':>16} {fast:8.3f} steps/s")
    print(f"ratio {ratio:.2f}× (operations {work:.2f}×), at least {WANTED}×: {'MET' if ratio >= WANTED else 'MISSED'}")


def pace(step: Callable[[], Any], seconds: float) -> float:
    """Steps a second over at least `seconds`."""
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - begun)


# -------------------------------------------------------------------------------------------------- estimators


def penalties(estimator: str, options: dict[str, float]) -> dict[str, Any]:
    """Overrides of r3gan: both penalties by this estimator, with the preset's own weights."""
    said = {"estimator": estimator, **options}
    return {f"regularizers.{name}.{key}": value for name in ("r1", "r2") for key, value in said.items()}


def estimators(args: argparse.Namespace, source: ArraySource) -> None:
    rows = {(e, name): penalties(e, options) for e in ESTIMATORS for name, options in ROWS.items()}
    rows[("none", "")] = {"regularizers": []}
    trainers = {row: engine(source, args.width, args.batch, **words) for row, words in rows.items()}
    found: dict[tuple[str, str], list[float]] = {row: [] for row in rows}
    for trainer in trainers.values():
        for _ in range(2):
            trainer._step(False)
    for _ in range(args.rounds):
        for row, trainer in trainers.items():
            # Whole periods, so that a lazy penalty is neither missed nor counted twice.
            found[row].append(8 * pace(lambda t=trainer: [t._step(False) for _ in range(8)], args.seconds))
    print(f"residual(width={args.width}) at {SIDE}×{SIDE}×1, batch {args.batch}, medians of {args.rounds} rounds")
    head = f"  fd of digits after {args.minutes:g} min, {len(args.seeds)} seeds" if args.minutes else ""
    print(f"{'estimator':>18} {'rows':>15} {'steps/s':>9} {'× exact':>8}{head}")
    exact = statistics.median(found["exact", "all"])
    for row, paces in found.items():
        line = f"{row[0]:>18} {row[1]:>15} {statistics.median(paces):9.3f} {statistics.median(paces) / exact:8.2f}"
        print(line + (f"  {distances(args, rows[row])}" if args.minutes else ""), flush=True)


def distances(args: argparse.Namespace, words: dict[str, Any]) -> str:
    """Mean ± standard deviation of the distance to test digits over seeds."""
    judge = Evaluator(SOURCES.build("digits"), metrics=["frechet"], report=True)
    values = []
    for seed in args.seeds:
        networks = {"generator.width": args.width, "discriminator.width": args.width}
        ends = {"stop.minutes": args.minutes, "evaluate.metrics": [], "seed": seed}
        with tempfile.TemporaryDirectory() as folder:
            run, _ = api.train("r3gan", {"data": "digits", **networks, **words, **ends}, Path(folder) / "run")
            values.append(judge.score(of_run("last", api.load(run.path), judge.labels).generate(0))[judge.primary])
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    looks = {"step": step, "estimators": estimators}
    parser.add_argument("--only", choices=tuple(looks))
    parser.add_argument("--rounds", type=int, default=5, help="alternating")
    parser.add_argument("--seconds", type=float, default=6, help="of each side in a round")
    parser.add_argument("--width", type=int, default=8, help="of both networks, at the image's own grid")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--minutes", type=float, default=0, help="of each training of digits by an estimator; 0 is none"
    )
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split(",")], default=[0])
    args = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 256, (4096, SIDE, SIDE), dtype=np.uint8)
    source = ArraySource.from_arrays(pixels)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in (args.only,) if args.only else looks:
        looks[name](args, source)


if __name__ == "__main__":
    main()

"""Images a second of the engine beside the plain tutorial loop, batch 64, 1×32×32, EMA and logging on.

Equal networks and loss; rounds alternate, so drift of the machine falls on both alike. Beside it the share of the
machine's ceiling: the operations of the tutorial's step, at our images a second, against a large matrix product.

    python benchmarks/throughput.py [--rounds 5] [--seconds 8]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from tutorial import BATCH, Tutorial

from gannet.core.overrides import resolve
from gannet.data.array import ArraySource
from gannet.engine.assembly import assemble
from gannet.engine.run import Run
from gannet.engine.trainer import Trainer

WANTED = {32: 1.25, 128: 1.1}
"""Width of the finest grid, and how many times the tutorial's speed is asked for."""


def ceiling() -> float:
    """Floating-point operations a second of a large fp32 matrix product."""
    side = 2048
    a, best = torch.randn(side, side), 0.0
    for _ in range(5):
        begun = time.perf_counter()
        a @ a
        best = max(best, 2 * side**3 / (time.perf_counter() - begun))
    return best


def operations(plain: Tutorial) -> float:
    """Floating-point operations an image of the tutorial's step."""
    with FlopCounterMode(display=False) as counted:
        plain.step()
    return counted.get_total_flops() / BATCH


def engine(source: ArraySource, width: int, run: Path) -> Trainer:
    overrides = {
        "generator.width": width,
        "discriminator.width": width,
        "stop.samples": 10**12,
        "stop.minutes": None,
        "evaluate.metrics": [],
        "keep.log": 6400,
    }
    game = assemble(resolve("dcgan", overrides).experiment, source)
    return Trainer(game, Run.at(run))


def engine_step(trainer: Trainer) -> None:
    trainer._step(False)
    if trainer.crossed(trainer.experiment.keep.log):
        trainer._log()


def pace(step, seconds: float) -> float:
    """Images a second over at least `seconds`."""
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        step()
        steps += 1
    return steps * BATCH / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    args = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 256, (4096, 32, 32), dtype=np.uint8)
    source = ArraySource.from_arrays(pixels)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {args.rounds} alternating rounds")
    top = ceiling()
    print(f"ceiling of a matrix product: {top / 1e9:.0f} GFLOP/s")
    print(f"{'widths':>12} {'plain loop':>12} {'gannet':>12} {'ratio':>7} {'of ceiling':>11}   (images/s)")
    for width, wanted in WANTED.items():
        with tempfile.TemporaryDirectory() as folder:
            trainer = engine(source, width, Path(folder) / "run")
            plain = Tutorial(width, source.split("train").take(torch.arange(3000))["x"])
            for _ in range(3):
                plain.step()
                engine_step(trainer)
            pairs = [
                (pace(plain.step, args.seconds), pace(lambda t=trainer: engine_step(t), args.seconds))
                for _ in range(args.rounds)
            ]
        slow, fast = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        met = "MET" if ratio >= wanted else "MISSED"
        widths, share = f"{width * 4}-{width * 2}-{width}", fast * operations(plain) / top
        line = f"{widths:>12} {slow:12.0f} {fast:12.0f} {ratio:6.2f}× {share:10.0%}   at least {wanted}×: {met}"
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""MNIST at 32×32: the preset `quick` against the plain tutorial loop, by seconds of training.

Both play the same unconditional game at widths 128-64-32 and batch 64 and are judged by the same evaluator on test
rows. Only training is on the clock: networks are copied while it runs and judged when it has ended. The loop trains
600 seconds as the tutorial has it; `quick` 300, planned from `stop.minutes=5`, log lines included, and is judged by
its averaged weights. Each training is written as JSON when it is done and is not repeated; the table is made of what
there is.

    python benchmarks/time_to_quality.py [--seeds 0,1,2] [--only quick|loop] [--scale 0.1] [--out DIR] [--n 5000]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tutorial import BATCH, Tutorial, samples_of

from gannet.core.overrides import resolve
from gannet.core.registry import SOURCES
from gannet.core.types import Source
from gannet.engine.assembly import assemble
from gannet.engine.console import Silent
from gannet.engine.pictures import save_samples, to_uint8
from gannet.engine.run import write_text_atomic
from gannet.engine.trainer import Trainer
from gannet.latent import sampling
from gannet.metrics.evaluator import Evaluator

QUICK, LOOP = 300, 600
MARKS = {"quick": (15, *range(20, 80, 5), 80, 90, 120, 180, 240, 300), "loop": (60, 120, 180, 300, 600)}
PICTURE = 60
Made = Callable[[int, int], Tensor]
FASTER, CLOSER = 8.0, 0.35
"""What is asked for: `quick` reaches the loop's last distance so many times sooner, and at 300 seconds has at most
this share of the loop's distance."""


class Album:
    """Copies of a generator at the marks: `(seconds, samples, made)`, where `made(n, seed)` samples from the copy."""

    def __init__(self, marks: list[float]):
        self.left, self.taken = list(marks), []

    def look(self, seconds: float, samples: int, copied: Callable[[], Made], last: bool = False) -> None:
        """Take a copy if a mark has passed, or if this is the end."""
        if last or (self.left and seconds >= self.left[0]):
            self.left = [mark for mark in self.left if mark > seconds]
            self.taken.append((seconds, samples, copied()))


class Watch(Silent):
    """Looks at the trainer whenever it logs, every 0.5 % of its run."""

    def __init__(self, album: Album):
        super().__init__()
        self.album = album
        self.trainer: Trainer

    def start(self, total: int, unit: str = "samples") -> None:
        self.begun = time.perf_counter()

    def update(self, record: dict[str, Any]) -> None:
        if record["kind"] in ("step", "stop"):
            spent, last = time.perf_counter() - self.begun, record["kind"] == "stop"
            sampler = self.trainer.looks.samplers[0]
            self.album.look(spent, record["samples"], lambda: partial(sampling.sample, copy.deepcopy(sampler)), last)


def train_quick(source: Source, seed: int, marks: list[float], seconds: float) -> list[tuple[float, int, Made]]:
    words = {"task.labels": "ignore", "evaluate.metrics": [], "seed": seed, "stop.minutes": seconds / 60}
    watch = Watch(Album(marks))
    watch.trainer = Trainer(assemble(resolve("quick", words).experiment, source), console=watch)
    watch.trainer.fit()
    return watch.album.taken


def train_loop(source: Source, seed: int, marks: list[float], seconds: float) -> list[tuple[float, int, Made]]:
    rows = source.split("train")
    loop = Tutorial(32, rows.take(torch.arange(len(rows)))["x"], seed)
    album, steps, spent, begun = Album(marks), 0, 0.0, time.perf_counter()
    while spent < seconds:
        loop.step()
        steps += 1
        spent = time.perf_counter() - begun
        album.look(
            spent, steps * BATCH, lambda: partial(samples_of, copy.deepcopy(loop.generator)), last=spent >= seconds
        )
    return album.taken


def measure(side: str, seed: int, scale: float, judge: Evaluator, out: Path) -> dict[str, Any]:
    """One training and its scores, as they are written."""
    marks = [mark * scale for mark in MARKS[side]]
    train = train_quick if side == "quick" else train_loop
    copies = train(judge.source, seed, marks, marks[-1])
    rows = []
    for seconds, samples, made in copies:
        x = made(judge.n, seed)
        scores = judge.score(lambda count, start, x=x: x[start : start + count])
        rows.append({"seconds": seconds, "samples": samples, **scores})
        print(f"{side:>6} seed {seed} {seconds:7.1f} s {shown(rows[-1], judge.primary)}", flush=True)
    if side == "quick":
        picture = min(copies, key=lambda taken: abs(taken[0] - PICTURE * scale))
        save_samples(to_uint8(picture[2](64, seed)), out / f"quick-{PICTURE}s-seed{seed}.png")
    return {
        "side": side,
        "seed": seed,
        "scale": scale,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "primary": judge.primary,
        "protocol": judge.protocol,
        "floor": judge.floor(),
        "rows": rows,
    }


def shown(row: dict[str, float], primary: str) -> str:
    return f"distance {row[primary]:7.2f}  precision {row['precision']:.3f}  recall {row['recall']:.3f}"


def at(found: dict[str, Any], seconds: float) -> dict[str, float]:
    """The row at this mark: the first past it, or the end, which a plan that was kept reaches shortly before."""
    return next((row for row in found["rows"] if row["seconds"] >= seconds), found["rows"][-1])


def reached(found: dict[str, Any], target: float) -> float | None:
    """Seconds of the first row from which on every distance is at most `target`."""
    first = None
    for row in reversed(found["rows"]):
        if row[found["primary"]] > target:
            break
        first = row["seconds"]
    return first


def report(pairs: list[tuple[dict[str, Any], dict[str, Any]]], scale: float) -> None:
    faster, closer = [], []
    print(f"\n{pairs[0][0]['protocol'][pairs[0][0]['primary']]}")
    print(f"floor {shown(pairs[0][0]['floor'], pairs[0][0]['primary'])}")
    for quick, loop in pairs:
        primary, end = quick["primary"], loop["rows"][-1]
        if any(side[key] != pairs[0][0][key] for side in (quick, loop) for key in ("protocol", "torch", "threads")):
            raise SystemExit(f"seed {quick['seed']}: the sides were measured differently; remove what is of old.")
        seconds = reached(quick, end[primary])
        faster.append(0.0 if seconds is None else end["seconds"] / seconds)
        beside = at(quick, QUICK * scale), at(loop, QUICK * scale)
        closer.append(beside[0][primary] / beside[1][primary])
        print(f"\nseed {quick['seed']}")
        print(f"  loop  at {end['seconds']:5.0f} s  {shown(end, primary)}")
        print(f"  loop  at {beside[1]['seconds']:5.0f} s  {shown(beside[1], primary)}")
        print(f"  quick at {beside[0]['seconds']:5.0f} s  {shown(beside[0], primary)}")
        when = "never reached" if seconds is None else f"reached and kept after {seconds:.0f} s"
        print(f"  the loop's last distance: {when}, {faster[-1]:.1f}× sooner; distances {closer[-1]:.2f}×")
    for what, values, met, limit in (
        ("times sooner", faster, statistics.mean(faster) >= FASTER, f"at least {FASTER:g}"),
        ("share of the distance", closer, statistics.mean(closer) <= CLOSER, f"at most {CLOSER:g}"),
    ):
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        mean = statistics.mean(values)
        print(f"\n{what}: {mean:.2f}{spread} over {len(values)} seeds, {limit}: {'MET' if met else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", choices=("quick", "loop"))
    parser.add_argument("--scale", type=float, default=1.0, help="of all times, for a rehearsal")
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("docs/results/time-to-quality"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    seeds = [int(word) for word in args.seeds.split(",")]
    judge = Evaluator(
        SOURCES.build("mnist(size=32)"),
        extractor="mnist-classifier",
        metrics=["frechet", "precision", "recall"],
        n=args.n,
    )
    for seed in seeds:
        for side in ("quick", "loop") if args.only is None else (args.only,):
            path = args.out / f"{side}-seed{seed}.json"
            if path.exists():
                if json.loads(path.read_text())["scale"] != args.scale:
                    raise SystemExit(f"{path} is of another --scale. Remove it, or choose another --out.")
                print(f"{side:>6} seed {seed} is in {path}")
            else:
                found = measure(side, seed, args.scale, judge, args.out)
                write_text_atomic(path, json.dumps(found, indent=1) + "\n")
    files = [[args.out / f"{side}-seed{seed}.json" for side in ("quick", "loop")] for seed in seeds]
    pairs = [tuple(json.loads(path.read_text()) for path in both) for both in files if all(p.exists() for p in both)]
    if pairs:
        report(pairs, args.scale)


if __name__ == "__main__":
    main()

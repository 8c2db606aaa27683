"""Samples a second of the preset `quick` at 28×28, by batch size, and through `Model.tensor`.

python benchmarks/sampling.py [--seconds 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gannet import api
from gannet.core.random import Draw, installed
from gannet.data.array import ArraySource

SIZES = [2**k for k in range(11)]


def pace(made: Callable[[], int], seconds: float) -> float:
    """Samples a second over at least `seconds`, after one call that is not counted."""
    made()
    begun, count = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        count += made()
    return count / (time.perf_counter() - begun)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2, help="of each line")
    args = parser.parse_args()
    pixels = np.random.default_rng(0).integers(0, 256, (256, 28, 28), dtype=np.uint8)
    # What the weights are does not change their speed: ten steps make a run to load.
    short = {"stop.samples": 640, "evaluate.metrics": []}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        api.train("quick", short, Path(folder) / "run", source=ArraySource.from_arrays(pixels))
        model = api.load(Path(folder) / "run")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'batch':>14} {'images/s':>10} {'ms a batch':>11}")
    for size in SIZES:

        def batch(size: int = size) -> int:
            draw = Draw(0, "bench", 0, range(size))
            with installed(draw.child("layers")):
                return len(model.task.sample(draw))

        rate = pace(batch, args.seconds)
        print(f"{size:14d} {rate:10,.0f} {1000 * size / rate:11.2f}", flush=True)
    rate = pace(lambda: len(model.tensor(1024)), args.seconds)
    print(f"{'Model.tensor':>14} {rate:10,.0f} {1000 * 1024 / rate:11.2f}  (1,024 in one call)")


if __name__ == "__main__":
    main()

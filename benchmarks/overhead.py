"""What a run costs beside its steps: seconds in steps against wall seconds of a real run with all its defaults.

python benchmarks/overhead.py [--minutes 1]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from gannet import api
from gannet.engine.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--preset", default="quick")
    args = parser.parse_args()
    spent: dict[str, float] = {}

    def timed(name: str) -> None:
        inner = getattr(Trainer, name)

        def outer(self, *rest, **named):
            begun = time.perf_counter()
            try:
                return inner(self, *rest, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - begun

        setattr(Trainer, name, outer)

    parts = {"_step": "steps", "_log": "log lines", "_show": "sample grids", "_score": "scores", "_commit": "commits"}
    for name in parts:
        timed(name)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        _, outcome = api.train(args.preset, {"stop.minutes": args.minutes}, Path(folder) / "run")
        wall = time.perf_counter() - begun
    print(f"{args.preset}: {outcome.samples:,} samples in {wall:.1f} s of wall time")
    for name, title in parts.items():
        print(f"{title:>14} {spent.get(name, 0.0):8.2f} s {100 * spent.get(name, 0.0) / wall:6.1f} %")


if __name__ == "__main__":
    main()

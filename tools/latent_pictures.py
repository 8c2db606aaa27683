"""The pictures of docs/latent.md, from a generator of MNIST trained for three minutes.

    python tools/latent_pictures.py [--run RUN] [--out docs/images]

With `--run` nothing is trained: they are drawn of that run of images.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gannet import api
from gannet.explore import STRIP, enlarged, tiled

WAYS = ((0, 1), (2, 3), (4, 5), (6, 7))
STEPS = 12
DIRECTIONS, SEEDS = 4, 2


def walk(model: Any) -> Image.Image:
    """Ways between pairs of seeds, one a row."""
    ends = [[{"seed": a}, {"seed": b}] for a, b in WAYS]
    looks = [{"point": {"between": pair, "t": k / (STEPS - 1)}} for pair in ends for k in range(STEPS)]
    return tiled(model.show(looks), STEPS, gap=1)


def strips(model: Any) -> Image.Image:
    """The first directions from −3 to 3 standard deviations, two samples of each; a white line between directions."""
    found = []
    for number in range(DIRECTIONS):
        looks = [{"point": {"seed": s}, "directions": [[number, amount]]} for s in range(SEEDS) for amount in STRIP]
        found.append(np.asarray(tiled(model.show(looks), len(STRIP), gap=1).convert("RGB")))
    line = np.full((4, *found[0].shape[1:]), 255, np.uint8)
    return Image.fromarray(np.concatenate([part for strip in found for part in (strip, line)][:-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="draw this run and train nothing")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = args.run
        if run is None:
            settings = {"data": "mnist", "task.labels": "ignore", "stop.minutes": 3, "evaluate.metrics": []}
            run = api.train("quick", settings, Path(folder) / "run")[0].path
        model = api.load(run)
        args.out.mkdir(parents=True, exist_ok=True)
        for name, picture in (("walk", walk(model)), ("directions", strips(model))):
            path = args.out / f"latent-{name}.png"
            enlarged(picture, 64, 64).save(path, optimize=True)
            print(path)


if __name__ == "__main__":
    main()

"""Measure whether a step is the same however its batch is cut up, and write the table of docs/exactness.md.

    python tools/exactness.py            print the table
    python tools/exactness.py --write    and put it into docs/exactness.md

A batch of 8 rows is trained for three steps of SGD in fp64 as 1 process × 8 rows, 2 × 4, and 2 × 2 with accumulate=2,
on a fully connected pair without normalisation. The figure is the largest difference of any weight from 1 × 8,
relative to the largest weight of its tensor.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from gannet.core import world
from gannet.core.overrides import resolve
from gannet.core.registry import SOURCES
from gannet.engine import distributed
from gannet.engine.assembly import assemble
from gannet.engine.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "exactness.md"
BATCH, STEPS = 8, 3
LAYOUTS = {"1 × 8": (1, 1), "2 × 4": (2, 1), "2 × 2 × 2": (2, 2)}
"""Processes, and micro-batches in each."""

OBJECTIVES = ("saturating", "nonsaturating", "leastsquares", "hinge", "wasserstein")
PAIRINGS = ("none", "paired", "average")
REGULARIZERS = {
    "none": [],
    "r1": ["r1"],
    "r2": ["r2"],
    "r1 + r2, every 2nd turn": ["r1(every=2)", "r2(every=2)"],
    "r1, finite differences": ["r1(estimator=finite-difference, sigma=0.1)"],
    "wgan-gp": ["wgan-gp"],
    "dragan": ["dragan"],
    "lecam": ["lecam(warmup=1)"],
    "centering": ["centering"],
    "consistency": ["consistency(augment=noise(std=0.3))"],
    "orthogonal": ["orthogonal(weight=0.01)"],
    "l2": ["l2(weight=0.01)"],
    "feature-matching": ["feature-matching"],
}
OTHERS = {
    "spectral norm": {"discriminator.spectral": True},
    "dropout in both": {"discriminator.dropout": 0.3, "generator.dropout": 0.2},
    "clipped gradients": {"clip": {"discriminator": 0.1, "generator": 0.1}},
    "three discriminator turns": {"players": {"discriminator": {"repeats": 3}}},
    "momentum": {"optim": {"discriminator": "sgd(lr=0.05, momentum=0.9)", "generator": "sgd(lr=0.05, momentum=0.9)"}},
}
BASE = {
    "data": "points(name=ring-8, n=64)",
    "regularizers": [],
    "generator": "mlp(width=16, layers=2, latent=2)",
    "discriminator": "mlp(width=16, layers=2)",
    "optim": {"discriminator": "sgd(lr=0.05)", "generator": "sgd(lr=0.05)"},
    "batch": BATCH,
    "share": "nothing",
    "precision": "fp64",
    "evaluate.metrics": [],
    "stop.minutes": None,
    "stop.samples": 1000,
}


def cells(whole: bool) -> dict[str, dict]:
    """Names and overrides of every cell, or only those without a regularizer or with the nonsaturating game."""
    found = {
        f"{objective}/{pairing}/{name}": {"objective": f"{objective}(pairing={pairing})", "regularizers": parts}
        for objective in OBJECTIVES
        for pairing in PAIRINGS
        for name, parts in REGULARIZERS.items()
        if whole or objective == OBJECTIVES[1] or name == "none"
    }
    return found | {f"{name}//": {"objective": "nonsaturating", **more} for name, more in OTHERS.items()}


def mixes_rows(cell: str) -> bool:
    """Whether a term of the cell takes a mean over the batch inside a curved function.

    Wasserstein's average is linear, and hinge's is where no margin is met, so that there the means drop out.
    """
    objective, pairing, regularizer = cell.split("/")
    return regularizer == "feature-matching" or (pairing == "average" and objective not in ("wasserstein", "hinge"))


def work(out: Path, accumulate: int, whole: bool) -> None:
    """One process of one layout: train every cell; process 0 writes the weights."""
    torch.set_num_threads(1)
    weights: dict[str, torch.Tensor] = {}
    distributed.join(torch.device("cpu"))
    source = SOURCES.build(BASE["data"])
    for cell, more in cells(whole).items():
        game = assemble(resolve("points", {**BASE, "accumulate": accumulate, **more}).experiment, source)
        trainer = Trainer(game)
        for _ in range(STEPS):
            trainer._step(False)
        weights |= {f"{cell}|{k}": v.contiguous() for k, v in game.networks.state_dict().items()}
        weights |= {f"{cell}|{n}.{k}": v for n, r in game.regularizers.items() for k, v in r.state_dict().items()}
    if world.rank() == 0:
        save_file(weights, out)
    if world.size() > 1:
        dist.barrier()
        # Taking gloo apart now and then aborts a process whose work is done; nothing is left to tidy up.
        os._exit(0)


def launch(processes: int, accumulate: int, out: Path, whole: bool) -> dict[str, torch.Tensor]:
    """The weights a layout ends with."""
    own = [str(Path(__file__).resolve()), "--worker", str(out), "--accumulate", str(accumulate)]
    own += ["--whole"] if whole else []
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    # torchrun leaves a folder of its own wherever temporary files go.
    own_place = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(out.parent)}
    environment = {**os.environ, **own_place}
    done = subprocess.run([sys.executable, *many, *own], env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{processes} processes, accumulate={accumulate}:\n{done.stderr}")
    return load_file(out)


def measure(whole: bool = True) -> dict[str, dict[str, float]]:
    """`found[layout][cell]`: the largest relative difference from one process and one batch."""
    ends = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, layout in LAYOUTS.items():
            ends[name] = launch(*layout, Path(folder) / "weights.safetensors", whole)
    reference = ends.pop("1 × 8")
    found = {}
    for layout, weights in ends.items():
        worst = dict.fromkeys(cells(whole), 0.0)
        for key, expected in reference.items():
            difference = (weights[key].double() - expected.double()).abs().max()
            share = float(difference / expected.double().abs().max().clamp_min(1e-12))
            cell = key.partition("|")[0]
            worst[cell] = max(worst[cell], share)
        found[layout] = worst
    return found


def page(found: dict[str, dict[str, float]]) -> str:
    """The measured table in words."""
    both = list(found.values())

    def shown(cell: str) -> str:
        return " / ".join(f"{f[cell]:.0e}" for f in both)

    lines = [
        "# Exactness",
        "",
        "One step is one mathematical object, however its batch is cut up. This table is made by `tools/exactness.py`",
        f"and held by a test: {STEPS} steps of SGD in fp64 on {BATCH} rows, fully connected networks without",
        "normalisation. Each cell is the largest difference of any weight, or buffer of a regularizer, from one",
        "process and one batch, relative to the largest entry of its tensor:",
        "",
        "**2 processes × 4 rows / 2 processes × 2 rows × accumulate=2.**",
        "",
        "- Terms that are a sum over rows agree to rounding in both.",
        "- Terms that take a mean over the batch inside a curved function (relativistic average, feature matching)",
        "  agree across processes, where the mean is gathered. Under accumulation they are statistics of the",
        "  micro-batch: another step, by design, since the whole batch is never in memory at once. Linear ones",
        "  (Wasserstein, and hinge within its margin) agree there too.",
        "- Batch norm couples rows in the network itself; it is local to a process and to a micro-batch.",
    ]
    for pairing in PAIRINGS:
        lines += ["", f"## pairing={pairing}", "", "| regularizer | " + " | ".join(OBJECTIVES) + " |"]
        lines += ["|---|" + "---|" * len(OBJECTIVES)]
        for name in REGULARIZERS:
            lines += [f"| {name} | " + " | ".join(shown(f"{o}/{pairing}/{name}") for o in OBJECTIVES) + " |"]
    lines += ["", "## Everything else, nonsaturating", "", "| | difference |", "|---|---|"]
    lines += [f"| {name} | {shown(f'{name}//')} |" for name in OTHERS]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/exactness.md")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--accumulate", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.accumulate, options.whole)
        return
    text = page(measure())
    print(text)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

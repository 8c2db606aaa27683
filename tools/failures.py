"""The pictures of docs/why-gans-fail.md: each failure provoked, and the same run with its remedy beside it.

    python tools/failures.py [NAME …] [--out docs/images] [--runs FOLDER]

Every case is two `gannet train` commands that differ by the remedy alone. They are printed, and the figures under them
are read from the runs' logs.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gannet import api
from gannet.core.spec import render
from gannet.engine.run import Run

RING = 'points(name="ring-8")'
TOY = {
    "data": RING,
    "generator": "mlp(width=128, layers=2, latent=2)",
    "discriminator": "mlp(width=128, layers=2)",
    "batch": 256,
    "stop.samples": 256 * 4000,
    "keep.log": 256 * 40,
    "evaluate.every": "10%",
    "ema.halflife": None,  # the moving average would hide what is shown here
}
MOMENTUM = "adam(lr=1e-3, betas=[0.9, 0.999])"
CALM = "adam(lr=1e-3, betas=[0, 0.99])"


@dataclass(frozen=True)
class Case:
    """A failure: the preset and overrides that provoke it, what mends it, and the key of the log, or the score, that
    shows it."""

    preset: str
    provoked: dict[str, Any]
    remedy: dict[str, Any]
    signal: str


CASES = {
    "vanishing": Case(
        "dcgan",
        {
            "data": "digits",
            "task.labels": "ignore",
            "generator": "dcgan(width=16, latent=32)",
            "discriminator": "dcgan(width=32)",
            "objective": "saturating",
            "players.discriminator.repeats": 3,
            "optim.discriminator": "adam(lr=1e-3)",
            "optim.generator": "adam(lr=2e-4)",
            "stop.samples": 96_000,
            "keep.log": 960,
        },
        {"objective": "nonsaturating", "regularizers": "[r1(weight=3), r2(weight=3)]"},
        "grad_norm/generator",
    ),
    "collapse": Case(
        "gan",
        {
            **TOY,
            "generator": "mlp(width=128, layers=4, latent=16)",
            "discriminator": "mlp(width=128, layers=4)",
            "optim.discriminator": MOMENTUM,
            "optim.generator": MOMENTUM,
        },
        {
            "objective": "nonsaturating(pairing=paired)",
            "regularizers": "[r1(weight=0.1), r2(weight=0.1)]",
            "optim.discriminator": CALM,
            "optim.generator": CALM,
        },
        "spread",
    ),
    "oscillation": Case(
        "gan",
        {
            **TOY,
            "data": 'points(name="moons")',
            "objective": "wasserstein",
            "optim.discriminator": MOMENTUM,
            "optim.generator": MOMENTUM,
        },
        {"regularizers": "[r1(weight=1), r2(weight=1)]", "ema.halflife": 50_000},
        "loss/discriminator",
    ),
    "memorisation": Case(
        "quick",
        {"data": "digits(limit=60)", "task.labels": "ignore", "stop.samples": 160_000, "keep.log": 800},
        {"augment": "diffaugment(policy=[translation, cutout])"},
        "p_real_above_fake/heldout",
    ),
    "overfitting": Case(
        "quick",
        {
            "data": "digits(limit=200)",
            "task.labels": "ignore",
            "augment": "diffaugment",
            "controllers": "steer-augmentation(largest=0)",  # which looks and never moves
            "stop.samples": 120_000,
            "keep.log": 600,
        },
        {"controllers": "steer-augmentation(target=0.7, start=0.3, largest=1)"},
        "p_train_above_heldout",
    ),
    "checkerboard": Case(
        "quick",
        {
            "data": "shapes",
            "task.labels": "ignore",
            "generator": "dcgan(width=32, latent=64, kernel=3)",
            "stop.samples": 12_000,
            "ema.halflife": None,
            "evaluate.metrics": ["spectrum"],
            "evaluate.n": 500,
            "evaluate.every": 1000,
        },
        {"generator": "dcgan(width=32, latent=64, kernel=4)"},
        "spectrum",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="which of them; all by default")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--runs", type=Path, help="where the runs are kept; a temporary folder by default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names or CASES:
            picture = show(name, CASES[name], args.runs or Path(folder))
            args.out.mkdir(parents=True, exist_ok=True)
            picture.save(args.out / f"fails-{name}.png", optimize=True)
            print(f"{args.out / f'fails-{name}.png'}\n")


def show(name: str, case: Case, folder: Path) -> Image.Image:
    """Run both sides of a case that are not there yet, and lay their last samples over the curve of its signal."""
    sides = {"provoked": case.provoked, "mended": {**case.provoked, **case.remedy}}
    grids, curves = [], []
    for side, overrides in sides.items():
        place = folder / f"{name}-{side}"
        if not place.exists():
            api.train(case.preset, {**overrides, "stop.minutes": None}, place)
        run = Run.open(place)
        scores = [line["scores"] for line in run.read_log() if line["kind"] == "score"][-1]
        words = [f"{key}={value if isinstance(value, str) else render(value)}" for key, value in overrides.items()]
        print(f"{side}: gannet train {case.preset} {shlex.join(words)}")
        print(f"    {_told(run, case.signal)}; " + ", ".join(f"{k} {v:.3g}" for k, v in scores.items()))
        grids.append(Image.open(sorted(run.samples.iterdir())[-1]).convert("RGB"))
        curves.append(_curve(run, case.signal))
    return _beside(grids, curves, case.signal)


def _curve(run: Run, key: str) -> tuple[np.ndarray, np.ndarray]:
    lines = [(r["samples"], r.get("scores", r)) for r in run.read_log() if r["kind"] in ("step", "score")]
    found = [(samples, line[key]) for samples, line in lines if key in line]
    at, values = np.array(found, dtype=float).T
    return at, values


def _told(run: Run, key: str) -> str:
    _, values = _curve(run, key)
    tenth = max(1, len(values) // 10)
    return f"{key}: first tenth {values[:tenth].mean():.3g}, last tenth {values[-tenth:].mean():.3g}"


def _beside(grids: list[Image.Image], curves: list[tuple[np.ndarray, np.ndarray]], key: str) -> Image.Image:
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, curve = 9.0, 2.0  # inches
    pictures = 0.45 * width * max(grid.height / grid.width for grid in grids)
    height = pictures + 0.35 + curve
    figure = Figure(figsize=(width, height), dpi=90, facecolor="white")
    FigureCanvasAgg(figure)
    for number, (title, grid) in enumerate(zip(("as it fails", "with the remedy"), grids, strict=True)):
        axes = figure.add_axes((0.03 + 0.5 * number, curve / height, 0.45, pictures / height))
        axes.imshow(grid)
        axes.set_title(title, fontsize=11)
        axes.set_axis_off()
    axes = figure.add_axes((0.08, 0.5 / height, 0.89, (curve - 0.9) / height))
    for (at, values), label, colour in zip(
        curves, ("as it fails", "with the remedy"), ("#D55E00", "#0072B2"), strict=True
    ):
        axes.plot(at, values, label=label, color=colour, linewidth=1.3)
    axes.set_title(key, fontsize=10)
    axes.set_xlabel("samples seen", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return Image.open(io.BytesIO(data.getvalue())).convert("P", palette=Image.Palette.ADAPTIVE, colors=128)


if __name__ == "__main__":
    main()

"""What can be measured: samples of a run, image files, arrays, each as a function of a seed and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from gannet.core.errors import DataError, UsageError, nearest
from gannet.core.experiment import data_shorthand
from gannet.core.random import Draw, generator, installed
from gannet.core.registry import SOURCES
from gannet.core.spec import Spec
from gannet.core.types import DataSpec, Source
from gannet.data.listing import listing
from gannet.engine.run import Run
from gannet.latent.draws import Mixed
from gannet.metrics.evaluator import Generate, Walk
from gannet.model import Model

LOSSY = (".jpg", ".jpeg", ".jfif", ".webp")


@dataclass(frozen=True)
class Fakes:
    """Samples to measure. `said` is what a number must say of them; `generate(seed)` gives those of one seed; `walk`
    is there where a generator is, and `seeds` is false where there is but one set."""

    name: str
    said: str
    generate: Callable[[int], Generate]
    walk: Callable[[int], Walk] | None = None
    seeds: bool = True


class Along(Mixed):
    """A draw whose normal numbers lie on a path between two others: cos(πt/2)·a + sin(πt/2)·b at place t, `[B]`.

    Every point of the path is as likely as any other draw. Labels and noise are the same along it.
    """

    def __init__(self, draw: Draw, place: Tensor):
        angle = place.double() * (math.pi / 2)
        ends = [draw.child("from"), draw.child("to")]
        super().__init__(ends, torch.stack([angle.cos(), angle.sin()], dim=1), draw)


def of_run(name: str, model: Model, labels: Callable[[], Tensor | None], wanted: DataSpec | None = None) -> Fakes:
    """Samples of the averaged weights of one checkpoint. `labels()` are the classes of the rows they are compared with;
    drawn evenly, a rare class would count as an error. They are in the units of `wanted`, by default its own."""
    task = model.task
    conditional = any(role.data.classes for role in task.roles.values())
    given = model.conditions() if "given" in task.fields else None
    dtype = torch.float64 if model.experiment.precision == "fp64" else torch.float32
    own, units = model.data.x, (wanted or model.data).x

    def made(draw: Draw, count: int, start: int) -> Tensor:
        y = labels() if conditional else None
        with installed(Draw(*draw.key, draw.indices, dtype=dtype).child("layers")):
            x = task.sample(
                draw,
                None if y is None else y[start : start + count],
                None if given is None else given(range(start, start + count)).to(dtype),
            )
        return x if own.units == units.units else units.standardised(own.restored(x))

    def drawn(seed: int, count: int, start: int) -> Draw:
        # Not the latents by which the best checkpoint was chosen: those flatter it.
        return Draw(seed, "report", 0, range(start, start + count), dtype=dtype)

    def generate(seed: int) -> Generate:
        return lambda count, start: made(drawn(seed, count, start), count, start)

    def walk(seed: int) -> Walk:
        def steps(count: int, start: int, step: float) -> tuple[Tensor, Tensor]:
            draw = drawn(seed, count, start)
            place = draw.child("place").uniform().double()
            here, there = (made(Along(draw, t), count, start) for t in (place, place + step))
            return here, there

        return steps

    averaged = "ema" if model.experiment.ema.halflife is not None else "weights"
    said = f"{model.run.path}@{model.checkpoint},{averaged},truncation=1"
    return Fakes(name, said, generate, None if given else walk)


def of_rows(place: str, x: Tensor) -> Fakes:
    """The rows of `x` `[n, *shape]`, which were found at `place`, in a fixed random order."""
    order = torch.randperm(len(x), generator=generator(0, "fakes"))
    return Fakes("fakes", f"{place}, {len(x):,} samples", lambda seed: lambda c, s: x[order[s : s + c]], seeds=False)


# ----------------------------------------------------------------------------------------------------- from places


def find(what: str | Path) -> Path:
    """A path, or the name of a directory in runs/. Raises `UsageError`, with the nearest names, for what is nowhere."""
    path = Path(what).expanduser()
    inside = Path("runs") / path
    if path.exists() or not inside.exists():
        if not path.exists():
            around = [p for place in {path.parent, inside.parent} if place.is_dir() for p in place.iterdir()]
            close = [str(p) for p in around if p.name in nearest(path.name, [p.name for p in around])]
            hint = f" Did you mean: {', '.join(sorted(close)[:3])}?" if close else ""
            raise UsageError(
                f"{path} does not exist.{hint} Give a run, a folder or zip of images, a .npy or a .csv file."
            )
        return path
    return inside


def opened(path: Path) -> Run | None:
    """The run at `path`, `None` where there is something else."""
    return Run.open(path) if (path / "experiment.yaml").is_file() else None


def rows_at(path: Path, wanted: DataSpec, reference: str) -> Tensor:
    """Every sample of a folder, zip or array file, `[n, *shape]` as the reference has them. Raises `DataError` for
    another shape."""
    text = str(path) if path.is_absolute() else f"./{path}"
    spec = Spec("folder", (), {"path": str(path)}) if path.is_dir() else data_shorthand(text)
    if spec.name in ("array", "csv"):
        spec = spec.with_arg("scale", "none")
    elif spec.name != "folder":
        raise UsageError(f"{path} holds no samples. Give a run, a folder or zip of images, a .npy or a .csv file.")
    found: Source = SOURCES.build(spec, where=str(path))
    if spec.name == "folder" and (found.spec.shape[0], wanted.shape[:1]) == (1, (3,)):
        found = SOURCES.build(spec.with_arg("channels", 3), where=str(path))  # grey files in a set of colours
    check_shape(str(path), found.spec, wanted, reference)
    return wanted.x.standardised(all_rows(found))


def all_rows(source: Source) -> Tensor:
    """The rows of both splits, one after the other."""
    splits = [source.split(name) for name in ("train", "test")]
    return torch.cat([split.take(torch.arange(len(split)))["x"].float() for split in splits])


def check_shape(name: str, found: DataSpec, wanted: DataSpec, reference: str) -> None:
    """Raises `DataError` where samples and reference cannot be compared, and says how to mend it."""
    if found.shape == wanted.shape:
        return
    shapes = ["×".join(map(str, spec.shape)) for spec in (found, wanted)]
    mend = "Choose a reference of the same kind."
    if (found.kind, wanted.kind) == ("image", "image"):
        mend = "Give both one size, as in --ref 'mnist(size=32):test'."
        if found.shape[1:] == wanted.shape[1:]:
            mend = f"Convert the samples to {wanted.shape[0]} channels, or choose a reference with {found.shape[0]}."
    raise DataError(f"the samples of {name} are {shapes[0]}, those of the reference {reference} {shapes[1]}. {mend}")


def lossy(path: Path) -> bool:
    """Whether images of a folder or zip went through JPEG or WebP."""
    names = listing(str(path)).images if path.is_dir() or path.suffix.lower() == ".zip" else []
    return any(name.lower().endswith(LOSSY) for name in names)


def lossy_source(spec: Spec) -> bool:
    """The same of a source."""
    path: Any = spec.args.get("path", spec.positional[0] if spec.positional else None)
    return spec.name == "folder" and isinstance(path, str) and lossy(Path(cast(str, path)).expanduser())

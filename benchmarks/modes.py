"""Mode collapse: how many modes of a known distribution a trained generator reaches, beside the published numbers.

Rings and grids of Gaussians and stacked MNIST by the protocols of VEEGAN (Srivastava et al. 2017), PacGAN (Lin et al.
2018) and unrolled GANs (Metz et al. 2017). A method is a preset and overrides; a cell is one training of it, from one
seed, with the numbers it was given, as JSON. Cells that are measured are not measured again; those of another
experiment, protocol or version are stale and are. Steps are counted on points, so that processes may run side by side;
stacked MNIST is given minutes, or the papers' steps.

    python benchmarks/modes.py [--data ring-8,grid-25,…] [--methods gan,points,…] [--seeds 10] [--steps 20000]
                               [--minutes 30] [--papers] [--jobs 2] [--cells DIR]
    python benchmarks/modes.py --page        # writes docs/collapse.md and its picture from the cells that are there
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, FiniteFloat, model_validator
from torch import Tensor

from gannet import api, bench_cell
from gannet.bench_cell import Measured, Name, mean_and_deviation
from gannet.core.errors import DataError, DivergedError, GannetError, UsageError, unknown
from gannet.core.experiment import Section
from gannet.core.overrides import resolve
from gannet.core.registry import METRICS, SOURCES
from gannet.core.spec import parse
from gannet.core.types import Source
from gannet.data.points import SHAPES
from gannet.engine.pictures import figure_png, write
from gannet.engine.run import write_text_atomic
from gannet.fakes import of_run
from gannet.metrics.classifiers import MnistClassifier
from gannet.metrics.evaluator import CHUNK, Generate
from gannet.metrics.stacked import class_counts, divergence_of_counts, modes_hit

ROOT = Path(__file__).parent.parent
CELLS, PAGE, PICTURE = ROOT / "benchmarks" / "modes", ROOT / "docs" / "collapse.md", "images/collapse-points.png"
BEGIN, END = "<!-- results: made by benchmarks/modes.py --page -->", "<!-- end of results -->"
DRAWN = 1000
"""Points of the first seed that a cell keeps for the picture."""
PATIENCE = 15
"""Seconds a training is given to end by itself when it is stopped."""

# ----------------------------------------------------------------------------------------------- methods, all as data

Overrides = Mapping[str, Any]
Recipe = tuple[str, Overrides]
"""A preset, and what is changed in it."""

QUIET: Overrides = {"evaluate.metrics": [], "keep.samples": "100%", "keep.checkpoints": "100%"}
RAW: Overrides = {"ema.halflife": None}
"""The papers sample the weights themselves, not their moving average."""


def adams(generator: float, discriminator: float, betas: list[float]) -> Overrides:
    rates = {"generator": generator, "discriminator": discriminator}
    return {f"optim.{name}": f"adam(lr={lr}, betas={betas})" for name, lr in rates.items()}


# The networks of PacGAN's published code, but for its maxout units and initial weights.
PLANE: Overrides = {
    "generator": "mlp(width=400, layers=4, latent=2, norm=batch)",
    "discriminator": "mlp(width=200, layers=3)",
    "batch": 100,
    **adams(1e-4, 1e-4, [0.8, 0.999]),
    **RAW,
}
# A batch is so many packs there, so the rows grow with the pack.
ON_POINTS: dict[str, Recipe] = {
    "gan": ("gan", PLANE),
    "pacgan2": ("gan", {**PLANE, "task": "synthesis(pack=2)", "batch": 200}),
    "pacgan4": ("gan", {**PLANE, "task": "synthesis(pack=4)", "batch": 400}),
    "unrolled": ("gan", {**PLANE, "opponent": "unrolled(steps=5, lr=1e-4, betas=[0.8, 0.999])"}),
    "veegan": ("gan", {**PLANE, "task": "veegan(latent=2)", "encoder": "mlp(width=200, layers=3)"}),
    "points": ("points", {}),
}

UNTOLD: Overrides = {"task": "synthesis(labels=ignore)"}
IMAGES: Overrides = {**UNTOLD, "generator.latent": 100, "batch": 64, **adams(2e-4, 2e-4, [0.5, 0.999]), **RAW}
ON_IMAGES: dict[str, Recipe] = {
    "dcgan": ("dcgan", IMAGES),
    "pacgan2": ("dcgan", {**IMAGES, "task": "synthesis(labels=ignore, pack=2)", "batch": 128}),
    "quick": ("quick", UNTOLD),
    "auto": ("auto", UNTOLD),
}


def small(width: int) -> dict[str, Recipe]:
    """Methods with a discriminator of 1, 2, 4 times `width` channels, where the generator has 64, 32, 16."""
    generator = "dcgan(width=16, latent=256)"
    plain = {
        **UNTOLD,
        "generator": generator,
        "discriminator": f"dcgan(width={width}, norm=batch)",
        "batch": 128,
        **adams(1e-4, 2e-4, [0.5, 0.99]),
        **RAW,
    }
    return {
        "dcgan": ("dcgan", plain),
        "pacgan2": ("dcgan", {**plain, "task": "synthesis(labels=ignore, pack=2)", "batch": 256}),
        "unrolled10": ("dcgan", {**plain, "opponent": "unrolled(steps=10, lr=2e-4, betas=[0.5, 0.99])"}),
        "quick": ("quick", {**UNTOLD, "generator": generator, "discriminator": f"dcgan(width={width})"}),
    }


@dataclasses.dataclass(frozen=True)
class Score:
    """A column: its key in a cell, its head, the factor and places it is shown with, and which end is the worst."""

    key: str
    head: str
    places: int
    worst: Callable[[Iterable[float]], float]
    factor: float = 1


ON_PLANE = (
    Score("modes", "modes of {modes}", 1, min),
    Score("high_quality", "high quality, %", 1, min, 100),
    Score("reverse_kl", "reverse KL", 3, max),
)
OF_CLASSES = (Score("modes", "modes of {modes}", 1, min), Score("kl", "KL", 3, max))


@dataclasses.dataclass(frozen=True)
class Bench:
    """One distribution: its source, the samples that are judged, the papers' steps, the methods, what is published."""

    source: str
    modes: int
    samples: int
    papers: int
    methods: dict[str, Recipe]
    scores: tuple[Score, ...]
    published: dict[str, tuple[str, ...]]

    @property
    def plane(self) -> bool:
        return self.scores is ON_PLANE


# Published: PacGAN, tables 1 to 3; unrolled and VEEGAN on points from VEEGAN, table 1.
BENCHES: dict[str, Bench] = {
    "ring-8": Bench(
        "points(name=ring-8, n=100000)", 8, 2500, 400_000, ON_POINTS, ON_PLANE,
        {"gan": ("6.3", "98.2", "0.45"), "pacgan2": ("7.9", "95.6", "0.07"), "pacgan4": ("7.8", "", ""),
         "unrolled": ("7.6", "35.6", ""), "veegan": ("8", "52.9", "")},
    ),
    "grid-25": Bench(
        "points(name=grid-25, n=100000)", 25, 2500, 400_000, ON_POINTS, ON_PLANE,
        {"gan": ("17.3", "94.8", "0.70"), "pacgan2": ("23.8", "91.3", "0.13"), "pacgan4": ("24.8", "93.6", "0.04"),
         "unrolled": ("23.6", "16", ""), "veegan": ("24.6", "40", "")},
    ),
    "stacked-mnist": Bench(
        "stacked-mnist", 1000, 26_000, 100_000, ON_IMAGES, OF_CLASSES,
        {"dcgan": ("78.9 to 99", "3.40 to 4.50"), "pacgan2": ("1000", "0.06")},
    ),
    "stacked-mnist-quarter": Bench(
        "stacked-mnist(size=32)", 1000, 25_600, 500_000, small(2), OF_CLASSES,
        {"dcgan": ("30.6 to 78.5", "5.2 to 6.0"), "unrolled10": ("327", "4.66"), "pacgan2": ("484", "2.61")},
    ),
    "stacked-mnist-half": Bench(
        "stacked-mnist(size=32)", 1000, 25_600, 500_000, small(4), OF_CLASSES,
        {"dcgan": ("628", "2.58"), "unrolled10": ("817", "1.43"), "pacgan2": ("841", "1.00")},
    ),
}  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- cells


class Cell(Section):
    """One training: a method on a distribution, until so many steps or minutes, from one seed."""

    data: Name
    method: Name
    budget: str = Field(pattern=r"^\d+(\.\d+)?-(steps|minutes)$")
    seed: int = Field(ge=0, lt=2**63)

    @property
    def name(self) -> str:
        return f"{self.data}-{self.method}-{self.budget}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.method} on {self.data}, {self.budget.replace('-', ' ')}, seed {self.seed}"


class Key(Section):
    """What a cell's numbers depend on beside its name: a cell of another key is stale. `experiment` is the hash of the
    resolved recipe, without seed and end."""

    experiment: str
    protocol: str
    gannet: str


class Result(Section):
    """What a training that came to its end left. `weights` says which were sampled, the raw ones or their moving
    average (`ema`); `floor` is what as many real samples are given; `points` are drawn in the picture."""

    weights: Literal["ema", "raw"]
    scores: dict[str, FiniteFloat]
    floor: dict[str, FiniteFloat]
    samples: int
    seconds: FiniteFloat
    parameters: dict[str, int]
    points: list[tuple[FiniteFloat, FiniteFloat]]


class Record(Measured):
    cell: Cell
    key: Key
    machine: str
    outcome: Literal["finished", "diverged", "failed"]
    result: Result | None

    @model_validator(mode="after")
    def _has_every_score(self) -> Record:
        if self.cell.data not in BENCHES:
            raise ValueError(f"there is no distribution {self.cell.data}")
        wanted = {score.key for score in BENCHES[self.cell.data].scores}
        if self.result is not None and not wanted == set(self.result.scores) == set(self.result.floor):
            raise ValueError(f"scores {sorted(self.result.scores)} are not {sorted(wanted)}")
        return self


def read(path: Path) -> Record:
    """The record in a file. Raises `DataError`, naming the file, for what is none or belongs under another name."""
    return bench_cell.read(path, Record)


def known(folder: Path) -> dict[str, Record]:
    """Every record of a folder by its cell's name."""
    return bench_cell.read_all(folder, Record)


def recipe(cell: Cell) -> Recipe:
    """The preset and every override of one training. Raises `UsageError` for a method that the data does not have."""
    preset, changed = method_of(cell)
    overrides = {**QUIET, "data": BENCHES[cell.data].source, **changed, "seed": cell.seed}
    amount, unit = cell.budget.split("-")
    if unit == "minutes":
        return preset, {**overrides, "stop.minutes": float(amount)}
    batch = resolve(preset, overrides).experiment.batch
    return preset, {**overrides, "stop.samples": round(float(amount)) * batch}


def method_of(cell: Cell) -> Recipe:
    methods = BENCHES[cell.data].methods
    if cell.method not in methods:
        raise UsageError(unknown(f"method on {cell.data}", cell.method, methods))
    return methods[cell.method]


def key(cell: Cell) -> Key:
    """What the cell's numbers would depend on now."""
    preset, overrides = recipe(cell)
    experiment = resolve(preset, {**overrides, "seed": 0}).experiment
    return Key(experiment=experiment.hash(), protocol=protocol(cell.data), gannet=version("gannet"))


def protocol(data: str) -> str:
    """How a generator's numbers are taken."""
    bench = BENCHES[data]
    if bench.plane:
        sigma = SHAPES[data].sigma
        return (
            f"{bench.samples} samples; a mode is found by one within 3σ of its centre, σ={sigma:g}, which is of high "
            f"quality; reverse KL of the nearest modes to equal shares"
        )
    return (
        f"{bench.samples} samples; {judge().protocol} of each channel; a mode is a class with one sample; KL to the "
        f"labels of the training images"
    )


State = Literal["finished", "diverged", "failed", "stale", "not run"]


def state(cell: Cell, records: Mapping[str, Record]) -> State:
    """How a cell stands. Raises `DataError` for one of a method that is gone."""
    record = records.get(cell.name)
    if record is None:
        return "not run"
    try:
        return record.outcome if record.key == key(cell) else "stale"
    except UsageError as error:
        raise DataError(f"{cell.name}.json is no cell of now: {error} Remove the file.") from None


def plan(
    data: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
    steps: int = 20_000,
    minutes: float = 30,
    papers: bool = False,
) -> list[Cell]:
    """The cells, every method once before any other seed; seeds are 10 on points and 3 on images unless given.

    Raises `UsageError` for names and numbers that are not allowed.
    """
    chosen = list(dict.fromkeys(data)) or list(BENCHES)
    for name in chosen:
        if name not in BENCHES:
            raise UsageError(unknown("distribution", name, BENCHES))
    allowed = {method for name in chosen for method in BENCHES[name].methods}
    for method in methods:
        if method not in allowed:
            raise UsageError(unknown(f"method on {', '.join(chosen)}", method, sorted(allowed)))
    for name, value in (("--seeds", seeds), ("--steps", steps), ("--minutes", minutes)):
        if value is not None and value <= 0:
            raise UsageError(f"{name} {value:g} is too few. Allowed: above 0.")
    cells = []
    for name in chosen:
        bench = BENCHES[name]
        budget = f"{bench.papers}-steps" if papers else f"{steps}-steps" if bench.plane else f"{minutes:g}-minutes"
        for seed in range(seeds or (10 if bench.plane else 3)):
            for method in bench.methods:
                if not methods or method in methods:
                    cells.append(Cell(data=name, method=method, budget=budget, seed=seed))
    return cells


def due(cells: Iterable[Cell], folder: Path) -> list[Cell]:
    """Those that are not measured, or stale, or failed. A divergence is a result."""
    records = known(folder)
    return [cell for cell in cells if state(cell, records) in ("not run", "stale", "failed")]


# ------------------------------------------------------------------------------------------------------------ one cell


@dataclasses.dataclass(frozen=True)
class Trained:
    """A generator: its samples by their number, and how it came to be."""

    generate: Generate
    weights: Literal["ema", "raw"]
    samples: int
    seconds: float
    parameters: dict[str, int]


def trained(cell: Cell, place: Path) -> Trained:
    """Train the cell in `place`. Raises `KeyboardInterrupt` when it was stopped before its end."""
    preset, overrides = recipe(cell)
    run, outcome = api.train(preset, overrides, place / "run")
    if outcome.reason == "signal":
        raise KeyboardInterrupt
    model = api.load(run.path)
    return Trained(
        of_run(cell.name, model, lambda: None).generate(cell.seed),
        "raw" if model.experiment.ema.halflife is None else "ema",
        outcome.samples,
        run.read_log()[-1]["seconds"],
        run.facts()["parameters"],
    )


def measure(cell: Cell, place: Path, train: Callable[[Cell, Path], Trained] = trained) -> Record:
    """Train the cell and judge its samples; divergence and refusals are written down."""
    outcome, words, result = "finished", "", None
    try:
        result = judged(cell, train(cell, place))
    except GannetError as error:
        outcome, words = "diverged" if isinstance(error, DivergedError) else "failed", str(error)
    facts = {"cell": cell, "key": key(cell), "machine": machine(), "outcome": outcome, "words": words}
    return Record.model_validate({**facts, "result": result})


@torch.no_grad()
def judged(cell: Cell, made: Trained) -> Result:
    bench = BENCHES[cell.data]
    points = made.generate(min(DRAWN, bench.samples), 0).tolist() if bench.plane and cell.seed == 0 else []
    return Result(
        weights=made.weights,
        scores=taken(cell.data, made.generate),
        floor=taken(cell.data, reals(cell.data)),
        samples=made.samples,
        seconds=round(made.seconds, 1),
        parameters=made.parameters,
        points=[(round(x, 4), round(y, 4)) for x, y in points],
    )


def machine() -> str:
    names = []
    if Path("/proc/cpuinfo").exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} processors, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"


# --------------------------------------------------------------------------------------------------- judging samples


@functools.cache
def source_of(data: str) -> Source:
    return SOURCES.build(BENCHES[data].source, where="data")


@functools.cache
def judge() -> MnistClassifier:
    return MnistClassifier((3, 28, 28))


def reals(data: str) -> Generate:
    """Real samples that are not those the generator or the reference saw: test points, or other stacks of the training
    digits, whose classes are as frequent as those it learned."""
    if BENCHES[data].plane:
        split = source_of(data).split("test")
    else:
        split = SOURCES.build(parse(BENCHES[data].source).with_arg("seed", 1), where="data").split("train")
    return lambda count, start: split.take(torch.arange(start, start + count))["x"]


def taken(data: str, generate: Generate) -> dict[str, float]:
    """Every score of the protocol's number of samples."""
    n = BENCHES[data].samples
    chunks = (generate(min(CHUNK, n - start), start) for start in range(0, n, CHUNK))
    return of_points(data, chunks) if BENCHES[data].plane else of_digits(data, chunks)


def of_points(data: str, chunks: Iterable[Tensor]) -> dict[str, float]:
    source: Any = source_of(data)
    x = torch.cat([chunk.double() for chunk in chunks]).numpy()
    names = {"modes": "modes-covered", "high_quality": "high-quality", "reverse_kl": "reverse-kl"}
    # Each centre once: the reference of the reverse KL is equal shares, without an error of sampling.
    return {key: METRICS.build(name, source)(x, source.centres) for key, name in names.items()}


def of_digits(data: str, chunks: Iterable[Tensor]) -> dict[str, float]:
    """Digits of larger canvases are judged in their middle 28×28."""
    counts = np.zeros(BENCHES[data].modes, dtype=np.int64)
    for x in chunks:
        if not bool(x.isfinite().all()):
            raise DivergedError("generated samples are not finite; nothing was counted.")
        counts += class_counts(judge().probabilities(x.clamp(-1, 1)).numpy())
    return {"modes": modes_hit(counts), "kl": divergence_of_counts(counts, labels(data))}


@functools.cache
def labels(data: str) -> np.ndarray:
    """How many training images there are of every class, `[1000]`."""
    split = source_of(data).split("train")
    parts = (split.take(part)["y"] for part in torch.arange(len(split)).split(1000))
    return torch.cat(list(parts)).bincount(minlength=BENCHES[data].modes).numpy()


# ------------------------------------------------------------------------------------------------------------- running

Command = Callable[[Cell, Path, Path], list[str]]
"""The words that start the process of one cell: the cell, the folder of the cells, a place for its files."""


def one(cell: Cell, folder: Path, place: Path) -> list[str]:
    words = ["--one", cell.model_dump_json(), "--cells", str(folder), "--place", str(place)]
    return [sys.executable, str(Path(__file__).resolve()), *words]


def run(
    cells: Sequence[Cell],
    folder: Path,
    jobs: int = 1,
    command: Command = one,
    tell: Callable[[str], object] = lambda line: None,
) -> int:
    """Measure the cells, each in a process of its own, `jobs` at once; returns how many failed. However this ends, no
    process is left, and of their files only the finished cells."""
    waiting, done, failed = list(cells), 0, 0
    running: dict[Cell, subprocess.Popen[bytes]] = {}
    # One thread each where several run: two that spin at one barrier wait for each other.
    env = {**os.environ, **({"OMP_NUM_THREADS": "1"} if jobs > 1 else {})}
    with tempfile.TemporaryDirectory(prefix="gannet-modes-") as scratch:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    cell = waiting.pop(0)
                    running[cell] = _started(command, cell, folder, Path(scratch) / cell.name, env)
                time.sleep(0.1)
                for cell in [cell for cell, process in running.items() if process.poll() is not None]:
                    code, place = running.pop(cell).returncode, Path(scratch) / cell.name
                    line, bad = _ending(cell, folder, code, place)
                    done, failed = done + 1, failed + bad
                    tell(f"{done}/{len(cells)} {cell}: {line}")
                    shutil.rmtree(place)
        finally:
            _stop(list(running.values()))
    return failed


def _started(command: Command, cell: Cell, folder: Path, place: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    place.mkdir()
    with open(place / "said.txt", "wb") as said:
        # In a session of its own: an interrupt at the keyboard comes to this process, which stops the others.
        return subprocess.Popen(
            command(cell, folder, place), stdout=said, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )


def _ending(cell: Cell, folder: Path, code: int, place: Path) -> tuple[str, bool]:
    """What became of a cell, and whether it failed."""
    if code != 0:
        lines = (place / "said.txt").read_text(errors="replace").split("\n")
        return f"exit {code}: {next((line for line in reversed(lines) if line.strip()), 'it said nothing')}", True
    record = read(folder / f"{cell.name}.json")
    if record.result is None:
        return f"{record.outcome}: {record.words}", record.outcome == "failed"
    return ", ".join(f"{name} {value:.4g}" for name, value in record.result.scores.items()), False


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    until = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# ----------------------------------------------------------------------------------------------------------- the page


@dataclasses.dataclass(frozen=True)
class Table:
    """One distribution at one budget: its head, and rows of as many words."""

    title: str
    said: str
    rows: list[list[str]]


def tables(cells: Iterable[Cell], folder: Path) -> list[Table]:
    """A table for each distribution and budget of the cells, in the order of `BENCHES`."""
    groups: dict[tuple[str, str], dict[str, list[Cell]]] = {}
    for cell in cells:
        groups.setdefault((cell.data, cell.budget), {}).setdefault(cell.method, []).append(cell)
    records, order = known(folder), list(BENCHES)
    return [
        _table(*group, groups[group], records)
        for group in sorted(groups, key=lambda group: (order.index(group[0]), group[1]))
    ]


def _table(data: str, budget: str, methods: dict[str, list[Cell]], records: Mapping[str, Record]) -> Table:
    bench = BENCHES[data]
    head = ["method"]
    for score in bench.scores:
        head += [score.head.format(modes=bench.modes), "published"]
    rows, floors, machines = [[*head, "weights", "training samples", "seeds"]], [], []
    for method in bench.methods:
        if method not in methods:
            continue
        states = {cell: state(cell, records) for cell in methods[method]}
        finished = [records[cell.name] for cell, now in states.items() if now == "finished"]
        results = [record.result for record in finished if record.result]
        floors += [result.floor for result in results]
        machines += [record.machine for record in finished]
        published = bench.published.get(method, ())
        row = [method]
        for place, score in enumerate(bench.scores):
            row.append(_figure(score, [result.scores[score.key] for result in results]))
            row.append(published[place] if published else "")
        row.append(", ".join(sorted({result.weights for result in results})))
        row.append(", ".join(f"{n:,}" for n in sorted({result.samples for result in results})))
        rows.append([*row, _seeds(states, records)])
    if floors:
        row = ["real samples"]
        for score in bench.scores:
            row += [_figure(score, [floors[0][score.key]]), ""]
        rows.append([*row, "", "", ""])
    on = [f"On {name}." for name in sorted(set(machines))]
    said = " ".join([f"Protocol: {protocol(data)}.", *on])
    return Table(f"{data}, {budget.replace('-', ' ')}", said, rows)


def _figure(score: Score, values: list[float]) -> str:
    """Mean ± standard deviation over seeds, and the worst of them where there are several that differ."""
    if not values:
        return ""
    mean, deviation = mean_and_deviation(values)
    shown = [f"{score.factor * value:.{score.places}f}" for value in (mean, deviation or 0, score.worst(values))]
    return shown[0] if len(set(values)) == 1 else f"{shown[0]} ± {shown[1]} (worst {shown[2]})"


def _seeds(states: Mapping[Cell, State], records: Mapping[str, Record]) -> str:
    """How many seeds the row's numbers are of, and what became of the others."""
    found = list(states.values())
    words = [f"{found.count('finished')} of {len(found)}"] if "finished" in found else []
    for name in ("stale", "not run", "failed", "diverged"):
        if name in found:
            words.append(name if found.count(name) == len(found) else f"{found.count(name)} {name}")
    reasons = [records[cell.name].words.split("\n")[0] for cell, now in states.items() if now == "failed"]
    return "; ".join([*words, *dict.fromkeys(reasons)])


def as_text(table: Table) -> str:
    widths = [max(len(row[i]) for row in table.rows) for i in range(len(table.rows[0]))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in table.rows]
    return "\n".join([table.title, table.said, *(line.rstrip() for line in lines)])


def as_markdown(table: Table) -> str:
    head, *rows = [[re.sub(r"([|`*_<>\\])", r"\\\1", word) for word in row] for row in table.rows]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([f"### {table.title}", "", table.said, "", *(f"| {' | '.join(line)} |" for line in lines)])


def write_page(cells: Iterable[Cell], folder: Path, out: Path) -> None:
    """Put the tables of these and of all measured cells, and the picture where there are points to draw, between the
    markers of the page `out`. Raises `UsageError` for a page without them."""
    text = out.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(f"{out} lacks the lines {BEGIN!r} and {END!r}, once each and in this order.")
    cells = list(cells)
    found = [record.cell for record in known(folder).values()]
    parts = [as_markdown(table) for table in tables(dict.fromkeys([*cells, *found]), folder)]
    picture = scatter(cells, folder)
    if picture is not None:
        write(out.parent / PICTURE, picture)
        parts.append(
            f"![Points of seed 0 of every method, beside real ones]({PICTURE})\n\n*{DRAWN:,} points of seed 0.*"
        )
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    write_text_atomic(out, "\n\n".join([before + BEGIN, *parts, after]))


def scatter(cells: Iterable[Cell], folder: Path) -> bytes | None:
    """A PNG with a row for each distribution of points and a column for each method, of seed 0, after reals; `None`
    where nothing is measured."""
    # Imported late: only a page needs it.
    from matplotlib.figure import Figure

    records = known(folder)
    shown: dict[str, dict[str, Result]] = {}
    for cell in cells:
        if BENCHES[cell.data].plane and cell.seed == 0 and state(cell, records) == "finished":
            result = records[cell.name].result
            if result is not None:
                shown.setdefault(cell.data, {})[cell.method] = result
    if not shown:
        return None
    columns = 1 + max(len(found) for found in shown.values())
    figure = Figure(figsize=(2 * columns, 2.2 * len(shown)), dpi=110, layout="constrained")
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for line, (data, found) in zip(axes, shown.items(), strict=True):
        panels = {"real samples": reals(data)(DRAWN, 0).numpy()}
        panels |= {method: np.array(result.points) for method, result in found.items()}
        for axis in line:
            axis.axis("off")
        for axis, (name, points) in zip(line, panels.items(), strict=False):
            low, high = SHAPES[data].view
            axis.scatter(
                points[:, 0], points[:, 1], s=2, linewidths=0, color="#333333" if axis is line[0] else "#0072B2"
            )
            axis.set(xlim=(low, high), ylim=(low, high), xticks=[], yticks=[], aspect="equal")
            axis.set_title(f"{data}: {name}" if axis is line[0] else name, fontsize=8)
            axis.axis("on")
    return figure_png(figure)


# -------------------------------------------------------------------------------------------------------------- words


def words(argv: Sequence[str] | None) -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return [word for word in text.split(",") if word]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=names, default=[], help=f"of {', '.join(BENCHES)}; all unless given")
    parser.add_argument("--methods", type=names, default=[], help="all of each distribution unless given")
    parser.add_argument("--seeds", type=int, help="how many; 10 on points and 3 on images unless given")
    parser.add_argument("--steps", type=int, default=20_000, help="on points")
    parser.add_argument("--minutes", type=float, default=30, help="on images")
    parser.add_argument("--papers", action="store_true", help="as many steps as the papers, everywhere")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once; with two or more on one thread each")
    parser.add_argument("--cells", type=Path, default=CELLS, help="the folder of the measured cells")
    parser.add_argument("--page", action="store_true", help="train nothing, write docs/collapse.md and its picture")
    parser.add_argument("--out", type=Path, default=PAGE, help="another page")
    for hidden in ("--one", "--place"):  # the process of one cell
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    given = words(argv)
    if given.one:
        cell = Cell.model_validate_json(given.one)
        record = measure(cell, Path(given.place))
        write_text_atomic(given.cells / f"{cell.name}.json", bench_cell.text(record))
        return 0
    cells = plan(given.data, given.methods, given.seeds, given.steps, given.minutes, given.papers)
    if given.page:
        write_page(cells, given.cells, given.out)
        return 0
    left = due(cells, given.cells)
    print(f"{len(left)} of {len(cells)} cells are to be measured", flush=True)
    failed = run(left, given.cells, max(1, given.jobs), tell=functools.partial(print, flush=True))
    print("", *(as_text(table) for table in tables(cells, given.cells)), sep="\n\n")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of what stops the trainings
    try:
        sys.exit(main())
    except GannetError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the cells that are left", file=sys.stderr)
        sys.exit(130)

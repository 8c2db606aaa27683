"""The auto-pilot on many kinds of data, beside fixed presets and beside itself with one controller switched off.

A cell is one training: data × method × seed, for the same minutes in a process of its own, as JSON. Cells that are
measured are not measured again, stale and failed ones are; the tables are made of what there is. A run is healthy if

- no collapse alarm stands at its end;
- its samples are not nearer to the training rows than new ones would be. With near(X) the median distance of X to its
  nearest training rows over that to its nearest held-out rows, in the features the data are measured in,
  near(samples) / near(other held-out rows) is at least 0.8 (the metric `nearest-ratio`, held against what it gives for
  reals, so that more training rows than held-out ones can be shown);
- its last checkpoint is within 10 %, or one standard deviation over sampling seeds, of its best one on test rows.

    python benchmarks/autopilot.py [--data digits,mnist-200,…] [--methods auto,quick,dcgan] [--seeds 0,1,2]
                                   [--minutes 2] [--without CONTROLLER,… | --without all] [--budget MINUTES]
                                   [--cells DIR] [--page docs/autopilot.md]

`--without` measures the auto-pilot with each of these switched off instead of the methods: what it steers stays where
it starts. `--budget` starts no cell that could not end within it. `--page` writes the tables between the two marks of
that page and measures nothing.
"""

from __future__ import annotations

import argparse
import collections
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, FiniteFloat
from torch import Tensor

from gannet import api, bench_cell, training
from gannet.bench_cell import Measured, Name, mean_and_deviation
from gannet.core import random
from gannet.core.errors import DataError, DivergedError, GannetError, UsageError, unknown
from gannet.core.experiment import Section
from gannet.core.overrides import Resolved, resolve
from gannet.core.registry import CONTROLLERS, SOURCES
from gannet.core.types import Source, Split
from gannet.engine.run import Run, write_text_atomic
from gannet.fakes import of_run
from gannet.metrics.defaults import default_metrics
from gannet.metrics.evaluator import CHUNK, SAMPLES, Evaluator
from gannet.metrics.neighbours import nearest

ROOT = Path(__file__).parent.parent
CELLS = ROOT / "benchmarks" / "autopilot"
BEGIN, END = "<!-- results: made by benchmarks/autopilot.py --page -->", "<!-- end of results -->"

DATA = {
    "digits": "digits",
    "mnist": "mnist",
    "mnist-threes": "mnist(labels=[3])",
    "mnist-200": "mnist(limit=200)",
    "cifar-grey": "cifar10-jpg(grey=true)",
    "cifar-colour": "cifar10-jpg",
    "points": "points(name=ring-8)",
    "shapes": "shapes",
    "spoken-digits": "spoken-digits",
}
PLANE = {"generator": "mlp(width=128, layers=3, latent=2)", "discriminator": "mlp(width=128, layers=3)"}
METHODS: dict[str, tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]]]] = {
    "auto": (("auto", {}), ("auto", {})),
    "quick": (("quick", {}), ("points", {})),
    "dcgan": (("dcgan", {}), ("gan", PLANE)),
}
"""Preset and overrides of a method: on images, and on points, where convolutions have nothing to do."""
STEERED = "auto"
FIXED = ("quick", "dcgan")
SEEDS = 3
"""Sampling seeds behind a score."""
NEAR, LEAST_NEAR = 5000, 0.8
"""Training rows among which the nearest is sought; how near, beside reals, samples may be to them."""
WITHIN = 0.1
SPARE = 300
"""Seconds a training may take beyond 1.5 times its minutes, scores included, before it is killed."""


# ------------------------------------------------------------------------------------------------------------ cells


class Cell(Section):
    """One training: a method on some data for so many minutes, from one seed; `without` names a controller of the
    auto-pilot that is switched off."""

    data: Name
    method: Name
    minutes: float = Field(gt=0)
    seed: int = Field(ge=0, lt=2**63)
    without: str = Field("", pattern=r"^[a-z-]*$")

    @property
    def label(self) -> str:
        return f"{self.method}-without-{self.without}" if self.without else self.method

    @property
    def name(self) -> str:
        return f"{self.data}-{self.label}-{self.minutes:g}min-seed{self.seed}"


class Key(Section):
    """What a cell's numbers depend on beside its name; `experiment` is the hash of what is asked for, before any
    plan; `controllers` has the options of those that are asked for, which are nowhere else when they are defaults."""

    experiment: str
    controllers: dict[str, dict[str, str | float | None]]
    protocol: str
    gannet: str


class Move(Section):
    """A decision of a controller, at so many samples."""

    samples: int
    controller: str
    actuator: str
    factor: FiniteFloat
    text: str


class Result(Section):
    """What a training that came to its end left. `last` and `best` are means over sampling seeds against test rows,
    `sd` the standard deviation of `best` over them, `floor` what as many reals are given where there are as many;
    `near` is that of the module's docstring; `standing` names the alarms that stood at the end."""

    better: Literal["lower", "higher"]
    last: FiniteFloat
    best: FiniteFloat
    sd: FiniteFloat
    floor: FiniteFloat | None
    near: FiniteFloat
    standing: list[str]
    samples: int
    plan: list[str]
    moves: list[Move]

    @property
    def ails(self) -> list[str]:
        """What is wrong with the run: nothing of a healthy one."""
        worse = (self.last - self.best) * (1 if self.better == "lower" else -1)
        wrong = {
            "collapsed": "collapse" in self.standing,
            "learnt by heart": self.near < LEAST_NEAR,
            "past its best": worse > max(WITHIN * abs(self.best), self.sd),
        }
        return [name for name, is_so in wrong.items() if is_so]


class Record(Measured):
    """A cell that was measured; one whose controller is in no plan for these data is `absent`, and in no table."""

    cell: Cell
    key: Key
    result: Result | None

    @property
    def ails(self) -> list[str]:
        return self.result.ails if self.result else [self.outcome]


def read_all(folder: Path) -> list[Record]:
    """Every record of a folder. Raises `DataError`, naming the file, for what is none."""
    return list(bench_cell.read_all(folder, Record).values())


def plan(
    data: Sequence[str], methods: Sequence[str], seeds: Sequence[int], minutes: float, without: Sequence[str]
) -> list[Cell]:
    """The cells, every kind of data once before any other seed. Raises `UsageError` for names that there are not."""
    for kind, given, allowed in (
        ("kind of data", data, DATA),
        ("method", methods, METHODS),
        ("controller", without, CONTROLLERS.names()),
    ):
        for name in given:
            if name not in allowed:
                raise UsageError(unknown(kind, name, allowed))
    ways = [(STEERED, name) for name in without] or [(method, "") for method in methods]
    return [
        Cell(data=d, method=method, minutes=minutes, seed=seed, without=off)
        for seed in seeds
        for d in data
        for method, off in ways
    ]


def asked(cell: Cell) -> tuple[str, dict[str, Any]]:
    """Preset and overrides of a training, but for a controller that is switched off."""
    preset, changed = METHODS[cell.method][cell.data == "points"]
    return preset, {**changed, "data": DATA[cell.data], "seed": cell.seed, "stop.minutes": cell.minutes}


def key(cell: Cell) -> Key:
    """What the cell's numbers would depend on now."""
    preset, words = asked(cell)
    experiment = resolve(preset, {**words, "seed": 0}).experiment
    judge = _judge(SOURCES.build(experiment.data, where="data"))
    return Key(
        experiment=experiment.hash(),
        controllers={name: CONTROLLERS.resolve(spec) for name, spec in experiment.controllers.items()},
        protocol=judge.protocol[judge.primary],
        gannet=version("gannet"),
    )


def due(cells: Iterable[Cell], records: Iterable[Record]) -> list[Cell]:
    """Those that are not measured, or failed, or would be measured otherwise now."""
    known = {record.cell.name: record for record in records}
    return [
        cell
        for cell in cells
        if cell.name not in known or known[cell.name].outcome == "failed" or known[cell.name].key != key(cell)
    ]


# --------------------------------------------------------------------------------------------------------- one cell


class Absent(UsageError):
    """The plan has no such controller."""


def measure(cell: Cell, place: Path) -> Record:
    """Train the cell below `place` and judge it."""
    facts: dict[str, Any] = {"cell": cell, "key": key(cell), "outcome": "finished", "words": "", "result": None}
    try:
        facts["result"] = judged(train(cell, place))
    except Absent as error:
        facts |= {"outcome": "absent", "words": str(error)}
    except DivergedError as error:
        facts |= {"outcome": "diverged", "words": str(error)}
    except GannetError as error:
        facts |= {"outcome": "failed", "words": str(error)}
    return Record.model_validate(facts)


def train(cell: Cell, place: Path) -> Run:
    preset, words = asked(cell)
    if not cell.without:
        return api.train(preset, words, place)[0]
    planned, source, chosen = training.planned(resolve(preset, words))
    rest = words["stop.minutes"] - chosen.seconds / 60
    return training.start(switched_off(planned, cell.without, rest), place, {}, None, source, None)[0]


def switched_off(planned: Resolved, name: str, minutes: float) -> Resolved:
    """The planned experiment, for `minutes`, with one controller that never moves: what it steers stays where it
    starts, which is not always 1. Raises `Absent` where the plan has no such controller."""
    experiment = planned.experiment
    controllers = dict(experiment.controllers)
    if name not in controllers:
        raise Absent(f"the plan for {experiment.data} has no {name}: there is nothing to switch off.")
    start = CONTROLLERS.build(controllers[name]).start
    if start == 1:
        del controllers[name]
    else:
        # Its least and its most are where it starts.
        controllers[name] = controllers[name].with_arg("largest", start).with_arg("slack", 1.0)
    stop = experiment.stop.model_copy(update={"minutes": minutes})
    return Resolved(experiment.model_copy(update={"controllers": controllers, "stop": stop}), planned.origins)


def judged(run: Run) -> Result:
    source = SOURCES.build(resolve(str(run.experiment)).experiment.data, where="data")
    judge, log = _judge(source), run.read_log()
    models = api.load(run.path), api.load(run.path, "best")
    last, best = (of_run(name, model, judge.labels) for name, model in zip(("last", "best"), models, strict=True))
    scores = [[judge.score(one.generate(seed))[judge.primary] for seed in range(SEEDS)] for one in (last, best)]
    try:
        floor = judge.floor()[judge.primary]
    except DataError:  # fewer reals than samples
        floor = None
    steps = [line for line in log if line["kind"] == "step"]
    fields = ("samples", "controller", "actuator", "factor", "text")
    return Result(
        better=judge.better,
        last=statistics.fmean(scores[0]),
        best=statistics.fmean(scores[1]),
        sd=statistics.stdev(scores[1]),
        floor=floor,
        near=nearness(judge, judge.samples(last.generate(0))),
        standing=steps[-1]["alarms"] if steps else [],
        samples=log[-1]["samples"],
        plan=[line["text"] for line in log if line["kind"] == "plan"],
        moves=[Move(**{f: line[f] for f in fields}) for line in log if line["kind"] == "decision"],
    )


def _judge(source: Source) -> Evaluator:
    return Evaluator(source, metrics=default_metrics(source)[:1], n=min(SAMPLES, len(source.split("test"))))


def nearness(judge: Evaluator, samples: Tensor) -> float:
    """near(samples) / near(held-out rows): 1 for new samples, 0 where half of them are copies of training rows."""
    held = _rows(judge.source.split("test"), 2 * SAMPLES)
    train, others, reals = (_features(judge, x) for x in (_rows(judge.source.split("train"), NEAR), *held.chunk(2)))
    return near(_features(judge, samples), train, others) / near(reals, train, others)


def near(x: np.ndarray, train: np.ndarray, others: np.ndarray) -> float:
    to_train, to_others = (float(np.median(nearest(x, rows)[0])) for rows in (train, others))
    return to_train / max(to_others, 1e-12)


def _rows(split: Split, most: int) -> Tensor:
    """Rows in a fixed random order, an even number of them, at most `most`."""
    order = torch.randperm(len(split), generator=random.generator(0, "autopilot"))
    return split.take(order[: min(most, len(split)) // 2 * 2])["x"].float()


def _features(judge: Evaluator, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.cat([judge.extractor.features(part) for part in x.split(CHUNK)]).double().numpy()


def in_a_process(cell: Cell) -> Record:
    """`measure` in a process of its own, killed if it hangs."""
    limit = 90 * cell.minutes + SPARE
    with tempfile.TemporaryDirectory(prefix="gannet-autopilot-") as folder:
        out = Path(folder) / "record.json"
        words = [sys.executable, __file__, "--one", cell.model_dump_json(), "--place", folder]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=limit)
            if out.exists():
                return Record.model_validate_json(out.read_bytes())
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        except subprocess.TimeoutExpired:
            said = f"killed after {limit:g} seconds"
    return Record(cell=cell, key=key(cell), outcome="failed", words=said[:500], result=None)


def run(
    cells: Sequence[Cell],
    folder: Path,
    budget: float | None = None,
    measured: Callable[[Cell], Record] = in_a_process,
    tell: Callable[[str], object] = print,
) -> None:
    """Measure the cells one after another, each written when it is there; `budget` in minutes."""
    begun = time.monotonic()
    for number, cell in enumerate(cells, start=1):
        if budget is not None and (time.monotonic() - begun) / 60 + cell.minutes > budget:
            tell(f"{budget:g} minutes are spent; {len(cells) - number + 1} of {len(cells)} cells are left")
            return
        record = measured(cell)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / f"{cell.name}.json", bench_cell.text(record))
        score = f"last {record.result.last:.3g}, best {record.result.best:.3g}" if record.result else record.words
        tell(f"{number}/{len(cells)} {cell.name}: {', '.join(record.ails) or 'healthy'}; {score}")


# ----------------------------------------------------------------------------------------------------------- tables


def tables(records: Sequence[Record]) -> str:
    """All that the records say, as Markdown."""
    minutes = sorted({record.cell.minutes for record in records})
    pieces = []
    for each in minutes:
        some = [record for record in records if record.cell.minutes == each]
        plain = [record for record in some if not record.cell.without]
        steered = [record for record in plain if record.cell.method == STEERED]
        pieces += [f"### {each:g} minutes", health(plain), distances(plain), decisions(steered)]
        pieces.append(ablation(steered, [r for r in some if r.cell.without and r.outcome != "absent"]))
    return "\n\n".join(piece for piece in pieces if piece)


def health(records: Sequence[Record]) -> str:
    rows = []
    for method in METHODS:
        of = [record for record in records if record.cell.method == method]
        if of:
            well = sum(not record.ails for record in of)
            counts = collections.Counter(name for record in of for name in record.ails)
            why = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"
            rows.append([method, f"{well} of {len(of)}", f"{100 * well / len(of):.0f} %", why])
    return table(["method", "healthy", "share", "what ails the others"], rows)


def distances(records: Sequence[Record]) -> str:
    """Last scores of every method on all data, and whether the auto-pilot keeps up with the better fixed preset."""
    methods = [m for m in METHODS if any(record.cell.method == m for record in records)]
    rows = []
    for data in DATA:
        of = {m: [r for r in records if r.cell.data == data and r.cell.method == m] for m in methods}
        results = {m: [r.result for r in found if r.result] for m, found in of.items()}
        if not any(of.values()):
            continue
        floors = {result.floor for found in results.values() for result in found if result.floor is not None}
        cells = [figure([r.last for r in results[m]]) + unwell(of[m]) for m in methods]
        rows.append([data, *cells, figure(list(floors)), keeps_up(results)])
    return table(["data", *methods, "reals", "within 10 % or one sd of the better fixed one"], rows)


def unwell(records: Sequence[Record]) -> str:
    """How many of some runs are healthy, where not all are."""
    well = sum(not record.ails for record in records)
    return f" ({well}/{len(records)} healthy)" if well < len(records) else ""


def keeps_up(results: dict[str, list[Result]]) -> str:
    mine = results.get(STEERED)
    fixed = [results[m] for m in FIXED if results.get(m)]
    if not mine or not fixed:
        return ""
    sign = 1 if mine[0].better == "lower" else -1
    means = [mean_and_deviation([sign * result.last for result in found]) for found in fixed]
    mean, deviation = min(means, key=lambda pair: pair[0])
    met = mean_and_deviation([sign * result.last for result in mine])[0] <= mean + max(
        WITHIN * abs(mean), deviation or 0.0
    )
    return "MET" if met else "MISSED"


def decisions(records: Sequence[Record]) -> str:
    """How often each controller moved, and where its factor ended."""
    runs = [record.result for record in records if record.result]
    rows = []
    for name in sorted({move.controller for result in runs for move in result.moves}):
        moved = [[m for m in result.moves if m.controller == name] for result in runs]
        data = {r.cell.data for r in records if r.result and any(m.controller == name for m in r.result.moves)}
        ends = [moves[-1].factor for moves in moved if moves]
        rows.append(
            [
                name,
                f"{sum(map(bool, moved))} of {len(runs)}",
                f"{statistics.fmean(len(moves) for moves in moved):.1f}",
                f"{min(ends):.3g} … {max(ends):.3g}",
                ", ".join(d for d in DATA if d in data),
            ]
        )
    return table(["controller", "runs it moved in", "moves a run", "last factor", "data"], rows)


def ablation(steered: Sequence[Record], without: Sequence[Record]) -> str:
    """The auto-pilot against itself without one controller, on the data and seeds that both were measured on."""
    rows = []
    for name in sorted({record.cell.without for record in without}):
        for data in DATA:
            off = {r.cell.seed: r for r in without if r.cell.without == name and r.cell.data == data}
            on = {r.cell.seed: r for r in steered if r.cell.data == data and r.cell.seed in off}
            if on:
                pair = [on, {seed: off[seed] for seed in on}]
                lasts = [figure([r.result.last for r in side.values() if r.result]) for side in pair]
                well = [f"{sum(not r.ails for r in side.values())} of {len(side)}" for side in pair]
                rows.append([name, data, lasts[0], lasts[1], well[0], well[1]])
    return table(["switched off", "data", "last with it", "without", "healthy with it", "without"], rows)


def figure(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds, to three figures of the mean."""
    if not values:
        return "–"
    mean, deviation = mean_and_deviation(list(values))
    places = max(0, 2 - math.floor(math.log10(abs(mean)))) if mean else 2
    return f"{mean:.{places}f}" + (f" ± {deviation:.{places}f}" if deviation else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def write_page(page: Path, records: Sequence[Record]) -> None:
    """Put the tables between the marks of `page`. Raises `UsageError` where it has none."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{page} has no place for the tables. Put two lines where they belong: {BEGIN} and {END}")
    write_text_atomic(page, f"{head}{BEGIN}\n\n{tables(records)}\n\n{END}{tail}")


# ------------------------------------------------------------------------------------------------------------ words


def names(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", "--only", type=names, default=list(DATA), help=", ".join(DATA))
    parser.add_argument("--methods", type=names, default=list(METHODS), help=", ".join(METHODS))
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in names(text)], default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=2, help="of each training")
    parser.add_argument("--without", type=names, default=[], help="controllers to switch off, or all of them in turn")
    parser.add_argument("--budget", type=float, help="minutes after which no cell is started")
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--page", type=Path, help="write the tables here and measure nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        cell = Cell.model_validate_json(args.one)
        write_text_atomic(args.place / "record.json", measure(cell, args.place / "run").model_dump_json())
        return
    if args.page:
        write_page(args.page, read_all(args.cells))
        return
    without = list(CONTROLLERS.names()) if args.without == ["all"] else args.without
    left = due(plan(args.data, args.methods, args.seeds, args.minutes, without), read_all(args.cells))
    print(f"{len(left)} cells are to be measured, {args.minutes * len(left):g} minutes of training", flush=True)
    run(left, args.cells, args.budget)
    print(tables(read_all(args.cells)))


if __name__ == "__main__":
    try:
        main()
    except GannetError as error:
        sys.exit(f"error: {error}")

"""The auto-pilot on many kinds of data, beside fixed presets and beside itself with one controller switched off.

A cell is one training: data × method × seed, for the same minutes in a process of its own, as JSON. Cells that are
measured are not measured again, stale and failed ones are; the tables, in `autopilot_page.py`, are made of what there
is. What a cell holds, and when a run is healthy, is in `autopilot_cells.py`.

    python benchmarks/autopilot.py [--data digits,mnist-200,…] [--methods auto,quick,dcgan] [--seeds 0,1,2]
                                   [--minutes 2 | --samples N] [--budget MINUTES]
                                   [--cells DIR] [--page docs/autopilot.md]
    python benchmarks/autopilot.py --without CONTROLLER,… | all --samples N [--data …] [--seeds …]

`--without` measures the auto-pilot, and the auto-pilot with each of these switched off, instead of the methods: what it
steers stays where it starts. Such runs are compared at equal samples, for in equal minutes they would differ by the
machine's pace. `--budget` starts no cell that could not end within it. `--page` writes the tables between the two marks
of that page and measures nothing.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autopilot_cells import DATA, JUDGES, METHODS, STEERED, Cell, Key, Move, Record, Result, read_all
from autopilot_page import tables, write_page
from torch import Tensor

from gannet import api, bench_cell, training
from gannet.core import random
from gannet.core.errors import DataError, DivergedError, GannetError, UsageError, unknown
from gannet.core.overrides import Resolved, resolve
from gannet.core.registry import CONTROLLERS, SOURCES
from gannet.core.spec import Spec
from gannet.core.types import Source, Split
from gannet.engine.assembly import structure
from gannet.engine.run import Run, write_text_atomic
from gannet.fakes import of_run
from gannet.metrics.defaults import default_metrics
from gannet.metrics.evaluator import CHUNK, SAMPLES, Evaluator
from gannet.metrics.neighbours import nearest

ROOT = Path(__file__).parent.parent
CELLS = ROOT / "benchmarks" / "autopilot"
DRAWS = 16
"""Draws behind a score, for one is uncertain: 297 digits by a tenth, 2,000 images of CIFAR by up to a fifth."""
NEAR = 5000
"""Training rows among which the nearest is sought."""
PLANNED = 100_000
"""Samples for which a cell's key plans, where the cell itself is of so many minutes."""
SPARE = 300
"""Seconds a training may take beyond 1.5 times its minutes, scores included, before it is killed."""
LONGEST = 3600
"""Seconds that one of so many samples may take."""


# ---------------------------------------------------------------------------------------------------------- the plan


def plan(
    data: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    minutes: float,
    samples: int | None = None,
    without: Sequence[str] = (),
) -> list[Cell]:
    """The cells, every kind of data once before any other seed. Raises `UsageError` for names that there are not, and
    for a controller that is to be switched off without a number of samples."""
    for kind, given, allowed in (
        ("kind of data", data, DATA),
        ("method", methods, METHODS),
        ("controller", without, CONTROLLERS.names()),
    ):
        for name in given:
            if name not in allowed:
                raise UsageError(unknown(kind, name, allowed))
    for option, length in (("--minutes", minutes), ("--samples", samples)):
        if length is not None and length <= 0:
            raise UsageError(f"{option} {length:g}: a training takes more than nothing.")
    if without and samples is None:
        raise UsageError("--without compares two runs of equal samples. Say how many: --samples 60000.")
    ways = [(STEERED, name) for name in ("", *without)] if without else [(method, "") for method in methods]
    end = {"minutes": minutes} if samples is None else {"samples": samples}
    return [
        Cell(data=d, method=method, seed=seed, without=off, **end)
        for seed in seeds
        for d in data
        for method, off in ways
    ]


def asked(cell: Cell) -> tuple[str, dict[str, Any]]:
    """Preset and overrides of a training, but for a controller that is switched off."""
    preset, changed = METHODS[cell.method][cell.data == "points"]
    end = {"stop.minutes": cell.minutes, "stop.samples": cell.samples}
    judge = {"evaluate.extractor": JUDGES[cell.data]} if cell.data in JUDGES else {}
    return preset, {**changed, "data": DATA[cell.data], "seed": cell.seed, **judge, **end}


def key(cell: Cell) -> Key:
    """What the cell's numbers would depend on now."""
    preset, words = asked(cell)
    words |= {"seed": 0, "stop.minutes": None, "stop.samples": cell.samples or PLANNED}
    asked_for = resolve(preset, words)
    experiment = asked_for.experiment
    judge = _judge(SOURCES.build(experiment.data, where="data"), experiment.evaluate.extractor)
    planned = training.planned(asked_for, measure=False)[0].experiment
    return Key(
        experiment=experiment.hash(),
        networks=structure(planned),
        controllers={name: CONTROLLERS.resolve(spec) for name, spec in experiment.controllers.items()},
        protocol=judge.protocol[judge.primary],
        gannet=version("gannet"),
        plan=planned.hash() if planned != experiment else "",
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
    planned, source, _ = training.planned(resolve(preset, words))
    return training.start(switched_off(planned, cell.without), place, {}, None, source, None)[0]


def switched_off(planned: Resolved, name: str) -> Resolved:
    """The planned experiment with one controller that never moves: what it steers stays where it starts, which is not
    always 1. Raises `Absent` where the plan has no such controller."""
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
    return Resolved(experiment.model_copy(update={"controllers": controllers}), planned.origins)


def judged(run: Run) -> Result:
    experiment, log = resolve(str(run.experiment)).experiment, run.read_log()
    judge = _judge(SOURCES.build(experiment.data, where="data"), experiment.evaluate.extractor)
    models = api.load(run.path), api.load(run.path, "best")
    last, best = (of_run(name, model, judge.labels) for name, model in zip(("last", "best"), models, strict=True))
    scores = [[judge.score(one.generate(seed))[judge.primary] for seed in range(DRAWS)] for one in (last, best)]
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


def _judge(source: Source, extractor: Spec | None) -> Evaluator:
    count = min(SAMPLES, len(source.split("test")))
    return Evaluator(source, extractor=extractor, metrics=default_metrics(source)[:1], n=count)


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
    limit = LONGEST if cell.minutes is None else 90 * cell.minutes + SPARE
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
        if budget is not None and (time.monotonic() - begun) / 60 + (cell.minutes or 0) > budget:
            tell(f"{budget:g} minutes are spent; {len(cells) - number + 1} of {len(cells)} cells are left")
            return
        record = measured(cell)
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / f"{cell.name}.json", bench_cell.text(record))
        score = f"last {record.result.last:.3g}, best {record.result.best:.3g}" if record.result else record.words
        tell(f"{number}/{len(cells)} {cell.name}: {', '.join(record.ails) or 'healthy'}; {score}")


# ------------------------------------------------------------------------------------------------------------ words


def names(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", "--only", type=names, default=list(DATA), help=", ".join(DATA))
    parser.add_argument("--methods", type=names, default=list(METHODS), help=", ".join(METHODS))
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in names(text)], default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=2, help="of each training")
    parser.add_argument("--samples", type=int, help="of each training, instead of minutes")
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
    left = due(plan(args.data, args.methods, args.seeds, args.minutes, args.samples, without), read_all(args.cells))
    print(f"{len(left)} cells are to be measured", flush=True)
    run(left, args.cells, args.budget)
    print(tables(read_all(args.cells)))


if __name__ == "__main__":
    try:
        main()
    except GannetError as error:
        sys.exit(f"error: {error}")

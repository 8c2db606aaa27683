"""The results page: every preset of images, trained for the same seconds from several seeds, and judged alike."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gannet.bench_cell import Cell, Key, Record, Result, Scores, read_all, text
from gannet.bench_page import Entry, State, render
from gannet.core.errors import DataError, DivergedError, GannetError, UsageError, unknown
from gannet.core.experiment import Experiment
from gannet.core.overrides import resolve
from gannet.core.presets import preset_names
from gannet.core.random import Draw, installed
from gannet.core.registry import SOURCES, TASKS
from gannet.engine.assembly import structure
from gannet.engine.pictures import write
from gannet.engine.run import Run, write_text_atomic
from gannet.metrics.evaluator import Evaluator
from gannet.model import Model, load
from gannet.training import planned

DATA, SECONDS, SEEDS = ("digits", "mnist"), (60, 180), (0, 1, 2)
OUT = "docs/results.md"
METRICS = ("frechet", "precision", "recall")
SAMPLES = 5000
"""Samples a side behind a number, where the test split has as many rows."""
LIMIT = 600
"""Seconds after which a training is killed, however long it was to take."""
LONGEST = 480
"""Most seconds a training may be asked for: scores and pictures come on top, within `LIMIT`."""
ACROSS, PIXELS, PICTURE_BYTES = 8, 28, 60_000

Measure = Callable[[Cell, Key], tuple[Record, bytes | None]]
"""Trains and judges one cell: its record, and the picture of its samples as PNG where there is one."""


def results(
    presets: Sequence[str] = (),
    data: Sequence[str] = DATA,
    seconds: Sequence[int] = SECONDS,
    seeds: Sequence[int] = SEEDS,
    out: str | Path = OUT,
    minutes: float | None = None,
    measure: Measure | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> Path:
    """Measure the chosen cells that are not measured yet, or stale, or failed, and write the page `out`.

    Cells lie in `out`'s folder of the same stem: `cells/NAME.json` and `grids/NAME.png`. One is measured at a time,
    and no other process may measure into the same folder. `minutes` is a budget: no training starts that could not
    end within it. Every cell is written, and the page with it, as soon as it is there, so an interruption costs one.

    Without `presets`, all of images. Raises `UsageError` for names and numbers that are not allowed, or a folder in
    use; `DataError` for a damaged cell or data that is not at hand.
    """
    cells, home, begun = plan(presets, data, seconds, seeds), _home(out), time.monotonic()
    with _alone(home / "cells"):
        due = [e.cell for e in entries(cells, out) if e.state in ("not run", "stale", "failed")]
        for number, cell in enumerate(due, start=1):
            if minutes is not None and time.monotonic() - begun + cell.seconds > 60 * minutes:
                tell(f"{minutes:g} minutes are spent; {len(due) - number + 1} of {len(due)} cells are left")
                break
            record, picture = (measure or train_and_judge)(cell, key(cell))
            if picture is not None:
                write(home / "grids" / f"{cell.name}.png", picture)
            write_text_atomic(home / "cells" / f"{cell.name}.json", text(record))
            page(out)
            tell(f"{number}/{len(due)} {cell}: {_said(record)}")
        return page(out)


def page(out: str | Path = OUT) -> Path:
    """Write the page of the cells that are there; what the whole plan lacks is said to be not run."""
    out, home = Path(out), _home(out)
    found = [record.cell for record in read_all(home / "cells", Record).values()]
    words = ["gannet", "bench", "results", *(() if str(out) == OUT else ("--out", str(out)))]
    every = dict.fromkeys([*plan(), *found])
    write_text_atomic(out, render(entries(every, out), f"{home.name}/grids", shlex.join(words)))
    return out


def plan(
    presets: Sequence[str] = (),
    data: Sequence[str] = DATA,
    seconds: Sequence[int] = SECONDS,
    seeds: Sequence[int] = SEEDS,
) -> list[Cell]:
    """The cells, the most useful first: every preset once before any other seed, every seed before longer ones."""
    known = image_presets()
    for kind, given, allowed in (("preset of images", presets, known), ("data source", data, SOURCES.names())):
        for name in given:
            if name not in allowed:
                raise UsageError(unknown(kind, name, allowed))
    for name, numbers, least, most in (("seconds", seconds, 1, LONGEST), ("seeds", seeds, 0, 2**63 - 1)):
        for number in numbers:
            if not least <= number <= most:
                raise UsageError(f"{name}={number} is out of range. Allowed: {least} to {most}.")
    return [
        Cell(data=d, preset=p, seconds=s, seed=k)
        for s in dict.fromkeys(seconds)
        for k in dict.fromkeys(seeds)
        for d in dict.fromkeys(data)
        for p in dict.fromkeys(presets or known)
    ]


def image_presets() -> list[str]:
    """Presets that make images of any source, with no data of their own."""
    found = [(name, resolve(name).experiment) for name in preset_names()]
    return [n for n, e in found if TASKS.get(e.task.name).fields == ("x",) and e.data == Experiment().data]


def entries(cells: Iterable[Cell], out: str | Path = OUT) -> list[Entry]:
    """The cells in their order, each with what is known of it."""
    home = _home(out)
    records = read_all(home / "cells", Record)
    return [Entry(cell, _state(records.get(cell.name), home), records.get(cell.name)) for cell in cells]


def _state(record: Record | None, home: Path) -> State:
    if record is None:
        return "not run"
    try:
        now = key(record.cell)
    except UsageError as error:
        raise DataError(f"{home / 'cells' / record.cell.name}.json: {error} Remove the file.") from None
    return record.outcome if record.key == now else "stale"


def key(cell: Cell) -> Key:
    """What the cell's numbers would depend on now."""
    judge = _judge(cell.data)
    experiment, networks = _hashes(cell.preset, cell.data)
    return Key(
        experiment=experiment,
        networks=networks,
        data=_fingerprint(cell.data),
        gannet=version("gannet"),
        protocol=judge.protocol,
    )


@cache
def _judge(data: str) -> Evaluator:
    source = SOURCES.build(data, where="data")
    if source.spec.kind != "image" or source.spec.shape[0] not in (1, 3):
        raise UsageError(f"data={data}: the page shows grey or colour images, and this source has none.")
    return Evaluator(source, split="test", metrics=METRICS, n=min(SAMPLES, len(source.split("test"))), report=True)


@cache
def _hashes(preset: str, data: str) -> tuple[str, str]:
    """Of the experiment, as far as it is known before the machine is asked, and of its networks."""
    source = _judge(data).source
    experiment = planned(resolve(preset, {"data": data}), source, measure=False)[0].experiment
    return experiment.hash(), structure(experiment, source)


@cache
def _fingerprint(data: str) -> str:
    return _judge(data).source.fingerprint()


@cache
def _floor(data: str) -> Scores:
    return _scores(_judge(data).floor())


def _scores(found: dict[str, float]) -> Scores:
    return Scores(**dict(zip(("distance", "precision", "recall"), found.values(), strict=True)))


# ----------------------------------------------------------------------------------------------------------- one cell


def train_and_judge(cell: Cell, now: Key) -> tuple[Record, bytes | None]:
    """Train the cell in a process of its own, score its last and best checkpoints on test rows, draw its samples."""
    with tempfile.TemporaryDirectory(prefix="gannet-bench-") as folder:
        path, begun = Path(folder) / "run", time.monotonic()
        code, words = _train(cell, path)
        wall = round(time.monotonic() - begun, 1)
        result = picture = None
        if code == 0:
            try:
                result, picture = _judged(cell, path)
            except GannetError as error:
                code, words = error.exit_code, str(error)
        outcome = {0: "finished", DivergedError.exit_code: "diverged"}.get(code, "failed")
        words = words.replace(folder, "")
    facts = {"cell": cell, "key": now, "machine": _machine(), "outcome": outcome, "exit": code, "words": words}
    return Record.model_validate({**facts, "wall": wall, "result": result}), picture


def _train(cell: Cell, path: Path) -> tuple[int, str]:
    """Exit code of the training, and what it said of its end if that was an error."""
    words = [cell.preset, f"data={cell.data}", f"seed={cell.seed}", f"stop.minutes={cell.seconds / 60}"]
    command = [sys.executable, "-m", "gannet", "train", *words, "--run", str(path)]
    try:
        # Inherited, the lock of the results outlives a kill of this process as long as the training does.
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, close_fds=False)
    except subprocess.TimeoutExpired:
        return 1, f"killed after {LIMIT} seconds"
    if done.returncode == 0:
        return 0, ""
    lines = done.stderr.splitlines() or ["it said nothing"]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return done.returncode, (errors or lines)[-1][:500]


def _judged(cell: Cell, path: Path) -> tuple[Result, bytes]:
    judge, log = _judge(cell.data), Run.open(path).read_log()
    models = [load(path), load(path, "best")]
    last, best = (_scores(judge.score(_generate(model, judge, cell.seed))) for model in models)
    steps = [line for line in log if line["kind"] == "step"]
    if not steps:
        raise DataError(f"the training ended after {log[-1]['samples']:,} samples, before its first line of the log.")
    result = Result(
        metric=judge.primary,
        last=last,
        best=best,
        floor=_floor(cell.data),
        samples=log[-1]["samples"],
        best_at=max(line["samples"] for line in log if line["kind"] == "score" and line["best"]),
        seconds=log[-1]["seconds"],
        images_per_second=round(statistics.median(line["images_per_second"] for line in steps), 1),
        parameters=Run.open(path).facts()["parameters"],
        alarms=[line["text"] for line in log if line["kind"] == "alarm"],
        standing=steps[-1]["alarms"],
    )
    return result, thumbnails(models[0].sample(ACROSS**2, cell.seed))


def _generate(model: Model, judge: Evaluator, seed: int) -> Callable[[int, int], Any]:
    """Samples by their number; where the generator knows classes, of those of the very rows they are compared with."""
    task = model.task
    conditional = any(role.data.classes for role in task.roles.values())
    labels = judge.labels() if conditional else None

    def made(count: int, start: int) -> Any:
        draw = Draw(seed, "bench", 0, range(start, start + count))
        with installed(draw.child("layers")):
            return task.sample(draw, None if labels is None else labels[start : start + count])

    return made


def thumbnails(samples: np.ndarray) -> bytes:
    """Bytes N×H×W×C, grey or RGB, in lines of eight as a PNG of at most 60 kB; small ones are enlarged by a whole
    number, and colours are thinned out where they take too much."""
    n, height, width, channels = samples.shape
    times, gap = max(1, PIXELS // max(height, width)), 2
    tall, wide = height * times + gap, width * times + gap
    sheet = np.full((-(-n // ACROSS) * tall - gap, ACROSS * wide - gap, channels), 245, np.uint8)
    for i, sample in enumerate(samples.repeat(times, axis=1).repeat(times, axis=2)):
        top, left = i // ACROSS * tall, i % ACROSS * wide
        sheet[top : top + tall - gap, left : left + wide - gap] = sample
    image = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    for colours in (None, 64, 16, 4):
        buffer = io.BytesIO()
        (image if colours is None else image.quantize(colours)).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= PICTURE_BYTES:
            break
    return buffer.getvalue()


def _machine() -> str:
    import torch

    with contextlib.suppress(OSError):
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if names:
            return _on(names[0], torch)
    return _on(platform.processor() or platform.machine(), torch)


def _on(processor: str, torch: Any) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    return f"{processor}, {os.cpu_count()} processors, {device}, PyTorch {torch.__version__}"


def _said(record: Record) -> str:
    if record.result is None:
        return f"{record.outcome}, exit {record.exit}: {record.words}"
    result = record.result
    return f"{result.metric} last {result.last.distance:.3g}, best {result.best.distance:.3g} in {record.wall:.0f} s"


# ------------------------------------------------------------------------------------------------------- housekeeping


def _home(out: str | Path) -> Path:
    if Path(out).suffix != ".md":
        raise UsageError(f"--out {out}: the page is Markdown. Write --out {Path(out).with_suffix('.md')}.")
    return Path(out).with_suffix("")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder of cells: two trainings at once would each be measured at half the machine's speed."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(f"{folder} is in use: cells are measured one at a time. Wait for the other process.") from None
    try:
        yield
    finally:
        os.close(descriptor)

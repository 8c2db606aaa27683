"""Mode collapse: how many modes of a known distribution a trained generator reaches, beside the published numbers.

Rings and grids of Gaussians and stacked MNIST by the protocols of VEEGAN (Srivastava et al. 2017), PacGAN (Lin et al.
2018) and unrolled GANs (Metz et al. 2017). A method is a preset and overrides; a cell is one training of it, from one
seed, with the numbers it was given, as JSON. Cells that are measured are not measured again; those of another
experiment, protocol or version are stale and are. Steps are counted on points, so that processes may run side by side;
stacked MNIST is given minutes, or the papers' steps.

    python benchmarks/modes.py [--data ring-8,grid-25,…] [--methods gan,points,…] [--seeds 10] [--steps 20000]
                               [--minutes 30] [--papers] [--jobs 2] [--cells DIR]
    python benchmarks/modes.py --page        # writes docs/collapse.md and its picture from the cells that are there

What is trained is in `modes_methods.py`, what a cell holds in `modes_cells.py`, how samples are judged in
`modes_judging.py`, the tables in `modes_page.py`.
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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch
from modes_cells import DRAWN, Cell, Record, Result, key, known, read, recipe, state
from modes_judging import reals, taken
from modes_methods import BENCHES
from modes_page import as_text, tables, write_page

from gannet import api, bench_cell
from gannet.core.errors import DivergedError, GannetError, UsageError, unknown
from gannet.engine.run import write_text_atomic
from gannet.fakes import of_run
from gannet.metrics.evaluator import Generate

ROOT = Path(__file__).parent.parent
CELLS, PAGE = ROOT / "benchmarks" / "modes", ROOT / "docs" / "collapse.md"
PATIENCE = 15
"""Seconds a training is given to end by itself when it is stopped."""


# --------------------------------------------------------------------------------------------------------- the plan


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

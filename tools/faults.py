"""Break a training run in every way a machine can, and count how often it ends as if nothing had happened.

    python tools/faults.py [--kills 200] [--flips 500]

Prints a table and, at the end, "N passed, M failed"; the exit code says the same. Runs are small, so that what is
measured is the writing: most kills fall into a save or right beside one.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gannet import api
from gannet.core.errors import CheckpointError, GannetError, ResourceError
from gannet.core.overrides import resolve
from gannet.engine import checkpoint, plots
from gannet.engine.run import Run

SMALL = {
    "batch": 8,
    "evaluate.metrics": [],
    "stop.minutes": None,
    "keep.checkpoints": 16,
    "keep.log": 8,
    "generator.width": 4,
    "discriminator.width": 4,
}
GAMES = {
    "quick": {**SMALL, "data.limit": 64, "generator.latent": 4, "stop.samples": 192},
    "wgan-gp": {**SMALL, "data.limit": 64, "generator.latent": 4, "stop.samples": 960, "keep.checkpoints": 80},
    "cycle-mini": {**SMALL, "data.limit": 64, "stop.samples": 96},
}
CLOCK = ("seconds", "images_per_second", "log_position")


@dataclass
class Tally:
    """What was tried, and what went wrong."""

    rows: list[tuple[str, int, int, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def row(self, name: str, trials: list[Callable[[], None]]) -> None:
        """Try everything of one kind; a trial fails by raising."""
        began, failed = time.monotonic(), 0
        for number, trial in enumerate(trials):
            try:
                trial()
            except Exception:
                failed += 1
                self.failures.append(f"{name} #{number}\n{traceback.format_exc()}")
        self.rows.append((name, len(trials) - failed, failed, time.monotonic() - began))
        print(f"{name:<58}{len(trials) - failed:>7} passed{failed:>5} failed{self.rows[-1][3]:>8.1f} s", flush=True)


def train(run: Path, preset: str) -> None:
    """Go on where there is a checkpoint, else begin; a run that ended before its kill is left alone."""
    if (run / "log.jsonl").exists() and any(r["kind"] == "stop" for r in Run(run).read_log()):
        return
    if (run / "checkpoints" / "latest.json").exists():
        api.resume(run)
        return
    shutil.rmtree(run, ignore_errors=True)
    api.train(preset, GAMES[preset], run)


def forked(work: Callable[[], None]) -> int:
    """Process id of a child that does `work` and leaves; 77 if it raised."""
    pid = os.fork()
    if pid == 0:
        code = 77
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def content(run: Path) -> tuple[dict, dict, list]:
    """Everything that must not depend on what happened on the way."""
    opened = Run.open(run)
    found = checkpoint.latest(opened.checkpoints)
    tensors = {f"{group}/{k}": t for group, named in found.tensors.items() for k, t in named.items()}
    lines = [{k: v for k, v in record.items() if k not in CLOCK} for record in opened.read_log()]
    return tensors, {k: v for k, v in found.state.items() if k not in CLOCK}, lines


def assert_same(run: Path, straight: Path) -> None:
    (tensors, state, lines), (expected, expected_state, expected_lines) = content(run), content(straight)
    assert tensors.keys() == expected.keys()
    different = [k for k, t in expected.items() if not torch.equal(t, tensors[k])]
    assert not different, f"tensors differ: {different[:5]}"
    assert state == expected_state
    assert lines == expected_lines
    assert not list((run / "checkpoints").glob(".tmp-*"))


def killed_at_random(folder: Path, preset: str, kills: int, draw: random.Random) -> None:
    """One run killed `kills` times, then finished."""
    run, took = folder / "killed", float((folder / "took").read_text())
    shutil.rmtree(run, ignore_errors=True)
    for _ in range(kills):
        pid = forked(lambda: train(run, preset))
        time.sleep(draw.uniform(0, took))
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) in (-signal.SIGKILL, 0)
        if (run / "checkpoints" / "latest.json").exists():
            checkpoint.latest(run / "checkpoints")  # valid at every moment, without any repair
    assert ended(forked(lambda: train(run, preset))) == 0
    assert_same(run, folder / "straight")


def at_boundary(number: int, act: Callable[[], None]) -> Callable[[str], None]:
    calls = iter(range(10**9))
    return lambda boundary: act() if next(calls) == number else None


def killed_in_a_save(folder: Path, preset: str, number: int) -> None:
    """A kill at one boundary of the saves of a run, then finished."""
    run = folder / "killed"
    shutil.rmtree(run, ignore_errors=True)

    def work() -> None:
        checkpoint.FAULT = at_boundary(number, lambda: os.kill(os.getpid(), signal.SIGKILL))
        train(run, preset)

    assert ended(forked(work)) == -signal.SIGKILL
    assert ended(forked(lambda: train(run, preset))) == 0
    assert_same(run, folder / "straight")


def boundaries(preset: str, folder: Path) -> tuple[int, int]:
    """Number of the first boundary of the third save of a run, and of the first after it."""
    seen: list[int] = []
    whole = checkpoint.commit
    count = iter(range(10**9))

    def commit(*args, **kwargs):
        seen.append(next(count))
        return whole(*args, **kwargs)

    checkpoint.FAULT = lambda boundary: next(count)
    checkpoint.commit = commit
    try:
        api.train(preset, GAMES[preset], folder / "counted")
    finally:
        checkpoint.FAULT, checkpoint.commit = (lambda boundary: None), whole
    # Each entry of `seen` used up one number itself.
    return seen[2] - 2, seen[3] - 3


def damaged(folder: Path, harm: Callable[[Path], None]) -> None:
    """A finished run whose newest checkpoint is harmed: noticed, put aside, and the older one gives the same end."""
    run = folder / "harmed"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(folder / "straight", run)
    newest = checkpoint.latest(run / "checkpoints").path
    harm(newest)
    (run / "log.jsonl").write_text((run / "log.jsonl").read_text().rsplit("\n", 2)[0] + "\n")  # without its stop line
    try:
        checkpoint.read(newest)
    except CheckpointError:
        pass
    else:
        raise AssertionError("harm went unnoticed")
    assert ended(forked(lambda: train(run, "quick"))) == 0
    tensors, *_ = content(run)
    expected, *_ = content(folder / "straight")
    assert all(torch.equal(t, tensors[k]) for k, t in expected.items())


def flip(draw: random.Random) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        file = draw.choice(sorted(path.iterdir()))
        data = bytearray(file.read_bytes())
        bit = draw.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)

    return harm


def cut(draw: random.Random) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        file = draw.choice(sorted(path.iterdir()))
        file.write_bytes(file.read_bytes()[: draw.randrange(file.stat().st_size)])

    return harm


def noticed(folder: Path, harm: Callable[[Path], None]) -> None:
    """As `damaged`, without training on: only that nothing harmed is ever read."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(checkpoint.latest(folder / "straight" / "checkpoints").path, copy)
    harm(copy)
    try:
        checkpoint.read(copy)
    except CheckpointError:
        return
    raise AssertionError("harm went unnoticed")


def full_disk(folder: Path, number: int) -> None:
    """One boundary of the saves finds no room: a warning, and the same end."""
    run = folder / "full"
    shutil.rmtree(run, ignore_errors=True)

    def no_room() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def work() -> None:
        checkpoint.FAULT = at_boundary(number, no_room)
        train(run, "quick")

    assert ended(forked(work)) == 0
    assert_same(run, folder / "straight")


def full_for_good(folder: Path) -> None:
    """No room from the second save on: the right error, the first checkpoint intact, and it goes on later."""
    run = folder / "full"
    shutil.rmtree(run, ignore_errors=True)
    calls = iter(range(10**9))

    def fault(boundary: str) -> None:
        if next(calls) > 40:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    checkpoint.FAULT = fault
    try:
        train(run, "quick")
    except ResourceError:
        pass
    else:
        raise AssertionError("a full disk went unnoticed")
    finally:
        checkpoint.FAULT = lambda boundary: None
    assert ended(forked(lambda: train(run, "quick"))) == 0
    assert_same(run, folder / "straight")


def unwritable(folder: Path) -> None:
    """A place that takes no files is refused in words, and nothing is left there."""
    (folder / "file").write_text("in the way")
    try:
        api.train("quick", GAMES["quick"], folder / "file" / "run")
    except GannetError as error:
        said = str(error)
    else:
        raise AssertionError("trained into nowhere")
    assert "Nothing can be written" in said


def prepare(folder: Path, preset: str) -> Path:
    """The run that nothing happened to, and how long it took."""
    place = folder / preset
    place.mkdir()
    resolve(preset, GAMES[preset])
    api.train(preset, GAMES[preset], place / "warm")
    began = time.monotonic()
    api.train(preset, GAMES[preset], place / "straight")
    (place / "took").write_text(str(time.monotonic() - began))
    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    plots.progress = lambda *args, **kwargs: None
    draw, tally = random.Random(options.seed), Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = {preset: prepare(folder, preset) for preset in GAMES}
        quick = places["quick"]
        each = max(1, options.kills // (5 * len(GAMES)))
        for preset, place in places.items():
            trials = [lambda place=place, preset=preset: killed_at_random(place, preset, 5, draw)] * each
            tally.row(f"{preset}: killed 5 times at random moments, resumed", trials)
        first, after = boundaries("quick", folder)
        trials = [lambda n=n: killed_in_a_save(quick, "quick", n) for n in range(first, after)]
        tally.row("killed at each boundary inside a save, resumed", trials)
        trials = [lambda n=n: full_disk(quick, n) for n in range(first, after)]
        tally.row("no space left at each boundary inside a save", trials)
        tally.row("no space left for good", [lambda: full_for_good(quick)])
        tally.row("one flipped bit", [lambda: noticed(quick, flip(draw))] * options.flips)
        tally.row("one truncated file", [lambda: noticed(quick, cut(draw))] * options.flips)
        tally.row("harmed, put aside, resumed from the one before", [lambda: damaged(quick, flip(draw))] * 5)
        tally.row("a place that takes no files", [lambda: unwritable(folder)])
    for failure in tally.failures[:5]:
        print(failure, file=sys.stderr)
    passed, failed = (sum(row[i] for row in tally.rows) for i in (1, 2))
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

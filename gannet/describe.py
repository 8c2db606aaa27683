"""What Gannet says about an experiment, a run that ended and the machine, as text."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import os
import platform
import re
import resource
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from gannet.core import registry
from gannet.core.experiment import Experiment, Stop
from gannet.core.overrides import PART_KEYS, Resolved
from gannet.core.schedule import Schedule
from gannet.core.spec import Spec, render
from gannet.core.types import Clock
from gannet.data.download import data_home
from gannet.engine.assembly import Game, pick_device
from gannet.engine.run import Run
from gannet.engine.trainer import Outcome, Trainer

SHARES = (0, 25, 50, 75, 100)  # where in a run schedules are read, in percent
Parts = dict[str, tuple[Spec, registry.Registry[Any]]]


# ------------------------------------------------------------------------------------------------- an experiment


def parts(game: Game) -> Parts:
    """Every part that plays, with its registry, by its key in the experiment."""
    experiment = game.experiment
    found: Parts = {"task": (experiment.task, registry.TASKS), "data": (experiment.data, registry.SOURCES)}
    for role in game.task.roles.values():
        found[role.setting] = (getattr(experiment, role.setting), registry.NETWORKS[role.kind])
    if game.discriminators:
        found["objective"] = (experiment.objective, registry.OBJECTIVES)
        found["opponent"] = (experiment.opponent, registry.OPPONENTS)
    for key, kind in (
        ("regularizers", registry.REGULARIZERS),
        ("constraints", registry.CONSTRAINTS),
        ("augment", registry.AUGMENTATIONS),
        ("controllers", registry.CONTROLLERS),
    ):
        found |= {f"{key}.{name}": (spec, kind) for name, spec in getattr(experiment, key).items()}
    for player in game.players:
        found[f"optim.{player}"] = (experiment.optim.get(player, Spec("adam")), registry.OPTIMISERS)
    return found


def values(resolved: Resolved, game: Game) -> list[str]:
    """Every value of the experiment and where it comes from, a line each: `batch  64  [default]`."""
    rows = list(_rows(resolved, game))
    paths, texts = max(len(p) for p, _, _ in rows), max(len(v) for _, v, _ in rows)
    return [f"{path:<{paths}}  {text:<{min(texts, 40)}}  [{origin}]" for path, text, origin in rows]


def _rows(resolved: Resolved, game: Game) -> Iterator[tuple[str, str, str]]:
    playing = parts(game)
    for key in [k for k in type(resolved.experiment).model_fields if k != "preset"]:
        value = getattr(resolved.experiment, key)
        if key in PART_KEYS:
            for path in [p for p in playing if p.partition(".")[0] == key]:
                yield from _part_rows(path, *playing[path], resolved)
        elif isinstance(value, BaseModel):
            for name, inner in value:
                yield f"{key}.{name}", render(inner), resolved.origin(f"{key}.{name}")
        elif isinstance(value, dict):
            for name, inner in value.items():
                settings = dict(inner) if isinstance(inner, BaseModel) else {"": inner}
                for setting, text in settings.items():
                    path = f"{key}.{name}.{setting}".rstrip(".")
                    yield path, render(text), resolved.origin(path)
        else:
            yield "from" if key == "start_from" else key, render(value), resolved.origin(key)


def _part_rows(
    path: str, spec: Spec, kind: registry.Registry[Any], resolved: Resolved
) -> Iterator[tuple[str, str, str]]:
    arguments = kind.resolve(spec, path)
    given = {*list(arguments)[: len(spec.positional)], *spec.args}
    yield path, spec.name, resolved.origin(path)
    for name, value in arguments.items():
        text = str(value) if isinstance(value, Schedule) else render(value)
        yield f"{path}.{name}", text, resolved.origin(f"{path}.{name}") if name in given else "default"


def composition(game: Game) -> list[str]:
    """Data, networks and players of a game, a line each."""
    source, experiment = game.source, game.experiment
    held = ", ".join(
        f"{name} {f.kind} {'×'.join(map(str, f.shape))}" + (f" in [{f.range[0]:g}, {f.range[1]:g}]" if f.range else "")
        for name, f in source.spec.fields.items()
    )
    classes = f"; {source.spec.classes} classes" if source.spec.classes else ""
    rows = f"{len(source.split('train')):,} to train on, {len(source.split('test')):,} held out"
    lines = ["data", f"  {experiment.data}: {held}{classes}; {rows}", "networks"]
    counts = game.parameter_counts()
    for name, role in game.task.roles.items():
        lines.append(f"  {name}: {getattr(experiment, role.setting)}, {counts[name]:,} parameters")
    lines.append(f"players, in the order of their turns ({experiment.batch} samples a turn)")
    for name, player in game.players.items():
        turns = experiment.players.get(name)
        span = (
            f", from {turns.start} until {turns.until}" if turns and (turns.start, turns.until) != (0, "100%") else ""
        )
        moved = "" if player.roles == (name,) else f" moves {', '.join(player.roles)};"
        how = experiment.optim.get(name, Spec("adam"))
        lines.append(f"  {name}:{moved} {player.repeats} {_plural('turn', player.repeats)} a step{span}; {how}")
    return lines


def equations(game: Game) -> list[str]:
    """What each player minimises, in the words and formulas of the parts."""
    lines = []
    for path, (spec, kind) in parts(game).items():
        key = path.partition(".")[0]
        if key in ("task", "objective", "opponent", "regularizers", "constraints", "augment", "controllers"):
            lines += [f"{path}: {spec}{_role(key, path.partition('.')[2], game)}"]
            lines += [f"    {line}".rstrip() for line in (inspect.getdoc(kind.get(spec.name)) or "").splitlines()]
    return lines


def _role(key: str, name: str, game: Game) -> str:
    if key == "regularizers":
        term = game.regularizers[name]
        lazy = f" on every {term.every}th turn, {term.every} times as strong," if term.every > 1 else ""
        return f" — added{lazy} to the loss of the {term.side}"
    if key == "constraints":
        return f" — applied after each step of the {game.constraints[name].side}"
    return {
        "augment": " — what the discriminator sees its inputs through",
        "opponent": " — who judges the generator in its turn",
        "controllers": " — watches the log and moves one setting",
    }.get(key, "")


def schedules(game: Game) -> list[str]:
    """The value of everything that may change, at 0, 25, 50, 75 and 100 % of the run."""
    rows = [["share of the run", *(f"{share} %" for share in SHARES)]]
    for path, (spec, kind) in parts(game).items():
        for name, value in kind.resolve(spec, path).items():
            if isinstance(value, Schedule):
                rows.append([f"{path}.{name}", *_at_shares(value, game.experiment.stop)])
    width = max(len(row[0]) for row in rows)
    return [f"{row[0]:<{width}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows]


def _at_shares(schedule: Schedule, stop: Stop) -> list[str]:
    def read(total: int) -> list[float]:
        return [schedule(Clock(total * share // 100, total)) for share in SHARES]

    if stop.samples is None and read(100) != read(10**12):
        return [f"{schedule}; its extents are in samples, and how many there are is known once stop.samples is set"]
    return [f"{value:.3g}" for value in read(stop.samples or 10**6)]


# ------------------------------------------------------------------------------------------------------- a trial


@dataclass(frozen=True)
class Trial:
    """What a few steps took: samples a second, and the peak memory in bytes."""

    rate: float
    memory: int
    steps: int


def trial(game: Game) -> Trial:
    """Take a few steps without a run directory: at least 3, a whole period of the lazy terms, five seconds at most."""
    batch = game.experiment.batch
    never = 10**15
    quiet = game.experiment.keep.model_copy(update={"log": never, "samples": never, "checkpoints": never})
    short = game.experiment.model_copy(update={"stop": Stop(samples=batch), "keep": quiet, "profile": False})
    trainer = Trainer(replace(game, experiment=short))
    before = trainer.fit().samples  # the first step fills caches and allocators
    trainer.planned = before + before * max(3, *(r.every for r in game.regularizers.values()), 3)
    trainer.cap = trainer.seconds + 5
    started = time.monotonic()
    samples = trainer.fit().samples - before
    rate = samples / max(1e-9, time.monotonic() - started)
    if game.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(game.device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        memory = peak if sys.platform == "darwin" else peak * 1024
    return Trial(rate, memory, samples // before)


def forecast(stop: Stop, found: Trial, device: torch.device) -> list[str]:
    """Memory and time of the whole run, from a trial."""
    where = "on the GPU" if device.type == "cuda" else "of this process"
    ends = []
    if stop.samples is not None:
        ends.append((stop.samples / found.rate, stop.samples))
    if stop.minutes is not None:
        ends.append((60 * stop.minutes, round(found.rate * 60 * stop.minutes)))
    seconds, samples = min(ends)
    return [
        f"memory   {_bytes(found.memory)} {where}, at its peak",
        f"speed    {found.rate:,.0f} samples/s, measured over {found.steps} {_plural('step', found.steps)} on {device}",
        f"time     about {_duration(seconds)} for {samples:,} samples, scores and pictures not counted",
    ]


def destination(experiment: Experiment, run: str | Path | None) -> Path:
    """Where training would write. Raises `UsageError` where it could not."""
    if run is None:
        return Run.next_path(Path("runs"), f"{experiment.preset}-{experiment.data.name}")
    return Run.check_free(Path(run))


# ------------------------------------------------------------------------------------------------- a run that ended


REASONS = {
    "samples": "all planned samples were seen",
    "time": "its minutes had passed",
    "target": "the score reached stop.target",
    "patience": "the score had not improved for stop.patience evaluations",
    "signal": "a signal asked for it",
}


def command(*words: object) -> str:
    """A command to copy."""
    return shlex.join(["gannet", *map(str, words)])


def ending(run: Run, outcome: Outcome) -> list[str]:
    """What a run left: path, reason, scores, newest pictures and three commands to go on with."""
    lines = [f"run: {run.path}"]
    lines.append(f"stopped at {outcome.samples:,} samples: {REASONS[outcome.reason]}")
    if outcome.scores:
        best = outcome.best or {}
        width = max(len(name) for name in outcome.scores)
        lines.append(f"{'score':<{width}}  {'last':>10}  {'best':>10}  (best at {best.get('samples', 0):,} samples)")
        for name, value in outcome.scores.items():
            lines.append(f"{name:<{width}}  {value:>10.4g}  {best.get('scores', {}).get(name, value):>10.4g}")
    if outcome.grid is not None:
        lines.append(f"sample grid: {outcome.grid}")
    following = (
        ("sample", run.path, "--n", 64, "--seed", 1),
        ("resume", run.path, "stop.minutes=5"),
        ("explain", run.path),
    )
    return [*lines, "next:", *(f"  {command(*words)}" for words in following)]


# -------------------------------------------------------------------------------------------------- the machine


def machine() -> list[str]:
    """Versions, device, memory, disk and optional libraries, a line each."""
    device = pick_device("auto")
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    free, total = _memory(device)
    disk = shutil.disk_usage(".")
    names = ("torch", "numpy", "pydantic", "safetensors", "pillow", "scikit-learn")
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names)
    board = importlib.util.find_spec("tensorboard") is not None
    return [
        f"gannet   {importlib.metadata.version('gannet')}, python {platform.python_version()}, {platform.platform()}",
        f"with     {versions}",
        f"device   {device}{name}",
        f"threads  {torch.get_num_threads()} of {os.cpu_count()} processors",
        f"memory   {_bytes(free)} free of {_bytes(total)}" + (" on the GPU" if device.type == "cuda" else ""),
        f"disk     {_bytes(disk.free)} free of {_bytes(disk.total)} in {Path.cwd()}",
        f"extras   tensorboard {'is installed' if board else 'is missing (pip install gannet[tensorboard])'}",
    ]


def data() -> list[str]:
    """The folder of data files and what lies in it. Raises `DataError` if $GANNET_DATA is no folder."""
    named, home = os.environ.get("GANNET_DATA"), data_home()
    if home is None:
        return ["data     no folder of data files; digits and points are built in, set GANNET_DATA=DIR for others"]
    held = sorted(p.name + "/" * p.is_dir() for p in home.iterdir() if not p.name.startswith("."))
    how = "GANNET_DATA" if named else "found beside this directory"
    return [f"data     {home} ({how}): {', '.join(held) or 'empty'}; digits and points are built in"]


def _memory(device: torch.device) -> tuple[int, int]:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    page, total = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    found = re.search(r"MemAvailable:\s+(\d+) kB", _read(Path("/proc/meminfo")))
    return int(found[1]) * 1024 if found else page * total, page * total


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _bytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(1, seconds):.0f} seconds"


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word + "s"

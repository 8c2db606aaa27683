"""Training runs: starting one, going on with one, and what is written about it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gannet import autopilot
from gannet.core import registry, world
from gannet.core.errors import DataError, ResourceError, UsageError
from gannet.core.experiment import Experiment
from gannet.core.overrides import Resolved, resolve, split_overrides
from gannet.core.types import Source
from gannet.engine import checkpoint, distributed, state
from gannet.engine.assembly import Game, assemble, pick_device
from gannet.engine.console import Console, Silent
from gannet.engine.loggers import open_loggers
from gannet.engine.run import Run, environment, write_text_atomic
from gannet.engine.trainer import Outcome, Trainer
from gannet.metrics.evaluator import Evaluator, TooFewRows

Overrides = Mapping[str, Any] | list[str]
RESUMABLE = ("stop", "log", "device", "threads", "keep", "profile", "data.path")
"""What may change when a run goes on, with all beneath it; anything else would make it another run."""
ENDS = {"stop.minutes", "stop.target", "stop.patience"}
"""Keys that move the end of a finished run, beside more samples."""
SCORED = 1000
"""Samples behind a score taken in training, unless `evaluate.n` says otherwise: about a second each."""


def train(
    preset: str = "quick",
    overrides: Overrides = (),  # type: ignore[assignment]
    run: str | Path | None = None,
    plugins: tuple[str, ...] = (),
    console: Console | None = None,
    source: Source | None = None,
    modules: dict[str, nn.Module] | None = None,
) -> tuple[Run, Outcome]:
    """Train `preset` with overrides in a new run directory. `source` and `modules` replace what it names.

    Raises a `GannetError` for everything a user can cause; nothing is written before the experiment is valid.
    """
    loaded = load_plugins(plugins)
    return start(resolve(preset, overrides), run, loaded, console, source, modules)


def start(
    resolved: Resolved,
    run: str | Path | None,
    plugins: dict[str, str],
    console: Console | None,
    source: Source | None,
    modules: dict[str, nn.Module] | None,
) -> tuple[Run, Outcome]:
    set_threads(resolved.experiment)
    distributed.join(pick_device(resolved.experiment.device))
    with memory_errors(resolved.experiment):
        resolved, source, chosen = planned(resolved, source)
        experiment = resolved.experiment
        game = assemble(experiment, source, modules)
        startable(game)
        distributed.agree(
            game.device,
            experiment=experiment.hash(),
            stop=str(experiment.stop),
            data=game.source.fingerprint(),
            torch=torch.__version__,
        )
        scorer = make_scorer(game)
        opened: Run | None = None
        if world.rank() == 0:
            name = f"{experiment.preset}-{experiment.data.name}"
            opened = Run.create(Path("runs"), name) if run is None else Run.at(Path(run))
        found = Run(Path(distributed.same_text(game.device, str(opened.path) if opened else "")))
        with found.lock() if opened else contextlib.nullcontext():
            if opened:
                write_text_atomic(opened.experiment, resolved.to_yaml())
                _describe(opened, game, scorer, plugins)
            trainer = Trainer(game, found, console, scorer, _loggers(experiment, opened, 0))
            trainer.seconds = chosen.seconds
            for reason in [*chosen.reasons, *left_aside(game)]:
                trainer.note(reason, "plan")
            return found, trainer.fit()


def planned(
    resolved: Resolved, source: Source | None = None, measure: bool = True
) -> tuple[Resolved, Source | None, autopilot.Plan]:
    """What the auto-pilot makes of an experiment that asks for it, on its source, with what it chose; any other
    experiment as it is."""
    if not autopilot.wanted(resolved):
        return resolved, source, autopilot.Plan()
    if source is None:
        source = registry.SOURCES.build(resolved.experiment.data, where="data")
    resolved, chosen = autopilot.plan(resolved, source, measure)
    return resolved, source, chosen


def resume(
    run: str | Path,
    overrides: Overrides = (),  # type: ignore[assignment]
    plugins: tuple[str, ...] = (),
    console: Console | None = None,
    source: Source | None = None,
    modules: dict[str, nn.Module] | None = None,
) -> tuple[Run, Outcome]:
    """Go on with a run from its last checkpoint, with its recorded schedules. Only when and where it stops, logs and
    computes may be overridden, and where its data lies, which stays recorded."""
    load_plugins(plugins)
    found = Run.open(Path(run))
    problems: list[str] = []
    pairs = split_overrides(overrides, problems)
    if problems:
        raise UsageError("\n".join(problems))
    refused = [key for key, _ in pairs if not any(f"{key}.".startswith(f"{may}.") for may in RESUMABLE)]
    if refused:
        raise UsageError(
            f"{', '.join(refused)} cannot change when a run goes on; allowed: {', '.join(RESUMABLE)}. "
            f"To start a new run from these weights: gannet train {found.experiment} from={run} {refused[0]}=…"
        )
    experiment = resolve(str(found.experiment), dict(pairs)).experiment
    set_threads(experiment)
    device = pick_device(experiment.device)
    distributed.join(device)
    with memory_errors(experiment):
        writes = world.rank() == 0
        with found.lock() if writes else contextlib.nullcontext():
            if writes:
                checkpoint.sweep(found.checkpoints)
            console = console or Silent()
            # The first process chooses, and may have to set a damaged one aside; the others take what it took.
            chosen = checkpoint.latest(found.checkpoints, fallback=True, warn=console.alarm) if writes else None
            name = distributed.same_text(device, chosen.name if chosen else "")
            restored = chosen or checkpoint.read(found.checkpoints / name)
            with _moved_data(found, experiment):
                game = assemble(experiment, source, modules)
            _same_data(found, game)
            if writes and any(key == "data.path" for key, _ in pairs):
                place = resolve(str(found.experiment), {"data.path": experiment.data.args["path"]})
                write_text_atomic(found.experiment, place.to_yaml())
            distributed.agree(game.device, experiment=experiment.hash(), stop=str(experiment.stop), checkpoint=name)
            trainer = Trainer(
                game,
                found,
                console,
                make_scorer(game),
                _loggers(experiment, found if writes else None, restored.state["samples"]),
            )
            stop, keys, done = experiment.stop, {key for key, _ in pairs}, restored.state["samples"]
            ended = _last(found).get("reason", "signal")
            goes_on = done < stop.samples if "stop.samples" in keys and stop.samples else bool(keys & ENDS)
            if ended != "signal" and not goes_on:
                raise UsageError(
                    f"{found.path} is finished: it stopped at {done:,} samples ({ended}). To go on: "
                    f"gannet resume {found.path} stop.minutes=5, or stop.samples={2 * done}."
                )
            trainer.resume(restored)
            if writes:
                for text in _changed_environment(found, game):
                    console.note(text)
            if "stop.samples" in keys and stop.samples is not None:
                trainer.planned, trainer.cap = stop.samples, None
            elif "stop.minutes" in keys and stop.minutes is not None:
                trainer.extend(60 * stop.minutes)
            return found, trainer.fit()


def _last(run: Run) -> dict[str, Any]:
    """The newest line of the log."""
    return (run.read_log() or [{}])[-1]


def make_scorer(game: Game) -> Evaluator | None:
    """The evaluator that picks the best checkpoint: cheap scores against training rows, so test rows stay unseen."""
    settings = game.experiment.evaluate
    if settings.metrics == [] or game.device.type == "meta":
        return None
    n = settings.n or min(SCORED, max(1, len(game.source.split("train")) // 2))
    try:
        return Evaluator(game.source, "train", settings.extractor, settings.metrics, n, game.experiment.seed)
    except TooFewRows:
        if (settings.metrics, settings.extractor, settings.n) != (None, None, None):
            raise
        return None  # nobody asked for scores, and a handful of samples can be trained on without them


def set_threads(experiment: Experiment) -> None:
    if experiment.threads is not None:
        torch.set_num_threads(experiment.threads)


@contextlib.contextmanager
def memory_errors(experiment: Experiment) -> Iterator[None]:
    """Running out of memory becomes one sentence and exit 6."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        half = max(1, experiment.batch // 2)
        raise ResourceError(
            f"out of memory ({str(error).splitlines()[0] if str(error) else 'no room left'}). "
            f"Try batch={half}, or accumulate=2 share=nothing to keep the batch and halve what is held at once."
        ) from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise ResourceError(
            f"out of memory. Try batch={max(1, experiment.batch // 2)}, or narrower networks."
        ) from None


def _loggers(experiment: Experiment, run: Run | None, samples: int) -> Any:
    names = [experiment.log] if experiment.log != "files" and run else []
    return open_loggers(names, run.path if run else ".", samples)


def _describe(run: Run, game: Game, scorer: Evaluator | None, plugins: dict[str, str]) -> None:
    """Write what the run was made of: the machine, the data, the protocols of its scores."""
    facts = {
        **environment(str(game.device), world.size()),
        "experiment": game.experiment.hash(),
        "data": {"fingerprint": game.source.fingerprint(), **game.source.spec.to_json()},
        "protocols": scorer.protocol if scorer else {},
        "parameters": game.parameter_counts(),
        "plugins": plugins,
        "command": shlex.join(
            ["gannet" if Path(sys.argv[0]).stem in ("gannet", "__main__") else sys.argv[0], *sys.argv[1:]]
        ),
    }
    write_text_atomic(run.environment, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def _moved_data(run: Run, experiment: Experiment) -> Iterator[None]:
    """Within it, data that is not where the run began says how to name its new place."""
    try:
        yield
    except DataError as error:
        path = experiment.data.args.get("path")
        if path is None or Path(path).expanduser().exists():
            raise
        raise DataError(f"{error} If the data was moved: gannet resume {run.path} data.path=WHERE") from None


def _same_data(run: Run, game: Game) -> None:
    recorded = run.facts()["data"]["fingerprint"]
    now = game.source.fingerprint()
    if recorded != now:
        raise DataError(
            f"{run.path} was trained on other data (fingerprint {recorded}, now {now}). "
            f"Restore that data, or start a new run from its weights: gannet train {run.experiment} from={run.path}"
        )


def _changed_environment(run: Run, game: Game) -> list[str]:
    """What differs from the machine the run began on, and what that costs."""
    before, now = run.facts(), environment(str(game.device), world.size())
    different = [
        f"{k} {before.get(k)} → {v}"
        for k, v in now.items()
        if k in ("torch", "threads", "world_size", "device", "python") and before.get(k) != v
    ]
    if not different:
        return []
    return [f"resuming with {', '.join(different)}: the same samples in the same order, but not the same last bits"]


def startable(game: Game) -> None:
    """Refuse a run without an end, and begin from another run's weights where the experiment says so (`from=RUN`)."""
    stop, where = game.experiment.stop, game.experiment.start_from
    if stop.samples is None and stop.minutes is None:
        raise UsageError("nothing says when to stop. Set stop.samples=… or stop.minutes=….")
    if where:
        found = checkpoint.latest(Run.open(Path(where)).checkpoints)
        state.load_weights(game.networks, found.tensors["weights"], where)


def left_aside(game: Game) -> list[str]:
    """What lies beside every sample of the source and the task does not look at: a line that says so, and who would."""
    if game.source.spec.given is None or "given" in game.task.fields:
        return []
    able = [name for name in registry.TASKS.names() if "given" in registry.TASKS.get(name).fields]
    return [
        f"data: {game.experiment.data.name} has a `given` beside every sample, and task {game.experiment.task.name} "
        f"learns without it ({' or '.join(f'task={name}' for name in able)} would use it)"
    ]


def load_plugins(paths: tuple[str, ...]) -> dict[str, str]:
    """Run plug-in files, which register parts of one's own; returns their hashes. Only ever called for files named on
    the command line or in Python, never for anything an experiment says."""
    hashes = {}
    for number, name in enumerate(paths):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"--plugin {name}: there is no such file.")
        hashes[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        spec = importlib.util.spec_from_file_location(f"gannet_plugin_{number}_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise UsageError(f"--plugin {name} failed: {type(error).__name__}: {error}") from error
    return hashes

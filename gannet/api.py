"""Train, resume, load, sample, explain: what the command line, the server and the laboratory are made of.

The only module that knows all the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gannet import describe
from gannet.core import registry, world
from gannet.core.errors import CheckpointError, DataError, GannetError, ResourceError, UsageError, unknown
from gannet.core.experiment import Experiment, Resolved, preset_names, preset_text, resolve, split_overrides
from gannet.core.spec import Spec
from gannet.core.types import DataSpec, Field, Source, Task
from gannet.data.array import ArraySource
from gannet.engine import checkpoint, distributed, state
from gannet.engine.assembly import Game, assemble, build_task, pick_device
from gannet.engine.console import Console, Silent
from gannet.engine.loggers import open_loggers
from gannet.engine.pictures import save_samples, to_uint8
from gannet.engine.run import Run, environment, write_text_atomic
from gannet.engine.trainer import Outcome, Trainer
from gannet.latent import sampling
from gannet.metrics.evaluator import Evaluator

Overrides = Mapping[str, Any] | list[str]
IN_MEMORY = "(given in Python)"
"""What an experiment says of arrays that have no file; only the program that holds them can go on training."""
RESUMABLE = ("stop", "log", "device", "threads", "keep", "profile")
"""What may change when a run goes on; anything else would make it another run."""


# ------------------------------------------------------------------------------------------------------ training


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
    return _train(resolve(preset, overrides), run, loaded, console, source, modules)


def _train(
    resolved: Resolved,
    run: str | Path | None,
    plugins: dict[str, str],
    console: Console | None,
    source: Source | None,
    modules: dict[str, nn.Module] | None,
) -> tuple[Run, Outcome]:
    experiment = resolved.experiment
    _threads(experiment)
    with distributed.joined(pick_device(experiment.device)), _memory(experiment):
        game = assemble(experiment, source, modules)
        _startable(game)
        distributed.agree(
            game.device,
            experiment=experiment.hash(),
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
            return found, trainer.fit()


def resume(
    run: str | Path,
    overrides: Overrides = (),  # type: ignore[assignment]
    plugins: tuple[str, ...] = (),
    console: Console | None = None,
    source: Source | None = None,
    modules: dict[str, nn.Module] | None = None,
) -> tuple[Run, Outcome]:
    """Go on with a run from its last checkpoint, with its recorded schedules. Only when and where it stops, logs and
    computes may be overridden."""
    load_plugins(plugins)
    found = Run.open(Path(run))
    problems: list[str] = []
    pairs = split_overrides(overrides, problems)
    if problems:
        raise UsageError("\n".join(problems))
    refused = [key for key, _ in pairs if key.split(".")[0] not in RESUMABLE]
    if refused:
        raise UsageError(
            f"{', '.join(refused)} cannot change when a run goes on; allowed: {', '.join(RESUMABLE)}. "
            f"To start a new run from these weights: gannet train {found.experiment} from={run} {refused[0]}=…"
        )
    experiment = resolve(str(found.experiment), dict(pairs)).experiment
    _threads(experiment)
    with distributed.joined(pick_device(experiment.device)), _memory(experiment):
        writes = world.rank() == 0
        with found.lock() if writes else contextlib.nullcontext():
            if writes:
                checkpoint.sweep(found.checkpoints)
            console = console or Silent()
            restored = checkpoint.latest(found.checkpoints, fallback=writes, warn=console.alarm)
            game = assemble(experiment, source, modules)
            _same_data(found, game)
            distributed.agree(game.device, experiment=experiment.hash(), checkpoint=restored.name)
            trainer = Trainer(
                game,
                found,
                console,
                make_scorer(game),
                _loggers(experiment, found if writes else None, restored.state["samples"]),
            )
            finished = any(r["kind"] == "stop" and r["reason"] == "samples" for r in found.read_log()[-1:])
            trainer.resume(restored)
            if writes:
                for text in _changed_environment(found, game):
                    console.note(text)
            stop, keys = experiment.stop, {key for key, _ in pairs}
            if "stop.samples" in keys and stop.samples is not None:
                trainer.planned = stop.samples
            elif "stop.minutes" in keys and stop.minutes is not None:
                trainer.extend(60 * stop.minutes)
            if trainer.planned is not None and trainer.clock.samples >= trainer.planned and finished:
                raise UsageError(
                    f"{found.path} is finished: it stopped at {trainer.clock.samples:,} samples, as planned. To go on: "
                    f"gannet resume {found.path} stop.minutes=5, or stop.samples={2 * trainer.clock.samples}."
                )
            return found, trainer.fit()


def make_scorer(game: Game) -> Evaluator | None:
    """The evaluator that picks the best checkpoint: cheap scores against training rows, so test rows stay unseen."""
    settings = game.experiment.evaluate
    if settings.metrics == [] or game.device.type == "meta":
        return None
    return Evaluator(game.source, split="train", metrics=settings.metrics, n=settings.n, seed=game.experiment.seed)


def _threads(experiment: Experiment) -> None:
    if experiment.threads is not None:
        torch.set_num_threads(experiment.threads)


@contextlib.contextmanager
def _memory(experiment: Experiment) -> Iterator[None]:
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
        "data": {"fingerprint": game.source.fingerprint(), **spec_to_json(game.source.spec)},
        "protocols": scorer.protocol if scorer else {},
        "parameters": game.parameter_counts(),
        "plugins": plugins,
        "command": shlex.join(["gannet", *sys.argv[1:]]) if Path(sys.argv[0]).name.startswith("gannet") else "python",
    }
    write_text_atomic(run.environment, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def _facts(run: Run) -> dict[str, Any]:
    try:
        return dict(json.loads(run.environment.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{run.environment} cannot be read ({error}); it says what the run was trained on."
        ) from None


def _same_data(run: Run, game: Game) -> None:
    recorded = _facts(run)["data"]["fingerprint"]
    now = game.source.fingerprint()
    if recorded != now:
        raise DataError(
            f"{run.path} was trained on other data (fingerprint {recorded}, now {now}). "
            f"Restore that data, or start a new run from its weights: gannet train {run.experiment} from={run.path}"
        )


def _changed_environment(run: Run, game: Game) -> list[str]:
    """What differs from the machine the run began on, and what that costs."""
    before, now = _facts(run), environment(str(game.device), world.size())
    different = [
        f"{k} {before.get(k)} → {v}"
        for k, v in now.items()
        if k in ("torch", "threads", "world_size", "device", "python") and before.get(k) != v
    ]
    if not different:
        return []
    return [f"resuming with {', '.join(different)}: the same samples in the same order, but not the same last bits"]


def _startable(game: Game) -> None:
    """Refuse a run without an end, and begin from another run's weights where the experiment says so (`from=RUN`)."""
    stop, where = game.experiment.stop, game.experiment.start_from
    if stop.samples is None and stop.minutes is None:
        raise UsageError("nothing says when to stop. Set stop.samples=… or stop.minutes=….")
    if where:
        found = checkpoint.latest(Run.open(Path(where)).checkpoints)
        state.load_weights(game.networks, found.tensors["weights"], where)


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


# ------------------------------------------------------------------------------------------------- trained models


class Model:
    """A trained generator, loaded from a run without its data: the averaged weights of one checkpoint."""

    def __init__(self, run: Run, task: Task, experiment: Experiment, data: DataSpec, name: str):
        self.run, self.task, self.experiment, self.data, self.checkpoint = run, task, experiment, data, name

    def sample(self, n: int = 64, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> np.ndarray:
        """`n` samples: uint8 `[n, H, W, C]` for images, else float32 `[n, D]`. One seed, one result, to the byte."""
        x = self.tensor(n, seed, label, truncation)
        return to_uint8(x) if self.data.kind == "image" else x.numpy()

    def tensor(self, n: int = 64, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> Tensor:
        """`n` samples `[n, *shape]` as floats in the range of the data."""
        index = sampling.label_index(label, self.data)
        given = self._conditions() if "given" in self.task.fields else None
        return sampling.sample(self.task, n, seed, index, truncation, given, dtype=_dtype(self.experiment))

    def _conditions(self) -> Callable[[range], Tensor]:
        """Held-out conditions for a translator, by position, over and over."""
        source: Source = registry.SOURCES.build(self.experiment.data, where="data")
        split = source.split("test")
        own = source.spec.fields["given"].order == "own"

        def rows(positions: range) -> Tensor:
            at = torch.tensor(list(positions))
            if own:
                return split.take_own("given", at % split.own_length("given"))  # type: ignore[attr-defined]
            return split.take(at % len(split))["given"]

        return rows


def load(run: str | Path, which: str = "latest", modules: dict[str, nn.Module] | None = None) -> Model:
    """The generator of a run: `which` is "latest", "best" or a checkpoint's name."""
    found = Run.open(Path(run))
    if which == "latest":
        stored = checkpoint.latest(found.checkpoints)
    else:
        name = checkpoint.pointed(found.checkpoints, "best") if which == "best" else which
        stored = checkpoint.read(found.checkpoints / name)
    experiment = resolve(str(found.experiment)).experiment
    data = spec_from_json(_facts(found)["data"])
    task = build_task(experiment, data, torch.device("cpu"), _dtype(experiment), modules)
    averaged = {name: task.networks[name].eval() for name, role in task.roles.items() if role.kind != "discriminator"}
    state.load_weights(averaged, stored.tensors["ema"], str(run))
    return Model(found, task, experiment, data, stored.name)


def _dtype(experiment: Experiment) -> torch.dtype:
    return torch.float64 if experiment.precision == "fp64" else torch.float32


def sample(
    run: str | Path,
    out: str | Path | None = None,
    n: int = 64,
    seed: int = 0,
    label: int | str | None = None,
    truncation: float = 1.0,
    which: str = "latest",
) -> Path:
    """Write `n` samples of a run to a grid (FILE.png), an array (FILE.npy) or one file each (a directory); without
    `out` to a grid, or for what is no image an array, among the samples of the run."""
    model = load(run, which)
    if out is None:
        name = f"seed-{seed}" if label is None else f"seed-{seed}-class-{sampling.label_index(label, model.data)}"
        out = model.run.samples / (name + (".png" if model.data.kind == "image" else ".npy"))
    return save_samples(model.sample(n, seed, label, truncation), out)


def spec_to_json(spec: DataSpec) -> dict[str, Any]:
    fields = {
        n: {"shape": list(f.shape), "kind": f.kind, "range": f.range and list(f.range), "order": f.order}
        for n, f in spec.fields.items()
    }
    return {"fields": fields, "classes": spec.classes, "names": list(spec.names)}


def spec_from_json(value: Mapping[str, Any]) -> DataSpec:
    fields = {
        n: Field(tuple(f["shape"]), f["kind"], f["range"] and tuple(f["range"]), f["order"])
        for n, f in value["fields"].items()
    }
    return DataSpec(fields, value["classes"], tuple(value["names"]))


# ------------------------------------------------------------------------------------------------ asking about it


KINDS: dict[str, tuple[registry.Registry[Any], ...]] = {
    "tasks": (registry.TASKS,),
    "networks": (registry.GENERATORS, registry.DISCRIMINATORS, registry.TRANSLATORS),
    "objectives": (registry.OBJECTIVES,),
    "regularizers": (registry.REGULARIZERS,),
    "constraints": (registry.CONSTRAINTS,),
    "augment": (registry.AUGMENTATIONS,),
    "optimisers": (registry.OPTIMISERS,),
    "data": (registry.SOURCES,),
    "metrics": (registry.METRICS,),
    "extractors": (registry.EXTRACTORS,),
}


def catalog(kind: str) -> list[tuple[str, str]]:
    """Names and one-line descriptions of every part of a kind: presets, tasks, networks, objectives …"""
    if kind == "presets":
        return [(n, preset_text(n).split("\n")[0].lstrip("# ")) for n in preset_names()]
    if kind not in KINDS:
        raise UsageError(unknown("list", kind, ["presets", *KINDS]))
    rows = []
    for parts in KINDS[kind]:
        for name in parts.names():
            options = ", ".join(o.shown().replace(" (=", "=").rstrip(")") for o in parts.options(name).values())
            title = f"{name} ({parts.kind})" if len(KINDS[kind]) > 1 else name
            rows.append((title, parts.describe(name) + (f" [{options}]" if options else "")))
    return rows


def explain(preset: str, overrides: Overrides = (), plugins: tuple[str, ...] = ()) -> str:  # type: ignore[assignment]
    """What an experiment is: players, equations, schedules and every value with its origin. Nothing is trained."""
    load_plugins(plugins)
    resolved = resolve(preset, overrides)
    # On the meta device networks have shapes and no numbers: counting a large one's parameters costs nothing.
    game = assemble(resolved.experiment.model_copy(update={"device": "meta"}))
    comments = [line.lstrip("# ") for line in preset_text(preset).splitlines() if line.startswith("#")]
    sections = {
        "": [preset, *(f"  {line}" for line in comments), *describe.composition(game)],
        "the game": describe.equations(game),
        "schedules": describe.schedules(game),
        "values": describe.values(resolved, game),
    }
    return "\n\n".join("\n".join([title, *lines] if title else lines) for title, lines in sections.items())


def dry_run(
    preset: str,
    overrides: Overrides = (),  # type: ignore[assignment]
    run: str | Path | None = None,
    plugins: tuple[str, ...] = (),
) -> str:
    """What `train` would do: every value with its origin, the networks, memory and time from a trial of a few steps,
    and where it would write. Nothing is written; whatever `train` would refuse is refused."""
    load_plugins(plugins)
    resolved = resolve(preset, overrides)
    experiment = resolved.experiment
    _threads(experiment)
    with distributed.joined(pick_device(experiment.device)), _memory(experiment):
        game = assemble(experiment)
        _startable(game)
        make_scorer(game)
        where = describe.destination(experiment, run)
        lines = [*describe.values(resolved, game), "", *describe.composition(game), ""]
        lines += describe.forecast(experiment.stop, describe.trial(game), game.device)
    return "\n".join([*lines, f"writes   {where}/ once it is started without --dry-run; nothing was written now"])


def doctor() -> tuple[str, list[GannetError]]:
    """What the machine offers, whether training works on it, and what is wrong."""
    lines, problems = describe.machine(), []
    for look in (describe.data, _self_test):
        try:
            lines += look()
        except GannetError as error:
            problems.append(error)
    return "\n".join(lines), problems


def _self_test() -> list[str]:
    """Train a tiny GAN on the built-in digits in a temporary directory, load it and sample from it."""
    began = time.monotonic()
    short = {"data": "digits", "stop.samples": 640, "stop.minutes": None, "evaluate.metrics": []}
    with tempfile.TemporaryDirectory(prefix="gannet-") as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # alarms about ten steps of training mean nothing
        _, outcome = train("gan", short, Path(directory) / "run")
        pictures = load(Path(directory) / "run").sample(8)
    took = time.monotonic() - began
    return [
        f"test     trained {outcome.samples:,} samples, committed, sampled {len(pictures)} pictures in {took:.1f} s"
    ]


# ------------------------------------------------------------------------------------------------------ in Python


class GAN:
    """Train a preset on arrays and sample from it: `GAN("quick", data=images).fit(minutes=2).sample(64)`.

    `data` is a source spec ("mnist"), a path, an array `[N, H, W]`, `[N, H, W, C]`, `[N, C, H, W]` or `[N, D]`, or a
    pair (array, labels). `generator=` and `discriminator=` take one's own modules: the generator has an attribute
    `latent` and maps z `[B, latent]` (and y) to samples; the discriminator maps samples to scores `[B]` or a `Verdict`.
    Other keywords are overrides, dots written as double underscores: `optim__generator__lr=1e-3`.
    """

    def __init__(
        self,
        preset: str = "quick",
        *,
        data: Any = None,
        generator: nn.Module | str | None = None,
        discriminator: nn.Module | str | None = None,
        run: str | Path | None = None,
        **overrides: Any,
    ):
        self.preset, self.where = preset, run
        self.overrides = {k.replace("__", "."): v for k, v in overrides.items()}
        self.modules: dict[str, nn.Module] = {}
        for role, given in (("generator", generator), ("discriminator", discriminator)):
            if isinstance(given, nn.Module):
                self.modules[role] = given if role == "generator" else Judging(given)
            elif given is not None:
                self.overrides[role] = given
        self.source: Source | None = None
        if isinstance(data, tuple):
            self.source = ArraySource.from_arrays(*(np.asarray(part) for part in data))
        elif data is not None and not isinstance(data, str | Path | Spec):
            self.source = ArraySource.from_arrays(np.asarray(data))
        elif data is not None:
            self.overrides["data"] = str(data)
        self.run: Run | None = None
        self.outcome: Outcome | None = None
        self._model: Model | None = None

    def fit(self, minutes: float | None = None, samples: int | None = None, quiet: bool = True) -> GAN:
        """Train, or go on training for that much more. Returns itself."""
        console = Silent() if quiet else Console()
        self._model = None
        if self.run is not None:
            done = self.outcome.samples if self.outcome else 0
            more = {"stop.samples": done + samples} if samples is not None else {"stop.minutes": minutes}
            self.run, self.outcome = resume(self.run.path, more, (), console, self.source, self.modules)
            return self
        # Samples replace the preset's own minutes, they do not join them.
        stop: dict[str, Any] = {"stop.minutes": minutes} if minutes is not None or samples is not None else {}
        if samples is not None:
            stop["stop.samples"] = samples
        resolved = resolve(self.preset, {**self.overrides, **stop}, origin="Python")
        if self.source is not None:
            named = Spec("array", (), {"path": IN_MEMORY})
            resolved = Resolved(resolved.experiment.model_copy(update={"data": named}), resolved.origins)
        self.run, self.outcome = _train(resolved, self.where, {}, console, self.source, self.modules)
        return self

    @property
    def model(self) -> Model:
        """The trained generator. Raises `UsageError` before `fit`."""
        if self._model is None:
            if self.run is None:
                raise UsageError("this GAN has not been trained. Call fit(minutes=2) first, or GAN.load(path).")
            self._model = load(self.run.path, modules=self.modules or None)
        return self._model

    def sample(self, n: int = 64, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> np.ndarray:
        """`n` samples: uint8 `[n, H, W, C]` for images, else float32 `[n, D]`. One seed, one result, to the byte."""
        return self.model.sample(n, seed, label, truncation)

    def save(self, path: str | Path) -> Path:
        """Copy what sampling and resuming need to `path`, a new directory that `GAN.load` and every command read."""
        model = self.model
        target = Run.at(Path(path))
        for text in (model.run.experiment, model.run.environment):
            write_text_atomic(target.path / text.name, text.read_text(encoding="utf-8"))
        stored = checkpoint.latest(model.run.checkpoints)
        values = {**stored.state, "log_position": 0}
        checkpoint.commit(target.checkpoints, stored.name.partition("-")[0], stored.tensors, values)
        return target.path

    @classmethod
    def load(cls, path: str | Path, generator: nn.Module | None = None, discriminator: nn.Module | None = None) -> GAN:
        """A GAN saved or trained in `path`. Modules of one's own must be given again: only their weights are stored."""
        gan = cls("quick", generator=generator, discriminator=discriminator)
        gan.run = Run.open(Path(path))
        gan._model = load(path, modules=gan.modules or None)
        return gan


class Judging(nn.Module):
    """A discriminator of one's own that returns plain scores, made to answer with a `Verdict`."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Any:
        from gannet.core.types import Verdict

        parts = [p for p in (y, given) if p is not None]
        said = self.module(x, *parts)
        if isinstance(said, Verdict):
            return said
        return Verdict((said.squeeze(1) if said.dim() == 2 and said.shape[1] == 1 else said,))

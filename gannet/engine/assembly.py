"""From an experiment to a game: data, task, networks, objective, restraints and optimisers, checked to fit together."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gannet.core import registry, world
from gannet.core.errors import DataError, Problems, UsageError, unknown
from gannet.core.experiment import Experiment
from gannet.core.parts import (
    Augmentation,
    Constraint,
    Controller,
    Objective,
    Opponent,
    Referring,
    Regularizer,
    WeightRegularizer,
    couples_batch,
)
from gannet.core.random import mix
from gannet.core.schedule import in_samples
from gannet.core.spec import Spec
from gannet.core.types import SCORE, Clock, DataSpec, Player, Role, Source, Task
from gannet.engine import own
from gannet.engine.feed import Feed
from gannet.engine.optimisers import Recipe


@dataclass
class Game:
    """Everything that plays: built once, moved by the trainer."""

    experiment: Experiment
    source: Source
    task: Task
    objective: Objective
    players: dict[str, Player]
    regularizers: dict[str, Regularizer]
    constraints: dict[str, Constraint]
    augmentations: dict[str, Augmentation]
    opponent: Opponent
    controllers: dict[str, Controller]
    recipes: dict[str, Recipe]
    device: torch.device
    dtype: torch.dtype
    discriminators: set[str] = field(default_factory=set)

    @property
    def networks(self) -> nn.ModuleDict:
        return self.task.networks

    def averaged(self) -> dict[str, nn.Module]:
        """The networks whose moving average is kept: all that are not discriminators."""
        return {name: module for name, module in self.networks.items() if name not in self.discriminators}

    def discriminates(self, player: str) -> bool:
        """Whether `player` moves a discriminator."""
        return any(role in self.discriminators for role in self.players[player].roles)

    def side(self, player: str) -> str:
        """The side whose regularizers and constraints `player` is under."""
        return "discriminator" if self.discriminates(player) else "generator"

    def moving(self, player: str) -> dict[str, nn.Parameter]:
        """The parameters that `player` moves, by name: those of its networks but the frozen ones."""
        turns = self.experiment.players.get(player)
        frozen = tuple(turns.frozen) if turns else ()
        return {
            f"{role}.{key}": value
            for role in self.players[player].roles
            for key, value in self.networks[role].named_parameters()
            if not _under(f"{role}.{key}", frozen)
        }

    def parameter_counts(self) -> dict[str, int]:
        return {name: sum(p.numel() for p in module.parameters()) for name, module in self.networks.items()}


def pick_device(name: str) -> torch.device:
    """The device `name` stands for: auto takes CUDA, then MPS, then the CPU. Under torchrun, auto and cuda stand for
    the GPU of this process's own number."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UsageError(unknown("device", name, ["auto", "cpu", "cuda", "cuda:0", "mps"]))
    kind, _, number = name.partition(":")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise UsageError(
            f"device={name}: this machine or this build of PyTorch has none. "
            "Use device=auto; `gannet doctor` shows what is there."
        )
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", int(os.environ["LOCAL_RANK"]) + 1))
        if processes > (gpus := torch.cuda.device_count()):
            raise UsageError(
                f"device={name}: {processes} processes on this machine need a GPU each, and it has {gpus}. "
                f"Use torchrun --nproc-per-node {gpus}, or device=cpu."
            )
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    elif number and int(number) >= (gpus := torch.cuda.device_count()):
        raise UsageError(
            f"device={name}: the GPUs of this machine are cuda:0 … cuda:{gpus - 1}. Use one of them, or device=auto."
        )
    return torch.device(name)


def assemble(experiment: Experiment, source: Source | None = None, modules: dict[str, nn.Module] | None = None) -> Game:
    """Build every part of `experiment`. `source` and `modules` (by role) replace what the experiment names, as the
    Python API does with arrays and networks of one's own."""
    # Nothing can be trained on meta: only what describes an experiment asks for it, and never through pick_device.
    device = torch.device("meta") if experiment.device == "meta" else pick_device(experiment.device)
    dtype = torch.float64 if experiment.precision == "fp64" else torch.float32
    if source is None:
        source = registry.SOURCES.build(experiment.data, where="data")
    task = build_task(experiment, source.spec, device, dtype, modules)
    game = Game(
        experiment,
        source,
        task,
        registry.OBJECTIVES.build(experiment.objective, where="objective"),
        _players(experiment, task),
        {n: registry.REGULARIZERS.build(s, where=f"regularizers.{n}") for n, s in experiment.regularizers.items()},
        {n: registry.CONSTRAINTS.build(s, where=f"constraints.{n}") for n, s in experiment.constraints.items()},
        {n: registry.AUGMENTATIONS.build(s, where=f"augment.{n}") for n, s in experiment.augment.items()},
        registry.OPPONENTS.build(experiment.opponent, where="opponent"),
        {n: registry.CONTROLLERS.build(s, where=f"controllers.{n}") for n, s in experiment.controllers.items()},
        {},
        device,
        dtype,
        {name for name, role in task.roles.items() if role.kind == "discriminator"},
    )
    for regularizer in game.regularizers.values():
        if isinstance(regularizer, WeightRegularizer):
            regularizer.watch(
                [game.networks[r] for n, p in game.players.items() if game.side(n) == regularizer.side for r in p.roles]
            )
        regularizer.to(device=device, dtype=dtype)
    if device.type != "meta":
        _refer(game)
    default = registry.OPTIMISERS.build("adam")
    game.recipes = {
        n: registry.OPTIMISERS.build(experiment.optim[n], where=f"optim.{n}") if n in experiment.optim else default
        for n in game.players
    }
    check(game)
    return game


def structure(experiment: Experiment, source: Source | None = None) -> str:
    """Sixteen hexadecimal digits of the names and shapes of all weights: what the networks make of their defaults, of
    which the experiment and its hash know nothing."""
    task = assemble(experiment.model_copy(update={"device": "meta"}), source).task
    shapes = {name: list(weights.shape) for name, weights in task.state_dict().items()}
    return hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:16]


def build_task(
    experiment: Experiment,
    data: DataSpec,
    device: torch.device,
    dtype: torch.dtype,
    modules: dict[str, nn.Module] | None = None,
) -> Task:
    """The task with its networks, freshly initialised from the experiment's seed. Raises `UsageError`, `DataError`."""
    fields = registry.TASKS.get(experiment.task.name).fields
    if any(f not in data.fields for f in fields):
        raise DataError(
            f"task {experiment.task.name} needs {', '.join(fields)}, and the source {experiment.data.name} has "
            f"{', '.join(data.fields)}. Sources with `given`: edges (paired), inverted (unpaired), array with a given=."
        )
    task: Task = registry.TASKS.build(experiment.task, data, where="task")
    problems: list[str] = []
    own.check_names(modules or {}, task.roles)
    for name, role in task.roles.items():
        spec = getattr(experiment, role.setting)
        try:
            if modules and name in modules:
                # Sampling may have left it in evaluation mode.
                task.networks[name] = own.adopted(modules[name], role).train()
                continue
            # Each network draws its first weights from its own stream, so changing one leaves the others as they were.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(mix(experiment.seed, "initial weights", name))
                with torch.device("meta" if device.type == "meta" else "cpu"):
                    task.networks[name] = _network(spec, role)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise Problems(list(dict.fromkeys(problems)))
    task.to(device=device, dtype=dtype)
    if experiment.channels_last:
        task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return task


def _network(spec: Spec, role: Role) -> nn.Module:
    kind = registry.NETWORKS[role.kind]
    if role.heads == SCORE:
        return kind.build(spec, role.data, where=role.setting)
    able = [n for n in kind.names() if "heads" in inspect.signature(kind.get(n).__init__).parameters]
    kind.get(spec.name, role.setting)  # an unknown name is told first
    if spec.name not in able:
        raise UsageError(
            f"{role.setting}: this task asks for {' and '.join(role.heads)}, and {spec.name} answers with scores "
            f"alone. Use {', '.join(able)}."
        )
    return kind.build(spec, role.data, role.heads, where=role.setting)


REFERENCE = 64
"""Rows of the reference batch of networks that keep one."""


def _refer(game: Game) -> None:
    """Show the first training rows to modules that keep a reference batch."""
    referring = [m for m in game.networks.modules() if isinstance(m, Referring)]
    if referring:
        feed = Feed(game.source, "train", game.experiment.seed, game.device, game.dtype, game.experiment.channels_last)
        batch = feed.take("reference", range(min(REFERENCE, len(feed.data))))
        for module in referring:
            module.refer(batch)


def _under(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def _players(experiment: Experiment, task: Task) -> dict[str, Player]:
    players = task.players()
    for key in ("players", "optim", "clip"):
        for name in getattr(experiment, key):
            if name not in players:
                raise UsageError(unknown("player", name, players, key))
    for name, turns in experiment.players.items():

        def when(clock: Clock, turns=turns) -> bool:
            return in_samples(turns.start, clock) <= clock.samples and (
                clock.samples < in_samples(turns.until, clock) or turns.until == "100%"
            )

        players[name] = replace(players[name], repeats=turns.repeats or players[name].repeats, when=when)
    return players


def check(game: Game) -> None:
    """Refuse compositions that cannot mean what they say, with the nearest one that does."""
    experiment, problems = game.experiment, []
    coupled = [n for n in sorted(game.discriminators) if couples_batch(game.networks[n], weakly=False)]
    for name, regularizer in game.regularizers.items():
        if regularizer.per_sample and coupled:
            problems.append(
                f"regularizers.{name} is a per-sample penalty, and {', '.join(coupled)} has layers that couple the "
                f"batch (batch norm), so its gradient is not one sample's. "
                "Set discriminator.norm=none, instance or layer."
            )
        if "latent" in regularizer.needs and not any(getattr(m, "maps_latent", False) for m in game.networks.values()):
            problems.append(
                f"regularizers.{name} measures paths in the space of a mapping network, and generator "
                f"{experiment.generator.name} has none. Remove it with regularizers.{name}=none, or use "
                "generator=stylegan2."
            )
    problems += [f"clip.{n} must be above 0, got {limit}." for n, limit in experiment.clip.items() if not limit > 0]
    parts = world.size() * experiment.accumulate
    low = experiment.batch // parts
    if experiment.batch % parts:
        problems.append(
            f"batch={experiment.batch} cannot be split evenly over {world.size()} processes × "
            f"accumulate={experiment.accumulate}. Nearest: batch={max(1, low) * parts} or {(low + 1) * parts}."
        )
    normed = [n for n, network in game.networks.items() if any(isinstance(m, _BatchNorm) for m in network.modules())]
    if low < 2 * game.task.rows_together and normed:
        problems.append(
            f"batch norm, in {' and '.join(normed)}, needs 2 rows or more at once, and batch={experiment.batch} leaves "
            f"{low // game.task.rows_together} to each micro-batch of each process. "
            f"Use batch={2 * parts * game.task.rows_together}, or norm=none, instance or layer."
        )
    together = game.task.rows_together
    if low % together:
        problems.append(
            f"batch={experiment.batch}: {together} rows are judged as one, and a micro-batch of {low} cannot be packed "
            f"evenly. Nearest: batch={max(1, low // together) * together * parts} or "
            f"{(low // together + 1) * together * parts}."
        )
    problems += _frozen(game)
    if game.source.partly_labelled and any(role.data.classes for role in game.task.roles.values()):
        problems.append(
            f"data {experiment.data.name} knows the class of few rows, and task {experiment.task.name} needs every "
            "row's. Use task=semi-supervised, or task.labels=ignore."
        )
    if experiment.share != "nothing" and experiment.accumulate > 1:
        problems.append(
            f"share={experiment.share} keeps the fakes of one batch for both players, and "
            f"accumulate={experiment.accumulate} makes several. Set share=nothing, or accumulate=1."
        )
    pictures = [name for name, augmentation in game.augmentations.items() if augmentation.images_only]
    if pictures and len(game.source.spec.shape) != 3:
        problems.append(
            f"augment: {', '.join(pictures)} changes images, and {experiment.data.name} holds {game.source.spec.kind}. "
            f"Remove it with augment.{pictures[0]}=none, or use augment=noise."
        )
    problems += _steered(game)
    if problems:
        raise Problems(problems)


def _frozen(game: Game) -> list[str]:
    problems = []
    for name, turns in game.experiment.players.items():
        parts = {f"{r}.{k}" for r in game.players[name].roles for k, _ in game.networks[r].named_modules() if k}
        parts |= {f"{r}.{k}" for r in game.players[name].roles for k, _ in game.networks[r].named_parameters()}
        strange = [prefix for prefix in turns.frozen if prefix not in parts]
        if strange:
            problems.append(unknown("part", strange[0], parts, f"players.{name}.frozen"))
        elif turns.frozen and not game.moving(name):
            problems.append(
                f"players.{name}.frozen leaves {name} nothing to move. Freeze less, or players.{name}.until=0."
            )
    return problems


def _steered(game: Game) -> list[str]:
    """Controllers whose actuator is not there, or that two of them would move."""
    problems: list[str] = []
    movers: dict[str, str] = {}
    for name, controller in game.controllers.items():
        if (other := movers.setdefault(controller.actuator, name)) != name:
            problems.append(
                f"controllers.{name} and controllers.{other} both move the {controller.actuator}. Keep one of them."
            )
        penalised = any(r.restrains for r in game.regularizers.values())
        if controller.actuator in ("penalty", "rollback") and not penalised:
            problems.append(
                f"controllers.{name} moves the weight of a gradient penalty, and there is none. "
                f"Add regularizers=[r1, r2], or remove it with controllers.{name}=none."
            )
        if controller.actuator == "augmentation" and not game.augmentations:
            problems.append(
                f"controllers.{name} moves the augmentation, and there is none. "
                f"Add augment=diffaugment, or remove it with controllers.{name}=none."
            )
        if not game.discriminators:
            problems.append(
                f"controllers.{name} watches a discriminator, and task {game.experiment.task.name} has none."
            )
    return problems

"""What may change while a game is played, what starts it anew, and the timed record of what was changed."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gannet.core import registry
from gannet.core.errors import Problems, UsageError, unknown
from gannet.core.experiment import Experiment, Section
from gannet.core.overrides import Resolved, amend
from gannet.core.spec import Spec, render
from gannet.engine import state
from gannet.engine.assembly import assemble
from gannet.engine.run import write_text_atomic
from gannet.engine.trainer import Trainer

LIVE = ("objective", "regularizers", "constraints", "augment", "opponent", "optim", "clip", "batch", "share", "ema")
"""Keys that change between two steps; so do players.NAME.repeats, start and until."""
ANEW = ("task", "data", "generator", "discriminator", "encoder", "seed", "stop.samples")
"""Keys whose change starts the game at step 0 again."""
TURN = "turn."
"""Beginning of the path under which the record keeps a lone turn: `turn.discriminator`, its value how many."""

MOST_CHANGES = 10_000
MOST_TEXT = 2_000
MOST_TURNS = 1_000
"""Lone turns of one command, which are one line of the record."""
MOST = {
    "batch": 4096, "width": 512, "layers": 12, "latent": 256, "n": 100_000, "repeats": 50, "steps": 20, "pack": 16,
    "categories": 64, "continuous": 64,
}  # fmt: skip
"""The most that a number of this name may be, as what a browser asks for is computed here."""
LARGEST = 10**13
_TEXT = re.compile(r"[\w .,=()\[\]{}\"'%+:-]*", re.ASCII)
_PATH = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)*")


# ------------------------------------------------------------------------------------------------- what is allowed


def is_live(path: str) -> bool:
    """Whether a change of `path` goes on from where the game is; otherwise it starts anew. Raises `UsageError` for a
    path that cannot be changed here."""
    top, _, rest = path.partition(".")
    if top in LIVE:
        return True
    if re.fullmatch(r"players\.[a-z]+\.(repeats|start|until)", path):
        return True
    if path in ANEW or (top in ANEW and rest):
        return False
    allowed = [*LIVE, *ANEW, "players.NAME.repeats", "players.NAME.start", "players.NAME.until"]
    raise UsageError(unknown("setting of the laboratory", path[:100], allowed))


def checked(path: Any, value: Any) -> tuple[str, str]:
    """Path and value of a change as text that names no file. Raises `UsageError`."""
    if not isinstance(path, str) or len(path) > 100 or not _PATH.fullmatch(path):
        raise UsageError(f"{str(path)[:100]!r} is not a path. Write one as in optim.discriminator.lr.")
    if not isinstance(value, str | int | float | bool | None):
        raise UsageError(f"{path}: a value is text, a number, true, false or null, not {type(value).__name__}.")
    text = value if isinstance(value, str) else render(value)
    if len(text) > MOST_TEXT:
        raise UsageError(f"{path}: a value of {len(text):,} characters; at most {MOST_TEXT:,} are read.")
    if not _TEXT.fullmatch(text):
        strange = next(c for c in text if not _TEXT.fullmatch(c))
        raise UsageError(f"{path}: {strange!r} has no place in a value. Write numbers, names and name(key=value).")
    if path == "data" and not re.fullmatch(r"points(\(.*\))?", text):
        raise UsageError(f"data: {text[:100]!r} is not shown here. Use points(name=…), or draw, paste or load points.")
    return path, text


def admitted(experiment: Experiment, given: bool = False) -> Experiment:
    """`experiment` if it is one that may be played here: points, perceptrons, and numbers within `MOST`. `given`: its
    points were handed over, so its data name a file of the session's own. Raises `UsageError`."""
    networks = ("mlp", "dirac")
    for key, kinds in (("data", ("points",)), ("generator", networks), ("discriminator", networks)):
        name = getattr(experiment, key).name
        if name not in kinds and not (given and key == "data"):
            raise UsageError(f"{key}: {name} is not played here. Use {', '.join(kinds)}.")
    for path, value in _leaves("", {k: v for k, v in experiment if not (given and k == "data")}):
        name = next((part for part in reversed(path.split(".")) if not part.isdigit()), "")
        if name == "path" or (isinstance(value, str) and ("/" in value or "\\" in value)):
            raise UsageError(f"{path}: files are not named here.")
        most = MOST.get(name, LARGEST)
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "seed" and abs(value) > most:
            raise UsageError(f"{path}={value:g} is more than is computed here. Use at most {most:,}.")
    return experiment


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every number and text inside, with where it stands; positional arguments of parts under their option's name."""
    if isinstance(value, Spec):
        names = _options(value.name)
        inner = {**dict(zip([*names, *map(str, range(9))], value.positional, strict=False)), **value.args}
        yield from _leaves(path, inner)
    elif isinstance(value, dict | Section):
        for key, item in dict(value).items():
            yield from _leaves(f"{path}.{key}".lstrip("."), item)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(f"{path}.{number}", item)
    else:
        yield path, value


def _options(name: str) -> list[str]:
    """The options of the part called `name`, of whatever kind; none for a schedule."""
    kinds = (
        registry.SOURCES,
        registry.GENERATORS,
        registry.DISCRIMINATORS,
        registry.TASKS,
        registry.OBJECTIVES,
        registry.REGULARIZERS,
        registry.CONSTRAINTS,
        registry.AUGMENTATIONS,
        registry.OPTIMISERS,
        registry.OPPONENTS,
    )
    return next((list(kind.options(name)) for kind in kinds if name in kind.names()), [])


def amended(experiment: Experiment, path: str, value: str, given: bool = False) -> Experiment:
    """`experiment` with `value` at `path`, as `gannet train` would read `path=value`. Raises `UsageError`."""
    try:
        return admitted(amend(Resolved(experiment, {}), {path: value}, "the laboratory").experiment, given)
    except Problems as error:
        raise UsageError("\n".join(error.problems)) from None


# ------------------------------------------------------------------------------------------------------ live change


@dataclass(frozen=True)
class Snapshot:
    """A moment of a game: the experiment in force and all that `engine.state` keeps, in memory of its own."""

    step: int
    experiment: Experiment
    tensors: state.Tensors
    values: dict[str, Any]

    @classmethod
    def of(cls, trainer: Trainer) -> Snapshot:
        tensors, values = state.capture(trainer)
        held = {group: {k: v.detach().clone() for k, v in named.items()} for group, named in tensors.items()}
        return cls(trainer.clock.step, trainer.experiment, held, copy.deepcopy(values))

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(t.numel() * t.element_size() for group in self.tensors.values() for t in group.values())

    def restore(self, trainer: Trainer) -> Trainer:
        """A trainer at this moment: `trainer` itself, unless another experiment is in force there."""
        if trainer.experiment != self.experiment:
            trainer = Trainer(assemble(self.experiment, trainer.game.source))
        state.restore(trainer, self.tensors, copy.deepcopy(self.values))
        return trainer


def changed(trainer: Trainer, experiment: Experiment) -> tuple[Trainer, list[str]]:
    """A trainer of `experiment` that goes on where `trainer` is, with the same networks and all that still fits; and
    what had to start fresh, in words. `trainer` itself is left as it was. Raises `UsageError`."""
    now = Snapshot.of(trainer)
    follower = Trainer(assemble(experiment, trainer.game.source))
    training, notes = dict(state.capture(follower)[0]["training"]), []
    fresh = {p for p in trainer.game.players if _keeps(trainer, p) != _keeps(follower, p)}
    for key, tensor in now.tensors["training"].items():
        kind, name = key.split("/")[:2]
        if kind == "optim" and name in fresh:
            continue
        if kind == "regularizer" and not (
            trainer.experiment.regularizers[name].name == _name(experiment.regularizers.get(name))
            and key in training
            and training[key].shape == tensor.shape
        ):
            continue
        training[key] = tensor
    if fresh:
        notes.append(f"the optimiser of {' and '.join(sorted(fresh))} starts fresh, as it is of another kind")
    state.restore(follower, {**now.tensors, "training": training}, now.values)
    return follower, notes


def _keeps(trainer: Trainer, player: str) -> tuple[str, bool]:
    """What kind of state this player's optimiser keeps."""
    recipe = trainer.game.recipes[player]
    return type(recipe).__name__, bool(getattr(recipe, "momentum", 0))


def _name(spec: Spec | None) -> str:
    return "" if spec is None else spec.name


class Snapshots:
    """Moments of one game by step, at most `most` and `room` bytes: when full, every second is let go."""

    def __init__(self, every: int = 50, most: int = 1_000, room: int = 2**27):
        self.every, self.most, self.room = every, most, room
        self.held: dict[int, Snapshot] = {}
        self.used = 0

    def offer(self, trainer: Trainer) -> None:
        """Keep this moment if it is due and not there yet."""
        step = trainer.clock.step
        if step % self.every or step in self.held:
            return
        self.held[step] = Snapshot.of(trainer)
        self.used += self.held[step].size
        while len(self.held) > 1 and (len(self.held) > self.most or self.used > self.room):
            self.every *= 2
            self._keep(lambda s: s % self.every == 0)

    def before(self, step: int) -> Snapshot:
        """The newest moment not after `step`; there is always that of step 0."""
        return self.held[max(s for s in self.held if s <= step)]

    def drop_after(self, step: int) -> None:
        self._keep(lambda s: s <= step)

    def steps(self) -> list[int]:
        return sorted(self.held)

    def _keep(self, wanted: Any) -> None:
        self.held = {s: snapshot for s, snapshot in self.held.items() if wanted(s)}
        self.used = sum(snapshot.size for snapshot in self.held.values())


# ----------------------------------------------------------------------------------------------------------- record


@dataclass(frozen=True)
class Change:
    """A value set after step `step`; or, under a path that begins with `turn.`, that many lone turns of a player."""

    step: int
    path: str
    value: str

    def to_json(self) -> dict[str, Any]:
        return {"step": self.step, "path": self.path, "value": self.value}


@dataclass
class Record:
    """Every change of a game in its order, and how many of them have been carried out. With a `path`, `changes.jsonl`
    holds the same: a first line with what the game began as, then a line a change."""

    changes: list[Change] = field(default_factory=list)
    done: int = 0
    path: Path | None = None
    beginning: dict[str, Any] = field(default_factory=dict)

    def due(self, step: int) -> Change | None:
        """The next change, if it belongs after a step that has been reached."""
        following = self.changes[self.done] if self.done < len(self.changes) else None
        return following if following and following.step <= step else None

    def rewind(self, step: int) -> None:
        """Nothing that belongs after `step` or later has been carried out."""
        self.done = sum(change.step < step for change in self.changes)

    def check_room(self) -> None:
        if self.done >= MOST_CHANGES:
            raise UsageError(f"{MOST_CHANGES:,} changes are recorded, which is the most. Reset to go on changing.")

    def add(self, change: Change) -> None:
        """Write down what has just been carried out; what had been recorded for later is dropped."""
        cut = self.done < len(self.changes)
        self.changes = [*self.changes[: self.done], change]
        self.done += 1
        if cut:
            self.write()
        elif self.path is not None:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(change.to_json()) + "\n")

    def write(self) -> None:
        """Write the whole file anew."""
        if self.path is not None:
            lines = [self.beginning, *(change.to_json() for change in self.changes)]
            write_text_atomic(self.path, "".join(json.dumps(line) + "\n" for line in lines))

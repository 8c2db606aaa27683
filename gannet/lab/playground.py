"""A playground: a game on points that can be changed, rewound and replayed exactly. The thread that moves it is in
`session.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from gannet.api import set_threads
from gannet.core.errors import UsageError, unknown
from gannet.core.overrides import Resolved
from gannet.data.drawn import FILE, saved
from gannet.engine import checkpoint, state
from gannet.engine.assembly import assemble
from gannet.engine.health import YOUNG, spread
from gannet.engine.run import Run, environment, write_text_atomic
from gannet.engine.trainer import Trainer
from gannet.lab import phase
from gannet.lab.alarms import Watch
from gannet.lab.changes import TURN, Change, Record, Snapshots, amended, changed, checked, is_live
from gannet.lab.remedies import remedy
from gannet.lab.share import State

LOG = 50
"""Steps behind a line of the log; every interval of `Snapshots` is a multiple, so a replay writes the same lines."""
ROWS = 2_000
"""Rows of losses that are remembered; beyond, every second is let go."""
TEXTS = {
    "collapse": "Mode collapse: the fakes vary much less than the real points, so the generator shows only some of "
    "them. A penalty on the discriminator's slope lets it learn the rest.",
    "discriminator ahead": "The discriminator is far ahead: it tells nearly every fake from a real, and the generator "
    "learns little from that. Slow it down, or restrain it.",
    "oscillation": "Oscillation: the fakes swing to and fro and come no nearer. The two networks chase each other in a "
    "circle; a penalty on the discriminator's slope takes the swing out of it.",
    "vanishing gradients": "Vanishing gradients: the discriminator separates perfectly, and the generator's loss is "
    "flat where the fakes are. A loss that is steep there, or a penalty on the discriminator, brings the pull back.",
}


class Playground:
    """A game on points in a run directory, with its record of changes and its snapshots. Knows no thread.

    What belongs after a step (a change, a lone turn) is carried out when that step has been reached, whether for the
    first time or again; so the same record gives the same weights, bit for bit.
    """

    def __init__(self, run: Run, begun: State):
        self.run = run
        self.begin(begun)

    # -------------------------------------------------------------------------------------------------- beginnings

    def begin(self, begun: State) -> None:
        """Start anew at step 0 with another state, whose changes come as their steps are reached. What cannot be
        assembled raises `UsageError` and leaves everything as it was."""
        experiment, source = begun.experiment, None
        if begun.given is not None:
            source = begun.given.source()
            place = saved(self.run.path / FILE)
            experiment = experiment.model_copy(update={"data": place})
        set_threads(experiment)
        self.trainer = Trainer(assemble(experiment, source))
        if source is not None:
            source.save(self.run.path)
        self.base, self.given = experiment, begun.given
        plain = replace(begun, changes=(), step=0).to_json()
        self.record = Record(list(begun.changes), 0, self.run.path / "changes.jsonl", plain)
        self.snapshots = Snapshots()
        self.window: list[dict[str, float]] = []
        self.losses: dict[str, float] = {}
        self.watch = Watch()
        self.rows: list[tuple[Any, ...]] = []
        self.forks: list[int] = []
        self.stride, self.furthest, self.logged, self.committed = 1, -1, 0, -1
        self.restarts = getattr(self, "restarts", 0) + 1
        shutil.rmtree(self.run.checkpoints, ignore_errors=True)
        self.run.checkpoints.mkdir()
        self.run.log.write_bytes(b"")
        self.record.write()
        facts = {
            **environment(str(self.trainer.game.device)),
            "experiment": experiment.hash(),
            "data": {
                "fingerprint": self.trainer.game.source.fingerprint(),
                **self.trainer.game.source.spec.to_json(),
            },
            "protocols": {},
            "parameters": self.trainer.game.parameter_counts(),
            "plugins": {},
        }
        self.run.environment.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self.run.experiment.write_text(Resolved(experiment, {}).to_yaml(), encoding="utf-8")
        self._arrive()

    def reset(self, seed: int | None = None) -> None:
        """Step 0 with the settings of now; the record begins anew."""
        now = self.trainer.experiment
        self.begin(State(now if seed is None else now.model_copy(update={"seed": seed}), given=self.given))

    @property
    def step(self) -> int:
        return self.trainer.clock.step

    def state(self) -> State:
        return State(self.base, tuple(self.record.changes), self.step, self.given)

    # ---------------------------------------------------------------------------------------------------- changing

    def set(self, path: Any, value: Any) -> tuple[bool, list[str]]:
        """Change a value, live or from the start. Returns whether it started anew, and what had to start fresh."""
        path, text = checked(path, value)
        if self.given is not None and path.startswith("data."):
            raise UsageError(f"{path}: the points were given and have no options. Choose data=points(name=…) first.")
        if is_live(path):
            return False, self._now(Change(self.step, path, text))
        given = self.given if path != "data" else None
        self.begin(State(amended(self.trainer.experiment, path, text, given is not None), given=given))
        return True, []

    def lone_turns(self, player: str, count: int) -> None:
        """That many turns of one player alone, which are part of the record."""
        self._now(Change(self.step, TURN + player, str(count)))

    def _now(self, change: Change) -> list[str]:
        """Carry out a change at this step: it is the beginning of another future, the old one is dropped."""
        self.record.check_room()
        notes = self._apply(change)
        self.record.add(change)
        if self.furthest > self.step:
            self._forget()
        text = "; ".join([f"{change.path}={change.value}", *notes])
        self.run.append({"kind": "note", **self._place(), "text": text})
        return notes

    def _apply(self, change: Change) -> list[str]:
        if not change.path.startswith(TURN):
            after = amended(self.trainer.experiment, change.path, change.value, self.given is not None)
            self.trainer, notes = changed(self.trainer, after)
            return notes
        player = change.path.removeprefix(TURN)
        if player not in self.trainer.game.players:
            raise UsageError(unknown("player", player, self.trainer.game.players))
        for _ in range(int(change.value)):
            self.trainer.lone_turn(player)
        self.losses.update(_losses(self.trainer.health.flush()))
        return []

    def _forget(self) -> None:
        """Drop every trace of steps beyond this one."""
        step, samples = self.step, self.trainer.clock.samples
        self.snapshots.drop_after(step)
        self.rows = [row for row in self.rows if row[0] <= step]
        kept = [line for line in self.run.read_log() if line["step"] <= step]
        write_text_atomic(self.run.log, "".join(json.dumps(line) + "\n" for line in kept))
        for path in self.run.checkpoints.iterdir():
            if path.is_dir() and path.name.split("-")[0].isdigit() and int(path.name.split("-")[0]) > samples:
                shutil.rmtree(path)
        self.furthest, self.committed = step, -1
        self.forks.append(step)
        self.watch.forget_after(step)
        self.logged = max((line["step"] for line in kept if line["kind"] == "step"), default=0)

    # ------------------------------------------------------------------------------------------------------ moving

    def advance(self) -> None:
        """One step, and what the record holds for after it. Raises `NonFinite`."""
        for _ in self.moves():
            pass

    def moves(self) -> Iterator[str]:
        """The same, a player at a time: who has just moved."""
        for name, _ in self.trainer.moves():
            yield name
        self._arrive()

    def rewind(self, step: int, anew: bool = False) -> None:
        """Stand at `step` or, where there is none, the nearest earlier snapshot: from there the way is played again.
        Stays where it is if that is nearer, unless `anew`. Costs no steps."""
        nearest = self.snapshots.before(step)
        if anew or step < self.step or nearest.step > self.step:
            self.trainer = nearest.restore(self.trainer)
            self.record.rewind(nearest.step)
            self.window, self.losses = [], {}
            self._catch_up()

    def _arrive(self) -> None:
        means = self.trainer.health.flush()
        step, new = self.step, self.step > self.furthest
        if means:
            self.losses = _losses(means)
            self.window.append(means)
        self.losses.update(phase.place(self.trainer.game))
        self.watch.look(step, self.trainer)
        if new and step and step % self.stride == 0:
            self.rows.append((step, *(self.losses.get(name) for name in self.columns()[1:])))
            if len(self.rows) > ROWS:
                self.stride *= 2
                self.rows = [row for row in self.rows if row[0] % self.stride == 0]
        if step and step % LOG == 0:
            self._log()
        self.furthest = max(self.furthest, step)
        self.snapshots.offer(self.trainer)
        self._catch_up()

    def _catch_up(self) -> None:
        while change := self.record.due(self.step):
            self._apply(change)
            self.record.done += 1

    def columns(self) -> list[str]:
        """The heading of `rows`."""
        return ["step", *self.trainer.game.players, "p_real_above_fake", *phase.place(self.trainer.game)]

    def _log(self) -> None:
        """The line over the last `LOG` steps, the first time they are played; and the alarms, each time."""
        window, self.window = self.window, []
        names = dict.fromkeys(name for means in window for name in means)
        line = {n: float(np.mean([means[n] for means in window if n in means])) for n in names}
        if self.trainer.shown:
            line["spread"] = float(np.mean([spread(real, fake) for real, fake in self.trainer.shown]))
        early = self.step < YOUNG
        # A single point that is made has no spread, and is always on one side of the other: neither is news.
        texts = self.trainer.health.alarms({} if phase.place(self.trainer.game) else line, early)
        if not early:
            self.watch.judge(self.step, self.trainer, line.get("p_real_above_fake"))
        if self.step > self.logged:
            self.logged = self.step
            standing = list(self.trainer.health.standing)
            self.run.append({"kind": "step", **self._place(), **line, "alarms": standing})
            for text in texts:
                self.run.append({"kind": "alarm", **self._place(), "text": text})

    def _place(self) -> dict[str, Any]:
        return {"samples": self.trainer.clock.samples, "step": self.step, "seconds": 0.0}

    def alarms(self) -> list[dict[str, Any]]:
        """What is wrong, in words, and the one change to try first."""
        standing = [*self.trainer.health.standing, *self.watch.standing(self.step)]
        return [{"name": n, "text": TEXTS[n], "remedy": remedy(self.trainer.experiment, n)} for n in standing]

    def commit(self) -> None:
        """Write a checkpoint, with the experiment in force beside it, so that every command reads this run."""
        if self.committed == self.step:
            return
        tensors, values = state.capture(self.trainer)
        values["log_position"] = self.run.log_position()
        write_text_atomic(self.run.experiment, Resolved(self.trainer.experiment, {}).to_yaml())
        name = checkpoint.checkpoint_name(self.trainer.clock.samples)
        checkpoint.commit(self.run.checkpoints, name, tensors, values)
        self.committed = self.step


def _losses(means: dict[str, float]) -> dict[str, float]:
    return {k.removeprefix("loss/"): v for k, v in means.items() if k.startswith("loss/") or k == "p_real_above_fake"}

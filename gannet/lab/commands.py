"""What the page may ask of a session: each command a method, carried out by the session's thread between two steps."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gannet.core.errors import UsageError, unknown
from gannet.lab.changes import checked, is_live
from gannet.lab.frames import LAYERS
from gannet.lab.look import Probe
from gannet.lab.share import MOST_STEPS, Given, State, whole

if TYPE_CHECKING:
    from gannet.lab.session import Session


class Commands:
    """The commands of one session by name; what one returns is added to its answer. They raise `GannetError`."""

    def __init__(self, session: Session):
        self.session = session

    def play(self) -> None:
        if self.session.error is not None:
            self.session.free()
        self.session.playing, self.session.next_step = True, time.monotonic()

    def pause(self) -> None:
        self.session.playing, self.session.target = False, None

    def step(self, who: str = "both", n: int = 1) -> None:
        n = whole(n, "n", 1000, 1)
        players = list(self.session.playground.trainer.game.players)
        if who not in (*players, "both"):
            raise UsageError(unknown("player", str(who)[:100], [*players, "both"]))
        self.session.free()
        self.session.playing = False
        if who != "both":
            self.session.playground.lone_turns(who, n)
            return
        self.session.target = self.session.playground.step + n
        self.session.replay(time.monotonic() + 0.05)

    def speed(self, steps_per_second: float) -> None:
        self.session.speed = _number(steps_per_second, "steps_per_second", 100_000)
        self.session.next_step = time.monotonic()

    def slow(self, milliseconds: float) -> None:
        self.session.pause = _number(milliseconds, "milliseconds", 5000) / 1000
        if not self.session.pause:
            self.session.finish()
            self.session.stage = None
        self.session.next_step = time.monotonic()

    def set(self, path: str, value: Any) -> dict[str, Any]:
        if is_live(checked(path, value)[0]):
            self.session.free()
            anew, notes = self.session.playground.set(path, value)
        else:
            anew, notes = self.session.anew(lambda: self.session.playground.set(path, value))
        return {"restarted": anew, "notes": notes}

    def seek(self, step: int) -> None:
        step = whole(step, "step", MOST_STEPS)
        broken = self.session.error is not None
        if not broken:
            self.session.finish()
        self.session.error, self.session.stage, self.session.playing = None, None, False
        self.session.playground.rewind(step, broken)
        self.session.go_to(step)
        self.session.replay(time.monotonic() + 0.05)

    def reset(self, seed: int | None = None) -> None:
        number = None if seed is None else whole(seed, "seed", 2**63 - 1)
        self.session.anew(lambda: self.session.playground.reset(number))

    def load(self, state: Any) -> None:
        loaded = State.from_json(state)
        self.session.playing = False
        self.session.anew(lambda: self.session.playground.begin(replace(loaded, step=0)), loaded.step)

    def layers(self, **layers: bool) -> None:
        for name, on in layers.items():
            if name not in LAYERS or not isinstance(on, bool):
                raise UsageError(unknown("layer", name[:100], LAYERS) + " Each is true or false.")
        self.session.painter.layers.update(layers)

    def codes(self, category: int | None = None, continuous: float | None = None) -> None:
        """Show fakes of one value of an InfoGAN's codes beside the others; without values, no more."""
        place = None if continuous is None else _number(continuous, "continuous", 3, least=-3)
        number = None if category is None else whole(category, "category", 63)
        self.session.painter.probe = Probe(number, place)

    def data(self, kind: str, **what: Any) -> dict[str, Any]:
        if kind == "points":
            return self.set("data", f"points(name={json.dumps(what.get('name'))})")
        given = Given.read(kind, what)
        now = self.session.playground.trainer.experiment
        self.session.anew(lambda: self.session.playground.begin(State(now, given=given)))
        return {"restarted": True, "notes": []}


def _number(value: Any, name: str, most: float, least: float = 0) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{name}: received {str(value)[:40]!r}; it must be a number, {least:,} to {most:,}.")
    return float(value)

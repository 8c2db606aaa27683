"""A session as text: what is saved and shared, and what `gannet train` and Python make of it."""

from __future__ import annotations

import base64
import json
import shlex
import zlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from gannet.core.errors import Problems, UsageError, unknown
from gannet.core.experiment import Experiment, Turns
from gannet.core.overrides import Resolved, resolve
from gannet.core.spec import render
from gannet.data.drawn import FILE, Drawn, parse_csv, saved, scattered, strokes
from gannet.lab.changes import MOST_CHANGES, MOST_TURNS, TURN, Change, admitted, checked, is_live

PRESET = "lab"
VERSION = 1
MOST_STEPS = 1_000_000
MOST_JSON = 4_000_000
"""Characters of a state, after it has been unpacked."""
PEN = 0.02
"""Width of the pen over the larger side of what it drew."""
SCATTERED = 4_000
"""Points of an image."""
EXPORTS = ("csv", "command", "python", "yaml")


@dataclass(frozen=True)
class Given:
    """Points that were drawn, pasted or read from a picture: `rows` `[n, 1]` or `[n, 2]` float32. Of a "drawing" they
    are where the pen was, of "rows" the very data."""

    kind: Literal["drawing", "rows"]
    rows: np.ndarray

    @classmethod
    def of(cls, kind: Any, rows: Any) -> Given:
        """From JSON. Raises `DataError` for anything but 1 to 100,000 finite points, and `UsageError`."""
        if kind not in ("drawing", "rows"):
            raise UsageError(unknown("kind of points", str(kind)[:100], ["drawing", "rows"]))
        if not isinstance(rows, list | np.ndarray):
            raise UsageError("points: they must be a list of [x, y], or of [x] on the line.")
        return cls(kind, Drawn([*rows, *rows] if len(rows) == 1 and kind == "drawing" else rows).rows)

    @classmethod
    def read(cls, kind: Any, what: dict[str, Any]) -> Given:
        """What the page sends: the points of a "drawing", the text of a "csv", or a "density" as an image in base64.
        Raises `DataError` and `UsageError`."""
        key = {"drawing": "points", "csv": "text", "density": "png"}.get(str(kind))
        if key is None or set(what) != {key}:
            allowed = "points with a name, drawing with points, csv with a text, density with a png"
            raise UsageError(
                f"data: received {str(kind)[:100]!r} with {', '.join(map(str, what)) or 'nothing'}; allowed: {allowed}."
            )
        value = what[key]
        if kind == "drawing":
            return cls.of("drawing", value)
        if not isinstance(value, str):
            raise UsageError(f"data: {key} must be text.")
        if kind == "csv":
            return cls.of("rows", parse_csv(value))
        try:
            image = base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
        except ValueError:
            raise UsageError("data: png is no base64.") from None
        return cls.of("rows", scattered(image, SCATTERED).rows)

    @cached_property
    def plain(self) -> list[list[float]]:
        """Rows as the shortest numbers that are these in float32."""
        return [[float(str(number)) for number in row] for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "rows": self.plain}

    def source(self) -> Drawn:
        """What is trained on. A drawing is picks of its points with a little noise, as a pen has a width."""
        if self.kind == "rows":
            return Drawn(self.rows)
        return strokes(self.rows.tolist(), noise=PEN * max(float(np.ptp(self.rows, axis=0).max()), 1e-3))


@dataclass(frozen=True)
class State:
    """What a session is: the experiment it began as, every change in its order, and where it stands."""

    experiment: Experiment
    changes: tuple[Change, ...] = ()
    step: int = 0
    given: Given | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; `experiment` holds only what differs from the preset, by path."""
        different = difference(self.experiment)
        seed = different.pop("seed", 0)
        if self.given is not None:
            different = {k: v for k, v in different.items() if k.split(".")[0] != "data"}
        plain = {
            "version": VERSION,
            "experiment": different,
            "seed": seed,
            "changes": [change.to_json() for change in self.changes],
            "step": self.step,
        }
        return plain if self.given is None else {**plain, "points": self.given.to_json()}

    @classmethod
    def from_json(cls, value: Any) -> State:
        """Undo `to_json`. Everything is checked, as it may come from anybody. Raises `UsageError`."""
        if not isinstance(value, dict) or value.get("version") != VERSION:
            raise UsageError(f'this is no state of the laboratory: it must be a JSON object with "version": {VERSION}.')
        strange = sorted(set(value) - {"version", "experiment", "seed", "changes", "step", "points"})
        if strange:
            raise UsageError(f"a state has no {str(strange[0])[:100]!r}.")
        given = value.get("points")
        if given is not None and not (isinstance(given, dict) and set(given) == {"kind", "rows"}):
            raise UsageError('points: they must be {"kind": …, "rows": [[x, y], …]}.')
        changes = value.get("changes", [])
        if not isinstance(changes, list) or len(changes) > MOST_CHANGES:
            raise UsageError(f"changes: they must be a list of at most {MOST_CHANGES:,}.")
        read = tuple(_change(change) for change in changes)
        if any(a.step > b.step for a, b in pairwise(read)):
            raise UsageError("changes: they must stand in the order of their steps.")
        return cls(
            beginning(value.get("experiment", {}), whole(value.get("seed", 0), "seed", 2**63 - 1)),
            read,
            whole(value.get("step", 0), "step", MOST_STEPS),
            None if given is None else Given.of(given["kind"], given["rows"]),
        )

    def to_fragment(self) -> str:
        """Letters, digits, - and _: what stands behind the # of a shared address."""
        packed = zlib.compress(json.dumps(self.to_json(), separators=(",", ":")).encode(), 9)
        return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()

    @classmethod
    def from_fragment(cls, text: str) -> State:
        """Undo `to_fragment`. Raises `UsageError`, also for what would unpack to more than `MOST_JSON`."""
        try:
            unpacker = zlib.decompressobj()
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            plain = unpacker.decompress(raw, MOST_JSON)
            if not unpacker.eof:
                raise ValueError("cut off, or too long")
            return cls.from_json(json.loads(plain))
        except (ValueError, zlib.error, RecursionError) as error:
            raise UsageError(f"this address holds no state of the laboratory: {error}.") from None


def whole(value: Any, name: str, most: int, least: int = 0) -> int:
    """A whole number from JSON, or a `UsageError`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{name}: received {str(value)[:40]!r}; it must be a whole number, {least:,} to {most:,}.")
    return value


def _change(value: Any) -> Change:
    if not isinstance(value, dict) or set(value) != {"step", "path", "value"}:
        raise UsageError('a change must be {"step": …, "path": …, "value": …}.')
    step = whole(value["step"], "step of a change", MOST_STEPS)
    path, text = checked(value["path"], value["value"])
    if path.startswith(TURN):
        count = int(text) if text.isdigit() else text
        return Change(step, path, str(whole(count, "lone turns", MOST_TURNS, 1)))
    if not is_live(path):
        raise UsageError(f"{path} cannot change while a game is played: put it into the experiment.")
    return Change(step, path, text)


def beginning(values: Any, seed: int = 0) -> Experiment:
    """The preset with `values` by path, if it may be played here. Raises `UsageError`."""
    if not isinstance(values, dict):
        raise UsageError("experiment: it must be a JSON object of values by path.")
    read: dict[str, Any] = {}
    for path, value in values.items():
        is_live(str(path))
        if isinstance(value, dict):
            read[path] = {k: checked(f"{path}.{k}", v)[1] for k, v in value.items()}
        else:
            read[path] = checked(path, value)[1]
    try:
        return admitted(resolve(PRESET, {**read, "seed": seed}, "the state").experiment)
    except Problems as error:
        raise UsageError("\n".join(error.problems)) from None


def difference(experiment: Experiment) -> dict[str, Any]:
    """What sets `experiment` apart from the preset, by path: `resolve(PRESET, difference(e)).experiment == e`."""
    preset = resolve(PRESET).experiment.canonical()
    found: dict[str, Any] = {}
    for key, value in experiment.canonical().items():
        if key == "players":
            usual = Turns().model_dump(mode="json")
            found |= {f"players.{n}.{k}": v for n, turns in value.items() for k, v in turns.items() if usual[k] != v}
        elif isinstance(value, dict) and set(value) >= set(preset[key]):
            found |= {f"{key}.{k}": v for k, v in value.items() if k not in preset[key] or preset[key][k] != v}
        elif value != preset[key]:
            found[key] = value
    return found


# ---------------------------------------------------------------------------------------------------------- exports


def export(kind: str, state: State, now: Experiment, samples: int, history: list[tuple[Any, ...]]) -> str:
    """A session as text of `kind`, one of `EXPORTS`: the rows of `history` (the first is the heading), or the
    experiment in force `now`, to be trained for `samples` from the start. Raises `UsageError`."""
    if kind not in EXPORTS:
        raise UsageError(unknown("kind of export", kind[:100], EXPORTS))
    if kind == "csv":
        return "".join(",".join("" if cell is None else f"{cell}" for cell in row) + "\n" for row in history)
    if state.given is not None:
        now = now.model_copy(update={"data": saved(FILE)})
    now = now.model_copy(update={"stop": now.stop.model_copy(update={"samples": max(1, samples)})})
    if kind == "yaml":
        return _remarks(state) + Resolved(now, {}).to_yaml()
    words = {path: value if isinstance(value, str) else render(value) for path, value in difference(now).items()}
    if kind == "command":
        return _remarks(state) + shlex.join(["gannet", "train", PRESET, *(f"{k}={v}" for k, v in words.items())]) + "\n"
    values = "".join(f"    {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)},\n" for k, v in words.items())
    call = f'run, outcome = api.train("{PRESET}", {{\n{values}}})'
    return f"{_remarks(state)}from gannet import api\n\n{call}\nprint(run.path, outcome.samples)\n"


def _remarks(state: State) -> str:
    lines = []
    if state.given is not None:
        lines.append(f"# Needs {FILE} beside it, with the points that were given: it lies in the session's directory.")
    settings = [change for change in state.changes if change.step <= state.step]
    if settings:
        steps = ", ".join(f"{change.path}={change.value} after step {change.step:,}" for change in settings[:20])
        lines.append("# This trains with the last settings from the first step on. In the laboratory they were set as")
        lines.append(f"# it ran: {steps}{' …' if len(settings) > 20 else ''}.")
    return "".join(line + "\n" for line in lines)

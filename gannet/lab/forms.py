"""Forms for parts, from the signatures of the registries: what a person may choose, and in which bounds."""

from __future__ import annotations

import contextlib
import inspect
import re
import types
import typing
from functools import cache
from typing import Any

import numpy as np

from gannet.core import registry
from gannet.core.errors import GannetError
from gannet.core.experiment import Experiment
from gannet.core.overrides import resolve
from gannet.core.registry import Option, Registry
from gannet.core.schedule import Schedule
from gannet.core.spec import render
from gannet.data.points import SHAPES
from gannet.engine.assembly import assemble
from gannet.engine.trainer import Trainer
from gannet.lab.changes import MOST, amended, is_live
from gannet.lab.share import PRESET

PARTS: dict[str, tuple[str, Registry[Any], str]] = {
    "objectives": ("objective", registry.OBJECTIVES, "objective"),
    "regularizers": ("regularizers", registry.REGULARIZERS, "regularizers"),
    "constraints": ("constraints", registry.CONSTRAINTS, "constraints"),
    "augment": ("augment", registry.AUGMENTATIONS, "augment"),
    "optimisers": ("optim", registry.OPTIMISERS, "optim.discriminator"),
    "opponents": ("opponent", registry.OPPONENTS, "opponent"),
    "tasks": ("task", registry.TASKS, "task"),
    "generators": ("generator", registry.GENERATORS, "generator"),
    "discriminators": ("discriminator", registry.DISCRIMINATORS, "discriminator"),
}
"""A list of the catalog: the key of the experiment, whose registry, and where a trial puts one of it."""
SETTINGS = {
    "batch": "integer",
    "players.discriminator.repeats": "integer",
    "players.generator.repeats": "integer",
    "ema.halflife": "number",
    "ema.ramp": "number",
    "share": "choice",
    "seed": "integer",
    "stop.samples": "integer",
}
"""Values that belong to no part."""
UNLISTED = ("dirac",)
"""Densities that only a lesson needs: networks of the usual kind have nothing to learn there."""
AT_LEAST_ONE = ("width", "layers", "latent", "n", "batch", "repeats", "every", "steps", "pack", "samples", "warmup")
SHARES = ("share", "momentum", "dropout", "slope", "decay", "ramp")
"""Numbers from 0 to 1."""


@cache
def catalog() -> dict[str, Any]:
    """Every part with which the preset's game can be played on points, by kind, each tried for a step; `preset` is
    what a session begins with."""
    found: dict[str, Any] = {"data": [_shape(name) for name in SHAPES if name not in UNLISTED]}
    for kind, (key, parts, place) in PARTS.items():
        names = [name for name in parts.names() if _plays(place, name)]
        found[kind] = [entry(parts, name, is_live(key if key != "optim" else place)) for name in names]
    activations = next(o for o in registry.GENERATORS.options("mlp").values() if o.name == "activation")
    found["activations"] = [{"name": str(n)} for n in typing.get_args(activations.type)]
    found["settings"] = [_setting(path, kind) for path, kind in SETTINGS.items()]
    found["preset"] = resolve(PRESET).experiment.canonical()
    return found


def entry(parts: Registry[Any], name: str, live: bool) -> dict[str, Any]:
    """What the page shows of one part: its first line, its losses, its options."""
    doc = inspect.getdoc(parts.get(name)) or ""
    formula = [sentence for sentence in _sentences(doc) if "L_D" in sentence or "L_G" in sentence]
    options = [form(option) for option in parts.options(name).values() if option.name != "path"]
    return {"name": name, "doc": doc.split("\n")[0], "formula": formula or None, "options": options, "live": live}


def _sentences(doc: str) -> list[str]:
    """A docstring's sentences, each on one line. A sentence ends with a full stop that follows no digit and stands
    before a capital; a line that begins with a loss begins another one."""
    paragraphs = [re.sub(r"\n(?! *L_[DG] =) *", " ", p).split("\n") for p in doc.split("\n\n")]
    lines = [line.strip() for paragraph in paragraphs for line in paragraph]
    return [s for line in lines for s in re.split(r"(?<=[^\d\s]\.) +(?=[A-Z`(])", line) if s]


def form(option: Option) -> dict[str, Any]:
    """How one option is asked for: `type` is number, integer, boolean, choice, schedule or text; one that may be left
    out is `optional`."""
    wanted, optional = option.type, False
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        inner = [t for t in typing.get_args(wanted) if t is not type(None)]
        optional = len(inner) < len(typing.get_args(wanted))
        wanted = inner[0] if len(inner) == 1 else None
    asked: dict[str, Any] = {"name": option.name, "type": "text", "default": _default(option)}
    if typing.get_origin(wanted) is typing.Literal:
        asked |= {"type": "choice", "choices": [str(choice) for choice in typing.get_args(wanted)]}
    elif wanted is Schedule:
        asked["type"] = "schedule"
    elif wanted in (bool, int, float):
        asked["type"] = {bool: "boolean", int: "integer", float: "number"}[wanted]
    if optional:
        asked["optional"] = True
    return asked | (_bounds(option.name) if asked["type"] in ("integer", "number") else {})


def _default(option: Option) -> Any:
    value = None if option.default is Option.required else option.default
    if isinstance(value, Schedule):
        return str(value)
    return value if isinstance(value, bool | int | float | str | None) else render(value)


def _bounds(name: str) -> dict[str, int]:
    if name in SHARES:
        return {"least": 0, "most": 1}
    least = {"least": 1} if name in AT_LEAST_ONE else {}
    return least | ({"most": MOST[name]} if name in MOST else {})


def _shape(name: str) -> dict[str, Any]:
    shape = SHAPES[name]
    dimensions = shape.draw(1, np.random.default_rng(0))[0].shape[1]
    modes = 0 if shape.centres is None else len(shape.centres)
    text = f"{modes} modes" if modes else f"{shape.components} components" if shape.components else "one piece"
    options = [form(o) for o in registry.SOURCES.options("points").values() if o.name in ("n", "seed", "classes")]
    return {
        "name": name,
        "doc": f"{text} {'on the line' if dimensions == 1 else 'in the plane'}",
        "formula": None,
        "options": options,
        "live": False,
        "dimensions": dimensions,
        "modes": modes,
        "view": list(shape.view),
    }


def _setting(path: str, kind: str) -> dict[str, Any]:
    name = path.rpartition(".")[2]
    value: Any = resolve(PRESET).experiment.canonical()
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if name == "repeats" and value is None:
        value = 1
    shown = {"name": path, "path": path, "type": kind, "default": value, "live": is_live(path)}
    if kind == "choice":
        shown["choices"] = list(typing.get_args(Experiment.model_fields[path].annotation))
    return shown | (_bounds(name) if kind != "choice" else {})


def _plays(place: str, name: str) -> bool:
    """Whether a small game of the preset with this part can be assembled and played for a step."""
    path = f"{place}.{name}" if place in ("regularizers", "constraints", "augment") else place
    small = {"data": 'points(name="ring", n=64)', "batch": 8, "generator.width": 4, "discriminator.width": 4}
    if place == "task":
        small |= {"generator.latent": 16}  # codes are a part of it
    with contextlib.suppress(GannetError, RuntimeError, ValueError, IndexError):
        Trainer(assemble(amended(resolve(PRESET, small).experiment, path, name))).advance()
        return True
    return False

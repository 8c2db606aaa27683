"""What an experiment refuses, in our words: the place, what was received and from where, and the right form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gannet.core.errors import nearest
from gannet.core.experiment import SECTIONS, Experiment, Turns
from gannet.core.spec import Spec, render

KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text"}
EXTENT = 'it must be an extent, a share as "50%" or a number of samples as 200_000'
BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
EXAMPLES = {
    "stop": "stop.minutes=5",
    "stop.samples": "stop.samples=200_000",
    "stop.target": "stop.target=10",
    "stop.patience": "stop.patience=3",
    "ema": "ema.halflife=2000",
    "evaluate": "evaluate.n=1000",
    "evaluate.metrics": "evaluate.metrics=[frechet, recall]",
    "evaluate.extractor": "evaluate.extractor=classifier",
    "keep": 'keep.log="1%"',
    "players": "players.discriminator.repeats=2",
    "clip": "clip.discriminator=1",
    "optim": "optim.generator=adam(lr=2e-4), or only optim.generator.lr=2e-4",
    "regularizers": "regularizers.r1=r1(weight=10), or only regularizers.r1.weight=10 where r1 is there",
    "constraints": "constraints.clip=clip(limit=0.01)",
    "augment": "augment=diffaugment",
    "controllers": "controllers=[steer-penalty, steer-rate]",
    "threads": "threads=2",
}
"""The right form of whatever has no telling default."""


def explain(error: Any, origins: Mapping[str, str]) -> str:
    """One line for an error of pydantic's."""
    where = [str(part) for part in error["loc"]]
    extent = where[-1] in ("str", "int")  # the two kinds an extent may be of, which are tried one after the other
    where = where[:-1] if extent else where
    path, received = ".".join(where), error["input"]
    if error["type"] == "extra_forbidden":
        allowed = SECTIONS.get(where[0], Turns).model_fields
        close = nearest(where[-1], allowed)
        hint = f" Did you mean: {', '.join(close)}?" if close else ""
        return f"unknown key '{path}' ({origin_of(path, origins)}).{hint} Allowed: {', '.join(allowed)}."
    if isinstance(received, dict) and received:
        below = f"{path}.{next(iter(received))}"
        return f"unknown key '{below}' ({origin_of(below, origins)}): {path} is one value, as in {example(path)}."
    wanted = EXTENT if extent else _wanted(error, where)
    return refused(path, render(received), origin_of(path, origins), wanted)


def refused(path: str, received: str, origin: str, wanted: str) -> str:
    """One line for a value that is not allowed; with an example, unless `wanted` has its own."""
    shown = "" if " as " in wanted else f", as in {example(path)}"
    return f"{path}: received {received} ({origin}); {wanted}{shown}."


def _wanted(error: Any, where: list[str]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"it must be {context['expected']}"
    if kind in BOUNDS:
        word, key = BOUNDS[kind]
        return f"it must be {word} {context[key]:g}"
    if kind.partition("_")[0] in KINDS:
        return f"it must be {KINDS[kind.partition('_')[0]]}"
    if where[0] in SECTIONS or (where[0] == "players" and len(where) == 2):
        return f"it is set key by key ({', '.join(SECTIONS.get(where[0], Turns).model_fields)})"
    return "it is set player by player" if where[0] in ("players", "clip", "optim") else "it must be a part"


def example(path: str) -> str:
    """`key=value` that would be accepted at `path`: its default where that says something, or a known good one."""
    top, last = path.partition(".")[0], path.rpartition(".")[2]
    inside = Turns() if top == "players" else getattr(Experiment(), top)
    default = inside if path == top else getattr(inside, last, None)
    if path in EXAMPLES or default is None:
        return next(EXAMPLES[p] for p in (path, path.rpartition(".")[0], top) if p in EXAMPLES)
    return f"{path}={default if isinstance(default, Spec) else render(default)}"


def origin_of(path: str, origins: Mapping[str, str]) -> str:
    """Where the value at `path` was set: by the key nearest to it, rather one below than one above."""
    below = [p for p in origins if p.startswith(path + ".")]
    above = [p for p in origins if p == path or path.startswith(p + ".")]
    return origins[max(above, key=len)] if above and not below else origins[below[0]] if below else "default"

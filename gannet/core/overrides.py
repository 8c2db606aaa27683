"""From a preset and `key=value` words to an experiment; every value remembers where it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gannet.core import registry
from gannet.core.errors import Problems, UsageError, nearest, unknown
from gannet.core.experiment import SECTIONS, Ema, Experiment, Stop, as_parts, as_spec, data_shorthand
from gannet.core.mistakes import explain, refused
from gannet.core.presets import preset_text, read_yaml
from gannet.core.spec import Spec, from_yaml, parse_value, render
from gannet.core.vocabulary import meant


class Resolved:
    """An experiment with the origin of every value: `origins["optim.generator.lr"] == "command line"`."""

    def __init__(self, experiment: Experiment, origins: dict[str, str]):
        self.experiment = experiment
        self.origins = origins

    def origin(self, path: str) -> str:
        """Where the value at `path` (or the nearest enclosing one) was set."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path.rpartition(".")[0]
        return "default"

    def to_yaml(self) -> str:
        """Re-runnable text, one top-level key a line group, each with its origin as a comment."""
        lines = []
        for key, value in self.experiment.canonical().items():
            dumped = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=200).rstrip().split("\n")
            nested = [o for p, o in self.origins.items() if p.startswith(key + ".") and o != self.origin(key)]
            comment = ", ".join(dict.fromkeys([self.origin(key), *nested]))
            lines += [f"{dumped[0]}  # {comment}", *dumped[1:]]
        return "\n".join(lines) + "\n"


def resolve(preset: str, overrides: Mapping[str, Any] | list[str] = (), origin: str = "command line") -> Resolved:  # type: ignore[assignment]
    """The experiment named `preset` (or in a YAML file) with `key=value` overrides.

    All problems are found in one pass and raised together as `Problems`.
    """
    label = f"preset {preset}" if not preset.endswith((".yaml", ".yml")) else preset
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    for key, value in read_yaml(preset_text(preset), label).items():
        _assign(tree, str(key), value, label, origins, problems)
    if "preset" not in tree:
        tree["preset"] = Path(preset).stem
    given = [("start_from" if key == "from" else key, value) for key, value in split_overrides(overrides, problems)]
    asked = {key for key, _ in given}
    for end, other in (("samples", "minutes"), ("minutes", "samples")):
        # Whoever names an end replaces the preset's own: its minutes would cut a longer run short unseen.
        if f"stop.{end}" in asked and not asked & {"stop", f"stop.{other}"}:
            _assign(tree, f"stop.{other}", None, origin, origins, problems)
    for key, value in given:
        _assign(tree, key, value, origin, origins, problems)
    return validate(tree, origins, problems)


def amend(resolved: Resolved, values: Mapping[str, Any], origin: str) -> Resolved:
    """The experiment with further `values` at the paths that only its preset or the defaults have set: what a person
    asked for stays. Arguments they gave to a part whose name is the preset's are handed on to the part in its place."""
    tree, origins = resolved.experiment.canonical(), dict(resolved.origins)
    problems: list[str] = []
    own = {f"preset {resolved.experiment.preset}", "default"}
    for path, value in values.items():
        theirs = {p: o for p, o in origins.items() if p.startswith(path + ".") and o not in own}
        if resolved.origin(path) not in own or (theirs and path not in SINGLE_PARTS):
            continue
        _assign(tree, path, value, origin, origins, problems)
        for below, whose in theirs.items():
            _assign(tree, below, _argument(getattr(resolved.experiment, path), below), whose, origins, problems)
    return validate(tree, origins, problems)


def _argument(spec: Spec, path: str) -> Any:
    """What `path`, such as generator.latent, is in `spec`, the generator."""
    for key in path.split(".")[1:]:
        spec = spec.args[key]
    return spec


def split_overrides(overrides: Mapping[str, Any] | list[str], problems: list[str]) -> list[tuple[str, Any]]:
    """`["batch=32", …]` or `{"batch": 32}` as pairs; a word without "=" is a problem."""
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    pairs = []
    for word in overrides:
        key, equals, value = word.partition("=")
        if equals and key:
            pairs.append((key.strip(), value.strip()))
        else:
            problems.append(f"'{word}' is not an override. Write key=value, as in batch=32.")
    return pairs


def _assign(
    tree: dict[str, Any], path: str, value: Any, origin: str, origins: dict[str, str], problems: list[str]
) -> None:
    """Set `path` in the tree, descending through sections, part mappings and the arguments of specs."""
    try:
        _set(tree, path.split("."), _read(path, value, origin), path, origin)
    except UsageError as error:
        problems.append(str(error))
        return
    except ValueError as error:
        problems.append(refused(path, value if isinstance(value, str) else render(value), origin, str(error)))
        return
    for old in [p for p in origins if p.startswith(path + ".")]:
        del origins[old]
    if isinstance(value, dict):
        origins.update({f"{path}.{k}": origin for k in value})
    else:
        origins[path] = origin


def _read(path: str, value: Any, origin: str) -> Any:
    if path == "data" and isinstance(value, str):
        return data_shorthand(value)
    if not isinstance(value, str):
        return from_yaml(value, path)
    if re.fullmatch(r"-?\d+,\d+", value):
        raise UsageError(f"{path}: '{value}' is not a number ({origin}). Use a dot: {path}={value.replace(',', '.')}")
    if re.fullmatch(r"\d+(\.\d+)?%", value):
        return value
    if path.split(".")[-1] in ("path", "device", "preset", "start_from") and "(" not in value:
        return value.strip("\"'")
    try:
        read = parse_value(value, path)
    except UsageError as error:
        raise UsageError(f"{error} ({origin})") from None
    is_part = path.split(".")[0] in PART_KEYS
    return str(read) if isinstance(read, Spec) and not is_part else read


def _set(node: Any, keys: list[str], value: Any, path: str, origin: str) -> None:
    head, rest = keys[0], keys[1:]
    top = len(keys) == len(path.split("."))
    if top and head not in Experiment.model_fields:
        if here := meant("key", head):
            raise UsageError(f"unknown key '{path}' ({origin}). Did you mean: {here}?")
        names = list(Experiment.model_fields)
        close = nearest(head, [*names, *Stop.model_fields, *Ema.model_fields])
        found = [
            n if n in names else next(f"{s}.{n}" for s, m in SECTIONS.items() if n in m.model_fields) for n in close
        ]
        defaults = Experiment().canonical()
        shown = [
            f"{n} (={render(defaults[n])})" if n in defaults and not isinstance(defaults[n], dict) else n for n in found
        ]
        hint = f" Did you mean: {', '.join(shown)}?" if shown else f" Allowed: {', '.join(names)}."
        raise UsageError(f"unknown key '{path}' ({origin}).{hint}")
    if not rest:
        if isinstance(value, list) and head in LISTS:
            value = as_parts(value)
        node[head] = as_parts(value) if isinstance(value, Spec) and head in LISTS else value
        return
    child = node.get(head)
    if child is None and top and head in _DEFAULT_SPECS:
        child = _DEFAULT_SPECS[head]
    if top and head == "optim" and len(rest) > 1:  # a player without an optimiser of its own has the default one
        child = {rest[0]: Spec("adam"), **(child or {})}
    if isinstance(child, str):
        child = as_spec(child)
    if isinstance(child, Spec):
        node[head] = _set_argument(child, rest, value, path, origin)
        return
    if child is None:
        child = {}
    if not isinstance(child, dict):
        raise UsageError(f"{path}: {head} has no parts to set ({origin}).")
    removes = head in LISTS and len(rest) == 1 and value is None
    if head in LISTS and rest[0] not in child and (len(rest) > 1 or removes):
        present = ", ".join(child) or "none"
        raise UsageError(
            f"{path}: there is no {head.removesuffix('s')} '{rest[0]}' in this experiment ({origin}). "
            f"Present: {present}. Add one with {head}.{rest[0]}={rest[0]}(…)."
        )
    child = dict(child)
    node[head] = child
    if removes:
        del child[rest[0]]
    else:
        _set(child, rest, value, path, origin)


def _set_argument(spec: Spec, keys: list[str], value: Any, path: str, origin: str) -> Spec:
    if len(keys) == 1:
        return spec.with_arg(keys[0], value)
    inner = spec.args.get(keys[0])
    if not isinstance(inner, Spec):
        raise UsageError(f"{path}: {spec.name}.{keys[0]} has no parts to set ({origin}).")
    return spec.with_arg(keys[0], _set_argument(inner, keys[1:], value, path, origin))


LISTS = ("regularizers", "constraints", "augment", "controllers")
"""Keys that hold several parts, each by its name."""
_DEFAULT_SPECS = {k: f.default for k, f in Experiment.model_fields.items() if isinstance(f.default, Spec)}
_PART_REGISTRIES: dict[str, tuple[registry.Registry[Any], ...]] = {
    "task": (registry.TASKS,),
    "data": (registry.SOURCES,),
    "generator": (registry.GENERATORS, registry.TRANSLATORS),
    "discriminator": (registry.DISCRIMINATORS,),
    "encoder": (registry.DISCRIMINATORS,),
    "objective": (registry.OBJECTIVES,),
    "regularizers": (registry.REGULARIZERS,),
    "constraints": (registry.CONSTRAINTS,),
    "augment": (registry.AUGMENTATIONS,),
    "opponent": (registry.OPPONENTS,),
    "controllers": (registry.CONTROLLERS,),
    "optim": (registry.OPTIMISERS,),
}
PART_KEYS = set(_PART_REGISTRIES)
SINGLE_PARTS = PART_KEYS - {*LISTS, "optim"}
"""Keys that hold one part."""


def _registry_of(registries: tuple[registry.Registry[Any], ...], spec: Spec, where: str) -> registry.Registry[Any]:
    """The one of `registries` that knows the name of `spec`."""
    for candidate in registries:
        if spec.name in candidate.names():
            return candidate
    raise UsageError(unknown(registries[0].kind, spec.name, [n for r in registries for n in r.names()], where))


def validate(tree: dict[str, Any], origins: dict[str, str], problems: list[str]) -> Resolved:
    """Check types, names and arguments of the whole tree; raise every problem at once."""
    try:
        experiment = Experiment.model_validate(tree)
    except ValidationError as error:
        problems += dict.fromkeys(explain(e, origins) for e in error.errors())
        raise Problems(problems) from None
    parts: list[tuple[str, Spec, tuple[registry.Registry[Any], ...]]]
    parts = [("evaluate.metrics", spec, (registry.METRICS,)) for spec in experiment.evaluate.metrics or []]
    if experiment.evaluate.extractor is not None:
        parts.append(("evaluate.extractor", experiment.evaluate.extractor, (registry.EXTRACTORS,)))
    for key, registries in _PART_REGISTRIES.items():
        value = getattr(experiment, key)
        named = {f"{key}.{n}": s for n, s in value.items()} if isinstance(value, dict) else {key: value}
        parts += [(path, spec, registries) for path, spec in named.items()]
    for path, spec, registries in parts:
        try:
            _registry_of(registries, spec, path).resolve(spec, path)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise Problems(problems, "See every key with: gannet explain " + (experiment.preset or "PRESET"))
    return Resolved(experiment, origins)

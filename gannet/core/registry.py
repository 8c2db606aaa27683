"""Registries: a name for every part, found by scanning the rooms, never by import path.

A part registers itself where it is defined; its constructor's signature is its schema: argument names, types,
defaults and (from the docstring) help. Context the engine supplies (the `DataSpec`, say) is positional; everything a
user may set is keyword-only.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gannet.core.errors import UsageError, nearest, unknown
from gannet.core.schedule import Schedule, schedule_from
from gannet.core.spec import Spec, parse, render
from gannet.core.vocabulary import meant

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """One argument a user may set: its annotation, its default (`Option.required` if none)."""

    name: str
    type: Any
    default: Any

    required: typing.ClassVar[object] = object()

    def shown(self) -> str:
        """`name (=default)`."""
        if self.default is Option.required:
            return self.name
        return f"{self.name} (={self.default if isinstance(self.default, Schedule) else render(self.default)})"


class Registry(Generic[T]):
    """Parts of one kind by name. Looking anything up first imports `room` and every module in it, once."""

    def __init__(self, kind: str, room: str):
        self.kind = kind
        self.room = room
        self._parts: dict[str, type[T]] = {}
        self._options: dict[type[T], dict[str, Option]] = {}  # read once: the laboratory asks at every click
        self._scanned = False

    def register(self, name: str) -> Callable[[type[Any]], type[Any]]:
        """Class decorator: make the class available as `name`."""

        def add(part: type[Any]) -> type[Any]:
            if name in self._parts and self._parts[name].__qualname__ != part.__qualname__:
                raise ValueError(f"two {self.kind}s are called {name!r}: {self._parts[name]} and {part}")
            self._parts[name] = part
            return part

        return add

    def _scan(self) -> None:
        if self._scanned:
            return
        room = importlib.import_module(self.room)
        for module in pkgutil.iter_modules(getattr(room, "__path__", [])):
            importlib.import_module(f"{self.room}.{module.name}")
        self._scanned = True

    def names(self) -> list[str]:
        self._scan()
        return sorted(self._parts)

    def get(self, name: str, where: str = "") -> type[T]:
        """The class called `name`; an unknown name is a `UsageError` with the nearest ones."""
        self._scan()
        if name not in self._parts:
            raise UsageError(unknown(self.kind, name, self._parts, where))
        return self._parts[name]

    def describe(self, name: str) -> str:
        """First line of the part's docstring."""
        return (inspect.getdoc(self.get(name)) or "").split("\n")[0]

    def options(self, name: str, where: str = "") -> dict[str, Option]:
        """What a user may set on `name`: the keyword-only arguments of its constructor."""
        part = self.get(name, where)
        if part not in self._options:
            self._options[part] = _options(part)
        return dict(self._options[part])

    def resolve(self, spec: Spec | str, where: str = "") -> dict[str, Any]:
        """Checked arguments of `spec`, defaults included. Positional arguments fill the options in their order.

        Raises `UsageError` for a name, argument or value that is not allowed.
        """
        spec = parse(spec, where) if isinstance(spec, str) else spec
        options = self.options(spec.name, where)
        names = list(options)
        if len(spec.positional) > len(names):
            raise UsageError(
                f"{_at(where)}{spec.name} takes at most {len(names)} arguments ({', '.join(names)}), got {spec}."
            )
        given = dict(zip(names, spec.positional, strict=False))
        for key, value in spec.args.items():
            if key in given:
                raise UsageError(f"{_at(where)}{spec.name}: {key} is given twice in {spec}.")
            if key not in options:
                here = meant(f"{self.kind} option", key)
                close = [here] if here in options else nearest(key, names)
                hint = f" Did you mean: {', '.join(options[n].shown() for n in close)}?" if close else ""
                hint = f" Here that is {here}." if "." in here else hint  # a key of the experiment
                allowed = ", ".join(names) or "nothing"
                raise UsageError(f"{_at(where)}{spec.name} has no option '{key}'.{hint} It takes: {allowed}.")
            given[key] = value
        missing = [n for n, o in options.items() if o.default is Option.required and n not in given]
        if missing:
            raise UsageError(f"{_at(where)}{spec.name} needs {', '.join(missing)}, as in {spec.name}({missing[0]}=…).")
        checked = {n: o.default for n, o in options.items()}
        for key, value in given.items():
            checked[key] = coerce(value, options[key].type, f"{where}.{key}" if where else f"{spec.name}.{key}")
        return checked

    def build(self, spec: Spec | str, *context: Any, where: str = "") -> T:
        """The part `spec` describes; `context` goes to the constructor first."""
        spec = parse(spec, where) if isinstance(spec, str) else spec
        arguments = self.resolve(spec, where)
        try:
            return self.get(spec.name, where)(*context, **arguments)
        except UsageError as error:
            raise UsageError(str(error) if not where or str(error).startswith(where) else f"{where}: {error}") from None


def _options(part: type[Any]) -> dict[str, Option]:
    hints = typing.get_type_hints(part.__init__)
    found = {}
    for parameter in inspect.signature(part.__init__).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = Option.required if parameter.default is inspect.Parameter.empty else parameter.default
            found[parameter.name] = Option(parameter.name, hints.get(parameter.name, Any), default)
    return found


def coerce(value: Any, wanted: Any, where: str) -> Any:
    """`value` as the annotated type, or a `UsageError` naming the place. Never guesses: `1` is an int and a float,
    text is a number to nobody."""
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is Any or wanted is inspect.Parameter.empty:
        return value
    if origin in (typing.Union, types.UnionType):
        problems = []
        for option in sorted(inner, key=lambda t: t is str):
            try:
                return coerce(value, option, where)
            except UsageError as error:
                problems.append(str(error))
        raise UsageError(
            problems[0] if len(problems) == 1 else f"{where}: {render(value)} is not {_type_name(wanted)}."
        )
    if origin is typing.Literal:
        text = value.name if isinstance(value, Spec) and not value.args and not value.positional else value
        if text is None and "none" in inner:  # spec text reads the word none as the value
            return "none"
        if text in inner and isinstance(text, bool) == any(text is i for i in inner if isinstance(i, bool)):
            return text
        raise UsageError(unknown("value", str(text), [str(i) for i in inner], where))
    if wanted is type(None) or wanted is None:
        if value is None:
            return None
    elif wanted is Schedule:
        return schedule_from(value, where)
    elif wanted is Spec:
        if isinstance(value, Spec):
            return value
        if isinstance(value, str):
            return parse(value, where)
    elif wanted is bool:
        if isinstance(value, bool):
            return value
    elif wanted is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif wanted is float:
        if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            return float(value)
    elif wanted is str:
        if isinstance(value, Spec) and not value.args and not value.positional:
            return value.name
        if isinstance(value, str):
            return value
    elif origin is tuple:
        items = list(value) if isinstance(value, list | tuple) else [value]
        kinds = [inner[0]] * len(items) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        if len(items) == len(kinds):
            return tuple(coerce(item, kind, where) for item, kind in zip(items, kinds, strict=True))
    elif isinstance(wanted, type) and isinstance(value, wanted):
        return value
    raise UsageError(f"{where}: {render(value)} is not {_type_name(wanted)}.{_hint(value)}")


def _hint(value: Any) -> str:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, int) for v in value):
        return f" Write a decimal point, not a comma: {value[0]}.{value[1]}."
    return ""


def _type_name(wanted: Any) -> str:
    plain = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        type(None): "none",
        Spec: "a part",
    }
    if wanted in plain:
        return plain[wanted]
    if wanted is Schedule:
        return "a number or a schedule such as cosine(1, 0.1)"
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(i) for i in inner)
    if origin is tuple:
        return "a list of " + (
            _type_name(inner[0]) + "s" if Ellipsis in inner else ", ".join(_type_name(i) for i in inner)
        )
    return getattr(wanted, "__name__", str(wanted))


def _at(where: str) -> str:
    return f"{where}: " if where else ""


GENERATORS: Registry[Any] = Registry("generator", "gannet.networks")
DISCRIMINATORS: Registry[Any] = Registry("discriminator", "gannet.networks")
TRANSLATORS: Registry[Any] = Registry("translator", "gannet.networks")
OBJECTIVES: Registry[Any] = Registry("objective", "gannet.losses")
REGULARIZERS: Registry[Any] = Registry("regularizer", "gannet.losses")
CONSTRAINTS: Registry[Any] = Registry("constraint", "gannet.losses")
AUGMENTATIONS: Registry[Any] = Registry("augmentation", "gannet.augment")
SOURCES: Registry[Any] = Registry("data source", "gannet.data")
TASKS: Registry[Any] = Registry("task", "gannet.tasks")
METRICS: Registry[Any] = Registry("metric", "gannet.metrics")
EXTRACTORS: Registry[Any] = Registry("extractor", "gannet.metrics")
OPTIMISERS: Registry[Any] = Registry("optimiser", "gannet.engine.optimisers")
OPPONENTS: Registry[Any] = Registry("opponent", "gannet.losses")
CONTROLLERS: Registry[Any] = Registry("controller", "gannet.engine.controllers")

# An encoder is the trunk of a discriminator with another answer.
NETWORKS = {
    "generator": GENERATORS,
    "discriminator": DISCRIMINATORS,
    "encoder": DISCRIMINATORS,
    "translator": TRANSLATORS,
}

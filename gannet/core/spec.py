"""Spec text: `r1(weight=cosine(2, 0.2), every=16)` means the same on the command line, in YAML, in JSON and in the lab.

A spec is a name with literal arguments, some of which may be specs themselves. It is read from Python's syntax tree
and never evaluated: only names, calls, numbers, strings, booleans, `none`, lists and tuples are allowed.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gannet.core.errors import UsageError

WORDS = {"true": True, "false": False, "none": None, "null": None}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*\Z")
_HYPHENATED = re.compile(r"(?<![\w.\"'])([A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)+)(?![\w\"'])")
_PLAIN = re.compile(r"(?<=[=(,])\s*([^\s\"'()\[\],=][^\"'()\[\],=]*?)\s*(?=[,)])")
"""An argument without quotes, brackets or arguments of its own."""
MAX_LENGTH = 10_000
HYPHEN = "\ua7f7"  # a letter nobody types, standing for "-" inside names while Python reads them


@dataclass(frozen=True)
class Spec:
    """A name with arguments: `positional` in order, `args` by name. Values are literals, lists or further specs."""

    name: str
    positional: tuple[Any, ...] = ()
    args: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [render(v) for v in self.positional] + [f"{k}={render(v)}" for k, v in self.args.items()]
        return f"{self.name}({', '.join(parts)})" if parts else self.name

    def with_arg(self, key: str, value: Any) -> Spec:
        return Spec(self.name, self.positional, {**self.args, key: value})

    __hash__ = object.__hash__


def render(value: Any) -> str:
    """The text of a value, such that `parse_value(render(v)) == v`."""
    if isinstance(value, Spec):
        return str(value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(render(v) for v in value) + "]"
    return repr(value)


def parse(text: str, where: str = "") -> Spec:
    """Read `text` as a spec. A bare name is a spec without arguments. Raises `UsageError` with the place."""
    value = parse_value(text, where)
    if isinstance(value, Spec):
        return value
    raise UsageError(f"{_at(where)}expected a name such as r1 or r1(weight=10), got {text!r}.")


def parse_value(text: str, where: str = "") -> Any:
    """Read `text` as a literal or a spec: `10`, `2e-4`, `[0, 0.99]`, `cosine(1, 0.1)`, `true`, `"a path"`."""
    if len(text) > MAX_LENGTH:
        raise UsageError(f"{_at(where)}a value of {len(text):,} characters; at most {MAX_LENGTH:,} are read.")
    # Names of presets and parts carry hyphens (wgan-gp), which Python would read as a subtraction.
    source = _HYPHENATED.sub(lambda m: m.group(1).replace("-", HYPHEN), text.strip())
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(
            f"{_at(where)}{text!r} is not a value. Write numbers as 2e-4, lists as [0, 0.99], "
            f"parts as name(key=value), and put other text in quotes.{_nearest(text, where)}"
        ) from None
    return _read(tree, text, where, depth=0)


def _read(node: ast.expr, text: str, where: str, depth: int) -> Any:
    if depth > 20:
        raise UsageError(f"{_at(where)}{text[:60]!r}… is nested deeper than 20 levels.")
    inner = depth + 1
    match node:
        case ast.Constant(value=value) if isinstance(value, bool | int | float | str) or value is None:
            return value.replace(HYPHEN, "-") if isinstance(value, str) else value
        case ast.Name() | ast.Attribute():
            name = _name(node, text, where)
            return WORDS[name.lower()] if name.lower() in WORDS else Spec(name)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if isinstance(value, int | float):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_read(item, text, where, inner) for item in items]
        case ast.Call(func=func, args=positional, keywords=keywords):
            args: dict[str, Any] = {}
            for keyword in keywords:
                if keyword.arg is None or keyword.arg in args:
                    raise UsageError(f"{_at(where)}{text!r}: every argument needs one name of its own.")
                args[keyword.arg] = _read(keyword.value, text, where, inner)
            return Spec(_name(func, text, where), tuple(_read(a, text, where, inner) for a in positional), args)
    piece = ast.unparse(node).replace(HYPHEN, "-")
    raise UsageError(
        f"{_at(where)}{piece!r} in {text!r} is not a literal. Allowed: numbers, text, lists, name(key=value)."
        f"{_nearest(text, where)}"
    )


def _nearest(text: str, where: str) -> str:
    """The same with quotes round what is no value without them, such as a path, if that makes it one."""

    def quoted(argument: re.Match[str]) -> str:
        if not any(letter.isalpha() for letter in argument[1]):  # a slip in a number
            return argument[0]
        try:
            parse_value(argument[1])
        except UsageError:
            return json.dumps(argument[1], ensure_ascii=False)
        return argument[0]

    mended = _PLAIN.sub(quoted, text)
    if mended == text:
        return ""
    try:
        parse_value(mended)
    except UsageError:
        return ""
    return f" Did you mean {where + '=' if where else ''}'{mended}'?"


def _name(node: ast.expr, text: str, where: str) -> str:
    match node:
        case ast.Name(id=name):
            return name.replace(HYPHEN, "-")
        case ast.Attribute(value=value, attr=attr):
            return f"{_name(value, text, where)}.{attr.replace(HYPHEN, '-')}"
    raise UsageError(f"{_at(where)}{text!r}: the part before '(' must be a plain name.")


def from_yaml(value: Any, where: str = "") -> Any:
    """A YAML or JSON value with its spec text parsed: names and calls become `Spec`s, everything else stays."""
    if isinstance(value, str):
        if _IDENTIFIER.match(value) or "(" in value:
            return parse_value(value, where)
        return value
    if isinstance(value, list):
        return [from_yaml(item, where) for item in value]
    return value


def _at(where: str) -> str:
    return f"{where}: " if where else ""

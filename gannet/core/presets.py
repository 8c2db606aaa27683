"""Presets and experiment files: YAML in which `2e-4` is a number and `no` is text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from gannet.core.errors import UsageError, unknown

MAX_YAML = 200_000


class Loader(yaml.SafeLoader):
    """YAML in which `2e-4` is a number and `no` is text, without anchors."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise UsageError(f"line {self.peek_event().start_mark.line + 1}: YAML aliases are not read here.")
        return super().compose_node(parent, index)


Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in pairs
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    ]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$"), list("-+0123456789.")
)
Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:none|None)$"), list("nN"))


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """A mapping from YAML text; `UsageError` with the place for anything else."""
    if len(text) > MAX_YAML:
        raise UsageError(f"{where}: {len(text):,} characters; an experiment has at most {MAX_YAML:,}.")
    try:
        tree = yaml.load(text, Loader=Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UsageError(f"{where}{line}: not readable as YAML: {getattr(error, 'problem', None) or error}.") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{where}: expected `key: value` lines.")
    return tree


PRESETS = Path(__file__).parent.parent / "presets"
PAPER = PRESETS / "paper"
"""Sizes of papers, for machines and data that are not everybody's."""


def preset_names() -> list[str]:
    """Presets that train anywhere."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def paper_sizes() -> list[str]:
    """Presets of the size and on the data of a paper."""
    return sorted(path.stem for path in PAPER.glob("*.yaml"))


def preset_text(name: str) -> str:
    """The YAML of a shipped preset, or of an experiment file when `name` ends in .yaml."""
    folder = PAPER if name in paper_sizes() else PRESETS
    path = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")) or name in (*preset_names(), *paper_sizes()):
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the experiment {name!r}: {error}") from None
    raise UsageError(unknown("preset", name, [*preset_names(), *paper_sizes()]))

"""Errors that teach: what was received, where it stood, what is allowed, the nearest right name, how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from gannet.core.vocabulary import meant


class GannetError(Exception):
    """Base of every error a user can cause. `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(GannetError):
    """A wrong word, key, value or composition. Nothing was started."""

    exit_code = 2


class DataError(GannetError):
    """A data source that cannot be read, or that training could not use."""

    exit_code = 3


class CheckpointError(GannetError):
    """A checkpoint or weights file that is missing, damaged or made for something else."""

    exit_code = 4


class DivergedError(GannetError):
    """Training produced non-finite numbers and roll-back did not help."""

    exit_code = 5


class ResourceError(GannetError):
    """The machine ran out of memory, disk or processes."""

    exit_code = 6


class Problems(UsageError):
    """Several usage errors found in one pass, shown together; nothing was started."""

    def __init__(self, problems: list[str], hint: str = ""):
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        tail = f"{count}; nothing was started." + (f" {hint}" if hint else "")
        super().__init__("\n".join([*problems, tail]))


def nearest(received: str, allowed: Iterable[str]) -> list[str]:
    """The up to three allowed names closest to `received`, best first."""
    names = list(allowed)
    lowered = {name.lower().replace("_", "-"): name for name in names}
    wanted = received.lower().replace("_", "-")
    found = difflib.get_close_matches(wanted, list(lowered), n=3, cutoff=0.6)
    prefixed = [name for low, name in lowered.items() if low.startswith(wanted) or low.endswith("-" + wanted)]
    return list(dict.fromkeys([lowered[low] for low in found] + prefixed))[:3]


def unknown(kind: str, received: str, allowed: Iterable[str], where: str = "") -> str:
    """One line for a name that does not exist: kind, name, place, what it is called here or the nearest names,
    everything allowed."""
    names = sorted(allowed)
    place = f" ({where})" if where else ""
    here, close = meant(kind, received), nearest(received, names)
    hint = f" Here that is {here}." if here else f" Did you mean: {', '.join(close)}?" if close else ""
    listed = ", ".join(names) if names else "none"
    return f"unknown {kind} '{received}'{place}.{hint} Allowed: {listed}."

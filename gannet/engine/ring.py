"""The snapshots a controller may return to: the newest regular checkpoints, and whether their fakes were well."""

from __future__ import annotations

from typing import Any

SIZE = 4


class Ring:
    """Names of checkpoints, oldest first; they are not deleted while they are here."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    @property
    def names(self) -> set[str]:
        return {entry["name"] for entry in self.entries}

    def add(self, name: str, samples: int, well: bool) -> None:
        """Take in a checkpoint; the oldest leaves a full ring."""
        self.entries = [*self.entries[1 - SIZE :], {"name": name, "samples": samples, "well": well}]

    def rename(self, samples: int, name: str) -> None:
        """Name the newest, if it was taken there: a checkpoint learns its own name only when it is written, and its
        state was captured before."""
        if self.entries and self.entries[-1]["samples"] == samples:
            self.entries[-1]["name"] = name

    def well_before(self, samples: float) -> str:
        """The newest that is older than `samples` and was well; "" if there is none."""
        return next((e["name"] for e in reversed(self.entries) if e["samples"] < samples and e["well"]), "")

    def cut(self, samples: int) -> None:
        """Forget what is newer than `samples`: it belongs to a future that was left."""
        self.entries = [entry for entry in self.entries if entry["samples"] <= samples]

"""What a look at data found: figures, plain warnings, and both as text or JSON."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from gannet.data.listing import shown

VERSION = 1
BATCH = 64
"""The batch a preset begins with."""
DUPLICATES = 0.01
IMBALANCE = 10
FIRST = 5


@dataclass
class Duplicates:
    """Samples beyond the first of their kind: with the same bytes, the same pixels, the same look (`None` where nobody
    looked), and test samples whose pixels are among the training samples."""

    bytes: int = 0
    pixels: int = 0
    alike: int | None = None
    leaked: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Report:
    """Everything a look at one source found. `classes` counts by split and name, `sizes` and `modes` readable samples
    by what they are, `training` by what training does with them; `refused` is why training would not start."""

    source: str
    kind: str
    splits: dict[str, int] = field(default_factory=dict)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    training: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    constant: list[str] = field(default_factory=list)
    duplicates: Duplicates = field(default_factory=Duplicates)
    shape: tuple[int, ...] | None = None
    memory: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    refused: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; its keys stay what they are for one `version`."""
        return {"version": VERSION, **_printable(asdict(self))}

    def conclude(self) -> None:
        """Draw the warnings from the figures."""
        self.warnings += [
            *self._about_classes(),
            *self._about_images(),
            *self._about_duplicates(),
        ]
        rows = self.splits.get("train", 0)
        if rows < BATCH:
            self.warnings.append(
                f"{rows:,} training samples are fewer than a batch of {BATCH}. Set batch=, or add some."
            )

    def _about_classes(self) -> list[str]:
        counts = self.classes.get("train", {})
        if len(counts) == 1:
            return [f"all samples are of one class ({shown(next(iter(counts)))}). Is the path one level too deep?"]
        if not counts:
            return []
        found = []
        (least, low), (most, high) = (f(counts.items(), key=lambda item: item[1]) for f in (min, max))
        if high > IMBALANCE * low:
            found.append(f"classes are uneven: {shown(most)} has {high:,} training samples, {shown(least)} {low:,}.")
        if len(counts) >= BATCH and statistics.median(counts.values()) <= 2:
            found.append(f"{len(counts):,} classes of one or two samples each. Are the folders meant as classes?")
        return found

    def _about_images(self) -> list[str]:
        found = []
        if len(self.sizes) > 1:
            found.append(f"{len(self.sizes):,} different sizes; all become squares of size=, as crop= says.")
        enlarged = self.training.get("enlarged", 0)
        if enlarged:
            found.append(f"{enlarged:,} images are smaller than what training makes of them and will look soft.")
        if self.constant:
            found.append(
                f"{len(self.constant):,} images are of one colour throughout, first {shown(self.constant[0])}."
            )
        for action, what in (
            ("scaled from 16 to 8 bits", "16-bit images"),
            ("composited on white", "transparent images"),
        ):
            if self.training.get(action):
                found.append(f"{self.training[action]:,} {what} are {action}.")
        return found

    def _about_duplicates(self) -> list[str]:
        found, copies = [], self.duplicates
        total = sum(self.splits.values())
        if copies.pixels > DUPLICATES * total:
            found.append(f"{copies.pixels:,} of {total:,} samples are copies of others; a model will repeat them.")
        if copies.leaked:
            found.append(f"{copies.leaked:,} test samples are training samples too, so test scores are too good.")
        return found

    def to_text(self) -> str:
        """A table for people, then the warnings."""
        files = self.kind == "images"
        rows = [
            ("data", f"{self.source} ({self.kind})"),
            ("samples", _listed(self.splits)),
            *((f"classes, {split}", f"{len(c)}, {_listed(c, 12)}") for split, c in self.classes.items() if c),
            ("height×width" if files else "shape", _listed(self.sizes)),
            ("mode" if files else "type", _listed(self.modes)),
            ("training", _listed(self.training) if files or self.training else "takes the samples as they are"),
            ("becomes", "×".join(map(str, self.shape)) if self.shape else "nothing yet"),
            *self._about_copies(),
            ("unreadable", f"{len(self.unreadable):,}"),
            *(("", f"{shown(name)}: {why}") for name, why in list(self.unreadable.items())[:FIRST]),
            ("other files", _listed(self.others)),
            ("memory", f"{self.memory / 2**20:,.1f} MiB when all is decoded" if self.memory else "not known"),
            ("time", f"{self.seconds:.1f} s to read everything once"),
        ]
        lines = [f"{title:<15} {text}".rstrip() for title, text in rows]
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])

    def _about_copies(self) -> list[tuple[str, str]]:
        found = self.duplicates
        counts = {"same pixels": found.pixels, "same bytes": found.bytes, "test in train": found.leaked}
        alike = {} if found.alike is None else {"look alike": found.alike}
        return [
            ("copies", _listed({**counts, **alike})),
            *(("", f"{shown(copy)} is {shown(first)}") for first, copy in found.examples[:2]),
        ]


def _listed(counts: dict[str, int], most: int = 6) -> str:
    first = ", ".join(f"{shown(name)}: {count:,}" for name, count in list(counts.items())[:most])
    return first + (f" and {len(counts) - most:,} more" if len(counts) > most else "") or "none"


def _printable(value: Any) -> Any:
    """The same with every text one that can be written, whatever bytes a file name had."""
    if isinstance(value, dict):
        return {shown(str(key)): _printable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(inner) for inner in value]
    return shown(value) if isinstance(value, str) else value

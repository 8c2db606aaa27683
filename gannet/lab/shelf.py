"""The runs that a laboratory was opened on. A browser asks for one by its name; no name ever becomes a path."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from gannet.core.errors import UsageError, nearest
from gannet.lab.door import Refused

DEEPEST = 3
"""Levels of folders below the opened one in which runs are looked for."""
MOST = 1000
MOST_FOLDERS = 20_000
"""Folders that are looked into for runs: a whole disk is not searched."""


class Shelf:
    """Runs by name. `path` is one run, or a folder with runs at most `DEEPEST` levels below it; the folder is looked
    through anew at every question for all, so a run that begins meanwhile is found. Raises `UsageError` for a place
    that holds none."""

    def __init__(self, path: Path | None = None):
        self.path = path
        self.known: dict[str, Path] = {}
        if path is None:
            return
        if not path.is_dir():
            around = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            close = nearest(path.name, around)
            hint = f" Did you mean: {', '.join(str(path.parent / name) for name in close)}?" if close else ""
            raise UsageError(f"{path} is no directory.{hint} Give a run's directory, or a folder of runs.")
        if not self.runs():
            raise UsageError(
                f"{path} holds no runs: no experiment.yaml was found in it. Give a run's directory, or a folder of "
                "runs; without any, the laboratory opens on points."
            )

    def runs(self) -> dict[str, Path]:
        """Names and directories, those that began last first."""
        if self.path is None:
            return {}
        if _is_run(self.path):
            self.known = {self.path.resolve().name: self.path}
            return self.known
        looked = itertools.islice(_below(self.path, DEEPEST), MOST_FOLDERS)
        found = list(itertools.islice((run for run in looked if run is not None), MOST))
        began = {run: _began(run) for run in found}
        found.sort(key=lambda run: (-began[run], run))
        named = {run.relative_to(self.path).as_posix(): run for run in found}
        self.known = {name: run for name, run in named.items() if _is_text(name)}
        return self.known

    def get(self, name: str) -> Path:
        """The directory of a run. Raises `Refused` for a name that is on the shelf no more, or never was."""
        run = self.known.get(name)
        if run is None or not _is_run(run):
            run = self.runs().get(name)
        if run is None:
            raise Refused(404, "there is no such run here. Look at the list of runs.")
        return run

    @property
    def alone(self) -> str | None:
        """The name of the one run that was opened, if it was one."""
        return next(iter(self.runs())) if self.path is not None and _is_run(self.path) else None


def _is_run(folder: Path) -> bool:
    try:
        return (folder / "experiment.yaml").is_file()
    except OSError:
        return False


def _is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: any other cannot be told to a browser."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _began(run: Path) -> float:
    """When a run began, 0 for one that is gone again."""
    try:
        return (run / "experiment.yaml").stat().st_mtime
    except OSError:
        return 0.0


def _below(folder: Path, depth: int) -> Iterator[Path | None]:
    """Runs, and a `None` for every other folder. What may not be read, or vanishes meanwhile, is passed over."""
    if _is_run(folder):
        yield folder
        return
    yield None
    if not depth:
        return
    try:
        entries = sorted(e for e in folder.iterdir() if e.is_dir() and not e.is_symlink() and e.name[:1] != ".")
    except OSError:
        return
    for entry in entries:
        yield from _below(entry, depth - 1)

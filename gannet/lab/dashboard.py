"""The dashboard: runs as their directories tell of them. Nothing is loaded, locked or written, and any may vanish."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from gannet.core.errors import UsageError
from gannet.core.presets import read_yaml
from gannet.lab import dashboard_log
from gannet.lab.dashboard_compare import compared, flat
from gannet.lab.dashboard_files import Kept, content, json_object
from gannet.lab.dashboard_log import Summary
from gannet.lab.dashboard_state import state
from gannet.lab.door import Refused
from gannet.lab.shelf import Shelf

MOST_PICTURE = 20_000_000
MOST_PICTURES = 2000
LOOK = 0.8
"""Seconds that one listing reads logs for; what is left over is read by the next."""
LEAST, MOST = 2, 12
"""Runs that are compared: more cannot be told apart by colour."""
PNG = b"\x89PNG\r\n\x1a\n"


class Dashboard:
    """What can be asked of the runs on a shelf."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf
        self.lock = threading.Lock()
        self.logs: dict[Path, Summary] = {}
        self.experiments = Kept(_experiment)
        self.facts = Kept(json_object)

    def shelved(self) -> dict[str, Any]:
        """The names of the runs, and the one that was opened alone."""
        return {"runs": list(self.shelf.runs()), "alone": self.shelf.alone}

    def listing(self) -> dict[str, Any]:
        """`{"runs": [what each run comes to], "reading": whether some logs were not read to their end yet}`."""
        runs = self.shelf.runs()
        until = time.monotonic() + LOOK
        with self.lock:
            self._forget(set(runs.values()))
            rows = [self._row(name, path, until) for name, path in runs.items()]
        return {"runs": rows, "reading": any(not self.logs[path].whole for path in runs.values())}

    def one(self, name: str) -> dict[str, Any]:
        """A run's row of the list, with its settings and the words that go on with it. Raises `Refused`."""
        path = self.shelf.get(name)
        with self.lock:
            row = self._row(name, path, time.monotonic() + LOOK)
            settings, _ = self.experiments.get(path / "experiment.yaml")
            facts = self.facts.get(path / "environment.json")
        parameters = facts.get("parameters")
        return {
            **row,
            "path": str(path),
            "settings": flat(settings),
            "command": _text(facts.get("command")),
            "parameters": parameters if isinstance(parameters, dict) else {},
            "protocols": _words(facts.get("protocols")),
        }

    def log(self, name: str, after: int, mark: int | None) -> dict[str, Any]:
        """The rows of a run's log from byte `after` on (see `dashboard_log.rows`), and the samples at which its
        pictures were taken. Raises `Refused` for a run that is gone."""
        path = self.shelf.get(name)
        try:
            found = dashboard_log.rows(path / "log.jsonl", after, mark)
        except FileNotFoundError:
            found = {"rows": [], "next": 0, "mark": 0, "more": False, "again": after > 0, "bad": 0}
        except OSError as error:
            raise Refused(404, f"the log cannot be read: {error}.") from None
        return {**found, "saved": [int(p.stem) for p in pictures(path)]}

    def picture(self, name: str, index: int) -> bytes:
        """The PNG of a run's sample grid. Raises `Refused` where there is none."""
        found = pictures(self.shelf.get(name))
        if not 0 <= index < len(found):
            raise Refused(404, f"there is no picture {index}; this run has {len(found)}.")
        try:
            image = content(found[index], MOST_PICTURE)
        except OSError as error:
            raise Refused(404, f"the picture cannot be read: {error}.") from None
        if not image.startswith(PNG):
            raise Refused(404, f"{found[index].name} is no PNG.")
        return image

    def compare(self, names: list[str]) -> dict[str, Any]:
        """What differs between runs, and how their scores compare. Raises `Refused`."""
        if not LEAST <= len(set(names)) == len(names) <= MOST:
            raise Refused(400, f"{len(names)} runs: {LEAST} to {MOST} different ones can be compared.")
        return compared([self.one(name) for name in names])

    # ---------------------------------------------------------------------------------------------------- one run

    def _row(self, name: str, path: Path, until: float) -> dict[str, Any]:
        settings, problem = self.experiments.get(path / "experiment.yaml")
        summary = self.logs.setdefault(path, Summary(path / "log.jsonl"))
        if time.monotonic() < until or not summary.at:
            try:
                summary.look()
            except FileNotFoundError:
                self.logs[path] = summary = Summary(path / "log.jsonl")
            except OSError as error:
                problem = problem or f"the log cannot be read: {error}"
        told = state(path, problem, summary)
        return {
            "name": name,
            "title": " · ".join(_text(settings.get(key)) for key in ("preset", "data") if settings.get(key)) or name,
            **told,
            **summary.end,
            "goal": goal(settings),
            "share": 1.0 if told["state"] == "finished" else share(settings, summary),
            "speed": summary.speed,
            "last": summary.last,
            "best": summary.best,
            "alarm": summary.alarm,
            "standing": summary.standing,
            "bad": summary.bad,
            "changed": _changed(path),
        }

    def _forget(self, kept: set[Path]) -> None:
        self.logs = {path: summary for path, summary in self.logs.items() if path in kept}
        self.experiments.forget({path / "experiment.yaml" for path in kept})
        self.facts.forget({path / "environment.json" for path in kept})


def goal(settings: dict[str, Any]) -> dict[str, float | None]:
    """The end that was asked for, in samples and in minutes."""
    stop = settings.get("stop")
    stop = stop if isinstance(stop, dict) else {}
    return {key: dashboard_log.number(stop.get(key)) for key in ("samples", "minutes")}


def share(settings: dict[str, Any], summary: Summary) -> float | None:
    """How much of its goal a run has behind it, from 0 to 1; `None` where it has no goal of a known size."""
    asked = goal(settings)
    done = {"samples": summary.end["samples"], "minutes": summary.end["seconds"] / 60}
    shares = [done[key] / wanted for key, wanted in asked.items() if wanted]
    return round(min(1.0, max(shares)), 4) if shares else None


def pictures(path: Path) -> list[Path]:
    """A run's own sample grids in their order: files that are named by a number of samples."""
    folder = path / "samples"
    try:
        found = [] if folder.is_symlink() else list(folder.iterdir())
    except OSError:
        return []
    own = [p for p in found if p.suffix == ".png" and p.stem.isascii() and p.stem.isdigit() and len(p.stem) <= 15]
    return sorted(own, key=lambda p: int(p.stem))[:MOST_PICTURES]


def _experiment(path: Path) -> tuple[dict[str, Any], str]:
    """The settings of a run, and what is wrong with them."""
    try:
        return read_yaml(content(path, 1_000_000).decode(), path.name), ""
    except (OSError, UnicodeDecodeError, UsageError) as error:
        return {}, f"{path.name} cannot be read: {error}"


def _changed(path: Path) -> float | None:
    """When something was written last, in seconds since 1970."""
    for name in ("log.jsonl", "experiment.yaml"):
        try:
            return round((path / name).lstat().st_mtime, 3)
        except OSError:
            continue
    return None


def _text(value: Any) -> str:
    return value[:2000] if isinstance(value, str) else ""


def _words(value: Any) -> dict[str, str]:
    return {str(k)[:100]: _text(v) for k, v in value.items()} if isinstance(value, dict) else {}

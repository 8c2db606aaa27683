"""Whether a run trains now, has finished and why, was stopped, or is broken: from its directory, untouched."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Any

from gannet.lab.dashboard_files import json_object
from gannet.lab.dashboard_log import Summary

ENDS = ("samples", "time", "target", "patience")
SLACK = 2.0
"""Seconds that a process may seem to be younger than the lock it took."""


def state(path: Path, problem: str, summary: Summary) -> dict[str, Any]:
    """`{"state": "training" | "finished" | "stopped" | "broken", "why": a word, "text": what else is to be said}`.

    The kernel's lock itself is not asked: to ask is to hold it for a moment, and a run that begins just then would be
    refused. `lock.json` says whose it is, and whether that process lives.
    """
    if problem:
        return {"state": "broken", "why": "experiment", "text": problem}
    lock = path / "lock.json"
    holder = json_object(lock, 4096)
    if holder and lives(holder):
        host = str(holder.get("host", ""))[:100]
        return {"state": "training", "why": "here" if host == socket.gethostname() else "elsewhere", "text": host}
    if summary.stop in ENDS:
        return {"state": "finished", "why": summary.stop, "text": ""}
    if summary.stop is not None:
        return {"state": "stopped", "why": "signal", "text": ""}
    if summary.bad and not summary.good:
        return {"state": "broken", "why": "log", "text": ""}
    return {"state": "stopped", "why": "ended" if summary.good else "unbegun", "text": ""}


def lives(holder: dict[str, Any]) -> bool:
    """Whether the process of a `lock.json` may still be there; one of another machine is believed to be."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or isinstance(pid, bool) or not isinstance(pid, int) or pid <= 0:
        return isinstance(holder.get("host"), str) and holder["host"] != socket.gethostname()
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return _began(pid) <= _since(holder) + SLACK


def _since(holder: dict[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(holder.get("since"))).timestamp()
    except ValueError:
        return float("inf")


def _began(pid: int) -> float:
    """When a process began, in seconds since 1970; 0 where the system does not say. A number that went to another
    process after a kill or a restart of the machine belongs to one that is younger than the lock."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return 0.0

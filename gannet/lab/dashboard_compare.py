"""Several runs side by side: the settings that differ, and the scores that compare."""

from __future__ import annotations

import re
from typing import Any

from gannet.core.spec import render

QUIET = ("preset", "keep", "log", "profile")
"""Keys of an experiment that say nothing of the method, or are in a run's title."""
MOST_SETTINGS = 500


def flat(tree: Any, above: str = "") -> dict[str, str]:
    """Nested settings as `{"optim.generator": "adam(lr=0.001)"}`."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        path = f"{above}{key}"
        if isinstance(value, dict):
            found |= flat(value, f"{path}.")
        else:
            found[path[:200]] = (value if isinstance(value, str) else render(value))[:2000]
        if len(found) >= MOST_SETTINGS:
            break
    return found


def compared(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """`{"runs", "differences": [{"key", "values"}], "scores": [{"metric", "better", "alike", "last", "best"}]}`, with
    values in the order of the runs and `None` where a run has none; `alike`: whether all were taken by one protocol."""
    settings = [run["settings"] for run in runs]
    keys = [key for key in dict.fromkeys(k for s in settings for k in s) if key.split(".")[0] not in QUIET]
    differences = [{"key": key, "values": [s.get(key) for s in settings]} for key in keys]
    metrics = dict.fromkeys(m for run in runs for m in [*run["last"], *run["best"]])
    return {
        "runs": [{k: v for k, v in run.items() if k not in ("settings", "protocols")} for run in runs],
        "differences": [d for d in differences if len(set(d["values"])) > 1],
        "scores": [
            {
                "metric": metric,
                "better": better(metric),
                "alike": _alike([run["protocols"].get(metric) for run in runs if metric in run["last"]]),
                "last": [run["last"].get(metric) for run in runs],
                "best": [run["best"].get(metric) for run in runs],
            }
            for metric in metrics
        ],
    }


def better(metric: str) -> str | None:
    """ "lower" or "higher", of the metrics that are known here by their name or their symbol."""
    from gannet.core.registry import METRICS  # it needs torch, and the page must be there before that

    word = re.split(r"[\[(]", metric)[0]
    word = {"fid": "fd", "kid": "kd"}.get(word, word)
    for name in METRICS.names():
        known = METRICS.get(name)
        if word in (name, getattr(known, "symbol", name)):
            return str(known.better)
    return None


def _alike(protocols: list[str | None]) -> bool:
    """Whether scores were taken in one way, of one set of data; with which rows of it is left open."""
    return len({re.sub(r",seed=\d+(?=[\],])", "", p or "") for p in protocols}) <= 1

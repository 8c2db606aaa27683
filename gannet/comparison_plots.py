"""Curves of several runs in shared panels: scores and losses, over samples and over minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gannet.engine.pictures import figure_png

if TYPE_CHECKING:
    from gannet.comparison import Comparison

PANEL = (5.4, 2.7)
"""Inches a panel takes across and down."""
MOST_SCORES = 4
MOST_LOSSES = 4
POINTS = 300
"""More points a line than a panel has pixels for are thinned to their means."""
STYLES = ("-", "--")


@dataclass(frozen=True)
class Palette:
    """Colours of a figure. `lines` are told apart with any kind of colour vision."""

    paper: str
    ink: str
    faint: str
    rule: str
    lines: tuple[str, ...]


LIGHT = Palette(
    "#ffffff", "#222226", "#66666c", "#dcdcd8", ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B58900", "#56B4E9")
)
DARK = Palette(
    "#212125", "#e8e8ea", "#a0a0a8", "#3a3a40", ("#56B4E9", "#E69F00", "#2FCB9A", "#E59CC4", "#F0E442", "#D55E00")
)


def curves(comparison: Comparison, palette: Palette) -> bytes | None:
    """A line a run: panels for the scores that compare and for the players' losses, over samples on the left and over
    minutes on the right, as PNG. `None` where the logs hold neither."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logs = [side.log for side in comparison.sides]
    panels = [(m, [_scores(log, m) for log in logs]) for m in comparison.curves[:MOST_SCORES]]
    losses = list(dict.fromkeys(key for log in logs for record in log for key in record if key.startswith("loss/")))
    panels += [
        (f"loss of the {key.removeprefix('loss/')}", [_logged(log, key) for log in logs])
        for key in losses[:MOST_LOSSES]
    ]
    panels = [(title, lines) for title, lines in panels if any(len(line) for line in lines)]
    if not panels:
        return None
    names = [side.name for side in comparison.sides]
    head = 0.12 + 0.22 * math.ceil(len(names) / 3)
    width, height = 2 * PANEL[0], PANEL[1] * len(panels) + head
    figure = Figure(figsize=(width, height), dpi=110, facecolor=palette.paper)
    FigureCanvasAgg(figure)
    handles: dict[str, Any] = {}
    for row, (title, lines) in enumerate(panels):
        for column, (axis, name) in enumerate(((0, "samples"), (1, "minutes"))):
            left, bottom = PANEL[0] * column + 0.7, PANEL[1] * (len(panels) - 1 - row) + 0.55
            place = (left / width, bottom / height, (PANEL[0] - 0.9) / width, (PANEL[1] - 0.9) / height)
            axes = figure.add_axes(place)
            for i, line in enumerate(lines):
                if len(line):
                    x, y = _thinned(line[:, axis]), _thinned(line[:, 2])
                    colour, style = palette.lines[i % len(palette.lines)], STYLES[i // len(palette.lines)]
                    dot = "o" if len(x) < 30 else ""
                    handles[names[i]] = axes.plot(x, y, style, color=colour, marker=dot, markersize=3, linewidth=1.4)[0]
            _dress(axes, f"{title}" if column == 0 else "", name, palette)
    kept = [name for name in names if name in handles]
    look: dict[str, Any] = {"frameon": False, "labelcolor": palette.ink, "fontsize": 9, "ncols": min(3, len(kept))}
    figure.legend([handles[n] for n in kept], kept, loc="upper left", bbox_to_anchor=(0.5 / width, 1), **look)
    return figure_png(figure)


def _dress(axes: Any, title: str, unit: str, palette: Palette) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, color=palette.ink)
    axes.set_xlabel(unit, fontsize=9, color=palette.faint)
    axes.set_facecolor(palette.paper)
    axes.grid(True, color=palette.rule, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=palette.faint, length=3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.4g}" if value < 10_000 else f"{value / 1000:,.4g}k")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(palette.rule)


def _scores(log: list[dict[str, Any]], metric: str) -> np.ndarray:
    return _line([{**record, "value": record["scores"].get(metric)} for record in log if record.get("kind") == "score"])


def _logged(log: list[dict[str, Any]], key: str) -> np.ndarray:
    return _line([{**record, "value": record[key]} for record in log if key in record])


def _line(records: list[dict[str, Any]]) -> np.ndarray:
    """Samples, minutes and value of the records whose value is finite, `[n, 3]`."""
    rows = [
        (r["samples"], r.get("seconds", 0) / 60, r["value"]) for r in records if isinstance(r["value"], int | float)
    ]
    found = np.array(rows, dtype=float).reshape(-1, 3)
    return found[np.isfinite(found).all(1)]


def _thinned(values: np.ndarray) -> np.ndarray:
    """Means of at most `POINTS` runs of neighbours."""
    return np.array([part.mean() for part in np.array_split(values, min(len(values), POINTS))])

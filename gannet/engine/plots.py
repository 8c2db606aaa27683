"""The progress picture of a run, drawn from nothing but the records of its log."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gannet.engine.health import COLLAPSED
from gannet.engine.pictures import figure_png, write

Record = dict[str, Any]
Line = tuple[str, np.ndarray, np.ndarray]
"""A label, samples seen `[n]` and values `[n]`."""

HEALTHY = (0.6, 0.85)
"""Where P(real > fake) of a balanced game lies: at 0.5 the generator has won the turn, at 1 the discriminator has."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette: told apart with any kind of colour vision."""
INK, FAINT, RULE, PAPER, GOOD, ALARM = "#222226", "#78787e", "#dcdcd8", "#f6f6f4", "#009E73", "#B00020"
LEGEND: dict[str, Any] = {
    "fontsize": 8,
    "frameon": False,
    "labelcolor": INK,
    "handlelength": 1.4,
    "handletextpad": 0.5,
    "borderpad": 0,
}
PANEL = (4.9, 3.0)
"""Inches a panel takes across and down, its labels included."""
BESIDE = 46
"""Letters of a legend, and six for each line drawn, that fit beside a title."""
ROW = 0.075
"""Share of a panel's height that a row of its legend takes."""
BUCKETS = 300
"""Points a line is reduced to: more than its panel has pixels to tell apart."""
MOST_SCORES = 4


def progress(records: list[Record], path: Path | str) -> Path:
    """Draw `path` (PNG) from log records and return it; a panel whose keys never appear is left out.

    Panels over samples seen: losses, P(real > fake) on training and held-out rows with the healthy band, each score
    with its best and last, spread of fakes over reals, the discriminator's loss over its value at equilibrium, terms,
    gradient norms, what controllers moved, throughput. Records of kind "alarm" are vertical marks, and the last ones of
    them and of the decisions are quoted (`text`).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = [record for record in records if math.isfinite(_number(record.get("samples")))]
    alarms = [record for record in records if record.get("kind") == "alarm"]
    quotes = [record for record in records if record.get("kind") in ("alarm", "decision")][-3:]
    marks = [_number(alarm["samples"]) for alarm in alarms]
    end = max((_number(record["samples"]) for record in records), default=1.0)
    panels = _panels(records) or [("", _nothing)]
    across = 2 if len(panels) in (2, 4) else min(3, len(panels))
    down = math.ceil(len(panels) / across)
    foot = 0.1 + 0.24 * len(quotes)
    width, height = PANEL[0] * across, 0.4 + PANEL[1] * down + foot

    figure = Figure(figsize=(width, height), dpi=100, facecolor=PAPER)
    FigureCanvasAgg(figure)
    headline = _shortened(_headline(records), 42 * across)
    figure.text(0.2 / width, 1 - 0.32 / height, headline, fontsize=12, color=INK, fontweight="bold")
    for i, (title, draw) in enumerate(panels):
        # Placed by hand, in inches: a layout engine would take longer than all the drawing.
        left, bottom = PANEL[0] * (i % across) + 0.6, foot + PANEL[1] * (down - 1 - i // across) + 0.35
        axes = figure.add_axes((left / width, bottom / height, (PANEL[0] - 0.8) / width, (PANEL[1] - 0.7) / height))
        draw(axes)
        _dress(axes, title, marks, end)
        if axes.get_legend() is None:
            _name_lines(axes)
    for i, record in enumerate(reversed(quotes)):
        said = f"{record['kind']} at {_count(_number(record['samples']))}: {record.get('text', '')}"
        colour = ALARM if record["kind"] == "alarm" else INK
        figure.text(0.2 / width, (0.14 + 0.24 * i) / height, _shortened(said, 62 * across), fontsize=9, color=colour)
    return write(path, figure_png(figure))


# ------------------------------------------------------------------------------------------------------- panels


def _panels(records: list[Record]) -> list[tuple[str, Callable]]:
    """Title and drawing of every panel there is something to show in."""
    panels: list[tuple[str, Callable]] = []

    def add(title: str, lines: list[Line], draw: Callable) -> None:
        if lines:
            panels.append((title, partial(draw, lines=lines)))

    add("losses", _named(records, "loss/"), _curves)
    chances = [
        ("training", "p_real_above_fake"),
        ("held out", "p_real_above_fake/heldout"),
        ("trained > held out", "p_train_above_heldout"),
    ]
    add("P(real > fake)", [line for label, key in chances if (line := _line(records, key, label))], _chances)
    panels.extend(_score_panels(records))
    spread = _line(records, "spread", "")
    add("spread of fakes over reals", [spread] if spread else [], _spread)
    balance = _line(records, "loss_above_equilibrium", "")
    add("discriminator's loss minus its equilibrium", [balance] if balance else [], _balance)
    add("terms", _named(records, "term/"), _magnitudes)
    add("gradient norms", _named(records, "grad_norm/"), _magnitudes)
    add("held-out measures", _named(records, "heldout/"), _curves)
    add("what controllers multiply by", _decided(records), _magnitudes)
    speed = _line(records, "images_per_second", "")
    add("samples per second", [speed] if speed else [], _speed)
    return panels


def _decided(records: list[Record]) -> list[Line]:
    """The factor of every actuator that was moved, as steps from decision to decision."""
    end = max((_number(record["samples"]) for record in records), default=0.0)
    corners: dict[str, list[tuple[float, float]]] = {}
    for record in (r for r in records if r.get("kind") == "decision"):
        at, factor = _number(record["samples"]), _number(record.get("factor"))
        steps = corners.setdefault(str(record.get("actuator")), [])
        if steps:
            steps.append((at, steps[-1][1]))
        steps.append((at, factor))
    return [
        (name, np.array([*(at for at, _ in steps), end]), np.array([*(f for _, f in steps), steps[-1][1]]))
        for name, steps in corners.items()
    ]


def _nothing(axes) -> None:
    axes.text(0.5, 0.5, "nothing has been logged yet", transform=axes.transAxes, ha="center", color=FAINT)


def _curves(axes, lines: list[Line]) -> None:
    for i, (label, at, values) in enumerate(lines):
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": "-" if i < len(COLOURS) else "--", "linewidth": 1.5}
        x, middle, low, high = _buckets(at, values)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
        axes.plot(x, middle, label=label, marker="o" if len(x) == 1 else "", markersize=4, **style)


def _magnitudes(axes, lines: list[Line]) -> None:
    _curves(axes, lines)
    values = np.concatenate([v for _, _, v in lines])
    positive = values[values > 0]
    if len(positive) == len(values) and positive.max() > 20 * positive.min():
        axes.set_yscale("log")


def _chances(axes, lines: list[Line]) -> None:
    axes.axhspan(*HEALTHY, color=GOOD, alpha=0.12, linewidth=0, label="healthy")
    axes.axhline(0.5, color=FAINT, linewidth=0.8, linestyle=":")
    _curves(axes, lines)
    axes.set_ylim(min(0.4, *(float(np.nanmin(v)) - 0.05 for _, _, v in lines)), 1.02)


def _spread(axes, lines: list[Line]) -> None:
    _curves(axes, lines)
    top = max(1.15, float(np.nanmax(lines[0][2])) * 1.1)
    axes.axhspan(0, COLLAPSED, color=ALARM, alpha=0.08, linewidth=0)
    axes.axhline(1, color=FAINT, linewidth=0.8, linestyle=":")
    axes.annotate("collapse", (0.985, COLLAPSED), (0, -3), ("axes fraction", "data"), "offset points",
                  ha="right", va="top", fontsize=8, color=ALARM)  # fmt: skip
    axes.set_ylim(0, top)


def _balance(axes, lines: list[Line]) -> None:
    _curves(axes, lines)
    axes.axhline(0, color=FAINT, linewidth=0.8, linestyle=":")


def _speed(axes, lines: list[Line]) -> None:
    _curves(axes, lines)
    axes.set_ylim(0, float(np.nanmax(lines[0][2])) * 1.15 + 1e-9)


# ------------------------------------------------------------------------------------------------------- scores


def _score_panels(records: list[Record]) -> list[tuple[str, Callable]]:
    """One panel a score, as no two need share a scale; the first name logged is the one the best is chosen by."""
    scored = [r for r in records if r.get("kind") == "score" and isinstance(r.get("scores"), dict)]
    names = list(dict.fromkeys(name for record in scored for name in record["scores"]))
    best = next((_number(r["samples"]) for r in reversed(scored) if r.get("best")), math.nan)
    panels: list[tuple[str, Callable]] = []
    for name in names[:MOST_SCORES]:
        line = _line([{"samples": r["samples"], name: r["scores"].get(name)} for r in scored], name, name)
        if line:
            panels.append(
                (name, partial(_score, line=line, best=best, word="best" if name == names[0] else "at the best"))
            )
    return panels


def _score(axes, line: Line, best: float, word: str) -> None:
    _, at, values = line
    axes.plot(at, values, color=COLOURS[0], linewidth=1.5, marker="o", markersize=3.5)
    marks = [(word, "*", 13, GOOD, int(i)) for i in np.flatnonzero(at == best)[-1:]]
    for label, marker, size, colour, i in [*marks, ("last", "s", 6, COLOURS[1], len(at) - 1)]:
        style = {"color": colour, "marker": marker, "markersize": size, "linestyle": ""}
        axes.plot(at[i], values[i], label=f"{label} {values[i]:.4g}", **style)
    axes.legend(loc="best", **{**LEGEND, "borderpad": 0.4})


# -------------------------------------------------------------------------------------------------------- parts


def _dress(axes, title: str, marks: list[float], end: float) -> None:
    for mark in marks:
        axes.axvline(mark, color=ALARM, linewidth=1, linestyle=(0, (4, 3)), alpha=0.8)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    axes.set_facecolor("white")
    axes.grid(True, color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlim(-0.02 * end, 1.02 * end)
    axes.tick_params(labelsize=8, colors=FAINT, length=3)
    axes.xaxis.set_major_formatter(lambda value, _: _count(value))
    axes.xaxis.get_major_locator().set_params(nbins=6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(RULE)


def _name_lines(axes) -> None:
    """The legend, where it covers no line: beside the title, or in room made for it above them."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    if len("".join(labels)) + 6 * len(labels) <= BESIDE:
        beside = {"loc": "lower right", "bbox_to_anchor": (1.01, 0.985), "columnspacing": 1.2}
        axes.legend(handles, labels, **beside, ncols=len(labels), **LEGEND)
        return
    across = 2
    axes.legend(handles, labels, loc="upper right", ncols=across, **LEGEND)
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(np.array(axes.get_ylim()))
    room = min(0.5, ROW * math.ceil(len(labels) / across))
    axes.set_ylim(top=float(scale.inverted().transform(np.array([low + (high - low) / (1 - room)]))[0]))


def _headline(records: list[Record]) -> str:
    if not records:
        return "no samples yet"
    last = records[-1]
    parts = [f"{int(_number(last['samples'])):,} samples"]
    seconds = next((s for r in reversed(records) if not math.isnan(s := _number(r.get("seconds")))), None)
    if seconds is not None:
        parts.append(_duration(int(seconds)))
    stop = next((r for r in reversed(records) if r.get("kind") == "stop"), None)
    if stop is not None and stop.get("reason"):
        parts.append(f"stopped by {stop['reason']}")
    return " · ".join(parts)


def _duration(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min {seconds % 60:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _named(records: list[Record], prefix: str) -> list[Line]:
    """A line for every key `prefix` + name, in the order the names appear."""
    keys = dict.fromkeys(key for record in records for key in record if key.startswith(prefix))
    return [line for key in keys if (line := _line(records, key, key.removeprefix(prefix)))]


def _line(records: list[Record], key: str, label: str) -> Line | None:
    """The finite values logged under `key`, `None` when there are none."""
    pairs = np.array([(_number(r["samples"]), _number(r[key])) for r in records if key in r], dtype=float).reshape(
        -1, 2
    )
    pairs = pairs[np.isfinite(pairs).all(1)]
    return (label, pairs[:, 0], pairs[:, 1]) if len(pairs) else None


def _number(value: Any) -> float:
    """A logged value as a float, not-a-number for whatever is none (a log writes non-finite values as text)."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _buckets(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions, means, minima and maxima of at most `BUCKETS` runs of neighbouring values."""
    starts = np.unique(np.linspace(0, len(at), min(len(at), BUCKETS), endpoint=False).astype(int))
    sizes = np.diff([*starts, len(at)])
    mean = partial(np.add.reduceat, indices=starts)
    return (
        mean(at) / sizes,
        mean(values) / sizes,
        np.minimum.reduceat(values, starts),
        np.maximum.reduceat(values, starts),
    )


def _shortened(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _count(value: float) -> str:
    """12,000 as 12k, 1,500,000 as 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"

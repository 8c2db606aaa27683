"""A comparison of runs as one self-contained HTML page, or as a picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from gannet.comparison_plots import DARK, LIGHT, curves
from gannet.engine.pictures import png, write
from gannet.engine.run import write_text_atomic
from gannet.report import check_ending

if TYPE_CHECKING:
    from gannet.comparison import Comparison

WIDE = 800
"""Pixels across a sample grid keeps at most."""
ACROSS = 3
"""Sample grids in a line of the picture."""
MARGIN = 24

STYLE = """
:root { color-scheme: light dark; --paper: #f6f6f4; --card: #fff; --ink: #222226; --faint: #66666c; --rule: #dcdcd8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #18181b; --card: #212125; --ink: #e8e8ea; --faint: #a0a0a8; --rule: #3a3a40; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .75rem; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .8rem; text-align: left; vertical-align: top; border-top: 1px solid var(--rule); }
thead th { border-top: 0; overflow-wrap: anywhere; min-width: 9rem; }
tbody th { font-weight: normal; color: var(--faint); white-space: nowrap; }
td { white-space: pre-wrap; overflow-wrap: anywhere; }
img { display: block; max-width: 100%; height: auto; }
figure { margin: 0; }
figcaption { padding: .6rem .8rem; overflow-wrap: anywhere; }
.grids { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
footer, .notes { color: var(--faint); font-size: .9rem; overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; }
.notes { padding-left: 1.2rem; }
"""


def save(comparison: Comparison, path: str | Path) -> Path:
    """Write the page, `FILE.html`, or the picture, `FILE.png`. Raises `UsageError` for another ending."""
    path = check_ending(path, (".html", ".png"))
    if path.suffix.lower() == ".html":
        write_text_atomic(path, page(comparison))
        return path
    return write(path, png(picture(comparison)))


# ------------------------------------------------------------------------------------------------------------ HTML


def page(comparison: Comparison) -> str:
    """The page: tables, curves and sample grids, with nothing to load from anywhere and no scripts."""
    names = [side.name for side in comparison.sides]
    differences = comparison.differences()
    parts = [_section("Results", _table(comparison.facts(), "What every run came to"))]
    if comparison.notes:
        parts.append(_list(comparison.notes))
    same = "<p>The runs have the same settings.</p>"
    parts.append(_section("What differs", _table(differences, "Settings that differ") if differences else same))
    drawn = {name: curves(comparison, palette) for name, palette in (("light", LIGHT), ("dark", DARK))}
    if drawn["light"] is not None and drawn["dark"] is not None:
        told = f"Curves over samples and over minutes of {', '.join(names)}; the results above give their last values."
        parts.append(_section("Curves", f'<div class="card">{_picture(drawn["light"], drawn["dark"], told)}</div>'))
    grids = [_grid(side.name, side.samples, image) for side in comparison.sides if (image := _opened(side.grid))]
    if grids:
        parts.append(_section("Samples", f'<div class="grids">{"".join(grids)}</div>'))
    if comparison.protocols:
        parts.append(_section("How the scores were taken", _list(tuple(comparison.protocols.values()))))
    title = escape(f"{len(names)} runs compared")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}: {escape(', '.join(names))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n{''.join(parts)}</main>\n<footer>Gannet {escape(version('gannet'))}; from "
        f"{escape(', '.join(side.path for side in comparison.sides))}.</footer>\n</body>\n</html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>\n"


def _table(rows: Sequence[Sequence[str]], told: str) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in rows[0])
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(text)}</td>" for text in rest)}</tr>\n'
        for first, *rest in rows[1:]
    )
    # A wide table scrolls in its own box, which the keyboard must reach.
    return (
        f'<div class="card" role="region" tabindex="0" aria-label="{escape(told)}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def _list(items: Sequence[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{escape(item)}</li>" for item in items)}</ul>\n'


def _grid(name: str, samples: int, image: Image.Image) -> str:
    told = escape(f"The newest sample grid of {name}", quote=True)
    return (
        f'<figure class="card"><img src="{_data(png(image))}" alt="{told}" width="{image.width}" '
        f'height="{image.height}"><figcaption>{escape(name)}, after {samples:,} samples</figcaption></figure>'
    )


def _picture(light: bytes, dark: bytes, told: str) -> str:
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{_data(dark)}">'
        f'<img src="{_data(light)}" alt="{escape(told, quote=True)}"></picture>'
    )


def _data(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def _opened(path: Path | None) -> Image.Image | None:
    """A sample grid, drawn anew so that nothing but its pixels comes along; `None` where it cannot be read."""
    if path is None:
        return None
    try:
        with Image.open(path, formats=("PNG",)) as file:
            image = file.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    image.thumbnail((WIDE, 4 * WIDE))
    return image


# --------------------------------------------------------------------------------------------------------- picture


def picture(comparison: Comparison) -> Image.Image:
    """The same below one another: text, curves, sample grids in lines."""
    parts = [_written(str(comparison))]
    drawn = curves(comparison, LIGHT)
    if drawn is not None:
        parts.append(Image.open(io.BytesIO(drawn)).convert("RGB"))
    found = [(side.name, image) for side in comparison.sides if (image := _opened(side.grid))]
    across = min(ACROSS, len(found))
    width = (max(part.width for part in parts) - MARGIN * (across - 1)) // max(1, across)
    grids = [_under(name, image, width) for name, image in found]
    parts += [_beside(grids[start : start + across]) for start in range(0, len(grids), across or 1)]
    return _stacked(parts)


def _written(text: str) -> Image.Image:
    import matplotlib

    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSansMono.ttf"), 15)
    lines, high = text.split("\n"), 21
    wide = max(int(font.getlength(line)) for line in lines) + 1
    image = Image.new("RGB", (wide, high * len(lines)), LIGHT.paper)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        draw.text((0, high * i), line, LIGHT.ink, font)
    return image


def _under(name: str, image: Image.Image, width: int) -> Image.Image:
    image = image.copy()
    image.thumbnail((width, 4 * width))
    title = _written(name)
    return _stacked([title.crop((0, 0, min(title.width, width), title.height)), image], 0, 6)


def _beside(images: list[Image.Image]) -> Image.Image:
    width = sum(image.width for image in images) + MARGIN * (len(images) - 1)
    sheet, left = Image.new("RGB", (width, max(image.height for image in images)), LIGHT.paper), 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + MARGIN
    return sheet


def _stacked(parts: list[Image.Image], margin: int = MARGIN, gap: int = MARGIN) -> Image.Image:
    wide = max(part.width for part in parts) + 2 * margin
    high = sum(part.height for part in parts) + gap * (len(parts) - 1) + 2 * margin
    sheet, top = Image.new("RGB", (wide, high), LIGHT.paper), margin
    for part in parts:
        sheet.paste(part, (margin, top))
        top += part.height + gap
    return sheet

"""Pictures of samples: the grid a person judges a run by, and files of generated samples.

Every picture is written to a temporary sibling and renamed, and holds no date or version, so the same samples give
the same bytes and a reader never sees half a file.
"""

from __future__ import annotations

import io
import math
import os
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gannet.core.errors import UsageError

Columns = list[tuple[str, Tensor]]

PAPER = (246, 246, 244)
"""Neither black nor white, so that the edges of dark and of bright samples both show."""
INK = (34, 34, 38)
FAINT = (120, 120, 126)
REAL, FAKE, SHADOW = "#0072B2", "#D55E00", "#C9C9C6"
"""Blue and vermilion of Okabe and Ito's palette, told apart with any kind of colour vision."""
CELL = 64
"""Pixels along the longest side of a small sample once enlarged."""
WIDTH = 1200
"""Pixels that samples may take across before fewer are shown."""


# ----------------------------------------------------------------------------------------------------- to bytes


def to_uint8(x: Tensor) -> np.ndarray:
    """Images `[N, C, H, W]` in [−1, 1] as bytes N×H×W×C: round((x + 1)·255/2), clamped; not-a-number becomes 0."""
    levels = ((x.detach().float() + 1) * 127.5).nan_to_num(nan=0.0, posinf=255.0, neginf=0.0).round().clamp(0, 255)
    return levels.cpu().numpy().astype(np.uint8).transpose(0, 2, 3, 1)


def write(path: Path | str, data: bytes) -> Path:
    """Put `data` at `path` in one move: a reader finds the old file or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()


# ----------------------------------------------------------------------------------------------------- the grid


def grid(columns: Columns, path: Path | str, per_column: int | None = None) -> Path:
    """Draw named columns of samples and write the picture to `path` (PNG).

    Images `[N, C, H, W]` in [−1, 1]: `real` and `generated` become two blocks side by side, as nothing pairs their
    rows; any other columns (given | generated | real) are read across, row by row, in as many strips as fit. Small
    images are enlarged smoothly, large ones keep their pixels. Channels: 1 grey, 3 RGB, 4 RGB over a checkerboard
    seen through alpha, 2 magenta and green, 5 or more a mosaic of grey maps.

    Points `[N, D]`: real and generated on equal axes, the others' points behind in grey. D = 1 gives histograms, and
    D > 2 is projected on the first two principal axes of the first column.

    `per_column` caps the samples shown of each column (default: what fits, at most 64 images or 2,000 points).
    Raises UsageError for other shapes.
    """
    if not columns or any(not len(x) for _, x in columns):
        raise UsageError("a sample grid needs at least one column, and at least one sample in each.")
    dims = {x.dim() for _, x in columns}
    if dims == {4}:
        return write(path, png(_image_grid(columns, per_column)))
    if dims == {2}:
        return write(path, _point_grid(columns, per_column or 2000))
    shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in columns)
    raise UsageError(
        f"no picture is drawn for {shapes}. Allowed in every column: images [N, C, H, W] or points [N, D]."
    )


def _image_grid(columns: Columns, per_column: int | None) -> Image.Image:
    pictures = {name: visible(to_uint8(x[: per_column or 64])) for name, x in columns}
    shown = min(len(p) for p in pictures.values())
    side = max(max(p.shape[1:3]) for p in pictures.values())
    cell = _enlarged(side)
    fit = max(2, WIDTH // (cell + _gap(cell)))
    tallest = max(_scaled(p, cell)[1] for p in pictures.values())
    if set(pictures) <= {"real", "generated"}:
        count = shown if per_column else min(shown, min(fit, 8) ** 2)
        across = math.ceil(math.sqrt(count))
        panels = [_titled({name: _block(p[:count], across, cell, tallest)}) for name, p in pictures.items()]
    else:
        strips = max(1, fit // (len(pictures) + 1))
        rows = math.ceil(shown / strips) if per_column else min(math.ceil(shown / strips), fit, 8)
        ends = [(start, min(start + rows, shown)) for start in range(0, min(shown, strips * rows), rows)]
        panels = [_titled({n: _block(p[a:b], 1, cell, tallest) for n, p in pictures.items()}) for a, b in ends]
    sizes = {tuple(x.shape[-2:]) for _, x in columns}
    note = " and ".join(f"{w}×{h}" for h, w in sorted(sizes)) + " pixels"
    if len(sizes) == 1 and cell != side:
        note += f", enlarged {cell / side:.2g}×"
    return _page(panels, note)


def _enlarged(side: int) -> int:
    """Pixels for the longest side of a sample: a whole multiple up to 64 where one comes close, else 56."""
    if side >= 48:
        return side
    whole = CELL // side * side
    return whole if whole >= 48 else 56


def _gap(cell: int) -> int:
    return max(4, cell // 16)


def visible(x: np.ndarray) -> np.ndarray:
    """Bytes N×H×W×C with any number of channels as RGB N×H×W×3."""
    n, h, w, channels = x.shape
    if channels == 1:
        return x.repeat(3, axis=3)
    if channels == 2:
        return x[..., [0, 1, 0]]
    if channels == 3:
        return x
    if channels == 4:
        squares = np.indices((h, w)).sum(0) // max(1, h // 8)  # [H, W], a diagonal pattern is told from content
        under = np.where(squares % 2, 190, 225)[None, ..., None]
        alpha = x[..., 3:] / 255.0
        return (x[..., :3] * alpha + under * (1 - alpha)).round().astype(np.uint8)
    across = math.ceil(math.sqrt(channels))
    down = math.ceil(channels / across)
    padded = np.zeros((n, h, w, across * down), np.uint8)
    padded[..., :channels] = x
    maps = padded.reshape(n, h, w, down, across).transpose(0, 3, 1, 4, 2).reshape(n, down * h, across * w, 1)
    return maps.repeat(3, axis=3)


def _scaled(pictures: np.ndarray, cell: int) -> tuple[int, int]:
    """Width and height at which the longest side of pictures N×H×W×3 takes `cell` pixels."""
    h, w = pictures.shape[1:3]
    scale = cell / max(h, w)
    return max(1, round(w * scale)), max(1, round(h * scale))


def _block(pictures: np.ndarray, across: int, cell: int, row: int) -> Image.Image:
    """Pictures N×H×W×3 scaled to `cell`, in lines of `across`, each line `row` pixels high."""
    width, height = _scaled(pictures, cell)
    gap = _gap(cell)
    down = math.ceil(len(pictures) / across)
    sheet = Image.new("RGB", (across * (width + gap) - gap, down * (row + gap) - gap), PAPER)
    for i, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        if image.size != (width, height):
            # Bicubic rings less than Lanczos at the eightfold enlargement of a digit's hard edges.
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        sheet.paste(image, (i % across * (width + gap), i // across * (row + gap) + (row - height) // 2))
    return sheet


# ----------------------------------------------------------------------------------------------------- the page


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _titled(blocks: dict[str, Image.Image]) -> Image.Image:
    """Blocks side by side, each under its name; a name wider than its block widens the column."""
    alone = len(blocks) == 1
    font, head, gap = _font(15 if alone else 12, bold=True), 28, 8
    widths = [max(block.width, math.ceil(font.getlength(name))) for name, block in blocks.items()]
    size = (sum(widths) + gap * (len(blocks) - 1), head + max(block.height for block in blocks.values()))
    panel = Image.new("RGB", size, PAPER)
    draw, left = ImageDraw.Draw(panel), 0
    for (name, block), width in zip(blocks.items(), widths, strict=True):
        middle = left + width // 2
        draw.text((left if alone else middle, 18), name, INK, font, anchor="ls" if alone else "ms")
        panel.paste(block, (middle - block.width // 2, head))
        left += width + gap
    return panel


def _page(panels: list[Image.Image], note: str) -> Image.Image:
    margin, between, foot = 24, 40, 26
    font = _font(12)
    content = sum(p.width for p in panels) + between * (len(panels) - 1)
    width = max(content, math.ceil(font.getlength(note)))
    tallest = max(p.height for p in panels)
    page = Image.new("RGB", (width + 2 * margin, tallest + 2 * margin - 6 + foot), PAPER)
    left = margin
    for panel in panels:
        page.paste(panel, (left, margin - 6))
        left += panel.width + between
    ImageDraw.Draw(page).text((margin, margin - 6 + tallest + foot), note, FAINT, font, anchor="ls")
    return page


# ------------------------------------------------------------------------------------------------------- points


def _point_grid(columns: Columns, most: int) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    arrays = {name: x[:most].detach().double().cpu().numpy() for name, x in columns}
    arrays = {name: a[np.isfinite(a).all(1)] for name, a in arrays.items()}
    reference = arrays.get("real", next(iter(arrays.values())))
    labels = ("", "density" if reference.shape[1] == 1 else "")
    if reference.shape[1] > 2:
        center = reference.mean(0)
        axes = np.linalg.svd(reference - center, full_matrices=False)[2][:2]
        axes *= np.sign(axes[:, np.abs(axes).argmax(1)].diagonal())[:, None]  # an SVD leaves the sign open
        arrays = {name: (a - center) @ axes.T for name, a in arrays.items()}
        reference, labels = (reference - center) @ axes.T, ("first principal axis", "second principal axis")
    low, high = (reference.min(0), reference.max(0)) if len(reference) else (-np.ones(2), np.ones(2))
    middle, half = (low + high) / 2, 0.65 * max(float((high - low).max()), 1e-6)
    low, high = middle - half, middle + half  # the same extent both ways: a square with some air around the reals

    layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12)
    figure = Figure(figsize=(5 * len(arrays), 5.4), dpi=110, facecolor=_hex(PAPER), layout=layout)
    FigureCanvasAgg(figure)
    axes_row = figure.subplots(1, len(arrays), sharex=True, sharey=True, squeeze=False)[0]
    for axes_, (name, array) in zip(axes_row, arrays.items(), strict=True):
        others = [a for other, a in arrays.items() if other != name]
        colour = REAL if name == "real" else FAKE
        if array.shape[1] == 1:
            _histogram(axes_, array, others, colour, low[0], high[0])
        else:
            _scatter(axes_, array, others, colour, low, high)
        outside = int(((array < low[: array.shape[1]]) | (array > high[: array.shape[1]])).any(1).sum())
        axes_.set_title(name, loc="left", fontsize=13, fontweight="bold", color=_hex(INK))
        count = f"{len(array):,} points" + (f", {outside:,} outside the view" if outside else "")
        axes_.set_title(count, loc="right", fontsize=9, color=_hex(FAINT))
        axes_.set_xlabel(labels[0], fontsize=9, color=_hex(FAINT))
        axes_.tick_params(labelsize=8, colors=_hex(FAINT), length=3)
        for spine in axes_.spines.values():
            spine.set_color(SHADOW)
    axes_row[0].set_ylabel(labels[1], fontsize=9, color=_hex(FAINT))
    return figure_png(figure)


def _scatter(axes, array: np.ndarray, others: list[np.ndarray], colour: str, low: np.ndarray, high: np.ndarray) -> None:
    size = float(np.clip(6000 / max(1, len(array)), 4, 30))
    for other in others:
        axes.scatter(other[:, 0], other[:, 1], s=size, color=SHADOW, alpha=0.6, linewidths=0)
    axes.scatter(array[:, 0], array[:, 1], s=size, color=colour, alpha=0.7, linewidths=0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), facecolor="white")
    axes.set_aspect("equal")


def _histogram(axes, array: np.ndarray, others: list[np.ndarray], colour: str, low: float, high: float) -> None:
    bins = np.linspace(low, high, 49).tolist()
    axes.hist(array[:, 0], bins, density=True, color=colour, alpha=0.75)
    for other in others:
        axes.hist(other[:, 0], bins, density=True, histtype="step", color=_hex(FAINT), linewidth=1)
    axes.set(xlim=(low, high), facecolor="white")


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def figure_png(figure) -> bytes:
    """A matplotlib figure as PNG bytes without the version it would sign them with."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------ sample files


def save_samples(samples: np.ndarray, out: Path | str) -> Path:
    """Write samples where `out` says and return the path.

    `FILE.png`: one grid without captions. `FILE.npy`: the array as it is. A folder (no ending): one PNG a sample,
    `000000.png` on. `FILE.csv`: a line a sample. `samples` are bytes N×H×W×C for the first three, or points `[N, D]`
    for `.npy` and `.csv`.
    Raises UsageError for an ending that is none of these, or a folder that holds other files.
    """
    out = Path(out)
    ending = out.suffix.lower()
    if ending not in ("", ".png", ".npy", ".csv"):
        raise UsageError(
            f"cannot write samples to '{out}': unknown ending '{ending}'. Allowed: FILE.png, FILE.npy, FILE.csv, a "
            "folder."
        )
    if ending == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, samples, allow_pickle=False)
        return write(out, buffer.getvalue())
    image = samples.ndim == 4 and samples.dtype == np.uint8
    if ending == ".csv":
        if image:
            raise UsageError(
                f"these samples are images, so '{out}' cannot hold them. Allowed: FILE.png, .npy, a folder."
            )
        text = io.BytesIO()
        np.savetxt(text, samples, fmt="%.9g", delimiter=",")  # nine digits bring every fp32 back
        return write(out, text.getvalue())
    if not image:
        raise UsageError(
            f"these samples are no images ({samples.dtype} {samples.shape}), so '{out}' cannot hold them. "
            f"Write the numbers themselves: --out {out.with_suffix('.npy')}"
        )
    if ending == ".png":
        return write(out, png(_contact_sheet(samples)))
    return _one_file_each(samples, out)


def _contact_sheet(samples: np.ndarray) -> Image.Image:
    pictures = visible(samples)
    side = max(pictures.shape[1:3])
    across = math.ceil(math.sqrt(len(pictures)))
    cell = _enlarged(side)
    if across * (cell + _gap(cell)) > 4096:  # thousands of samples: enlarging them only makes a file nobody can open
        cell = side
    gap = _gap(cell)
    sheet = _block(pictures, across, cell, _scaled(pictures, cell)[1])
    page = Image.new("RGB", (sheet.width + 2 * gap, sheet.height + 2 * gap), PAPER)
    page.paste(sheet, (gap, gap))
    return page


def _one_file_each(samples: np.ndarray, folder: Path) -> Path:
    if samples.shape[3] > 4:
        raise UsageError(
            f"a PNG holds 1 to 4 channels and these samples have {samples.shape[3]}. "
            f"Write the numbers themselves: --out {folder.with_suffix('.npy')}"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"'{folder}' is a file. Give a folder, FILE.png or FILE.npy.")
    digits = max(6, len(str(len(samples) - 1)))
    names = [f"{i:0{digits}d}.png" for i in range(len(samples))]
    others = sorted({p.name for p in folder.iterdir()} - set(names)) if folder.exists() else []
    if others:
        raise UsageError(
            f"'{folder}' holds {len(others)} other file(s), such as '{others[0]}'; samples would mix with them. "
            "Give a new folder or empty this one."
        )
    for name, sample in zip(names, samples, strict=True):
        write(folder / name, png(Image.fromarray(sample[..., 0] if sample.shape[2] == 1 else sample)))
    return folder

"""Ways through the latent space of a run as animations, files and strips: what the command line and the laboratory
write of it."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from gannet.core.errors import CheckpointError, UsageError
from gannet.core.tensorfile import read_tensors, write_tensors
from gannet.engine.console import Console
from gannet.engine.pictures import png, save_samples, visible, write
from gannet.latent.directions import Directions
from gannet.latent.looks import look
from gannet.model import Model, load

SIDE = 128
"""Pixels that a side of an enlarged picture has at least."""
FASTEST = 30
"""Frames a second."""
STRIP = (-3, -2, -1, 0, 1, 2, 3)
"""Standard deviations shown of a direction."""
ROWS = 4
SHOWN = 10
"""Directions of which strips are drawn."""


# ------------------------------------------------------------------------------------------------------- pictures


def picture(sample: np.ndarray) -> Image.Image:
    """One sample H×W×C, uint8, pixel for pixel."""
    if sample.shape[2] == 1:
        return Image.fromarray(sample[..., 0])
    return Image.fromarray(sample if sample.shape[2] in (3, 4) else visible(sample[None])[0])


def tiled(samples: np.ndarray, columns: int | None = None, gap: int = 0) -> Image.Image:
    """Samples N×H×W×C in a grid, in `columns` (a square's, left out), `gap` pixels apart. What is left over is black,
    gaps are grey."""
    pictures = [picture(sample) for sample in samples]
    across = columns or math.ceil(math.sqrt(len(pictures)))
    width, height = pictures[0].size
    down = math.ceil(len(pictures) / across)
    blank = Image.new(pictures[0].mode, pictures[0].size)
    size = across * (width + gap) - gap, down * (height + gap) - gap
    sheet = Image.new("L", size, 128).convert(pictures[0].mode)
    for number, each in enumerate([*pictures, *[blank] * (across * down - len(pictures))]):
        sheet.paste(each, (number % across * (width + gap), number // across * (height + gap)))
    return sheet


def enlarged(image: Image.Image, height: int, width: int) -> Image.Image:
    """`image` with every pixel repeated so often that samples of `height` × `width` have a side of 128 or more."""
    times = max(1, math.ceil(SIDE / max(height, width)))
    return image if times == 1 else image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def gif(frames: np.ndarray, fps: int = 20) -> bytes:
    """An endless animation of frames F×H×W×C, small ones enlarged. Raises `UsageError` for a speed out of range."""
    if not 1 <= fps <= FASTEST:
        raise UsageError(f"fps={fps}: 1 to {FASTEST} frames a second are allowed.")
    pictures = [enlarged(picture(frame), *frame.shape[:2]) for frame in frames]
    pictures = [each if each.mode == "L" else each.convert("RGB") for each in pictures]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=round(100 / fps) * 10, loop=0, optimize=False
    )
    return buffer.getvalue()


# ----------------------------------------------------------------------------------------------------- from a run


def seeds_of(text: str) -> list[int]:
    """`0,3,5-9` as numbers. Raises `UsageError` for anything else, and for more than 1,000."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--seeds '{text}': '{part}' is no seed. Write numbers and ranges, as in 0,3,5-9.")
        low, high = int(first), int(last or first)
        if not low <= high < 2**63 or high - low >= 1000 or len(found) + high - low >= 1000:
            raise UsageError(
                f"--seeds '{text}': '{part}' is no range of up to 1,000 seeds, from the lower to the higher."
            )
        found += range(low, high + 1)
    return found


def show(
    run: str | Path,
    out: str | Path | None = None,
    seeds: Sequence[int] = (),
    looks: Sequence[Mapping[str, Any]] = (),
    label: int | str | None = None,
    truncation: float = 1.0,
    which: str = "latest",
) -> Path:
    """Write the first sample of each of `seeds`, or one sample a look, as `gannet.model.sample` writes samples."""
    model = load(run, which)
    keys = _keys(seeds, looks, label, truncation)
    ending = ".png" if model.data.kind == "image" else ".npy"
    return save_samples(model.show(keys), out or model.run.samples / f"looks{ending}")


def interpolate(
    run: str | Path,
    out: str | Path | None = None,
    seeds: Sequence[int] = (),
    looks: Sequence[Mapping[str, Any]] = (),
    frames: int = 60,
    fps: int = 20,
    label: int | str | None = None,
    truncation: float = 1.0,
    closed: bool = True,
    which: str = "latest",
    console: Console | None = None,
) -> Path:
    """Write frames along a smooth way through `seeds` or `looks`: FILE.gif, a folder, FILE.png or FILE.npy; without
    `out` to an animation among the samples of the run. Raises `UsageError`."""
    model = load(run, which)
    keys = _keys(seeds, looks, label, truncation)
    walked = model.interpolate(keys, frames, closed=closed)  # type: ignore[arg-type]
    if console and model.task.classes and any(key["class"] is None for key in keys):
        console.note("Classes cannot be blended: half-way the class changes at once. To stay in one give --label K.")
    out = Path(out) if out is not None else model.run.samples / "walk.gif"
    if out.suffix.lower() != ".gif":
        return save_samples(walked, out)
    if walked.ndim != 4:
        raise UsageError(
            f"these samples are no images, so '{out}' cannot hold them. Give --out {out.with_suffix('.npy')}"
        )
    return write(out, gif(walked, fps))


def _keys(
    seeds: Sequence[int], looks: Sequence[Mapping[str, Any]], label: int | str | None, truncation: float
) -> list[dict[str, Any]]:
    """Seeds and looks as looks; what a look leaves open is `label` and `truncation`."""
    if not seeds and not looks:
        raise UsageError("no seeds were given. Write them as in --seeds 1,2,3.")
    for each in looks:
        if not isinstance(each, Mapping):
            look(each)  # says what a look is
    given: list[Mapping[str, Any]] = [{"point": {"seed": seed}} for seed in seeds]
    return [{"class": label, "truncation": truncation, **each} for each in [*given, *looks]]


# ----------------------------------------------------------------------------------------------------- directions


def directions(run: str | Path, out: str | Path | None = None, which: str = "latest", count: int = 20) -> Path:
    """Write the principal directions of a run to a folder: `directions.safetensors`, and of the first ten a strip each,
    from −3 to 3 standard deviations, of four samples. Without `out` to RUN/directions. Raises `UsageError`."""
    model = load(run, which)
    if model.data.kind != "image":
        raise UsageError(f"strips are drawn of images, and {model.run.path} makes {model.data.kind}.")
    found = model.directions(count)
    folder = Path(out) if out is not None else model.run.path / "directions"
    if folder.suffix or folder.is_file():
        raise UsageError(f"'{folder}' is no folder. Directions are several files: give --out FOLDER.")
    for number in range(min(SHOWN, len(found))):
        looks = [{"point": {"seed": s}, "directions": [[number, amount]]} for s in range(ROWS) for amount in STRIP]
        samples = model.shown(model.view.images(model.looks(looks), together=True))
        strip = enlarged(tiled(samples, len(STRIP), gap=1), *samples.shape[1:3])
        write(folder / f"direction-{number:02d}.png", png(strip))
    save_directions(folder / "directions.safetensors", found, model)
    return folder


def save_directions(path: Path, found: Directions, model: Model) -> Path:
    """Write directions with the hash of the weights they belong to."""
    notes = {"space": found.space, "weights": weights_digest(model.task), "checkpoint": model.checkpoint}
    return write_tensors(path, {"steps": found.steps, "sd": found.sd, "share": found.share}, notes)


def load_directions(path: str | Path, model: Model) -> Directions:
    """Directions as they were saved. Raises `CheckpointError` for a file that is none, or is of other weights."""
    mend = "Find them anew: gannet directions RUN."
    tensors, notes = read_tensors(Path(path), ("space", "weights", "checkpoint"), mend)
    if notes["weights"] != weights_digest(model.task):
        raise CheckpointError(
            f"{path} belongs to other weights (checkpoint {notes['checkpoint']}) than those of {model.run.path}, "
            f"checkpoint {model.checkpoint}: its directions mean nothing here. {mend}"
        )
    space = "w" if notes["space"] == "w" else "activations"
    return Directions(space, tensors["steps"], tensors["sd"], tensors["share"])  # type: ignore[arg-type]


def weights_digest(task: nn.Module) -> str:
    """SHA-256 over names and bytes of everything that the generator is made of."""
    digest = hashlib.sha256()
    for name, tensor in sorted(task.networks["generator"].state_dict().items()):  # type: ignore[index, union-attr]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

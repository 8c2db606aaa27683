"""The explorer: trained generators of the shelf, held ready to be looked at from all sides."""

from __future__ import annotations

import base64
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gannet import api
from gannet.core import registry
from gannet.core.errors import GannetError, UsageError
from gannet.core.types import Source
from gannet.data.download import only_local
from gannet.engine import checkpoint
from gannet.engine.pictures import png, to_uint8
from gannet.explore import enlarged, picture, tiled
from gannet.lab.door import Refused
from gannet.lab.shelf import Shelf
from gannet.latent.activations import layers, outputs
from gannet.latent.looks import Look
from gannet.latent.neighbours import Training

HELD = 4
"""Models kept at once."""
LOOKS = 64
PIXELS = 16_000_000
"""Most pixels of one answer."""
NEIGHBOURS = 16
CHANNELS = 64
"""Channels of a layer that are drawn."""
GAP = 2
GRID = re.compile(r"\d{9,}\.png")
"""The names of a run's own sample grids: the number of samples seen."""


class Explored:
    """One checkpoint of one run, ready. Raises `UsageError` for a run that makes no images from latents."""

    def __init__(self, path: Path, name: str):
        self.path, self.name, self.lock = path, name, threading.Lock()
        self.model = api.load(path)
        if self.model.data.kind != "image":
            raise UsageError(
                f"this run makes {self.model.data.kind}, and what is explored here are images. "
                "Points are watched in the playground."
            )
        self.view = self.model.view  # refuses what has no latents
        self._training: Training | None = None

    @property
    def generator(self) -> Any:
        return self.model.task.networks["generator"]

    # ------------------------------------------------------------------------------------------------------- facts

    def facts(self) -> dict[str, Any]:
        model, task = self.model, self.model.task
        return {
            "name": self.name,
            "title": f"{model.experiment.preset or 'a run'} · {model.experiment.data.name}",
            "kind": "image",
            "shape": list(model.data.shape),
            "step": model.step,
            "samples": model.samples,
            "latent": {"size": int(self.generator.latent), "distribution": self._distribution()},
            "classes": self._classes() if task.classes else None,
            "styles": self.view.styles,
            "truncation": True,
            "layers": [{"name": n, "shape": list(s)} for n, s in layers(task, self.view.dtype).items()],
            "saved": [{"index": i, "samples": int(p.stem)} for i, p in enumerate(self.saved())],
            "train": self._train(),
            "weights": "ema" if model.experiment.ema.halflife is not None else "weights",
            "checkpoint": model.checkpoint,
        }

    def _classes(self) -> list[str]:
        task = self.model.task
        named = any(role.data.classes for role in task.roles.values())
        return (list(self.model.data.names) if named else []) or [str(i) for i in range(task.classes)]

    def _distribution(self) -> str:
        codes = getattr(self.model.task, "codes", None)
        if codes is None:
            return "normal"
        return f"{codes.hot} one-hot, {codes.continuous} uniform, {self.generator.latent - codes.size} normal"

    def _train(self) -> dict[str, Any]:
        try:
            return {"count": len(self.training())}
        except (GannetError, OSError) as error:
            return {"why": str(error).splitlines()[0]}

    def training(self) -> Training:
        """The run's training rows. Raises `DataError`, `UsageError` where they are not at hand."""
        if self._training is None:
            with only_local():  # to look at a run is not to ask for a download
                source: Source = registry.SOURCES.build(self.model.experiment.data, where="data")
            if source.spec.shape != self.model.data.shape:
                raise UsageError("the run's data have another shape now than when it was trained.")
            self._training = Training(source)
        return self._training

    def saved(self) -> list[Path]:
        """The run's own sample grids, in the order they were drawn."""
        folder = self.model.run.samples
        found = [p for p in folder.iterdir() if GRID.fullmatch(p.name) and p.is_file()] if folder.is_dir() else []
        return sorted(found, key=lambda p: int(p.stem))

    # ------------------------------------------------------------------------------------------------------ answers

    def looks(self, values: Any, most: int = LOOKS) -> list[Look]:
        if not isinstance(values, list) or not 1 <= len(values) <= most:
            raise UsageError(f"looks: a list of 1 to {most} is wanted.")
        return self.model.looks(values)

    def images(self, body: Mapping[str, Any]) -> bytes:
        looks = self.looks(body.get("looks"))
        columns = body.get("columns")
        if columns is not None and (type(columns) is not int or not 1 <= columns <= LOOKS):
            raise UsageError(f"columns {str(columns)[:30]}: a whole number from 1 to {LOOKS} is wanted.")
        self.check_pixels(len(looks))
        # One picture is the very one that the command line gives; many at once need not be to the last bit.
        samples = to_uint8(self.view.images(looks, together=len(looks) > 1))
        sheet = picture(samples[0]) if len(samples) == 1 else tiled(samples, columns)
        return png(enlarged(sheet, *samples.shape[1:3]) if body.get("enlarge") is True else sheet)

    def check_pixels(self, count: int) -> None:
        _, height, width = self.model.data.shape
        if count * height * width > PIXELS:
            raise UsageError(
                f"{count} pictures of {height}×{width} are more than {PIXELS:,} pixels. Ask for "
                f"{max(1, PIXELS // (height * width))} or fewer."
            )

    def directions(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if body.get("method", "pca") != "pca":
            raise UsageError(f"method {str(body.get('method'))[:30]!r} is not known. Allowed: pca.")
        found = self.view.directions
        pairs = zip(found.share.tolist(), found.sd.tolist(), strict=True)
        return {"space": found.space, "directions": [{"share": share, "sd": sd} for share, sd in pairs]}

    def nearest(self, body: Mapping[str, Any]) -> dict[str, Any]:
        n = body.get("n", 8)
        if type(n) is not int or not 1 <= n <= NEIGHBOURS:
            raise UsageError(f"n {str(n)[:30]}: a whole number from 1 to {NEIGHBOURS} is wanted.")
        training = self.training()
        field = self.model.data.x.range
        x = self.view.images(self.looks([body.get("look")]))
        distances, indices = training.nearest(x if field is None else x.clamp(*field), min(n, len(training)))
        rows = to_uint8(training.images(indices[0]))
        typical = training.typical
        found = [
            {"distance": float(d), "index": int(i), "png": _base64(png(picture(row)))}
            for d, i, row in zip(distances[0], indices[0], rows, strict=True)
        ]
        ratio = float(distances[0, 0]) / typical if typical > 0 else None
        return {"neighbours": found, "typical": typical, "ratio": ratio}

    def activations(self, body: Mapping[str, Any]) -> dict[str, Any]:
        looks = self.looks([body.get("look")])
        blends = [look.point.blend for look in looks]
        name = str(body.get("layer", ""))[:200]
        h, _ = outputs(self.model.task, self.view.starts(looks), blends, name, self.view.dtype)
        return {"png": _base64(png(channels(h[0]))), **numbers(h[0])}

    def grid(self, index: Any) -> bytes:
        """One of the run's own sample grids."""
        saved = self.saved()
        if not str(index).isdecimal() or not int(index) < len(saved):
            raise Refused(404, f"there is no sample grid {str(index)[:20]!r}; there are {len(saved)}.")
        return saved[int(index)].read_bytes()


def channels(h: Tensor) -> Image.Image:
    """The first 64 channels of activations `[C, H, W]` as grey pictures, each from its least value, black, to its
    greatest, white; small ones enlarged to 32 pixels."""
    some = h[:CHANNELS].double().nan_to_num()
    low, high = some.flatten(1).amin(1), some.flatten(1).amax(1)
    levels = (some - low[:, None, None]) / (high - low).clamp(min=1e-30)[:, None, None] * 255
    height, width = (max(1, -(-32 // max(h.shape[1:]))) * side for side in h.shape[1:])
    across = math.ceil(math.sqrt(len(levels)))
    down = math.ceil(len(levels) / across)
    sheet = Image.new("L", (across * (width + GAP) - GAP, down * (height + GAP) - GAP), 128)
    for number, level in enumerate(levels.round().numpy().astype(np.uint8)):
        tile = Image.fromarray(level).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(tile, (number % across * (width + GAP), number // across * (height + GAP)))
    return sheet


def numbers(h: Tensor) -> dict[str, Any]:
    """What the activations `[C, H, W]` of a layer amount to; `None` where they are not finite."""
    flat = h.double().flatten(1)
    found = {
        "mean": float(flat.mean()),
        "sd": float(flat.std(correction=0)),
        "max": float(flat.max()),
        "dead": float((flat == flat[:, :1]).all(1).double().mean()),
    }
    known = {name: value if math.isfinite(value) else None for name, value in found.items()}
    return {"channels": len(h), "shape": list(h.shape), **known}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# ---------------------------------------------------------------------------------------------------- what is held


class Explorer:
    """The runs of `shelf` that are being explored: at most four are held, and one that has trained on is loaded anew.
    Whatever is asked of a run waits for what was asked of it before."""

    def __init__(self, shelf: Shelf):
        self.shelf = shelf
        self.held: OrderedDict[str, tuple[tuple[Any, ...], Explored]] = OrderedDict()
        self.lock = threading.Lock()

    def ask(self, name: str, question: Callable[[Explored], Any]) -> Any:
        """What `question` says of the run `name`. Raises `Refused` for one that is not on the shelf, and `GannetError`
        for one that cannot be explored."""
        explored = self.get(name)
        with explored.lock, torch.no_grad():
            return question(explored)

    def get(self, name: str) -> Explored:
        path = self.shelf.get(name)
        stamp = (path, _newest(path))
        with self.lock:
            kept = self.held.get(name)
            if kept is None or kept[0] != stamp:
                self.held[name] = kept = stamp, Explored(path, name)
            self.held.move_to_end(name)
            while len(self.held) > HELD:
                self.held.popitem(last=False)
            return kept[1]


def _newest(path: Path) -> str:
    """The name of the checkpoint that is the latest now. Raises `UsageError` where there is none yet."""
    folder = path / "checkpoints"
    if not folder.is_dir() or not any(entry.is_dir() for entry in folder.iterdir()):
        raise UsageError("this run has written no checkpoint yet. Wait for its first one.")
    if (folder / "latest.json").exists():
        return checkpoint.pointed(folder, "latest")
    return checkpoint.latest(folder).name

"""What a browser is shown: numbers over the plane, losses and measures, packed into at most 64 kB."""

from __future__ import annotations

import json
import math
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gannet.core.errors import DivergedError, GannetError
from gannet.lab import overlays, phase
from gannet.lab.look import FAKES, Look, Probe, coded
from gannet.lab.measures import Measures

if TYPE_CHECKING:
    from gannet.lab.playground import Playground

MOST = 65_536
"""Bytes of a frame."""
REALS, TRACKED, TRAIL = 450, 40, 50
HISTORY = 300
"""Rows of losses in one frame; a reader that lacks more gets them with the next."""
PATIENCE = 0.5
"""Seconds between two measurements, which take longer than a picture."""
DRAWN = 2
"""Samples of reals that are scored for the band with one frame, so that no frame waits for all of them."""
LAYERS = ("heat", "manifold", "arrows", "optimal", "r1", "field", "trajectories")
TYPES = {"f2": "<f2", "f4": "<f4", "u1": "u1"}


@dataclass
class Reader:
    """One browser, and what it has been sent: the version of the game, the last step of its losses, the start whose
    reals it has, how many futures were given up since then, the measurement."""

    seen: int = 0
    step: int = -1
    start: int = 0
    forks: int = 0
    measured: int = 0


@dataclass
class Frame:
    """A picture of a game at `version`; `packed` leaves out what a reader has. `forks` are the steps after which a
    future was given up, since the start: `forked` tells a reader to forget its rows after that step."""

    version: int
    start: int
    header: dict[str, Any]
    arrays: dict[str, np.ndarray]
    rows: list[tuple[Any, ...]]
    forks: list[int]
    measures: dict[str, Any] = field(default_factory=dict)
    measured: int = 0

    def packed(self, reader: Reader) -> bytes:
        """The bytes for `reader`, which is told what it has been sent."""
        header, arrays = dict(self.header), dict(self.arrays)
        anew = reader.start != self.start
        if anew:
            reader.step, reader.start, reader.forks = -1, self.start, 0
        else:
            arrays.pop("real", None)
        header["forked"] = min(self.forks[reader.forks :], default=None)
        reader.step = min([reader.step, *self.forks[reader.forks :]])
        reader.forks = len(self.forks)
        missing = [row for row in self.rows if row[0] > reader.step]
        header["start"] = self.start
        if self.measures and (anew or reader.measured != self.measured):
            header["measures"], reader.measured = self.measures, self.measured
        count = min(HISTORY, len(missing))
        while len(data := pack({**header, "history": missing[:count]}, arrays)) > MOST and count:
            count //= 2
        if count:
            reader.step = missing[count - 1][0]
        reader.seen = self.version if count == len(missing) else 0
        return data


def pack(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """Length of the header (4 bytes), header, arrays: little-endian, each filled up to a multiple of 4 bytes."""
    kinds = {np.dtype(np.uint8): "u1", np.dtype(np.float16): "f2", np.dtype(np.float32): "f4"}
    listed = [{"name": n, "dtype": kinds[a.dtype], "shape": list(a.shape)} for n, a in arrays.items()]
    text = json.dumps(plain({**header, "arrays": listed}), allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)  # so that the arrays, too, begin at a multiple of 4
    parts = [struct.pack("<I", len(text)), text]
    for listing, array in zip(listed, arrays.values(), strict=True):
        data = np.ascontiguousarray(array).astype(TYPES[str(listing["dtype"])], copy=False).tobytes()
        parts += [data, b"\0" * (-len(data) % 4)]
    return b"".join(parts)


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Undo `pack`."""
    (length,) = struct.unpack_from("<I", data)
    header, at, arrays = json.loads(data[4 : 4 + length]), 4 + length, {}
    for listing in header["arrays"]:
        count = math.prod(listing["shape"])
        kind = np.dtype(TYPES[listing["dtype"]])
        arrays[listing["name"]] = np.frombuffer(data, kind, count, at).reshape(listing["shape"])
        at += count * kind.itemsize + (-count * kind.itemsize % 4)
    return header, arrays


def plain(value: Any) -> Any:
    """JSON without what JSON lacks: numbers that are not finite become null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


class Painter:
    """Makes frames of one session's game: the layers that are switched on, and now and then a measurement."""

    def __init__(self) -> None:
        self.layers = dict.fromkeys(LAYERS, False) | {"heat": True, "arrows": True}
        self.probe = Probe()
        self.start = 0
        self.reals = torch.empty(0, 2)
        self.bounds: overlays.Bounds = (0.0, 0.0, 1.0, 1.0)
        self.trails = overlays.Trails(TRAIL)
        self.kind: type[np.floating[Any]] = np.float16
        self.measures: dict[str, Any] = {}
        self.meter: Measures | None = None
        self.measured, self.measured_at, self.again = 0, (-1, 0), 0.0
        self.unfinished = False

    def blank(self, playground: Playground, status: dict[str, Any], version: int) -> Frame:
        """A frame without pictures."""
        p, b = playground, self.bounds
        header = {
            "status": status,
            "step": p.step,
            "losses": p.losses,
            "columns": p.columns(),
            "bounds": list(b) if len(b) == 4 else [b[0], 0.0, b[1], 1.0],
            "dimensions": len(b) // 2,
            "outside": 0,
            "unavailable": {},
        }
        if found := phase.place(p.trainer.game):
            header["phase"] = {**found, "eigenvalues": phase.eigenvalues(p.trainer)}
        return Frame(version, p.restarts, header, {}, p.rows, p.forks, self.measures, self.measured)

    def paint(self, playground: Playground, status: dict[str, Any], version: int) -> Frame:
        """A frame of the game as it stands, which is left as it was. A layer that this game cannot have is said to be
        unavailable, and why."""
        if self.start != playground.restarts:
            self._begin(playground)
        game = playground.trainer.game
        fakes = playground.trainer.generate(FAKES, 0).to(self.reals)
        self._measure(playground, fakes, not status["playing"] and not status["busy"])
        frame = self.blank(playground, status, version)
        frame.header["outside"] = int(overlays.outside(fakes.numpy(), self.bounds).sum())
        frame.arrays |= {"real": self._float(self.reals.numpy()), "fake": self._float(fakes.numpy())}
        with overlays.evaluating(game.networks):
            look = Look(playground.trainer, self.bounds, self.reals, fakes)
            for layer in (n for n in LAYERS if self.layers[n]):
                try:
                    if layer == "trajectories":
                        self.trails.add(playground.step, fakes[:TRACKED])
                        found = {"trajectories": self.trails.array()}
                    else:
                        found = getattr(look, layer)()
                except (GannetError, RuntimeError) as error:
                    frame.header["unavailable"][layer] = str(error).split("\n")[0]
                    continue
                frame.arrays |= {n: a if a.dtype == np.uint8 else self._float(a) for n, a in found.items()}
            for name, array in coded(playground.trainer, self.probe).items():
                frame.arrays[name] = array if array.dtype == np.uint8 else self._float(array)
        return frame

    def _float(self, array: np.ndarray) -> np.ndarray:
        """`array` as fp16, or as fp32 where the points lie so that fp16 would be too coarse for a picture."""
        most = float(np.finfo(self.kind).max)
        return np.nan_to_num(array, posinf=most, neginf=-most).clip(-most, most).astype(self.kind)

    def _begin(self, playground: Playground) -> None:
        source = playground.trainer.game.source
        self.start, self.bounds = playground.restarts, overlays.bounds(source)
        half = len(self.bounds) // 2
        side = min(b - a for a, b in zip(self.bounds[:half], self.bounds[half:], strict=True))
        farthest = max(map(abs, self.bounds))
        self.kind = np.float16 if farthest < min(1_000.0, 8 * side) and side > 0.01 else np.float32
        rows = source.split("train")
        self.reals = rows.take(torch.arange(min(REALS, len(rows))))["x"].float()
        self.trails = overlays.Trails(TRAIL)
        self.meter, self.unfinished = Measures(source, FAKES), True
        self.measures, self.measured_at, self.again = {}, (-1, 0), 0.0

    def _measure(self, playground: Playground, fakes: Tensor, resting: bool) -> None:
        """Measure the fakes, if they moved and it is time again, or the game rests."""
        began = time.monotonic()
        if self.unfinished and self.meter and self.meter.grow(FAKES, DRAWN):
            self.unfinished, self.measured_at = False, (-1, 0)
            resting = True
        place = (playground.step, playground.record.done)
        if place == self.measured_at or (began < self.again and not resting):
            return
        self.measured_at = place
        try:
            self.measures = self.meter.report(fakes.double().numpy()) if self.meter else {}
        except DivergedError:
            self.measures = {}
        self.measured += 1
        self.again = began + max(PATIENCE, 10 * (time.monotonic() - began))

"""What the explorer shows, to take away: pictures, an animation, and the command or the program that makes them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gannet.core.errors import UsageError, unknown
from gannet.engine.pictures import png, to_uint8
from gannet.explore import FASTEST, gif, picture, tiled
from gannet.lab.explorer import Explored

KEYS = 16
"""Looks that an animation may lead through."""
FRAMES = 240


@dataclass(frozen=True)
class File:
    name: str
    kind: str
    content: bytes


def export(explored: Explored, body: Mapping[str, Any]) -> File:
    """The file that is asked for. Raises `UsageError` for a kind that is not known and numbers out of range."""
    kind = str(body.get("kind"))[:30]
    looks = explored.looks(body.get("looks"), KEYS)
    frames, fps = _whole(body, "frames", 60, FRAMES), _whole(body, "fps", 20, FASTEST)
    model = explored.model
    if kind == "png":
        explored.check_pixels(len(looks))
        samples = to_uint8(explored.view.images(looks))
        return File("picture.png", "image/png", png(picture(samples[0]) if len(looks) == 1 else tiled(samples)))
    if kind == "gif":
        explored.check_pixels(frames)
        return File("walk.gif", "image/gif", gif(to_uint8(explored.view.frames(looks, frames)), fps))
    values = [_spare(value) for value in body["looks"]]
    if kind == "command":
        text = "\n".join(commands(explored, values, frames, fps)) + "\n"
        return File("commands.txt", "text/plain; charset=utf-8", text.encode())
    if kind == "python":
        text = PROGRAM.format(
            run=str(model.run.path), which=model.checkpoint, looks=_listed(values), frames=frames, fps=fps
        )
        return File("explore.py", "text/plain; charset=utf-8", text.encode())
    raise UsageError(unknown("kind of export", kind, ("png", "gif", "command", "python")))


def _whole(body: Mapping[str, Any], name: str, usual: int, most: int) -> int:
    value = body.get(name, usual)
    if type(value) is not int or not 1 <= value <= most:
        raise UsageError(f"{name} {str(value)[:30]}: a whole number from 1 to {most} is wanted.")
    return value


def _spare(value: Mapping[str, Any]) -> dict[str, Any]:
    """A look without the parts that change nothing."""
    usual: dict[str, Any] = {"class": None, "truncation": 1, "directions": [], "style": None}
    return {key: part for key, part in value.items() if key not in usual or part not in (usual[key], None)}


# -------------------------------------------------------------------------------------------------------- commands


def commands(explored: Explored, values: list[dict[str, Any]], frames: int, fps: int) -> list[str]:
    """The command that writes the pictures, and for several the one that writes the animation: the same bytes as the
    explorer's own files."""
    said = _by_seeds(explored, values) or ["--looks", json.dumps(values, ensure_ascii=False)]
    found = [_command("sample", explored, *said, "--out", "pictures")]
    if len(values) > 1:
        walk = ["--frames", str(frames), "--fps", str(fps), "--out", "walk.gif"]
        found.append(_command("interpolate", explored, *said, *walk))
    return found


def _command(name: str, explored: Explored, *words: str) -> str:
    model = explored.model
    return shlex.join(["gannet", name, str(model.run.path), "--which", model.checkpoint, *words])


def _by_seeds(explored: Explored, values: list[dict[str, Any]]) -> list[str] | None:
    """The looks as options that a person would write, where they are seeds of one class and one truncation."""
    looks = explored.model.looks(values)
    if any(look.seed is None for look in looks) or len({(look.label, look.truncation) for look in looks}) > 1:
        return None
    words = ["--seeds", ",".join(str(look.seed) for look in looks)]
    if looks[0].label is not None:
        words += ["--label", str(values[0]["class"])]
    return words if looks[0].truncation == 1 else [*words, "--truncation", str(looks[0].truncation)]


# --------------------------------------------------------------------------------------------------------- program

PROGRAM = """\
from gannet import api

model = api.load({run!r}, which={which!r})
looks = [
{looks}
]
samples = model.show(looks)  # uint8 [n, H, W, C]
frames = model.interpolate(looks, frames={frames})  # a way through them and back, uint8 [frames, H, W, C]
api.interpolate({run!r}, "walk.gif", looks=looks, frames={frames}, fps={fps}, which={which!r})
"""


def _listed(values: list[dict[str, Any]]) -> str:
    return "\n".join(f"    {value!r}," for value in values)

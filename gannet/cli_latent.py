"""`gannet interpolate` and `directions`: words to calls of the API, which is imported when it is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gannet.core.errors import UsageError
from gannet.engine.console import Console

RunName = Annotated[str, typer.Argument(metavar="RUN", help="The directory of a run, as in runs/0001-quick-digits.")]
Which = Annotated[str, typer.Option("--which", help="latest, best or the name of a checkpoint.")]
Label = Annotated[str | None, typer.Option("--label", metavar="K", help="One class, by number or name.")]
Truncation = Annotated[float, typer.Option("--truncation", help="0 the mean sample … 1 the full variety.")]
Seeds = Annotated[str | None, typer.Option("--seeds", metavar="A,B,C-D", help="The first sample of each of these.")]
Looks = Annotated[
    str | None, typer.Option("--looks", metavar="JSON", help="A list of looks, as the laboratory's explorer writes it.")
]
Plugin = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file that registers parts of your own. It is run."),
]


def interpolate(
    run: RunName,
    seeds: Seeds = None,
    looks: Looks = None,
    frames: Annotated[int, typer.Option("--frames", help="How many pictures; up to 600.")] = 60,
    fps: Annotated[int, typer.Option("--fps", help="Pictures a second of an animation, up to 30.")] = 20,
    label: Label = None,
    truncation: Truncation = 1.0,
    stay: Annotated[bool, typer.Option("--open", help="End at the last one, and do not come back.")] = False,
    which: Which = "latest",
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="PATH",
            show_default="samples/walk.gif in the run",
            help="FILE.gif, a folder, FILE.png, .npy.",
        ),
    ] = None,
    plugin: Plugin = None,
) -> int:
    """Walk smoothly from sample to sample of a trained run, as an animation or as pictures."""
    from gannet import api

    api.load_plugins(tuple(plugin or ()))
    keys, more = chosen(seeds, looks)
    walk = api.interpolate(
        found(run), out, keys, more, frames, fps, label, truncation, not stay, which, console=Console()
    )
    _print(walk)
    return 0


def directions(
    run: RunName,
    count: Annotated[int, typer.Option("--count", help="How many directions.")] = 20,
    which: Which = "latest",
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FOLDER", show_default="directions/ in the run", help="Where to write them."),
    ] = None,
    plugin: Plugin = None,
) -> int:
    """Find the directions of the latent along which samples change most, and draw them."""
    from gannet import api

    api.load_plugins(tuple(plugin or ()))
    _print(api.directions(found(run), out, which, count))
    return 0


def chosen(seeds: str | None, looks: str | None) -> tuple[list[int], list[Any]]:
    """Seeds and looks as they were written. Raises `UsageError` for what is neither."""
    from gannet import api

    if looks is None:
        return api.seeds_of(seeds) if seeds is not None else [], []
    try:
        values = json.loads(looks)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list):
        raise UsageError(f'--looks {looks[:60]!r} is no JSON list. Write it as in \'[{{"point": {{"seed": 7}}}}]\'.')
    return api.seeds_of(seeds) if seeds is not None else [], values


def found(run: str) -> Path:
    """The run's directory: a path, or the name of a directory in runs/."""
    path = Path(run)
    return Path("runs") / run if path.parent == Path() and not path.exists() else path


def _print(path: Path) -> None:
    Console(sys.stdout).note(str(path))

"""`gannet bench`: measurements of the house itself."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from gannet.core.errors import UsageError
from gannet.engine.console import Console

bench = typer.Typer()


@bench.callback()
def measurements() -> None:
    """Measure the presets, and write the page of results."""


@bench.command()
def results(
    presets: Annotated[
        str, typer.Option("--presets", metavar="A,B,…", show_default="all of images", help="Which presets.")
    ] = "",
    data: Annotated[str, typer.Option("--data", metavar="A,B,…", help="On which sources.")] = "digits,mnist",
    seconds: Annotated[str, typer.Option("--seconds", metavar="S,T,…", help="Trained for how long.")] = "60,180",
    seeds: Annotated[str, typer.Option("--seeds", metavar="J,K,…", help="From which seeds.")] = "0,1,2",
    out: Annotated[
        str, typer.Option("--out", metavar="FILE.md", help="The page; cells lie in the folder beside it.")
    ] = "docs/results.md",
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0, help="Start no training that would not end within so many minutes."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Say how every cell stands; measure nothing.")] = False,
    render_only: Annotated[bool, typer.Option("--render-only", help="Write the page of the cells there are.")] = False,
) -> int:
    """Train and judge what is not measured yet, one after another, and write the page."""
    chosen = (_words(presets), _words(data), _numbers("seconds", seconds), _numbers("seeds", seeds))
    from gannet import api

    if listing:
        rows = api.bench.entries(api.bench.plan(*chosen), out)
        said = "\n".join(f"{entry.state:<8}  {entry.cell}" for entry in rows)
    elif render_only:
        said = str(api.bench.page(out))
    else:
        with _terminable():
            said = str(api.bench.results(*chosen, out, minutes, tell=Console().note))
    Console(sys.stdout).note(said)
    return 0


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that a training in progress ends with it and leaves nothing."""

    def end(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(name: str, text: str) -> list[int]:
    """Whole numbers with commas between them. Raises `UsageError`."""
    words = _words(text)
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise UsageError(f"--{name} '{text}' is no list of whole numbers. Write them with commas: --{name} 60,180.")
    return [int(word) for word in words]

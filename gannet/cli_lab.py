"""`gannet lab`: the laboratory in the browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def lab(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN|FOLDER]", help="A trained run to explore, or a folder of runs to watch."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen; other machines need --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = 7860,
    token: Annotated[
        str | None, typer.Option("--token", help="What a browser must know: 16 letters and digits or more.")
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", metavar="FOLDER", help="Keep the runs here, where every command reads them."),
    ] = None,
) -> None:
    """Open the laboratory: watch a GAN learn points and change its every part, explore a trained generator of images
    (RUN), or follow and compare runs (FOLDER)."""
    # Not at the top: the web server's libraries would be loaded for every other command too.
    from gannet.lab.server import serve

    def started(address: str) -> None:
        print(address, flush=True)
        print("The laboratory is open at this address, on this machine. Ctrl+C closes it.", file=sys.stderr)

    serve(host, port, token, runs, started=started, opened=path)

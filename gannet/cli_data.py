"""`gannet data`: looking at data before training, and packing it into shards that open at once."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from gannet.core.errors import DataError
from gannet.engine.console import Console

data = typer.Typer()

Origin = Annotated[
    str, typer.Argument(metavar="SOURCE", help="What stands after data=: a folder, a file, mnist, tars(path=…) …")
]
Size = Annotated[int | None, typer.Option("--size", help="Make squares of this side.")]
Crop = Annotated[
    str | None, typer.Option("--crop", metavar="HOW", help="center cuts, pad adds black, stretch distorts.")
]
Channels = Annotated[int | None, typer.Option("--channels", metavar="N", help="1 grey, 3 colour, 4 with transparency.")]
Test = Annotated[float | None, typer.Option("--test", metavar="SHARE", help="How much is held out, as 0.1.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the first N training samples.")]
OnBad = Annotated[
    str | None, typer.Option("--on-bad", metavar="HOW", help="error stops at unreadable files, skip leaves them out.")
]


@data.callback()
def about() -> None:
    """Look at data before training, and pack it so that it opens at once."""


@data.command()
def pack(
    source: Origin,
    out: Annotated[str, typer.Argument(metavar="OUT", help="The directory to make.")],
    size: Size = None,
    crop: Crop = None,
    channels: Channels = None,
    test: Test = None,
    limit: Limit = None,
    on_bad: OnBad = None,
    shard_mb: Annotated[float, typer.Option("--shard-mb", help="Size of one file in MiB.")] = 256,
) -> int:
    """Decode a source once and store its rows in shards. Stopped, the same command goes on."""
    from gannet import api

    options = _given(size=size, crop=crop, channels=channels, test=test, limit=limit, on_bad=on_bad)
    Console(sys.stdout).note(api.pack(source, out, options, shard_mb).told())
    return 0


@data.command()
def inspect(
    source: Origin,
    size: Size = None,
    crop: Crop = None,
    channels: Channels = None,
    test: Test = None,
    limit: Limit = None,
    on_bad: OnBad = None,
    near: Annotated[bool, typer.Option("--near", help="Also count images that only look alike.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, with every unreadable file.")] = False,
) -> int:
    """Read everything once and say what is there, what training would do with it and what is suspicious."""
    from gannet import api

    options = _given(size=size, crop=crop, channels=channels, test=test, limit=limit, on_bad=on_bad)
    report = api.inspect_data(source, options, near)
    text = json.dumps(report.to_json(), indent=1, ensure_ascii=False) if as_json else report.to_text()
    Console(sys.stdout).note(text)
    if report.refused:
        raise DataError(f"training would refuse this: {report.refused}")
    return 0


def _given(**options: Any) -> dict[str, Any]:
    """The options that were set: a source need not know the others."""
    return {key: value for key, value in options.items() if value is not None}

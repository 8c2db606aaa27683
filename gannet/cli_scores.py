"""`gannet evaluate`, `compare` and `convert`: words to calls of the API, which is imported when it is needed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gannet.core.errors import UsageError, unknown
from gannet.core.spec import Spec, parse_value
from gannet.engine.console import Console

Plugin = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file that registers parts of your own. It is run."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for programs.")]
Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics", metavar="A,B,…", show_default="by the kind of data", help="`gannet list metrics` has them."
    ),
]
Judge = Annotated[
    str | None,
    typer.Option("--extractor", metavar="SPEC", show_default="what suits the data", help="What judges likeness."),
]


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN|FOLDER", help="A run; or a folder, zip or .npy file of samples.")],
    ref: Annotated[
        str | None,
        typer.Option("--ref", metavar="SOURCE:split", show_default="the run's own data:test", help="What is real."),
    ] = None,
    metrics: Metrics = None,
    extractor: Judge = None,
    n: Annotated[
        int | None, typer.Option("--n", show_default="5000, or what the reference has", help="Samples a side.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Sampling seeds of a run.")] = 3,
    which: Annotated[str, typer.Option("--which", help="last, best or both checkpoints of a run.")] = "both",
    as_json: AsJson = False,
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Also write the report: FILE.json or FILE.txt.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="FILE", help="Keep the reals' features in FILE.safetensors for next time."),
    ] = None,
    ranking: Annotated[
        str | None,
        typer.Option("--ranking", metavar="FILE.png", help="A picture of the most and the least realistic samples."),
    ] = None,
    plugin: Plugin = None,
) -> int:
    """Measure a run, or images, against reals: values with intervals, floors and protocols."""
    asked = _specs(metrics)
    from gannet import api

    api.load_plugins(tuple(plugin or ()))
    if out is not None:
        api.check_ending(out, (".json", ".txt"))
    if ranking is not None:
        api.check_ending(ranking, (".png",))
    found = api.evaluate(run, ref, asked, n, seeds, which, extractor, Console(), reference, ranking)  # type: ignore[arg-type]
    if out is not None:
        found.save(out)
    _print(found.to_json() if as_json else str(found))
    return 0


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Two runs or more.")],
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write a page, FILE.html, or a picture, FILE.png.")
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", help="Measure all anew on so many test rows, not as they were in training."),
    ] = None,
    metrics: Metrics = None,
    extractor: Judge = None,
    scores: Annotated[bool, typer.Option("--scores/--no-scores", help="Whether to put scores side by side.")] = True,
    as_json: AsJson = False,
    plugin: Plugin = None,
) -> int:
    """Put runs side by side: scores, speed, what differs in their experiments, curves and samples.

    With --n, --metrics or --extractor all are measured anew."""
    asked = _specs(metrics)
    from gannet import api

    api.load_plugins(tuple(plugin or ()))
    if out is not None:
        api.check_ending(out, (".html", ".png"))
    found = api.compare(runs, n, scores, Console(), asked, extractor)  # type: ignore[arg-type]
    if out is not None:
        found.save(out)
    _print(found.to_json() if as_json else str(found))
    return 0


def convert(
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="inception: the network of FID.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="pt_inception-2015-12-05-6726825d.pth")],
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", show_default="the user's cache", help="Where to write it.")
    ] = None,
) -> int:
    """Turn published weights into safetensors, once, without running what is in them."""
    if network != "inception":
        raise UsageError(unknown("network", network, ["inception"]))
    from gannet import api

    _print(f"wrote    {api.convert_inception(file, out)}")
    return 0


def _specs(text: str | None) -> list[Spec] | None:
    """`frechet,precision(k=5)` as specs. Raises `UsageError`."""
    if text is None:
        return None
    found = parse_value(f"[{text}]", "metrics")
    if not found or not all(isinstance(item, Spec) for item in found):
        raise UsageError(f"--metrics '{text}' is no list of metrics. Write names: --metrics frechet,precision(k=5).")
    return list(found)


def _print(text: str) -> None:
    Console(sys.stdout).note(text)

"""The command line: words to calls of the API. What needs torch is imported inside the commands, so help is quick.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 2 usage, 3 data, 4 checkpoint or weights,
5 diverged, 6 resources, 130 and 143 stopped by SIGINT and SIGTERM with everything committed, 1 a defect of Gannet.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gannet.cli_bench import bench
from gannet.cli_data import data
from gannet.cli_lab import lab
from gannet.cli_latent import Looks, Seeds, chosen, directions, interpolate
from gannet.cli_scores import compare, convert, evaluate
from gannet.cli_words import as_ours, settings, swallowed
from gannet.core.errors import GannetError, Problems, UsageError
from gannet.engine.console import Console

if TYPE_CHECKING:
    from gannet.engine.run import Run
    from gannet.engine.trainer import Outcome

EXAMPLES = """\
gannet train quick data=digits                        a generator of handwritten digits in about two minutes
gannet train quick data=digits --dry-run              every value and its origin, parameters, memory and time
gannet train dcgan data=./faces batch=32 stop.minutes=30
gannet sample runs/0001-quick-digits --n 64 --seed 1  pictures from a trained run
gannet resume runs/0001-quick-digits stop.minutes=5   train it for longer
gannet explain wgan-gp                                the players, the equations and every setting of a method

More: gannet --help, gannet list presets, gannet doctor"""

KEYWORDS = (
    "Overrides of the preset, as in batch=32 or optim.generator.lr=1e-3. `gannet explain PRESET` shows every key."
)

app = typer.Typer(add_completion=False, help="Train, measure and use generative adversarial networks.")
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")
app.command()(evaluate)
app.command()(compare)
app.command()(convert)
app.command()(interpolate)
app.command()(directions)
app.command()(lab)

Preset = Annotated[str, typer.Argument(metavar="PRESET", help="A preset (`gannet list presets`) or a .yaml file.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="key=value…", help=KEYWORDS)]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="The directory of a run, as in runs/0001-quick-digits.")]
Plugin = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file that registers parts of your own. It is run."),
]


@app.callback(invoke_without_command=True)
def gannet(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand after any command.")] = False,
) -> None:
    if version:
        from gannet import __version__

        _say(f"gannet {__version__}")
    elif context.invoked_subcommand is None:
        _say(EXAMPLES)


@app.command()
def train(
    preset: Preset,
    words: Words = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="DIR", show_default="runs/NNNN-preset-data", help="Where to write.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only show what would be done, what it takes and where it goes.")
    ] = False,
    plugin: Plugin = None,
) -> int:
    """Train a preset with overrides, in a new run directory."""
    overrides = settings(words, preset)
    from gannet import api

    if dry_run:
        _say(api.dry_run(preset, overrides, run, tuple(plugin or ())))
        return 0
    return _ended(*api.train(preset, overrides, run, tuple(plugin or ()), Console()))


@app.command()
def resume(run: RunName, words: Words = None, plugin: Plugin = None) -> int:
    """Go on with a run from its last checkpoint, to the end it has or a later one (stop.minutes=5)."""
    overrides = settings(words)
    from gannet import api

    return _ended(*api.resume(_found(run), overrides, tuple(plugin or ()), Console()))


@app.command()
def sample(
    run: RunName,
    n: Annotated[int, typer.Option("--n", help="How many. Sample k is the same for every n.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="The same seed gives the same bytes.")] = 0,
    label: Annotated[str | None, typer.Option("--label", metavar="K", help="One class, by number or name.")] = None,
    truncation: Annotated[float, typer.Option("--truncation", help="0 the mean sample … 1 the full variety.")] = 1.0,
    seeds: Seeds = None,
    looks: Looks = None,
    which: Annotated[str, typer.Option("--which", help="latest, best or the name of a checkpoint.")] = "latest",
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="PATH",
            show_default="samples/seed-SEED.png in the run",
            help="FILE.png, .npy, .csv, a folder.",
        ),
    ] = None,
    plugin: Plugin = None,
) -> int:
    """Write samples of a trained run."""
    from gannet import api

    api.load_plugins(tuple(plugin or ()))
    keys, more = chosen(seeds, looks)
    if keys or more:
        _say(str(api.show(_found(run), out, keys, more, label, truncation, which)))
    else:
        _say(str(api.sample(_found(run), out, n, seed, label, truncation, which)))
    return 0


@app.command()
def explain(preset: Preset, words: Words = None, plugin: Plugin = None) -> int:
    """Say what a preset, or a run, is: players, equations, schedules, every value and where it comes from."""
    own = Path(preset) / "experiment.yaml"
    experiment = str(own) if own.is_file() else preset
    overrides = settings(words, experiment)
    from gannet import api

    _say(api.explain(experiment, overrides, tuple(plugin or ())))
    return 0


@app.command("list")
def list_parts(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="presets, tasks, networks, objectives, regularizers, …")],
    plugin: Plugin = None,
) -> int:
    """List the presets, or the parts of a kind with their options."""
    from gannet import api

    api.load_plugins(tuple(plugin or ()))
    rows = api.catalog(kind)
    width = max((len(name) for name, _ in rows), default=0)
    _say("\n".join(f"{name:<{width}}  {text}" for name, text in rows))
    return 0


@app.command()
def doctor() -> int:
    """Look at the machine, the libraries and the data, and train for a few seconds."""
    from gannet import api

    text, problems = api.doctor()
    _say(text)
    for problem in problems:
        _complain(problem)
    return problems[0].exit_code if problems else 0


# ------------------------------------------------------------------------------------------------- before and after


def _found(run: str) -> Path:
    """The run's directory: a path, or the name of a directory in runs/."""
    path = Path(run)
    return Path("runs") / run if path.parent == Path() and not path.exists() else path


def _ended(run: Run, outcome: Outcome) -> int:
    """Say how a run ended, and give the exit code for it."""
    from gannet import describe

    _say("\n".join(describe.ending(run, outcome)))
    if outcome.signal is None:
        return 0
    if _speaks():
        Console().note(f"Stopped by a signal; everything is saved. Go on with: {describe.command('resume', run.path)}")
    return 128 + outcome.signal


# -------------------------------------------------------------------------------------------------------- streams


def _speaks() -> bool:
    """Whether this process is the one that speaks: under torchrun, the first."""
    return os.environ.get("RANK", "0") == "0"


def _say(text: str) -> None:
    if _speaks():
        Console(sys.stdout).note(text)


def _complain(error: GannetError) -> None:
    """A line for every problem. What every process of torchrun would say alike is said by the first alone."""
    if isinstance(error, UsageError) and not _speaks():
        return
    found = error.problems if isinstance(error, Problems) else []
    lines = "\n".join(found).splitlines() or str(error).splitlines()
    tail = str(error).splitlines()[-1:] if found else []
    Console().note("\n".join([*(f"error: {line}" for line in lines), *tail]))


def _open_streams() -> None:
    """Let nothing that is printed stop the program: a stream that was closed, a letter that the locale lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  open to the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _close_streams() -> None:
    """Flush; a pipe whose reader has gone must not turn into a complaint of the interpreter as it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            if isinstance(stream, io.TextIOWrapper) and not stream.closed:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# ----------------------------------------------------------------------------------------------------------- main


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    _open_streams()
    if not _speaks():
        warnings.simplefilter("ignore")
    elif not debug:
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        return _run([word for word in words if word != "--debug"])
    except BrokenPipeError:
        return 0
    except (KeyboardInterrupt, typer.Abort):  # before or after the loop, which has its own way to stop
        return 130
    except Exception as caught:
        error = caught if isinstance(caught, GannetError) else as_ours(caught, app)
        if debug:
            Console().note(traceback.format_exc().rstrip())
        if error is not None:
            _complain(error)
            return error.exit_code
        what = f"{type(caught).__name__}: {caught}".splitlines()[0]
        again = "" if debug else " Run the command again with --debug for the traceback."
        Console().note(f"internal error: {what}. This is a defect of Gannet.{again}")
        return 1
    finally:
        _close_streams()


def _run(words: list[str]) -> int:
    for word in words:
        if any("\ud800" <= letter <= "\udfff" for letter in word):  # how Python holds bytes that are no text
            raise UsageError(f"the word {word!a} is no text in this locale. Write it in UTF-8.")
    swallowed(words, app)
    return int(app(words, prog_name="gannet", standalone_mode=False) or 0)

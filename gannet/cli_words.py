"""The words of a command line: settings among them, and mistakes of the hand, told before or after Typer reads them."""

from __future__ import annotations

import errno
import os
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from gannet.core.errors import GannetError, ResourceError, UsageError, unknown
from gannet.core.vocabulary import meant

TAKE_SETTINGS = ("gannet train", "gannet resume", "gannet explain")


def settings(words: list[str] | None, preset: str = "") -> list[str]:
    """The key=value words. Raises `UsageError` for the mistakes of the hand: no preset, data or a run where a preset or
    a setting is expected, blanks around the `=`."""
    from gannet.core.experiment import Experiment
    from gannet.core.presets import paper_sizes, preset_names

    words = list(words or [])
    if "=" in preset and not Path(preset).exists():
        raise UsageError(f"'{preset}' stands where a preset is expected. Write: gannet train quick {preset}")
    if _lies_here(preset) and preset not in (*preset_names(), *paper_sizes()):
        run = (Path(preset) / "experiment.yaml").is_file()
        instead = f"resume {shlex.quote(preset)}" if run else f"train auto {shlex.quote(f'data={preset}')}"
        raise UsageError(f"'{preset}' stands where a preset is expected. Write: gannet {instead}")
    for number, word in enumerate(words):
        following = words[number + 1] if number + 1 < len(words) else ""
        if "=" not in word and following.startswith("="):
            value = following[1:] or (words[number + 2] if number + 2 < len(words) else "VALUE")
            raise UsageError(f"'{word} {following}' has a blank before '='. Write {word}={value} without blanks.")
        if word.endswith("=") and following and "=" not in following:
            raise UsageError(f"'{word} {following}' has a blank after '='. Write {word}{following} without blanks.")
        if word in Experiment.model_fields and following and "=" not in following:
            raise UsageError(f"'{word} {following}' has a blank in the place of '='. Write {word}={following}")
        if preset and "=" not in word and _lies_here(word):  # a run that goes on keeps its data
            raise UsageError(
                f"'{word}' stands where a setting is expected. To train on it, write {shlex.quote(f'data={word}')}"
            )
    return words


def _lies_here(word: str) -> bool:
    """Whether `word` is data or a run rather than an experiment's file."""
    return not word.endswith((".yaml", ".yml")) and word not in ("", ".") and os.path.exists(word)


def swallowed(words: list[str], app: typer.Typer) -> None:
    """Raise `UsageError` where an option of a command stands as the value of another, as in --run --dry-run."""
    suspects = [(a, b) for a, b in pairwise(words) if a.startswith("--") and b.startswith("-") and not b[1:2].isdigit()]
    if not suspects:
        return
    command: Any = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    takes = {name: not parameter.is_flag for parameter in command.params for name in parameter.opts if name[0] == "-"}
    for option, value in suspects:
        if takes.get(option) and value.partition("=")[0] in takes:
            raise UsageError(
                f"{option} has no value: the option {value} follows it. Write {option} VALUE, or leave it."
            )


def as_ours(error: Exception, app: typer.Typer) -> GannetError | None:
    """The same error in the house's own words, if it is one that a user can cause."""
    if isinstance(error, MemoryError):
        return ResourceError("out of memory. Ask for fewer samples, or set a smaller batch.")
    if isinstance(error, OSError) and error.filename:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
        kind, advice = (ResourceError, "Make room") if full else (UsageError, "Choose a place that exists and is yours")
        return kind(f"{error.filename}: {error.strerror}. {advice}, and run the command again.")
    # Raised by typer for its own words; the class's home differs between its versions.
    return _misread(error, app) if hasattr(error, "format_message") else None


def _misread(error: Any, app: typer.Typer) -> UsageError:
    """What Typer could not read, and how it is written."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "gannet"
    text = error.format_message().rstrip(".")
    if path == "gannet" and "command" in text:
        given = text.partition("'")[2].partition("'")[0]
        names = [c.name or c.callback.__name__ for c in app.registered_commands]  # type: ignore[union-attr]
        return UsageError(unknown("command", given, [*names, *(str(group.name) for group in app.registered_groups)]))
    # Only here: it imports torch, and whoever mistypes a command must not wait for that.
    from gannet.core.experiment import Experiment

    option = str(getattr(error, "option_name", "")).lstrip("-")
    if path in TAKE_SETTINGS:
        here = option if option.partition(".")[0] in Experiment.model_fields else meant("key", option)
        if here.startswith("-"):
            return UsageError(f"{text}; here that is {here}.")
        if here:
            return UsageError(f"{text}; {here} is a setting. Write it without dashes: {here}=VALUE.")
    if "'PRESET'" in text:
        text += ", as in gannet train quick; gannet list presets shows them all"
    return UsageError(f"{text}. See: {path} --help")

"""Where else the log goes: loggers beside `log.jsonl`, none of which may stop a run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gannet.core.errors import UsageError, unknown

Record = dict[str, Any]


class Logger(Protocol):
    """Follows a run. `samples` counts reals seen."""

    def log(self, record: Record) -> None:
        """Take one record of the log: a flat dict with `samples`; those of kind "score" hold a dict `scores`."""
        ...

    def image(self, path: Path, samples: int) -> None:
        """Take a picture (PNG) that was written to the run."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...


class TensorBoardLogger:
    """Event files in `folder` for TensorBoard: numbers as scalars, pictures as images, alarms and notes as text.

    A run resumed at `samples` hides what an earlier process wrote beyond that point. Raises UsageError where the
    optional package is missing.
    """

    def __init__(self, folder: Path | str, samples: int = 0):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "log=tensorboard needs the package tensorboard, which is not installed. "
                'Install it with: pip install "gannet[tensorboard]", or leave out log=tensorboard.'
            ) from error
        self._writer = SummaryWriter(str(folder), purge_step=samples or None)
        self._samples = samples

    def log(self, record: Record) -> None:
        self._samples = int(record.get("samples", self._samples))
        for name, value in record.items():
            if name not in ("samples", "step", "seconds") and _is_number(value):
                self._writer.add_scalar(name, value, self._samples)
        for name, value in (record.get("scores") or {}).items():
            if _is_number(value):
                self._writer.add_scalar(f"score/{name}", value, self._samples)
        if record.get("text"):
            self._writer.add_text(str(record.get("kind", "note")), str(record["text"]), self._samples)
        if record.get("kind") == "score":
            self._writer.flush()

    def image(self, path: Path, samples: int) -> None:
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))  # [H, W, 3]
        path = Path(path)
        tag = path.parent.name if path.stem.isdigit() else path.stem  # samples/000200.png, but progress.png
        self._writer.add_image(tag, pixels, samples, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


LOGGERS: dict[str, Callable[[Path, int], Logger]] = {"tensorboard": TensorBoardLogger}
"""Loggers by the word that asks for them: made from a folder of their own and the samples seen so far."""


class Loggers:
    """Several loggers as one. A logger that fails is dropped with one warning; the run goes on."""

    def __init__(self, loggers: Iterable[Logger] = ()):
        self._loggers = list(loggers)

    def log(self, record: Record) -> None:
        self._each(lambda logger: logger.log(record))

    def image(self, path: Path, samples: int) -> None:
        self._each(lambda logger: logger.image(path, samples))

    def close(self) -> None:
        self._each(lambda logger: logger.close())
        self._loggers = []

    def _each(self, act: Callable[[Logger], None]) -> None:
        for logger in list(self._loggers):
            try:
                act(logger)
            except Exception as error:  # whatever a third party's writer throws, training is worth more
                self._loggers.remove(logger)
                warnings.warn(
                    f"{type(logger).__name__} failed and is switched off ({type(error).__name__}: {error}). "
                    "The run goes on; log.jsonl has everything.",
                    RuntimeWarning,
                    stacklevel=3,
                )


def open_loggers(names: Iterable[str], run: Path | str, samples: int = 0) -> Loggers:
    """The loggers asked for (`log=tensorboard`), each in the folder of its name inside `run`.

    Raises UsageError for an unknown name or a missing package, before training starts.
    """
    names = list(names)
    for name in names:
        if name not in LOGGERS:
            raise UsageError(unknown("logger", name, LOGGERS, "log"))
    return Loggers(LOGGERS[name](Path(run) / name, samples) for name in names)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

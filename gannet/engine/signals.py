"""Signals as flags: the loop looks at them between micro-batches, the handler does nothing but set them."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType

STOP = (signal.SIGINT, signal.SIGTERM)
SAVE = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGHUP") if hasattr(signal, name))

ECHO_S = 0.5
"""A launcher and the terminal may both deliver one stop to a process; a repeat this soon is taken for the same one."""


class Signals:
    """Catches signals while the block runs, and puts the former handlers back after it.

    SIGINT and SIGTERM ask to commit and stop: `received` is the first of them, `exit_code` 128 + its number. The same
    one again ends the process at once with that code, which loses nothing that was committed. SIGUSR1 and SIGHUP ask
    to commit and go on: `take_save_request()`. Outside the main thread Python delivers no signals, and the block
    changes nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._save = False
        self._since: dict[int, float] = {}
        self._former: dict[int, signal._HANDLER] = {}

    @property
    def exit_code(self) -> int | None:
        """130 for SIGINT, 143 for SIGTERM, `None` if no stop was asked for."""
        return None if self.received is None else 128 + self.received

    def take_save_request(self) -> bool:
        """Whether a commit was asked for since the last call."""
        asked, self._save = self._save, False
        return asked

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (*STOP, *SAVE):
                # A handler that was not set from Python reads as None and cannot be put back; the default can.
                self._former[number] = signal.signal(number, self._handle) or signal.SIG_DFL
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in SAVE:
            self._save = True
            return
        now = time.monotonic()
        if now - self._since.setdefault(number, now) > ECHO_S:
            os._exit(128 + number)
        if self.received is None:
            self.received = int(number)

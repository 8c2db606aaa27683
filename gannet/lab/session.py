"""One playground in a thread of its own, which carries out what the page asks for between two steps."""

from __future__ import annotations

import contextlib
import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from dataclasses import replace
from typing import Any

from gannet.core.errors import GannetError, ResourceError, UsageError, unknown
from gannet.engine.run import Run
from gannet.engine.turn import NonFinite
from gannet.lab.commands import Commands
from gannet.lab.frames import Painter, Reader
from gannet.lab.playground import Playground
from gannet.lab.share import EXPORTS, State, beginning, export


class Session:
    """A playground that moves in a thread of its own. Commands are carried out there, between steps, and answered.

    `do`, `state`, `export` and `ask` may be called from any thread. An idle session sleeps; `close` ends it.
    """

    def __init__(self, run: Run, begun: State | None = None):
        self.playground = Playground(run, State(beginning({})) if begun is None else replace(begun, step=0))
        self.jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.painter = Painter()
        self.commands = Commands(self)
        self.waiting: list[tuple[Reader, Future[bytes]]] = []
        self.playing, self.speed, self.pause = False, 0.0, 0.0
        self.stage: int | None = None
        self.mid: Iterator[str] | None = None  # a step begun in slow motion
        self.target: int | None = None  # the step that is being played to, whatever `playing` says
        self.error: str | None = None
        self.moved, self.next_step, self.next_frame, self.last_job = 1, 0.0, 0.0, 0.0
        self.used = time.monotonic()
        self.door, self.ended = threading.Lock(), False
        self.thread = threading.Thread(target=self._live, name="gannet-lab-session", daemon=True)
        if begun is not None:
            self.go_to(begun.step)
        self.thread.start()

    # --------------------------------------------------------------------------------------------- from any thread

    def do(self, command: str, /, **values: Any) -> dict[str, Any]:
        """Carry out a command of the page; its answer. Raises `GannetError`."""
        known = [name for name in vars(Commands) if not name.startswith("_")]
        if command not in known:
            raise UsageError(unknown("command", str(command)[:100], known))
        method = getattr(self.commands, command)
        try:
            inspect.signature(method).bind(**values)
        except TypeError as error:
            raise UsageError(f"{command}: {error}.") from None
        return self._inside(lambda: self._answer(method, values))

    def state(self) -> dict[str, Any]:
        return self._inside(lambda: self.playground.state().to_json())

    def status(self) -> dict[str, Any]:
        return self._inside(self._status)

    def export(self, kind: str) -> str:
        """The session as text of one of `EXPORTS`."""

        def make() -> str:
            p = self.playground
            history = [tuple(p.columns()), *p.rows]
            return export(kind, p.state(), p.trainer.experiment, p.trainer.clock.samples, history)

        if kind not in EXPORTS:
            raise UsageError(unknown("kind of export", kind[:100], EXPORTS))
        return self._inside(make)

    def ask(self, reader: Reader) -> Future[bytes]:
        """The next frame that `reader` has not seen, as soon as there is one; never blocks. Cancel it to leave."""
        future: Future[bytes] = Future()
        self.used = time.monotonic()
        if not self._put(lambda: self.waiting.append((reader, future))):
            future.cancel()
        return future

    @property
    def watched(self) -> bool:
        """Whether a reader waits for a frame."""
        return any(not future.done() for _, future in list(self.waiting))

    def close(self) -> None:
        """End the thread; the run is committed first."""
        with self.door:
            self.ended = True
            self.jobs.put(None)
        self.thread.join(timeout=30)

    def _put(self, job: Callable[[], Any]) -> bool:
        """Whether the thread will carry out `job`. Nothing is put behind the end, where it would wait for ever."""
        with self.door:
            if self.ended or not self.thread.is_alive():
                return False
            self.jobs.put(job)
            return True

    def _inside(self, job: Callable[[], Any]) -> Any:
        """The result of `job`, run by the session's thread between two steps."""
        future: Future[Any] = Future()
        self.used = time.monotonic()

        def run() -> None:
            try:
                future.set_result(job())
            except Exception as error:
                future.set_exception(error)

        if not self._put(run):
            raise UsageError("this session has ended. Open another one.")
        try:
            return future.result(timeout=60)
        except TimeoutError:
            raise ResourceError("the session did not answer within a minute; its machine is overloaded.") from None

    # --------------------------------------------------------------------------------------------------- the thread

    def _live(self) -> None:
        while True:
            try:
                job = self.jobs.get(timeout=self._patience())
            except queue.Empty:
                job = self._work
            if job is None:
                break
            try:
                job()
            except Exception as error:
                self._fail(error)
            self._serve()
        for _, future in self.waiting:
            future.cancel()
        if self.error is None:
            with contextlib.suppress(Exception):
                self.finish()
                self.playground.commit()

    def _patience(self) -> float | None:
        """Seconds until there is something to do besides commands; None if there is not."""
        now = time.monotonic()
        waits = []
        if self.target is not None:
            waits.append(0.0)
        elif self.playing:
            waits.append(max(0.0, self.next_step - now))
        elif self.error is None and self.playground.committed != self.playground.step:
            waits.append(max(0.0, self.last_job + 0.5 - now))
        if any(reader.seen != self.moved for reader, _ in self.waiting):
            waits.append(max(0.0, self.next_frame - now))
        return min(waits, default=None)

    def _work(self) -> None:
        """What is due: a step or stage, or a checkpoint of a game that rests."""
        if self.target is not None:
            self.replay(time.monotonic() + 0.01)
        elif self.playing and time.monotonic() >= self.next_step:
            if self.pause:
                self._next_stage()
            else:
                self.playground.advance()
                self.next_step = max(self.next_step, time.monotonic() - 0.1) + (1 / self.speed if self.speed else 0.0)
            self.moved += 1
        elif not self.playing and self.error is None and time.monotonic() >= self.last_job + 0.5:
            self.finish()
            self.playground.commit()

    def replay(self, until: float) -> None:
        """Play towards the target, until it is reached or the time has come."""
        while self.target is not None and time.monotonic() < until:
            if self.playground.step >= self.target:
                self.target = None
            else:
                self.playground.advance()
        if self.target is not None and self.playground.step >= self.target:
            self.target = None
        self.moved += 1

    def _next_stage(self) -> None:
        """The next of ten stages: 0 … 4 of the discriminator's turn, which moves in 4, and 5 … 9 of the generator's,
        which moves in 9 and so ends the step."""
        self.stage = 0 if self.stage is None or self.stage == 9 else self.stage + 1
        self.next_step = time.monotonic() + self.pause
        if self.stage == 4:
            self.mid = self.playground.moves()
            name = next(self.mid, None)
            if name is None or not self.playground.trainer.game.discriminates(name):
                self.stage = 9  # a discriminator that does not take part now
        if self.stage == 9:
            self.finish()

    def finish(self) -> None:
        """Play a step that slow motion has begun to its end."""
        if self.mid is not None:
            mid, self.mid = self.mid, None
            for _ in mid:
                pass

    def _fail(self, error: Exception) -> None:
        said = isinstance(error, GannetError | NonFinite)
        text = str(error) if said else f"{type(error).__name__}: {error}"
        self.error = f"Stopped at step {self.playground.step:,}. {text}"
        self.playing, self.target, self.mid, self.stage = False, None, None, None
        self.moved += 1

    def _serve(self) -> None:
        """Send a new frame to everybody who waits for one."""
        now = time.monotonic()
        due = [(r, f) for r, f in self.waiting if r.seen != self.moved]
        if not due or now < self.next_frame:
            return
        try:
            frame = self.painter.paint(self.playground, self._status(), self.moved)
        except Exception as error:
            if self.error is None:
                self._fail(error)
            frame = self.painter.blank(self.playground, self._status(), self.moved)
        for reader, future in due:
            with contextlib.suppress(InvalidStateError):
                if not future.cancelled():
                    future.set_result(frame.packed(reader))
        if self.painter.unfinished:
            self.moved += 1  # there will be more to show, even of a game that rests
        self.waiting = [(r, f) for r, f in self.waiting if not f.done()]
        cost = time.monotonic() - now
        self.next_frame = now + max(1 / 20, 4 * cost)  # a fifth of the time at most is spent on looking

    # -------------------------------------------------------------------------------------------------- the commands

    def _status(self) -> dict[str, Any]:
        p = self.playground
        busy = None if self.target is None else f"playing step {p.step:,} of {self.target:,}"
        return {
            "version": self.moved,
            "playing": self.playing,
            "step": p.step,
            "samples": p.trainer.clock.samples,
            "speed": self.speed,
            "stage": self.stage,
            "busy": busy,
            "alarms": p.alarms(),
            "snapshots": p.snapshots.steps(),
            "furthest": p.furthest,
            "error": self.error,
        }

    def _answer(self, command: Callable[..., dict[str, Any] | None], values: dict[str, Any]) -> dict[str, Any]:
        try:
            more = command(**values) or {}
        except GannetError:
            raise
        except Exception as error:
            self._fail(error)
            more = {}
        self.moved += 1
        self.last_job = time.monotonic()
        return {"status": self._status(), "state": self.playground.state().to_json(), **more}

    def free(self) -> None:
        """Make sure that the game stands between two steps, well, and is not on its way."""
        if self.error is not None:
            raise UsageError(f"{self.error} Go back to an earlier step, or reset.")
        if self.target is not None:
            raise UsageError(f"the game is on its way to step {self.target:,}. Wait for it, or pause.")
        self.finish()
        self.stage = None

    def anew(self, begin: Callable[[], Any], step: int = 0) -> Any:
        """Start another game; what stood in the way of the old one is forgotten."""
        if self.error is None:
            self.finish()
        result = begin()
        self.target, self.mid, self.stage, self.error = None, None, None, None
        if step:
            self.go_to(step)
        return result

    def go_to(self, step: int) -> None:
        if step != self.playground.step:
            self.target = step

"""The loop: steps until a stop, and what is due between them (log lines, sample grids, scores, checkpoints)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from gannet.core import world
from gannet.core.errors import DivergedError, ResourceError
from gannet.core.parts import Decision
from gannet.core.schedule import in_samples
from gannet.core.types import Clock
from gannet.engine import checkpoint, distributed, pictures, plots, state
from gannet.engine.assembly import Game
from gannet.engine.budget import Budget
from gannet.engine.compiling import compile_networks
from gannet.engine.console import Mute, Silent
from gannet.engine.distributed import average_buffers
from gannet.engine.ema import Ema
from gannet.engine.health import COLLAPSED, Health, spread, young
from gannet.engine.loggers import Logger, Loggers
from gannet.engine.looks import Looks
from gannet.engine.memory import keep_freed_memory, passing
from gannet.engine.profiling import Profiler
from gannet.engine.ring import Ring
from gannet.engine.run import Run
from gannet.engine.scores import Scorer, Scores, SeenByOne
from gannet.engine.signals import Signals
from gannet.engine.turn import NonFinite, Report, Table

ROLLBACKS = 2
UNKNOWN = 10**15  # a total not yet measured: every schedule stands at its beginning
REDRAW = 15.0  # seconds between drawings of progress.png, which take most of a second


@dataclass
class Outcome:
    """How a run ended: why, after how many samples, with which scores, and the newest sample grid."""

    reason: str
    samples: int
    scores: dict[str, float] = field(default_factory=dict)
    best: dict[str, Any] | None = None
    signal: int | None = None
    grid: Path | None = None


class Trainer:
    """Moves a `Game` until its stop. All that must survive a restart is in `state.capture(self)`."""

    def __init__(
        self,
        game: Game,
        run: Run | None = None,
        console: Any = None,
        scorer: Scorer | None = None,
        loggers: Logger | None = None,
    ):
        keep_freed_memory()
        self.game, self.experiment = game, game.experiment
        self.loggers: Logger = loggers if loggers is not None else Loggers()
        self.run = run
        self.writes = run is not None and world.rank() == 0
        self.console = Mute() if world.rank() else console if console is not None else Silent()
        self.table = Table(game)
        self.ema = Ema(game.averaged(), self.experiment.ema.halflife, self.experiment.ema.ramp)
        self.looks = Looks(game, self.ema)
        self.health = Health(self.game.objective.equilibrium())
        stop = self.experiment.stop
        self.planned: int | None = stop.samples  # where this run ends; None until a time budget has been measured
        self.clock = Clock(0, stop.samples if stop.samples is not None else UNKNOWN, 0)
        # Seconds of wall time that end the run: the minutes themselves beside samples, else 1.5 × what they planned.
        self.cap = None if stop.minutes is None else stop.minutes * (90 if stop.samples is None else 60)
        self.seconds, self.rollbacks = 0.0, 0
        self.scores = Scores(scorer, self.experiment)
        self.grid: Path | None = None
        self.shown: list[tuple[Tensor, Tensor]] = []  # reals and fakes of this step's last discriminator turn
        self.done = dict.fromkeys(("score", "grid", "commit"), -1)  # at how many samples each was last done
        self.failed_commits = 0
        self.rolls_back = any(c.actuator == "rollback" for c in game.controllers.values())
        self.ring = Ring()
        self.pace = [0.0, 0.0]  # samples and seconds of the steps since the last log line
        self.committed: Path | None = None
        self.last_commit, self.wanted = 0.0, False  # when the last commit was tried, and whether one is overdue
        self.drawn = time.monotonic()

    # ------------------------------------------------------------------------------------------------- the loop

    def fit(self) -> Outcome:
        """Train until a stop, a signal or divergence. Commits at the end of every road but the last."""
        started, before = time.monotonic(), self.seconds
        self.last_commit = started
        budget = Budget(self)
        self.console.start(self.planned or 0, "samples")
        run = self.run
        profiler = Profiler(run.path / "profile") if self.experiment.profile and run and self.writes else None
        if self.clock.step == 0 and self.committed is None:
            counts = ", ".join(f"{name} {count:,}" for name, count in self.game.parameter_counts().items())
            self.note(f"parameters: {counts}")
            self._commit()
        if self.experiment.compile:
            for text in compile_networks(self.game, rehearse):
                self.note(text)
                self.console.note(text)
        reason = ""
        with Signals() as signals:
            try:
                while True:
                    self.seconds = before + time.monotonic() - started
                    if self.planned is not None and self.clock.samples >= self.planned:
                        reason = "samples"
                        break
                    wish = self._reason(signals)
                    if wish and world.size() == 1:
                        reason = wish
                        break
                    try:
                        begun = time.monotonic()
                        with profiler.step() if profiler else contextlib.nullcontext():
                            votes = self._step(bool(wish))
                        self.pace[0] += self.clock.samples - self.before
                        self.pace[1] += time.monotonic() - begun
                        scored = budget.measure()
                        self._due(signals.take_save_request(), scored)
                        budget.correct()
                    except NonFinite as problem:
                        self._roll_back(problem)
                        continue
                    if votes:  # one process's wish stops all of them at the same step
                        reason = wish or "signal"
                        break
                self.seconds = before + time.monotonic() - started
                try:
                    self._finish(reason)
                except NonFinite as problem:
                    raise DivergedError(f"{problem}, at the very end. The last checkpoint is intact.") from None
                signal = signals.received if reason == "signal" else None
            finally:
                self.console.stop()
                self.loggers.close()
                if profiler and (table := profiler.close()):
                    self.console.note(table)
        return Outcome(reason, self.clock.samples, self.scores.last, self.scores.best, signal, self.grid)

    def _reason(self, signals: Signals) -> str:
        """Why to stop now, as this process sees it; "" to go on."""
        if signals.received is not None:
            return "signal"
        if self.cap is not None and self.seconds > self.cap:
            return "time"
        return self.scores.ends

    def advance(self) -> None:
        """One step as the loop plays it, without its console, signals, budget and records."""
        self._step(False)

    def lone_turn(self, name: str) -> None:
        """One turn of player `name` by itself, between two steps, on a batch that nobody shares.

        The first player's turn counts its samples, as in a step; the average follows either by one batch. Raises
        `NonFinite`.
        """
        self.before, self.shown = self.clock.samples, []
        self._note(name, self.table.turn(name, self.game.players[name], self.clock, None))
        if name == next(iter(self.game.players)):
            self.clock = replace(self.clock, samples=self.before + self.experiment.batch)
        self.ema.update(self.experiment.batch, self.clock.samples)

    def _step(self, stop_vote: bool) -> int:
        """Every player's turns once. Returns how many processes asked to stop."""
        return max((votes for _, votes in self.moves(stop_vote)), default=0)

    def moves(self, stop_vote: bool = False) -> Iterator[tuple[str, int]]:
        """One step, a player at a time: who has just taken its turns, and how many processes asked to stop. The step
        is over, and its clock and average moved, when the iterator is exhausted."""
        players = list(self.game.players.items())
        consumed = 0
        self.before, self.shown = self.clock.samples, []
        for index, (name, player) in enumerate(players):
            clock = replace(self.clock, turn=self.table.turns[name])
            if not player.when(clock):
                continue
            votes = 0
            following = players[index + 1] if index + 1 < len(players) else None
            for repeat in range(player.repeats):
                last = repeat == player.repeats - 1
                sharing = self.experiment.share != "nothing" and last and following and following[1].when(clock)
                report = self.table.turn(
                    name, player, self.clock, following[1] if sharing and following else None, stop_vote
                )
                votes = max(votes, report.stop_votes)
                self._note(name, report)
            consumed = consumed or self.experiment.batch * player.repeats
            yield name, votes
        samples = self.clock.samples + (consumed or self.experiment.batch)
        self.clock = replace(self.clock, samples=samples, step=self.clock.step + 1)
        self.ema.update(samples - self.before, samples)

    def _note(self, name: str, report: Report) -> None:
        values = {f"loss/{name}": sum(report.terms.values()), f"grad_norm/{name}": report.grad_norm}
        values |= {f"term/{name}/{k}": v for k, v in report.terms.items() if len(report.terms) > 1}
        judged = [r for r in report.rounds if r.comparison.discriminator in self.game.players[name].roles]
        if judged:
            values["loss_above_equilibrium"] = report.adversarial - self.health.equilibrium
            self.health.read(judged)
            self.shown = [(r.real.x.detach(), r.fake.x.detach()) for r in judged]
        report.rounds = []
        self.health.add(**values)

    # ---------------------------------------------------------------------------------------------- what is due

    def crossed(self, extent: str | int) -> bool:
        """Whether this step passed a multiple of `extent`; a function of the sample counts alone."""
        interval = max(1, int(in_samples(extent, self.clock)))
        return self.before // interval != self.clock.samples // interval

    def _score_due(self) -> bool:
        """Whether a score is due: where asked for, or (`auto`) every tenth of the run unless that takes too long.

        Several processes, whose clocks differ, must agree without asking: they keep to the tenths."""
        every = self.experiment.evaluate.every
        if every != "auto" or world.size() > 1:
            return self.crossed("10%" if every == "auto" else every)
        if self.planned is None:
            return False
        return self.clock.samples >= max(self.scores.earliest, self.done["score"] + self.planned / 10)

    def _due(self, save_requested: bool, scored: bool) -> None:
        """What this step makes due; `scored`: a score has been taken at it already."""
        keep, line = self.experiment.keep, self.crossed(self.experiment.keep.log)
        if line:
            self._log()
        if self.crossed(keep.samples):
            self._show()
        scoring = self.scores.scorer is not None and not scored and self._score_due()
        # Only at these steps do all processes meet over their buffers, so only there may the first one save them.
        meeting = line or scoring or scored or self.crossed(keep.checkpoints)
        if meeting:
            average_buffers([*self.game.networks.values(), *self.ema.networks])
        if scoring:
            self._score()
        self.wanted |= save_requested or time.monotonic() - self.last_commit > 60 * keep.minutes
        if self.planned is not None and self.clock.samples >= self.planned:
            return  # the end commits too, after the last score
        best, regular = self.scores.best_at(self.clock.samples), self.crossed(keep.checkpoints)
        if best or regular or (self.wanted and (meeting or world.size() == 1)):
            self._commit(best=best, snapshot=regular)

    def _log(self) -> None:
        record: dict[str, Any] = self.health.flush()
        if self.shown:
            record["spread"] = sum(spread(r, f) for r, f in self.shown) / len(self.shown)
        record |= self._heldout()
        record["images_per_second"] = self.pace[0] / max(1e-9, self.pace[1])
        self.pace = [0.0, 0.0]
        share = 0.0 if self.planned is None else self.clock.samples / self.planned
        alarms = self.health.alarms(record, young(share, self.clock.step))
        self._record("step", **record, alarms=list(self.health.standing))
        for text in alarms:
            self._record("alarm", text=text)
            self.console.alarm(text)
        if self.table.pilot.controllers and (move := self.table.pilot.read({**record, **self._now()}, share)):
            self._steer(*move)

    def _heldout(self) -> dict[str, float]:
        return self.looks.heldout(self.clock.step, self.table.feed if self.table.pilot.reads_gap else None)

    def _now(self) -> dict[str, Any]:
        return {"samples": self.clock.samples, "step": self.clock.step, "seconds": round(self.seconds, 3)}

    def _steer(self, name: str, decision: Decision) -> None:
        """Carry out what a controller decided, and write it down."""
        actuator, text = self.game.controllers[name].actuator, decision.text
        if actuator == "rollback":
            back = self._return(decision.since)
            text += (
                f"; back at {self.clock.samples:,} samples" if back else "; there is no snapshot that was still well"
            )
        self._record("decision", controller=name, actuator=actuator, factor=decision.factor, text=text)
        self.console.note(text)
        if actuator == "rollback":
            self._commit()  # what comes next is another future; a resumed run must not take the old one

    def _return(self, since: float) -> bool:
        """Go back to the newest snapshot from before `since` whose fakes had their spread, if there is one."""
        name = distributed.same_text(self.game.device, self.ring.well_before(since))
        if not name or self.run is None:
            return False
        pilot, ring = self.table.pilot.state, self.ring.entries
        self._restart(checkpoint.read(self.run.checkpoints / name))
        self.table.pilot.state = pilot
        self.ring.entries = ring
        self.ring.cut(self.clock.samples)
        return True

    def _restart(self, found: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint of this very run, whose plan may be newer than it: measured, or extended, since."""
        seconds, planned, cap, total = self.seconds, self.planned, self.cap, self.clock.total
        best = self.scores.best
        self.resume(found)
        self.seconds, self.planned, self.cap, self.scores.best = seconds, planned, cap, best
        self.clock = replace(self.clock, total=total)
        self.before = self.clock.samples

    def _show(self) -> None:
        """The sample grid from fixed latents, with the averaged weights, beside held-out reals."""
        self.done["grid"] = self.clock.samples
        if not self.writes or self.run is None:
            return
        path = self.run.sample_path(self.clock.samples)
        with passing():
            columns = self.looks.preview()
            with self._optional("the sample grid"):
                self.grid = pictures.grid(columns, path)
        self._record("sample", path=str(path.relative_to(self.run.path)))
        self.loggers.image(path, self.clock.samples)
        if time.monotonic() - self.drawn > REDRAW:
            self._draw()

    def _draw(self) -> None:
        if self.writes and self.run:
            with passing(), self._optional("progress.png"):
                plots.progress(self.run.read_log(), self.run.progress)
            self.drawn = time.monotonic()

    @contextlib.contextmanager
    def _optional(self, what: str) -> Iterator[None]:
        """A picture that cannot be written is no reason to lose a run."""
        try:
            yield
        except OSError as error:
            self.console.alarm(f"{what} could not be written: {error}. Training goes on.")

    def generate(self, count: int, start: int, average: int = 0) -> Tensor:
        """Samples number `start` … of an averaged generator, from latents that are the same at every evaluation."""
        # The classes of the very rows they are compared with: drawn evenly, a rare class would count as an error.
        labels = self.scores.scorer.labels() if self.scores.scorer else None
        return self.looks.generate(count, start, labels, average)

    def _score(self) -> None:
        """Score the averaged weights, and of several averages sample the best from now on."""
        self.done["score"] = self.clock.samples
        if world.rank() != 0:
            return
        generators = [partial(self.generate, average=k) for k in range(len(self.ema.averages))]
        with passing():
            taken = self.scores.take(generators, self.clock.samples, self.seconds)
        beside = {}
        if len(generators) > 1:
            named = zip(self.ema.halflives, taken.values, strict=True)
            beside = {"averages": {f"{halflife:.15g}": value for halflife, value in named}}
        self._record("score", scores=self.scores.last, best=taken.improved, **beside)
        self.ema.choose(taken.number)

    # -------------------------------------------------------------------------------------------------- records

    def note(self, text: str, kind: str = "note") -> None:
        """A line for the log that a person reads."""
        self._record(kind, text=text)
        if kind != "note":
            self.console.note(text)

    def _record(self, kind: str, **values: Any) -> None:
        record = {
            "kind": kind,
            **self._now(),
            **values,
        }
        if self.writes and self.run:
            self.run.append(record)
        self.console.update(record)
        self.loggers.log(record)

    def _commit(self, best: bool = False, last: bool = False, snapshot: bool = False) -> None:
        self.last_commit, self.wanted = time.monotonic(), False
        if not self.writes or self.run is None:
            return
        if self.rolls_back and snapshot:
            name = checkpoint.checkpoint_name(self.clock.samples)
            self.ring.add(name, self.clock.samples, well=self.health.spread >= COLLAPSED)
        tensors, values = state.capture(self)
        values["log_position"] = self.run.log_position()
        name = checkpoint.checkpoint_name(self.clock.samples)
        pointer = self.run.checkpoints / "best.json"
        # Pinned until the next best has been named: a kill in between must not leave the pointer without its target.
        pinned = {checkpoint.pointed(self.run.checkpoints, "best")} if pointer.exists() else set()
        pinned |= self.ring.names
        try:
            self.committed = checkpoint.commit(
                self.run.checkpoints, name, tensors, values, self.experiment.keep.newest, pinned
            )
        except ResourceError as error:
            self.failed_commits += 1
            if last or self.failed_commits >= 3:
                raise
            self.console.alarm(f"{error} Training goes on; {3 - self.failed_commits} more failures end it.")
            return
        except checkpoint.NotFinite as error:
            raise SeenByOne("generator", str(error), "the weights") from None
        self.failed_commits = 0
        self.done["commit"] = self.clock.samples
        self.ring.rename(self.clock.samples, self.committed.name)
        if best and self.scores.best is not None:
            self.scores.best["checkpoint"] = self.committed.name
            checkpoint.point(self.run.checkpoints, "best", self.committed.name)

    def resume(self, found: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint: the log is cut back to where it stood."""
        state.restore(self, found.tensors, found.state)
        self.committed = found.path
        self.done["commit"] = self.clock.samples
        self.ring.rename(self.clock.samples, found.name)
        if self.writes and self.run:
            self.run.truncate_log(found.state["log_position"])
            if self.scores.best and self.scores.best_at(self.clock.samples):
                # This very commit holds the best weights; it was written before it had a name to remember.
                self.scores.best["checkpoint"] = found.name
                checkpoint.point(self.run.checkpoints, "best", found.name)

    def extend(self, seconds: float) -> None:
        """Plan that much more time at the pace so far; the schedules keep their recorded extent."""
        if self.planned is None:  # broken off before the pace was known: it is measured now
            return
        pace = self.clock.samples / max(1e-9, self.seconds)
        batch = self.experiment.batch
        self.planned = self.clock.samples + max(1, round(pace * seconds / batch)) * batch
        self.cap = self.seconds + 1.5 * seconds

    def _roll_back(self, problem: NonFinite) -> None:
        """Return to the last checkpoint with half the learning rates; twice at most."""
        if self.rollbacks >= ROLLBACKS or not self.run or (isinstance(problem, SeenByOne) and world.size() > 1):
            raise DivergedError(
                f"training diverged at {self.clock.samples:,} samples: {problem}. "
                f"It was rolled back {self.rollbacks} times with lower rates. The last checkpoint is intact. "
                f"Lower optim.{problem.player}.lr, raise a penalty's weight, or set clip.{problem.player}=1."
            )
        rollbacks, rate, at = self.rollbacks + 1, self.table.rate * 0.5, self.clock.samples
        self._restart(checkpoint.latest(self.run.checkpoints))
        self.rollbacks, self.table.rate = rollbacks, rate
        text = f"{problem} at {at:,} samples; rolled back to {self.clock.samples:,} with learning rates × {rate:g}"
        self._record("alarm", text=text)
        self.console.alarm(text)

    def _finish(self, reason: str) -> None:
        # In every process, whose reasons may differ: they know only their own clock and signals.
        average_buffers([*self.game.networks.values(), *self.ema.networks])
        samples = self.clock.samples
        if reason != "signal":
            if self.scores.scorer and self.clock.step and self.done["score"] != samples:
                self._score()
                self.done["commit"] = -1
            if self.done["grid"] != samples:
                self._show()
                self.done["commit"] = -1
        # Committed before the last line is written: a longer stop resumes here and the log has no gap and no repeat.
        if self.done["commit"] != samples:
            self._commit(best=self.scores.best_at(samples), last=True)
        self._record("stop", reason=reason)
        self._draw()


def rehearse(game: Game) -> None:
    """Every way in which this game's networks are called in training: turns with and without what is due at the first,
    and a look at held-out rows."""
    trainer = Trainer(game)
    for _ in range(2):
        trainer._step(False)
    trainer._heldout()

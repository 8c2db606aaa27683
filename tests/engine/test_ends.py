"""Ends that move: what stops a run, what makes it go on, and what a return to a checkpoint must not undo."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from gannet import api
from gannet.core.errors import DivergedError, UsageError
from gannet.core.overrides import resolve
from gannet.engine import checkpoint
from gannet.engine.assembly import assemble
from gannet.engine.budget import Budget
from gannet.engine.trainer import Trainer
from gannet.engine.turn import Table
from gannet.metrics.evaluator import Evaluator

pytestmark = [
    pytest.mark.usefixtures("no_plots"),
    pytest.mark.filterwarnings("ignore:mode collapse", "ignore:the discriminator is far"),
]


def test_minutes_beside_samples_are_a_limit_of_their_own(tiny):
    def cap(**stop):
        return Trainer(assemble(resolve("gan", {**tiny("gan"), **stop}).experiment)).cap

    assert cap(**{"stop.minutes": 2}) == 120  # samples are given too
    assert cap(**{"stop.minutes": 2, "stop.samples": None}) == 180
    assert cap(**{"stop.minutes": None}) is None


def test_more_samples_lift_the_wall_that_ended_a_run(tiny, place, before_step, refused):
    before_step(3, lambda trainer: setattr(trainer, "cap", 0.0))
    run, outcome = api.train("gan", {**tiny("gan"), "stop.minutes": 5}, place("run"))
    assert (outcome.reason, outcome.samples) == ("time", 32)
    assert "is finished" in refused(UsageError, api.resume, run.path)
    assert "is finished" in refused(UsageError, api.resume, run.path, {"stop.samples": 32})
    _, outcome = api.resume(run.path, {"stop.samples": 96})
    assert (outcome.reason, outcome.samples) == ("samples", 96)


def test_a_roll_back_keeps_a_plan_that_is_newer_than_the_checkpoint(tiny, place, monkeypatch):
    run, _ = api.train("gan", tiny("gan"), place("run"))  # 12 steps, 96 samples
    whole, faults = Table.turn, iter([True])

    def turn(self, name, player, clock, *rest):
        if clock.step == 14 and next(faults, False):
            with torch.no_grad():
                self.parameters[name][0].fill_(float("nan"))
        return whole(self, name, player, clock, *rest)

    monkeypatch.setattr(Table, "turn", turn)
    with pytest.warns(RuntimeWarning, match="rolled back"):
        _, outcome = api.resume(run.path, {"stop.samples": 160, "keep.checkpoints": 10**6})
    assert (outcome.reason, outcome.samples) == ("samples", 160)


def test_the_old_best_stays_until_the_new_one_is_named(tiny, place, monkeypatch):
    improving = {"evaluate": {"metrics": ["frechet"], "n": 16, "every": 8}, "keep.newest": 1, "stop.samples": 24}
    values = iter([3.0, 2.0, 1.0])
    monkeypatch.setattr("gannet.metrics.evaluator.Evaluator.score", lambda self, generate: {self.primary: next(values)})
    whole, valid = checkpoint.commit, []

    def commit(folder, *rest, **named):
        path = whole(folder, *rest, **named)
        # Here a kill would leave the pointer as it is: what it names must still be there.
        if (folder / "best.json").exists():
            valid.append(checkpoint.read(folder / checkpoint.pointed(folder, "best")).name)
        return path

    monkeypatch.setattr(checkpoint, "commit", commit)
    run, _ = api.train("gan", {**tiny("gan"), **improving}, place("run"))
    assert valid == ["000000008", "000000016"]
    assert checkpoint.pointed(run.checkpoints, "best") == "000000024"


def test_samples_that_are_no_numbers_roll_back_like_a_loss(tiny, place, monkeypatch):
    scored = {"evaluate": {"metrics": ["frechet"], "n": 16, "every": 8}}
    answers = iter([DivergedError("2 of 16 generated samples are not finite")])

    def score(self, generate):
        if (error := next(answers, None)) is not None:
            raise error
        return {self.primary: 1.0}

    monkeypatch.setattr("gannet.metrics.evaluator.Evaluator.score", score)
    with pytest.warns(RuntimeWarning, match="not finite"):
        _, outcome = api.train("gan", {**tiny("gan"), **scored}, place("run"))
    assert (outcome.reason, outcome.samples) == ("samples", 96)


def test_a_sample_is_scored_with_the_label_of_the_real_it_stands_beside(tiny):
    game = assemble(resolve("quick", tiny("quick")).experiment)
    asked = []

    class Scorer:
        primary, better = "fd", "lower"

        def labels(self):
            return torch.tensor([7, 7, 7, 1])

    trainer = Trainer(game, scorer=Scorer())
    monkey = trainer.looks.samplers[0].sample
    trainer.looks.samplers[0].sample = lambda draw, y=None, *rest: asked.append(y) or monkey(draw, y, *rest)
    assert trainer.generate(2, 2).shape[0] == 2
    assert asked[0].tolist() == [7, 1]


@pytest.mark.parametrize(
    ("asked", "end"),
    [
        ({}, (None, 1.3)),
        ({"stop.samples": 100}, (100, None)),
        ({"stop.minutes": 3}, (None, 3.0)),
        ({"stop.samples": 100, "stop.minutes": 3}, (100, 3.0)),
        ({"stop": {"samples": 100, "minutes": 3}}, (100, 3.0)),
    ],
)
def test_an_end_that_is_asked_for_replaces_the_end_of_the_preset(asked, end):
    stop = resolve("quick", asked).experiment.stop
    assert (stop.samples, stop.minutes) == end


def test_a_handful_of_samples_is_trained_on_without_scores(tiny, place):
    more = {"data.limit": 3, "batch": 2, "evaluate.metrics": None, "stop.samples": 8}
    _, outcome = api.train("gan", {**tiny("gan"), **more}, place("run"))
    assert (outcome.reason, outcome.scores) == ("samples", {})
    with pytest.raises(UsageError, match=r"rows|n="):
        api.train("gan", {**tiny("gan"), **more, "evaluate.metrics": ["frechet"]}, place("asked"))


def test_a_moment_in_which_the_machine_was_busy_does_not_shorten_the_plan(tiny, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    overrides = {**tiny("gan"), "stop.samples": None, "stop.minutes": 1}
    trainer = Trainer(assemble(resolve("gan", overrides).experiment))
    budget = Budget(trainer)
    for step in range(40):
        trainer._step(False)
        now[0] += 2.5 if step == 30 else 0.01
        budget.measure()
        if trainer.planned is not None:
            break
    assert step == 30
    assert trainer.planned == pytest.approx(trainer.clock.samples + 800 * 60 * Budget.RESERVE, abs=8)


def test_a_lucky_moment_does_not_lengthen_the_plan(tiny, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    trainer = Trainer(assemble(resolve("gan", {**tiny("gan"), "stop.samples": None, "stop.minutes": 1}).experiment))
    budget = Budget(trainer)
    for step in range(400):
        trainer._step(False)
        now[0] += 0.002 if 100 < step < 120 else 0.01
        budget.measure()
        if trainer.planned is not None:
            break
    # 800 samples a second but for 16 steps at five times that, which may count as little as they were.
    assert trainer.planned == pytest.approx(trainer.clock.samples + 800 * 60 * Budget.RESERVE, rel=0.5)


def timed(tiny, monkeypatch, pace, back=lambda step: 0, **more):
    """A minute's run whose step number k takes `pace(k)` seconds and ends `back(k)` samples earlier than it should, to
    its end; the trainer and its plans in order."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    overrides = {**tiny("gan"), "stop.samples": None, "stop.minutes": 1, **more}
    trainer = Trainer(assemble(resolve("gan", overrides).experiment))
    budget, plans = Budget(trainer), []
    while trainer.planned is None or trainer.clock.samples < trainer.planned:
        now[0] += pace(trainer.clock.step)
        trainer.seconds = now[0] - 100
        trainer.clock = replace(trainer.clock, samples=trainer.clock.samples + 8, step=trainer.clock.step + 1)
        trainer.before = trainer.clock.samples - 8
        if lost := back(trainer.clock.step):
            trainer.clock = replace(trainer.clock, samples=trainer.clock.samples - lost)
            trainer.before = trainer.clock.samples
        budget.measure()
        budget.correct()
        plans += [] if trainer.planned in (None, *plans[-1:]) else [trainer.planned]
    return trainer, plans


@pytest.mark.parametrize("after", [0.005, 0.02, 0.05])
def test_a_pace_that_changes_is_met_by_another_plan(after, tiny, monkeypatch):
    trainer, plans = timed(tiny, monkeypatch, lambda step: 0.01 if step < 400 else after)
    assert plans[0] == pytest.approx(800 * 60 * Budget.RESERVE, rel=0.1)
    assert trainer.seconds == pytest.approx(60, abs=1.5)
    assert trainer.clock.total == trainer.planned == plans[-1]
    assert len(plans) > 1


def test_a_pace_that_is_kept_leaves_the_plan_alone(tiny, monkeypatch):
    trainer, plans = timed(tiny, monkeypatch, lambda step: 0.0101 if step % 2 else 0.0099)
    assert len(plans) <= 2  # what was kept back for log lines is found to be free
    assert trainer.seconds == pytest.approx(60, abs=1.5)


def test_what_was_rolled_back_is_no_sign_of_a_slower_pace(tiny, monkeypatch):
    trainer, plans = timed(tiny, monkeypatch, lambda step: 0.01, lambda step: 4000 if step in (1500, 2100) else 0)
    assert trainer.seconds == pytest.approx(60, abs=1.5)
    # At every plan after the loss, the time that is left at the old pace.
    assert min(plans) > 800 * 60 * Budget.RESERVE - 9000


def test_the_last_quarter_of_a_run_keeps_its_plan(tiny, monkeypatch):
    """Learning rates end there, and must end with the run."""
    slow = 60 * 0.8 / 0.01
    trainer, _ = timed(tiny, monkeypatch, lambda step: 0.01 if step < slow else 0.02)
    assert trainer.seconds == pytest.approx(60 * 1.2, abs=2)


@pytest.mark.parametrize("change", [{"stop.samples": 800}, {}])
def test_samples_that_were_asked_for_are_kept(change, tiny, monkeypatch):
    trainer = Trainer(
        assemble(resolve("gan", {**tiny("gan"), "stop.samples": None, "stop.minutes": 1, **change}).experiment)
    )
    trainer.planned = 800
    trainer.clock = replace(trainer.clock, total=800 if change else 400)  # or it was extended, from 400
    budget = Budget(trainer)
    for samples in range(0, 800, 8):
        trainer.before, trainer.seconds = samples, samples / 10
        trainer.clock = replace(trainer.clock, samples=samples + 8)
        budget.correct()
    assert trainer.planned == 800


@pytest.mark.parametrize(("every", "cost", "scores"), [("auto", 0, 10), ("auto", 2, 4), ("10%", 2, 10)])
def test_slow_scores_are_taken_less_often_where_nobody_asked(every, cost, scores, tiny, place, monkeypatch):
    """A hundred steps of a second each. A score of two seconds may come every forty; one is always taken at the end."""
    now = 0.0

    def takes(seconds, call):
        def slowed(*arguments):
            nonlocal now
            now += seconds
            return call(*arguments)

        return slowed

    for module in ("trainer", "scores"):
        monkeypatch.setattr(f"gannet.engine.{module}.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(Trainer, "_step", takes(1, Trainer._step))
    monkeypatch.setattr(Evaluator, "score", takes(cost, Evaluator.score))
    scored = {"metrics": ["frechet"], "n": 16, "every": every}
    run, _ = api.train("gan", tiny("gan", steps=100, evaluate=scored), place("run"))
    assert sum(line["kind"] == "score" for line in run.read_log()) == scores

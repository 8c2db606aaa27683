"""The loop: when it stops, what it writes in between, and what it does when numbers or disks fail."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import time

import pytest
import torch

from gannet import api
from gannet.core.errors import DivergedError, ResourceError, UsageError
from gannet.core.overrides import resolve
from gannet.engine import checkpoint, pictures
from gannet.engine.assembly import assemble
from gannet.engine.budget import Budget
from gannet.engine.run import Run
from gannet.engine.trainer import Trainer
from gannet.metrics.evaluator import Evaluator

pytestmark = [
    pytest.mark.usefixtures("no_plots"),
    pytest.mark.filterwarnings("ignore:mode collapse", "ignore:the discriminator is far", "ignore:.*rolled back"),
]
SCORED = {"metrics": ["frechet"], "n": 16, "every": 8}


@pytest.fixture
def scores(monkeypatch):
    """`scores(1.0, 0.5, …)`: what the evaluator will say; asked for more, it fails."""

    def say(*values):
        waiting = iter(values)
        monkeypatch.setattr(Evaluator, "score", lambda self, generate: {self.primary: next(waiting)})

    return say


def poison(trainer):
    with torch.no_grad():
        next(trainer.game.networks["discriminator"].parameters()).fill_(float("nan"))


# ------------------------------------------------------------------------------------------------------------ stops


def test_it_stops_at_the_first_step_that_reaches_the_samples(tiny, place):
    _, outcome = api.train("gan", tiny("gan", stop__samples=50), place("run"))
    assert (outcome.reason, outcome.samples) == ("samples", 56)


def test_no_samples_at_all_is_a_run_with_a_checkpoint(tiny, place, last_commit):
    run, outcome = api.train("gan", tiny("gan", stop__samples=0), place("run"))
    assert outcome.samples == 0
    assert last_commit(run)[1]["step"] == 0


def test_a_time_budget_becomes_samples_that_are_recorded(tiny, place, last_commit, records, before_step):
    before_step(1, lambda trainer: setattr(trainer, "cap", None))  # a busy machine may take longer than the plan
    run, outcome = api.train("gan", {**tiny("gan"), "stop.samples": None, "stop.minutes": 0.02}, place("run"))
    state = last_commit(run)[1]
    assert outcome.reason == "samples"
    assert outcome.samples == state["planned"] == state["total"] > 100
    notes = [r["text"] for r in records(run) if r["kind"] == "note"]
    assert f"{state['planned']:,} samples" in notes[-1]


def test_the_score_that_was_taken_for_the_plan_may_be_the_best_and_is_kept(tiny, place, records, monkeypatch):
    values = itertools.count(1.0)
    monkeypatch.setattr(Evaluator, "score", lambda self, generate: {self.primary: next(values)})
    overrides = {**tiny("gan"), "stop.samples": None, "stop.minutes": 0.02, "evaluate.metrics": None}
    run, outcome = api.train("gan", overrides, place("run"))
    scores = [r for r in records(run) if r["kind"] == "score"]
    assert [r["best"] for r in scores] == [True] + [False] * (len(scores) - 1)
    assert len(scores) > 1
    assert outcome.best["samples"] == scores[0]["samples"] == api.load(run.path, "best").samples


def test_scores_are_taken_in_the_features_that_are_asked_for(tiny, place, records):
    asked = {"evaluate.metrics": ["frechet"], "evaluate.extractor": "pca(components=4)", "evaluate.n": 16}
    run, outcome = api.train("gan", {**tiny("gan"), **asked}, place("run"))
    assert run.facts()["protocols"]["fd[pca]"].startswith("fd[pca(4)@")
    assert outcome.best["metric"] == "fd[pca]"
    plain, judged = (resolve("gan", words).experiment for words in ({}, {"evaluate.extractor": "pca"}))
    assert plain.hash() != judged.hash()
    assert api.resume(run.path, {"stop.samples": 160})[1].best["metric"] == "fd[pca]"
    with pytest.raises(UsageError, match=r"evaluate.extractor cannot change when a run goes on"):
        api.resume(run.path, {"evaluate.extractor": "random-conv", "stop.samples": 240})


def test_the_clock_is_a_hard_cap_at_one_and_a_half_times_the_plan(tiny, place, before_step):
    before_step(5, lambda trainer: time.sleep(1.0))
    _, outcome = api.train("gan", tiny("gan", stop__minutes=0.01), place("run"))
    assert (outcome.reason, outcome.samples) == ("time", 48)


def test_a_measurement_that_was_broken_off_begins_anew(tiny, place, before_step, last_commit):
    """Planned from a wrong start, it would end after one step."""
    before_step(6, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    overrides = {**tiny("gan"), "stop.samples": None, "stop.minutes": 2}
    run, outcome = api.train("gan", overrides, place("run"))
    assert (outcome.reason, last_commit(run)[1]["planned"]) == ("signal", None)
    _, outcome = api.resume(run.path, {"stop.minutes": 0.02})
    assert outcome.samples > 100  # it stood at 56


def test_more_minutes_are_planned_at_the_pace_so_far(tiny):
    trainer = Trainer(assemble(resolve("gan", tiny("gan")).experiment))
    trainer._step(False)
    trainer.seconds = 2.0
    trainer.extend(10.0)
    assert trainer.planned == 8 + 40
    assert trainer.cap == 2.0 + 15.0
    assert trainer.clock.total == 96


def test_a_budget_counts_the_steps_it_measures(tiny, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    trainer = Trainer(assemble(resolve("gan", {**tiny("gan"), "stop.samples": None, "stop.minutes": 1}).experiment))
    budget = Budget(trainer)
    while trainer.planned is None:
        trainer._step(False)
        now[0] += 0.1
        budget.measure()
    # 80 samples a second; 60 s, a reserve kept back, from where it stands.
    assert trainer.planned == pytest.approx(trainer.clock.samples + 80 * 60 * Budget.RESERVE, abs=8)
    assert trainer.clock.total == trainer.planned


def test_a_target_ends_the_run_and_patience_does(tiny, place, scores):
    scores(3.0, 2.0, 1.0)
    _, outcome = api.train("gan", tiny("gan", evaluate=SCORED, stop__target=1.5), place("target"))
    assert (outcome.reason, outcome.samples) == ("target", 24)
    scores(3.0, 2.0, 2.5, 2.4, 9.0)
    _, outcome = api.train("gan", tiny("gan", evaluate=SCORED, stop__patience=2), place("patience"))
    assert (outcome.reason, outcome.samples, outcome.best["value"]) == ("patience", 32, 2.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_committed_and_the_run_goes_on_from_there(
    number, tiny, place, before_step, monkeypatch, assert_same_run
):
    straight, _ = api.train("gan", tiny("gan"), place("straight"))
    with monkeypatch.context():
        before_step(7, lambda trainer: os.kill(os.getpid(), number))
        run, outcome = api.train("gan", tiny("gan"), place("run"))
    assert (outcome.reason, outcome.samples, outcome.signal) == ("signal", 64, number)
    assert run.read_log()[-1]["reason"] == "signal"
    assert int(checkpoint.latest(run.checkpoints).state["samples"]) == 64
    api.resume(run.path)
    assert_same_run(straight, run)


def test_a_save_request_commits_and_goes_on(tiny, place, before_step, monkeypatch):
    names = []
    whole = checkpoint.commit
    monkeypatch.setattr(checkpoint, "commit", lambda *a, **k: names.append(a[1]) or whole(*a, **k))
    before_step(4, lambda trainer: os.kill(os.getpid(), signal.SIGUSR1))
    _, outcome = api.train("gan", tiny("gan"), place("run"))
    assert outcome.reason == "samples"
    assert names == [f"{n:09d}" for n in (0, 24, 40, 48, 72, 96)]


# ------------------------------------------------------------------------------------------------------- divergence


def test_lasting_divergence_is_rolled_back_twice_and_ends_with_its_own_code(tiny, place, before_step, refused):
    before_step(8, poison)
    text = refused(DivergedError, api.train, "gan", tiny("gan"), place("run"))
    assert DivergedError.exit_code == 5
    assert "discriminator's turn" in text
    assert "rolled back 2 times" in text
    run = Run.open(place("run"))
    alarms = [r["text"] for r in run.read_log() if r["kind"] == "alarm" and "rolled back" in r["text"]]
    assert "× 0.25" in alarms[-1]
    last = checkpoint.latest(run.checkpoints)
    assert last.state["samples"] == 48
    assert all(t.isfinite().all() for group in last.tensors.values() for t in group.values() if t.is_floating_point())


def test_a_passing_fault_costs_one_rollback_and_half_the_rate(tiny, place, before_step, last_commit):
    faults = iter([poison])
    before_step(8, lambda trainer: next(faults, lambda _: None)(trainer))
    run, outcome = api.train("gan", tiny("gan"), place("run"))
    tensors, state = last_commit(run)
    assert (outcome.reason, outcome.samples) == ("samples", 96)
    assert (state["rollbacks"], state["rate"]) == (1, 0.5)
    assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())
    steps = [r["step"] for r in run.read_log() if r["kind"] == "step"]
    assert steps == list(range(1, 13))


def test_without_a_run_to_go_back_to_divergence_is_said_at_once(tiny, refused):
    trainer = Trainer(assemble(resolve("gan", tiny("gan")).experiment))
    poison(trainer)
    assert "rolled back 0 times" in refused(DivergedError, trainer.fit)


# ------------------------------------------------------------------------------------------------------------ disks


@pytest.fixture
def full_disk(monkeypatch):
    """`full_disk(1, 2)`: the writes of these commits, counted from 0, find no room."""

    def fill(*commits):
        count = iter(range(10**6))
        whole = checkpoint.commit

        def commit(*args, **kwargs):
            if next(count) in commits:
                with monkeypatch.context() as patch:
                    patch.setattr(checkpoint, "FAULT", no_room)
                    return whole(*args, **kwargs)
            return whole(*args, **kwargs)

        monkeypatch.setattr(checkpoint, "commit", commit)

    def no_room(boundary):
        if boundary == "fsync":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fill


def test_a_disk_that_was_full_for_a_while_costs_a_warning(tiny, place, full_disk, last_commit):
    full_disk(1, 2)
    with pytest.warns(RuntimeWarning, match="No space left.*Training goes on; 1 more failures end it"):
        run, outcome = api.train("gan", tiny("gan"), place("run"))
    assert outcome.reason == "samples"
    assert last_commit(run)[1]["samples"] == 96
    assert not list(run.checkpoints.glob(".tmp-*"))


@pytest.mark.filterwarnings("ignore:Checkpoint")
def test_the_third_failure_in_a_row_ends_the_run_and_the_older_checkpoint_stands(
    tiny, place, full_disk, refused, last_commit
):
    full_disk(1, 2, 3)
    assert "No space left" in refused(ResourceError, api.train, "gan", tiny("gan"), place("run"))
    assert ResourceError.exit_code == 6
    assert last_commit(Run.open(place("run")))[1]["samples"] == 0
    _, outcome = api.resume(place("run"))
    assert outcome.samples == 96


def test_a_last_commit_that_fails_is_no_success(tiny, place, full_disk, refused):
    full_disk(1)
    overrides = {**tiny("gan"), "keep.checkpoints": 10**6}
    assert "No space left" in refused(ResourceError, api.train, "gan", overrides, place("run"))


# ------------------------------------------------------------------------------------------------- what is in between


def test_sample_grids_come_from_fixed_latents_and_heldout_reals(tiny, place, monkeypatch):
    shown = []
    monkeypatch.setattr(pictures, "grid", lambda columns, path: shown.append(dict(columns)) or path)
    still = {"optim": {"discriminator": "sgd(lr=0)", "generator": "sgd(lr=0)"}}
    api.train("gan", tiny("gan", **still), place("still"))
    assert len(shown) == 2
    assert torch.equal(shown[0]["generated"], shown[1]["generated"])
    assert torch.equal(shown[0]["real"], shown[1]["real"])
    moving = shown[:]
    shown.clear()
    api.train("gan", tiny("gan"), place("moving"))
    assert not torch.equal(shown[0]["generated"], shown[1]["generated"])
    assert torch.equal(shown[0]["real"], moving[0]["real"])


def test_looking_at_heldout_rows_moves_nothing(tiny):
    trainer = Trainer(assemble(resolve("lsgan", tiny("lsgan")).experiment))
    trainer._step(False)
    before = {k: v.clone() for k, v in trainer.game.networks.state_dict().items()}
    first = trainer._heldout()
    assert all(torch.equal(v, before[k]) for k, v in trainer.game.networks.state_dict().items())
    assert trainer._heldout() == first
    assert list(first) == ["p_real_above_fake/heldout"]
    assert 0 <= first["p_real_above_fake/heldout"] <= 1
    x = trainer.table.feed.take("discriminator", range(8))
    trainer.game.networks["discriminator"](x["x"], x["y"])  # a forward does move batch norm
    assert any(not torch.equal(v, before[k]) for k, v in trainer.game.networks.state_dict().items())


def test_the_end_is_scored_shown_and_committed_once(tiny, place, scores, records):
    scores(*[1.0] * 12)  # a thirteenth question would fail
    run, _ = api.train("gan", tiny("gan", evaluate=SCORED), place("run"))
    kinds = [r["kind"] for r in records(run)]
    assert (kinds.count("score"), kinds.count("sample"), kinds.count("stop")) == (12, 2, 1)
    assert not list(run.checkpoints.glob("*-1"))


def test_a_run_whose_discriminator_rests_still_logs(tiny, place, records):
    players = {"discriminator": {"start": "50%"}}
    run, _ = api.train("gan", tiny("gan", players=players), place("run"))
    lines = [r for r in records(run) if r["kind"] == "step"]
    assert len(lines) == 12
    assert ["spread" in line for line in lines] == [False] * 6 + [True] * 6
    assert all("loss/generator" in line for line in lines)


def test_the_average_follows_the_samples_a_step_consumed(tiny):
    game = assemble(resolve("wgan-gp", tiny("wgan-gp", ema={"halflife": 40, "ramp": None})).experiment)
    trainer = Trainer(game)
    first = trainer.ema.modules["generator"].output.weight.clone()
    trainer._step(False)
    assert trainer.clock.samples == 40
    live = game.networks["generator"].output.weight
    torch.testing.assert_close(trainer.ema.modules["generator"].output.weight, (first + live.detach()) / 2)


SEVERAL = {"evaluate": {"metrics": ["frechet"], "n": 16, "every": "50%"}, "ema": {"halflife": [1000, 8], "ramp": None}}


@pytest.mark.parametrize(("said", "halflife"), [((1.0, 2.0, 1.0, 2.0), 1000), ((1.0, 2.0, 4.0, 3.0), 8)])
def test_a_run_samples_the_average_that_scores_best(tiny, place, scores, last_commit, said, halflife):
    scores(*said)
    run, _ = api.train("gan", tiny("gan", **SEVERAL), place("several"))
    alone, _ = api.train("gan", tiny("gan", ema={"halflife": halflife, "ramp": None}), place("alone"))
    taken = [r["averages"] for r in run.read_log() if r["kind"] == "score"]
    assert taken == [{"1000": said[0], "8": said[1]}, {"1000": said[2], "8": said[3]}]
    (several, state), (expected, _) = last_commit(run), last_commit(alone)
    assert state["halflives"][0] == halflife
    assert all(several[key].equal(tensor) for key, tensor in expected.items()), "training does not see its averages"


def test_averages_of_other_half_lives_go_on_from_the_one_that_was_sampled(tiny, place):
    run, _ = api.train("gan", tiny("gan", ema={"halflife": 24, "ramp": None}), place("run"))
    found = checkpoint.latest(run.checkpoints)
    trainer = Trainer(assemble(resolve("gan", tiny("gan", **SEVERAL)).experiment))
    trainer.resume(found)
    assert trainer.ema.halflives == [1000, 8]
    for average in trainer.ema.averages:
        for key, value in average.modules["generator"].state_dict().items():
            assert value.equal(found.tensors["ema"][f"generator.{key}"])

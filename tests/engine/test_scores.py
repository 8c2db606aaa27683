"""What a run knows of its scores, and the snapshots it may return to."""

from __future__ import annotations

import pytest

from gannet.core.experiment import Evaluate, Experiment, Stop
from gannet.engine.ring import SIZE, Ring
from gannet.engine.scores import Scores


class Told:
    """An evaluator that says what it is told."""

    primary = "recall"

    def __init__(self, better, *values):
        self.better, self.values = better, iter(values)

    def labels(self):
        return None

    def score(self, generate):
        return {self.primary: next(self.values)}


def taken(scorer, every="10%", **stop):
    scores = Scores(scorer, Experiment(stop=Stop(**stop), evaluate=Evaluate(every=every)))
    return scores, lambda samples, averages=1: scores.take([scorer] * averages, samples, samples / 100)


@pytest.mark.parametrize(("better", "best"), [("lower", 20), ("higher", 30)])
def test_best_is_the_metrics_own_better(better, best):
    scores, take = taken(Told(better, 0.5, 0.2, 0.8, 0.8))
    for samples in (10, 20, 30, 40):
        take(samples)
    assert [scores.best_at(samples) for samples in (10, 20, 30, 40)] == [s == best for s in (10, 20, 30, 40)]
    assert scores.stale == 40 // 10 - best // 10


@pytest.mark.parametrize(("better", "values"), [("lower", (0.6, 0.5)), ("higher", (0.4, 0.5))])
def test_a_target_is_met_from_its_own_side(better, values):
    scores, take = taken(Told(better, *values), target=0.5)
    assert scores.ends == ""
    assert (take(10).improved, scores.ends) == (True, "")
    assert (take(20).improved, scores.ends) == (True, "target")


def test_no_target_is_met_by_a_score_of_another_metric():
    scores, take = taken(Told("lower", 0.1), target=0.5)
    take(10)
    for scorer in (None, type("Other", (Told,), {"primary": "coverage"})("higher")):
        resumed, _ = taken(scorer, target=0.5)
        resumed.state = scores.state
        assert resumed.ends == ""


def test_the_best_by_another_metric_is_no_mark_to_beat():
    scores, take = taken(Told("lower", 0.1))
    take(10)
    resumed, take = taken(type("Other", (Told,), {"primary": "coverage"})("higher", 0.05, 0.04))
    resumed.state = scores.state
    assert (take(20).improved, take(30).improved) == (True, False)
    assert (resumed.best["metric"], resumed.best["samples"], resumed.stale) == ("coverage", 20, 1)


@pytest.mark.parametrize(("better", "number"), [("lower", 1), ("higher", 2)])
def test_of_several_averages_the_best_counts(better, number):
    values = [0.5, 0.2, 0.8]
    scores, take = taken(Told(better, *values, *reversed(values)))
    assert take(10, averages=3) == (True, number, values)
    assert scores.last == {"recall": values[number]}
    assert take(20, averages=3) == (False, 2 - number, values[::-1]), "no better than it was"
    assert scores.best["samples"] == 10


def test_scores_that_nobody_paced_do_not_depend_on_the_clock():
    scores, take = taken(Told("lower", 0.1))
    take(10)
    assert scores.state["next_score"] == 0
    paced, take = taken(Told("lower", 0.1), every="auto")
    take(10_000)
    assert paced.state["next_score"] >= 10_000


def test_a_ring_keeps_the_newest_and_returns_to_one_that_was_well():
    ring = Ring()
    for samples in range(100, 700, 100):
        ring.add(str(samples), samples, well=samples != 500)
    assert ring.names == {str(samples) for samples in range(600 - 100 * (SIZE - 1), 700, 100)}
    assert (ring.well_before(600), ring.well_before(300)) == ("400", "")
    ring.rename(600, "600-1")
    ring.rename(400, "of another")
    assert ring.names == {"300", "400", "500", "600-1"}
    ring.cut(400)
    assert ring.names == {"300", "400"}

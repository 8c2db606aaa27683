"""Intervals: exact where they can be, true to fresh samples where they are resampled, on time."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gannet.core.parts import Metric
from gannet.core.registry import METRICS
from gannet.metrics import intervals
from gannet.metrics.intervals import LEAST, Spread, spread


class Share(Metric):
    """Share of the fakes above 0, known row by row."""

    reads, better = "samples", "higher"

    def rows(self, fake, real):
        return (fake[:, 0] > 0).astype(float)

    def __call__(self, fake, real):
        raise AssertionError("rows are enough")


class Mean(Metric):
    """Mean of the fakes minus mean of the reals."""

    reads, better = "samples", "lower"

    def __call__(self, fake, real):
        return float(fake.mean() - real.mean())


def cloud(n, seed, scale=1.0):
    return np.random.default_rng(seed).normal(0, scale, (n, 1))


def test_a_mean_over_rows_has_its_exact_deviation():
    fake = np.array([[1.0]] * 30 + [[-1.0]] * 70)
    found = spread(Share(), (fake, fake))
    assert_allclose(found.sd, np.sqrt(0.3 * 0.7 / 100))
    assert found.draws == 0
    assert_allclose(Spread(0.5, 0).half, 0.98)


def test_both_sides_are_resampled():
    fake, real = cloud(400, 0, 2.0), cloud(100, 1)
    expected = np.sqrt(fake.var() / 400 + real.var() / 100)
    assert_allclose(spread(Mean(), (fake, real), draws=2000).sd, expected, rtol=0.06)
    # Not one of them alone, which would be 0.10 of 0.14 each.
    assert spread(Mean(), (fake, real), draws=2000).sd > 1.2 * fake.std() / 20


@pytest.mark.parametrize("name", ["frechet", "kernel", "sliced-wasserstein"])
def test_a_bootstrap_is_true_to_fresh_samples(name):
    metric, rng = METRICS.build(name), np.random.default_rng(0)

    def sides():
        return rng.normal(0.2, 1.2, (200, 4)), rng.normal(0, 1, (200, 4))

    fresh = np.std([metric(*sides()) for _ in range(100)], ddof=1)
    assert_allclose(np.mean([spread(metric, sides(), draws=50).sd for _ in range(6)]), fresh, rtol=0.35)


def test_the_same_seed_draws_the_same_rows():
    sides = cloud(50, 0), cloud(50, 1)
    found = [spread(Mean(), sides, draws=20, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_training_rows_stay_as_they_are():
    seen = []

    class Shown(Mean):
        def __call__(self, fake, real, train):
            seen.append(train)
            return super().__call__(fake, real)

    train = cloud(7, 2)
    spread(Shown(), (cloud(9, 0), cloud(9, 1), train), draws=12)
    assert len(seen) == 12
    assert all(rows is train for rows in seen)


def test_time_ends_it_once_some_draws_are_there(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(intervals.time, "monotonic", lambda: next(clock))
    told = []
    sides = cloud(9, 0), cloud(9, 1)
    assert spread(Mean(), sides, draws=100, seconds=0, tell=told.append).draws == LEAST
    assert sum(told) == 100
    assert spread(Mean(), sides, draws=100, seconds=16.5).draws == LEAST + 16
    assert spread(Mean(), sides, draws=30, seconds=1000).draws == 30

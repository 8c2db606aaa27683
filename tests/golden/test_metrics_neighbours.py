"""Neighbours and balls equal the definition to the last bit; realism, nearest-ratio, authenticity by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from gannet.core.errors import DataError
from gannet.metrics import distances, neighbours
from gannet.metrics.manifold import Coverage, Density, Precision, Recall, realism
from gannet.metrics.memorisation import Authenticity, NearestRatio
from gannet.metrics.neighbours import held, nearest, radii


def cloud(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def away(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(torch.from_numpy(a), torch.from_numpy(b), compute_mode=mode).numpy()


X, Y = cloud(0, 61, 6), cloud(1, 83, 6) + 0.3
ROWS = np.random.default_rng(2)
PAIRS = {
    "random": (X, Y),
    "far from the origin": (X + 1e6, Y + 1e6),
    "fine and far": (X * 1e-3 + 1e6, Y * 1e-3 + 1e6),
    "far from each other": (X + 1e6, Y),
    "itself": (Y, Y.copy()),
    "copies": (Y[ROWS.integers(83, size=61)], Y),
    "all twice": (np.repeat(X, 2, axis=0), np.repeat(Y, 3, axis=0)),
    "collapse": (np.tile(Y[3], (61, 1)), Y),
    "collapse, all but": (Y[3] + 1e-9 * X, Y),
    "lattice": (ROWS.integers(0, 3, (61, 6)) * 0.1 + 0.7, ROWS.integers(0, 3, (83, 6)) * 0.1 + 0.7),
    "outlier": (np.concatenate([X, X[:1] + 1e8]), Y),
    "squares overflow": (np.concatenate([X, X[:2] * 1e200]), Y),
    "squares underflow": (X * 1e-170, Y * 1e-170),
    "k + 1 rows": (X[:6], Y[:6]),
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("k", [1, 5])
def test_decisions_are_those_of_differences(pair, k):
    for x, y in (PAIRS[pair], PAIRS[pair][::-1]):
        radius = np.sort(away(y, y), axis=1)[:, k]
        assert_array_equal(radii.function(y, k), radius)
        for edge, inside in ((True, away(x, y) <= radius), (False, away(x, y) < radius)):
            balls, points = held.function(x, y, k, edge)
            assert_array_equal(balls, inside.sum(1))
            assert_array_equal(points, inside.sum(0))


@pytest.mark.parametrize("pair", PAIRS)
def test_nearest_is_that_of_differences(pair):
    x, y = PAIRS[pair]
    distance, place = nearest(x, y, 4)
    assert_array_equal(place, np.argsort(away(x, y), axis=1, kind="stable")[:, :4])
    assert_array_equal(distance, np.take_along_axis(away(x, y), place, axis=1))


@pytest.mark.parametrize("offset", [0, 1e5])
def test_most_pairs_are_decided_without_differences(offset, monkeypatch):
    measured, measure = [], neighbours.measure
    monkeypatch.setattr(neighbours, "measure", lambda a, b: measured.append(a.numel() // 6) or measure(a, b))
    radii.function(Y + offset, 3)
    assert sum(measured) < 83 * 5  # the four nearest, itself included
    held(X + offset, Y + offset, 3, True)
    assert sum(measured) < 83 * 10  # the radii again, and next to nothing


@pytest.mark.parametrize("metric", [Precision(), Recall(), Density(), Coverage()])
def test_rows_have_the_metric_for_mean(metric):
    rows = metric.rows(X, Y)
    assert rows.shape == (len(X) if metric.side == "fake" else len(Y),)
    assert metric(X, Y) == rows.mean()


def test_chunks_do_not_change_a_decision(monkeypatch):
    whole = held.function(X, Y, 3, False), nearest(X, Y, 2)
    monkeypatch.setattr(distances, "ENTRIES", 200)
    for before, after in zip(whole, (held.function(X, Y, 3, False), nearest(X, Y, 2)), strict=True):
        assert_array_equal(before[0], after[0])
        assert_array_equal(before[1], after[1])


def test_results_are_remembered_by_content(monkeypatch):
    asked = []

    @neighbours.remembered
    def total(rows: np.ndarray, k: int) -> float:
        asked.append(k)
        return float(rows.sum() + k)

    rows = X.copy()
    assert total(rows, 1) == total(rows.copy(), 1)
    assert asked == [1]
    assert total(rows, 2) == total(rows, 1) + 1
    assert total(rows.reshape(6, 61), 1) == pytest.approx(total(rows, 1))
    assert asked == [1, 2, 1]
    rows[0, 0] += 1  # changed in place: another argument
    assert total(rows, 1) == pytest.approx(total(X, 1) + 1)
    for k in range(20):
        total(rows, k)
    assert len(total.kept) == neighbours.KEPT
    before = len(asked)
    total(rows, 19)
    total(X, 1)
    assert asked[before:] == [1]  # the newest is there, the oldest is gone


def test_what_is_remembered_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        radii(X, 3)[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        held(X, Y, 3, True)[1][0] = 0


# ------------------------------------------------------------------------------------------------------- realism


def test_realism_by_hand():
    # Radii (k=1) 1, 1, 2, 7: the median is 1.5, so the balls of 3 and 10 are left out.
    real = column(0, 1, 3, 10)
    assert_allclose(realism(column(0.5, 3, -4, 11), real, k=1), [2, 1 / 2, 1 / 4, 1 / 10], rtol=1e-12)
    assert realism(column(1), real, k=1) == [np.inf]
    # A repeated real has radius 0; a copy of it is as real as can be, others take nothing from it.
    assert_allclose(realism(column(0, 3), column(0, 0, 1, 2, 9), k=1), [np.inf, 1], rtol=1e-12)


def test_realism_of_a_fake_in_a_kept_ball_is_at_least_one():
    found = realism(X, Y)
    radius = radii(Y, 3)
    kept = radius <= np.median(radius)
    assert_array_equal(found >= 1, (away(X, Y)[:, kept] <= radius[kept]).any(1))
    assert 0 < (found >= 1).mean() < 1


# -------------------------------------------------------------------------------------------------- memorisation


def test_nearest_ratio_by_hand():
    # Distances to training rows 1, 1, 3; to held-out rows 2, 4, 5.
    assert NearestRatio()(column(1, 9, 23), column(-1, 5, 28), column(0, 10, 20)) == 1 / 4


def test_nearest_ratio_takes_equally_many_of_both():
    fake, real, train = column(1, 2), column(0), column(4, 1, 2)
    assert NearestRatio()(fake, real, train) == 2.5 / 1.5
    assert NearestRatio()(fake, train, real) == 1.5 / 2.5


def test_nearest_ratio_of_new_samples_and_of_copies():
    train, real = cloud(0, 400, 4), cloud(1, 400, 4)
    assert_allclose(NearestRatio()(cloud(2, 400, 4), real, train), 1, atol=0.06)
    assert NearestRatio()(train + 1e-3, real, train) < 0.01
    assert NearestRatio()(train[:200], real, train) == 0
    with pytest.raises(DataError, match="exact copies of held-out rows"):
        NearestRatio()(real, real, train)


def test_authenticity_by_hand():
    train = column(0, 1, 5)  # own nearest at 1, 1, 4
    fake = column(0, -0.9, -1, -1.1, 8.9, 9.1, 6)
    assert Authenticity().rows(fake, column(0), train).tolist() == [0, 0, 0, 1, 0, 1, 0]
    assert Authenticity()(fake, column(0), train) == 2 / 7


def test_copies_are_not_authentic():
    train = np.repeat(cloud(0, 30, 4), 2, axis=0)  # every row twice: its nearest is at 0
    assert Authenticity()(train, cloud(1, 9, 4), train) == 0
    assert Authenticity()(train + 1e-6, cloud(1, 9, 4), train) == 1
    single = train[::2]
    assert Authenticity()(single + 1e-6, cloud(1, 9, 4), single) == 0
    assert_allclose(Authenticity()(cloud(2, 500, 4), cloud(1, 9, 4), cloud(3, 500, 4)), 0.5, atol=0.06)


def test_authenticity_does_not_depend_on_the_order_of_equally_near_rows():
    train = column(0, 2, 0.5)  # 1.25 is .75 from both 2 and 0.5, whose own nearest are 1.5 and .5 away
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        assert Authenticity()(column(1.25), column(0), train[order]) == 1


@pytest.mark.parametrize("metric", [NearestRatio(), Authenticity()])
def test_training_rows_that_cannot_be_compared_are_refused(metric):
    with pytest.raises(DataError, match=r"training rows are \[t, 6\] here; received \[5, 2\]"):
        metric(X, Y, cloud(0, 5, 2))
    bad = Y.copy()
    bad[4, 0] = np.nan
    with pytest.raises(DataError, match="1 of 83 training rows are not finite, first row 4"):
        metric(X, Y, bad)
    least = 2 if isinstance(metric, Authenticity) else 1
    with pytest.raises(DataError, match=f"{least - 1} training samples; this metric needs at least {least}"):
        metric(X, Y, Y[: least - 1])

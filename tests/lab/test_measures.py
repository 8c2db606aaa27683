"""Scores of points: closed forms, mass that is never lost or made up, and a floor that a perfect generator meets."""

import math

import numpy as np
import pytest

from gannet.core.errors import DataError, DivergedError, UsageError
from gannet.core.registry import SOURCES
from gannet.data.drawn import Drawn, strokes
from gannet.data.points import SHAPES
from gannet.lab.measures import Measures, counts, js, kl, sliced

UNIT = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def ring():
    """Eight Gaussians, 1,000 fixed reals of them."""
    return Measures(SOURCES.build("points(name=ring-8, n=30_000)"))


def fresh(name, n, seed=99):
    return SHAPES[name].draw(n, np.random.default_rng(seed))[0]


# -------------------------------------------------------------------------------------------------------- histograms


def test_every_point_is_counted_once_and_outsiders_apart():
    x = np.array(
        [[0.05, 0.05], [0.95, 0.05], [0.05, 0.95], [1.0, 1.0], [0.0, 0.0], [1.1, 0.5], [0.5, -9.0], [5.0, 5.0]]
    )
    found = counts(x, UNIT, bins=10)
    assert found.shape == (101,)
    assert found.sum() == 8
    assert found[[0, 9, 90, 99, 100]].tolist() == [2, 1, 1, 1, 3]
    assert counts(np.array([[-3.0], [3.4], [4.0]]), (-3.5, 3.5), bins=7).tolist() == [1, 0, 0, 0, 0, 0, 1, 1]


def test_divergences_of_known_histograms():
    p, q = np.array([30, 10, 0, 0]), np.array([10, 20, 10, 0])
    smooth_p, smooth_q = [30.5 / 42, 10.5 / 42, 0.5 / 42, 0.5 / 42], [10.5 / 42, 20.5 / 42, 10.5 / 42, 0.5 / 42]
    expected = sum(a * math.log(a / b) for a, b in zip(smooth_p, smooth_q, strict=True))
    assert kl(p, q) == pytest.approx(expected, rel=1e-12)
    m = [0.5, 0.375, 0.125]
    left = 0.75 * math.log(0.75 / m[0]) + 0.25 * math.log(0.25 / m[1])
    right = 0.25 * math.log(0.25 / m[0]) + 0.5 * math.log(0.5 / m[1]) + 0.25 * math.log(0.25 / m[2])
    assert js(p, q) == pytest.approx((left + right) / 2, rel=1e-12)
    assert kl(p, p) == js(p, p) == 0
    assert js(np.array([5, 0]), np.array([0, 9])) == pytest.approx(math.log(2))
    # Of many points nothing is left of the half: plain Σ p log(p/q), in nats.
    plain = 0.75 * math.log(0.75 / 0.25) + 0.25 * math.log(0.25 / 0.75)
    assert kl(np.array([75, 25]) * 10**7, np.array([25, 75]) * 10**7) == pytest.approx(plain, rel=1e-6)


def test_divergences_of_gaussians_approach_their_closed_form():
    rng = np.random.default_rng(0)
    p, q = (counts(rng.normal(mean, 1, (400_000, 1)), (-5.0, 5.0), bins=60) for mean in (0, 0.8))
    assert kl(p, q) == pytest.approx(0.8**2 / 2, rel=0.02)
    assert kl(q, p) == pytest.approx(0.8**2 / 2, rel=0.02)


def test_points_that_leave_the_plane_are_mass_that_counts():
    inside = np.random.default_rng(0).uniform(size=(500, 2))
    gone = inside.copy()
    gone[:250] += 7
    p, q = counts(inside, UNIT), counts(gone, UNIT)
    assert q[-1] == 250
    # Half of q stands where p has nothing: its own share of JS alone is ½ · ½ · log 2.
    assert js(p, q) > 0.25 * math.log(2)
    assert kl(q, p) > 5 * kl(q[:-1], p[:-1])


# ---------------------------------------------------------------------------------------------------------- distances


def test_sliced_distance_of_a_shift_and_on_the_line():
    x = np.random.default_rng(0).normal(size=(700, 2))
    # The mean of |cos| over directions is 2/π.
    assert sliced(x, x + np.array([3.0, 0.0]), directions=256) == pytest.approx(6 / math.pi, rel=1e-3)
    assert sliced(x, x + np.array([0.0, 3.0])) == pytest.approx(6 / math.pi, rel=1e-2)
    assert sliced(x, x) == 0
    assert sliced(x[:, :1], x[:, :1] - 0.25) == pytest.approx(0.25)
    assert sliced(np.array([[0.0], [1.0]]), np.array([[0.5]])) == pytest.approx(0.5)
    one = x[:350]
    assert sliced(np.concatenate([one, one]), one) == pytest.approx(0, abs=1e-12)


# -------------------------------------------------------------------------------------------------------------- bands


def test_a_perfect_generator_lies_in_the_band(ring):
    for n in (1000, 300):
        band = ring.band(n)
        scores = [ring.values(fresh("ring-8", n, seed)) for seed in range(20)]
        for name in ("kl", "reverse_kl", "js", "sliced", "high_quality"):
            low, median, high = band[name]
            assert low <= median <= high
            values = np.array([s[name] for s in scores])
            width = max(high - low, 1e-9)
            assert low - width / 2 <= np.median(values) <= high + width / 2, name
            assert ((values >= low - width) & (values <= high + width)).mean() >= 0.9, name
        assert band["modes"] == (8, 8, 8)
    assert ring.band(300)["js"].median > ring.band(1000)["js"].high
    assert ring.band(300) is ring.band(300)


@pytest.mark.parametrize("kind", ["collapsed", "smeared", "half the modes", "away"])
def test_a_bad_generator_leaves_the_band(ring, kind):
    x = fresh("ring-8", 1000)
    rng = np.random.default_rng(1)
    centres = SHAPES["ring-8"].centres
    bad = {
        "collapsed": centres[:1] + 0.01 * rng.standard_normal((1000, 2)),
        "smeared": x + 0.2 * rng.standard_normal(x.shape),
        "half the modes": centres[rng.integers(4, size=1000)] + 0.01 * rng.standard_normal((1000, 2)),
        "away": x + 5,
    }[kind]
    found, band = ring.values(bad), ring.band(1000)
    for name in ("kl", "reverse_kl", "js", "sliced"):
        assert found[name] > 1.5 * band[name].high, name
    if kind == "half the modes":
        # Nothing is made up, and each of four modes holds twice its share; what is missed costs far more.
        assert found["reverse_kl"] == pytest.approx(math.log(2), abs=0.15)
        assert found["kl"] > 2 * found["reverse_kl"]
    modes = {"collapsed": 1, "half the modes": 4, "away": 0}
    if kind in modes:
        assert found["modes"] == modes[kind]
    assert (found["high_quality"] < 0.1) == (kind in ("smeared", "away"))


def test_scores_of_modes_are_exact(ring):
    centres = SHAPES["ring-8"].centres
    fake = np.concatenate([centres[:3] + np.array([0.0299, 0]), centres[3:4] + np.array([0.0301, 0])])
    found = ring.values(fake)
    assert (found["modes"], found["high_quality"]) == (3, 0.75)


def test_a_report_is_plain_and_complete(ring):
    fake = fresh("ring-8", 200).astype(np.float32)
    fake[:7] = 40
    assert ring.report(fake)["floor"] == {}, "the band has not been scored yet"
    assert [ring.grow(200, 8) for _ in range(3)] == [False, False, True]
    found = ring.report(fake)
    assert (found["modes"], found["of"], found["outside"]) == (8, 8, 7)
    names = {"modes", "high_quality", "kl", "reverse_kl", "js", "sliced"}
    assert set(found["floor"]) == set(found["typical"]) == names
    assert set(found) == names | {"of", "outside", "floor", "typical"}
    for name, (low, high) in found["floor"].items():
        assert low <= found["typical"][name] <= high
        assert {type(v) for v in (low, high, found["typical"][name])} == {float}


def test_sources_without_modes_lines_and_small_drawings_are_measured():
    plain = Measures(SOURCES.build("points(name=ring, n=4000)"))
    assert set(plain.values(fresh("ring", 500))) == {"kl", "reverse_kl", "js", "sliced"}
    line = Measures(SOURCES.build("points(name=mixture-1d, n=4000)"))
    assert line.values(fresh("mixture-1d", 500))["modes"] == 3
    assert line.values(fresh("mixture-1d", 500))["sliced"] < line.band(500)["sliced"].high * 2
    drawn = strokes([[0.0, 0.0], [1.0, 1.0]], n=3000)
    few = Measures(drawn)
    assert len(few.real) == 1000
    assert few.values(np.asarray(drawn.rows[:1000]))["js"] < few.band(1000)["js"].high * 1.5
    tiny = Measures(Drawn([[0.0, 0.0], [1.0, 1.0], [2.0, 1.0]]))
    assert len(tiny.real) == 1
    assert tiny.report(np.zeros((10, 2)))["outside"] == 0


def test_what_cannot_be_measured_is_refused(ring):
    fake = fresh("ring-8", 50)
    fake[3, 1] = np.nan
    with pytest.raises(DivergedError, match="1 of 50 generated rows are not finite, first row 3"):
        ring.values(fake)
    with pytest.raises(DataError):
        ring.values(np.zeros((5, 3)))
    with pytest.raises(DataError, match="at least 1"):
        ring.report(np.zeros((0, 2)))
    with pytest.raises(UsageError, match="1 or 2 coordinates"):
        Measures(SOURCES.build("digits"))


def test_the_same_source_gives_the_same_scores(ring):
    again = Measures(SOURCES.build("points(name=ring-8, n=30_000)"))
    x = fresh("ring-8", 100)
    assert again.values(x) == ring.values(x)
    assert again.band(100) == ring.band(100)

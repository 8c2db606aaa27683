"""What every registered metric keeps, and the evaluator."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from gannet.core.errors import DataError, DivergedError, UsageError
from gannet.core.registry import METRICS, SOURCES
from gannet.core.types import DataSpec, Field, Source
from gannet.metrics.classifiers import DigitsClassifier
from gannet.metrics.evaluator import CHUNK, Evaluator, TooFewRows

CORNERS = SimpleNamespace(centres=np.array([[0.2, 0.8], [0.8, 0.2]]), sigma=0.1, spec=DataSpec({"x": Field((1, 1, 2))}))
SMALL = {"kernel-subsets": "kernel-subsets(size=20)"}
"""Metrics that want more rows by default than a test has."""


def build(name: str):
    context = [CORNERS] if METRICS.get(name).wants_source else []
    return METRICS.build(SMALL.get(name, name), *context)


def value_of(metric, fake: np.ndarray, real: np.ndarray) -> float:
    return metric(fake, real, shares(2, len(real))) if metric.wants_train else metric(fake, real)


def shares(seed: int, n: int) -> np.ndarray:
    """Rows that any metric can read: points of the plane that are probabilities of two classes and images of 1 × 2."""
    p = np.random.default_rng(seed).uniform(0.05, 0.95, n)
    return np.stack([p, 1 - p], axis=1)


# ------------------------------------------------------------------------------------------------- every metric


@pytest.mark.parametrize("name", METRICS.names())
def test_metric_contract(name):
    part, metric = METRICS.get(name), build(name)
    assert part.reads in ("features", "probabilities", "samples", "steps")
    assert part.better in ("lower", "higher")
    assert inspect.getdoc(part)
    fake, real = shares(0, 40), shares(1, 60)
    kept = fake.copy(), real.copy()
    value = value_of(metric, fake, real)
    assert isinstance(value, float)
    assert np.isfinite(value)
    assert value_of(metric, fake, real) == value
    assert np.array_equal(fake, kept[0])
    assert np.array_equal(real, kept[1])
    single = value_of(metric, fake.astype(np.float32), real.astype(np.float32))
    assert_allclose(single, value, rtol=1e-4, atol=1e-5)
    if name != "kernel-subsets":  # which draws by place; otherwise a set has no order
        turned = value_of(metric, fake[::-1], real[np.random.default_rng(0).permutation(60)])
        assert_allclose(turned, value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in METRICS.names() if hasattr(METRICS.get(name), "rows")])
def test_rows_have_the_value_for_mean(name):
    metric, fake, real = build(name), shares(0, 40), shares(1, 60)
    rows = metric.rows(fake, real, *[shares(2, 60)] * metric.wants_train)
    assert rows.dtype == np.float64
    assert rows.shape == ({"fake": 40, "real": 60}[metric.side],)
    assert rows.mean() == value_of(metric, fake, real)


@pytest.mark.parametrize("name", METRICS.names())
def test_metric_direction(name):
    """Samples of the real distribution are scored better than one extreme sample repeated, or what else is bad."""
    metric, real = build(name), shares(1, 200)
    good = value_of(metric, shares(0, 200), real)
    sign = 1 if metric.better == "higher" else -1
    if name in ("precision", "density", "high-quality"):  # fidelity: collapse is not its business, wrong places are
        bad = shares(0, 200) + 3
    elif metric.wants_train:
        bad = shares(2, 200)  # the training rows themselves
    else:
        bad = np.tile(real[[real[:, 0].argmax()]], (200, 1))
    assert sign * good > sign * value_of(metric, bad, real)


@pytest.mark.parametrize("name", METRICS.names())
def test_metric_can_be_taken_of_as_few_rows_as_it_says(name):
    metric = build(name)
    assert np.isfinite(value_of(metric, shares(0, metric.needs_rows), shares(1, metric.needs_rows)))
    if metric.needs_rows > 1 and name != "reverse-kl":  # whose number is what makes an empty mode unlikely
        less = metric.needs_rows - 1
        with pytest.raises(DataError, match=f"needs at least {metric.needs_rows}"):
            value_of(metric, shares(0, less), shares(1, less))


@pytest.mark.parametrize("name", METRICS.names())
def test_metric_refuses_non_finite_samples(name):
    bad = shares(0, 40)
    bad[7, 0] = np.inf
    with pytest.raises(DivergedError, match="first row 7"):
        value_of(build(name), bad, shares(1, 40))


# ---------------------------------------------------------------------------------------------------- evaluator


@pytest.fixture(scope="module")
def digits():
    return SOURCES.build("digits")


class Rows:
    def __init__(self, x: torch.Tensor):
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def take(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"x": self.x[indices]}


class Toy(Source):
    """Unregistered points in [−1, 1]²; every row is unique and names its split."""

    def __init__(self, train: int = 60, test: int = 20):
        self.spec = DataSpec({"x": Field((2,), kind="points", range=(-1.0, 1.0))})
        draw = torch.Generator().manual_seed(0)
        self.rows = {
            "train": Rows(torch.rand(train, 2, generator=draw)),
            "test": Rows(-torch.rand(test, 2, generator=draw)),
        }

    def split(self, name: str) -> Rows:
        return self.rows[name]

    def fingerprint(self) -> str:
        return "0123456789abcdef"


def uniform(count: int, start: int) -> torch.Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(start))


def test_scores_of_digits_have_their_protocol(digits):
    evaluator = Evaluator(digits)
    assert evaluator.n == 297
    assert evaluator.primary == "fd[digits-classifier]"
    assert evaluator.better == "lower"
    digest, data = DigitsClassifier((1, 8, 8)).sha256[:8], digits.fingerprint()[:8]
    assert (
        evaluator.protocol["fd[digits-classifier]"]
        == f"fd[digits-classifier@{digest},8x8,n=297|digits@{data}:test,seed=0]"
    )
    assert evaluator.protocol["precision"].startswith("precision(k=3)[digits-classifier@")
    scores = evaluator.score(lambda count, start: digits.split("train").take(torch.arange(start, start + count))["x"])
    assert list(scores) == list(evaluator.protocol)
    noise = evaluator.score(lambda count, start: uniform(count * 32, start).view(count, 1, 8, 8) * 2 - 1)
    floor = evaluator.floor()
    key = evaluator.primary
    assert 0 < scores[key] < 2 * floor[key] < 20 < noise[key]
    assert scores["recall"] > 0.8 > 0.5 > noise["recall"]
    assert abs(floor["kd[digits-classifier]"]) < 2 < noise["kd[digits-classifier]"]


def test_default_extractor_and_metrics_follow_the_data(digits):
    assert Evaluator(SOURCES.build("digits(size=12)")).extractor.name == "random-conv"
    assert Evaluator(SOURCES.build("digits(labels=[3, 5])")).extractor.name == "digits-classifier"
    toy = Evaluator(Toy())
    assert toy.extractor.name == "pixels"
    assert toy.primary == "js"
    assert Evaluator(SOURCES.build("points(name=gaussians)")).primary == "js"
    assert toy.protocol["sliced-wasserstein"] == (
        "sliced-wasserstein(directions=256, seed=0)[samples,n=20|Toy@01234567:test,seed=0]"
    )
    assert toy.protocol["recall"] == "recall(k=3)[pixels,2,n=20|Toy@01234567:test,seed=0]"


def test_modes_are_counted_on_points_that_know_them():
    ring = SOURCES.build("points(name=ring-8)")
    floor = Evaluator(ring, n=1000).floor()
    assert floor["modes-covered"] == 8
    assert_allclose(floor["high-quality"], 1 - np.exp(-4.5), atol=0.01)
    one = torch.as_tensor(ring.centres[0], dtype=torch.float32)
    collapsed = Evaluator(ring, n=1000).score(lambda count, start: one.expand(count, 2))
    assert collapsed["modes-covered"] == 1
    assert collapsed["high-quality"] == 1
    assert_allclose(collapsed["reverse-kl"], np.log(8), atol=0.2)


def test_what_lies_between_the_modes_of_points_is_seen_by_the_primary_metric():
    """One sample of five on the way from a mode to the next, all modes equally often: no more than the floor of a
    transport distance, which is ruled by how many samples fall into which mode, and many floors of a divergence."""
    ring = SOURCES.build("points(name=ring-8)")
    centres = torch.as_tensor(ring.centres, dtype=torch.float32)

    def bridged(count, start):
        draw = torch.Generator().manual_seed(start)
        k = torch.arange(count) % 8
        way = torch.rand(count, 1, generator=draw) * (torch.arange(count) % 40 < 8)[:, None]
        x = centres[k] + way * (centres[(k + 1) % 8] - centres[k])
        return x + 0.01 * torch.randn(count, 2, generator=draw)

    judge = Evaluator(ring, n=1000)
    floor, scores = judge.floor(), judge.score(bridged)
    assert scores["sliced-wasserstein"] < 1.2 * floor["sliced-wasserstein"]
    assert scores[judge.primary] > 10 * floor[judge.primary]


def test_samples_are_asked_for_once_in_order_and_the_reference_is_kept(monkeypatch):
    n = 2 * CHUNK + 30
    evaluator, asked, judged = Evaluator(Toy(test=n, train=n), metrics=["frechet", "kernel", "recall"]), [], []
    features = evaluator.extractor.features
    monkeypatch.setattr(evaluator.extractor, "features", lambda x: judged.append(len(x)) or features(x))

    def generate(count, start):
        asked.append((count, start))
        return uniform(count, start)

    first = evaluator.score(generate)
    assert asked == [(CHUNK, 0), (CHUNK, CHUNK), (30, 2 * CHUNK)]
    assert judged == 2 * [CHUNK, CHUNK, 30]  # fakes and reals, each once for three metrics
    assert evaluator.score(generate) == first
    assert len(judged) == 9  # the second score judged no real


class Recording:
    """Keeps the two sides a metric was given."""

    reads = "features"

    def __call__(self, fake: np.ndarray, real: np.ndarray) -> float:
        self.fake, self.real = fake, real
        return 1.0


@pytest.mark.parametrize(("split", "n"), [("train", 30), ("test", 20)])
def test_floor_compares_with_other_training_rows(split, n):
    evaluator, seen = Evaluator(Toy(train=60), split, metrics=["frechet"]), Recording()
    evaluator.metrics = {evaluator.primary: seen}
    evaluator.floor()
    assert evaluator.n == len(seen.fake) == len(seen.real) == n
    assert (seen.fake > 0).all()  # training rows are positive
    assert (seen.real > 0).all() == (split == "train")
    assert not {tuple(row) for row in seen.fake} & {tuple(row) for row in seen.real}


def test_floor_without_rows_left_says_what_would_do():
    with pytest.raises(
        DataError, match=r"n=40 needs as many rows that are not in the reference, 20 are left. Use n=30"
    ):
        Evaluator(Toy(train=60), "train", n=40).floor()
    with pytest.raises(DataError, match=r"5 are left. Use n=5"):
        Evaluator(Toy(train=5), "test", n=20).floor()


def test_labels_are_those_of_the_reference_rows_in_their_order(digits):
    evaluator = Evaluator(digits, split="train", n=600)
    labels = evaluator.labels()
    assert labels.shape == (600,)
    # Reals with these labels, drawn class by class, have the mix of the reference to the last sample.
    split = digits.split("train")
    everyone = split.take(torch.arange(len(split)))
    x, y = everyone["x"], everyone["y"]
    rows = torch.cat([(y == c).nonzero().flatten()[: int((labels == c).sum())] for c in range(10)])
    assert torch.equal(y[rows].bincount(), labels.bincount())
    # And the reference itself is what they label.
    order = evaluator._order("train")[:600]
    assert torch.equal(labels, y[order])
    assert evaluator.score(lambda count, start: x[order[start : start + count]])[evaluator.primary] < 1e-6
    assert Evaluator(Toy()).labels() is None


def test_default_metrics_are_those_the_rows_suffice_for(digits):
    def names(**options):
        return [key.partition("[")[0] for key in Evaluator(digits, split="train", **options).metrics]

    assert names() == ["fd", "kd", "precision", "recall", "density", "coverage"]
    assert names(n=5) == ["fd", "kd", "precision", "recall"]  # balls of three neighbours, not of five
    assert names(n=3) == ["fd", "kd"]
    assert Evaluator(SOURCES.build("digits(limit=7)"), split="train").n == 3
    with pytest.raises(TooFewRows, match="n=1 samples a side are too few for any metric; the first is taken of 2"):
        Evaluator(digits, n=1)
    few = Evaluator(digits, split="train", n=3)
    assert few.score(lambda count, start: torch.rand(count, 1, 8, 8)).keys() == few.metrics.keys()
    # On points there is always one.
    ring = Evaluator(SOURCES.build("points(name=ring-8)"), n=1)
    assert list(ring.metrics) == ["js", "sliced-wasserstein", "modes-covered", "high-quality"]


def test_a_metric_asked_for_that_the_rows_do_not_suffice_for_is_refused(digits):
    with pytest.raises(
        UsageError, match=r"precision\(k=5\) needs 6 samples a side or more, n=4. Use n=6 or more"
    ) as caught:
        Evaluator(digits, metrics=["frechet", "precision(k=5)"], n=4)
    assert not isinstance(caught.value, TooFewRows)
    Evaluator(digits, metrics=["frechet", "precision(k=5)"], n=6)
    with pytest.raises(UsageError, match="reverse-kl needs 73 samples"):
        Evaluator(SOURCES.build("points(name=ring-8)"), metrics=["reverse-kl"], n=72)


def test_reference_rows_follow_the_seed():
    values = [Evaluator(Toy(test=200), metrics=["frechet"], n=50, seed=seed).score(uniform) for seed in (0, 0, 1)]
    assert values[0] == values[1]
    assert values[0] != values[2]
    # Here the reference is the whole test split, so only the floor's training rows can follow the seed.
    floors = [Evaluator(Toy(), metrics=["frechet"], seed=seed).floor() for seed in (0, 0, 1)]
    assert floors[0] == floors[1]
    assert floors[0] != floors[2]


def test_samples_are_measured_within_the_range_of_the_field():
    evaluator = Evaluator(Toy(), metrics=["frechet"])
    assert evaluator.score(lambda c, s: 3 * uniform(c, s)) == evaluator.score(
        lambda c, s: (3 * uniform(c, s)).clamp(-1, 1)
    )


def test_bad_samples_give_an_error_and_no_number():
    evaluator = Evaluator(Toy(test=CHUNK + 20, train=CHUNK + 20), metrics=["frechet"])

    def broken(count, start):
        x = uniform(count, start)
        if start:
            x[3, 1] = float("nan")
        return x

    with pytest.raises(
        DivergedError, match=f"1 of 20 generated samples are not finite, the first is number {CHUNK + 3}"
    ):
        evaluator.score(broken)
    with pytest.raises(DataError, match=r"asked for \[250, 2\] samples, the generator gave \[250, 3\]"):
        evaluator.score(lambda count, start: torch.zeros(count, 3))


def test_evaluator_refuses_what_cannot_be_measured(digits):
    with pytest.raises(UsageError, match="n=500; digits:test has 297 rows"):
        Evaluator(digits, n=500)
    with pytest.raises(UsageError, match="n=0"):
        Evaluator(digits, n=0)
    with pytest.raises(UsageError, match="random-conv has no classes"):
        Evaluator(digits, extractor="random-conv", metrics=["class-kl"])
    with pytest.raises(UsageError, match="does not know its modes"):
        Evaluator(digits, metrics=["modes-covered"])
    with pytest.raises(UsageError, match="Did you mean: precision"):
        Evaluator(digits, metrics=["precison"])
    with pytest.raises(UsageError, match="reads 1×8×8"):
        Evaluator(Toy(), extractor="digits-classifier")
    assert Evaluator(digits, metrics=["class-kl"]).floor()["class-kl"] < 0.1


def test_options_show_in_the_name(digits):
    evaluator = Evaluator(digits, metrics=["precision(k=5)", "precision"])
    assert list(evaluator.metrics) == ["precision(k=5)", "precision"]
    assert evaluator.protocol["precision(k=5)"].startswith("precision(k=5)[")

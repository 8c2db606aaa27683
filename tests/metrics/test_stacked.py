"""Modes counted by a classifier: by hand, at their extremes, and on the digits themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from gannet.core.errors import DataError, DivergedError
from gannet.core.registry import METRICS, SOURCES
from gannet.metrics.classifiers import MnistClassifier
from gannet.metrics.evaluator import Evaluator
from gannet.metrics.stacked import class_counts, divergence_of_counts, modes_hit

MODES, KL = METRICS.build("stacked-modes"), METRICS.build("stacked-kl")


def sure(classes: list[int], of: int) -> np.ndarray:
    """Rows that lean to a class each, none of them quite."""
    rows = np.full((len(classes), of), 0.4 / (of - 1))
    rows[np.arange(len(classes)), classes] = 0.6
    return rows


def test_a_histogram_by_hand():
    rows = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.0, 0.9, 0.1]])
    assert class_counts(rows).tolist() == [0, 2, 1]
    assert class_counts(sure([3, 3], 5)).tolist() == [0, 0, 0, 2, 0], "classes without a sample keep their place"


def test_modes_are_classes_with_a_sample():
    real = sure([0], 5)
    assert MODES(sure([0, 0, 4, 2, 4], 5), real) == 3
    assert MODES(sure([1] * 9, 5), real) == 1
    assert MODES(sure(list(range(1000)), 1000), sure([0], 1000)) == 1000
    assert modes_hit(np.array([0, 7, 0, 1])) == 2


def test_the_divergence_by_hand():
    fake, real = sure([0, 0, 0, 1], 3), sure([0, 1, 2, 2], 3)
    assert_allclose(KL(fake, real), 0.75 * math.log(0.75 / 0.25) + 0.25 * math.log(0.25 / 0.25), rtol=1e-12)
    assert_allclose(KL(real[:2], real), 0.5 * math.log(2) * 2, rtol=1e-12)
    assert KL(real, real[::-1]) == 0


def test_the_divergence_counts_samples_and_not_probabilities():
    """A classifier's doubt is no part of it: that is `class-kl`, which sees these two as alike and far apart."""
    doubtful, certain = sure([0, 1, 2], 3), np.eye(3)
    assert KL(doubtful, certain) == 0
    leaning = np.array([[0.34, 0.33, 0.33]] * 3)
    assert_allclose(KL(leaning, certain), math.log(3), rtol=1e-12)
    assert METRICS.build("class-kl")(leaning, certain) < 1e-3


def test_one_class_of_a_thousand_is_log_1000():
    even = np.ones(1000)
    assert_allclose(divergence_of_counts(np.eye(1000)[17] * 26_000, even), math.log(1000), rtol=1e-12)
    assert divergence_of_counts(even * 26, even) == 0


def test_equal_distributions_give_the_floor_it_says():
    """classes/2 · (1/n + 1/m), here 2 · 50/4000 = .025 for 100 classes."""
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        counts = [np.bincount(rng.integers(100, size=4000), minlength=100) for _ in range(2)]
        found.append(divergence_of_counts(*counts))
    assert_allclose(np.mean(found), 99 / 2 * (2 / 4000), rtol=0.08)


def test_a_class_without_a_real_is_refused():
    with pytest.raises(DataError, match=r"no reference sample is of class 2: 2 are too few\. Raise n\."):
        KL(sure([0, 2], 4), sure([0, 1], 4))
    assert math.isfinite(KL(sure([0], 4), sure([0, 1], 4))), "a class without a fake is what it measures"


def test_what_is_no_number_is_refused():
    bad = sure([0, 1], 3)
    bad[1, 1] = np.nan
    for metric in (MODES, KL):
        with pytest.raises(DivergedError, match="first row 1"):
            metric(bad, sure([0], 3))


def test_the_classes_of_real_digits_are_their_labels(shared_data):
    """The joint class is the three digits' own, so its argmax agrees with the labels as often as all three do."""
    shared_data("mnist")
    rows = SOURCES.build("stacked-mnist").split("test").take(torch.arange(300))
    with torch.no_grad():
        probabilities = MnistClassifier((3, 28, 28)).probabilities(rows["x"]).numpy()
    assert (probabilities.argmax(1) == rows["y"].numpy()).mean() > 0.95
    assert modes_hit(class_counts(probabilities)) == pytest.approx(len(rows["y"].unique()), abs=5)


def test_the_evaluator_takes_them_with_the_classifier_of_mnist(shared_data):
    shared_data("mnist")
    judge = Evaluator(SOURCES.build("stacked-mnist"), metrics=["stacked-modes"], n=40)
    assert judge.protocol["stacked-modes"].startswith("stacked-modes[mnist-classifier@")
    one = judge.source.split("test").take(torch.zeros(1, dtype=torch.long))["x"]
    assert judge.score(lambda count, start: one.expand(count, *one.shape[1:])) == {"stacked-modes": 1}
    assert 36 <= judge.floor()["stacked-modes"] <= 40

"""The race of R3GAN's steps: both sides take the same step, by whatever weight and rate the preset has now."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from gannet.core.overrides import resolve
from gannet.core.spec import Spec
from gannet.data.array import ArraySource

BENCH = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "penalties.py"))


def test_both_sides_take_the_same_step():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 32), dtype=np.uint8)
    assert BENCH["same_gradients"](ArraySource.from_arrays(pixels)) < BENCH["EQUAL"]


@pytest.mark.parametrize("estimator", BENCH["ESTIMATORS"])
@pytest.mark.parametrize("rows", BENCH["ROWS"].values())
def test_an_estimator_is_all_that_differs_from_the_preset(estimator, rows):
    raced = resolve("r3gan", BENCH["penalties"](estimator, rows)).experiment.regularizers
    for name, usual in resolve("r3gan").experiment.regularizers.items():
        assert raced[name].args == {**usual.args, "estimator": Spec(estimator), **rows}

"""The failures of docs/why-gans-fail.md: every case is two commands that work and differ by the remedy alone."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from PIL import Image

from gannet import api
from gannet.core.overrides import resolve


@pytest.fixture(scope="module")
def failures(root):
    spec = importlib.util.spec_from_file_location("failures", root / "tools" / "failures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["failures"] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    yield module
    del sys.modules["failures"]


NAMES = ["vanishing", "collapse", "oscillation", "memorisation", "overfitting", "checkerboard"]


def test_every_failure_has_its_picture_in_the_page(failures, root):
    assert list(failures.CASES) == NAMES
    page = (root / "docs" / "why-gans-fail.md").read_text(encoding="utf-8")
    assert [
        line.split("fails-")[1].split(".png")[0] for line in page.splitlines() if "](images/fails-" in line
    ] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_remedy_changes_the_experiment_and_nothing_else(name, failures):
    case = failures.CASES[name]
    ill, well = (resolve(case.preset, {**case.provoked, **more}).experiment for more in ({}, case.remedy))
    assert ill.canonical() != well.canonical()
    assert (ill.data, ill.stop, ill.seed, ill.batch) == (well.data, well.stop, well.seed, well.batch)


def test_a_case_is_drawn_from_its_runs_and_trained_once(failures, tiny, tmp_path, capsys, monkeypatch):
    case = failures.Case("gan", {**tiny("gan"), "evaluate.metrics": None, "evaluate.n": 32}, {"seed": 1}, "spread")
    picture = failures.show("small", case, tmp_path)
    assert isinstance(picture, Image.Image)
    assert np.asarray(picture.convert("L")).std() > 5
    said = capsys.readouterr().out
    assert "mended: gannet train gan" in said
    assert "spread: first tenth" in said
    monkeypatch.setattr(api, "train", None)
    assert failures.show("small", case, tmp_path).size == picture.size

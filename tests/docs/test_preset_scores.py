"""What a preset's header says of its score is what the results page's cells say."""

from __future__ import annotations

import importlib.util

import pytest

from gannet import bench
from gannet.bench_cell import Cell, Key, Record, Result, Scores
from gannet.core.presets import preset_text


@pytest.fixture(scope="module")
def scores(root):
    spec = importlib.util.spec_from_file_location("preset_scores", root / "tools" / "preset_scores.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(seed: int, last: float | None, data: str = "digits") -> Record:
    key = Key(experiment="e", networks="w", data="d", gannet="0", protocol={"fd[f]": "p"})
    result = None
    if last is not None:
        found = [Scores(distance=d, precision=0.5, recall=0.25) for d in (last, last - 1, 1.5)]
        result = Result(
            metric="fd[f]", last=found[0], best=found[1], floor=found[2], samples=9, best_at=9, seconds=60,
            images_per_second=1, parameters={}, alarms=[], standing=[],
        )  # fmt: skip
    return Record(
        cell=Cell(data=data, preset="gan", seconds=60, seed=seed), key=key, machine="m", exit=0 if result else 5,
        outcome="finished" if result else "diverged", words="", wall=61, result=result,
    )  # fmt: skip


def test_the_line_has_last_best_reals_and_the_seeds(scores):
    assert scores.line([record(0, 4.0)]) == (
        "#   digits, 60 s alone on 2 CPU cores, seed 0: fd[f] last 4, best 3 (reals 1.5)\n"
    )
    assert scores.line([record(0, 4.0), record(2, 6.0), record(5, None)]).endswith(
        "seeds 0, 2, 5: 1 of 3 diverged; fd[f] last 5 ± 1.4, best 4 ± 1.4 (reals 1.5)\n"
    )
    assert scores.line([record(1, None)]).endswith("seed 1: diverged\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# A.\n# Last score: not measured yet\nbatch: 8\n", "# A.\n# Last score:\nLINEbatch: 8\n"),
        ("# Last score, one seed:\n#   digits, old\n#   MNIST, 1\n", "# Last score, one seed:\nLINE#   MNIST, 1\n"),
        ("# Last score, one seed:\n#   MNIST, 1\nbatch: 8\n", "# Last score, one seed:\nLINE#   MNIST, 1\nbatch: 8\n"),
    ],
)
def test_the_line_takes_its_place(scores, before, after):
    records = [record(0, 4.0)]
    once = scores.written(before, records)
    assert once == after.replace("LINE", scores.line(records))
    assert scores.written(once, records) == once
    assert scores.written(before, []) == before


def test_mnist_comes_after_digits_whichever_is_measured_first(scores):
    digits, mnist = [record(0, 4.0)], [record(0, 7.0, "mnist")]
    text = "# Last score:\n#   elsewhere, 1\nbatch: 8\n"
    both = f"# Last score:\n{scores.line(digits)}{scores.line(mnist)}#   elsewhere, 1\nbatch: 8\n"
    assert scores.written(scores.written(text, digits), mnist) == both
    assert scores.written(scores.written(text, mnist), digits) == both
    assert scores.written(both, digits) == both == scores.written(both, mnist)


@pytest.mark.parametrize("preset", bench.image_presets())
@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_a_preset_says_what_was_measured_of_it(scores, data, preset, shared_data):
    if data != "digits":  # whose rows are in the package; whether a cell is stale is known with the data alone
        shared_data(data)
    text = preset_text(preset)
    said = scores.written(text, scores.fresh(preset, data))
    assert said == text, "python tools/preset_scores.py writes what is measured"

"""The results page: which cells are measured, when they are measured again, and how the page shows them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gannet import bench, bench_cell
from gannet.bench_cell import Cell, Key, Record, Result, Scores
from gannet.bench_page import Entry, render
from gannet.core.errors import DataError, UsageError

CHOSEN = {"presets": ["quick", "gan"], "data": ["digits"], "seconds": [1], "seeds": [0]}
MACHINE = "A processor, 2 processors, 1 threads, PyTorch 0"


def cell(preset: str = "quick", seed: int = 0, seconds: int = 60, data: str = "digits") -> Cell:
    return Cell(data=data, preset=preset, seconds=seconds, seed=seed)


def record(of: Cell, last: float = 4.0, key: Key | None = None, outcome: str = "finished", words: str = "") -> Record:
    """A measured cell whose numbers follow from `last`."""
    key = key or Key(
        experiment="e", networks="w", data="d", gannet="0", protocol={"fd[f]": "fd[f@1,n=9|digits@2:test,seed=0]"}
    )
    result = Result(
        metric=next(iter(key.protocol)),
        last=Scores(distance=last, precision=0.5, recall=0.25),
        best=Scores(distance=last - 1, precision=0.5, recall=0.25),
        floor=Scores(distance=1.5, precision=0.9, recall=0.9),
        samples=640,
        best_at=320,
        seconds=59.5,
        images_per_second=1234.5,
        parameters={"generator": 1000, "discriminator": 500},
        alarms=[],
        standing=["collapse"] if last > 9 else [],
    )
    codes = {"finished": 0, "diverged": 5, "failed": 6}
    facts = {"cell": of, "key": key, "machine": MACHINE, "outcome": outcome, "exit": codes[outcome], "words": words}
    return Record.model_validate({**facts, "wall": 61.0, "result": result if outcome == "finished" else None})


class Measured:
    """Stands in for training: remembers which cells it was asked for, and ends as it is told."""

    def __init__(self, outcome: str = "finished"):
        self.outcome, self.asked = outcome, []

    def __call__(self, of: Cell, key: Key):
        self.asked.append(of.preset)
        return record(of, key=key, outcome=self.outcome), b"picture" if self.outcome == "finished" else None


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "results.md"


# ----------------------------------------------------------------------------------------------------------- the plan


def test_the_most_useful_cells_come_first():
    plan = bench.plan(["quick", "gan"], ["digits", "mnist"], [60, 180], [0, 1])
    assert [c.name for c in plan[:5]] == [
        "digits-quick-60s-seed0",
        "digits-gan-60s-seed0",
        "mnist-quick-60s-seed0",
        "mnist-gan-60s-seed0",
        "digits-quick-60s-seed1",
    ]
    assert len(plan) == len(set(plan)) == 16
    assert plan[8] == cell("quick", seconds=180)


def test_presets_of_images_are_those_that_take_any():
    found = bench.image_presets()
    assert {"quick", "dcgan", "wgan-gp"} <= set(found)
    assert not {"points", "pix2pix-mini", "cycle-mini"} & set(found)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"presets": ["quik"]}, "Did you mean: quick"),
        ({"presets": ["points"]}, "unknown preset of images 'points'"),
        ({"data": ["../x"]}, "unknown data source"),
        ({"seconds": [481]}, "seconds=481 is out of range. Allowed: 1 to 480"),
        ({"seeds": [-1]}, "seeds=-1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        bench.plan(**wrong)


# --------------------------------------------------------------------------------------- skipped, stale, failed, ended


def test_what_is_measured_is_not_measured_again(out):
    first, again = Measured(), Measured()
    assert bench.results(**CHOSEN, out=out, measure=first) == out
    before = out.read_bytes()
    bench.results(**CHOSEN, out=out, measure=again)
    assert (first.asked, again.asked) == (["quick", "gan"], [])
    assert out.read_bytes() == before
    assert (out.parent / "results/grids/digits-gan-1s-seed0.png").read_bytes() == b"picture"


@pytest.mark.parametrize("part", ["experiment", "networks", "data", "gannet"])
def test_a_cell_of_another_key_is_stale_and_measured_again(out, part):
    bench.results(**CHOSEN, out=out, measure=Measured())
    path = out.parent / "results/cells/digits-gan-1s-seed0.json"
    kept = json.loads(path.read_text())
    kept["key"][part] = "another"
    path.write_text(json.dumps(kept))
    bench.page(out)
    assert "| stale |" in out.read_text()
    again = Measured()
    bench.results(**CHOSEN, out=out, measure=again)
    assert again.asked == ["gan"]
    assert "| stale |" not in out.read_text()


def test_a_key_knows_what_the_auto_pilot_plans(monkeypatch):
    def now(preset):
        bench._hashes.cache_clear()
        return bench.key(cell(preset))

    auto, quick = now("auto"), now("quick")
    monkeypatch.setattr("gannet.autopilot.penalty", lambda seen: 3.0)
    assert (now("auto") == auto, now("quick") == quick) == (False, True)


@pytest.mark.parametrize(("outcome", "again"), [("failed", ["quick", "gan"]), ("diverged", [])])
def test_a_failure_is_tried_again_and_a_divergence_is_a_result(out, outcome, again):
    bench.results(**CHOSEN, out=out, measure=Measured(outcome))
    assert f"{outcome}; exit" in out.read_text()
    following = Measured()
    bench.results(**CHOSEN, out=out, measure=following)
    assert following.asked == again


def test_an_interruption_costs_the_cell_it_came_in(out):
    class Interrupted(Measured):
        def __call__(self, of, key):
            if of.preset == "gan":
                raise KeyboardInterrupt
            return super().__call__(of, key)

    with pytest.raises(KeyboardInterrupt):
        bench.results(**CHOSEN, out=out, measure=Interrupted())
    assert "| 1 of 1 |" in out.read_text()
    following = Measured()
    bench.results(**CHOSEN, out=out, measure=following)
    assert following.asked == ["gan"]


@pytest.mark.parametrize(("minutes", "asked", "left"), [(0.01, [], "2 of 2"), (60, ["quick", "gan"], None)])
def test_no_training_starts_that_the_budget_cannot_hold(out, minutes, asked, left):
    said, measured = [], Measured()
    bench.results(**CHOSEN, out=out, minutes=minutes, measure=measured, tell=said.append)
    assert measured.asked == asked
    assert any(f"{left} cells are left" in line for line in said) == (left is not None)
    assert out.exists()


def test_two_do_not_measure_at_once(out):
    def nested(of, key):
        with pytest.raises(UsageError, match="one at a time"):
            bench.results(**CHOSEN, out=out, measure=Measured())
        return record(of, key=key), None

    bench.results(**{**CHOSEN, "presets": ["gan"]}, out=out, measure=nested)


# ----------------------------------------------------------------------------------------------------- damaged records


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda t: t[:40], "line"),
        (lambda t: "[" * 50_000, ""),
        (lambda t: t + " " * 200_000, "at most 100,000"),
        (lambda t: "\x00", ""),
        (lambda t: t.replace("4.0", "NaN"), "NaN is no number"),
        (lambda t: t.replace('"seed": 0', '"seed": 1'), "it holds the cell digits-gan-1s-seed1"),
        (lambda t: t.replace('"gan"', '"../gan"'), "cell.preset"),
        (lambda t: t.replace('"outcome": "finished"', '"outcome": "failed"'), "a finished cell has a result"),
        (lambda t: t.replace('"metric": "fd[f]"', '"metric": "fd[g]"'), "no protocol"),
        (lambda t: t.replace('"words"', '"wrods"'), "words: Field required"),
    ],
)
def test_a_damaged_cell_is_named(out, damage, said):
    path = out.parent / "results/cells/digits-gan-1s-seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text(damage(bench_cell.text(record(cell("gan", seconds=1)))))
    with pytest.raises(DataError) as caught:
        bench.page(out)
    assert str(caught.value).startswith(f"{path} is no cell: ")
    assert said in str(caught.value)


def test_a_cell_of_a_preset_that_is_gone_is_named(out):
    path = out.parent / "results/cells/digits-gone-1s-seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text(bench_cell.text(record(cell("gone", seconds=1))))
    with pytest.raises(DataError, match=r"digits-gone-1s-seed0\.json: unknown preset 'gone'"):
        bench.page(out)


def test_what_is_written_is_what_is_read(tmp_path):
    written = record(cell(), last=0.1 + 0.2)
    path = tmp_path / f"{cell().name}.json"
    path.write_text(bench_cell.text(written))
    assert bench_cell.read(path, bench_cell.Record) == written


# ------------------------------------------------------------------------------------------------------------ the page

GOLDEN = """\
## digits, 60 seconds

Protocol: `fd[f@1,n=9|digits@2:test,seed=0]`.

| preset | last | best | floor | precision | recall | images/s | parameters | alarms | seeds | samples |
|---|---|---|---|---|---|---|---|---|---|---|
| quick | 5.00 ± 1.41 | 4.00 ± 1.41 | 1.50 | 0.50 | 0.25 | 1,234 | 1,500 | none | 2 of 3; 1 not run | ![quick on digits, 60 s](g/digits-quick-60s-seed0.png) |
| gan | 20.0 | 19.0 | 1.50 | 0.50 | 0.25 | 1,234 | 1,500 | collapse | stale | ![gan on digits, 60 s](g/digits-gan-60s-seed0.png) |
| wgan | | | | | | | | | diverged; exit 5: a \\| b &lt;b&gt; \\`c\\` | |

Not run yet: dcgan.

Made by `gannet bench results`"""  # noqa: E501  a table's rows are lines


def entries() -> list[Entry]:
    wrong = record(cell("wgan"), outcome="diverged", words="a | b\n<b> `c`")
    return [
        Entry(cell("wgan"), "diverged", wrong),
        Entry(cell("gan"), "stale", record(cell("gan"), 20.0)),
        Entry(cell(seed=2), "not run"),
        Entry(cell(seed=1), "finished", record(cell(seed=1), 6.0)),
        Entry(cell(seed=0), "finished", record(cell(seed=0), 4.0)),
        Entry(cell("dcgan"), "not run"),
    ]


def test_the_page_says_what_was_measured_and_what_was_not():
    page = render(entries(), "g", "gannet bench results")
    assert GOLDEN in page
    assert page.count(MACHINE) == 1


def test_the_same_cells_give_the_same_page():
    assert render(entries(), "g", "c") == render(reversed(entries()), "g", "c")


def test_cells_of_several_machines_say_whose_they_are():
    slower = Record.model_validate({**record(cell(seed=1), 6.0).model_dump(), "machine": "Zuse"})
    both = [
        *entries()[-2:],
        Entry(cell(seed=1), "finished", slower),
        Entry(cell("gan"), "finished", record(cell("gan"))),
    ]
    page = render(both, "g", "c")
    assert f"Machine A: {MACHINE}.\nMachine B: Zuse." in page
    assert "on machines that differ, which the letters under *seeds* name." in page
    assert "| 2 of 2; on A, B |" in page
    assert "| 1 of 1; on A |" in page
    assert " on A" not in render(entries(), "g", "c"), "of one machine there is nothing to tell"


def test_a_stale_cell_counts_only_where_there_is_none_of_now():
    mixed = [
        Entry(cell(seed=0), "stale", record(cell(seed=0), 90.0)),
        Entry(cell(seed=1), "finished", record(cell(seed=1), 4.0)),
    ]
    page = render(mixed, "g", "c")
    assert "| quick | 4.00 | 3.00 |" in page
    assert "| 1 of 2; 1 stale |" in page
    assert "g/digits-quick-60s-seed1.png" in page


def test_mean_and_deviation_by_hand():
    assert bench_cell.mean_and_deviation([2.0, 4.0, 9.0]) == (5.0, pytest.approx(13**0.5, rel=1e-15))
    assert bench_cell.mean_and_deviation([3.0]) == (3.0, None)


# ------------------------------------------------------------------------------------------------------------ pictures


def test_thumbnails_keep_their_pixels():
    samples = np.arange(9 * 64, dtype=np.uint32).astype(np.uint8).reshape(9, 8, 8, 1)
    with Image.open(io.BytesIO(bench.thumbnails(samples))) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (2 * 26 - 2, 8 * 26 - 2)
    np.testing.assert_array_equal(sheet[:24:3, 26:50:3], samples[1, :, :, 0])
    np.testing.assert_array_equal(sheet[26::3, :24:3], samples[8, :, :, 0])
    assert (sheet[24:26] == 245).all()


def test_thumbnails_of_noise_stay_small():
    noise = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    assert len(bench.thumbnails(noise)) <= 60_000


# ------------------------------------------------------------------------------------------------------------- for real


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, list[str]]:
    """A page of one real cell: a process that trains for a second, judged here."""
    out, said = tmp_path_factory.mktemp("bench") / "results.md", []
    bench.results(["quick"], ["digits"], [1], [3], out, tell=said.append)
    return out, said


def test_a_cell_is_trained_judged_and_drawn(trained):
    out, said = trained
    found = bench_cell.read(out.parent / "results/cells/digits-quick-1s-seed3.json", bench_cell.Record)
    result = found.result
    assert (found.outcome, found.exit, found.words) == ("finished", 0, "")
    assert found.key == bench.key(found.cell)
    assert found.key.protocol[result.metric].startswith("fd[digits-classifier@")
    assert "n=297|digits@" in found.key.protocol[result.metric]
    assert 0 < result.best_at <= result.samples
    assert result.floor.distance < result.last.distance
    assert set(result.parameters) == {"generator", "discriminator"}
    assert result.images_per_second > 0
    with Image.open(out.parent / "results/grids/digits-quick-1s-seed3.png") as picture:
        assert picture.size == (8 * 26 - 2, 8 * 26 - 2)
    assert len(said) == 1
    assert said[0].startswith("1/1 quick on digits, 1 s, seed 3: fd[digits-classifier] last ")


def test_a_training_that_takes_too_long_is_killed_and_recorded(monkeypatch):
    monkeypatch.setattr(bench, "LIMIT", 0.05)
    found, picture = bench.train_and_judge(cell(seconds=1), bench.key(cell(seconds=1)))
    assert (found.outcome, found.words, found.result, picture) == ("failed", "killed after 0.05 seconds", None, None)


def test_a_training_that_is_refused_says_why():
    found, picture = bench.train_and_judge(cell("cycle-mini", seconds=1), bench.key(cell(seconds=1)))
    assert (found.outcome, found.exit, found.result, picture) == ("failed", 3, None, None)
    assert "given" in found.words

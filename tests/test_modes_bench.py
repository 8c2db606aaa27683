"""The collapse laboratory: its protocols, which cells are measured and when again, its processes, its page."""

from __future__ import annotations

import dataclasses
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import modes
import modes_cells
import modes_judging
import modes_page
import numpy as np
import pytest
import torch
from modes_methods import BENCHES, ON_POINTS

from gannet.core.errors import DataError, DivergedError, UsageError
from gannet.core.overrides import resolve
from gannet.core.registry import SOURCES
from gannet.data.array import ArraySource
from gannet.engine.assembly import assemble

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "modes.py"
RING = np.array([[math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)] for k in range(8)])
OURS = ("points", "quick", "auto")
METHODS = [(data, method) for data, bench in BENCHES.items() for method in bench.methods]


def cell(method: str = "gan", seed: int = 0, data: str = "ring-8", budget: str = "20000-steps"):
    return modes_cells.Cell(data=data, method=method, budget=budget, seed=seed)


def record(of, found: float = 8, outcome: str = "finished", words: str = "", **changed):
    """A measured cell that found so many modes; `changed` are parts of its key."""
    result = modes_cells.Result(
        weights="raw",
        scores={"modes": found, "high_quality": found / 10, "reverse_kl": 1 / found},
        floor={"modes": 8, "high_quality": 0.989, "reverse_kl": 0.002},
        samples=2_000_000,
        seconds=60.0,
        parameters={"generator": 10, "discriminator": 5},
        points=[(0.5, -0.25)] * 20 if of.seed == 0 else [],
    )
    key = modes_cells.key(of).model_copy(update=changed)
    result = result if outcome == "finished" else None
    return modes_cells.Record(cell=of, key=key, machine="a machine", outcome=outcome, words=words, result=result)


def put(folder: Path, *records) -> None:
    folder.mkdir(exist_ok=True)
    for one in records:
        (folder / f"{one.cell.name}.json").write_text(one.model_dump_json())


# ----------------------------------------------------------------------------------------------------- the protocols


def test_ring_and_grid_are_those_of_the_papers():
    ring, grid = (SOURCES.build(BENCHES[name].source) for name in ("ring-8", "grid-25"))
    assert (ring.sigma, grid.sigma) == (0.01, 0.05)
    np.testing.assert_allclose(np.hypot(*ring.centres.T), 1)
    np.testing.assert_allclose(ring.centres, RING, atol=1e-15)
    assert {tuple(c) for c in grid.centres} == {(a, b) for a in (-4, -2, 0, 2, 4) for b in (-4, -2, 0, 2, 4)}
    assert {len(source.split("train")) for source in (ring, grid)} == {100_000}


def test_samples_and_steps_are_those_of_the_papers():
    """400 epochs of 100,000 points in batches of 100; 50 of 128,000 images in batches of 64; 500,000 steps."""
    asked = {name: (bench.modes, bench.samples, bench.papers) for name, bench in BENCHES.items()}
    assert asked["ring-8"] == (8, 2500, 400_000)
    assert asked["grid-25"] == (25, 2500, 400_000)
    assert asked["stacked-mnist"] == (1000, 26_000, 100_000)
    assert asked["stacked-mnist-quarter"] == asked["stacked-mnist-half"] == (1000, 25_600, 500_000)


@pytest.mark.parametrize(("data", "method"), METHODS)
def test_a_method_is_an_experiment_that_assembles(data, method):
    preset, overrides = modes_cells.recipe(cell(method, data=data, seed=3))
    # The digits themselves are not needed for this.
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    images = None if BENCHES[data].plane else ArraySource.from_arrays(noise)
    experiment = resolve(preset, {**overrides, "device": "meta"}).experiment
    assert experiment.seed == 3
    assert experiment.stop.samples == 20_000 * experiment.batch
    assert experiment.stop.minutes is None
    assert experiment.evaluate.metrics == []
    assemble(experiment, images)


@pytest.mark.parametrize(("data", "method"), [pair for pair in METHODS if pair[1] not in OURS])
def test_a_method_of_the_papers_is_judged_by_its_raw_weights(data, method):
    experiment = resolve(*modes_cells.recipe(cell(method, data=data))).experiment
    assert experiment.ema.halflife is None


@pytest.mark.parametrize(
    ("data", "method"), [(data, m) for data, m in METHODS if BENCHES[data].methods[m][0] in ("gan", "dcgan")]
)
def test_a_method_in_the_networks_of_the_papers_has_their_batches(data, method):
    """A batch is so many packs, and every discriminator of the papers judges as many of them."""
    experiment = resolve(*modes_cells.recipe(cell(method, data=data))).experiment
    pack = experiment.task.args.get("pack", 1)
    packs = {"ring-8": 100, "grid-25": 100, "stacked-mnist": 64}.get(data, 128)
    assert experiment.batch == pack * packs
    assert str(pack) in method or pack == 1


@pytest.mark.parametrize(("data", "share"), [("stacked-mnist-quarter", 4), ("stacked-mnist-half", 2)])
def test_a_small_discriminator_has_a_share_of_the_papers_channels(data, share):
    """Metz et al. 2017, appendix: 8, 16 and 32 channels times a quarter or a half, beside 64, 32 and 16 here."""
    for method in BENCHES[data].methods:
        experiment = resolve(*modes_cells.recipe(cell(method, data=data))).experiment
        assert experiment.discriminator.args["width"] * share == 8
        assert experiment.generator.args["width"] == 16


def test_minutes_are_an_end_of_their_own():
    preset, overrides = modes_cells.recipe(cell("quick", data="stacked-mnist", budget="0.5-minutes"))
    stop = resolve(preset, overrides).experiment.stop
    assert (stop.minutes, stop.samples) == (0.5, None)


def test_what_is_published_belongs_to_a_method():
    for bench in BENCHES.values():
        assert set(bench.published) <= set(bench.methods)
        assert {len(row) for row in bench.published.values()} == {len(bench.scores)}


# ----------------------------------------------------------------------------------------------------------- the plan


def test_every_method_comes_once_before_another_seed():
    cells = modes.plan(["ring-8"], ["points", "gan"], seeds=2)
    assert [c.name for c in cells] == [
        "ring-8-gan-20000-steps-seed0",
        "ring-8-points-20000-steps-seed0",
        "ring-8-gan-20000-steps-seed1",
        "ring-8-points-20000-steps-seed1",
    ]


def test_points_are_given_steps_and_images_minutes_or_the_papers_steps():
    chosen = {"data": ["grid-25", "stacked-mnist"], "methods": ["pacgan2"]}
    assert [c.budget for c in modes.plan(**chosen, seeds=1, steps=50, minutes=2.5)] == ["50-steps", "2.5-minutes"]
    assert [c.budget for c in modes.plan(**chosen, seeds=1, papers=True)] == ["400000-steps", "100000-steps"]
    assert [c.seed for c in modes.plan(**chosen)] == [*range(10), *range(3)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"data": ["ring8"]}, "Did you mean: ring-8"),
        ({"data": ["ring-8"], "methods": ["dcgan"]}, "unknown method on ring-8 'dcgan'"),
        ({"seeds": 0}, "--seeds 0 is too few. Allowed: above 0."),
        ({"steps": -1}, "--steps -1"),
        ({"minutes": 0}, "--minutes 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(UsageError) as caught:
        modes.plan(**wrong)
    assert said in str(caught.value)


# ------------------------------------------------------------------------------------------ what is due, and why again


def test_what_is_measured_is_not_due(tmp_path):
    cells = [cell(seed=seed) for seed in range(3)]
    assert modes.due(cells, tmp_path) == cells
    put(tmp_path, record(cells[0]), record(cells[1], outcome="diverged", words="not finite"))
    put(tmp_path, record(cells[2], outcome="failed", words="no disk"))
    assert modes.due(cells, tmp_path) == cells[2:], "a divergence is a result, a failure is tried again"


@pytest.mark.parametrize("part", ["experiment", "protocol", "gannet"])
def test_a_cell_of_another_key_is_due_again(tmp_path, part):
    put(tmp_path, record(cell(), **{part: "another"}), record(cell("points")))
    assert modes.due([cell(), cell("points")], tmp_path) == [cell()]


@pytest.fixture
def change(monkeypatch):
    """Changes parts of a distribution for one test, in the table that every module of the benchmark reads."""

    def changed(data: str, **parts) -> None:
        monkeypatch.setitem(BENCHES, data, dataclasses.replace(BENCHES[data], **parts))

    return changed


def test_another_recipe_or_protocol_makes_its_cells_stale(tmp_path, change):
    cells = [cell(), cell("points")]
    put(tmp_path, *map(record, cells))
    preset, overrides = ON_POINTS["gan"]
    other = {**ON_POINTS, "gan": (preset, {**overrides, "batch": 101})}
    change("ring-8", methods=other)
    assert modes.due(cells, tmp_path) == [cell()]
    change("ring-8", samples=2501)
    assert modes.due(cells, tmp_path) == cells


def test_the_seed_and_the_end_are_no_part_of_the_key():
    assert modes_cells.key(cell(seed=0)) == modes_cells.key(cell(seed=7)) == modes_cells.key(cell(budget="5-steps"))
    assert modes_cells.key(cell()) != modes_cells.key(cell("points"))
    assert modes_cells.key(cell()) != modes_cells.key(cell(data="grid-25"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda t: t[:40], "JSON"),
        (lambda t: "", "JSON"),
        (lambda t: t.replace('"seed":0', '"seed":1'), "it holds the cell ring-8-gan-20000-steps-seed1"),
        (lambda t: t.replace('"gan"', '"../gan"'), "cell.method"),
        (lambda t: t.replace('"ring-8"', '"ring-9"'), "no distribution ring-9"),
        (lambda t: t.replace('"finished"', '"failed"'), "a finished cell has a result"),
        (lambda t: t.replace('"modes":8.0', '"modus":8.0'), "are not"),
        (lambda t: t.replace('"words"', '"wrods"'), "words: Field required"),
    ],
)
def test_a_damaged_cell_is_named(tmp_path, damage, said):
    path = tmp_path / f"{cell().name}.json"
    path.write_text(damage(record(cell()).model_dump_json()))
    with pytest.raises(DataError) as caught:
        modes.due([cell()], tmp_path)
    assert str(caught.value).startswith(f"{path} is no cell: ")
    assert said in str(caught.value)


def test_a_cell_of_a_method_that_is_gone_is_named(tmp_path, change):
    put(tmp_path, record(cell()))
    change("ring-8", methods={"points": ON_POINTS["points"]})
    with pytest.raises(DataError, match=r"ring-8-gan-20000-steps-seed0\.json .* unknown method on ring-8 'gan'"):
        modes.due([cell()], tmp_path)


# ----------------------------------------------------------------------------------------------------- judging samples


def made(generate, weights: str = "raw"):
    return lambda of, place: modes.Trained(generate, weights, 1234, 5.67, {"generator": 1})


def around(centres: np.ndarray, spread: float = 0.0):
    """Samples at the centres in turn, moved along the first axis by `spread`."""
    x = torch.as_tensor(centres, dtype=torch.float32) + torch.tensor([spread, 0.0])
    return lambda count, start: x[torch.arange(start, start + count) % len(x)]


def scores(generate) -> dict[str, float]:
    return modes.measure(cell(), Path(), made(generate)).result.scores


def test_samples_of_points_are_judged_by_hand():
    found = scores(around(RING))
    assert (found["modes"], found["high_quality"]) == (8, 1)
    assert found["reverse_kl"] == pytest.approx(0, abs=2e-6), "2,500 samples are not a multiple of 8"
    half = scores(around(RING[:4]))
    assert half["modes"] == 4
    assert half["reverse_kl"] == pytest.approx(math.log(2), abs=1e-12)


def test_a_mode_is_found_within_three_sigma():
    assert scores(around(RING, 0.0299))["modes"] == 8
    outside = scores(around(RING, 0.0301))
    assert (outside["modes"], outside["high_quality"]) == (0, 0)
    assert outside["reverse_kl"] == pytest.approx(0, abs=2e-6), "which mode is nearest does not ask how near"


def test_a_measured_cell_says_what_it_is():
    found = modes.measure(cell(), Path(), made(around(RING), "ema"))
    assert (found.outcome, found.words, found.key) == ("finished", "", modes_cells.key(cell()))
    assert (found.result.weights, found.result.samples, found.result.seconds) == ("ema", 1234, 5.7)
    assert found.result.floor["modes"] == 8
    assert found.result.floor["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.006)
    assert 0 < found.result.floor["reverse_kl"] < 0.01
    assert len(found.result.points) == modes_cells.DRAWN
    assert found.result.points[1] == (0.7071, 0.7071)
    assert "σ=0.01" in found.key.protocol
    assert modes.measure(cell(seed=1), Path(), made(around(RING))).result.points == []


@pytest.mark.parametrize(
    ("error", "outcome"), [(DivergedError("not finite"), "diverged"), (UsageError("no such part"), "failed")]
)
def test_a_training_that_ends_badly_is_written_down(error, outcome):
    def train(of, place):
        raise error

    found = modes.measure(cell(), Path(), train)
    assert (found.outcome, found.words, found.result) == (outcome, str(error), None)


def test_samples_that_are_not_finite_are_a_divergence():
    found = modes.measure(cell(), Path(), made(lambda count, start: torch.full((count, 2), torch.nan)))
    assert (found.outcome, found.result) == ("diverged", None)


def test_a_training_that_was_stopped_is_no_cell(tmp_path, monkeypatch):
    class Stopped:
        reason = "signal"

    monkeypatch.setattr(modes.api, "train", lambda *args: (None, Stopped()))
    with pytest.raises(KeyboardInterrupt):
        modes.measure(cell(), tmp_path)


def test_stacked_digits_are_counted_by_the_classifier(shared_data, change):
    shared_data("mnist")
    change("stacked-mnist", source="stacked-mnist(count=8000)", samples=300)
    modes_judging.source_of.cache_clear()
    modes_judging.labels.cache_clear()
    rows = SOURCES.build("stacked-mnist").split("train").take(torch.arange(10))
    real = modes_judging.reals("stacked-mnist")
    of = cell("quick", data="stacked-mnist", budget="1-minutes")
    found = modes.measure(of, Path(), made(lambda count, start: rows["x"][torch.arange(start, start + count) % 10]))
    assert found.result.scores["modes"] == len(rows["y"].unique()) == 10
    assert found.result.scores["kl"] == pytest.approx(math.log(100), abs=0.4)
    assert found.result.floor["modes"] > 230  # 1000 (1 − e^(−.3)) = 259 of 300 samples
    assert found.result.floor["kl"] == pytest.approx(math.log(1000 / 259), abs=0.3)
    assert not torch.equal(real(10, 0), rows["x"]), "the floor is not taken of the reference's own rows"
    assert modes_judging.labels("stacked-mnist").sum() == 8000
    broken = modes.measure(of, Path(), made(lambda count, start: torch.full((count, 3, 28, 28), torch.nan)))
    assert (broken.outcome, broken.result) == ("diverged", None)
    assert found.result.points == []
    modes_judging.source_of.cache_clear()
    modes_judging.labels.cache_clear()


# ----------------------------------------------------------------------------------------------------------- processes

WRITES = "import sys, time; time.sleep(float(sys.argv[3])); open(sys.argv[1], 'w').write(sys.argv[2])"


def writing(seconds: float = 0, **told):
    """A process that writes a cell after a while, in the place of one that trains it."""

    def command(of, folder: Path, place: Path) -> list[str]:
        text = record(of, **told).model_dump_json()
        return [sys.executable, "-c", WRITES, str(folder / f"{of.name}.json"), text, str(seconds)]

    return command


def test_cells_are_measured_side_by_side(tmp_path):
    cells, said = [cell(seed=seed) for seed in range(3)], []
    assert modes.run(cells, tmp_path, jobs=2, command=writing(), tell=said.append) == 0
    assert modes.due(cells, tmp_path) == []
    assert len(said) == 3
    assert said[-1].startswith("3/3 gan on ring-8, 20000 steps, seed ")
    assert said[-1].endswith(": modes 8, high_quality 0.8, reverse_kl 0.125")


def test_two_at_once_are_two_and_not_three(tmp_path, monkeypatch):
    alive: list[int] = []
    started, real = [], modes._started

    def watched(*args):
        started.append(real(*args))
        alive.append(sum(process.poll() is None for process in started))
        return started[-1]

    monkeypatch.setattr(modes, "_started", watched)
    modes.run([cell(seed=seed) for seed in range(4)], tmp_path, jobs=2, command=writing(0.3))
    assert max(alive) == 2


@pytest.mark.parametrize(("jobs", "threads"), [(1, "7"), (2, "1")])
def test_processes_side_by_side_have_one_thread_each(tmp_path, monkeypatch, jobs, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    says = "import os, sys; print(os.environ['OMP_NUM_THREADS']); sys.exit(1)"
    said = []
    assert modes.run([cell()], tmp_path, jobs, lambda *args: [sys.executable, "-c", says], said.append) == 1
    assert said == [f"1/1 gan on ring-8, 20000 steps, seed 0: exit 1: {threads}"]


def test_a_failure_does_not_end_the_others(tmp_path):
    cells, said = [cell(), cell("points")], []

    def command(of, folder, place):
        if of.method == "gan":
            return [sys.executable, "-c", "raise ValueError('out of luck')"]
        return writing()(of, folder, place)

    assert modes.run(cells, tmp_path, command=command, tell=said.append) == 1
    assert "exit 1: ValueError: out of luck" in said[0]
    assert modes.due(cells, tmp_path) == [cell()]
    refused = writing(outcome="failed", words="no such part")
    assert modes.run([cell()], tmp_path, command=refused, tell=said.append) == 1
    assert said[-1].endswith("failed: no such part")


def test_an_interruption_leaves_no_process_and_no_half_cell(tmp_path, monkeypatch):
    processes, real = [], modes._started

    def watched(*args):
        processes.append(real(*args))
        return processes[-1]

    def interrupted(line):
        raise KeyboardInterrupt

    def command(of, folder, place):
        return writing(0 if of.seed == 0 else 60)(of, folder, place)

    begun = time.monotonic()
    monkeypatch.setattr(modes, "_started", watched)
    with pytest.raises(KeyboardInterrupt):
        modes.run([cell(seed=0), cell(seed=1)], tmp_path, 2, command, interrupted)
    assert time.monotonic() - begun < 20
    assert len(processes) == 2
    assert all(process.poll() is not None for process in processes)
    assert [path.name for path in tmp_path.iterdir()] == ["ring-8-gan-20000-steps-seed0.json"]


def test_one_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(modes, "PATIENCE", 0.3)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"x\n"
    modes._stop([process])
    assert process.returncode == -signal.SIGKILL


# ------------------------------------------------------------------------------------------------------------ the page

GOLDEN = """\
| method | modes of 8 | published | high quality, % | published | reverse KL | published | weights | \
training samples | seeds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| gan | 6.0 ± 2.8 (worst 4.0) | 6.3 | 60.0 ± 28.3 (worst 40.0) | 98.2 | 0.188 ± 0.088 (worst 0.250) | 0.45 | raw | \
2,000,000 | 2 of 3; 1 stale |
| pacgan2 |  | 7.9 |  | 95.6 |  | 0.07 |  |  | 2 not run; 1 diverged |
| unrolled |  | 7.6 |  | 35.6 |  |  |  |  | failed; a \\| b |
| points | 8.0 |  | 80.0 |  | 0.125 |  | raw | 2,000,000 | 1 of 1 |
| real samples | 8.0 |  | 98.9 |  | 0.002 |  |  |  |  |"""


@pytest.fixture
def folder(tmp_path) -> Path:
    """Cells of every kind."""
    place = tmp_path / "cells"
    put(place, record(cell(), 4), record(cell(seed=1), 8), record(cell(seed=2), 1, protocol="another"))
    put(place, record(cell("points")), record(cell("pacgan2"), outcome="diverged", words="not finite"))
    put(place, record(cell("unrolled"), outcome="failed", words="a | b\nmore"))
    return place


@pytest.fixture
def page(tmp_path) -> Path:
    path = tmp_path / "docs" / "collapse.md"
    path.parent.mkdir()
    path.write_text(f"# Before\n\n{modes_page.BEGIN}\nold\n{modes_page.END}\n\nAfter\n")
    return path


ASKED = [*[cell(seed=s) for s in range(3)], *[cell("pacgan2", s) for s in range(3)], cell("unrolled"), cell("points")]


def test_the_table_says_what_was_measured_and_what_was_not(folder):
    (table,) = modes_page.tables(ASKED, folder)
    assert table.title == "ring-8, 20000 steps"
    assert table.said == f"Protocol: {modes_judging.protocol('ring-8')}. On a machine."
    assert GOLDEN in modes_page.as_markdown(table)
    text = modes_page.as_text(table)
    assert "gan           6.0 ± 2.8 (worst 4.0)  6.3        60.0 ± 28.3 (worst 40.0)" in text
    assert len({line.index("published") for line in text.splitlines() if "published" in line}) == 1


def test_every_distribution_and_budget_has_a_table_of_its_own(folder):
    put(folder, record(cell(budget="400000-steps")))
    asked = [cell("dcgan", data="stacked-mnist", budget="30-minutes"), cell(), cell(budget="400000-steps")]
    titles = [table.title for table in modes_page.tables(asked, folder)]
    assert titles == ["ring-8, 20000 steps", "ring-8, 400000 steps", "stacked-mnist, 30 minutes"]
    assert modes_page.tables(asked, folder)[2].rows[1:] == [
        ["dcgan", "", "78.9 to 99", "", "3.40 to 4.50", "", "", "not run"]
    ]


def test_the_page_keeps_what_is_around_the_tables(folder, page):
    put(folder, record(cell(budget="7-steps")))
    modes_page.write_page(ASKED, folder, page)
    text = page.read_text()
    assert text.startswith(f"# Before\n\n{modes_page.BEGIN}\n\n### ring-8, 20000 steps\n")
    assert text.endswith(f"{modes_page.END}\n\nAfter\n")
    assert "old" not in text
    assert GOLDEN in text
    assert "### ring-8, 7 steps" in text, "a cell that is there is shown, whatever was asked for"
    assert f"]({modes_page.PICTURE})" in text
    assert (page.parent / modes_page.PICTURE).stat().st_size > 5000
    modes_page.write_page(ASKED, folder, page)
    assert page.read_text() == text


def test_a_page_of_nothing_has_no_picture(page, tmp_path):
    modes_page.write_page([cell()], tmp_path / "nothing", page)
    assert "| gan |  | 6.3 |  | 98.2 |  | 0.45 |  |  | not run |" in page.read_text()
    assert "![" not in page.read_text()
    assert not (page.parent / modes_page.PICTURE).exists()


@pytest.mark.parametrize("text", ["nothing", modes_page.BEGIN, f"{modes_page.END}\n{modes_page.BEGIN}"])
def test_a_page_without_its_markers_is_left_alone(folder, page, text):
    page.write_text(text)
    with pytest.raises(UsageError, match="lacks the lines"):
        modes_page.write_page(ASKED, folder, page)
    assert page.read_text() == text


def test_the_shipped_page_has_its_markers_and_says_how_it_is_made():
    text = modes.PAGE.read_text()
    assert text.index(modes_page.BEGIN) < text.index(modes_page.END)
    assert "python benchmarks/modes.py --page" in text
    for data in BENCHES:
        assert data in text


# -------------------------------------------------------------------------------------------------------------- words


def test_only_a_page_is_written_when_a_page_is_asked_for(folder, page, monkeypatch):
    monkeypatch.setattr(modes, "run", lambda *args, **kwargs: pytest.fail("it trained"))
    assert modes.main(["--page", "--cells", str(folder), "--out", str(page)]) == 0
    assert "### stacked-mnist-half, 30 minutes" in page.read_text()


def test_the_words_choose_what_is_measured(folder, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(modes, "run", lambda cells, *args, **kwargs: asked.extend(cells) or 1)
    words = ["--data", "ring-8", "--methods", "gan,points", "--seeds", "3", "--cells", str(folder)]
    assert modes.main(words) == 1, "the exit code says that some failed"
    assert asked == [cell("points", 1), cell(seed=2), cell("points", 2)]
    shown = capsys.readouterr().out
    assert "3 of 6 cells are to be measured" in shown
    assert "2 of 3; 1 stale" in shown


def test_a_real_cell_of_a_few_steps(tmp_path):
    """The words that start a cell's process, in this one: they train, judge and write the cell."""
    of = cell("points", budget="3-steps")
    python, script, *words = modes.one(of, tmp_path / "cells", tmp_path)
    assert (python, Path(script)) == (sys.executable, SCRIPT)
    assert modes.main(words) == 0
    found = modes_cells.read(tmp_path / "cells" / "ring-8-points-3-steps-seed0.json")
    assert (found.outcome, found.cell) == ("finished", of)
    assert (found.result.samples, found.result.weights) == (3 * 256, "ema")
    assert found.result.parameters.keys() == {"generator", "discriminator"}
    assert modes.due([of], tmp_path / "cells") == []

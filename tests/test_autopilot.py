"""The auto-pilot's plan: what it sees in data, what it chooses from that, and that a person's word goes first."""

from __future__ import annotations

import math

import pytest
import torch

from gannet import api, autopilot
from gannet.autopilot import Look, look, penalty, plan, wanted
from gannet.core.errors import UsageError
from gannet.core.overrides import resolve
from gannet.core.registry import SOURCES
from gannet.core.types import DataSpec, Field, Source
from gannet.engine.assembly import assemble

POINTS = Field((2,), kind="points", range=None)


class Rows:
    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return len(self.batch["x"])

    def take(self, indices):
        return {key: value[indices] for key, value in self.batch.items()}


class Made(Source):
    """A source of these very rows, the same to train on and held out."""

    def __init__(self, x, field=None, y=None, classes=0):
        self.spec = DataSpec({"x": field or Field(tuple(x.shape[1:]))}, classes)
        self.rows = Rows({"x": x} | ({} if y is None else {"y": y}))

    def split(self, name):
        return self.rows

    def fingerprint(self):
        return "made"


def images(rows=64, shape=(1, 8, 8), **more) -> Made:
    return Made(torch.rand(rows, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1, **more)


def planned(source, *words, preset="auto", measure=False):
    return plan(resolve(preset, list(words)), source, measure)


@pytest.fixture
def machine(monkeypatch):
    """`machine({16: 900, 32: 500, …})`: samples a second of networks of these widths, and which were asked for."""

    def runs_at(rates):
        asked = []

        def rate(resolved, source, seconds):
            width = int(resolved.experiment.generator.args.get("width", 0))
            asked.append(width)
            return rates[width]

        monkeypatch.setattr(autopilot, "_rate", rate)
        return asked

    return runs_at


# ------------------------------------------------------------------------------------------------------- looking


def test_a_look_sees_shape_copies_spread_and_the_rarest_class():
    x = torch.zeros(40, 2)
    x[:20, 0] = 2.0  # two different rows; variance 1 along the first coordinate, 0 along the second
    y = torch.cat([torch.zeros(37), torch.ones(3)]).long()
    seen = look(Made(x, POINTS, y, classes=2))
    assert (seen.rows, seen.numbers, seen.distinct, seen.power, seen.rarest) == ((40, 2, 2 / 40, pytest.approx(0.5), 3))


def test_a_look_at_a_large_sorted_set_reaches_every_class(monkeypatch):
    monkeypatch.setattr(autopilot, "LOOK", 50)
    y = torch.arange(10).repeat_interleave(100)
    seen = look(Made(torch.randn(1000, 2), POINTS, y, classes=10))
    assert 80 <= seen.rarest <= 100
    assert look(Made(torch.zeros(7, 2), POINTS)).power > 0, "rows that are all alike still have a scale"


# ------------------------------------------------------------------------------------------------- what it chooses


def seen_as(*shape, power=0.3, points=False) -> Look:
    field = Field(shape, kind="points", range=None) if points else Field(shape)
    return Look(DataSpec({"x": field}), 1000, 1.0, power, 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_penalty_starts_higher_for_larger_images_in_colour_or_not(channels):
    sizes = [(8, 8), (32, 32), (28, 84), (64, 64), (512, 512)]
    weights = [penalty(seen_as(channels, *size)) for size in sizes]
    assert weights == pytest.approx([0.3, 1, (28 * 84 / 1024) ** 1.5, 8, 100])


def test_the_penalty_of_points_has_the_units_of_their_variance():
    assert penalty(seen_as(2, power=8.0, points=True)) == pytest.approx(4 * penalty(seen_as(2, power=2.0, points=True)))


@pytest.mark.parametrize(("numbers", "over"), [(1, "50%"), (2, "50%"), (3, "100%"), (144, "100%")])
def test_the_penalty_of_points_is_low_sooner_in_the_plane(numbers, over):
    points = Made(torch.randn(500, numbers), Field((numbers,), kind="points", range=None))
    regularizers = planned(points)[0].experiment.regularizers
    assert {r.args["weight"].args.get("over", "100%") for r in regularizers.values()} == {over}


def test_images_get_convolutions_and_points_perceptrons():
    pictures = planned(images())[0].experiment
    points = planned(Made(torch.randn(500, 3), Field((3,), kind="points", range=None)))[0].experiment
    assert pictures.generator.name == pictures.discriminator.name == "dcgan"
    assert points.generator.name == points.discriminator.name == "mlp"
    assert points.generator.args["latent"] == 3
    assert points.augment == {}
    assert "steer-augmentation" not in points.controllers
    assert set(points.regularizers) == {"r1", "r2"}


@pytest.mark.parametrize(
    ("size", "depth"),
    [((28, 28), 0), ((28, 84), 0), ((20, 24), 0), ((40, 56), None), ((16, 16), None), ((14, 14), None)],
)
def test_few_rows_leave_out_the_convolution_at_a_large_coarsest_grid(size, depth):
    """Of 28 → 14 → 7, 28×84 → 7×21, 20×24 → 5×6. There is none of 40×56 → 5×7 and 16 → 4, and 14 → 7 keeps it."""
    found = planned(images(900, (1, *size)))[0].experiment
    assert found.generator.args.get("depth") == found.discriminator.args.get("depth") == depth


def test_rows_are_few_when_they_differ_little():
    enough, copies = images(1000, (1, 28, 28)), images(1200, (1, 28, 28))
    copies.rows.batch["x"][:600] = copies.rows.batch["x"][600:]
    depths = [planned(of)[0].experiment.generator.args.get("depth") for of in (enough, copies)]
    assert depths == [None, 0]


def test_depth_is_a_persons_to_set_and_of_no_other_network():
    found, chosen = planned(images(900, (1, 28, 28)), "generator.depth=1")
    assert (found.experiment.generator.args["depth"], found.experiment.discriminator.args["depth"]) == (1, 0)
    assert "kept as you set it: generator.depth" in next(r for r in chosen.reasons if r.startswith("depth"))
    other, chosen = planned(images(900, (1, 28, 28)), "generator=resnet", "discriminator=resnet")
    assert "depth" not in {**other.experiment.generator.args, **other.experiment.discriminator.args}
    assert not [r for r in chosen.reasons if r.startswith("depth")]


def test_few_rows_of_a_class_leave_labels_out():
    rare = torch.cat([torch.zeros(63), torch.ones(1)]).long()
    fair = torch.arange(64) % 2
    assert planned(images(y=rare, classes=2))[0].experiment.task.args["labels"].name == "ignore"
    assert "labels" not in planned(images(y=fair, classes=2))[0].experiment.task.args


def test_labels_that_only_some_rows_have_are_left_out():
    some = SOURCES.build("few-labels(of=digits, labels=40)")
    found, chosen = planned(some)
    assert found.experiment.task.args["labels"].name == "ignore"
    assert any(reason.startswith("labels: only some rows have one") for reason in chosen.reasons)
    assert assemble(found.experiment, some).task.roles["generator"].data.classes == 0
    _, chosen = planned(some, "task=semi-supervised")
    assert not any("labels" in reason for reason in chosen.reasons)


@pytest.mark.parametrize(
    ("rates", "minutes", "width", "asked"),
    [
        # 120 s: too slow for the usual width
        ({32: 500.0, 16: 900.0}, 2, 16, [32, 16]),
        # too slow, and half as wide is hardly faster
        ({32: 500.0, 16: 600.0}, 2, 32, [32, 16]),
        # enough for the usual one, and twice as wide cannot reach a million
        ({32: 5000.0}, 2, 32, [32]),
        # fast enough that wider is measured, and it is worth its time
        ({32: 50_000.0, 64: 20_000.0}, 2, 64, [32, 64]),
        # measured, and too slow to be worth it
        ({32: 50_000.0, 64: 2000.0}, 2, 32, [32, 64]),
        # the same machine with more time goes further, up to the widest
        ({32: 50_000.0, 64: 20_000.0, 128: 8000.0}, 60, 128, [32, 64, 128]),
    ],
)
def test_the_width_is_what_the_machine_can_use(rates, minutes, width, asked, machine):
    log = machine(rates)
    found, chosen = planned(images(), f"stop.minutes={minutes}", measure=True)
    assert log == asked
    assert found.experiment.generator.args["width"] == found.experiment.discriminator.args["width"] == width
    (line,) = [reason for reason in chosen.reasons if reason.startswith("width ")]
    assert line.startswith(f"width {width}: about ")
    assert all(f"{w}: {rate:,.0f}/s" in line for w, rate in rates.items())


@pytest.mark.parametrize("rate", [500.0, 50_000.0])  # a narrower or a wider one would be asked for
def test_widths_that_a_person_set_are_not_compared_with_others(rate, machine):
    log = machine({32: rate, 16: 2 * rate, 64: rate})
    planned(images(), "stop.minutes=2", "generator.width=32", "discriminator.width=32", measure=True)
    assert log == [32]


@pytest.mark.parametrize(("rate", "batch"), [(1000, 32), (454, 32), (453, 16), (200, 8), (1, 8)])
def test_a_slow_machine_gets_more_steps_of_a_smaller_batch(rate, batch, machine):
    machine(dict.fromkeys((16, 32), rate))
    made, chosen = planned(images(), "stop.minutes=2", measure=True)
    assert made.experiment.batch == batch
    assert any(reason.startswith(f"batch {batch}: of 32 there would be") for reason in chosen.reasons) == (batch != 32)
    assert planned(images(), "stop.minutes=2", "batch=24", measure=True)[0].experiment.batch == 24


@pytest.mark.parametrize(("samples", "batch"), [(54_400, 32), (54_399, 16), (20_000, 8), (100, 8)])
def test_few_samples_are_taken_in_more_steps_of_a_smaller_batch(samples, batch, machine):
    words = [f"stop.samples={samples}", "stop.minutes=null"]
    made, _ = planned(images(), *words)
    assert made.experiment.batch == batch
    assert planned(images(), *words, "batch=24")[0].experiment.batch == 24
    assert machine({}) == []


def test_without_a_time_to_fill_the_machine_is_not_asked(machine):
    assert planned(images(), "stop.samples=1000", "stop.minutes=null", measure=True)[0].experiment.generator.args
    assert machine({}) == []


@pytest.mark.parametrize(
    ("rows", "start"),
    [(60, 0.4), (2000, 0.2), (6000, 0.0)],
)
def test_fewer_rows_start_with_more_augmentation(rows, start):
    found, _ = planned(images(rows, (1, 4, 4)))
    assert found.experiment.controllers["steer-augmentation"].args["start"] == start
    assert "diffaugment" in found.experiment.augment


def test_copies_count_once():
    x = images(50).rows.batch["x"].repeat(40, 1, 1, 1)
    found, chosen = planned(Made(x))
    assert found.experiment.controllers["steer-augmentation"].args["start"] == 0.4
    assert "copies" in chosen.reasons[0]


def test_data_that_are_hardly_seen_twice_are_not_augmented(machine):
    machine({32: 1000.0})
    found, chosen = planned(images(50_000, (1, 2, 2)), "stop.minutes=2", measure=True)
    assert found.experiment.augment == {}
    assert set(found.experiment.controllers) == {"rollback", "steer-penalty", "steer-rate"}
    assert any(reason.startswith("no augmentation: 2.4 passes") for reason in chosen.reasons)


@pytest.mark.parametrize(
    ("samples", "halflives"), [(800, [1000, 100]), (120_000, [15_000, 1500]), (10**8, [500_000, 50_000])]
)
def test_averages_remember_an_eighth_and_an_eightieth_of_the_run(samples, halflives, machine):
    made, chosen = planned(images(), f"stop.samples={samples}", "stop.minutes=null")
    assert made.experiment.ema.halflife == halflives
    said = (
        f"moving average: half-life {halflives[0]:,} or {halflives[1]:,} samples, whichever scores better at the time"
    )
    assert said in chosen.reasons
    unscored, _ = planned(images(), f"stop.samples={samples}", "stop.minutes=null", "evaluate.metrics=[]")
    assert unscored.experiment.ema.halflife == halflives[0]
    machine({32: 1000.0})
    assert planned(images(), "stop.minutes=2", measure=True)[0].experiment.ema.halflife == [15_000, 1500]


# --------------------------------------------------------------------------------------------- a person's word first


@pytest.mark.parametrize(
    ("rate", "log"),
    [(1000, "0.5%"), (500, "1%"), (40, "2%"), (2, "10%")],  # 3,750 and 1,875 steps of 32; 600 and 30 of 8
)
def test_log_lines_are_not_more_frequent_than_they_are_worth(rate, log, machine):
    machine(dict.fromkeys((16, 32), rate))
    made, why = planned(images(), "stop.minutes=2", measure=True)
    assert made.experiment.keep.log == log
    assert any(reason.startswith("log lines: every") for reason in why.reasons) == (log != "0.5%")


def test_what_a_person_set_is_left_alone(machine):
    machine({32: 50_000.0, 64: 20_000.0, 24: 1.0, 48: 1.0})
    words = ["generator.width=24", "ema.halflife=77", "regularizers.r1.weight=3", "augment=noise"]
    found, _ = planned(images(), *words, measure=True)
    experiment = found.experiment
    assert experiment.generator.args["width"] == 24
    assert experiment.ema.halflife == 77
    assert str(experiment.regularizers["r1"].args["weight"]) == "3"
    assert "0.3" in str(experiment.regularizers["r2"].args["weight"])
    assert set(experiment.augment) == {"noise"}
    assert found.origin("generator.width") == "command line"
    assert found.origin("regularizers.r2.weight") == autopilot.ORIGIN


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("controllers.steer-penalty.low=0.52", {"rollback", "steer-penalty", "steer-rate"}),
        ("controllers.steer-rate=none", {"rollback", "steer-penalty"}),
        ("controllers=[rollback]", {"rollback"}),
        (
            "controllers.steer-augmentation.target=0.8",
            {"rollback", "steer-penalty", "steer-augmentation", "steer-rate"},
        ),
    ],
)
def test_a_word_about_one_controller_leaves_the_plan_the_others(word, kept):
    points = Made(torch.randn(500, 3), Field((3,), kind="points", range=None))
    experiment = planned(points, word)[0].experiment
    assert set(experiment.controllers) == kept
    assert experiment.augment == {}


def test_a_word_about_one_penalty_of_points_leaves_the_other_planned():
    points = Made(torch.randn(500, 3), Field((3,), kind="points", range=None))
    found, _ = planned(points, "regularizers.r1.weight=3")
    r1, r2 = (found.experiment.regularizers[name].args for name in ("r1", "r2"))
    assert (r1["weight"], r1["every"], r2["every"]) == (3, 1, 1)
    assert found.origin("regularizers.r2.weight") == autopilot.ORIGIN


def test_a_word_about_one_network_of_points_leaves_the_plan_its_kind():
    points = Made(torch.randn(500, 3), Field((3,), kind="points", range=None))
    found, _ = planned(points, "generator.latent=8", "discriminator.width=32")
    generator, discriminator = found.experiment.generator, found.experiment.discriminator
    assert (generator.name, generator.args["latent"], generator.args["width"]) == ("mlp", 8, 128)
    assert (discriminator.name, discriminator.args["width"], discriminator.args["layers"]) == ("mlp", 32, 3)
    assert found.origin("generator.latent") == "command line"
    assert found.origin("generator.width") == autopilot.ORIGIN
    with pytest.raises(UsageError, match="generator: mlp has no option 'kernel'"):
        planned(points, "generator.kernel=3")


def test_only_its_own_preset_is_planned_and_only_once():
    assert not wanted(resolve("quick", []))
    fresh = resolve("auto", ["data=digits"])
    assert wanted(fresh)
    assert not wanted(planned(images())[0])


KINDS = [images(), Made(torch.randn(500, 3), Field((3,), kind="points", range=None))]


@pytest.mark.parametrize(("kind", "line"), [(0, "penalty"), (1, "networks")], ids=["images", "points"])
def test_a_reason_says_what_a_person_set_and_nothing_else(kind, line):
    words = ["regularizers.r1.weight=3", "ema.halflife=100", "stop.samples=90000", "stop.minutes=null"]
    _, chosen = planned(KINDS[kind], *words)
    kept = {reason.split(":")[0]: reason.split("kept as you set it: ")[1:] for reason in chosen.reasons}
    assert (kept.pop(line), kept.pop("moving average")) == (["regularizers.r1.weight"], ["ema.halflife"])
    assert kept
    assert not any(kept.values())


@pytest.mark.parametrize("source", KINDS, ids=["images", "points"])
def test_every_choice_has_a_reason_and_an_origin_and_is_made_once(source):
    found, chosen = planned(source, "stop.samples=90000", "stop.minutes=null")
    paths = [path for _, values in chosen.choices for path in values]
    assert len(set(paths)) == len(paths)  # of two, the second would be told and not done
    for path in paths:
        assert found.origin(path) == autopilot.ORIGIN or any(
            o == autopilot.ORIGIN for p, o in found.origins.items() if p.startswith(path)
        )
    assert len(chosen.reasons) >= 3
    assert all(len(reason) < 160 for reason in chosen.reasons)


# ------------------------------------------------------------------------------------------------------ in a run


def test_measuring_takes_a_share_of_the_time_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    found = resolve("auto", ["data=digits(limit=64)", "generator.width=4", "discriminator.width=4", "batch=8"])
    rate = autopilot._rate(found, images(64), 0.05)
    assert math.isfinite(rate)
    assert rate > 0
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_records_its_plan_and_goes_on_with_it(tmp_path, tiny, monkeypatch):
    words = {**tiny("auto", data="digits"), "controllers": "[]"}
    run, _ = api.train("auto", words, tmp_path / "run")
    log = run.read_log()
    plans = [line["text"] for line in log if line["kind"] == "plan"]
    assert plans[0].startswith("data: 64 samples 1×8×8, 10 classes")
    written = resolve(str(run.experiment), [])
    assert written.experiment.controllers == {}, "a person's word"
    assert "0.3" in str(written.experiment.regularizers["r1"].args["weight"])
    assert not wanted(written)
    monkeypatch.setattr(autopilot, "plan", None)  # whoever calls it now fails
    more = words["stop.samples"] + 16
    api.resume(run.path, {"stop.samples": more})
    assert run.read_log()[-1]["samples"] == more


def test_a_dry_run_and_an_explanation_say_what_would_be_chosen(capsys):
    from gannet.cli import main

    assert main(["explain", "auto", "data=digits"]) == 0
    said = capsys.readouterr().out
    assert "[auto-pilot]" in said
    assert main(["train", "auto", "data=digits", "stop.samples=640", "stop.minutes=null", "-n"]) == 0
    assert "penalty: starts at 0.3" in capsys.readouterr().out

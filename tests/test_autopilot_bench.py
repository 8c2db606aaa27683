"""The bench of the auto-pilot on made-up cells: what is healthy, what is measured again, what the tables say."""

from __future__ import annotations

import autopilot
import autopilot_cells
import autopilot_page
import pytest
import torch

from gannet.core.errors import DataError, UsageError
from gannet.core.overrides import amend, resolve
from gannet.core.registry import CONTROLLERS, SOURCES
from gannet.core.spec import Spec


def cell(method: str = "auto", data: str = "digits", seed: int = 0, without: str = "", samples: int | None = None):
    end = {"minutes": 2.0} if samples is None else {"samples": samples}
    return autopilot_cells.Cell(data=data, method=method, seed=seed, without=without, **end)


def result(last: float = 10.0, **changed):
    facts = {
        "better": "lower",
        "last": last,
        "best": last,
        "sd": 0.0,
        "floor": 4.0,
        "near": 1.0,
        "standing": [],
        "samples": 1000,
        "plan": ["width 32"],
        "moves": [],
    }
    return autopilot_cells.Result(**{**facts, **changed})


def move(controller: str, factor: float = 2.0):
    return autopilot_cells.Move(
        samples=10, controller=controller, actuator="penalty", factor=factor, text="P(real > fake) 0.99"
    )


def record(of, last: float = 10.0, outcome: str = "finished", key=None, **changed):
    key = key or autopilot_cells.Key(experiment="e", networks="w", controllers={}, protocol="p", gannet="0")
    found = result(last, **changed) if outcome == "finished" else None
    words = "" if found else "why"
    return autopilot_cells.Record(cell=of, key=key, outcome=outcome, words=words, result=found)


# ---------------------------------------------------------------------------------------------------------- healthy


@pytest.mark.parametrize(
    ("changed", "ails"),
    [
        ({}, []),
        ({"standing": ["discriminator ahead"]}, []),
        ({"standing": ["collapse"]}, ["collapsed"]),
        ({"near": 0.8}, []),
        ({"near": 0.79}, ["learnt by heart"]),
        ({"near": 3.0}, []),
        ({"last": 10.9, "best": 10}, []),
        ({"last": 11.1, "best": 10}, ["past its best"]),
        ({"last": 11.1, "best": 10, "sd": 1.2}, []),
        ({"last": 11.3, "best": 10, "sd": 1.2}, ["past its best"]),
        ({"last": 5, "best": 10}, []),
        ({"better": "higher", "last": 0.92, "best": 1}, []),
        ({"better": "higher", "last": 0.88, "best": 1}, ["past its best"]),
        ({"better": "higher", "last": 2, "best": 1}, []),
        ({"standing": ["collapse"], "near": 0.1}, ["collapsed", "learnt by heart"]),
    ],
)
def test_what_ails_a_run(changed, ails):
    assert result(**changed).ails == ails


def test_what_did_not_finish_is_not_healthy():
    assert record(cell(), outcome="diverged").ails == ["diverged"]
    assert record(cell(), outcome="failed").ails == ["failed"]


class Known:
    """An evaluator of points on a line, whose features are the samples."""

    class extractor:
        @staticmethod
        def features(x):
            return x.flatten(1)

    def __init__(self, train, test):
        self.source = self
        self.parts = {"train": train, "test": test}

    def split(self, name):
        part = self.parts[name]

        class Rows:
            def __len__(self):
                return len(part)

            def take(self, rows):
                return {"x": part[rows]}

        return Rows()


def test_copies_of_training_rows_are_seen_whatever_their_number():
    torch.manual_seed(0)
    train, test, new = torch.randn(1500, 3), torch.randn(300, 3), torch.randn(2000, 3)
    judge = Known(train, test)
    assert autopilot.nearness(judge, train[torch.arange(2000) % 1500]) == 0
    noise = 0.03 * torch.randn(2000, 3)
    assert autopilot.nearness(judge, train[torch.arange(2000) % 1500] + noise) < 0.5
    assert 0.85 < autopilot.nearness(judge, new) < 1.15
    assert autopilot.nearness(judge, test[torch.arange(2000) % 300]) > 100  # of held-out rows: far from learnt by heart


# ---------------------------------------------------------------------------------------------------------- the plan


def test_every_kind_of_data_comes_before_another_seed():
    cells = autopilot.plan(["digits", "points"], ["auto", "quick"], [0, 1], 2)
    assert [c.name for c in cells[:5]] == [
        "digits-auto-2min-seed0",
        "digits-quick-2min-seed0",
        "points-auto-2min-seed0",
        "points-quick-2min-seed0",
        "digits-auto-2min-seed1",
    ]
    assert len(set(cells)) == 8
    (of_samples,) = autopilot.plan(["digits"], ["quick"], [0], 2, 500)
    assert of_samples.name == "digits-quick-500samples-seed0"


def test_what_is_switched_off_stands_beside_the_whole_at_equal_samples():
    on, off = autopilot.plan(["digits"], ["auto", "quick"], [0], 2, 500, ["rollback"])
    assert [on.name, off.name] == ["digits-auto-500samples-seed0", "digits-auto-without-rollback-500samples-seed0"]
    experiments = [resolve(*autopilot.asked(of)).experiment for of in (on, off)]
    assert [(e.stop.samples, e.stop.minutes) for e in experiments] == [(500, None)] * 2


def test_a_cell_has_one_end():
    for ends in ({}, {"minutes": 2, "samples": 500}):
        with pytest.raises(ValueError, match="minutes or samples, one of them"):
            autopilot_cells.Cell(data="digits", method="auto", seed=0, **ends)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ((["digit"], [], [], 2), "unknown kind of data 'digit'"),
        ((["digits"], ["slow"], [], 2), "unknown method 'slow'"),
        ((["digits"], [], [], 2, 500, ["steer-penalti"]), "Did you mean: steer-penalty"),
        ((["digits"], [], [], 2, None, ["steer-penalty"]), "equal samples.*--samples 60000"),
        ((["digits"], ["auto"], [0], 2, 0), "--samples 0: a training takes more than nothing"),
        ((["digits"], ["auto"], [0], 0), "--minutes 0: a training takes more than nothing"),
    ],
)
def test_unknown_names_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        autopilot.plan(*wrong)


@pytest.mark.parametrize("data", autopilot_cells.DATA)
def test_every_kind_of_data_has_every_method(data):
    for method in autopilot_cells.METHODS:
        preset, words = autopilot.asked(cell(method, data))
        assert resolve(preset, words).experiment.data.name == autopilot_cells.DATA[data].partition("(")[0]


def test_points_are_played_by_networks_of_points():
    for method in ("quick", "dcgan"):
        preset, words = autopilot.asked(cell(method, "points"))
        assert resolve(preset, words).experiment.generator.name == "mlp"


def test_only_what_is_new_failed_or_stale_is_due():
    cells = [cell("quick", "digits", seed) for seed in range(4)]
    now = autopilot.key(cells[0])
    records = [
        record(cells[0], key=now),
        record(cells[1], key=now.model_copy(update={"gannet": "0.0.0"})),
        record(cells[2], key=now, outcome="failed"),
    ]
    assert autopilot.due(cells, records) == cells[1:]
    assert autopilot.due(cells[:1], [record(cells[0], key=now, outcome="diverged")]) == []


def test_a_cell_is_stale_when_what_a_controller_does_by_default_has_changed():
    of = cell("auto")
    now = autopilot.key(of)
    assert now.controllers["steer-penalty"]["low"] == 0.54
    options = now.controllers["steer-penalty"] | {"low": 0.6}
    before = now.model_copy(update={"controllers": now.controllers | {"steer-penalty": options}})
    assert autopilot.due([of], [record(of, key=now)]) == []
    assert autopilot.due([of], [record(of, key=before)]) == [of]


def test_a_cell_is_stale_when_the_plan_makes_something_else_of_it(monkeypatch):
    cells = [cell("auto"), cell("quick")]
    now = [autopilot.key(of) for of in cells]
    assert (bool(now[0].plan), now[1].plan) == (True, "")
    monkeypatch.setattr("gannet.autopilot.STEPS", 10**9)  # batches as small as may be
    records = [record(of, key=key) for of, key in zip(cells, now, strict=True)]
    assert autopilot.due(cells, records) == cells[:1]


def test_cells_are_written_as_they_come_and_a_budget_ends_it(tmp_path):
    cells, told = [cell(seed=seed) for seed in range(3)], []
    autopilot.run(cells, tmp_path / "cells", 1, record, told.append)
    assert told == ["1 minutes are spent; 3 of 3 cells are left"]

    def broken(of):
        if of.seed == 2:
            raise KeyboardInterrupt
        return record(of, last=4.0 + of.seed)

    with pytest.raises(KeyboardInterrupt):
        autopilot.run(cells, tmp_path / "cells", None, broken, told.append)
    assert [r.cell for r in autopilot_cells.read_all(tmp_path / "cells")] == cells[:2]
    assert told[-1] == "2/3 digits-auto-2min-seed1: healthy; last 5, best 5"


def test_a_damaged_cell_is_named(tmp_path):
    autopilot.run([cell()], tmp_path, None, record, lambda line: None)
    path = tmp_path / f"{cell().name}.json"
    path.rename(tmp_path / "other.json")
    with pytest.raises(DataError, match=r"other\.json is no cell: it holds the cell digits-auto"):
        autopilot_cells.read_all(tmp_path)
    (tmp_path / "other.json").write_text("{")
    with pytest.raises(DataError, match="Remove the file"):
        autopilot_cells.read_all(tmp_path)


def test_a_controller_that_is_switched_off_never_moves():
    words = {"controllers": "[rollback, steer-penalty, steer-augmentation(start=0.4)]", "augment": "diffaugment"}
    planned = amend(resolve("auto", {"data": "digits"}), words, "auto-pilot")
    off = autopilot.switched_off(planned, "steer-penalty")
    assert list(off.experiment.controllers) == ["rollback", "steer-augmentation"]
    assert list(planned.experiment.controllers) == ["rollback", "steer-penalty", "steer-augmentation"]
    # Without its controller, augmentation would stand at 1 and not where the plan starts it.
    kept = autopilot.switched_off(planned, "steer-augmentation").experiment.controllers
    controller = CONTROLLERS.build(kept["steer-augmentation"])
    assert controller.start == 0.4
    for signal in (0.0, 0.5, 1.0):
        lines = [{"samples": 100.0 * i, "p_train_above_heldout": signal} for i in range(32)]
        assert controller.decide(lines, 0.4) is None
    with pytest.raises(autopilot.Absent, match="has no steer-rate"):
        autopilot.switched_off(planned, "steer-rate")


# ----------------------------------------------------------------------------------------------------------- tables

GOLDEN = """\
### 2 minutes

| method | healthy | share | what ails the others |
| --- | --- | --- | --- |
| auto | 3 of 4 | 75 % | collapsed 1 |
| quick | 2 of 2 | 100 % | nothing |
| dcgan | 0 of 2 | 0 % | diverged 1, failed 1 |

| data | auto | quick | dcgan | reals | within 10 % or one sd of the better fixed one |
| --- | --- | --- | --- | --- | --- |
| digits | 11.0 ± 1.4 | 10.1 ± 0.1 | – (0/2 healthy) | 4.00 | MET |
| mnist | 12.0 (1/2 healthy) | – | – | 4.00 |  |

| controller | runs it moved in | moves a run | last factor | data |
| --- | --- | --- | --- | --- |
| rollback | 1 of 4 | 0.2 | 4 … 4 | mnist |
| steer-penalty | 2 of 4 | 0.8 | 0.5 … 8 | digits |

### One controller switched off

| switched off | data | samples | last with it | without | healthy with it | without |
| --- | --- | --- | --- | --- | --- | --- |
| steer-penalty | digits | 500 | 8.00 | 20.0 | 1 of 1 | 0 of 1 |
| steer-penalty | digits | 1,500 | 8.00 | 9.00 | 1 of 1 | 1 of 1 |
| steer-penalty | points | 500 | 8.00 | 9.00 | 1 of 1 | 1 of 1 |"""


def test_scores_by_another_protocol_are_in_no_table():
    old = autopilot_cells.Key(experiment="e", networks="w", controllers={}, protocol="another", gannet="0")
    pair = [record(cell(samples=7, without=off), 0.1, key=old) for off in ("", "rollback")]
    of_old = [record(cell("quick", seed=2), 0.1, key=old), *pair]
    assert autopilot_page.tables([*records(), *of_old]) == autopilot_page.tables(records())


def records():
    return [
        record(cell(seed=0), 10.0, moves=[move("steer-penalty", 2.0), move("steer-penalty", 8.0)]),
        record(cell(seed=1), 12.0, moves=[move("steer-penalty", 0.5)]),
        record(cell(data="mnist", seed=0), 12.0, standing=["collapse"], moves=[move("rollback", 4.0)]),
        record(cell(data="mnist", seed=1), 12.0),
        record(cell("quick", seed=0), 10.0),
        record(cell("quick", seed=1), 10.2),
        record(cell("dcgan", seed=0), outcome="diverged"),
        record(cell("dcgan", seed=1), outcome="failed"),
        record(cell("auto", "points", samples=500), 8.0),
        record(cell("auto", "points", without="steer-penalty", samples=500), 9.0),
        record(cell(samples=500), 8.0),
        record(cell(seed=1, samples=500), 3.0),  # a seed that has no other half
        record(cell(samples=500, without="steer-penalty"), 20.0, near=0.1),
        record(cell(samples=1500), 8.0),
        record(cell(samples=1500, without="steer-penalty"), 9.0),
        record(cell(samples=500, without="rollback"), outcome="absent"),
    ]


def test_the_tables():
    assert autopilot_page.tables(records()) == GOLDEN


@pytest.mark.parametrize(
    ("mine", "fixed", "met"),
    [
        ([10.9, 10.9], {"quick": [10.0, 10.0], "dcgan": [30.0]}, "MET"),
        ([11.1, 11.1], {"quick": [10.0, 10.0], "dcgan": [30.0]}, "MISSED"),
        ([11.1], {"quick": [30.0], "dcgan": [10.0]}, "MISSED"),
        ([12.0], {"quick": [8.0, 12.0]}, "MET"),  # 10 ± 2.8
        ([13.0], {"quick": [8.0, 12.0]}, "MISSED"),
        ([5.0], {"quick": [10.0]}, "MET"),
        ([], {"quick": [10.0]}, ""),
        ([5.0], {}, ""),
    ],
)
def test_keeping_up_with_the_better_fixed_preset(mine, fixed, met):
    results = {"auto": [result(x) for x in mine], **{m: [result(x) for x in xs] for m, xs in fixed.items()}}
    assert autopilot_page.keeps_up(results) == met


def test_keeping_up_where_higher_is_better():
    def found(last):
        return [result(last, better="higher")]

    assert autopilot_page.keeps_up({"auto": found(0.91), "quick": found(1.0), "dcgan": found(0.2)}) == "MET"
    assert autopilot_page.keeps_up({"auto": found(0.89), "quick": found(1.0), "dcgan": found(0.2)}) == "MISSED"


def test_tables_of_nothing_are_empty():
    assert autopilot_page.tables([]) == ""
    assert "steer-penalty" not in autopilot_page.tables([record(cell("quick"))])


def test_a_page_keeps_its_own_words(tmp_path):
    page = tmp_path / "autopilot.md"
    with pytest.raises(UsageError, match="has no place for the tables"):
        autopilot_page.write_page(page, records())
    page.write_text(f"# Auto-pilot\n\nbefore\n\n{autopilot_page.BEGIN}\nold\n{autopilot_page.END}\n\nafter\n")
    for _ in range(2):
        autopilot_page.write_page(page, records())
    text = page.read_text()
    assert text.startswith("# Auto-pilot\n\nbefore\n\n" + autopilot_page.BEGIN)
    assert text.endswith(autopilot_page.END + "\n\nafter\n")
    assert text.count("### 2 minutes") == 1
    assert "old" not in text


def test_words(tmp_path, capsys):
    autopilot.run([cell(seed=seed) for seed in (0, 1)], tmp_path / "cells", None, record, lambda line: None)
    page = tmp_path / "page.md"
    page.write_text(f"{autopilot_page.BEGIN}\n{autopilot_page.END}")
    autopilot.main(["--cells", str(tmp_path / "cells"), "--page", str(page)])
    assert "| auto | 2 of 2 | 100 % | nothing |" in page.read_text()
    autopilot.main(["--cells", str(tmp_path / "cells"), "--seeds", "", "--data", "digits"])
    assert capsys.readouterr().out.startswith("0 cells are to be measured")


def test_shapes_are_judged_in_training_and_after_it_by_what_knows_them():
    assert autopilot.asked(cell("auto", data="shapes"))[1]["evaluate.extractor"] == "classifier"
    assert "evaluate.extractor" not in autopilot.asked(cell("auto"))[1]
    judge = autopilot._judge(SOURCES.build("digits"), Spec("pca"))
    assert judge.primary == "fd[pca]"


def test_the_judge_reads_every_kind_of_points_and_digits():
    for name in ("digits", "points"):
        judge = autopilot._judge(SOURCES.build(autopilot_cells.DATA[name]), None)
        assert judge.better == "lower"
        rows = judge.source.split("test").take(torch.arange(judge.n))["x"].float()
        assert 0.7 < autopilot.nearness(judge, rows) < 50

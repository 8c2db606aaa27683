"""The dashboard: real runs, runs that train, and directories that somebody wrote to do harm."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from gannet import api
from gannet.engine.run import Run
from gannet.engine.trainer import Trainer
from gannet.lab import dashboard_log
from gannet.lab.app import Room, create_app
from gannet.lab.dashboard import Dashboard
from gannet.lab.dashboard_log import Summary, rows
from gannet.lab.door import Refused
from gannet.lab.shelf import Shelf

HOST = "127.0.0.1:7860"
QUICK = {
    "data": "digits",
    "batch": 16,
    "evaluate.n": 100,
    "evaluate.every": "50%",
    "keep.samples": "50%",
    "generator.width": 4,
    "discriminator.width": 4,
    "threads": 1,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        # Drawing the curves takes longer than all else, and nobody looks at them here.
        patch.setattr(Trainer, "_draw", lambda self: None)
        for seed, lr in ((0, 0.001), (1, 0.002)):
            overrides = {**QUICK, "stop.samples": 640, "seed": seed, "optim.generator.lr": lr}
            api.train("quick", overrides, run=folder / f"000{seed}-quick")
    return folder


@pytest.fixture
def page(runs, tmp_path):
    with client(runs, tmp_path) as found:
        yield found


def client(folder: Path, tmp_path: Path) -> TestClient:
    room = Room(tmp_path)
    made = create_app(tmp_path, [HOST], room=room, prepare=room.ready.set, shelf=Shelf(folder))
    return TestClient(made, base_url=f"http://{HOST}")


def bare(folder: Path, *lines: object, yaml: str = "preset: quick\ndata: digits\n") -> Path:
    (folder / "samples").mkdir(parents=True)
    (folder / "experiment.yaml").write_text(yaml)
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text)
    return folder


def step(k: int, **more) -> dict:
    return {"kind": "step", "samples": 32 * k, "step": k, "seconds": k / 10, "loss/generator": 1 / (k + 1), **more}


STOP = {"kind": "stop", "samples": 320, "step": 10, "seconds": 1.0, "reason": "samples"}


def listed(folder: Path) -> dict:
    [row] = Dashboard(Shelf(folder)).listing()["runs"]
    return row


# ------------------------------------------------------------------------------------------------------- real runs


def test_real_runs_are_listed_as_they_are(page, runs):
    assert page.get("/api/shelf").json() == {"runs": ["0001-quick", "0000-quick"], "alone": None}
    answer = page.get("/api/runs").json()
    assert answer["reading"] is False
    first = answer["runs"][-1]
    log = Run.open(runs / "0000-quick").read_log()
    assert first["name"] == "0000-quick"
    assert first["title"] == "quick · digits"
    assert (first["state"], first["why"], first["share"]) == ("finished", "samples", 1.0)
    assert (first["samples"], first["step"]) == (log[-1]["samples"], log[-1]["step"]) == (640, 40)
    assert first["goal"] == {"samples": 640, "minutes": None}
    scores = [r for r in log if r["kind"] == "score"]
    assert first["last"] == {k: pytest.approx(v, rel=1e-5) for k, v in scores[-1]["scores"].items()}
    best = [r for r in scores if r["best"]]
    assert first["best"] == {k: pytest.approx(v, rel=1e-5) for k, v in best[-1]["scores"].items()}
    assert first["speed"] > 0
    assert abs(first["changed"] - time.time()) < 600


def test_the_log_and_the_pictures_of_a_real_run(page, runs):
    answer = page.get("/api/runs/log", params={"run": "0000-quick"}).json()
    log = Run.open(runs / "0000-quick").read_log()
    assert [r["kind"] for r in answer["rows"]] == [r["kind"] for r in log]
    assert answer["next"] == (runs / "0000-quick" / "log.jsonl").stat().st_size
    assert answer["bad"] == 0
    told = [r for r in log if r["kind"] == "step"][-1]
    seen = [r for r in answer["rows"] if r["kind"] == "step"][-1]
    assert seen["loss/generator"] == pytest.approx(told["loss/generator"], rel=1e-5)
    grids = sorted((runs / "0000-quick" / "samples").glob("*.png"))
    assert answer["saved"] == [int(p.stem) for p in grids]
    picture = page.get("/api/runs/samples", params={"run": "0000-quick", "index": len(grids) - 1})
    assert picture.content == grids[-1].read_bytes()
    assert picture.headers["content-type"] == "image/png"
    assert page.get("/api/runs/samples", params={"run": "0000-quick", "index": len(grids)}).status_code == 404


def test_one_run_tells_how_it_was_made(page, runs):
    one = page.get("/api/runs/one", params={"run": "0001-quick"}).json()
    assert one["settings"]["optim.generator"].startswith("adam(lr=0.002")
    assert one["settings"]["stop.samples"] == "640"
    assert one["path"] == str(runs / "0001-quick")
    assert set(one["parameters"]) == {"generator", "discriminator"}


def test_comparing_says_what_differs_and_which_score_is_better(page):
    answer = page.get("/api/runs/compare", params={"run": ["0000-quick", "0001-quick"]}).json()
    differences = {d["key"]: d["values"] for d in answer["differences"]}
    assert set(differences) == {"optim.generator", "seed"}
    assert differences["seed"] == ["0", "1"]
    scores = {s["metric"]: s for s in answer["scores"]}
    assert scores["fd[digits-classifier]"]["better"] == "lower"
    assert scores["precision"]["better"] == "higher"
    assert scores["fd[digits-classifier]"]["alike"] is True
    assert len(scores["precision"]["last"]) == 2


@pytest.mark.parametrize("names", [[], ["0000-quick"], ["0000-quick", "0000-quick"], ["0000-quick"] * 13])
def test_a_wrong_number_of_runs_is_refused(page, names):
    answer = page.get("/api/runs/compare", params={"run": names})
    assert answer.status_code == 400
    assert "2 to 12 different ones" in answer.json()["error"]


@pytest.mark.parametrize(
    "path", ["log?run=nothing", "log?run=../0000-quick", "one", "samples?run=/etc/passwd", "compare?run=a&run=b"]
)
def test_what_is_not_on_the_shelf_is_refused(page, path):
    assert page.get(f"/api/runs/{path}").status_code == 404


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=1e3", "after=" + "9" * 40, "mark=٣"])
def test_numbers_are_numbers(page, query):
    answer = page.get(f"/api/runs/log?run=0000-quick&{query}")
    assert answer.status_code == 400
    assert "is no number" in answer.json()["error"]


# --------------------------------------------------------------------------------------------- while it is written


def test_a_log_is_read_on_from_where_it_ended(tmp_path):
    log = bare(tmp_path / "run", step(1), step(2)) / "log.jsonl"
    first = rows(log)
    assert [r["step"] for r in first["rows"]] == [1, 2]
    with log.open("a") as file:
        file.write(json.dumps(step(3)) + "\n" + json.dumps(step(4))[:20])
    second = rows(log, first["next"], first["mark"])
    assert [r["step"] for r in second["rows"]] == [3]
    assert not second["again"]
    assert rows(log, second["next"], second["mark"])["rows"] == []
    with log.open("a") as file:
        file.write(json.dumps(step(4))[20:] + "\n")
    assert [r["step"] for r in rows(log, second["next"], second["mark"])["rows"]] == [4]


def test_a_log_that_was_cut_and_written_anew_is_read_from_the_beginning(tmp_path):
    log = bare(tmp_path / "run", *map(step, range(5))) / "log.jsonl"
    first = rows(log)
    bare(tmp_path / "other", *(step(k, seconds=3.5) for k in range(9)))
    log.write_text((tmp_path / "other" / "log.jsonl").read_text())
    second = rows(log, first["next"], first["mark"])
    assert second["again"]
    assert len(second["rows"]) == 9
    assert rows(log, 10**9)["again"]


def test_a_summary_reads_on_and_begins_anew(tmp_path):
    score = {"kind": "score", "samples": 32, "step": 1, "seconds": 0, "scores": {"fd": 3.0}, "best": True}
    log = bare(tmp_path / "run", step(1), score) / "log.jsonl"
    summary = Summary(log)
    assert summary.look() > 0
    assert summary.best == {"fd": 3.0}
    with log.open("a") as file:
        file.write(json.dumps(STOP) + "\n")
    summary.look()
    assert (summary.stop, summary.end["samples"]) == ("samples", 320)
    with log.open("a") as file:  # it was resumed
        file.write(json.dumps(step(11)) + "\n")
    summary.look()
    assert (summary.stop, summary.end["samples"]) == (None, 352)
    log.write_text(json.dumps(step(1)) + "\n")
    summary.look()
    assert (summary.end["samples"], summary.best, summary.look()) == (32, {}, 0)


def test_many_lines_are_thinned_and_alarms_kept(tmp_path):
    lines: list[object] = [step(k) for k in range(30_000)]
    for k in range(0, 30_000, 1000):
        lines.insert(k, {"kind": "alarm", "samples": k, "step": k, "seconds": 0, "text": "mode collapse"})
    log = bare(tmp_path / "run", *lines) / "log.jsonl"
    began = time.perf_counter()
    found = rows(log)["rows"]
    assert time.perf_counter() - began < 5
    assert len(found) == dashboard_log.MOST_ROWS
    assert sum(r["kind"] == "alarm" for r in found) == 30
    steps = [r["step"] for r in found if r["kind"] == "step"]
    assert (steps[0], steps[-1]) == (0, 29_999)
    assert max(b - a for a, b in itertools.pairwise(steps)) < 20


def test_a_flood_of_alarms_is_thinned_too():
    flood = [{"kind": "alarm", "samples": k} for k in range(9000)]
    found = dashboard_log.thinned([*flood, *({"kind": "step", "samples": k} for k in range(9000))])
    assert len(found) == dashboard_log.MOST_ROWS
    assert sum(r["kind"] == "step" for r in found) == 1000


def test_a_log_larger_than_one_look_is_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard_log, "MOST_BYTES", 2000)
    log = bare(tmp_path / "run", *map(step, range(100)), "x" * 5000, step(100)) / "log.jsonl"
    seen, after, mark, bad = [], 0, None, 0
    for _ in range(40):
        found = rows(log, after, mark)
        seen += [r["step"] for r in found["rows"]]
        after, mark, bad = found["next"], found["mark"], bad + found["bad"]
        if not found["more"]:
            break
    assert seen == list(range(101))
    assert bad >= 1
    summary = Summary(log)
    while summary.look():
        pass
    assert summary.end["step"] == 100
    assert summary.whole


# ------------------------------------------------------------------------------------------------------------ states


def test_a_run_whose_lock_is_held_trains(runs, tmp_path):
    run = Run(bare(tmp_path / "run", step(5), yaml="preset: quick\nstop:\n  samples: 320\n"))
    with run.lock():
        row = listed(tmp_path)
        assert (row["state"], row["why"], row["share"]) == ("training", "here", 0.5)
    row = listed(tmp_path)
    assert (row["state"], row["why"]) == ("stopped", "ended")


def test_looking_never_takes_the_lock(tmp_path):
    run = Run(bare(tmp_path / "run", step(5)))
    board = Dashboard(Shelf(tmp_path))
    for _ in range(50):
        board.listing()
        with run.lock(notice=pytest.fail):
            board.listing()


def lock(run: Path, **values) -> None:
    told = {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat(), **values}
    (run / "lock.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({}, "training"),
        ({"pid": 2**22 + 7}, "stopped"),
        ({"since": "2001-01-01T00:00:00+00:00"}, "stopped"),  # the number is another process's by now
        ({"host": "elsewhere", "pid": 1}, "training"),
        ({"pid": "1"}, "stopped"),
        ({"pid": -1}, "stopped"),
        ({"pid": 10**40}, "stopped"),
        ({"host": None}, "stopped"),
    ],
)
def test_who_holds_a_lock(tmp_path, held, expected):
    run = bare(tmp_path / "run", step(5))
    lock(run, **held)
    assert listed(tmp_path)["state"] == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([step(9), STOP], ("finished", "samples")),
        ([step(9), {**STOP, "reason": "time"}], ("finished", "time")),
        ([step(9), {**STOP, "reason": "signal"}], ("stopped", "signal")),
        ([step(9), STOP, step(10)], ("stopped", "ended")),
        ([step(9)], ("stopped", "ended")),
        ([], ("stopped", "unbegun")),
        (["not json"], ("broken", "log")),
        (["not json", step(1), STOP], ("finished", "samples")),
    ],
)
def test_how_runs_end(tmp_path, lines, expected):
    bare(tmp_path / "run", *lines)
    row = listed(tmp_path)
    assert (row["state"], row["why"]) == expected


@pytest.mark.parametrize(
    "yaml", ["", "- a list", "a: [", "a: &x [1]\nb: *x", "\x00", "preset: {a: 1}\n? [1]\n: 2"], ids=range(6)
)
def test_a_broken_experiment_is_said_and_breaks_nothing(tmp_path, yaml):
    bare(tmp_path / "broken", step(1), yaml=yaml)
    bare(tmp_path / "whole", step(1))
    found = {r["name"]: r for r in Dashboard(Shelf(tmp_path)).listing()["runs"]}
    assert found["whole"]["state"] == "stopped"
    assert found["broken"]["state"] == "broken"
    assert "experiment.yaml" in found["broken"]["text"]


# --------------------------------------------------------------------------------------------------- hostile files


def written(samples: str = "1", kind: str = '"step"') -> str:
    return f'{{"kind": {kind}, "samples": {samples}, "step": 1, "seconds": 1}}'


HOSTILE = [
    *("[]", "null", '"step"', "{}", '{"kind": "step"}', "[" * 90_000, "\x00\x01\x02"),
    *(written(kind='"evil"'), written(kind='["step"]')),
    *(written(samples) for samples in ("1e999", "-1", "NaN", "true", '"1"', "9" * 5000)),
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_a_line_that_is_no_row_is_left_out(tmp_path, line):
    log = bare(tmp_path / "run", line, step(7)) / "log.jsonl"
    found = rows(log)
    assert [r["step"] for r in found["rows"]] == [7]
    assert found["bad"] == 1
    assert listed(tmp_path)["samples"] == 224


def test_values_of_other_shapes_cannot_be_told(tmp_path):
    odd = {
        "kind": "step",
        "samples": 1,
        "step": 1,
        "seconds": 1,
        "loss/generator": "NaN",
        "a": [1],
        "b": {"c": 1},
        "d": "text",
        "e": 10**400,
        "alarms": "all",
        "f": 1e308,
        **{f"k{k}": k for k in range(500)},
    }
    score = {"kind": "score", "samples": 1, "step": 1, "seconds": 1, "scores": [1], "best": "yes"}
    alarm = {"kind": "alarm", "samples": 1, "step": 1, "seconds": 1, "text": "\ud800" + "x" * 10**5}
    endless = written(kind='"score", "scores": {"fd": Infinity}')
    bare(tmp_path / "run", odd, score, alarm, endless)
    with client(tmp_path, tmp_path / "room") as page:
        answer = page.get("/api/runs/log?run=run")
        assert answer.status_code == 200, answer.text
        seen = {}
        for found in answer.json()["rows"]:
            seen.setdefault(found["kind"], found)
        assert seen["step"]["loss/generator"] is None
        assert not {"a", "b", "d"} & set(seen["step"])
        assert (seen["step"]["e"], seen["step"]["f"], seen["step"]["alarms"]) == (None, None, [])
        assert len(seen["step"]) <= dashboard_log.MOST_KEYS + 5
        assert (seen["score"]["scores"], seen["score"]["best"]) == ({}, False)
        assert len(seen["alarm"]["text"]) == dashboard_log.MOST_TEXT
        listing = page.get("/api/runs").json()["runs"][0]
        assert listing["last"] == {"fd": None}


def test_links_and_pipes_are_not_followed(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    run = bare(tmp_path / "runs" / "run", step(1))
    (run / "samples" / "000000001.png").symlink_to(secret)
    os.mkfifo(run / "samples" / "000000002.png")
    (run / "samples" / "000000003.png").write_bytes(b"no picture")
    (run / "samples" / "latest.png").write_bytes(secret.read_bytes())
    board = Dashboard(Shelf(tmp_path / "runs"))
    assert board.log("run", 0, None)["saved"] == [1, 2, 3]
    for index in range(3):
        with pytest.raises(Refused):
            board.picture("run", index)
    other = bare(tmp_path / "runs" / "other")
    (other / "log.jsonl").unlink()
    (other / "log.jsonl").symlink_to(secret)
    third = bare(tmp_path / "runs" / "third")
    (third / "log.jsonl").unlink()
    os.mkfifo(third / "log.jsonl")
    states = {r["name"]: r["state"] for r in board.listing()["runs"]}
    assert states == {"run": "stopped", "other": "broken", "third": "broken"}
    for name in ("other", "third"):
        with pytest.raises(Refused, match="cannot be read"):
            board.log(name, 0, None)


def test_a_run_that_is_deleted_meanwhile_is_gone(tmp_path):
    run = bare(tmp_path / "run", step(1))
    bare(tmp_path / "stays", step(1))
    board = Dashboard(Shelf(tmp_path))
    assert len(board.listing()["runs"]) == 2
    shutil.rmtree(run)
    assert [r["name"] for r in board.listing()["runs"]] == ["stays"]
    assert list(board.logs) == [tmp_path / "stays"]
    with pytest.raises(Refused):
        board.log("run", 0, None)


def test_a_log_that_is_deleted_is_begun_anew(tmp_path):
    run = bare(tmp_path / "run", step(9))
    board = Dashboard(Shelf(tmp_path))
    assert board.listing()["runs"][0]["samples"] == 288
    (run / "log.jsonl").unlink()
    assert board.listing()["runs"][0]["samples"] == 0
    answer = board.log("run", 500, 1)
    assert (answer["rows"], answer["next"], answer["again"]) == ([], 0, True)


def test_hundreds_of_runs_are_listed_in_a_moment(tmp_path):
    text = "".join(json.dumps(step(k)) + "\n" for k in range(300)) + json.dumps(STOP) + "\n"
    for k in range(200):
        (bare(tmp_path / f"{k:04d}") / "log.jsonl").write_text(text)
    board = Dashboard(Shelf(tmp_path))
    while board.listing()["reading"]:
        pass
    began = time.perf_counter()
    found = board.listing()["runs"]
    assert time.perf_counter() - began < 1.0
    assert {r["state"] for r in found} == {"finished"}
    assert len(found) == 200

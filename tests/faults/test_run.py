"""The run directory under kills, rivals, full disks and bad places."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from gannet.core.errors import DataError, ResourceError, UsageError
from gannet.engine import checkpoint
from gannet.engine.run import Run, environment, write_text_atomic


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "runs", "quick-digits")


# ---------------------------------------------------------------------------------------------- making and finding


def test_the_next_path_is_the_one_that_is_made(tmp_path):
    parent = tmp_path / "runs"
    for name in ("gan-digits", "gan-folder(./my faces)", "x" * 300, "…"):
        expected = Run.next_path(parent, name)
        assert not expected.exists()
        assert Run.create(parent, name).path == expected
    assert Run.next_path(parent, "gan-digits").name == "0005-gan-digits"


def test_a_place_that_holds_something_is_not_free(tmp_path, run):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "none"):
        assert Run.check_free(path) == path
    assert not (tmp_path / "none").exists()
    run.experiment.write_text("x")
    for path, says in ((run.path, "already holds a run"), (tmp_path, "not empty"), (tmp_path / "file", "Not a dir")):
        with pytest.raises(UsageError, match=says):
            Run.check_free(path)


def test_runs_are_numbered_and_named(tmp_path):
    first = Run.create(tmp_path / "deep" / "runs", "quick-digits")
    second = Run.create(first.path.parent, "wgan-gp-folder(./my faces, size=64)")
    (first.path.parent / "0041-old").mkdir()
    third = Run.create(first.path.parent, "x" * 300)
    assert [r.path.name[:20] for r in (first, second, third)] == [
        "0001-quick-digits",
        "0002-wgan-gp-folder-",
        "0042-" + 15 * "x",
    ]
    assert second.path.name == "0002-wgan-gp-folder-my-faces-size-64"
    assert sorted(p.name for p in first.path.iterdir()) == ["checkpoints", "samples"]
    assert first.sample_path(7) == first.path / "samples" / "000000007.png"


def test_runs_made_at_the_same_time_get_numbers_of_their_own(tmp_path):
    made: list[Run] = []
    threads = [threading.Thread(target=lambda i=i: made.append(Run.create(tmp_path, f"run{i % 2}"))) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(r.path.name[:4]) for r in made) == list(range(1, 13))


def test_an_explicit_directory_must_be_new_or_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    assert Run.at(tmp_path / "empty").samples.is_dir()
    fancy = Run.at(tmp_path / "with spaces" / "ünï")
    assert fancy.checkpoints.is_dir()
    fancy.experiment.write_text("preset: quick\n")
    with pytest.raises(UsageError, match=r"already holds a run\. Go on with it: gannet resume"):
        Run.at(fancy.path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(UsageError, match=r"is not empty \(it holds chapter\.tex\)"):
        Run.at(tmp_path / "thesis")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize("tail", ["file", "file/below", "n" * 300, "nul\0"])
def test_places_that_take_no_files_are_refused(tmp_path, tail):
    (tmp_path / "file").touch()
    for make in (Run.at, Run.create):
        with pytest.raises(UsageError, match=r"Nothing can be written in .*: .*\. Choose another with --run DIR"):
            make(tmp_path / tail)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_read_only_place_is_refused_before_training(tmp_path, monkeypatch, number):
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UsageError, match=os.strerror(number)):
        Run.at(tmp_path / "run")


def test_open_finds_runs_and_suggests_the_nearest(run, tmp_path):
    run.experiment.write_text("preset: quick\n")
    assert Run.open(str(run.path)) == run
    with pytest.raises(UsageError, match=r"does not exist\. Did you mean: .*0001-quick-digits\?"):
        Run.open(run.path.with_name("0001-quick-digit"))
    with pytest.raises(UsageError, match=r"it has no experiment\.yaml"):
        Run.open(tmp_path)
    with pytest.raises(UsageError, match="it is a file"):
        Run.open(run.experiment)


# ------------------------------------------------------------------------------------------------------------ lock


HOLD = """
import sys, time
from pathlib import Path
from gannet.engine.run import Run
with Run(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_is_held_by_one_process_and_let_go_by_a_kill(run):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        whose = rf"in use by process {other.pid} on {socket.gethostname()} since 20\d\d-"
        with pytest.raises(UsageError, match=whose), run.lock():
            pytest.fail("the lock was given twice")
        other.send_signal(signal.SIGKILL)
        other.wait(10)
    with (
        pytest.warns(UserWarning, match=rf"taking over from process {other.pid} on .*ended without letting go"),
        run.lock(),
    ):
        assert json.loads((run.path / "lock.json").read_text())["pid"] == os.getpid()


def test_one_process_cannot_hold_a_run_twice(run):
    with run.lock():
        with pytest.raises(UsageError, match=f"in use by process {os.getpid()}"), run.lock():
            pytest.fail("the lock was given twice")
        assert json.loads((run.path / "lock.json").read_text())["pid"] == os.getpid()


def test_a_lock_let_go_is_free_without_a_notice(run):
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(ValueError, match="inside"), run.lock(said.append):
            raise ValueError("inside")
    assert said == []
    assert (run.path / "lock.json").read_text() == ""


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 1'])
def test_a_lock_file_torn_by_a_kill_does_not_stop_the_next(run, text):
    (run.path / "lock.json").write_text(text)
    with run.lock():
        assert json.loads((run.path / "lock.json").read_text())["pid"] == os.getpid()


def test_without_locks_in_the_file_system_the_process_id_decides(run, monkeypatch):
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(10)
    said: list[str] = []

    def left_by(host: str, pid: int) -> None:
        (run.path / "lock.json").write_text(json.dumps({"host": host, "pid": pid, "since": "2026-01-01"}))

    left_by(socket.gethostname(), os.getpid())
    with pytest.raises(UsageError, match="in use"), run.lock(said.append):
        pytest.fail("taken from a living process")
    left_by("another-machine", gone.pid)
    with pytest.raises(UsageError, match="on another-machine"), run.lock(said.append):
        pytest.fail("taken from a process that cannot be asked")
    left_by(socket.gethostname(), gone.pid)
    with run.lock(said.append):
        assert len(said) == 1


# ------------------------------------------------------------------------------------------------------------- log


def test_numbers_come_back_from_the_log(run):
    record = {
        "samples": np.int64(7),
        "loss": torch.tensor(0.5),
        "rate": 1 / 3,
        "scores": [np.float32(2.5), float("nan"), float("inf")],
        "terms": {"r1": -math.inf},
        "note": "ünï\nline",
    }
    run.append(record)
    run.append({"samples": 8})
    assert run.log.read_bytes().count(b"\n") == 2
    strict = [
        json.loads(line, parse_constant=lambda _: pytest.fail("not JSON")) for line in run.log.read_text().splitlines()
    ]
    assert strict[0]["scores"] == [2.5, "NaN", "Infinity"]
    first, second = run.read_log()
    assert second == {"samples": 8}
    assert math.isnan(first["scores"].pop(1))
    assert first == {**record, "samples": 7, "loss": 0.5, "scores": [2.5, math.inf]}


def test_resume_leaves_no_gap_no_repeat_and_no_torn_line(run):
    assert (run.log_position(), run.read_log()) == (0, [])
    for step in range(3):
        run.append({"step": step})
    position = run.log_position()
    assert position == run.log.stat().st_size
    for step in range(3, 6):
        run.append({"step": step})
    with open(run.log, "ab") as file:
        file.write(b'{"step": 6, "lo')
    assert [r["step"] for r in run.read_log()] == [0, 1, 2, 3, 4, 5]

    run.truncate_log(position)
    assert run.log.stat().st_size == position
    for step in range(3, 7):
        run.append({"step": step})
    assert [r["step"] for r in run.read_log()] == list(range(7))
    run.truncate_log(0)
    assert run.read_log() == []


def test_a_log_that_somebody_shortened_is_kept_with_a_warning(run):
    run.append({"step": 0})
    run.append({"step": 1})
    position = run.log_position()
    os.truncate(run.log, position - 3)
    with pytest.warns(UserWarning, match="lines are missing"):
        run.truncate_log(position)
    run.append({"step": 2})
    assert run.read_log() == [{"step": 0}, {"step": 2}]
    run.log.unlink()
    with pytest.warns(UserWarning, match="lines are missing"):
        run.truncate_log(position)


@pytest.mark.parametrize("line", ["{broken", "[1]", "7"])
def test_a_broken_line_inside_the_log_is_named(run, line):
    run.append({"step": 0})
    with open(run.log, "a") as file:
        file.write(line + "\n")
    run.append({"step": 2})
    with pytest.raises(DataError, match=r"log\.jsonl, line 2 is not a JSON object"):
        run.read_log()


def test_a_disk_full_inside_a_line_leaves_whole_lines(run, monkeypatch):
    run.append({"step": 0})
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
        with pytest.raises(ResourceError, match="No space left"):
            run.append({"step": 1})
    run.append({"step": 2})
    assert run.read_log() == [{"step": 0}, {"step": 2}]


def test_a_run_deleted_in_the_middle_is_an_error_that_says_so(run):
    run.log.parent.rename(run.path.with_name("moved"))
    with pytest.raises(ResourceError, match=r"log\.jsonl could not be written: No such file"):
        run.append({"step": 0})


# ----------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("boundary", ["open", "write", "fsync", "rename"])
def test_a_text_file_is_the_old_or_the_new(tmp_path, monkeypatch, boundary):
    path = tmp_path / "new" / "experiment.yaml"
    write_text_atomic(path, "old: ü\n")

    def fail(reached: str) -> None:
        if reached == boundary:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FAULT", fail)
        with pytest.raises(ResourceError, match=r"experiment\.yaml could not be written: No space left"):
            write_text_atomic(path, "new\n")
    assert path.read_text(encoding="utf-8") == "old: ü\n"
    assert os.listdir(path.parent) == ["experiment.yaml"]
    write_text_atomic(path, "new\n")
    assert path.read_text() == "new\n"


def test_the_environment_is_json_and_complete():
    found = json.loads(json.dumps(environment("cpu", 2)))
    assert (found["device"], found["world_size"], found["torch"]) == ("cpu", 2, torch.__version__)
    assert found["threads"] == torch.get_num_threads()
    assert found["command"] == sys.argv
    assert {"gannet", "python", "numpy", "platform", "processors"} <= found.keys()

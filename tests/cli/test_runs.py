"""The command line over real runs, in processes of their own: training, stopping, resuming, sampling."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from gannet.cli import main

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}
TINY = ["gan", "data=digits", "data.limit=200", "batch=8", "stop.minutes=none", "device=cpu", "threads=1"]


def gannet(*words, cwd):
    command = [sys.executable, "-m", "gannet", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=ENV, cwd=cwd, timeout=120)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with one tiny run in runs/, and what its training said."""
    where = tmp_path_factory.mktemp("cli")
    words = [*TINY, "stop.samples=64", "evaluate.n=50", "evaluate.every=32"]
    done = gannet("train", *words, cwd=where)
    assert done.returncode == 0, done.stderr
    return where, done


@pytest.fixture
def inside(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    return trained[0] / "runs" / "0001-gan-digits"


def test_training_says_where_how_well_and_what_next(trained):
    where, done = trained
    lines = done.stdout.splitlines()
    assert lines[0] == "run: runs/0001-gan-digits"
    assert lines[1] == "stopped at 64 samples: all planned samples were seen"
    scores = {line.split()[0]: line.split()[1:] for line in lines if line.startswith(("fd[", "precision"))}
    assert set(scores) == {"fd[digits-classifier]", "precision"}
    assert all(len(row) == 2 and float(row[0]) >= 0 and float(row[1]) >= 0 for row in scores.values())
    grid = next(line for line in lines if line.startswith("sample grid: ")).removeprefix("sample grid: ")
    with Image.open(where / grid) as picture:
        assert min(picture.size) > 50
    assert "64 / 64 samples" in done.stderr
    assert [p.name for p in where.iterdir()] == ["runs"]


def test_the_next_commands_work_as_they_are_printed(trained, inside, capsys):
    lines = trained[1].stdout.splitlines()
    following = [shlex.split(line) for line in lines[lines.index("next:") + 1 :]]
    assert [words[:3] for words in following] == [
        ["gannet", verb, "runs/0001-gan-digits"] for verb in ("sample", "resume", "explain")
    ]
    assert following[1][3:] == ["stop.minutes=5"]
    assert main(following[0][1:]) == 0
    assert main(following[2][1:]) == 0
    assert "[runs/0001-gan-digits/experiment.yaml]" in capsys.readouterr().out


def test_samples_are_the_same_bytes_however_many_are_asked_for(inside, tmp_path):
    few, many, other = (tmp_path / name for name in ("few.npy", "many.npy", "other.npy"))
    assert main(["sample", str(inside), "--n", "5", "--seed", "3", "--out", str(few)]) == 0
    assert main(["sample", str(inside), "--n", "70", "--seed", "3", "--out", str(many)]) == 0
    assert main(["sample", str(inside), "--n", "5", "--seed", "4", "--out", str(other)]) == 0
    assert np.load(few).shape == (5, 8, 8, 1)
    assert np.load(many).shape == (70, 8, 8, 1)
    np.testing.assert_array_equal(np.load(few), np.load(many)[:5])
    assert (np.load(few) != np.load(other)).any()


def test_samples_go_into_the_run_and_the_path_is_printed(inside, capsys):
    assert main(["sample", "0001-gan-digits", "--seed", "9", "--label", "7", "--which", "best"]) == 0
    path = capsys.readouterr().out.strip()
    assert path == "runs/0001-gan-digits/samples/seed-9-class-7.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"


def test_a_folder_takes_one_file_a_sample(inside, tmp_path):
    assert main(["sample", str(inside), "--n", "3", "--out", str(tmp_path / "apart")]) == 0
    assert len(list((tmp_path / "apart").glob("*.png"))) == 3


@pytest.mark.parametrize(
    ("words", "code", "teaches"),
    [
        ("sample 0001-gan-digitz", 2, "Did you mean: runs/0001-gan-digits?"),
        ("resume runs/0001-gna-digits", 2, "Did you mean: runs/0001-gan-digits?"),
        ("sample runs/0001-gan-digits --label eleven", 2, "unknown label 'eleven'"),
        ("sample runs/0001-gan-digits --n 0", 2, "n=0"),
        ("sample runs/0001-gan-digits --truncation nan", 2, "truncation=nan"),
        ("sample runs/0001-gan-digits --out x.jpg", 2, "x.jpg"),
        ("sample runs/0001-gan-digits --out /proc/none/x.png", 2, "/proc/none"),
        ("sample runs/0001-gan-digits --which none", 4, "checkpoints/none"),
        ("resume runs/0001-gan-digits batch=4", 2, "batch cannot change when a run goes on"),
        ("resume runs/0001-gan-digits stop.sample=4", 2, "Did you mean: samples?"),
        ("train gan --run runs/0001-gan-digits", 2, "already holds a run"),
        ("train gan --run runs/0001-gan-digits -n", 2, "runs/0001-gan-digits"),
    ],
)
def test_mistakes_about_runs(words, code, teaches, inside, capsys):
    before = sorted(inside.rglob("*"))
    assert main(words.split()) == code
    said = capsys.readouterr()
    assert teaches in said.err
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
    assert sorted(inside.rglob("*")) == before


def test_a_dry_run_shows_everything_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *TINY, "stop.samples=6400", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"batch +8 +\[command line\]", said)
    assert re.search(r"generator\.width +256 +\[preset gan\]", said)
    assert re.search(r"seed +0 +\[default\]", said)
    assert "generator: mlp(width=256, layers=3, latent=64, norm=batch), 168,000 parameters" in said
    memory = float(re.search(r"memory +([\d.]+) (MiB|GiB)", said)[1])
    rate = float(re.search(r"speed +([\d,]+) samples/s, measured over 3 steps", said)[1].replace(",", ""))
    assert memory > 0
    assert rate > 0
    assert re.search(r"time +about [\d.]+ \w+ for 6,400 samples", said)
    assert "writes   runs/0001-gan-digits/" in said
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_on_from_the_runs_that_are_there(inside, capsys):
    assert main(["train", *TINY, "stop.samples=8", "-n"]) == 0
    assert "writes   runs/0002-gan-digits/" in capsys.readouterr().out
    assert [p.name for p in inside.parent.iterdir()] == ["0001-gan-digits"]


def test_doctor_tries_the_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANNET_DATA", str(tmp_path))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    heads = [line.split()[0] for line in said.splitlines()]
    assert heads == ["gannet", "with", "device", "threads", "memory", "disk", "extras", "data", "test"]
    assert "trained 640 samples" in said
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("GANNET_DATA", str(tmp_path / "none"))
    assert main(["doctor"]) == 3
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_commits_and_the_run_goes_on(sent, code, tmp_path, monkeypatch, capsys):
    words = [*TINY, "stop.samples=8000000", "evaluate.metrics=[]", "keep.log=80"]
    command = [sys.executable, "-m", "gannet", "train", *words, "--run", "mine"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV, cwd=tmp_path
    )
    try:
        log = tmp_path / "mine" / "log.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and '"kind": "step"' in log.read_text():
                break
            time.sleep(0.05)
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert err.splitlines()[-1].endswith("Go on with: gannet resume mine")
    stopped = int(re.search(r"stopped at ([\d,]+) samples: a signal asked for it", out)[1].replace(",", ""))
    assert stopped > 0
    committed = json.loads((tmp_path / "mine" / "log.jsonl").read_text().splitlines()[-1])
    assert (committed["kind"], committed["samples"]) == ("stop", stopped)

    monkeypatch.chdir(tmp_path)
    assert main(["resume", "mine", f"stop.samples={stopped + 16}"]) == 0
    assert f"stopped at {stopped + 16:,} samples: all planned" in capsys.readouterr().out


def test_two_processes_speak_with_one_voice(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "gannet"]
    words = ["train", *TINY, "stop.samples=32", "evaluate.metrics=[]"]
    env = {**ENV, "TMPDIR": str(tmp_path)}  # torchrun leaves a folder of its own wherever temporary files go
    done = subprocess.run([*command, *words], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("stopped at 32 samples") == 1
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["0001-gan-digits"]
    facts = json.loads((tmp_path / "runs" / "0001-gan-digits" / "environment.json").read_text())
    assert facts["world_size"] == 2

"""`gannet data`: words to calls, results on stdout, and refusals with their exit codes."""

import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from gannet.cli import main
from gannet.core.registry import SOURCES


@pytest.fixture(autouse=True)
def pictures(tmp_path, monkeypatch):
    """A directory to stand in, with seventy grey pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    (tmp_path / "faces").mkdir()
    for k in range(70):
        noise = np.random.default_rng(k).integers(256, size=(8, 8), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "faces" / f"{k}.png")
    return tmp_path / "faces"


def said(capsys, code, *words):
    assert main(["data", *words]) == code
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    assert "internal error" not in found.err
    return found


def test_pack_and_train_names(capsys):
    out = said(capsys, 0, "pack", "faces", "packed", "--size", "4", "--shard-mb", "0.001").out
    assert re.fullmatch(r"packed packed: 63 train, 7 test rows, 0\.0 MiB\. Train with: data=\./packed\n", out)
    assert "already packed" in said(capsys, 0, "pack", "./faces", "./packed", "--size", "4", "--shard-mb", "0.001").out
    assert said(capsys, 2, "pack", "faces", "packed", "--size", "5").err.startswith("error: packed was packed with")
    assert main(["explain", "gan", "data=./packed"]) == 0
    assert "shards" in capsys.readouterr().out


def test_inspect_as_a_table(capsys):
    out = said(capsys, 0, "inspect", "faces").out
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(" "))
    assert lines["samples"] == "train: 63, test: 7"
    assert lines["becomes"] == "1×8×8"
    assert "warning: 63 training samples are fewer than a batch of 64. Set batch=, or add some." in out
    assert "look alike" not in out
    assert "look alike: 0" in said(capsys, 0, "inspect", "faces", "--near").out


def test_inspect_as_json_has_stable_keys(capsys, pictures):
    (pictures / "bad.png").write_text("x")
    found = said(capsys, 3, "inspect", "faces", "--json")
    assert "error: training would refuse this: faces: 1 unreadable file, bad.png" in found.err
    report = json.loads(found.out)
    assert list(report) == [
        *("version", "source", "kind", "splits", "classes", "sizes", "modes", "training", "unreadable", "others"),
        *("constant", "duplicates", "shape", "memory", "seconds", "warnings", "refused"),
    ]
    assert report["version"] == 1
    assert list(report["unreadable"]) == ["bad.png"]
    assert json.loads(said(capsys, 0, "inspect", "faces", "--json", "--on-bad", "skip").out)["refused"] is None


@pytest.mark.parametrize(
    ("words", "code", "match"),
    [
        (["inspect", "nothing-here"], 2, "unknown data source 'nothing-here'"),
        (["inspect", "./nothing-here"], 3, "does not exist"),
        (["inspect", "faces", "--crop", "centre"], 2, "centre"),
        (["inspect", "faces", "--test", "2"], 2, "test=2.0 is not a share"),
        (["pack", "points", "out", "--size", "8"], 2, "points has no option 'size'"),
        (["pack", "faces"], 2, "See: gannet data pack --help"),
        (["pakc", "faces"], 2, "pakc"),
        (["pack", "faces", "out", "--shard-mb", "0"], 2, "shard_mb=0"),
        (["pack", "faces", "out", "--size", "big"], 2, "'--size'"),
    ],
)
def test_mistakes_are_told(capsys, tmp_path, words, code, match):
    found = said(capsys, code, *words)
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert match in found.err
    assert not (tmp_path / "out").exists()


def test_help_speaks_of_both(capsys):
    out = said(capsys, 0, "--help").out
    assert "pack" in out
    assert "inspect" in out


def test_the_page_names_every_source_with_its_options(root):
    page = (root / "docs" / "data.md").read_text(encoding="utf-8").split("\n## Sources\n")[1].split("\n## ")[0]
    told = {
        cells[1].strip(" `"): cells[3].strip(" `").split()
        for cells in (line.split("|") for line in page.splitlines() if line.startswith("| `"))
    }
    ours = [name for name in SOURCES.names() if SOURCES.get(name).__module__.startswith("gannet.data.")]
    assert told == {name: list(SOURCES.options(name)) for name in ours}

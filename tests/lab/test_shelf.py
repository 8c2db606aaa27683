"""The shelf: runs by name, found anew, and what a folder may hold beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gannet.core.errors import UsageError
from gannet.lab import shelf as module
from gannet.lab.door import Refused
from gannet.lab.shelf import Shelf


def put(folder: Path, when: float | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "experiment.yaml"
    file.write_text("preset: quick\n")
    if when is not None:
        os.utime(file, (when, when))
    return folder


def test_runs_are_named_by_their_place_newest_first(tmp_path):
    put(tmp_path / "0001-a", 100)
    put(tmp_path / "deep" / "er" / "0002-b", 300)
    put(tmp_path / "0003-c", 200)
    put(tmp_path / ".hidden")
    put(tmp_path / "1" / "2" / "3" / "too-deep")
    (tmp_path / "link").symlink_to(tmp_path / "0001-a")
    found = Shelf(tmp_path)
    assert list(found.runs()) == ["deep/er/0002-b", "0003-c", "0001-a"]
    assert found.get("deep/er/0002-b") == tmp_path / "deep" / "er" / "0002-b"
    assert found.alone is None


def test_a_run_alone_has_its_directory_s_name(tmp_path, monkeypatch):
    run = put(tmp_path / "0001-a")
    assert Shelf(run).alone == "0001-a"
    monkeypatch.chdir(run)
    assert Shelf(Path(".")).runs() == {"0001-a": Path(".")}


@pytest.mark.parametrize("name", ["", "..", "../0001-a", "/etc", "0001-a/../0001-a", "0001-a/samples", "0001-A"])
def test_only_names_on_the_shelf_are_runs(tmp_path, name):
    put(tmp_path / "runs" / "0001-a")
    put(tmp_path / "0001-a")
    with pytest.raises(Refused, match="no such run"):
        Shelf(tmp_path / "runs").get(name)


def test_a_run_that_begins_is_found_and_one_that_is_gone_is_not(tmp_path):
    first = put(tmp_path / "0001-a")
    found = Shelf(tmp_path)
    second = put(tmp_path / "0002-b")
    assert found.get("0002-b") == second
    (first / "experiment.yaml").unlink()
    with pytest.raises(Refused):
        found.get("0001-a")
    assert list(found.runs()) == ["0002-b"]


def test_folders_that_vanish_or_may_not_be_read_are_passed_over(tmp_path, monkeypatch):
    put(tmp_path / "0001-a")
    (tmp_path / "shut").mkdir()
    listed = Path.iterdir

    def refusing(self):
        if self.name == "shut":
            raise PermissionError(13, "shut")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", refusing)
    assert list(Shelf(tmp_path).runs()) == ["0001-a"]


def test_a_name_that_is_no_text_is_left_out(tmp_path):
    put(tmp_path / "0001-a")
    os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")))
    assert list(Shelf(tmp_path).runs()) == ["0001-a"]


def test_a_disk_is_not_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_FOLDERS", 5)
    for k in range(9):
        (tmp_path / f"{k}").mkdir()
    put(tmp_path / "z")
    with pytest.raises(UsageError, match="holds no runs"):
        Shelf(tmp_path)


def test_a_wrong_place_is_said(tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match=r"is no directory\. Did you mean: .*runs\?"):
        Shelf(tmp_path / "rums")
    with pytest.raises(UsageError, match="holds no runs"):
        Shelf(tmp_path / "runs")
    assert Shelf().runs() == {}
    assert Shelf().alone is None

"""`gannet bench results` on the command line: lists, pages, mistakes. Training is tested with the cells."""

import pytest

from gannet import bench
from gannet.cli import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_list_says_how_every_cell_stands(capsys, elsewhere):
    assert main(["bench", "results", "--list", "--data", "digits", "--presets", "quick,gan", "--seeds", "0"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "not run   quick on digits, 60 s, seed 0",
        "not run   gan on digits, 60 s, seed 0",
        "not run   quick on digits, 180 s, seed 0",
        "not run   gan on digits, 180 s, seed 0",
    ]
    assert list(elsewhere.iterdir()) == []


def test_a_budget_of_nothing_writes_a_page_of_what_is_there(capsys, elsewhere):
    assert main(["bench", "results", "--minutes", "0", "--out", "page.md"]) == 0
    said = capsys.readouterr()
    assert said.out == "page.md\n"
    cells = len(bench.image_presets()) * 2 * 2 * 3  # two sets of data, two lengths, three seeds
    assert said.err == f"0 minutes are spent; {cells} of {cells} cells are left\n"
    page = (elsewhere / "page.md").read_text()
    waiting = ", ".join(bench.image_presets())
    assert page.count(f"\nNot run yet: {waiting}.\n") == 4
    assert main(["bench", "results", "--render-only", "--out", "page.md"]) == 0
    assert (elsewhere / "page.md").read_text() == page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "1;2"], "--seeds '1;2' is no list of whole numbers"),
        (["--seconds", ""], "--seconds '' is no list"),
        (["--presets", "quik"], "Did you mean: quick?"),
        (["--out", "page.html"], "Write --out page.md"),
        (["--sedes", "1"], "No such option: --sedes"),
    ],
)
def test_mistakes_are_one_line_that_teaches(capsys, elsewhere, words, said):
    assert main(["bench", "results", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert said in err
    assert len(err.splitlines()) == 1
    assert list(elsewhere.iterdir()) == []


def test_a_slip_in_the_commands_own_name_is_understood(capsys):
    assert main(["bensh", "results"]) == 2
    assert "Did you mean: bench?" in capsys.readouterr().err

"""`gannet compare`: what is put side by side, on which page, and what is not comparable."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import gannet
from gannet import api
from gannet.cli import main
from gannet.comparison import Comparison

pytestmark = pytest.mark.filterwarnings("ignore:mode collapse", "ignore:the discriminator is far ahead")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """Runs: two alike but for seed and rate, one scored otherwise, one of fewer classes, one without scores."""
    where = tmp_path_factory.mktemp("compare")
    scored = {
        **tiny("gan", data="digits", evaluate__metrics=["frechet", "precision"], evaluate__n=30),
        "data.limit": 200,
    }
    runs: dict = {
        "one": {},
        "two": {"seed": 1, "optim.generator": "adam(lr=0.001, betas=[0.5, 0.999])"},
        "otherwise": {"evaluate.n": 20},
        "threes": {"data.labels": [3, 5]},
        "shorter": {"data.limit": 100},
        "plain": {"evaluate.metrics": []},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gannet.engine.plots.progress", lambda *_: None)  # it takes longer than the training
        for name, more in runs.items():
            api.train("gan", {**scored, **more}, where / "runs" / name)
    return where


@pytest.fixture(autouse=True)
def inside(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def rows(table):
    return {row[0]: row[1:] for row in table}


def test_facts_come_from_the_directories():
    found = gannet.compare(["one", "runs/two"])
    table = rows(found.facts())
    assert table[""] == ["one", "two"]
    assert table["samples"] == ["96", "96"]
    assert table["preset"] == ["gan", "gan"]
    assert table["seed"] == ["0", "1"]
    assert table["parameters"][0].replace(",", "").isdigit()
    scores = [r["scores"] for r in api.load("runs/one").run.read_log() if r["kind"] == "score"]
    assert found.sides[0].last["precision"].value == scores[-1]["precision"]
    best = min(scores, key=lambda s: s["fd[digits-classifier]"])
    assert found.sides[0].best["fd[digits-classifier]"].value == best["fd[digits-classifier]"]
    assert found.better == {"fd[digits-classifier]": "lower", "precision": "higher"}


def test_only_settings_that_differ_are_told():
    found = rows(gannet.compare(["one", "two"]).differences())
    assert set(found) == {"setting", "optim.generator"}
    assert found["optim.generator"][1] == "adam(lr=0.001, betas=[0.5, 0.999])"
    assert rows(gannet.compare(["one", "shorter"], scores=False).differences())["data"] == [
        "digits(limit=200)",
        "digits(limit=100)",
    ]


def test_with_n_all_are_measured_anew_on_test_rows(capsys):
    assert main(["compare", "one", "otherwise", "--n", "70", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"schema", "gannet", "runs", "differences", "better", "protocols", "notes"}
    assert re.search(r"n=70\|digits@\w{8}:test,seed=0\]", found["protocols"]["fd[digits-classifier]"])
    again = api.evaluate("runs/otherwise", n=70, metrics=["frechet"], seeds=3).rows[0].values["best"]
    np.testing.assert_allclose(found["runs"][1]["best"]["fd[digits-classifier]"]["value"], again.value)


def test_what_measures_anew_can_be_chosen(capsys):
    words = ["--n", "70", "--metrics", "frechet,recall(k=2)", "--extractor", "pca(components=8)", "--json"]
    assert main(["compare", "one", "plain", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["protocols"]) == ["fd[pca]", "recall(k=2)"]
    again = api.evaluate("runs/plain", n=70, metrics=["frechet"], extractor="pca(components=8)").rows[0].values["last"]
    np.testing.assert_allclose(found["runs"][1]["last"]["fd[pca]"]["value"], again.value)
    chosen = gannet.compare(["one", "otherwise"], metrics=["recall"])
    assert re.search(r",n=\d+\|digits@\w{8}:test,seed=0\]", chosen.protocols["recall"]), "by --n or without"


def test_a_run_without_scores_stands_beside_the_others():
    found = gannet.compare(["one", "plain"])
    assert rows(found.facts())["precision ↑ last"][1] == "–"
    assert gannet.compare(["plain", "one"], scores=False).protocols == {}


@pytest.mark.parametrize(
    ("words", "code", "teaches"),
    [
        ("one threes", 2, "as the classes of these runs differ (runs/one: 0, 1, 2"),
        ("one shorter", 2, "as the data of these runs differ (runs/one: "),
        ("one shorter --n 70", 2, "Compare runs of the same data, or without scores: --no-scores."),
        ("one otherwise", 2, "fd[digits-classifier] was taken in two ways"),
        ("one otherwise", 2, "n=20|digits"),
        ("one otherwise", 2, "Measure all alike with --n 2000"),
        ("one", 2, "1 given: give 2 to 12 different runs"),
        ("one two one", 2, "runs/one is there twice"),
        ("one tow", 2, "Did you mean: runs/two?"),
        ("one .", 2, "is no run"),
        ("one two --out page.pdf", 2, "Allowed: FILE.html, FILE.png"),
        ("one two --n 300", 2, "Use n from 1 to 297"),
        ("one two --n 70 --no-scores", 2, "leave out --no-scores, or --n, --metrics and --extractor"),
        ("one two --extractor clasifier", 2, "Did you mean: classifier"),
    ],
)
def test_mistakes(words, code, teaches, inside, capsys):
    assert main(["compare", *words.split(), *([] if "--out" in words else ["--out", "page.html"])]) == code
    said = capsys.readouterr()
    assert teaches in said.err
    assert said.out == ""
    assert not list(inside.glob("page.*"))


# --------------------------------------------------------------------------------------------------------- the page


class Page(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def test_the_page_is_whole_in_one_file(tmp_path, capsys):
    assert main(["compare", "one", "two", "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not page.all("script")
    assert not page.all("link")
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", text)
    assert "prefers-color-scheme: dark" in text
    pictures = [i["src"] for i in page.all("img")] + [s["srcset"] for s in page.all("source")]
    assert len(pictures) == 4  # curves for light and dark, and two grids
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture.removeprefix("data:image/png;base64,")))) as image:
            assert image.format == "PNG"
            assert image.width > 100
    assert all(len(image["alt"]) > 10 for image in page.all("img"))
    assert page.all("html") == [{"lang": "en"}]
    for told in ("optim.generator", "samples/s", "fd[digits-classifier] ↓ best", "one, after 96 samples"):
        assert told in page.text


def test_text_is_escaped():
    from dataclasses import replace

    from gannet.comparison_page import page

    found = gannet.compare(["one", "two"])
    evil = "<script>alert(1)</script>\" onerror='x'"
    sides = (replace(found.sides[0], name=evil, preset=evil, path=evil), found.sides[1])
    text = page(Comparison(sides, found.better, {evil: evil}, (), (evil,)))
    assert not Page(text).all("script")
    assert text.count("&lt;script&gt;") > 5
    assert all("onerror" not in attributes for _, attributes in Page(text).tags)


def test_a_grid_that_is_no_picture_is_left_out(tmp_path):
    from dataclasses import replace

    from gannet.comparison_page import page

    found = gannet.compare(["one", "two"])
    (tmp_path / "bad.png").write_bytes(b"<script>")
    sides = (replace(found.sides[0], grid=tmp_path / "bad.png"), replace(found.sides[1], grid=None))
    assert len(Page(page(replace(found, sides=sides))).all("img")) == 1


def test_the_picture_shows_all_of_it(tmp_path):
    path = gannet.compare(["one", "two", "plain"]).save(tmp_path / "page.png")
    with Image.open(path) as image:
        assert image.width > 800
        assert image.height > 1000
        assert len(image.getcolors(1 << 24)) > 100


def test_a_log_that_has_nothing_yet_is_no_obstacle(inside, tmp_path):
    import shutil

    shutil.copytree(inside / "runs" / "plain", tmp_path / "young")
    (tmp_path / "young" / "log.jsonl").write_text("")
    shutil.rmtree(tmp_path / "young" / "samples")
    found = gannet.compare(["plain", tmp_path / "young"])
    assert rows(found.facts())["samples/s"][1] == "–"
    found.save(tmp_path / "page.html")


def test_the_python_of_the_page_on_metrics_runs(root, inside, tmp_path, monkeypatch):
    page = (root / "docs" / "metrics.md").read_text()
    code = "".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    for told, there in (("runs/0001-quick-digits", "one"), ("runs/0002-dcgan-digits", "two")):
        assert told in code
        code = code.replace(told, str(inside / "runs" / there))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "metrics.md", "exec"), {})
    made = {"compare.png", "report.json", "digits-of-mine.json", "digits-of-mine.safetensors"}
    assert {p.name for p in tmp_path.iterdir()} == made

"""`gannet evaluate`: of a real run, of files, and every way to ask for what cannot be measured."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import gannet
from gannet import api
from gannet.cli import main
from gannet.core.errors import UsageError
from gannet.core.registry import SOURCES
from gannet.metrics.evaluator import Evaluator
from gannet.model import load

pytestmark = pytest.mark.filterwarnings("ignore:mode collapse", "ignore:the discriminator is far ahead")
FEW = ["--n", "80", "--metrics", "frechet,precision"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """A directory with a run of digits that scored twice, fakes of it as files, and odd folders."""
    where = tmp_path_factory.mktemp("evaluate")
    scored = tiny("gan", data="digits", evaluate__metrics=["frechet"], evaluate__n=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gannet.engine.plots.progress", lambda *_: None)  # it takes longer than the training
        run, _ = api.train("gan", {**scored, "data.limit": 200}, where / "runs" / "0001-gan-digits")
    api.sample(run.path, where / "fakes", n=100)
    api.sample(run.path, where / "fakes.npy", n=100)
    (where / "empty").mkdir()
    for name, size, mode in (("large", (9, 9), "L"), ("colour", (8, 8), "RGB")):
        (where / name).mkdir()
        for i in range(30):
            image = Image.fromarray(np.random.default_rng(i).integers(0, 255, (*size, 3), np.uint8)).convert(mode)
            image.save(where / name / f"{i}.png")
    (where / "jpeg").mkdir()
    for i, file in enumerate(sorted((where / "fakes").iterdir())):
        Image.open(file).save(where / "jpeg" / f"{i}.jpg")
    return where


@pytest.fixture(autouse=True)
def inside(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def evaluate(capsys, *words):
    assert main(["evaluate", *words]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out) if "--json" in words else capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- a run


def test_a_run_is_told_with_everything_a_number_depends_on(capsys):
    said = evaluate(capsys, "0001-gan-digits", *FEW)
    lines = said.splitlines()
    assert lines[0] == "runs/0001-gan-digits against digits(limit=200):test, 80 samples a side"
    number = r"-?[\d.,]+ ± [\d.,]+ \(sd [\d.,]+\)"
    row = next(line for line in lines if line.startswith("fd[digits-classifier]"))
    assert re.fullmatch(rf"fd\[digits-classifier\] +lower ↓ +{number} +{number} +[\d.]+", row.strip())
    assert re.search(r"fd\[digits-classifier@\w{8},8x8,n=80\|digits@\w{8}:test,seed=0\]$", said, re.MULTILINE)
    assert re.search(r"last: runs/0001-gan-digits@\d{9}(-\d)?,ema,truncation=1,seeds=0…2$", said, re.MULTILINE)
    assert re.search(r"best was chosen in training by fd\[.*n=30\|digits@\w{8}:train,seed=0\]", said)


def test_json_has_the_numbers_and_they_are_those_of_the_metrics(capsys):
    found = evaluate(capsys, "0001-gan-digits", "--json", *FEW)
    assert found.keys() == {"schema", "gannet", "what", "reference", "n", "seeds", "columns", "rows", "notes"}
    assert [column["name"] for column in found["columns"]] == ["last", "best"]
    distance = found["rows"][0]
    assert (found["n"], found["seeds"], distance["metric"]) == (80, 3, "fd[digits-classifier]")
    for value in distance["values"].values():
        assert len(value["seeds"]) == 3
        np.testing.assert_allclose(value["value"], np.mean(value["seeds"]))
        np.testing.assert_allclose(value["sd"], np.std(value["seeds"], ddof=1))
        assert value["interval"] > 0
        assert value["draws"] <= 200
    judge = Evaluator(SOURCES.build("digits(limit=200)"), n=80, metrics=["frechet"])
    np.testing.assert_allclose(distance["floor"], judge.floor()[judge.primary])
    assert found["rows"][1]["values"]["last"]["draws"] == 0


def test_the_labels_are_those_of_the_reference():
    report = gannet.evaluate("runs/0001-gan-digits", metrics=["frechet"], n=80, seeds=1, which="last")
    judge, model = (
        Evaluator(SOURCES.build("digits(limit=200)"), n=80, metrics=["frechet"]),
        load("runs/0001-gan-digits"),
    )
    from gannet.fakes import of_run

    expected, other = (
        judge.score(of_run("", model, y).generate(0))[judge.primary] for y in (judge.labels, lambda: None)
    )
    assert report.rows[0].values["last"].seeds == (expected,)
    assert expected != other


def test_one_checkpoint_can_be_asked_for(capsys):
    found = evaluate(capsys, "0001-gan-digits", "--json", "--which", "best", "--seeds", "1", *FEW)
    assert [column["name"] for column in found["columns"]] == ["best"]
    assert found["rows"][0]["values"]["best"]["sd"] is None


def test_a_run_without_scores_has_no_best(tiny, tmp_path, capsys):
    api.train("gan", tiny("gan", steps=2, data="digits"), tmp_path / "plain")
    found = evaluate(capsys, str(tmp_path / "plain"), "--json", "--seeds", "1", *FEW[2:], "--n", "66")
    assert [column["name"] for column in found["columns"]] == ["last"]
    assert "no best checkpoint" in found["notes"][0]
    assert "no floor: no 66 further reals are left; n=64 has one." in found["notes"]
    assert main(["evaluate", str(tmp_path / "plain"), "--which", "best", *FEW]) == 4
    assert "took no scores" in capsys.readouterr().err


def test_path_length_and_memorisation_are_taken_of_runs(capsys):
    words = ["--metrics", "path-length,authenticity", "--n", "50", "--seeds", "1", "--which", "last", "--json"]
    path, copies = evaluate(capsys, "0001-gan-digits", *words)["rows"]
    assert path["values"]["last"]["value"] > 0
    assert path["floor"] is None
    assert 0 <= copies["values"]["last"]["value"] <= 1
    assert copies["protocol"].endswith(":test,seed=0,train=200]")


# ------------------------------------------------------------------------------------------------ files and arrays


def test_files_and_arrays_of_the_same_samples_measure_alike(capsys):
    # All 100, as each is shuffled in its own way.
    words = ["--ref", "digits:test", "--metrics", "frechet", "--n", "100", "--json"]
    folder, array = (evaluate(capsys, name, *words)["rows"][0]["values"]["fakes"] for name in ("fakes", "fakes.npy"))
    held = api.evaluate(np.load("fakes.npy"), "digits", ["frechet"], 100).rows[0].values["fakes"]
    np.testing.assert_allclose([folder["value"], held.value], array["value"], rtol=1e-5)
    assert folder["sd"] is None
    assert len(folder["seeds"]) == 1


def test_a_source_held_in_python_is_a_reference():
    source = SOURCES.build("digits")
    report = api.evaluate("fakes", (source, "train"), ["precision"], 50)
    assert report.reference == "digits:train"
    assert ":train,seed=0]" in report.rows[0].protocol


def test_lossy_fakes_are_warned_of(capsys):
    with pytest.warns(UserWarning, match="not both lossless"):
        evaluate(capsys, "jpeg", "--ref", "digits", *FEW)


def test_a_report_is_written(tmp_path, capsys):
    said = evaluate(capsys, "fakes", "--ref", "digits", "--out", str(tmp_path / "r.txt"), *FEW)
    assert (tmp_path / "r.txt").read_text() == said
    evaluate(capsys, "fakes", "--ref", "digits", "--out", str(tmp_path / "r.json"), *FEW)
    assert json.loads((tmp_path / "r.json").read_text())["schema"] == 1


# --------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "code", "teaches"),
    [
        ("0001-gan-digits --n 16 --metrics frechet", 2, "Use n=65 or more, or kernel, which has no bias"),
        ("0001-gan-digits --n 500", 2, "digits:test has 297 rows to compare with. Use n from 1 to 297."),
        ("0001-gan-digits --metrics precison", 2, "Did you mean: precision?"),
        ("0001-gan-digits --metrics 3", 2, "is no list of metrics"),
        ("0001-gan-digits --metrics precision(k=0)", 2, "k=0"),
        ("0001-gan-digits --extractor inceptoin", 2, "Did you mean: inception?"),
        ("0001-gan-digits --which lst", 2, "Did you mean: last?"),
        ("0001-gan-digits --seeds 0", 2, "allowed are 1 to 100"),
        ("0001-gan-digits --out report.pdf", 2, "Allowed: FILE.json, FILE.txt"),
        ("0001-gan-digits --ref points(name=ring-8):test --metrics precision --n 20", 3, "the reference points"),
        ("0001-gan-digitz", 2, "Did you mean: runs/0001-gan-digits?"),
        ("fakes", 2, "Say it: --ref digits:test."),
        ("fakes --ref digits:tets", 2, "Did you mean: test?"),
        ("fakes --ref digitz:test", 2, "Did you mean: digits?"),
        ("fakes --ref digits:", 2, "is no reference. Write SOURCE:split"),
        ("fakes --ref :test", 2, "is no reference. Write SOURCE:split"),
        ("fakes --ref digits --n 101", 2, "fakes has 100 samples. Use n from 1 to 100."),
        ("fakes --ref digits --metrics path-length", 2, "these samples come without one"),
        ("fakes --ref digits:train --metrics authenticity", 2, "Compare with the test split"),
        ("empty --ref digits", 3, "empty holds no files"),
        ("large --ref digits", 3, "Give both one size"),
        ("colour --ref digits", 3, "Convert the samples to 1"),
    ],
)
def test_mistakes(words, code, teaches, inside, capsys):
    before = sorted(inside.rglob("*"))
    assert main(["evaluate", *words.split()]) == code
    said = capsys.readouterr()
    assert teaches in said.err
    assert said.err.splitlines()[-1].startswith("error: ")
    assert said.out == ""
    assert sorted(inside.rglob("*")) == before


def test_data_that_is_gone_or_changed_is_told(tiny, tmp_path, inside, capsys):
    for i, file in enumerate(sorted((inside / "fakes").iterdir())[:30]):
        (tmp_path / "own").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "own" / f"{i}.png")
    run, _ = api.train("gan", tiny("gan", steps=2, data=str(tmp_path / "own")), tmp_path / "run")
    (tmp_path / "own" / "3.png").unlink()
    assert main(["evaluate", str(run.path)]) == 3
    assert "is not the data" in capsys.readouterr().err
    os.rename(tmp_path / "own", tmp_path / "gone")
    assert main(["evaluate", str(run.path)]) == 3
    said = capsys.readouterr().err
    assert "the data of" in said
    assert "choose a reference: --ref SOURCE:split" in said
    assert main(["evaluate", str(run.path), "--ref", "digits", "--seeds", "1", *FEW]) == 0


def test_arrays_held_in_python_must_be_given_again(tmp_path):
    gan = gannet.GAN("gan", data=np.load("fakes.npy"), run=tmp_path / "held").fit(samples=64)
    with pytest.raises(UsageError, match="Give them again: ref=source"):
        gannet.evaluate(gan.run.path)


def test_an_interruption_ends_with_130_and_writes_nothing(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Evaluator, "read", interrupted)
    assert main(["evaluate", "0001-gan-digits", "--out", str(tmp_path / "r.json"), *FEW]) == 130
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_ranking_shows_what_looks_real_above_what_does_not(tmp_path, monkeypatch):
    rows = SOURCES.build("digits").split("train").take(torch.arange(32))["x"]
    digits = ((rows + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    noise = np.random.default_rng(0).integers(0, 256, digits.shape, np.uint8)
    drawn = []
    monkeypatch.setattr("gannet.ranking.save_samples", lambda samples, out: drawn.append(samples))
    mixed = np.concatenate([noise, digits])
    found = api.evaluate(mixed, "digits:test", ["precision"], n=64, ranking=tmp_path / "r.png")
    real = {image.tobytes() for image in digits}
    above = sum(image.tobytes() in real for image in drawn[0][:32])
    assert above >= 24, above  # chance is 16 ± 2; a few odd digits lie outside every ball
    assert sorted(image.tobytes() for image in drawn[0]) == sorted(image.tobytes() for image in mixed)
    assert any("most realistic" in note for note in found.notes)
    with pytest.raises(UsageError, match="a ranking shows 64 images or more"):
        api.evaluate(mixed, "digits:test", ["precision"], n=63, ranking=tmp_path / "r.png")
    points = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    with pytest.raises(UsageError, match="a ranking shows 64 images"):
        api.evaluate(points, "points:test", ["precision"], n=100, ranking=tmp_path / "r.png")

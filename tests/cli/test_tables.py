"""A table with units of its own, through every command: in as it is, and back in the same units."""

import json

import numpy as np
import pytest

from gannet import api
from gannet.cli import main
from gannet.gan import GAN

pytestmark = pytest.mark.filterwarnings("ignore:mode collapse", "ignore:the discriminator is far ahead")
RNG = np.random.default_rng(0)
TABLE = np.stack([RNG.normal(45, 15, 400), np.exp(RNG.normal(10, 0.5, 400)), 0.001 * RNG.random(400)], axis=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    where = tmp_path_factory.mktemp("tables")
    np.savetxt(where / "people.csv", TABLE, delimiter=",", header="age,income,rate", comments="")
    np.save(where / "others.npy", TABLE[:200] * [1, 2, 1])
    settings = {k: v for k, v in tiny("gan").items() if k != "data"}
    with pytest.warns(UserWarning, match="people.csv: x: columns have means up to .* each is standardised"):
        api.train("gan", {**settings, "data": f"{where}/people.csv"}, where / "run")
    return where


@pytest.fixture(autouse=True)
def inside(place, monkeypatch):
    monkeypatch.chdir(place)


def test_samples_come_in_the_units_of_the_table(capsys):
    assert main(["sample", "run", "--n", "300", "--out", "fakes.csv"]) == 0
    assert main(["sample", "run", "--n", "300", "--out", "fakes.npy"]) == 0
    fakes = np.load("fakes.npy")
    np.testing.assert_array_equal(np.loadtxt("fakes.csv", delimiter=",", dtype=np.float32), fakes)
    away = np.abs(fakes.mean(0) - TABLE.mean(0)) / TABLE.std(0)
    assert away.max() < 3, "a generator that has hardly learned is some deviations off, not thousands"
    assert main(["sample", "run", "--out", "fakes.png"]) == 2
    assert "--out fakes.npy" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:.*each is standardised")
def test_a_run_and_its_samples_in_files_are_measured_alike(capsys):
    def found(*words):
        assert main(["evaluate", *words, "--metrics", "sliced-wasserstein", "--n", "150", "--json"]) == 0
        return json.loads(capsys.readouterr().out)["rows"][0]

    run = found("run", "--ref", "people.csv:train", "--seeds", "1", "--which", "last")
    assert main(["sample", "run", "--n", "2000", "--out", "many.csv"]) == 0
    assert main(["sample", "run", "--n", "2000", "--out", "many.npy"]) == 0
    capsys.readouterr()
    table, array = (found(name, "--ref", "people.csv:train") for name in ("many.csv", "many.npy"))
    assert table["values"]["fakes"]["value"] == pytest.approx(array["values"]["fakes"]["value"], rel=1e-6)
    assert table["values"]["fakes"]["value"] == pytest.approx(run["values"]["last"]["value"], rel=0.3)
    # Against rows in other units the run is measured in those.
    other = found("run", "--ref", "others.npy:train", "--seeds", "1", "--which", "last")
    assert other["values"]["last"]["value"] < 20 * run["values"]["last"]["value"]


def test_arrays_in_python_come_back_in_their_units(tiny, tmp_path):
    settings = {k.replace(".", "__"): v for k, v in tiny("gan").items() if k not in ("data", "stop.samples")}
    with pytest.warns(UserWarning, match="each is standardised"):
        gan = GAN("gan", data=TABLE, run=tmp_path / "run", **settings)
    fakes = gan.fit(samples=640).sample(300)
    assert np.abs(fakes.mean(0) - TABLE.mean(0) < 3 * TABLE.std(0)).all()
    assert gan.model.tensor(8).abs().max() < 100

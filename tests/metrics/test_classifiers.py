"""The classifiers that ship, and the one that any labelled data trains for itself."""

from __future__ import annotations

import hashlib
import json

import pytest
import safetensors.torch
import torch
from numpy.testing import assert_allclose
from torch.nn import functional as F

from gannet.core.errors import CheckpointError, DataError, DivergedError, UsageError
from gannet.core.registry import EXTRACTORS, SOURCES
from gannet.data.memory import MemorySource
from gannet.metrics.classifiers import (
    WEIGHTS,
    Classifier,
    DigitsClassifier,
    MnistClassifier,
    load_checked,
    load_classifier,
    train_classifier,
)
from gannet.metrics.distances import Frechet
from gannet.metrics.fitting import DigitsNetwork, ImageNetwork, Network, PointsNetwork, Recipe, fit

SHORT = Recipe(samples=3000, batch=25)


def rows_of(source, split: str, count: int | None = None) -> dict[str, torch.Tensor]:
    rows = source.split(split)
    return rows.take(torch.arange(count or len(rows)))


def says(extractor, batch: dict[str, torch.Tensor]) -> float:
    with torch.no_grad():
        return float((extractor.probabilities(batch["x"]).argmax(1) == batch["y"]).double().mean())


# --------------------------------------------------------------------------------------------------- what ships


@pytest.fixture(scope="module")
def digits():
    return SOURCES.build("digits")


@pytest.fixture(scope="module")
def mnist():
    try:
        return SOURCES.build("mnist")
    except DataError:
        pytest.skip("MNIST is not at hand")


@pytest.mark.parametrize(("name", "network"), [("digits", DigitsNetwork()), ("mnist", ImageNetwork((1, 28, 28), 10))])
def test_card_belongs_to_its_weights(name, network):
    path = WEIGHTS / f"{name}-classifier.safetensors"
    card = json.loads(path.with_suffix(".json").read_text())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    assert 100_000 < path.stat().st_size < 500_000
    assert card["parameters"] == sum(p.numel() for p in network.parameters())
    assert card["command"].endswith(f"tools/train_classifiers.py {name}")


def test_digits_classifier_is_what_its_card_says(digits):
    card = json.loads((WEIGHTS / "digits-classifier.json").read_text())
    assert card["data_fingerprint"] == digits.fingerprint()
    extractor = DigitsClassifier((1, 8, 8))
    for split, least in (("train", 0.99), ("test", 0.97)):
        batch = rows_of(digits, split)
        assert len(batch["y"]) == card[f"{split}_rows"]
        accuracy = says(extractor, batch)
        # One borderline digit may fall either way.
        assert_allclose(accuracy, card[f"{split}_accuracy"], atol=1.5 / len(batch["y"]))
        assert least <= accuracy <= 1
    assert extractor.protocol == f"digits-classifier@{card['sha256'][:8]},8x8"


def test_mnist_classifier_is_what_its_card_says(mnist):
    card = json.loads((WEIGHTS / "mnist-classifier.json").read_text())
    assert card["data_fingerprint"] == mnist.fingerprint()
    assert (card["train_rows"], card["test_rows"]) == (60_000, 10_000)
    assert 0.992 <= card["test_accuracy"] < 1
    extractor = MnistClassifier((1, 28, 28))
    batch = rows_of(mnist, "test", 2000)
    assert_allclose(says(extractor, batch), 0.99, atol=0.0011)  # of the first 2,000, the harder ones
    assert extractor.protocol == f"mnist-classifier@{card['sha256'][:8]},28x28"


def test_mnist_features_tell_blur_and_missing_classes_from_real_digits(mnist):
    extractor, real, more = MnistClassifier((1, 28, 28)), rows_of(mnist, "test", 3000), rows_of(mnist, "train", 3000)

    def distance(x: torch.Tensor) -> float:
        with torch.no_grad():
            return Frechet()(extractor.features(x).numpy(), extractor.features(real["x"]).numpy())

    floor = distance(more["x"])
    assert 0.1 < floor < 2
    assert 20 * floor < distance(F.avg_pool2d(F.pad(more["x"], [1] * 4, value=-1), 3, 1)) < 100
    assert 5 * floor < distance(more["x"][more["y"] != 7]) < 100


def test_mnist_classifier_sees_through_padding_and_stacks():
    x = torch.rand(4, 3, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    alone = [MnistClassifier((1, 28, 28)) for _ in range(3)]
    features = [e.features(x[:, i : i + 1]) for i, e in enumerate(alone)]
    shares = [e.probabilities(x[:, i : i + 1]) for i, e in enumerate(alone)]
    stacked = MnistClassifier((3, 28, 28))
    torch.testing.assert_close(stacked.features(x), torch.cat(features, 1))
    together = torch.einsum("ba,bc,bd->bacd", *shares).flatten(1)
    torch.testing.assert_close(stacked.probabilities(x), together)
    assert together.shape == (4, 1000)
    for size in (32, 33, 64):
        over = size - 28
        wide = F.pad(x[:, :1], (over // 2, over - over // 2) * 2, value=-1)
        padded = MnistClassifier((1, size, size))
        torch.testing.assert_close(padded.features(wide), features[0])
        assert padded.protocol.endswith(f",{size}x{size}")


@pytest.mark.parametrize("shape", [(1, 27, 28), (1, 8, 8), (2, 28, 28), (4, 32, 32), (2,)])
def test_mnist_classifier_refuses_other_shapes(shape):
    with pytest.raises(UsageError, match="canvas of 28×28 or more"):
        MnistClassifier(shape)


def test_damaged_classifier_is_refused(tmp_path):
    content = bytearray((WEIGHTS / "digits-classifier.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "c.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checked(tmp_path / "c.safetensors", "Mend it.")
    (tmp_path / "c.json").write_text((WEIGHTS / "digits-classifier.json").read_text())
    with pytest.raises(CheckpointError, match=r"its card says.*Mend it\."):
        load_checked(tmp_path / "c.safetensors", "Mend it.")


# ------------------------------------------------------------------------------------------------------- one's own


@pytest.fixture(scope="module")
def two(digits):
    """Threes and fives, padded: another shape and other classes than what ships."""
    return SOURCES.build("digits(size=12, labels=[3, 5])")


@pytest.fixture(scope="module")
def trained(two, tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.safetensors"
    return path, train_classifier(two, path, recipe=SHORT)


def test_training_gives_a_card_and_the_same_bytes_again(two, trained, tmp_path):
    path, card = trained
    with torch.random.fork_rng():
        torch.manual_seed(123)
        state = torch.random.get_rng_state()
        again = train_classifier(two, tmp_path / "again.safetensors", recipe=SHORT)
        assert torch.equal(torch.random.get_rng_state(), state), "the global generator is put back"
    assert again == card == json.loads(path.with_suffix(".json").read_text())
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    assert (card["shape"], card["classes"], card["names"]) == ([1, 12, 12], 2, ["3", "5"])
    assert 0.95 < card["test_accuracy"] <= 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.json", "again.safetensors"]


def test_own_classifier_extracts(two, trained):
    path, card = trained
    extractor = EXTRACTORS.build(f'classifier(path="{path}")', two)
    batch = rows_of(two, "test")
    assert_allclose(says(extractor, batch), card["test_accuracy"])
    assert extractor.features(batch["x"]).shape == (len(batch["x"]), 64)
    assert extractor.protocol == f"classifier@{card['sha256'][:8]},12x12"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("digits(labels=[3, 5])", "1×12×12, these are 1×8×8"),
        ("digits(size=12)", r"knows 2 classes \(3, 5\), the data has 10"),
        ("digits(size=12, labels=[5, 3])", r"the data has 2 \(5, 3\)"),
    ],
)
def test_a_classifier_of_other_data_is_refused(trained, data, match):
    with pytest.raises(UsageError, match=match):
        Classifier(SOURCES.build(data), path=str(trained[0]))


def test_first_use_trains_once_and_says_so(two, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("gannet.metrics.classifiers.Recipe", lambda: SHORT)
    first = Classifier(two)
    said = capsys.readouterr()
    assert said.out == ""
    assert "training one" in said.err
    assert two.fingerprint() in said.err
    second = Classifier(two)
    assert capsys.readouterr().err == ""
    assert second.protocol == first.protocol
    others = Classifier(SOURCES.build("digits(size=12, labels=[3, 4])"))
    assert others.protocol != first.protocol


def test_points_have_classifiers_too(tmp_path):
    y = torch.arange(400) % 2
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) + 6 * y[:, None]
    source = MemorySource({"x": x, "y": y}, {"x": x[:50], "y": y[:50]}, names=["left", "right"])
    assert 0.98 <= train_classifier(source, tmp_path / "p.safetensors", recipe=SHORT)["test_accuracy"] <= 1
    assert Classifier(source, path=str(tmp_path / "p.safetensors")).features(x).shape == (400, 64)


def test_data_without_labels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for call in (lambda s: train_classifier(s, tmp_path / "c.safetensors"), Classifier):
        with pytest.raises(UsageError, match=r"needs labelled data.*random-conv or pca"):
            call(MemorySource({"x": torch.randn(9, 2)}, {"x": torch.randn(9, 2)}))
    assert not list(tmp_path.rglob("*.*"))


def test_out_must_be_safetensors(two, tmp_path):
    with pytest.raises(UsageError, match=r"write to .*c\.safetensors"):
        train_classifier(two, tmp_path / "c.pth")


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [10**9, 8, 8]},
        {"shape": "x"},
        {"shape": [True, 8, 8]},
        {"classes": 0},
        {"classes": 3},
        {"names": 1},
    ],
    ids=str,
)
def test_a_card_that_lies_is_refused(trained, tmp_path, change):
    path = tmp_path / "c.safetensors"
    path.write_bytes(trained[0].read_bytes())
    path.with_suffix(".json").write_text(json.dumps({**trained[1], **change}))
    with pytest.raises(CheckpointError, match="Make it again"):
        load_classifier(path)


def test_weights_that_are_not_finite_are_refused(trained, tmp_path):
    state = safetensors.torch.load_file(trained[0])
    state["head.bias"][0] = float("nan")
    content = safetensors.torch.save(state)
    (tmp_path / "c.safetensors").write_bytes(content)
    card = {**trained[1], "sha256": hashlib.sha256(content).hexdigest()}
    (tmp_path / "c.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"head\.bias is not finite"):
        load_classifier(tmp_path / "c.safetensors")


def test_a_missing_classifier_is_said(two, tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors"):
        Classifier(two, path=str(tmp_path / "nowhere.safetensors"))


# ------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 9), (1, 28, 28), (2, 33, 47), (3, 64, 64), (3, 130, 96)])
def test_networks_fit_any_image(shape):
    network = ImageNetwork(shape, 7)
    x = torch.rand(2, *shape)
    assert network(x).shape == (2, 64)
    assert network.logits(x).shape == (2, 7)
    assert 1_000 < sum(p.numel() for p in network.parameters()) < 200_000


def test_every_row_is_seen_once_an_epoch_moved_by_whole_pixels():
    seen, threads = [], []

    class Watching(Network):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(1, 2)

        def logits(self, x):
            seen.append(x)
            threads.append(torch.get_num_threads())
            return self.head(x.mean((1, 2, 3))[:, None])

    x = torch.full((40, 2, 7, 5), -1.0)
    x[:, 0, 3, 2], x[:, 1, 2, 2] = 1.0, torch.arange(40.0)
    rows = {"x": x, "y": torch.arange(40) % 2}
    source = MemorySource(rows, rows, names=["a", "b"])
    torch.set_num_threads(2)
    try:
        fit(Watching, source.split("train"), Recipe(samples=400, batch=20, shift=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(threads) == {1}
    moved = torch.cat(seen)
    assert moved.shape == (400, 2, 7, 5)
    epochs = moved[:, 1].flatten(1).amax(1).view(10, 40)
    assert torch.equal(epochs.sort(1).values, torch.arange(40.0).expand(10, 40))
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 10
    places = (moved[:, 0] == 1).nonzero()[:, 1:]
    assert set(map(tuple, places.tolist())) == {(i, j) for i in range(1, 6) for j in range(5)}
    assert torch.equal((moved[:, 1] >= 0).nonzero()[:, 1:], places - torch.tensor([1, 0])), "channels move together"
    assert ((moved == -1).sum((1, 2, 3)) == 68).all()


def test_a_loss_that_is_not_finite_is_said():
    rows = {"x": torch.full((10, 2), torch.inf), "y": torch.arange(10) % 2}
    source = MemorySource(rows, rows, names=["a", "b"])
    with pytest.raises(DivergedError, match=r"loss is nan in step 0; lower rate=0\.003"):
        fit(lambda: PointsNetwork((2,), 2), source.split("train"), Recipe())


def test_a_fitted_network_is_for_use_only():
    rows = {"x": torch.zeros(10, 2), "y": torch.arange(10) % 2}
    network = fit(
        lambda: PointsNetwork((2,), 2),
        MemorySource(rows, rows, names=["a", "b"]).split("train"),
        Recipe(samples=100, batch=50),
    )
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())

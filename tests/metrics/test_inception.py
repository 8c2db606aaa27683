"""Inception: its network and resizes against pinned numbers, its weights from files nobody should trust."""

from __future__ import annotations

import hashlib
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from numpy.testing import assert_allclose

from gannet.core.convert import converted
from gannet.core.errors import CheckpointError, UsageError
from gannet.core.registry import EXTRACTORS
from gannet.core.tensorfile import read_tensors, write_tensors
from gannet.metrics import inception
from gannet.metrics.inception import SHA256, Inception, quantised, resize_clean, resize_tf1
from gannet.metrics.inception_network import InceptionNetwork, shapes

SMALL = {"a.weight": (3, 2), "b.bias": (4,)}


# Equal to torch-fidelity 0.4.0 and clean-fid 0.1.35 to the last bit, for these images and weights.
FEATURES = {
    "tf1": [[1.05240, 1.09560, 0.85083, 1.81101], [1.05699, 1.09600, 0.83421, 1.82235]],
    "clean": [[1.31153, 1.40488, 0.99633, 2.19323], [1.29885, 1.42308, 0.96808, 2.19439]],
}
LEVELS = {
    "tf1": [168.829453, 159.262146, 149.694855, 140.127594],
    "clean": [234.807022, 131.798401, 128.137344, 201.107162],
}


def small() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.arange(6.0).view(3, 2), "b.bias": torch.tensor([1.0, 2.0, 3.0, 4.0])}


def levels(*shape: int) -> torch.Tensor:
    """Fixed images with levels 0 … 255."""
    return (torch.arange(torch.Size(shape).numel()) * 2654435761 % 256).float().view(shape)


def filled(shape: tuple[int, ...], name: str, seed: int) -> torch.Tensor:
    """Weights under which activations neither die nor explode."""
    draw = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if name.endswith(("bn.weight", "running_var")):
        return 1 + 0.1 * draw.tanh()
    if name.endswith("conv.weight"):
        return draw * (2 / draw[0].numel()) ** 0.5
    return 0.1 * draw


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file with the network's tensors, random, as PyTorch saves them; and what it is converted to."""
    folder = tmp_path_factory.mktemp("inception")
    state = OrderedDict((name, filled(shape, name, i)) for i, (name, shape) in enumerate(shapes().items()))
    state["Mixed_5b.branch1x1.bn.num_batches_tracked"] = torch.tensor(0)
    torch.save(state, folder / "random.pth")
    return inception.convert(folder / "random.pth", folder / "random.safetensors")


# --------------------------------------------------------------------------------------------------------- network


def test_network_has_the_released_tensors():
    found = shapes()
    assert len(found) == 472
    assert sum(torch.Size(shape).numel() for name, shape in found.items() if "running" not in name) == 23_850_960
    assert found["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert found["Mixed_6c.branch7x7dbl_4.conv.weight"] == (160, 160, 7, 1)
    assert found["Mixed_7c.branch3x3dbl_3b.bn.running_var"] == (384,)
    assert found["fc.weight"] == (1008, 2048)


def test_blocks_pool_as_the_released_graph_does():
    network = InceptionNetwork()
    pools = {name: block.pool for name, block in network.named_children() if name.startswith("Mixed")}
    assert [name for name, pool in pools.items() if pool == "max"] == ["Mixed_6a", "Mixed_7a", "Mixed_7c"]
    block = network.Mixed_5b.eval()
    x = torch.ones(1, 192, 5, 5)
    pooled = block(x)[:, -32:]
    # Padding is not counted: a constant stays one at the border.
    torch.testing.assert_close(pooled, pooled[:, :, 2:3, 2:3].expand_as(pooled))


@pytest.mark.parametrize("resize", ["tf1", "clean"])
def test_features_and_probabilities_are_pinned(weights, resize):
    extractor = EXTRACTORS.build(f'inception(weights="{weights}", resize={resize})', (3, 20, 24))
    x = levels(2, 3, 20, 24) / 127.5 - 1
    features, probabilities = extractor.features(x), extractor.probabilities(x)
    assert features.shape == (2, 2048)
    assert_allclose(features[:, ::512], FEATURES[resize], rtol=1e-3)
    assert probabilities.shape == (2, 1008)
    torch.testing.assert_close(probabilities, (features @ extractor.network.fc.weight.T).softmax(1))
    assert probabilities.argmax(1).tolist() == [392, 392]
    # What is measured is what would be saved: half a level makes no difference.
    torch.testing.assert_close(extractor.features(x[:1] + 0.4 / 127.5), features[:1])


def test_grey_is_three_equal_channels(weights):
    x = levels(1, 1, 9, 9) / 127.5 - 1
    grey, colour = (Inception((c, 9, 9), weights=str(weights)).features(x.expand(-1, c, -1, -1)) for c in (1, 3))
    torch.testing.assert_close(grey, colour)


# --------------------------------------------------------------------------------------------------------- resizes


@pytest.mark.parametrize(("name", "resize"), [("tf1", resize_tf1), ("clean", resize_clean)])
def test_resizes_are_pinned(name, resize):
    assert_allclose(resize(levels(2, 3, 20, 24))[1, 2, ::75, 150], LEVELS[name], rtol=1e-6)


def test_tf1_reads_at_whole_multiples_and_repeats_the_far_edge():
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    expected = torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 3, 3])  # half-pixel centres would begin 0, 0.25
    torch.testing.assert_close(resize_tf1(ramp, 8)[0, 0], expected.expand(8, 8))
    torch.testing.assert_close(resize_tf1(ramp.mT, 8)[0, 0], expected.expand(8, 8).mT)
    torch.testing.assert_close(resize_tf1(ramp, 2)[0, 0, 0], torch.tensor([0.0, 2.0]))  # shrinking skips, unsmoothed


def test_clean_smooths_when_it_shrinks_and_stays_within_the_levels():
    board = (torch.arange(8).view(8, 1) + torch.arange(8)).remainder(2).mul(255.0).view(1, 1, 8, 8)
    shrunk = resize_clean(board, 2)
    assert_allclose(shrunk, torch.full((1, 1, 2, 2), 127.5), atol=12)
    assert set(resize_tf1(board, 2).flatten().tolist()) == {0.0}
    grown = resize_clean(board, 40)
    assert (grown.min(), grown.max()) == (0, 255)  # bicubic overshoots
    assert not torch.equal(grown, grown.round())


def test_samples_are_rounded_to_their_levels():
    x = torch.tensor([-2.0, -1.0, 0.0, 0.3 / 127.5, 1.0, 3.0]).view(1, 1, 1, 6)
    assert quantised(x)[0].tolist() == [[[0.0, 0.0, 128.0, 128.0, 255.0, 255.0]]] * 3


# ------------------------------------------------------------------------------------------------- what it is called


def test_only_the_released_weights_are_called_fid(weights, monkeypatch, tmp_path):
    other = Inception((3, 32, 32), weights=str(weights))
    assert other.name == "inception-tf1"
    assert other.symbols == {}
    _, notes = read_tensors(weights, ("source_sha256",), "")
    assert other.protocol == f"inception-tf1@{notes['source_sha256'][:8]},32x32"
    monkeypatch.setattr(inception, "SHA256", notes["source_sha256"])
    released = Inception((3, 32, 32), weights=str(weights), resize="clean")
    assert released.name == "inception2015-clean"
    assert released.symbols == {"fd": "fid", "kd": "kid"}


@pytest.mark.parametrize("shape", [(2,), (2, 8, 8), (4, 8, 8)])
def test_what_is_no_picture_is_refused_before_weights_are_looked_for(shape, monkeypatch):
    monkeypatch.setattr(inception, "find", lambda: pytest.fail("looked for weights"))
    with pytest.raises(UsageError, match=r"1 or 3 channels.*random-conv or pca"):
        EXTRACTORS.build("inception", shape)


# ------------------------------------------------------------------------------------------- where weights come from


@pytest.fixture
def homes(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """An empty data folder and the place of the cache."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("GANNET_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "data", tmp_path / "cache" / "gannet"


def test_data_folder_comes_before_cache_before_download(homes, monkeypatch):
    import pooch

    data, cache = (home / inception.FILE for home in homes)
    asked = []

    def retrieve(url, known_hash, name, folder, downloader):
        asked.append((url, known_hash))
        raise OSError("no network")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(CheckpointError) as caught:
        inception.find()
    assert asked == [(inception.URL, f"sha256:{SHA256}")]
    for word in (inception.URL, SHA256, "gannet convert inception", str(data), str(cache), "random-conv", "no network"):
        assert word in str(caught.value)
    cache.parent.mkdir(parents=True)
    cache.touch()
    assert inception.find() == cache
    data.touch()
    assert inception.find() == data
    assert len(asked) == 1


def test_a_download_is_converted(homes, monkeypatch, tmp_path):
    import pooch

    torch.save(small(), tmp_path / "small.pth")
    monkeypatch.setattr(inception, "shapes", lambda: SMALL)
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256((tmp_path / "small.pth").read_bytes()).hexdigest())
    monkeypatch.setattr(pooch, "retrieve", lambda *args, **kwargs: str(tmp_path / "small.pth"))
    assert inception.find() == homes[1] / inception.FILE
    assert inception.find().is_file()


def test_another_file_needs_a_place_of_its_own(homes, tmp_path):
    torch.save(small(), tmp_path / "small.pth")
    with pytest.raises(CheckpointError, match=rf"not {SHA256}.*name the file to write"):
        inception.convert(tmp_path / "small.pth")
    with pytest.raises(CheckpointError, match="472 of 472 tensors are missing"):
        inception.convert(tmp_path / "small.pth", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_a_file_of_something_else_is_refused(tmp_path):
    path = write_tensors(tmp_path / "w.safetensors", small(), {"source_sha256": SHA256})
    with pytest.raises(CheckpointError, match="other tensors than Inception"):
        Inception((3, 8, 8), weights=str(path))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Inception((3, 8, 8), weights=str(path))
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors"):
        Inception((3, 8, 8), weights=str(tmp_path / "nowhere.safetensors"))


# -------------------------------------------------------------------------------------------- files nobody should trust


class Creates:
    """Unpickled by the letter, it creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: {**small(), "c": bad}], ids=["alone", "among weights"])
def test_code_in_a_pickle_never_runs(tmp_path, zipped, wrap):
    canary, path = tmp_path / "canary", tmp_path / "bad.pth"
    torch.save(wrap(Creates(canary)), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="would run code"):
        converted(path, SMALL, tmp_path / "out.safetensors")
    path.write_bytes(pickle.dumps(wrap(Creates(canary))))
    with pytest.raises(CheckpointError, match="would run code"):
        converted(path, SMALL, tmp_path / "out.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.pth"]
    pickle.loads(pickle.dumps(Creates(canary))).close()
    assert canary.exists(), "the canary sings where it is let"


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_converted_exactly(tmp_path, zipped):
    path = tmp_path / "good.pth"
    torch.save(OrderedDict(small() | {"extra": torch.zeros(1)}), path, _use_new_zipfile_serialization=zipped)
    tensors, notes = read_tensors(converted(path, SMALL, tmp_path / "o.safetensors"), ("source_sha256",), "")
    assert sorted(tensors) == sorted(SMALL)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in small().items())
    assert notes["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([1, 2], "holds a list"),
        (torch.zeros(3), "holds a Tensor"),
        ({"a.weight": torch.zeros(3, 2)}, r"1 of 2 tensors are missing: b\.bias"),
        ({}, r"2 of 2 tensors are missing: a\.weight, b\.bias\. It holds no others"),
        ({**small(), "b.bias": torch.zeros(5)}, r"b\.bias is torch\.float32 \[5\], not \[4\]"),
        ({**small(), "b.bias": torch.zeros(4, dtype=torch.int64)}, r"b\.bias is torch\.int64"),
        ({**small(), "b.bias": torch.zeros(4).to_sparse()}, r"b\.bias is"),
        ({**small(), "b.bias": "text"}, r"b\.bias is a str"),
        ({**small(), "b.bias": torch.tensor([1, 2, 3, torch.nan])}, r"not finite: b\.bias"),
    ],
)
def test_what_is_wrong_with_a_file_is_listed(tmp_path, content, match):
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=match):
        converted(tmp_path / "bad.pth", SMALL, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(50), b"\x80\x04.", b"<html>not found</html>", bytes(9000)]
)
def test_a_file_that_is_no_pickle_is_refused(tmp_path, content):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.pth is not a plain dictionary"):
        converted(tmp_path / "bad.pth", SMALL, tmp_path / "out.safetensors")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = tmp_path / "bad.pth"
    torch.save(small(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"bad\.pth"):
        converted(path, SMALL, tmp_path / "out.safetensors")


def test_missing_and_oversized_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"nowhere\.pth cannot be read \(No such file"):
        converted(tmp_path / "nowhere.pth", SMALL, tmp_path / "o.safetensors")
    torch.save(small(), tmp_path / "big.pth")
    monkeypatch.setattr("gannet.core.convert.MAX_BYTES", 100)
    with pytest.raises(CheckpointError, match="at most 100 are read"):
        converted(tmp_path / "big.pth", SMALL, tmp_path / "o.safetensors")

import itertools
import os

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.engine import pictures
from gannet.engine.pictures import grid, save_samples, to_uint8


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return torch.tensor(load_digits().images[:64], dtype=torch.float32)[:, None] / 8 - 1


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_to_uint8_rounds_clamps_and_moves_channels_last():
    x = torch.tensor([-1.0, -0.5, 0.0, 1.0, 1.5, -3.0, float("nan"), float("inf")]).reshape(1, 2, 2, 2)
    got = to_uint8(x)
    assert got.shape == (1, 2, 2, 2)
    assert got.dtype == np.uint8
    assert got[0, :, :, 0].ravel().tolist() == [0, 64, 128, 255]
    assert got[0, :, :, 1].ravel().tolist() == [255, 0, 0, 255]


def test_to_uint8_undoes_the_usual_scaling_exactly():
    levels = torch.arange(256.0).reshape(1, 1, 16, 16)
    assert_close(torch.from_numpy(to_uint8(levels / 127.5 - 1)).permute(0, 3, 1, 2), levels.to(torch.uint8))


def test_grid_is_the_same_bytes_each_time_and_leaves_nothing_else(digits, tmp_path):
    columns = [("real", digits), ("generated", digits.flip(0))]
    first = grid(columns, tmp_path / "a.png").read_bytes()
    assert grid(columns, tmp_path / "a.png").read_bytes() == first
    assert grid([("real", digits), ("generated", digits)], tmp_path / "b.png").read_bytes() != first
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]
    width, height = Image.open(tmp_path / "a.png").size
    assert 1000 < width < 1400
    assert 500 < height < 800


def test_real_stands_left_of_generated(tmp_path):
    columns = [("real", -torch.ones(9, 1, 8, 8)), ("generated", torch.ones(9, 1, 8, 8))]
    picture = pixels(grid(columns, tmp_path / "a.png"))[64:-48]  # below the names, above the note
    half = picture.shape[1] // 2
    black, white = (picture == 0).all(2), (picture == 255).all(2)
    assert black[:, :half].sum() > 9 * 60**2
    assert white[:, half:].sum() > 9 * 60**2
    assert not black[:, half:].any()
    assert not white[:, :half].any()


def test_rows_of_paired_columns_line_up_even_when_their_shapes_differ(tmp_path):
    levels = torch.tensor([-1.0, 0.0, 1.0])
    tall = levels[:, None, None, None].expand(3, 3, 256, 256)
    wide = levels[:, None, None, None].expand(3, 3, 128, 256)
    picture = pixels(grid([("given", wide), ("generated", tall), ("real", tall)], tmp_path / "a.png"))[52:-40]
    lines = [{int(v) for v in np.unique(line) if v in (0, 128, 255)} for line in picture]
    assert all(len(line) <= 1 for line in lines)
    assert [key for key, _ in itertools.groupby(next(iter(line)) for line in lines if line)] == [0, 128, 255]


def test_small_samples_are_enlarged_and_large_ones_kept(tmp_path):
    sizes = {side: pictures._enlarged(side) for side in (4, 8, 16, 28, 32, 40, 64, 100, 128, 512)}
    assert sizes == {4: 64, 8: 64, 16: 64, 28: 56, 32: 64, 40: 56, 64: 64, 100: 100, 128: 128, 512: 512}
    x = torch.rand(1, 3, 128, 128) * 2 - 1
    picture = pixels(save_samples(to_uint8(x), tmp_path / "a.png"))
    gap = (picture.shape[0] - 128) // 2
    assert (picture[gap:-gap, gap:-gap] == to_uint8(x)[0]).all()


def test_per_column_caps_what_is_shown(digits, tmp_path):
    def size(n: int) -> tuple[int, int]:
        return Image.open(grid([("real", digits)], tmp_path / "a.png", per_column=n)).size

    assert size(16)[1] < size(64)[1]
    assert size(16) == Image.open(grid([("real", digits[:16])], tmp_path / "b.png")).size


def test_channels_have_a_look_each():
    x = np.zeros((2, 8, 6, 4), np.uint8)
    x[..., 0] = 200
    x[1, ..., 3] = 255
    seen = pictures.visible(x)
    assert (seen[1] == (200, 0, 0)).all()
    assert set(np.unique(seen[0])) == {190, 225}  # nothing but the checkerboard shows through alpha 0
    two = pictures.visible(np.full((1, 2, 2, 2), (9, 7), np.uint8))
    assert (two == (9, 7, 9)).all()
    five = np.arange(1, 6, dtype=np.uint8) * np.ones((1, 2, 3, 1), np.uint8)
    mosaic = pictures.visible(five)
    assert mosaic.shape == (1, 4, 9, 3)
    assert mosaic[0, ::2, ::3, 0].tolist() == [[1, 2, 3], [4, 5, 0]]


def test_a_failed_write_leaves_the_old_picture(digits, tmp_path, monkeypatch):
    path = grid([("real", digits)], tmp_path / "a.png")
    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        grid([("real", -digits)], path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_points_are_drawn_the_same_each_time_and_no_figure_stays_open(dims, tmp_path):
    from matplotlib._pylab_helpers import Gcf

    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(300, dims, generator=generator) for _ in range(2))
    fake[0] = float("nan")
    columns = [("real", real), ("generated", fake)]
    first = grid(columns, tmp_path / "a.png").read_bytes()
    assert grid(columns, tmp_path / "a.png").read_bytes() == first
    assert grid([("real", real), ("generated", fake + 1)], tmp_path / "b.png").read_bytes() != first
    assert not Gcf.figs


def test_both_sides_of_a_scatter_share_the_reals_view(tmp_path):
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    near = pixels(grid([("real", x), ("generated", x)], tmp_path / "a.png"))
    far = pixels(grid([("real", x), ("generated", x * 1000)], tmp_path / "b.png"))
    half = near.shape[1] // 2 - 20
    blue = (near[..., 2].astype(int) - near[..., 0]) > 60
    assert blue[:, :half].any()
    assert (blue[:, :half] == ((far[..., 2].astype(int) - far[..., 0]) > 60)[:, :half]).all()


def test_other_shapes_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"real \(4, 3, 8\).*Allowed"):
        grid([("real", torch.zeros(4, 3, 8))], tmp_path / "a.png")
    with pytest.raises(UsageError, match="at least one"):
        grid([("real", torch.zeros(0, 1, 8, 8))], tmp_path / "a.png")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_samples_come_back_from_every_kind_of_file(channels, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (5, 7, 6, channels), dtype=np.uint8)
    assert (np.load(save_samples(x, tmp_path / "a.npy"), allow_pickle=False) == x).all()
    folder = save_samples(x, tmp_path / "out")
    names = sorted(os.listdir(folder))
    assert names == [f"{i:06d}.png" for i in range(5)]
    back = np.stack([np.asarray(Image.open(folder / name)).reshape(7, 6, channels) for name in names])
    assert (back == x).all()
    assert save_samples(x, folder) == folder  # the same command twice


def test_points_go_to_npy_only(tmp_path):
    x = np.linspace(0, 1, 10, dtype=np.float32).reshape(5, 2)
    assert (np.load(save_samples(x, tmp_path / "p.npy")) == x).all()
    for out in ("p.png", "p"):
        with pytest.raises(UsageError, match=r"no images.*p\.npy"):
            save_samples(x, tmp_path / out)


def test_sample_files_refuse_what_they_cannot_hold(tmp_path):
    x = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(UsageError, match=r"'\.jpg'.*FILE\.npy"):
        save_samples(x, tmp_path / "a.jpg")
    with pytest.raises(UsageError, match="1 to 4 channels"):
        save_samples(np.zeros((2, 4, 4, 5), np.uint8), tmp_path / "five")
    folder = save_samples(x, tmp_path / "out")
    with pytest.raises(UsageError, match=r"1 other file.*000001\.png"):
        save_samples(x[:1], folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        save_samples(x, tmp_path / "file")

"""Kills, full disks, flipped bits and hostile bytes against the checkpoint layer."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gannet.core.errors import CheckpointError, ResourceError
from gannet.engine import checkpoint
from gannet.engine.checkpoint import checkpoint_name, commit, latest, parse_tensors, point, pointed, read, strict_json

# ------------------------------------------------------------------------------------------------------- helpers


def contents(samples: int) -> dict[str, dict[str, Tensor]]:
    """Tensors that say in every element which commit they belong to."""
    w = torch.arange(60, dtype=torch.float32).reshape(3, 20) + samples
    moments = {"m": w * 0.5, "n": torch.tensor(samples), "half": w[0].bfloat16(), "flag": torch.tensor([True, False])}
    return {"ema": {"w": w}, "training": {"w": -w, "view": w.t(), **moments, "none": torch.empty(0, 4)}}


def save(folder: Path, samples: int, **options) -> Path:
    return commit(folder, checkpoint_name(samples), contents(samples), {"samples": samples, "rate": 0.1}, **options)


def assert_whole(found: checkpoint.Checkpoint) -> int:
    """Everything in the checkpoint comes from one commit, to the last bit; which one."""
    samples = found.state["samples"]
    assert found.state == {"samples": samples, "rate": 0.1}
    assert int(found.name.split("-")[0]) == samples
    expected = contents(samples)
    assert found.tensors.keys() == expected.keys()
    for group, named in expected.items():
        assert found.tensors[group].keys() == named.keys()
        for name, tensor in named.items():
            assert found.tensors[group][name].dtype == tensor.dtype
            assert torch.equal(found.tensors[group][name], tensor), f"{group}/{name}"
    return samples


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir())


def in_child(work: Callable[[], None]) -> int:
    """Exit code of `work` in a forked process; 77 if it raised."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(77)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def at_boundary(number: int, act: Callable[[], None]) -> Callable[[str], None]:
    """A fault hook that acts the `number`-th time it is called."""
    calls = iter(range(10**9))
    return lambda boundary: act() if next(calls) == number else None


@pytest.fixture
def two(tmp_path, monkeypatch) -> Path:
    """A folder with the checkpoints 100 and 200, and files that are written in many small pieces."""
    monkeypatch.setattr(checkpoint, "CHUNK", 300)
    folder = tmp_path / "checkpoints"
    save(folder, 100)
    save(folder, 200)
    return folder


def boundaries_of_a_save(folder: Path, monkeypatch) -> list[str]:
    copy = folder.with_name("counted")
    shutil.copytree(folder, copy)
    seen: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FAULT", seen.append)
        save(copy, 300)
    assert set(seen) == {"open", "write", "fsync", "rename", "pointer", "delete"}
    assert len(seen) > 25
    return seen


def damage_all(path: Path) -> None:
    for file in path.glob("*.safetensors"):
        file.write_bytes(bytes(file.stat().st_size))


# ---------------------------------------------------------------------------------------------- saving and reading


def test_what_is_read_is_what_was_committed(tmp_path):
    path = save(tmp_path / "new" / "checkpoints", 12_800)
    assert path.name == "000012800"
    assert sorted(os.listdir(path)) == ["MANIFEST.json", "ema.safetensors", "state.json", "training.safetensors"]
    assert assert_whole(read(path)) == 12_800
    assert assert_whole(latest(path.parent)) == 12_800


def test_views_that_share_storage_are_saved_apart(tmp_path):
    flat = torch.arange(6.0)
    path = commit(tmp_path, "000000001", {"weights": {"a": flat[:4], "b": flat[2:], "c": flat}}, {})
    torch.testing.assert_close(read(path).tensors["weights"]["b"], torch.tensor([2.0, 3.0, 4.0, 5.0]), rtol=0, atol=0)


def test_floats_in_the_state_come_back_to_the_last_bit(tmp_path):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2**60]
    assert read(commit(tmp_path, "000000001", {}, {"values": values})).state["values"] == values


def test_the_two_newest_and_the_pinned_are_kept(tmp_path):
    for samples in range(100, 700, 100):
        save(tmp_path, samples, pinned={"000000200"} if samples > 200 else ())
    assert names(tmp_path) == ["000000200", "000000500", "000000600"]
    save(tmp_path, 700, keep=1)
    assert names(tmp_path) == ["000000700"]


def test_best_is_a_pointer_of_its_own(two):
    point(two, "best", "000000100")
    assert (pointed(two, "best"), pointed(two, "latest")) == ("000000100", "000000200")
    assert json.loads((two / "best.json").read_text())["name"] == "000000100"
    with pytest.raises(CheckpointError, match=r"other\.json is missing"):
        pointed(two, "other")


def test_a_second_commit_at_the_same_count_gets_a_name_of_its_own(two):
    found = [save(two, 200).name for _ in range(3)]
    assert found == ["000000200-1", "000000200-2", "000000200-3"]
    assert assert_whole(latest(two)) == 200
    assert names(two) == ["000000200-2", "000000200-3"]
    save(two, 300)
    assert names(two) == ["000000200-3", "000000300"]


def test_checkpoints_of_an_abandoned_future_go_when_the_past_is_taken_up_again(two):
    save(two, 150)
    assert names(two) == ["000000100", "000000150"]
    assert assert_whole(latest(two)) == 150
    damage_all(two / "000000150")
    with pytest.warns(UserWarning, match="SHA-256"):
        assert assert_whole(latest(two, fallback=True)) == 100


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("group", ["ema", "weights"])
def test_non_finite_weights_are_never_published(two, value, group):
    tensors = {group: {"fine": torch.ones(3), "layer.weight": torch.tensor([0.0, value])}}
    with pytest.raises(CheckpointError, match=rf"{group}/layer\.weight holds NaN or infinity"):
        commit(two, "000000300", tensors, {})
    assert assert_whole(latest(two)) == 200
    assert names(two) == ["000000100", "000000200"]


@pytest.mark.parametrize("state", [{"best": float("inf")}, {"x": {1, 2}}, {"t": torch.ones(1)}])
def test_a_state_that_is_not_json_is_refused_and_nothing_is_written(two, state):
    with pytest.raises(CheckpointError, match="not plain JSON"):
        commit(two, "000000300", contents(300), state)
    assert names(two) == ["000000100", "000000200"]


@pytest.mark.parametrize("name", ["../000000300", "300", "000000300-1", "", "latest"])
def test_only_sample_counts_are_names(two, name):
    with pytest.raises(CheckpointError, match="cannot name a checkpoint"):
        commit(two, name, {}, {})


# ---------------------------------------------------------------------------------------------------- process dies


def test_a_kill_at_every_boundary_of_a_save_leaves_the_old_or_the_new(two, monkeypatch):
    seen = boundaries_of_a_save(two, monkeypatch)
    pointer_moves = seen.index("rename", seen.index("pointer"))
    outcomes = []
    for number, boundary in enumerate(seen):
        folder = two.with_name(f"killed-{number}")
        shutil.copytree(two, folder)

        def killed_save(folder: Path = folder, number: int = number) -> None:
            checkpoint.FAULT = at_boundary(number, lambda: os.kill(os.getpid(), signal.SIGKILL))
            save(folder, 300)

        assert in_child(killed_save) == -signal.SIGKILL, f"not killed at {number} ({boundary})"
        outcomes.append(assert_whole(latest(folder)))
        assert outcomes[-1] == (300 if number > pointer_moves else 200), f"boundary {number} ({boundary})"

        checkpoint.sweep(folder)
        assert not list(folder.glob(".tmp-*"))
        save(folder, 300)
        assert assert_whole(latest(folder)) == 300
        assert len(names(folder)) == 2, "what the kill left must go with the next commit"
        assert not list(folder.glob(".tmp-*"))
    assert set(outcomes) == {200, 300}


def test_a_kill_inside_the_very_first_save_leaves_nothing_or_the_first(tmp_path, monkeypatch):
    seen: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FAULT", seen.append)
        save(tmp_path / "counted", 100)
    found = []
    for number in range(len(seen)):
        folder = tmp_path / f"killed-{number}"

        def killed_save(folder: Path = folder, number: int = number) -> None:
            checkpoint.FAULT = at_boundary(number, lambda: os._exit(9))
            save(folder, 100)

        assert in_child(killed_save) == 9
        if names_of_checkpoints := [n for n in names(folder) if not n.startswith(".tmp-")]:
            assert names_of_checkpoints == ["000000100"]
            found.append(assert_whole(latest(folder)))
        else:
            with pytest.raises(CheckpointError, match="no usable checkpoint"):
                latest(folder)
            found.append(0)
    assert found == sorted(found)
    assert set(found) == {0, 100}


def kill_at_random_moments(folder: Path, kills: int) -> None:
    numbers = random.Random(0)
    samples, begun = 200, time.perf_counter()
    for _ in range(3):
        samples += 100
        save(folder, samples)
    longest = 2 * (time.perf_counter() - begun)  # six saves at today's pace: machines are slow when they are busy
    for _ in range(kills):
        pid = os.fork()
        if pid == 0:
            while True:
                samples += 100
                save(folder, samples)
        time.sleep(numbers.uniform(0.0, longest))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        checkpoint.sweep(folder)
        found = assert_whole(latest(folder))
        assert found >= samples, "a committed checkpoint was lost"
        samples = found
    assert samples > 500 + 100 * kills // 4, "the kills came too early to test anything"


def test_kills_at_random_moments(two):
    kill_at_random_moments(two, 20)


@pytest.mark.slow
def test_many_kills_at_random_moments(two):
    kill_at_random_moments(two, 200)


# --------------------------------------------------------------------------------------------------- disk is full


def disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_full_at_every_boundary_keeps_the_old_and_leaves_no_rubbish(two, monkeypatch):
    seen = boundaries_of_a_save(two, monkeypatch)
    failed = 0
    for number, boundary in enumerate(seen):
        folder = two.with_name(f"full-{number}")
        shutil.copytree(two, folder)
        monkeypatch.setattr(checkpoint, "FAULT", at_boundary(number, disk_full))
        if boundary == "delete":
            save(folder, 300)
        else:
            with pytest.raises(ResourceError, match=r"000000300 could not be written: No space.*MB are free"):
                save(folder, 300)
            failed += 1
        monkeypatch.setattr(checkpoint, "FAULT", lambda boundary: None)
        assert assert_whole(latest(folder)) in (200, 300)
        if boundary != "delete":
            assert not list(folder.glob(".tmp-*"))
        save(folder, 400)
        assert assert_whole(latest(folder)) == 400
        assert len(names(folder)) == 2
    assert failed > 20


@pytest.mark.parametrize("limit", [1, 100, 301, 700])
def test_a_real_refusal_of_the_kernel_to_write_more(two, limit):
    def limited_save() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            save(two, 300)
        except ResourceError:
            os._exit(6)

    assert in_child(limited_save) == 6
    assert assert_whole(latest(two)) == 200
    assert not list(two.glob(".tmp-*"))


def test_the_free_space_is_checked_before_anything_is_written(two, monkeypatch):
    needed = sum(t.numel() * t.element_size() for group in contents(300).values() for t in group.values())
    full = shutil.disk_usage(two)._replace(free=int(1.1 * needed))
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: full)
    monkeypatch.setattr(checkpoint, "FAULT", lambda boundary: pytest.fail(f"reached {boundary}"))
    with pytest.raises(ResourceError, match="Free space, or move the run"):
        save(two, 300)
    assert assert_whole(latest(two)) == 200


def test_a_folder_deleted_in_the_middle_of_a_run_is_made_again(two):
    shutil.rmtree(two)
    save(two, 300)
    assert assert_whole(latest(two)) == 300


# ----------------------------------------------------------------------------------------------- bytes are damaged


def flip_bits(folder: Path, trials: int) -> None:
    path = folder / "000000200"
    files = sorted(p for p in path.iterdir())
    numbers = random.Random(1)
    hit = set()
    for _ in range(trials):
        file = numbers.choice(files)
        good = file.read_bytes()
        bit = numbers.randrange(8 * len(good))
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        file.write_bytes(bad)
        with pytest.raises(CheckpointError):
            read(path)
        with pytest.raises(CheckpointError):
            latest(folder)
        file.write_bytes(good)
        hit.add(file.name)
    assert len(hit) == len(files)
    assert assert_whole(read(path)) == 200


def test_every_flipped_bit_is_noticed(two):
    flip_bits(two, 60)


@pytest.mark.slow
def test_five_hundred_flipped_bits_are_noticed(two):
    flip_bits(two, 500)


def test_every_flipped_bit_of_a_pointer_is_noticed(two):
    good = (two / "latest.json").read_bytes()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        (two / "latest.json").write_bytes(bad)
        with pytest.raises(CheckpointError):
            latest(two)
    with pytest.warns(UserWarning, match="Taking the newest directory"):
        assert assert_whole(latest(two, fallback=True)) == 200


FILES = ["ema.safetensors", "training.safetensors", "state.json", "MANIFEST.json"]


@pytest.mark.parametrize("file", FILES)
def test_every_truncation_is_noticed(two, file):
    path = two / "000000200" / file
    good = path.read_bytes()
    for length in sorted({0, 1, 7, 8, 9, *range(0, len(good), 97), len(good) - 1}):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError, match=file):
            read(path.parent)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("harm", ["zeros", "grown", "missing", "link", "pipe", "directory"])
def test_every_other_harm_to_a_file_is_noticed_and_named(two, file, harm):
    path = two / "000000200" / file
    good = path.read_bytes()
    path.unlink()
    match harm:
        case "zeros":
            path.write_bytes(bytes(len(good)))
        case "grown":
            path.write_bytes(good + b" ")
        case "link":
            (two / "elsewhere").write_bytes(good)
            path.symlink_to(two / "elsewhere")
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
    with pytest.raises(CheckpointError, match=file):
        read(path.parent)


def test_a_file_too_many_is_noticed(two):
    (two / "000000200" / "extra.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"holds extra\.safetensors, which its manifest does not list"):
        read(two / "000000200")


def test_a_file_of_another_checkpoint_is_noticed(two):
    shutil.copy(two / "000000100" / "ema.safetensors", two / "000000200" / "ema.safetensors")
    with pytest.raises(CheckpointError, match=r"ema\.safetensors has SHA-256"):
        read(two / "000000200")


def test_an_edited_manifest_is_noticed(two):
    manifest = two / "000000200" / "MANIFEST.json"
    good = manifest.read_text()
    body = json.loads(good)
    body["files"].pop("training.safetensors")
    for edited in (json.dumps(body, indent=1, sort_keys=True), json.dumps(json.loads(good)), good + "\n", f" {good}"):
        manifest.write_text(edited)
        with pytest.raises(CheckpointError, match=r"MANIFEST\.json does not match its own SHA-256"):
            read(manifest.parent)


def test_a_linked_checkpoint_is_not_followed(two):
    (two / "000000300").symlink_to(two / "000000200")
    with pytest.raises(CheckpointError, match="is a symbolic link"):
        read(two / "000000300")
    with pytest.raises(CheckpointError, match="does not exist"):
        read(two / "000000400")
    with pytest.raises(CheckpointError, match="is a file"):
        read(two / "latest.json")


# -------------------------------------------------------------------------------------------------------- fall back


def test_a_damaged_checkpoint_is_put_aside_loudly_and_the_one_before_is_read(two):
    damage_all(two / "000000200")
    with pytest.raises(CheckpointError, match="SHA-256"):
        latest(two)
    assert names(two) == ["000000100", "000000200"], "without fallback nothing is renamed"

    said: list[str] = []
    assert assert_whole(latest(two, fallback=True, warn=said.append)) == 100
    assert len(said) == 1
    assert "000000200.corrupt" in said[0]
    assert names(two) == ["000000100", "000000200.corrupt"]
    assert assert_whole(latest(two)) == 100

    save(two, 200)
    damage_all(two / "000000200")
    assert assert_whole(latest(two, fallback=True, warn=said.append)) == 100
    assert names(two) == ["000000100", "000000200.corrupt", "000000200.corrupt-1"]


def test_when_all_are_damaged_the_error_says_so(two):
    damage_all(two / "000000100")
    damage_all(two / "000000200")
    said: list[str] = []
    with pytest.raises(CheckpointError, match=r"no usable checkpoint \(damaged: 000000200, 000000100\)"):
        latest(two, fallback=True, warn=said.append)
    assert len(said) == 2


@pytest.mark.parametrize("fallback", [True, False])
def test_no_checkpoint_is_an_error(tmp_path, fallback):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="no usable checkpoint"):
            latest(folder, fallback=fallback)


def test_a_pinned_checkpoint_is_the_last_resort(two):
    save(two, 300, pinned={"000000100"})
    for name in ("000000200", "000000300"):
        damage_all(two / name)
    said: list[str] = []
    assert assert_whole(latest(two, fallback=True, warn=said.append)) == 100
    assert len(said) == 2


def resealed(path: Path, **changes: object) -> None:
    body = {k: v for k, v in json.loads(path.read_bytes()).items() if k != "sha256"}
    path.write_bytes(checkpoint._seal({**body, **changes}))


@pytest.mark.parametrize("file", ["000000200/MANIFEST.json", "latest.json"])
def test_a_newer_schema_asks_for_an_upgrade_and_is_left_alone(two, file):
    resealed(two / file, schema=checkpoint.SCHEMA + 1, gannet="99.0")
    with pytest.raises(CheckpointError, match="Upgrade Gannet"):
        latest(two, fallback=True)
    assert names(two) == ["000000100", "000000200"]


def test_a_checkpoint_that_may_not_be_read_is_left_alone(two, monkeypatch):
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(checkpoint, "_committed", lambda folder, warn: ["000000200", "000000100"])
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        latest(two, fallback=True)
    assert names(two) == ["000000100", "000000200"]


# ---------------------------------------------------------------------------------------------------- hostile bytes


def safetensors_bytes(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HOSTILE = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "header of 2^63": safetensors_bytes({}, length=2**63),
    "header of 2^64 - 1": safetensors_bytes({}, length=2**64 - 1),
    "header longer than the file": safetensors_bytes({}, length=100),
    "header of 20 MB": safetensors_bytes(b" " * 20_000_000),
    "a million tensors": safetensors_bytes(b"{" + b",".join(b'"%d":{}' % i for i in range(10**6)) + b"}"),
    "not JSON": safetensors_bytes(b"\xff\xfe\x00"),
    "deep nesting": safetensors_bytes(b'{"a":' * 10**6),
    "a list": safetensors_bytes([1, 2]),
    "product overflow": safetensors_bytes({"a": entry(shape=[2**32, 2**32, 2**32])}, b"\0" * 4),
    "negative shape": safetensors_bytes({"a": entry(shape=[-1])}, b"\0" * 4),
    "offsets beyond the end": safetensors_bytes({"a": entry(shape=[100], offsets=[0, 400])}, b"\0" * 4),
    "offsets turned round": safetensors_bytes({"a": entry(offsets=[4, 0])}, b"\0" * 4),
    "overlap": safetensors_bytes({"a": entry(), "b": entry(shape=[2], offsets=[0, 8])}, b"\0" * 8),
    "hole": safetensors_bytes({"a": entry(), "b": entry(offsets=[8, 12])}, b"\0" * 12),
    "rest": safetensors_bytes({"a": entry()}, b"\0" * 8),
    "shape without data": safetensors_bytes({"a": entry(shape=[10])}, b"\0" * 4),
    "unknown type": safetensors_bytes({"a": entry(dtype="OBJECT")}, b"\0" * 4),
    "8-bit float": safetensors_bytes({"a": entry(dtype="F8_E4M3", shape=[4])}, b"\0" * 4),
    "pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "zip": b"PK\x03\x04" + b"\0" * 60,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_safetensors_raise_a_typed_error_at_once(data):
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="weird-file"):
        parse_tensors(data, "weird-file")
    assert time.perf_counter() - start < 1.0


def test_a_sound_safetensors_file_is_read():
    found = parse_tensors(safetensors_bytes({"a": entry()}, struct.pack("<f", 1.5)), "x")
    torch.testing.assert_close(found, {"a": torch.tensor([1.5])}, rtol=0, atol=0)


HOSTILE_JSON = {
    "deep list": b"[" * 10**6,
    "deep object": b'{"a":' * 10**5 + b"1" + b"}" * 10**5,
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "repeated key": b'{"a": 1, "a": 2}',
    "huge number": b'{"a": ' + b"9" * 10**5 + b"}",
    "not UTF-8": b'{"a": "\xff"}',
    "mark": b"\xef\xbb\xbf{}",
    "two values": b"{} {}",
}


@pytest.mark.parametrize("data", HOSTILE_JSON.values(), ids=HOSTILE_JSON.keys())
def test_hostile_json_raises_a_typed_error_at_once(two, data):
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match="weird-file"):
        strict_json(data, "weird-file")
    (two / "000000200" / "MANIFEST.json").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json"):
        read(two / "000000200")
    assert time.perf_counter() - start < 1.0


def test_nesting_that_can_be_read_but_not_written_is_a_typed_error(two, monkeypatch):
    # Which depth this is depends on the interpreter and on the stack so far, so the stack's end is put here by hand.
    def too_deep(body: object) -> bytes:
        raise RecursionError

    monkeypatch.setattr(checkpoint, "_seal", too_deep)
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json does not match its own SHA-256"):
        read(two / "000000200")


@pytest.mark.parametrize(
    "files",
    [
        None,
        {},
        {"state.json": None},
        {"state.json": {"bytes": "1", "sha256": 5}},
        {"state.json": {}, "../../secret.safetensors": {}},
        {"state.json": {}, "/etc/passwd": {}},
        {"state.json": {}, "x.pkl": {}},
    ],
)
def test_a_hostile_manifest_with_a_sound_seal_is_refused(two, files):
    resealed(two / "000000200" / "MANIFEST.json", files=files)
    with pytest.raises(CheckpointError):
        read(two / "000000200")


@pytest.mark.parametrize("name", ["../../../etc", "", 5, None, "000000200/../000000100"])
def test_a_pointer_out_of_the_folder_is_refused(two, name):
    resealed(two / "latest.json", name=name)
    with pytest.raises(CheckpointError, match="expected a sample count"):
        latest(two)
    resealed(two / "latest.json", name="000000200", history=[name])
    with pytest.raises(CheckpointError, match="older checkpoints"):
        latest(two)


def test_sweep_removes_what_a_kill_left_and_nothing_else(two, tmp_path):
    (two / ".tmp-000000300-abc").mkdir()
    (two / ".tmp-000000300-abc" / "ema.safetensors").write_bytes(b"half")
    (two / ".tmp-latest.json-abc").write_bytes(b"half")
    (tmp_path / "precious").mkdir()
    (two / ".tmp-link").symlink_to(tmp_path / "precious")
    before = names(two)
    checkpoint.sweep(two)
    assert not list(two.glob(".tmp-*"))
    assert (tmp_path / "precious").is_dir()
    assert names(two) == [n for n in before if not n.startswith(".tmp-")]
    checkpoint.sweep(tmp_path / "nowhere")

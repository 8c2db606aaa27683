import gzip
import json
import sys
import warnings

import pytest
import torch
from PIL import Image
from torch.profiler import record_function

from gannet.core.errors import UsageError
from gannet.engine.loggers import Loggers, TensorBoardLogger, open_loggers
from gannet.engine.profiling import Profiler, Span, own_times


class Kept:
    def __init__(self):
        self.seen = []

    def log(self, record):
        self.seen.append(record)

    def image(self, path, samples):
        self.seen.append((path, samples))

    def close(self):
        self.seen.append("closed")


class Broken(Kept):
    def log(self, record):
        super().log(record)
        raise OSError("disk full")


def test_a_logger_that_fails_is_dropped_with_one_warning_and_the_others_go_on(tmp_path):
    broken, kept = Broken(), Kept()
    loggers = Loggers([broken, kept])
    with pytest.warns(RuntimeWarning, match=r"Broken failed.*OSError: disk full"):
        loggers.log({"samples": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loggers.log({"samples": 2})
        loggers.image(tmp_path, 3)
        loggers.close()
        loggers.close()
    assert broken.seen == [{"samples": 1}]
    assert kept.seen == [{"samples": 1}, {"samples": 2}, (tmp_path, 3), "closed"]


def test_an_unknown_logger_is_named_with_the_nearest_before_anything_is_opened(tmp_path):
    with pytest.raises(UsageError, match=r"'tensorbord'.*Did you mean: tensorboard"):
        open_loggers(["tensorboard", "tensorbord"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r'pip install "gannet\[tensorboard\]"'):
        TensorBoardLogger(tmp_path)


def read_events(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_gets_numbers_scores_pictures_and_words(tmp_path):
    pytest.importorskip("tensorboard")
    logger = open_loggers(["tensorboard"], tmp_path)
    logger.log(
        {"kind": "step", "samples": 64, "step": 1, "seconds": 1.0, "loss/generator": 0.5, "best": True, "spread": "nan"}
    )
    logger.log({"kind": "score", "samples": 128, "scores": {"fd[digits]": 3.25, "recall": None}, "best": True})
    logger.log({"kind": "alarm", "samples": 128, "text": "mode collapse"})
    (tmp_path / "samples").mkdir()
    picture = tmp_path / "samples" / "000128.png"
    Image.new("RGB", (5, 4), (10, 20, 30)).save(picture)
    logger.image(picture, 128)
    logger.close()
    events = read_events(tmp_path / "tensorboard")
    tags = events.Tags()
    assert set(tags["scalars"]) == {"loss/generator", "score/fd[digits]"}
    assert [(e.step, e.value) for e in events.Scalars("score/fd[digits]")] == [(128, 3.25)]
    image = events.Images("samples")[0]
    assert (image.step, image.width, image.height) == (128, 5, 4)
    assert any("alarm" in tag for tag in tags["tensors"])


def test_a_resumed_run_hides_what_was_written_past_its_start(tmp_path):
    pytest.importorskip("tensorboard")
    for start, samples in ((0, [64, 128, 192]), (128, [128, 256])):
        logger = TensorBoardLogger(tmp_path, start)
        for n in samples:
            logger.log({"samples": n, "spread": float(n + start)})
        logger.close()
    assert [(e.step, e.value) for e in read_events(tmp_path).Scalars("spread")] == [
        (64, 64.0),
        (128, 256.0),
        (256, 384.0),
    ]


# ----------------------------------------------------------------------------------------------------- profiler


def test_own_time_leaves_out_what_is_nested_in_it():
    spans = [
        Span("step", 0, 100),
        Span("judge", 10, 60),
        Span("regularize", 20, 50),
        Span("judge", 60, 70),
        Span("judge", 0, 30, thread=1),
    ]
    assert own_times(spans) == {"step": 40, "judge": 20 + 10 + 30, "regularize": 30}


def test_the_profiler_records_a_handful_of_steps_after_the_first(tmp_path):
    profiler = Profiler(tmp_path / "profile", warmup=2, steps=3)
    work = torch.randn(96, 96)
    for i in range(8):
        with profiler.step(), record_function("gannet/judge"):
            work @ work
            if i == 1:
                assert not (tmp_path / "profile").exists()
    with gzip.open(tmp_path / "profile" / "trace.json.gz", "rt") as file:
        names = [event.get("name") for event in json.load(file)["traceEvents"] if event.get("cat") == "user_annotation"]
    assert names.count("gannet/judge") == 3
    table = (tmp_path / "profile" / "table.txt").read_text()
    assert table == profiler.table == profiler.close()
    assert table.startswith("3 steps, ")
    assert "aten::mm" in table
    shares = [float(line.split()[-1].rstrip("%")) for line in table.split("\n\n")[1].splitlines()[1:]]
    assert len(shares) == 2
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_a_run_that_ends_early_still_leaves_its_profile(tmp_path):
    profiler = Profiler(tmp_path, warmup=1, steps=50)
    assert profiler.close() is None
    for _ in range(3):
        with profiler.step():
            torch.ones(3).sum()
    assert profiler.close().startswith("2 steps, ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["table.txt", "trace.json.gz"]

import os

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from gannet.engine import plots
from gannet.engine.plots import progress


def step(i: int, **more) -> dict:
    return {
        "kind": "step",
        "samples": 64 * i,
        "seconds": 0.1 * i,
        "images_per_second": 640.0 + i % 7,
        "loss/discriminator": 0.6,
        "loss/generator": 0.8 + 0.01 * (i % 5),
        "p_real_above_fake": 0.75,
        "spread": 0.9,
        "grad_norm/generator": 0.1,
        "term/r1": 0.02,
        "loss_above_equilibrium": 0.87,
        **more,
    }


def score(i: int, value: float, best: bool) -> dict:
    return {"kind": "score", "samples": 64 * i, "scores": {"fd[digits]": value, "recall": 0.5}, "best": best}


LOG = [step(i) for i in range(1, 50)] + [score(20, 9.0, True), score(30, 7.0, True), score(40, 8.0, False)]


def titles(records: list[dict]) -> list[str]:
    return [title for title, _ in plots._panels(records)]


def test_a_panel_for_everything_logged_and_none_for_the_rest():
    assert titles(LOG) == [
        "losses",
        "P(real > fake)",
        "fd[digits]",
        "recall",
        "spread of fakes over reals",
        "discriminator's loss minus its equilibrium",
        "terms",
        "gradient norms",
        "samples per second",
    ]
    assert titles([{"samples": 5, "loss/generator": 1.0}]) == ["losses"]


def test_the_same_log_gives_the_same_bytes_and_an_alarm_shows(tmp_path):
    first = progress(LOG, tmp_path / "progress.png").read_bytes()
    assert progress(LOG, tmp_path / "progress.png").read_bytes() == first
    alarm = {"kind": "alarm", "samples": 640, "text": "mode collapse"}
    red = [_reds(progress(log, tmp_path / "progress.png")) for log in (LOG, [*LOG, alarm])]
    assert red[1] > red[0] + 200
    assert os.listdir(tmp_path) == ["progress.png"]


def _reds(path) -> int:
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int(((picture[..., 0] > 150) & (picture[..., 1] < 90) & (picture[..., 2] < 90)).sum())


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"kind": "note", "text": "no samples"}],
        [{"samples": 1, "loss/generator": "nan", "spread": None, "p_real_above_fake": "Infinity"}],
        [{"samples": "many", "loss/generator": 1.0}],
        [step(1)],
        [{"kind": "score", "samples": 1, "scores": {"fd": None}}, {"kind": "score", "samples": 2, "scores": None}],
        [step(1, **{"p_real_above_fake/heldout": 0.0, "spread": 0.0, "images_per_second": 0.0, "term/r1": -1.0})],
        [{"kind": "alarm", "samples": 3}, {"kind": "stop", "samples": 3, "seconds": 7300, "reason": "long " * 99}],
        [{"samples": i, f"term/{'name' * 5}{i}": 1.0} for i in range(9)],
    ],
)
def test_any_log_can_be_drawn(records, tmp_path):
    assert Image.open(progress(records, tmp_path / "progress.png")).size[0] >= 480


@pytest.mark.parametrize("smallest", [1.0, 1e-3])  # an even scale, and a logarithmic one
def test_a_legend_that_is_too_long_for_the_title_lies_above_the_lines(smallest, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "figure_png", lambda figure: drawn.append(figure) or b"")
    names = ["discriminator/r1", "discriminator/r2", "generator/feature-matching"]
    chances = {"p_real_above_fake": 0.99, "p_real_above_fake/heldout": 0.98, "p_train_above_heldout": 1.0}
    log = [step(i, **{f"term/{n}": smallest + i % 5 for n in [*names, "r1"]}, **chances) for i in range(1, 50)]
    progress(log, tmp_path / "progress.png")
    drawn[0].canvas.draw()
    panels = {axes.get_title(loc="left"): axes for axes in drawn[0].axes}
    assert panels["terms"].get_yscale() == ("linear" if smallest == 1 else "log")
    for title in ("terms", "P(real > fake)", "losses"):
        legend = panels[title].get_legend().get_window_extent()
        for line in panels[title].lines:
            if not line.get_label().startswith("_"):
                assert line.get_transform().transform(line.get_xydata())[:, 1].max() < legend.y0, title


def test_the_best_is_the_last_record_called_best():
    drawn = [draw for title, draw in plots._panels(LOG) if title in ("fd[digits]", "recall")]
    assert [draw.keywords["best"] for draw in drawn] == [30 * 64, 30 * 64]
    assert [draw.keywords["word"] for draw in drawn] == ["best", "at the best"]
    assert drawn[0].keywords["line"][2].tolist() == [9.0, 7.0, 8.0]


def test_buckets_keep_means_and_extremes():
    at = np.arange(3000.0)
    values = np.where(at == 1234, 50.0, 1.0)
    x, mean, low, high = plots._buckets(at, values)
    assert len(x) == plots.BUCKETS
    assert_allclose(mean.mean(), values.mean(), rtol=1e-12)
    assert high.max() == 50
    assert low.min() == 1
    assert_allclose(x[0], at[:10].mean())
    few = plots._buckets(at[:7], at[:7])
    assert_allclose(few[1], at[:7])


def test_text_of_logged_non_finite_values_is_left_out():
    label, at, values = plots._line([{"samples": 1, "a": "NaN"}, {"samples": 2, "a": 3}, {"samples": 3}], "a", "A")
    assert (label, at.tolist(), values.tolist()) == ("A", [2.0], [3.0])
    assert plots._line([{"samples": 1, "a": "inf"}], "a", "A") is None


def test_the_headline_says_how_far_how_long_and_why_it_ended():
    assert plots._headline([*LOG, {"kind": "stop", "samples": 3136, "seconds": 125.4, "reason": "samples"}]) == (
        "3,136 samples · 2 min 05 s · stopped by samples"
    )


def test_counts_and_durations_are_short():
    assert [plots._count(v) for v in (0, 640, 12_000, 1_500_000)] == ["0", "640", "12k", "1.5M"]
    assert [plots._duration(s) for s in (7, 125, 7300)] == ["7 s", "2 min 05 s", "2 h 01 min"]

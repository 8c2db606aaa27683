"""What the evaluator adds to metrics and extractors: which are chosen, what they are shown, what is refused."""

import math

import numpy as np
import pytest
import torch

from gannet.core.errors import CheckpointError, DataError, UsageError
from gannet.core.parts import Extractor, Metric
from gannet.core.random import Draw
from gannet.core.registry import EXTRACTORS, METRICS, SOURCES
from gannet.core.types import DataSpec, Field, Source
from gannet.fakes import Along
from gannet.metrics import evaluator
from gannet.metrics.defaults import default_extractor
from gannet.metrics.evaluator import CHUNK, STEP, Evaluator


class Rows:
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def take(self, indices):
        return {"x": self.x[indices]}


class Numbered(Source):
    """Points (number of the row, 1 for training and −1 for test rows)."""

    def __init__(self, train=60, test=20):
        self.spec = DataSpec({"x": Field((2,), kind="points", range=None)})
        self.parts = {
            name: Rows(torch.stack([torch.arange(n).float(), torch.full((n,), side)], 1))
            for name, n, side in (("train", train, 1.0), ("test", test, -1.0))
        }

    def split(self, name):
        return self.parts[name]

    def fingerprint(self):
        return "0123456789abcdef"


class Seen(Metric):
    """Keeps what it was called with."""

    reads, better, wants_train = "samples", "lower", True

    def __call__(self, fake, real, train=None):
        Seen.last = fake, real, train
        return 1.0


class Length(Metric):
    """Mean square of the steps."""

    reads, better, symbol = "steps", "lower", "len"

    def __call__(self, fake, real):
        return float((fake**2).sum(1).mean())


class Doubled(Extractor):
    """Twice the samples, with a name of its own for a distance."""

    name, suits, symbols, protocol = "doubled", ("points",), {"fd": "fid"}, "doubled@1"
    wants_source = True

    def __init__(self, source, *, broken: bool = False):
        self.source, self.broken = source, broken

    def features(self, x):
        return x * math.nan if self.broken else 2 * x


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    for kind, found in ((METRICS, {"seen": Seen, "length": Length}), (EXTRACTORS, {"doubled": Doubled})):
        kind.names()
        monkeypatch.setattr(kind, "_parts", {**kind._parts, **found})


def same(count, start):
    return torch.arange(start, start + count).float()[:, None].expand(count, 2)


# ------------------------------------------------------------------------------------------------------- extractors


def test_an_extractor_is_chosen_by_what_it_suits(monkeypatch):
    class Suits(Extractor):
        name, suits, protocol = "a-first", ("digits",), "a-first"

        def __init__(self, shape):
            if shape != (1, 12, 12):
                raise UsageError("only 12 × 12")

        def features(self, x):
            return x.flatten(1)

    from gannet.core.registry import SOURCES

    small, large = SOURCES.build("digits(limit=20)"), SOURCES.build("digits(limit=20, size=12)")
    assert (default_extractor(small), default_extractor(large)) == ("digits-classifier", "random-conv")
    monkeypatch.setattr(EXTRACTORS, "_parts", {**EXTRACTORS._parts, "a-first": Suits})
    assert (default_extractor(small), default_extractor(large)) == ("digits-classifier", "a-first")
    assert default_extractor(Numbered()) == "pixels"


def test_an_extractor_may_want_the_source_and_name_a_distance():
    source = Numbered()
    judge = Evaluator(source, metrics=["frechet"], extractor="doubled")
    assert judge.extractor.source is source
    assert judge.primary == "fid[doubled]"
    assert judge.protocol[judge.primary] == "fid[doubled@1,n=20|Numbered@01234567:test,seed=0]"


@pytest.mark.parametrize("side", ["fakes", "reals"])
def test_features_that_are_not_finite_are_refused(side):
    judge = Evaluator(Numbered(), metrics=["frechet"], extractor="doubled(broken=true)")
    with pytest.raises(DataError, match="features that are not finite, taken by doubled"):
        judge.score(same) if side == "fakes" else judge.floor()


# ----------------------------------------------------------------------------------------------------- training rows


def test_a_metric_of_memorisation_is_shown_training_rows():
    judge = Evaluator(Numbered(), metrics=["seen"])
    assert judge.protocol["seen"] == "seen[samples,n=20|Numbered@01234567:test,seed=0,train=60]"
    judge.score(same)
    fake, real, train = Seen.last
    assert [len(side) for side in (fake, real, train)] == [20, 20, 60]
    assert sorted(train[:, 0]) == list(range(60))
    assert (train[:, 1] == 1).all()
    assert (real[:, 1] == -1).all()


def test_the_floor_of_memorisation_takes_its_fakes_out_of_the_training_rows():
    Evaluator(Numbered(), metrics=["seen"]).floor()
    fake, real, train = Seen.last
    assert [len(side) for side in (fake, real, train)] == [20, 20, 40]
    assert sorted([*fake[:, 0], *train[:, 0]]) == list(range(60))
    assert (real[:, 1] == -1).all()
    # Where too few are left there is no floor, and the others have theirs.
    assert list(Evaluator(Numbered(train=30), metrics=["seen", "precision"]).floor()) == ["precision"]


def test_at_most_so_many_training_rows_are_shown(monkeypatch):
    monkeypatch.setattr(evaluator, "TRAIN", 25)
    Evaluator(Numbered(), metrics=["seen"]).score(same)
    assert len(Seen.last[2]) == 25


def test_memorisation_needs_held_out_rows():
    with pytest.raises(UsageError, match="seen tells training rows from held-out ones, and the reference is the train"):
        Evaluator(Numbered(), split="train", metrics=["seen"])


# ---------------------------------------------------------------------------------------------------------- paths


def test_steps_are_changes_of_features_over_the_step():
    def walk(count, start, step):
        x = same(count, start)
        return x, x + step * torch.tensor([3.0, 4.0])

    # Two chunks, and numbers small enough for a step to be seen in fp32.
    n = CHUNK + 10
    judge = Evaluator(Numbered(300, 300), metrics=["length"], extractor="doubled", n=n, report=True)
    assert judge.protocol == {"len[doubled]": f"len[doubled@1,n={n},step={STEP:g}]"}
    found = judge.read(lambda c, s: same(c, s) / 1000, lambda c, s, step: [x / 1000 for x in walk(c, s, step)])
    assert found["steps"].shape == (n, 2)
    np.testing.assert_allclose(judge.measure(found)["len[doubled]"], (2 * 5 / 1000) ** 2, rtol=0.05)
    assert judge.floor() == {}


def test_paths_need_a_report_and_a_generator():
    with pytest.raises(UsageError, match="gannet evaluate RUN --metrics length"):
        Evaluator(Numbered(), metrics=["length"])
    with pytest.raises(UsageError, match=r"len\[pixels\] is taken along paths through the latents"):
        Evaluator(Numbered(), metrics=["length"], report=True).read(same)


def test_a_path_goes_from_one_draw_to_another_through_draws():
    draw, places = Draw(3, "here", 0, range(20_000)), torch.full((20_000,), 0.3)
    start, end = (Along(draw, torch.full((20_000,), t)).normal(2) for t in (0.0, 1.0))
    torch.testing.assert_close(start, draw.child("from").normal(2))
    torch.testing.assert_close(end, draw.child("to").normal(2))
    between = Along(draw, places).normal(2)
    torch.testing.assert_close(between, math.cos(0.15 * math.pi) * start + math.sin(0.15 * math.pi) * end)
    np.testing.assert_allclose(between.std(), 1, atol=0.02)
    # What is no latent stays as it is along the path.
    one, other = (Along(draw, places + t) for t in (0.0, 0.5))
    assert torch.equal(one.child("labels").integers(10), other.child("labels").integers(10))


# --------------------------------------------------------------------------------------------------------- reports


def test_a_report_refuses_a_frechet_distance_that_is_mostly_bias():
    source = Numbered(300, 300)
    with pytest.raises(UsageError, match="frechet in the 2 features of pixels is reported of 3 samples a side or more"):
        Evaluator(source, metrics=["frechet"], n=2, report=True)
    assert Evaluator(source, metrics=["frechet"], n=3, report=True).n == 3
    assert Evaluator(source, metrics=["frechet"], n=2).n == 2


def test_sixteen_digits_are_too_few_for_a_frechet_distance():
    from gannet.core.registry import SOURCES

    digits = SOURCES.build("digits")
    with pytest.raises(UsageError, match=r"n=16: with fewer, most of the value is bias\. Use n=65 or more, or kernel"):
        Evaluator(digits, metrics=["frechet"], n=16, report=True)
    judge = Evaluator(digits, n=16, report=True)
    assert judge.left_out == {"fd[digits-classifier]": 65}
    assert judge.primary == "kd[digits-classifier]"
    assert Evaluator(digits, n=65, report=True).left_out == {}


def test_every_chunk_is_told():
    told = []
    judge = Evaluator(Numbered(300, 300), metrics=["frechet"], tell=told.append)
    judge.score(same)
    assert told == [CHUNK, 50, CHUNK, 50]


def test_the_features_of_a_reference_are_kept_and_used_again(tmp_path, monkeypatch):
    digits, path = SOURCES.build("digits"), tmp_path / "digits.safetensors"
    metrics = ["frechet", "sliced-wasserstein"]
    fakes = digits.split("train").take(torch.arange(100))["x"]

    def judged(**options):
        judge = Evaluator(digits, metrics=metrics, n=100, kept=path, **options)
        return judge.score(lambda count, start: fakes[start : start + count])

    first, seen = judged(), []
    extractor = EXTRACTORS.get("digits-classifier")
    whole = extractor.features
    monkeypatch.setattr(extractor, "features", lambda self, x: (seen.append(len(x)), whole(self, x))[1])
    assert judged() == first
    assert sum(seen) == 100  # the fakes alone
    for options in ({"seed": 1}, {"split": "train"}, {"extractor": "random-conv"}):
        with pytest.raises(UsageError, match="does not compare"):
            judged(**options)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=path.name):
        judged()

"""A source of few labels: which rows keep theirs, and that nothing else changes."""

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import SOURCES

ALL = torch.arange(1500)


def labels(text: str) -> torch.Tensor:
    return SOURCES.build(text).split("train").take(ALL)["y"]


def test_the_first_rows_of_every_class_keep_their_label():
    whole, y = labels("digits"), labels("few-labels(of=digits, labels=50)")
    wanted = torch.full_like(whole, -1)
    for label in range(10):
        wanted[(whole == label).nonzero().squeeze(1)[:5]] = label
    assert_close(y, wanted, rtol=0, atol=0)
    assert (y >= 0).sum() == 50


def test_nothing_else_changes():
    few, whole = SOURCES.build("few-labels(of=digits(size=16), labels=20)"), SOURCES.build("digits(size=16)")
    assert few.spec == whole.spec
    rows = torch.tensor([1499, 0, 700, 0])
    batch, wanted = (source.split("train").take(rows) for source in (few, whole))
    assert_close(batch["x"], wanted["x"], rtol=0, atol=0)
    assert batch["y"].tolist() == [-1, wanted["y"][1], -1, wanted["y"][3]]
    assert batch["y"].dtype == torch.int64
    assert len(few.split("train")) == 1500
    assert_close(few.split("test").take(ALL[:297]), whole.split("test").take(ALL[:297]), rtol=0, atol=0)
    with pytest.raises(IndexError):
        few.split("train").take(torch.tensor([1500]))
    with pytest.raises(UsageError, match="Did you mean: train"):
        few.split("trian")
    # What takes is left as it was, for the next one who asks.
    assert (whole.split("train").take(ALL)["y"] >= 0).all()


def test_a_seed_draws_other_rows_and_as_many_of_each_class():
    draws = [labels(f"few-labels(labels=50, seed={seed})") for seed in (0, 0, 1)]
    whole = labels("digits")
    for y in draws:
        assert y[y >= 0].bincount().tolist() == [5] * 10
        assert_close(y[y >= 0], whole[y >= 0], rtol=0, atol=0)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0] >= 0, draws[2] >= 0)
    assert not torch.equal(draws[0] >= 0, labels("few-labels(labels=50)") >= 0)


def test_the_fingerprint_follows_the_source_and_the_labelled_rows():
    texts = ["digits", "few-labels", "few-labels(labels=100)", "few-labels(labels=50)", "few-labels(seed=1)",
             "few-labels(of=digits(size=9))"]  # fmt: skip
    prints = [SOURCES.build(text).fingerprint() for text in texts]
    assert all(len(p) == 16 and int(p, 16) >= 0 for p in prints)
    assert prints[1] == prints[2]
    assert len(set(prints)) == 5


def test_any_kind_of_source_can_lose_labels():
    y = SOURCES.build('few-labels(of=points(name="ring-8", classes=true, n=800), labels=16)').split("train")
    assert y.take(torch.arange(800))["y"].add(1).bincount().tolist() == [784, *[2] * 8]
    made = SOURCES.build("few-labels(of=shapes(count=9000), labels=32)").split("train")
    kept = [made.take(part)["y"] >= 0 for part in torch.arange(9000).split(3000)]
    assert int(torch.cat(kept).sum()) == 32


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("of=points", "no labels to keep a few of"),
        ("of=inverted", "unpaired"),
        ("labels=25", "labels=20 or labels=30"),
        ("labels=3", "labels=10 or labels=20"),
        ("labels=0", "labels=10 or labels=20"),
        ("labels=1500", "class 0 has 149 training rows.*labels=1490 or fewer"),
        ("of=digit", "Did you mean: digits"),
    ],
)
def test_refusals_say_what_would_do(text, said):
    with pytest.raises(UsageError, match=said):
        SOURCES.build(f"few-labels({text})")

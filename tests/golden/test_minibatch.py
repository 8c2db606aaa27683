"""Statistics across rows, by hand: groups, a smaller last one, kernels of all pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.parts import couples_batch
from gannet.networks.minibatch import MinibatchDiscrimination, MinibatchStddev, statistics

pytestmark = pytest.mark.usefixtures("fp64")


def test_stddev_by_hand():
    # Two rows, two features, two places: deviations 1, 2 (feature 0) and 0, 3 (feature 1), so 1.5 on average.
    x = torch.tensor([[[[0.0, 0.0]], [[5.0, 0.0]]], [[[2.0, 4.0]], [[5.0, 6.0]]]])
    out = MinibatchStddev(group=2)(x)
    assert out.shape == (2, 3, 1, 2)
    assert_close(out[:, :2], x, rtol=0, atol=0)
    # The root has 1e-8 under it, so what does not vary counts 1e-4 instead of 0.
    assert_close(out[:, 2], torch.full((2, 1, 2), (1 + 2 + 1e-4 + 3) / 4), rtol=1e-8, atol=0)


def test_stddev_groups_are_rows_that_follow_each_other_and_the_last_may_be_smaller():
    x = torch.tensor([0.0, 2.0, 0.0, 6.0, 9.0]).view(5, 1, 1, 1)
    out = MinibatchStddev(group=2)(x)[:, 1].flatten()
    assert_close(out, torch.tensor([1.0, 1.0, 3.0, 3.0, 1e-4]), rtol=1e-7, atol=0)
    few = MinibatchStddev(group=4)(x[:3])[:, 1].flatten()  # fewer rows than a group
    assert_close(few, torch.full((3,), math.sqrt(8 / 9)), rtol=1e-7, atol=0)


def test_stddev_of_vectors_is_one_more_number():
    x = torch.randn(8, 5)
    out = MinibatchStddev()(x)
    assert out.shape == (8, 6)
    wanted = torch.stack([x[i : i + 4].std(0, correction=0).mean() for i in (0, 4)]).repeat_interleave(4)
    assert_close(out[:, 5], wanted, rtol=1e-6, atol=1e-7)


def test_discrimination_by_hand():
    layer = MinibatchDiscrimination(1, kernels=2, dims=2)
    with torch.no_grad():  # M(x) = [[x, 0], [x, 2x]]
        layer.project.weight.copy_(torch.tensor([[1.0], [0.0], [1.0], [2.0]]))
    out = layer(torch.tensor([[0.0], [1.0], [3.0]]))
    e = math.exp
    wanted = [[e(-1) + e(-3), e(-3) + e(-9)], [e(-1) + e(-2), e(-3) + e(-6)], [e(-3) + e(-2), e(-9) + e(-6)]]
    assert_close(out, torch.cat([torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor(wanted)], dim=1))


def test_discrimination_of_one_row_finds_nobody():
    layer = MinibatchDiscrimination(3)
    assert_close(layer(torch.ones(1, 3))[:, 3:], torch.zeros(1, 50), rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "outputs"), [("none", 7), ("stddev", 8), ("discrimination", 57)])
def test_statistics_say_how_long_they_are_and_whether_they_couple(kind, outputs):
    layer = statistics(kind, 7)
    x = torch.randn(6, 7, requires_grad=True)
    out = layer(x)
    assert out.shape == (6, outputs) == (6, layer.outputs)
    assert_close(out[:, :7], x, rtol=0, atol=0)
    assert couples_batch(layer) == (kind != "none")
    (gradient,) = torch.autograd.grad(out[0].sum(), x)
    assert bool(gradient[1:].any()) == (kind != "none"), "the declaration must be true"
    assert torch.autograd.gradgradcheck(layer, (x,))


@pytest.mark.parametrize("kind", ["stddev", "discrimination"])
def test_rows_that_are_alike_stand_out(kind):
    torch.manual_seed(0)
    layer = statistics(kind, 7)
    alike, apart = torch.randn(1, 7).expand(4, 7), torch.randn(4, 7)
    grows = layer(alike)[:, 7:].mean() - layer(apart)[:, 7:].mean()
    assert (grows < 0) == (kind == "stddev")  # a deviation falls, closeness rises


def test_refusals():
    with pytest.raises(UsageError, match="group=0"):
        MinibatchStddev(group=0)
    with pytest.raises(UsageError, match="kernels=0"):
        MinibatchDiscrimination(3, kernels=0)

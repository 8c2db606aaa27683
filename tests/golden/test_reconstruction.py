"""Reconstruction losses: one number a sample, against hand-computed values and PyTorch's distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.losses.reconstruction import cross_entropy, gaussian_nll, l1, l2

pytestmark = pytest.mark.usefixtures("fp64")

A = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]])
B = torch.tensor([[[0.0, 2.0], [3.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])


def test_l1_and_l2_by_hand():
    assert_close(l1(A.double(), B.double()), torch.tensor([1.0, 0.5]))
    assert_close(l2(A.double(), B.double()), torch.tensor([2.5, 1.0]))
    assert_close(l1(A[0, 0], B[0, 0]), torch.tensor([1.0, 0.0], dtype=A.dtype))  # [B]


def test_gradients():
    x = A.double().requires_grad_()
    assert_close(torch.autograd.grad(l1(x, B.double()).sum(), x)[0], (A - B).double().sign() / 4)
    assert_close(torch.autograd.grad(l2(x, B.double()).sum(), x)[0], (A - B).double() / 2)


def test_cross_entropy_takes_logits():
    """A softmax before it would hold the loss of a sure and right answer above log(1 + (K − 1)/e) = 0.55 for K = 3."""
    sure = torch.tensor([[30.0, 0.0, 0.0], [0.0, 0.0, 30.0]], requires_grad=True)
    loss = cross_entropy(sure, torch.tensor([0, 2]))
    assert_close(loss, torch.zeros(2), rtol=0, atol=1e-10)
    wrong = cross_entropy(sure, torch.tensor([1, 1]))
    assert_close(wrong, torch.full((2,), 30.0), rtol=0, atol=1e-10)
    (gradient,) = torch.autograd.grad(wrong.sum(), sure)
    assert_close(gradient, torch.tensor([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]]), rtol=0, atol=1e-10)


def test_cross_entropy_by_hand_and_of_maps():
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    assert_close(cross_entropy(logits, torch.tensor([0, 0])), torch.tensor([math.log(4.0), math.log(1.25)]))
    torch.manual_seed(0)
    maps, target = torch.randn(2, 3, 2, 2), torch.randint(3, (2, 2, 2))
    by_position = [
        sum(cross_entropy(maps[b, :, i, j][None], target[b, i, j][None])[0] for i in range(2) for j in range(2)) / 4
        for b in range(2)
    ]
    assert_close(cross_entropy(maps, target), torch.stack(by_position))


def test_gaussian_nll_is_the_likelihood():
    torch.manual_seed(0)
    target, mean, log_variance = (torch.randn(4, 3, requires_grad=True) for _ in range(3))
    wanted = -torch.distributions.Normal(mean, (0.5 * log_variance).exp()).log_prob(target).sum(1)
    found = gaussian_nll(target, mean, log_variance)
    assert_close(found, wanted)
    for a, b in zip(
        torch.autograd.grad(found.sum(), (target, mean, log_variance), retain_graph=True),
        torch.autograd.grad(wanted.sum(), (target, mean, log_variance)),
        strict=True,
    ):
        assert_close(a, b)
        assert (a != 0).all()  # the graph reaches the code, its mean and its variance


def test_shapes_that_would_broadcast_are_refused():
    for loss in (l1, l2, lambda a, b: gaussian_nll(b, a, a)):
        with pytest.raises(UsageError, match="differ in shape"):
            loss(torch.zeros(3, 1), torch.zeros(3))

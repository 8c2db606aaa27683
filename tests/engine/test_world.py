"""Rows of all processes, as one of them sees them."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from gannet.core import world


@pytest.fixture
def second_of_two(monkeypatch):
    """This process is number 1 of 2; the other holds the same rows and sends three times our gradients."""
    monkeypatch.setattr(world, "size", lambda: 2)
    monkeypatch.setattr(world, "rank", lambda: 1)
    monkeypatch.setattr(world.dist, "all_gather", lambda parts, rows: [part.copy_(rows) for part in parts])
    monkeypatch.setattr(world.dist, "all_reduce", lambda grad: grad.mul_(4))


def test_gradients_of_gathered_rows_are_summed_in_memory_of_our_own(second_of_two):
    rows = torch.tensor([[1.0], [2.0]], requires_grad=True)
    gathered = world.gather_rows(rows)
    assert_close(gathered, torch.tensor([[1.0], [2.0], [1.0], [2.0]]))
    grad = torch.arange(4.0).view(4, 1)  # autograd may hand the same one to others
    (found,) = torch.autograd.grad(gathered, rows, grad)
    assert_close(found, torch.tensor([[8.0], [12.0]]))
    assert_close(grad, torch.arange(4.0).view(4, 1), rtol=0, atol=0)

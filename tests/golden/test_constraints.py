"""Weight clipping and forced weight norm, in place and without a graph."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import CONSTRAINTS

pytestmark = pytest.mark.usefixtures("fp64")


def test_clip_cuts_every_parameter_both_ways():
    module = nn.Linear(3, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0.5, -0.5, 0.005]]))
        module.bias.fill_(-2.0)
    kept = module.weight
    CONSTRAINTS.build("clip").apply([module])
    assert module.weight is kept
    assert kept.requires_grad
    assert_close(module.weight.detach(), torch.tensor([[0.01, -0.01, 0.005]]))
    assert_close(module.bias.detach(), torch.tensor([-0.01]))
    CONSTRAINTS.build("clip(limit=0.001)").apply([module])
    assert_close(module.weight.detach(), torch.tensor([[0.001, -0.001, 0.001]]))


@pytest.mark.parametrize(
    ("module", "outputs"),
    [
        (nn.Linear(5, 3), lambda w: w),
        (nn.Conv2d(4, 6, 3, groups=2), lambda w: w.flatten(1)),
        (nn.ConvTranspose2d(4, 3, 2), lambda w: w.transpose(0, 1).flatten(1)),
        (
            nn.ConvTranspose2d(4, 6, 3, groups=2),
            lambda w: w.unflatten(0, (2, 2)).transpose(1, 2).flatten(0, 1).flatten(1),
        ),
    ],
)
def test_forced_norm_of_every_output_filter_is_root_fan_in(module, outputs):
    before = outputs(module.weight.detach().clone())
    bias = module.bias.detach().clone()
    constraint = CONSTRAINTS.build("forced-weight-norm")
    constraint.apply([module])
    after = outputs(module.weight.detach())
    fan_in = after.shape[1]
    assert_close(after.norm(dim=1), torch.full((len(after),), math.sqrt(fan_in), dtype=after.dtype))
    assert_close(after / after.norm(dim=1, keepdim=True), before / before.norm(dim=1, keepdim=True))  # directions stay
    assert_close(module.bias.detach(), bias)
    again = module.weight.detach().clone()
    constraint.apply([module])
    assert_close(module.weight.detach(), again)


def test_forced_norm_by_hand():
    module = nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    CONSTRAINTS.build("forced-weight-norm").apply([module])
    root = math.sqrt(2) / 5
    assert_close(module.weight.detach(), torch.tensor([[3 * root, 4 * root], [0.0, 0.0]]))


def test_forced_norm_leaves_gains_and_labels_alone():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Embedding(4, 3), nn.PReLU())
    before = [p.detach().clone() for p in net.parameters()]
    CONSTRAINTS.build("forced-weight-norm").apply([net])
    for then, now in zip(before, net.parameters(), strict=True):
        assert_close(now.detach(), then)


def test_forced_norm_reaches_the_trained_weight_of_a_parametrisation():
    layer = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
    CONSTRAINTS.build("forced-weight-norm").apply([layer])
    assert_close(layer.parametrizations.weight.original.detach().norm(dim=1), torch.full((4,), 2.0))


def test_sides_and_refusals():
    assert CONSTRAINTS.build("clip").side == "discriminator"
    assert CONSTRAINTS.build("forced-weight-norm(side=generator)").side == "generator"
    with pytest.raises(UsageError, match="limit=0 is out of range"):
        CONSTRAINTS.build("clip(limit=0)")

"""Historical averaging against means worked out by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import REGULARIZERS
from gannet.networks.layers import spectral_norm

pytestmark = pytest.mark.usefixtures("fp64")


def point(*values: float) -> nn.Module:
    """A network of one weight vector."""
    module = nn.Module()
    module.w = nn.Parameter(torch.tensor(values))
    return module


def watched(spec: str, *modules: nn.Module):
    term = REGULARIZERS.build(spec)
    term.watch(list(modules))
    return term


def go(term, module: nn.Module, *values: float) -> None:
    """One step of the optimiser to `values`."""
    with torch.no_grad():
        module.w.copy_(torch.tensor(values))
    term.after_step([module])


def test_distance_from_the_plain_mean_by_hand():
    module = point(1.0, 2.0)
    term = watched("historical-averaging", module)
    assert_close(term([module]), torch.tensor(0.0))  # no past yet
    go(term, module, 2.0, 0.0)
    go(term, module, 4.0, 1.0)
    go(term, module, 0.0, 5.0)
    # The mean of the three is (2, 2): the first weights, drawn or loaded, are no step.
    assert_close(term([module]), torch.tensor(4.0 + 9.0))
    assert_close(torch.autograd.grad(term([module]), module.w)[0], torch.tensor([-4.0, 6.0]))


def test_the_first_step_is_its_own_mean_exactly():
    module = point(1.0)
    term = watched("historical-averaging", module)
    go(term, module, 0.1)
    assert float(term([module]).detach()) == 0.0


def test_a_decay_forgets():
    """Rates max(1 − 0.75, 1/t): 1, ½, ⅓, ¼, ¼ …"""
    module = point(0.0)
    term = watched("historical-averaging(decay=0.75)", module)
    for value in (1.0, 2.0, 6.0):
        go(term, module, value)
    assert_close(term([module]), torch.tensor((6.0 - 3.0) ** 2))
    go(term, module, 7.0)
    go(term, module, 8.0)
    mean = 0.75 * (0.75 * 3 + 0.25 * 7) + 0.25 * 8
    assert_close(term([module]), torch.tensor((8 - mean) ** 2))


def test_every_parameter_counts_biases_and_what_stands_behind_spectral_norm_too():
    module = spectral_norm(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    term = watched("historical-averaging", module)
    term.after_step([module])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.5
    count = sum(p.numel() for p in module.parameters())
    assert_close(term([module]), torch.tensor(0.25 * count))
    found = torch.autograd.grad(term([module]), list(module.parameters()))
    assert_close(torch.cat([g.flatten() for g in found]), torch.ones(count))


def test_forward_changes_nothing_and_the_means_have_no_graph():
    module = point(1.0)
    term = watched("historical-averaging", module)
    go(term, module, 2.0)
    go(term, module, 4.0)
    before = copy.deepcopy(term.state_dict())
    term([module]).backward()
    assert_close(term.state_dict(), before, rtol=0, atol=0)
    assert not any(t.requires_grad for t in term.state_dict().values())


def test_frozen_parameters_add_nothing_and_shared_ones_count_once():
    body, head, other = point(1.0), nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    body.w.requires_grad = False
    other.weight = head.weight
    term = watched("historical-averaging", body, head, other)
    term.after_step([body, head, other])
    with torch.no_grad():
        head.weight += 3.0
    value = term([body, head, other])
    assert_close(value, torch.tensor(9.0))
    value.backward()
    assert body.w.grad is None
    assert_close(head.weight.grad, torch.tensor([[6.0]]))


def test_networks_that_do_not_step_together_have_means_of_their_own():
    one, two = point(1.0), point(10.0)
    term = watched("historical-averaging", one, two)
    go(term, one, 2.0)
    go(term, one, 4.0)
    go(term, two, 20.0)
    go(term, two, 30.0)
    assert_close(term([two]), torch.tensor(5.0**2))
    assert_close(term([one, two]), torch.tensor(1.0 + 5.0**2))
    alone = watched("historical-averaging", one, two)
    go(alone, two, 30.0)
    assert_close(alone([one, two]), torch.tensor(0.0))  # one has no past yet


def test_state_round_trip():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1)))
    term, again = watched("historical-averaging", module), watched("historical-averaging", module)
    for _ in range(3):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += torch.randn_like(parameter)
        term.after_step([module])
    again.load_state_dict(copy.deepcopy(term.state_dict()))
    assert float(term([module]).detach()) > 0
    assert_close(again([module]), term([module]), rtol=0, atol=0)
    for other in (term, again):
        other.after_step([module])
    assert_close(again.state_dict(), term.state_dict(), rtol=0, atol=0)
    assert len(term.state_dict()) == 1 + 4


def test_defaults_and_refusals():
    term = REGULARIZERS.build("historical-averaging")
    assert (term.side, term.weight(None), term.every) == ("generator", 1.0, 1)
    assert REGULARIZERS.build("historical-averaging(side=discriminator)").side == "discriminator"
    for spec in ("historical-averaging(decay=1)", "historical-averaging(decay=-0.1)"):
        with pytest.raises(UsageError, match=r"decay=.* is out of range"):
            REGULARIZERS.build(spec)

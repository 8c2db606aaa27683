"""The paired and the unpaired demonstration source."""

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.registry import SOURCES
from gannet.data.pairs import edge_map, thick_negative


def test_edges_of_a_step_stand_on_the_step():
    x = torch.full((1, 3, 6, 6), -1.0)
    x[..., 3:] = 1.0
    edges = edge_map(x)
    assert edges.shape == (1, 1, 6, 6)
    assert_close(edges[0, 0], torch.tensor([0, 0, 255, 255, 0, 0], dtype=torch.uint8).expand(6, 6))
    assert_close(edge_map(x.transpose(2, 3)), edges.transpose(2, 3))
    assert_close(edge_map(x / 2)[0, 0, 0, 2].item(), 128)


def test_edges_belong_to_their_images():
    source = SOURCES.build("edges(of=digits(size=16), limit=50, labels=[3, 5])")
    assert source.spec.fields["given"].order == "x"
    assert source.spec.shape == (1, 16, 16)
    assert source.spec.names == ("3", "5")
    split = source.split("train")
    batch = split.take(torch.tensor([9, 2]))
    assert len(split) == 50
    expected = edge_map(split.take(torch.arange(50))["x"])[[9, 2]].float() / 127.5 - 1
    assert_close(batch["given"], expected)


def test_the_negative_is_inverted_and_thicker():
    x = torch.full((1, 1, 5, 5), -1.0)
    x[0, 0, 2, 2] = 1.0
    expected = torch.full((5, 5), 255, dtype=torch.uint8)
    expected[1:4, 1:4] = 128
    expected[2, 2] = 0
    assert_close(thick_negative(x)[0, 0], expected)


def test_the_second_domain_has_its_own_order():
    source = SOURCES.build("inverted(limit=100)")
    split = source.split("train")
    assert source.spec.given.order == "own"
    assert set(split.take(torch.tensor([0]))) == {"x", "y"}
    # The limit cuts both domains, since it is handed on to the source of both.
    assert split.own_length("given") == 100
    own = split.take_own("given", torch.tensor([7, 0, 7]))
    assert_close(own[0], own[2], rtol=0, atol=0)
    expected = thick_negative(split.take(torch.tensor([7, 0]))["x"]).float() / 127.5 - 1
    assert_close(own[:2], expected)
    with pytest.raises(UsageError, match="unknown unpaired field 'x'"):
        split.own_length("x")


def test_points_are_no_images():
    with pytest.raises(UsageError, match="holds no images"):
        SOURCES.build("edges(of=points)")
    with pytest.raises(UsageError, match="digits"):
        SOURCES.build("inverted(of=digit)")

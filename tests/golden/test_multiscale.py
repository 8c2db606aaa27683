"""A discriminator at several scales: the parts' own verdicts on averaged images, in one."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.parts import couples_batch
from gannet.core.registry import DISCRIMINATORS
from gannet.core.types import DataSpec, Field
from gannet.networks.multiscale import MultiscaleDiscriminator, halved

pytestmark = pytest.mark.usefixtures("fp64", "seeded")


@pytest.fixture
def seeded():
    """The same first weights every time."""
    torch.manual_seed(0)


def images(height: int, width: int, classes: int = 0, given: int = 0) -> DataSpec:
    fields = {"x": Field((1, height, width))} | ({"given": Field((given, height, width))} if given else {})
    return DataSpec(fields, classes)


def build(data: DataSpec, options: str = "multiscale(of=patch(width=4))") -> MultiscaleDiscriminator:
    torch.manual_seed(0)
    return DISCRIMINATORS.build(options, data)


def test_halving_is_the_mean_of_the_pixels_that_exist():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert_close(halved(x), torch.tensor([[[[2.5, 4.0], [8.5, 10.0]]]]))
    assert halved(torch.ones(1, 2, 5, 9)).shape == (1, 2, 3, 5)
    assert_close(halved(torch.ones(1, 2, 5, 9)), torch.ones(1, 2, 3, 5))  # no darker at the border


@pytest.mark.parametrize(
    ("size", "sides"),
    [((32, 32), [32, 16, 8]), ((8, 8), [8, 4]), ((29, 45), [29, 15, 8]), ((5, 9), [5]), ((2, 40), [2])],
)
def test_as_many_scales_as_leave_four_pixels(size, sides):
    net = build(images(*size))
    assert [network.data.shape[1] for network in net.scales] == sides


def test_scores_and_features_are_those_of_the_parts():
    net = build(images(32, 24, classes=3, given=2))
    generator = torch.Generator().manual_seed(1)
    x, given = (torch.randn(5, c, 32, 24, generator=generator) for c in (1, 2))
    y = torch.tensor([0, 1, 2, 1, 0])
    verdict = net(x, y, given)
    parts = []
    for network in net.scales:
        parts.append(network(x, y, given))
        x, given = halved(x), halved(given)
    assert len(net.scales) == len(verdict.score) == 3
    for found, part in zip(verdict.score, parts, strict=True):
        assert_close(found, part.score[0], rtol=0, atol=0)
    assert_close(verdict.per_sample(), sum(part.score[0].mean((1, 2, 3)) for part in parts))
    sizes = [h.shape[2:].numel() for h in verdict.features]
    assert sizes == sorted(sizes, reverse=True)
    every = [h for part in parts for h in part.features]
    assert len(every) == len(verdict.features)
    assert all(any(h.shape == f.shape and torch.equal(h, f) for f in verdict.features) for h in every)


def test_each_scale_has_weights_of_its_own():
    net = build(images(16, 16))
    first, second = (next(network.parameters()) for network in net.scales[:2])
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_any_discriminator_serves_and_heads_are_those_of_the_whole_image():
    net = build(images(16, 16), "multiscale(of=fastgan(width=2), scales=2)")
    verdict = net(torch.randn(3, 1, 16, 16))
    assert [tuple(entry.shape) for entry in verdict.score] == [(3, 1, 4, 4)] * 4  # two maps a scale
    assert verdict.heads["seen"].shape == (3, 1, 16, 16)
    vectors = build(images(16, 16), "multiscale(of=mlp(width=4, layers=1))")
    assert [tuple(h.shape) for h in vectors(torch.randn(3, 1, 16, 16)).features] == [(3, 4)] * 3
    assert couples_batch(build(images(16, 16), 'multiscale(of=patch(width=4, norm="batch"))'))


def test_one_scale_is_the_network_itself():
    data = images(16, 16)
    net = build(data, "multiscale(of=dcgan(width=4), scales=1)")
    x = torch.randn(3, 1, 16, 16)
    assert_close(net(x).score, net.scales[0](x).score, rtol=0, atol=0)


def test_what_is_refused():
    with pytest.raises(UsageError, match="scales=0"):
        build(images(8, 8), "multiscale(scales=0)")
    with pytest.raises(UsageError, match=r"multiscale\.of.*Did you mean"):
        build(images(8, 8), "multiscale(of=pach)")
    with pytest.raises(UsageError, match="width=0"):
        build(images(8, 8), "multiscale(of=patch(width=0))")

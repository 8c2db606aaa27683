"""Draws: what they depend on, that they never change between versions, and that they are what they say."""

import pytest
import torch

from gannet.core.random import Draw, generator, mix

KINDS = {
    "normal": lambda draw: draw.normal(3),
    "uniform": lambda draw: draw.uniform(3, low=-2, high=5),
    "integers": lambda draw: draw.integers(1000, 3),
}


def draw(rows, stream="x", step=4, seed=7) -> Draw:
    return Draw(seed, stream, step, rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "rows", [range(1), range(14, 18), range(16, 48), range(5, 90, 7), [40, 3, 41, 3], torch.tensor([2, 77])], ids=repr
)
def test_a_row_depends_on_its_index_alone(kind, rows):
    whole, some = KINDS[kind](draw(range(100))), KINDS[kind](draw(rows))
    assert torch.equal(some, whole[torch.as_tensor(rows)])


@pytest.mark.parametrize("kind", KINDS)
def test_seed_stream_step_and_call_each_give_other_numbers(kind):
    same = draw(range(8))
    others = [draw(range(8), seed=8), draw(range(8), stream="y"), draw(range(8), step=5), draw(range(8)).child("z")]
    found = [KINDS[kind](d) for d in (same, same, *others)]
    assert not any(torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])
    assert torch.equal(found[0], KINDS[kind](draw(range(8))))


def test_a_child_does_not_feel_what_was_drawn_before():
    used = draw(range(8))
    used.normal(2)
    assert torch.equal(used.child("z").normal(2), draw(range(8)).child("z").normal(2))


def test_numbers_are_those_of_every_version_before():
    # A run that was saved by an older version goes on with these: changing them changes every run that is resumed.
    assert (mix(1), mix("ab", "c")) == (8417223528544944484, 3088838579018208649)
    over = Draw(0, "latent", 3, range(14, 18))  # over the border of two blocks
    first = torch.tensor([0.6457366, 1.4113395, -1.0077484, 1.2426697])
    torch.testing.assert_close(over.normal(2)[:, 0], first, rtol=0, atol=1e-6)
    torch.testing.assert_close(over.uniform()[:2], torch.rand(16, generator=seeded(1, 0))[14:], rtol=0, atol=0)
    assert over.integers(1000).tolist()[:2] == torch.randint(1000, (16,), generator=seeded(2, 0))[14:].tolist()
    assert over.integers(1000).tolist()[2:] == torch.randint(1000, (16,), generator=seeded(3, 1))[:2].tolist()


def seeded(call: int, block: int) -> torch.Generator:
    return generator(mix(0, "latent", 3), call, block)


def test_they_are_what_they_are_called():
    rows = draw(range(40_000))
    normal, uniform, whole = rows.normal(), rows.uniform(low=-2, high=5), rows.integers(6)
    assert abs(float(normal.mean())) < 0.02
    assert abs(float(normal.std()) - 1) < 0.02
    assert abs(float(normal[::16].std()) - 1) < 0.05  # the first row of every block
    assert float(uniform.min()) >= -2
    assert float(uniform.max()) < 5
    assert abs(float(uniform.mean()) - 1.5) < 0.03
    assert whole.dtype == torch.int64
    assert torch.bincount(whole, minlength=6).sub(40_000 / 6).abs().max() < 400
    assert abs(float(torch.corrcoef(torch.stack([normal[:-1], normal[1:]]))[0, 1])) < 0.02

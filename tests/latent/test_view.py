"""Looks at generators of every family: the seed's own bytes, places between, styles, directions, ways."""

from __future__ import annotations

import pytest
import torch

from gannet.core.errors import UsageError
from gannet.core.overrides import resolve
from gannet.engine.assembly import assemble
from gannet.latent import looks, sampling
from gannet.latent.starts import Start, draw_of, make, read
from gannet.latent.styles import mixed, styles
from gannet.latent.view import View

FAMILIES = [
    "gan", "dcgan", "quick", "cgan", "infogan", "biggan", "stylegan2", "r3gan", "fastgan", "acgan", "vae", "veegan",
]  # fmt: skip


@pytest.fixture(scope="module")
def family(tiny):
    """`family(preset)`: a task of tiny networks whose weights are no longer those of the beginning."""
    made = {}

    def task(preset: str, **more):
        key = (preset, tuple(more.items()))
        if key not in made:
            game = assemble(resolve(preset, tiny(preset, data="digits", **more)).experiment)
            gen = torch.Generator().manual_seed(1)
            with torch.no_grad():
                for weight in game.task.parameters():
                    weight.add_(0.1 * torch.randn(weight.shape, generator=gen))
            made[key] = game.task.eval()
        return made[key]

    return task


def seed(n: int, **more):
    return looks.look({"point": {"seed": n}, **more})


def at(x: float, y: float, **more):
    return looks.look({"point": {"x": x, "y": y}, **more})


@pytest.mark.parametrize("preset", FAMILIES)
def test_every_family_can_be_explored(family, preset):
    task = family(preset)
    view = View(task)
    wanted = [at(1.5, 0.25), seed(2, directions=[[0, 2.0]]), seed(2), seed(3)]
    x = view.images(wanted)
    assert torch.equal(x[2], sampling.sample(task, 1, 2)[0])
    assert torch.equal(view.images(wanted[:1])[0], x[0])  # whatever was asked for with it
    together = view.images(wanted, together=True)
    torch.testing.assert_close(together, x, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(x[1], x[2], atol=1e-4)  # a direction moves
    frames = view.frames(wanted[2:], 6)
    torch.testing.assert_close(frames[0], x[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(frames[3], x[3], rtol=1e-4, atol=1e-4)
    assert torch.equal(view.frames(wanted[2:], 6), frames)
    assert bool((frames.diff(dim=0).flatten(1).abs().amax(1) > 1e-5).all())


@pytest.mark.parametrize("preset", ["gan", "dcgan", "infogan", "biggan", "stylegan2", "cgan"])
def test_what_was_read_makes_the_sample_that_was_drawn(family, preset):
    """The seam itself: hearing a start and giving it back is no change at all."""
    task, blends = family(preset), [{n: 1.0} for n in range(8)]
    for truncation in (1.0, 0.5):
        start = read(task, draw_of(blends), None, truncation)
        for row in range(8):
            own = sampling.sample(task, 1, row, None, truncation)
            torch.testing.assert_close(make(task, start, blends)[row : row + 1], own, rtol=1e-4, atol=1e-4)


def test_the_task_is_as_it_was(family):
    task = family("stylegan2")
    before, generator = {k: v.clone() for k, v in task.state_dict().items()}, task.networks["generator"]
    View(task).frames([seed(1), seed(2)], 4)
    assert task.networks["generator"] is generator
    assert {k for k, v in task.state_dict().items() if not torch.equal(v, before[k])} == set()


def test_a_class_is_held_and_one_that_is_drawn_changes_at_the_middle(family):
    view = View(family("cgan"))
    held = view.frames([seed(1, **{"class": 3}), seed(2, **{"class": 3})], 8)
    direct = view.images([looks.look({"point": {"between": [{"seed": 1}, {"seed": 2}], "t": 0.5}, "class": 3})])
    torch.testing.assert_close(held[2:3], direct, rtol=1e-3, atol=1e-3)
    start = view.starts([seed(1, **{"class": 3}), seed(1, **{"class": 4}), seed(1)])
    assert start.y.tolist()[:2] == [3, 4]
    assert start.y[2] == draw_of([{1: 1.0}]).child("labels").integers(10)[0]


def test_truncation_is_that_of_sampling(family):
    for preset in ("dcgan", "stylegan2", "infogan"):
        task = family(preset)
        found = View(task).images([seed(4, truncation=0.5)])
        assert torch.equal(found, sampling.sample(task, 1, 4, truncation=0.5))
        ends = View(task).frames([seed(4, truncation=0.0), seed(5, truncation=1.0)], 4)
        torch.testing.assert_close(ends[0:1], sampling.sample(task, 1, 4, truncation=0.0), rtol=1e-4, atol=1e-4)


# ----------------------------------------------------------------------------------------------------------- styles


def test_a_mixed_style_is_the_others_in_the_layers_named(family):
    task = family("stylegan2")
    view, generator = View(task), task.networks["generator"]
    assert view.styles == generator.styles == styles(generator) == 4
    own, other = view.starts([seed(1)]), view.starts([seed(2)])
    w = view.starts([seed(1, style={"point": {"seed": 2}, "layers": [1, 3]})]).latent
    assert torch.equal(w[:, [0, 2]], own.latent[:, [0, 2]])
    assert torch.equal(w[:, [1, 3]], other.latent[:, [1, 3]])
    everything = view.images([seed(1, style={"point": {"seed": 2}, "layers": [0, 1, 2, 3]})])
    torch.testing.assert_close(everything, make(task, other, [{1: 1.0}]), rtol=1e-4, atol=1e-4)


def test_only_what_depends_on_the_layers_named_changes(family):
    from gannet.latent.activations import outputs

    task = family("stylegan2")
    view = View(task)
    plain, late = view.starts([seed(1)]), view.starts([seed(1, style={"point": {"seed": 2}, "layers": [2, 3]})])
    for name, same in (("first", True), ("images.0", True), ("blocks.0", False), ("images.1", False)):
        found = [outputs(task, start, [{1: 1.0}], name)[0] for start in (plain, late)]
        assert torch.equal(*found) == same, name
    assert not torch.equal(view.images([seed(1)]), make(task, late, [{1: 1.0}]))


def test_styles_need_a_mapping_network_and_layers_that_there_are(family):
    with pytest.raises(UsageError, match="mapping network"):
        View(family("dcgan")).images([seed(1, style={"point": {"seed": 2}, "layers": [0]})])
    with pytest.raises(UsageError, match="0 … 3"):
        View(family("stylegan2")).images([seed(1, style={"point": {"seed": 2}, "layers": [4]})])
    w = torch.zeros(1, 3, 2)
    mixed(w, w + 1, [0])
    assert not w.any()  # not in place


def test_between_points_is_straight_in_w_and_an_arc_in_z(family):
    ends, middle = [seed(1), seed(2)], looks.look({"point": {"between": [{"seed": 1}, {"seed": 2}], "t": 0.25}})
    view = View(family("stylegan2"))
    a, b = view.starts(ends).latent
    torch.testing.assert_close(view.starts([middle]).latent[0], 0.75 * a + 0.25 * b)
    view = View(family("dcgan"))
    a, b = view.starts(ends).latent
    arc = torch.tensor(torch.pi / 8)
    torch.testing.assert_close(view.starts([middle]).latent[0], arc.cos() * a + arc.sin() * b)


def test_a_direction_adds_its_step(family):
    for preset in ("dcgan", "stylegan2", "infogan"):
        view = View(family(preset))
        moved, plain = view.starts([seed(1, directions=[[1, 2.0], [0, -0.5]])]), view.starts([seed(1)])
        steps = view.directions.steps
        step = (2 * steps[1] - 0.5 * steps[0]).float().expand_as(plain.latent)
        torch.testing.assert_close(moved.latent, plain.latent + step)


# ------------------------------------------------------------------------------------------------------- refusals


def test_what_cannot_be_explored_says_why(tiny):
    task = assemble(resolve("pix2pix-mini", tiny("pix2pix-mini")).experiment).task.eval()
    with pytest.raises(UsageError, match="translates pictures"):
        View(task)


def test_directions_and_frames_out_of_range_are_refused(family):
    view = View(family("dcgan"))
    with pytest.raises(UsageError, match=r"direction 9 is not there"):
        view.images([seed(1, directions=[[9, 1.0]])])
    for count in (0, 601):
        with pytest.raises(UsageError, match="1 to 600"):
            view.frames([seed(1)], count)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (7, "a look is an object"),
        ({}, "a look is an object"),
        ({"point": {"seed": 1}, "truncaton": 1}, "truncation"),
        ({"point": {"seed": -1}}, "0 to 2"),
        ({"point": {"seed": 1.0}}, "whole number"),
        ({"point": {"seed": True}}, "whole number"),
        ({"point": {"seed": 2**63}}, "0 to 2"),
        ({"point": {"x": 1}}, "is no point"),
        ({"point": {"x": 1e7, "y": 0}}, "x 1"),
        ({"point": {"x": float("nan"), "y": 0}}, "x nan"),
        ({"point": {"x": 10**400, "y": 0}}, "x 1000"),
        ({"point": {"x": "1", "y": 0}}, "x '1'"),
        ({"point": {"between": [{"seed": 1}], "t": 0.5}}, "is no point"),
        ({"point": {"between": [{"seed": 1}, {"seed": 2}], "t": 1.5}}, "t 1.5"),
        ({"point": {"seed": 1}, "truncation": 3}, "truncation 3"),
        ({"point": {"seed": 1}, "directions": [[0]]}, r"\[number, standard deviations\]"),
        ({"point": {"seed": 1}, "directions": [[0.5, 1]]}, "direction 0.5"),
        ({"point": {"seed": 1}, "directions": [[0, 1e9]]}, "standard deviations"),
        ({"point": {"seed": 1}, "style": {"layers": [1]}}, "style"),
        ({"point": {"seed": 1}, "style": {"point": {"seed": 2}, "layers": ["a"]}}, "style layer 'a'"),
    ],
)
def test_a_look_that_is_none_says_what_is_wrong(value, says):
    with pytest.raises(UsageError, match=says):
        looks.look(value)


def test_points_within_points_have_an_end():
    value = {"seed": 1}
    for _ in range(looks.DEEPEST):
        value = {"between": [value, {"seed": 2}], "t": 0.5}
    assert sum(c * c for c in looks.point(value).blend.values()) == pytest.approx(1)
    with pytest.raises(UsageError, match="at most 4"):
        looks.point({"between": [value, value], "t": 0.5})


def test_what_changes_nothing_leaves_a_seed_its_bytes():
    spare = looks.look(
        {"point": {"x": 3.0, "y": 0}, "directions": [[0, 0]], "style": {"point": {"seed": 9}, "layers": []}}
    )
    assert spare.seed == 3
    assert looks.look({"point": {"between": [{"seed": 4}, {"seed": 5}], "t": 1}}).seed == 5
    assert at(3.5, 0).seed is None
    assert seed(3, directions=[[0, 1]]).seed is None


def test_starts_are_put_together_with_their_classes():
    parts = [Start(torch.zeros(1, 2), torch.tensor([3])), Start(torch.ones(2, 2), torch.tensor([4, 5]))]
    assert Start.cat(parts).y.tolist() == [3, 4, 5]
    assert len(Start.cat(parts)) == 3

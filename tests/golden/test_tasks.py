"""Tasks that condition, pack and classify, against values worked out by hand; who gets a gradient, and who does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.testing import assert_close

from gannet.core.errors import UsageError
from gannet.core.random import Draw
from gannet.core.registry import DISCRIMINATORS, GENERATORS, OBJECTIVES, TASKS
from gannet.core.round import Round
from gannet.core.types import DataSpec, Field, Generated, Verdict

pytestmark = pytest.mark.usefixtures("fp64")

PICTURES = DataSpec({"x": Field((2, 2, 3))}, 3, ("a", "b", "c"))
POINTS = DataSpec({"x": Field((2,), "points", None)}, 3, ("a", "b", "c"))
BARE = DataSpec({"x": Field((2,), "points", None)})


class Maker(nn.Module):
    """G(z) = z W, and with classes plus e_y V, in any shape."""

    def __init__(self, latent: int, shape: tuple[int, ...], classes: int = 0):
        super().__init__()
        self.latent, self.shape = latent, shape
        size = math.prod(shape)
        self.w = nn.Parameter(torch.linspace(-1, 1, latent * size).view(latent, size))
        self.v = nn.Parameter(torch.linspace(2, 3, classes * size).view(classes, size)) if classes else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        assert (y is None) == (self.v is None)
        return (z @ self.w + (0 if y is None else self.v[y])).view(-1, *self.shape)


class Judge(nn.Module):
    """Score ⟨x, 1⟩ and one head, a linear map of x."""

    def __init__(self, inputs: int, head: str, outputs: int):
        super().__init__()
        self.head, self.map = head, nn.Linear(inputs, outputs)

    def forward(self, x: Tensor, y: Tensor | None = None, given: Tensor | None = None) -> Verdict:
        assert y is None
        assert given is None
        return Verdict((x.flatten(1).sum(1),), {self.head: self.map(x.flatten(1))})


def built(text: str, data: DataSpec, **networks: nn.Module):
    task = TASKS.build(text, data)
    for name, module in networks.items():
        task.networks[name] = module
    return task


def rows(number: int, seed: int = 0) -> Draw:
    return Draw(seed, "test", 0, range(number), dtype=torch.float64)


def refused(text: str, data: DataSpec) -> str:
    with pytest.raises(UsageError) as caught:
        TASKS.build(text, data)
    return str(caught.value)


# ------------------------------------------------------------------------------------- labels beside the sample


def test_concatenation_lays_one_hot_planes_beside_real_and_fake():
    task = TASKS.build("synthesis(condition=concatenation)", PICTURES)
    y, x = torch.tensor([2, 0]), torch.randn(2, 2, 2, 3)
    (comparison,) = task.comparisons({"x": x, "y": y}, Generated(x + 1))
    real, fake = comparison.real, comparison.fake
    wanted = torch.zeros(2, 3, 2, 3)
    wanted[0, 2] = 1
    wanted[1, 0] = 1
    assert_close(real.given, wanted, rtol=0, atol=0)
    assert real.given is fake.given  # so that pairing and interpolation see one condition
    assert real.y is None
    assert fake.y is None
    assert_close(fake.x, x + 1, rtol=0, atol=0)
    roles = task.roles
    assert roles["generator"].data.classes == 3
    assert roles["discriminator"].data.classes == 0
    assert roles["discriminator"].data.given == Field((3, 2, 3), "image", (0.0, 1.0))
    assert roles["discriminator"].data.x == PICTURES.x


def test_concatenation_beside_points_is_a_one_hot_vector():
    task = TASKS.build("synthesis(condition=concatenation)", POINTS)
    (comparison,) = task.comparisons({"x": torch.zeros(2, 2), "y": torch.tensor([1, 2])}, Generated(torch.ones(2, 2)))
    assert_close(comparison.real.given, torch.tensor([[0.0, 1, 0], [0, 0, 1]]), rtol=0, atol=0)
    judge = DISCRIMINATORS.build("mlp(width=8, layers=1)", task.roles["discriminator"].data)
    x = torch.ones(2, 2)
    scores = [judge(x, None, torch.eye(3)[y].expand(2, 3)).score[0][0] for y in range(3)]
    assert len({round(float(s.detach()), 6) for s in scores}) == 3  # the label reaches the score
    assert not any(isinstance(m, nn.Embedding) for m in judge.modules())


def test_projection_is_the_default_and_passes_the_very_labels():
    task = TASKS.build("synthesis", PICTURES)
    batch = {"x": torch.randn(2, 2, 2, 3), "y": torch.tensor([0, 1])}
    (comparison,) = task.comparisons(batch, made := Generated(torch.randn(2, 2, 2, 3)))
    assert comparison.real.y is comparison.fake.y is batch["y"]
    assert comparison.real.given is None
    assert comparison.real.x is batch["x"]
    assert comparison.fake.x is made.x
    assert task.roles["discriminator"].data == PICTURES
    free = TASKS.build("synthesis(labels=ignore)", PICTURES)
    (comparison,) = free.comparisons(batch, made)
    assert comparison.real.y is None
    assert (free.classes, task.classes) == (0, 3)


def test_concatenation_without_labels_is_refused():
    for text, data in (("labels=auto", BARE), ("labels=ignore", POINTS)):
        assert "task.labels=auto" in refused(f"synthesis({text}, condition=concatenation)", data)
    assert "task.labels=use" in refused("synthesis(labels=use)", BARE)


# ---------------------------------------------------------------------------------------------------------- packs


def test_a_pack_is_rows_that_follow_each_other():
    task = TASKS.build("synthesis(pack=3)", BARE)
    x = torch.arange(16.0).view(8, 2)
    (comparison,) = task.comparisons({"x": x}, Generated(-x))
    assert_close(comparison.real.x, torch.tensor([[0.0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]), rtol=0, atol=0)
    assert_close(comparison.fake.x, -comparison.real.x, rtol=0, atol=0)  # the two rows left over are dropped
    assert task.rows_together == 3
    assert task.roles["discriminator"].data.shape == (6,)
    assert task.roles["generator"].data.shape == (2,)
    (few,) = task.comparisons({"x": x[:2]}, Generated(x[:2]))
    assert few.real.x.shape == (0, 6)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_pictures_of_a_pack_are_channels_of_one(memory):
    task = TASKS.build("synthesis(labels=ignore, pack=2)", PICTURES)
    x = torch.randn(4, 2, 2, 3).contiguous(memory_format=memory)
    (comparison,) = task.comparisons({"x": x}, Generated(x))
    for i in range(2):
        assert_close(comparison.real.x[i], torch.cat([x[2 * i], x[2 * i + 1]]), rtol=0, atol=0)
    seen = task.roles["discriminator"].data
    assert seen.x == Field((4, 2, 3), "image", (-1.0, 1.0))  # the range stays
    judge = DISCRIMINATORS.build("mlp(width=4, layers=1)", seen)
    assert judge(comparison.real.x).score[0].shape == (2,)


def test_the_gradient_of_a_pack_reaches_every_sample_of_it():
    task = built("synthesis(pack=2)", BARE, generator=Maker(3, (2,)))
    made = task.generate({"x": torch.zeros(4, 2)}, rows(4))
    (comparison,) = task.comparisons({"x": torch.zeros(4, 2)}, made)
    weights = torch.tensor([1.0, 2, 3, 4])
    (gradient,) = torch.autograd.grad((comparison.fake.x[1] * weights).sum(), made.x, retain_graph=True)
    assert_close(gradient, torch.tensor([[0.0, 0], [0, 0], [1, 2], [3, 4]]), rtol=0, atol=0)
    assert task.sample(rows(5)).shape == (5, 2)  # samples come one by one


def test_packs_of_labelled_samples_and_of_none_are_refused():
    assert "task.labels=ignore" in refused("synthesis(pack=2)", POINTS)
    assert "task.pack=0" in refused("synthesis(pack=0)", BARE)
    assert "task.labels=ignore" in refused("synthesis(pack=2, condition=concatenation)", PICTURES)


# ------------------------------------------------------------------------------------------- auxiliary classifier


def of_heads(play, head: str, real: Tensor, fake: Tensor, real_head: Tensor, fake_head: Tensor) -> Round:
    """A round in which the two sides were judged with these heads and a score of 0."""
    said = {id(real): real_head, id(fake): fake_head}
    return play(nn.Identity(), real, fake, verdict=lambda i: Verdict((i.x.sum(1) * 0,), {head: said[id(i.x)]}))


def test_the_auxiliary_loss_takes_logits_of_both_sides_and_then_of_fakes_alone(play):
    task = TASKS.build("auxiliary-classifier(weight=0.5)", POINTS)
    batch = {"x": torch.zeros(2, 2), "y": torch.tensor([0, 2])}
    three, two = math.log(3.0), math.log(2.0)
    real = torch.tensor([[three, 0.0, 0.0], [0.0, 0.0, two]], requires_grad=True)
    fake = torch.tensor([[0.0, 0.0, 0.0], [two, 0.0, 0.0]], requires_grad=True)
    made = Generated(torch.ones(2, 2))
    round = of_heads(play, "class", batch["x"], made.x, real, fake)
    # −log of 3/5 and 2/4 for the reals, of 1/3 and 1/4 for the fakes.
    both = torch.tensor([math.log(5 / 3) + math.log(3), math.log(2) + math.log(4)]) / 2
    loss = task.terms("discriminator", batch, made, [round])["class"]
    assert_close(loss, both)
    gradients = torch.autograd.grad(loss.sum(), (real, fake))
    assert_close(gradients[0], torch.tensor([[3 / 5 - 1, 1 / 5, 1 / 5], [1 / 4, 1 / 4, 2 / 4 - 1]]) / 2)
    assert_close(gradients[1], torch.tensor([[1 / 3 - 1, 1 / 3, 1 / 3], [2 / 4, 1 / 4, 1 / 4 - 1]]) / 2)

    alone = torch.tensor([math.log(3), math.log(4)]) / 2
    assert_close(task.terms("generator", batch, made, [round])["class"], alone)
    del round.verdicts["real"]  # as in a generator's turn that judges no reals
    assert_close(task.terms("generator", batch, made, [round])["class"], alone)


def test_a_sure_classifier_pays_nothing(play):
    """A softmax before the cross-entropy would charge 0.55 for three classes, however sure and right the logits."""
    task = TASKS.build("auxiliary-classifier", POINTS)
    batch = {"x": torch.zeros(1, 2), "y": torch.tensor([1])}
    sure = torch.tensor([[0.0, 40.0, 0.0]])
    round = of_heads(play, "class", batch["x"], fake := torch.ones(1, 2), sure, sure)
    loss = task.terms("discriminator", batch, Generated(fake), [round])["class"]
    assert_close(loss, torch.zeros(1), rtol=0, atol=1e-12)


def test_the_auxiliary_discriminator_is_told_no_class_and_the_generator_is():
    task = built("auxiliary-classifier", POINTS, generator=Maker(3, (2,), 3), discriminator=Judge(2, "class", 3))
    batch = {"x": torch.randn(4, 2), "y": torch.tensor([0, 1, 2, 0])}
    made = task.generate(batch, rows(4))
    assert_close(made.x, task.networks["generator"](made.latent, batch["y"]))
    (comparison,) = task.comparisons(batch, made)
    assert comparison.real.y is comparison.fake.y is comparison.real.given is None
    judge, maker = task.roles["discriminator"], task.roles["generator"]
    assert (judge.data.classes, maker.data.classes) == (0, 3)
    assert judge.heads == {"score": 1, "class": 3}
    verdict = DISCRIMINATORS.build("mlp(width=4, layers=1)", judge.data, judge.heads)(batch["x"])
    assert verdict.heads["class"].shape == (4, 3)
    assert "labels" in refused("auxiliary-classifier", BARE)


@pytest.mark.parametrize("task", ["auxiliary-classifier", "semi-supervised"])
def test_accuracy_counts_held_out_reals(task):
    judge = Judge(2, "class", 3)
    with torch.no_grad():
        judge.map.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
        judge.map.bias.zero_()
    found = built(task, POINTS, discriminator=judge).measure(
        {"x": torch.tensor([[2.0, 1], [1, 2], [-1, -1], [3, 0]]), "y": torch.tensor([0, 0, 2, 0])}, rows(4)
    )
    assert_close(found, {"class_accuracy": torch.tensor(0.75, dtype=torch.float32)})


# ----------------------------------------------------------------------------------------------------------- codes


def infogan(options: str = "", latent: int = 9, data: DataSpec = POINTS):
    text = f"infogan(categories=[3, 2], continuous=2{options})"
    return built(text, data, generator=Maker(latent, data.shape), discriminator=Judge(math.prod(data.shape), "code", 7))


def test_the_first_numbers_of_the_latent_are_the_codes():
    task = infogan(latent=12)
    z, n = task.latents(rows(4000)), 4000
    assert z.shape == (n, 12)
    for part, size in ((z[:, :3], 3), (z[:, 3:5], 2)):
        assert ((part == 0) | (part == 1)).all()
        assert_close(part.sum(1), torch.ones(n), rtol=0, atol=0)
        assert_close(part.mean(0), torch.full((size,), 1 / size), rtol=0, atol=0.04)
    codes, noise = z[:, 5:7], z[:, 7:]
    assert codes.abs().max() <= 1
    assert_close(codes.var(0), torch.full((2,), 1 / 3), rtol=0, atol=0.02)  # of U(−1, 1), not of normal numbers
    assert noise.abs().max() > 3
    assert_close(torch.corrcoef(z[:, [0, 3, 5, 6, 7, 8]].T), torch.eye(6), rtol=0, atol=0.08)
    alike = TASKS.build("infogan(categories=[2, 2])", POINTS).codes.draw(rows(4000))
    assert_close(torch.corrcoef(alike[:, [0, 2]].T), torch.eye(2), rtol=0, atol=0.08)  # drawn apart
    made = task.generate({"x": torch.zeros(8, 2)}, rows(8))
    assert_close(made.latent, z[:8], rtol=0, atol=0)
    assert_close(made.codes, z[:8, :7], rtol=0, atol=0)
    assert_close(made.x, task.networks["generator"](z[:8]))
    assert made.detach().codes.requires_grad is False


def test_a_label_sets_the_first_category_and_nothing_else():
    task, y = infogan(), torch.tensor([2, 2, 0, 1])
    free, fixed = task.latents(rows(4)), task.latents(rows(4), y)
    assert_close(fixed[:, :3], torch.eye(3)[y], rtol=0, atol=0)
    assert_close(fixed[:, 3:], free[:, 3:], rtol=0, atol=0)
    assert_close(task.sample(rows(4), y), task.networks["generator"](fixed), rtol=0, atol=0)
    assert_close(task.sample(rows(4)), task.networks["generator"](free), rtol=0, atol=0)
    middle = task.latents(rows(4), y, truncation=0.5)
    assert_close(middle[:, :5], fixed[:, :5], rtol=0, atol=0)
    assert_close(middle[:, 5:], fixed[:, 5:] / 2, rtol=0, atol=0)
    assert task.classes == 3
    plain = built("infogan(categories=[], continuous=1)", POINTS, generator=Maker(3, (2,)))
    assert plain.classes == 0
    with pytest.raises(UsageError, match="no categorical code"):
        plain.sample(rows(4), y)


def test_the_information_terms_by_hand(play):
    task = infogan(", weight=2, continuous_weight=0.5")
    three = math.log(3.0)
    codes = torch.tensor([[0.0, 1, 0, 1, 0, 0.5, -1]])
    said = torch.tensor([[0.0, three, 0, 0, three, 0.0, 1]], requires_grad=True)
    real, fake = torch.zeros(1, 2), torch.ones(1, 2)
    round = of_heads(play, "code", real, fake, said, said)
    made = task.generate({"x": real}, rows(1))
    made = type(made)(x=fake, codes=codes)
    for player in ("discriminator", "generator"):
        terms = task.terms(player, {"x": real}, made, [round])
        # −log of 3/5 and of 1/4; ½(½² + 2²).
        assert_close(terms["categories"], 2 * torch.tensor([math.log(5 / 3) + math.log(4)]))
        assert_close(terms["continuous"], 0.5 * torch.tensor([(0.25 + 4) / 2]))
        gradient = torch.autograd.grad(sum(t.sum() for t in terms.values()), said)[0][0]
        assert_close(gradient[:5], 2 * torch.tensor([1 / 5, 3 / 5 - 1, 1 / 5, 1 / 4 - 1, 3 / 4]))
        assert_close(gradient[5:], 0.5 * torch.tensor([-0.5, 2.0]))


def test_the_gradient_of_the_information_reaches_the_generator_through_q(play):
    """It must: a bound computed from numbers without a graph trains nobody and looks the same in the log."""
    both, continuous = infogan(), infogan(", weight=0")
    continuous.networks = both.networks
    judge, maker = both.networks["discriminator"], both.networks["generator"]
    batch = {"x": torch.zeros(4, 2)}
    made = both.generate(batch, rows(4))

    def grads(task, player, made):
        round = play(judge, batch["x"], made.x, generated=made, verdict=lambda inputs: judge(inputs.x))
        total = sum(term.mean() for term in task.terms(player, batch, made, [round]).values())
        return torch.autograd.grad(total, [maker.w, judge.map.weight], allow_unused=True, retain_graph=True)

    # With G(z) = zW and ĉ = xA + b the continuous part has the gradient zᵀ(0.1·(ĉ − c)A)/B.
    errors = judge.map(made.x)[:, 5:] - made.codes[:, 5:]
    assert_close(grads(continuous, "generator", made)[0], made.latent.T @ (0.1 * errors @ judge.map.weight[5:]) / 4)
    to_maker, to_q = grads(both, "generator", made)
    assert (to_maker - grads(continuous, "generator", made)[0]).abs().max() > 1e-3  # the categories add to it
    assert to_q.abs().max() > 1e-3
    to_maker, to_q = grads(both, "discriminator", made.detach())
    assert to_maker is None
    assert to_q.abs().max() > 1e-3


def test_the_bound_is_the_entropy_for_a_perfect_q_and_nothing_for_an_ignorant_one():
    task = infogan(data=DataSpec({"x": Field((9,), "points", None)}))
    maker, judge = task.networks["generator"], task.networks["discriminator"]
    with torch.no_grad():
        maker.w.copy_(torch.eye(9))
        judge.map.weight.copy_(100 * torch.eye(7, 9))
        judge.map.bias.zero_()
    found = task.measure({"x": torch.zeros(32, 9)}, rows(32))
    assert_close(float(found["code_accuracy"]), 1.0)
    assert_close(float(found["code_information"]), math.log(3) + math.log(2))
    with torch.no_grad():
        judge.map.weight.zero_()
    found = task.measure({"x": torch.zeros(4000, 9)}, rows(4000))
    assert_close(float(found["code_information"]), 0.0, rtol=0, atol=1e-12)
    assert_close(float(found["code_accuracy"]), (1 / 3 + 1 / 2) / 2, rtol=0, atol=0.02)
    assert not found["code_information"].requires_grad
    assert built("infogan(categories=[])", BARE).codes.recognised(torch.zeros(2, 2), torch.zeros(2, 2)) == {}


def test_a_preview_sweeps_each_code_from_one_noise():
    task = infogan(data=PICTURES)
    batch = {"x": torch.randn(12, 2, 2, 3), "y": torch.zeros(12, dtype=torch.long)}
    columns = task.preview(batch, rows(12), batch["y"])
    names = [name for name, _ in columns]
    assert names == [
        "real", "generated", "c1=0", "c1=1", "c1=2", "c2=0", "c2=1", "c3=-1", "c3=0", "c3=1", "c4=-1", "c4=0", "c4=1"
    ]  # fmt: skip
    assert {len(x) for _, x in columns} == {8}
    shown, maker, z = dict(columns), task.networks["generator"], task.latents(rows(8))
    assert_close(shown["real"], batch["x"][:8], rtol=0, atol=0)
    assert_close(shown["generated"], maker(z))
    moved = z.clone()
    moved[:, 3:5] = torch.tensor([0.0, 1.0])
    assert_close(shown["c2=1"], maker(moved))
    moved = z.clone()
    moved[:, 6] = -1
    assert_close(shown["c4=-1"], maker(moved))
    points = infogan().preview({"x": torch.zeros(12, 2)}, rows(12))
    assert [name for name, _ in points] == ["real", "generated"]
    assert len(points[1][1]) == 12


def test_codes_that_are_none_and_latents_too_small_for_them_are_refused():
    for text in ("categories=[], continuous=0", "categories=[1]", "categories=[10, 0]", "continuous=-1"):
        assert "categories=[10]" in refused(f"infogan({text})", POINTS)
    task = infogan(latent=6)
    for call in (task.players, lambda: task.generate({"x": torch.zeros(2, 2)}, rows(2)), lambda: task.sample(rows(2))):
        with pytest.raises(UsageError, match=r"generator.latent=6 .* take 7 numbers") as caught:
            call()
    assert "generator.latent=69" in str(caught.value)
    assert infogan(latent=7).latents(rows(3)).shape == (3, 7)  # codes alone are a latent


def test_infogan_ignores_the_labels_of_the_source():
    task = infogan()
    assert [role.data.classes for role in task.roles.values()] == [0, 0]
    assert task.roles["discriminator"].heads == {"score": 1, "code": 7}
    generator = GENERATORS.build("mlp(width=4, layers=1, latent=9)", task.roles["generator"].data)
    task.networks["generator"] = generator
    (comparison,) = task.comparisons(
        {"x": torch.zeros(2, 2), "y": torch.tensor([0, 1])}, task.generate({"x": torch.zeros(2, 2)}, rows(2))
    )
    assert comparison.real.y is comparison.fake.y is None


# ------------------------------------------------------------------------------------------------------ few labels


def test_score_and_classes_are_the_softmax_over_one_class_more(play):
    """−log softmax([c + s − logsumexp(c), 0]) of a labelled real's class, and of the last class for a fake."""
    task, objective = TASKS.build("semi-supervised", POINTS), OBJECTIVES.build("nonsaturating")
    torch.manual_seed(0)
    logits, score = torch.randn(4, 3) * 2, torch.randn(4) * 2
    fakes = torch.randn(4) * 2
    batch = {"x": torch.zeros(4, 2), "y": torch.tensor([0, 1, 2, 1])}
    round = of_heads(play, "class", batch["x"], fake := torch.ones(4, 2), logits, logits)
    supervised = task.terms("discriminator", batch, Generated(fake), [round])["class"]
    loss = supervised + objective.discriminator(score, fakes).mean()

    def log_softmax(s):
        real = logits + (s - logits.logsumexp(1))[:, None]
        return torch.cat([real, torch.zeros(4, 1)], dim=1).log_softmax(1)

    wanted = -log_softmax(score)[torch.arange(4), batch["y"]] - log_softmax(fakes)[:, 3]
    assert_close(loss, wanted.mean())
    # A row without label is any real: 1 − P(fake).
    real = log_softmax(score)[:, :3].logsumexp(1)
    assert_close(-real, softplus(-score))


def test_only_known_labels_teach_and_the_generator_is_taught_by_none(play):
    task = TASKS.build("semi-supervised(weight=3)", POINTS)
    batch = {"x": torch.zeros(4, 2), "y": torch.tensor([-1, 1, -1, 0])}
    logits = torch.zeros(4, 3, requires_grad=True)
    round = of_heads(play, "class", batch["x"], fake := torch.ones(4, 2), logits, logits)
    loss = task.terms("discriminator", batch, Generated(fake), [round])["class"]
    assert_close(loss.detach(), torch.tensor(3 * math.log(3)))  # the mean over the two that are known
    (gradient,) = torch.autograd.grad(loss, logits)
    third = 3 / 2 * torch.tensor([1 / 3, 1 / 3, 1 / 3])
    assert_close(gradient[1], third - 1.5 * torch.eye(3)[1])
    assert_close(gradient[3], third - 1.5 * torch.eye(3)[0])
    assert_close(gradient[[0, 2]], torch.zeros(2, 3), rtol=0, atol=0)
    nothing = task.terms("discriminator", {**batch, "y": torch.full((4,), -1)}, Generated(fake), [round])["class"]
    assert_close(nothing.detach(), torch.tensor(0.0), rtol=0, atol=0)
    assert task.terms("generator", batch, Generated(fake), [round]) == {}


def test_a_semi_supervised_generator_knows_no_class():
    task = built("semi-supervised", POINTS, generator=Maker(3, (2,)), discriminator=Judge(2, "class", 3))
    batch = {"x": torch.zeros(2, 2), "y": torch.tensor([-1, 0])}
    (comparison,) = task.comparisons(batch, task.generate(batch, rows(2)))
    assert comparison.real.y is comparison.fake.y is None
    assert [role.data.classes for role in task.roles.values()] == [0, 0]
    assert task.roles["discriminator"].heads == {"score": 1, "class": 3}
    with pytest.raises(UsageError, match="without labels"):
        task.sample(rows(2), batch["y"])
    assert "few-labels" in refused("semi-supervised", BARE)

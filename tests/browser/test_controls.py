"""Every form of the playground has its effect on the engine: what is chosen on the page is what trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import relu, softplus

from gannet.engine.trainer import Trainer

LOSSES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "nonsaturating": (lambda r, f: softplus(-r).mean() + softplus(f).mean(), lambda f: softplus(-f).mean()),
    "saturating": (lambda r, f: softplus(-r).mean() + softplus(f).mean(), lambda f: -softplus(f).mean()),
    "leastsquares": (lambda r, f: ((r - 1) ** 2 + f**2).mean() / 2, lambda f: ((f - 1) ** 2).mean() / 2),
    "hinge": (lambda r, f: relu(1 - r).mean() + relu(1 + f).mean(), lambda f: -f.mean()),
    "wasserstein": (lambda r, f: (f - r).mean(), lambda f: -f.mean()),
}
"""The losses of the papers, of the scores of reals and fakes, written here once more."""


def test_the_loss_menu_trains_what_it_says(visit):
    """GAN Lab's menu did not: after a rebuild it trained the log loss, whatever it said."""
    lab = visit()
    lab.session.do("layers", heat=False, arrows=False)  # pictures ask the discriminator too
    lab.open("lossD")
    menu = lab.page.get_by_role("combobox", name="Objective", exact=True)
    lab.enter(menu, "hinge")
    lab.open("discriminator")
    lab.enter(lab.group("Discriminator's network").locator("[name=width]"), "20")  # builds the game anew
    for name, (of_d, of_g) in LOSSES.items():
        lab.open("lossD")
        lab.enter(menu, name)
        game = lab.trainer.game
        assert type(game.objective).__name__.lower() == name.replace("-", "")
        scores: list[torch.Tensor] = []
        hook = game.networks["discriminator"].register_forward_hook(
            lambda _, inputs, verdict, scores=scores: scores.append(verdict.score[0].detach().clone())
        )
        lab.act("#step-both")
        hook.remove()
        both, fakes = scores[:2]
        reals = both[:150].double()
        wanted = of_d(reals, both[150:].double()), of_g(fakes.double())
        losses = lab.session.playground.losses
        torch.testing.assert_close(
            torch.tensor([losses["discriminator"], losses["generator"]]).double(),
            torch.stack(wanted),
            rtol=1e-4,
            atol=1e-5,
        )
        for part, value in zip(("lossD", "lossG"), wanted, strict=True):
            shown = f'[data-part-of-model="{part}"] .value'
            lab.until(lambda shown=shown, value=value: near(lab.page.text_content(shown), float(value)))


def near(shown: str, value: float) -> bool:
    """Whether the page shows this number, to its few digits."""
    try:
        return abs(float(shown.replace("−", "-")) - value) <= 0.01 * abs(value) + 2e-3
    except ValueError:
        return False


def linears(trainer: Trainer, role: str) -> list[nn.Linear]:
    return [m for m in trainer.game.networks[role].modules() if isinstance(m, nn.Linear)]


def has(network: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in network.modules())


LIVE: dict[str, tuple[str, str, str, str | bool, Callable[[Trainer], Any], Any]] = {
    "batch": ("fakes", "Batch", "batch", "64", lambda t: t.experiment.batch, 64),
    "average": ("generator", "Moving average", "ema.halflife", "5000", lambda t: t.ema.halflives, [5000]),
    "updates of D": ("gradientD", "updates a step", "players.discriminator.repeats", "3",
                     lambda t: t.game.players["discriminator"].repeats, 3),
    "updates of G": ("gradientG", "updates a step", "players.generator.repeats", "2",
                     lambda t: t.game.players["generator"].repeats, 2),
    "rate of D": ("gradientD", "optimiser", "lr", "0.01", lambda t: t.game.recipes["discriminator"].lr.lowest, 0.01),
    "rate of G": ("gradientG", "optimiser", "lr", "0.03", lambda t: t.game.recipes["generator"].lr.lowest, 0.03),
    "optimiser of D": ("gradientD", "optimiser", "select", "sgd",
                       lambda t: type(t.table.optimisers["discriminator"]).__name__, "SGD"),
    "optimiser of G": ("gradientG", "optimiser", "select", "rmsprop",
                       lambda t: type(t.table.optimisers["generator"]).__name__, "RMSprop"),
    "regularizer": ("discriminator", "Regularizers", "select", "r1", lambda t: list(t.game.regularizers), ["r1"]),
    "constraint": ("discriminator", "Constraints", "select", "clip", lambda t: list(t.game.constraints), ["clip"]),
    "instance noise": ("fakes", "instance noise", "select", "noise", lambda t: list(t.game.augmentations), ["noise"]),
    "opponent": ("lossG", "judges", "select", "unrolled", lambda t: type(t.game.opponent).__name__, "Unrolled"),
    "pairing": ("lossD", "Objective", "pairing", "paired", lambda t: t.game.objective.pairing, "paired"),
}  # fmt: skip
"""Part, form, field, what is entered, where the engine has it, what it must be."""


def fill(lab, title: str, field: str, value: str | bool) -> dict[str, Any]:
    form = lab.group(title)
    return lab.enter(form.locator("select").last if field == "select" else form.locator(f'[name="{field}"]'), value)


def test_what_changes_live_changes_in_the_engine_and_nothing_starts_anew(visit):
    lab = visit()
    lab.play_to(20)
    start = lab.step
    weights = linears(lab.trainer, "generator")[0].weight.clone()
    for name, (part, title, field, value, found, wanted) in LIVE.items():
        lab.open(part)
        if found(lab.trainer) == wanted:
            pytest.fail(f"{name} shows nothing: it is {wanted!r} from the beginning")
        answer = fill(lab, title, field, value)
        assert "error" not in answer, (name, answer)
        assert answer["restarted"] is False, name
        assert found(lab.trainer) == wanted, name
    assert lab.step == start
    assert torch.equal(linears(lab.trainer, "generator")[0].weight, weights)
    assert [c["step"] for c in lab.get("state")["changes"]] == [start] * len(LIVE), "every change is on the record"
    before = lab.get("status")["samples"]
    lab.act("#step-both")
    assert lab.get("status")["samples"] - before == 3 * 64, "the batch and the updates are those that play"
    assert lab.get("status")["error"] is None


ANEW: dict[str, tuple[str, str, str, str | bool, Callable[[Trainer], Any], Any]] = {
    "width of G": ("generator", "network", "width", "12", lambda t: linears(t, "generator")[0].out_features, 12),
    "layers of G": ("generator", "network", "layers", "4", lambda t: len(linears(t, "generator")), 5),
    "activation of G": ("generator", "network", "activation", "tanh",
                        lambda t: has(t.game.networks["generator"].layers, nn.Tanh), True),
    "noise": ("noise", "Dimensions", "latent", "5", lambda t: linears(t, "generator")[0].in_features, 5),
    "width of D": ("discriminator", "network", "width", "14",
                   lambda t: linears(t, "discriminator")[0].out_features, 14),
    "layers of D": ("discriminator", "network", "layers", "1", lambda t: len(linears(t, "discriminator")), 2),
    "activation of D": ("discriminator", "network", "activation", "silu",
                        lambda t: has(t.game.networks["discriminator"], nn.SiLU), True),
}  # fmt: skip


def test_what_starts_anew_does_so_at_the_same_seed_and_keeps_the_other_settings(visit):
    lab = visit()
    lab.page.fill("#seed", "7")
    lab.page.press("#seed", "Enter")
    lab.until(lambda: lab.get("state")["seed"] == 7)
    lab.open("gradientD")
    fill(lab, "optimiser", "lr", "0.02")
    for name, (part, title, field, value, found, wanted) in ANEW.items():
        lab.act("#step-both")
        assert lab.step == 1
        lab.open(part)
        assert found(lab.trainer) != wanted, name
        answer = fill(lab, title, field, value)
        assert "error" not in answer, (name, answer)
        assert answer["restarted"] is True, name
        assert lab.step == 0
        assert found(lab.trainer) == wanted, name
    assert lab.trainer.experiment.seed == 7
    assert lab.trainer.game.recipes["discriminator"].lr.lowest == 0.02


def test_a_tile_changes_the_data(visit):
    lab = visit()
    for name in ("moons", "mixture-1d", "ring-8"):
        lab.act(f'[data-density="{name}"]')
        assert lab.trainer.experiment.data.args["name"] == name
        lab.until(
            lambda name=name: lab.page.locator(f'[data-density="{name}"]').get_attribute("aria-pressed") == "true"
        )
    lab.until(lambda: "0 / 8" in lab.page.inner_text(".readout"))


def test_a_value_out_of_range_is_refused_in_words_and_changes_nothing(visit):
    lab = visit()
    lab.forgiven = True  # the browser itself writes of the answer 400
    lab.open("generator")
    answer = fill(lab, "network", "width", "9999")
    assert "at most 512" in answer["error"]
    lab.until(lambda: "at most 512" in lab.page.inner_text("#toast"))
    assert linears(lab.trainer, "generator")[0].out_features == 32


def test_removing_a_regularizer_takes_it_from_the_game(visit):
    lab = visit()
    lab.open("discriminator")
    fill(lab, "Regularizers", "select", "r1")
    fill(lab, "Regularizers", "weight", "0.7")
    assert lab.trainer.game.regularizers["r1"].weight.lowest == 0.7
    lab.act('#panel button[aria-label="Remove r1"]')
    assert not lab.trainer.game.regularizers


PICTURE = "document.querySelector('#plane-A').toDataURL()"


def test_a_layer_is_sent_and_drawn_when_it_is_switched_on(visit):
    lab = visit()
    lab.play_to(250)  # until the fakes are on the plane
    for name in ("manifold", "optimal", "r1", "field"):
        before = lab.page.evaluate(PICTURE)
        lab.enter(lab.page.locator(f'#layers [name="{name}"]'), True)
        assert lab.session.painter.layers[name]
        lab.until(lambda before=before: lab.page.evaluate(PICTURE) != before)
    for name in ("trajectories", "arrows", "heat", "real", "fake"):
        box = lab.page.locator(f'#layers [name="{name}"]')
        if name == "trajectories":
            lab.enter(box, True)
            lab.play_to(lab.step + 100)
            lab.until(lambda: lab.page.locator("#play").inner_text().strip().endswith("Play"))
        before = lab.page.evaluate(PICTURE)
        lab.enter(box, False)
        lab.until(lambda before=before: lab.page.evaluate(PICTURE) != before)
    assert lab.page.locator("#layers .missing").count() == 0

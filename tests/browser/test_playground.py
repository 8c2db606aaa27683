"""The playground in a browser: it opens, plays, steps, rewinds, compares, and what it shows is what the engine has."""

from __future__ import annotations

import re
from typing import Any

import torch


def weights(lab: Any) -> dict[str, torch.Tensor]:
    """A copy of every number of both networks."""
    return {name: tensor.clone() for name, tensor in lab.trainer.game.networks.state_dict().items()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The networks of which anything is another number now."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


def shown_step(lab: Any) -> int:
    return int(re.sub(r"\D", "", lab.page.inner_text("#step")))


def seek(lab: Any, step: int) -> None:
    """Put the line of time on a step, as by a key, and wait until the game stands there."""
    lab.page.locator("#time").fill(str(step))
    lab.until(lambda: lab.step == step and not lab.get("status")["busy"])


def test_the_page_opens_and_draws(visit):
    lab = visit()
    assert lab.page.title() == "Gannet · GAN laboratory"
    assert lab.colours("#plane-A") > 100
    assert lab.page.locator("#charts canvas").count() == 4
    assert lab.page.locator("#toast").is_hidden()
    drawn = lab.page.locator('[data-density="spiral"] svg path').get_attribute("d")
    assert drawn.count("M") > 50, "tiles have pictures"


def test_play_pause_and_reset(visit):
    lab = visit()
    start = weights(lab)
    lab.act("#play")
    lab.until(lambda: lab.step > 60)
    assert lab.get("status")["playing"]
    lab.act("#play")
    rested = lab.step
    assert not lab.get("status")["playing"]
    lab.until(lambda: shown_step(lab) == rested)
    assert lab.step == rested
    lab.until(lambda: lab.colours("#charts canvas") > 20)  # the chart has its lines
    lab.act("#reset")
    lab.until(lambda: shown_step(lab) == 0)
    assert not moved(start, weights(lab)), "the same seed begins with the same weights"


def test_steps_move_whom_they_name(visit):
    lab = visit()
    for who, expected, step in (
        ("discriminator", {"discriminator"}, 0), ("generator", {"generator"}, 0),
        ("both", {"discriminator", "generator"}, 1),
    ):  # fmt: skip
        before = weights(lab)
        lab.act(f"#step-{who}")
        assert moved(before, weights(lab)) == expected
        assert lab.step == step
    lab.act("#reset")
    other = weights(lab)
    lab.act("#step-both")
    assert moved(other, weights(lab)) == {"discriminator", "generator"}


def test_the_seed_is_another_game(visit):
    lab = visit()
    before = weights(lab)
    lab.page.fill("#seed", "3")
    lab.page.press("#seed", "Enter")
    lab.until(lambda: lab.trainer.experiment.seed == 3)
    assert moved(before, weights(lab)) == {"discriminator", "generator"}


def test_rewind_and_replay_give_the_same_numbers(visit):
    lab = visit()
    lab.play_to(130)
    lab.open("gradientD")
    lab.enter(lab.group("optimiser").locator('[name="lr"]'), "0.02")
    lab.play_to(lab.step + 60)
    end, last = lab.step, weights(lab)
    seek(lab, 77)
    at_77 = weights(lab)
    assert moved(last, at_77) == {"discriminator", "generator"}
    assert lab.trainer.game.recipes["discriminator"].lr.lowest == 0.005, "the change was later"
    lab.until(lambda: lab.group("optimiser").locator('[name="lr"]').input_value() == "0.005")
    seek(lab, end)
    assert not moved(last, weights(lab)), "bit for bit, over the change of the rate"
    assert lab.trainer.game.recipes["discriminator"].lr.lowest == 0.02
    seek(lab, 77)
    assert not moved(at_77, weights(lab))
    lab.page.click("#back")
    lab.until(lambda: lab.step < 77)


def test_slow_motion_tells_each_of_its_stages(visit):
    lab = visit()
    lab.act("#slow")
    session = lab.session
    assert session.status()["stage"] is None
    session.pause = 600.0  # seconds a stage: the next one comes when this one has been seen
    lab.act("#play")
    caption, told = lab.page.locator("#caption"), {}
    for stage in range(1, 11):
        lab.until(lambda s=stage: caption.is_visible() and caption.inner_text().startswith(f"{s}/10 · "))
        told[stage] = caption.inner_text()
        session.next_step = 0.0
        session.status()  # wakes it
    assert "discriminator is updated" in told[5]
    assert "generator is updated" in told[10]
    assert lab.page.locator(".staged .part.lit").count() >= 1
    lab.act("#slow")
    lab.until(lambda: lab.page.locator("#caption").is_hidden())
    lab.act("#play")


def test_speed_is_kept(visit):
    lab = visit()
    lab.page.select_option("#speed", "5")
    lab.until(lambda: lab.get("status")["speed"] == 5)
    with lab.page.expect_response("**/api/sessions"):
        lab.page.click("#compare")
    lab.until(lambda: len(lab.served.room.sessions) == 2)
    lab.until(lambda: all(s.status()["speed"] == 5 for s in lab.served.room.sessions.values()))


def test_two_sessions_are_compared_from_the_same_seed(visit):
    lab = visit()
    lab.play_to(20)
    lab.page.click("#compare")
    lab.page.wait_for_selector("#plane-B")
    lab.until(lambda: lab.page.locator("#compare").is_enabled())
    first, second = lab.served.room.sessions.values()
    same = [s.playground.trainer.game.networks.state_dict() for s in (first, second)]
    assert all(torch.equal(same[0][k], same[1][k]) for k in same[0])
    lab.open("lossD")  # the forms act on the chosen one, which is the second
    lab.enter(lab.page.get_by_role("combobox", name="Objective", exact=True), "hinge")
    assert type(second.playground.trainer.game.objective).__name__ == "Hinge"
    assert type(first.playground.trainer.game.objective).__name__ == "NonSaturating"
    lab.until(lambda: "objective=hinge" in lab.page.locator(".plane-head .hint").nth(1).inner_text())
    lab.act("#play")
    lab.until(lambda: min(s.status()["step"] for s in (first, second)) > 20)
    lab.until(lambda: lab.colours("#plane-B") > 100)
    lab.act("#play")
    lab.page.click("#compare")
    lab.until(lambda: list(lab.served.room.sessions) == lab.names)
    assert lab.page.locator("#plane-B").count() == 0


def test_a_session_that_ended_is_opened_again_as_soon_as_there_is_room(visit, monkeypatch):
    lab = visit()
    lab.forgiven = True  # the browser writes of the answers 404 and 429
    lab.open("gradientG")
    lab.enter(lab.group("optimiser").locator('[name="lr"]'), "0.004")
    lab.act("#step-both")
    lab.until(lambda: lab.page.inner_text("#step") == "1")  # the page knows what it has to open again
    with monkeypatch.context() as full:
        full.setattr(lab.served.room, "most", 0)
        lab.served.room.close(lab.names[0])
        lab.until(lambda: "sessions are open" in lab.page.inner_text("body"))
    lab.until(lambda: len(lab.served.room.sessions) == 1)
    (again,) = lab.served.room.sessions.values()
    lab.until(lambda: again.status()["step"] == 1)
    assert again.playground.trainer.game.recipes["generator"].lr.lowest == 0.004


def collapsed(names: list[str]) -> list[dict[str, Any]]:
    """Alarms as the engine gives them."""
    return [{"name": n, "text": "", "remedy": r} for n, r in zip(names, REMEDIES, strict=False)]


REMEDIES = [
    {"path": "regularizers.r1", "value": "r1(weight=0.1)"},
    {"path": "optim.discriminator.lr", "value": "0.0025"},
]


def test_a_remedy_is_applied_by_its_button(visit, monkeypatch):
    lab = visit()
    playground = lab.session.playground
    monkeypatch.setattr(playground, "alarms", lambda: collapsed(["collapse", "discriminator ahead"]))
    lab.act("#step-both")
    alarms = lab.page.locator(".alarm")
    lab.until(lambda: alarms.count() == 2)
    assert "Mode collapse" in alarms.nth(0).inner_text()
    assert "far ahead" in alarms.nth(1).inner_text()
    lab.act(".alarm:nth-child(1) button")
    lab.act(".alarm:nth-child(2) button")
    assert lab.trainer.game.regularizers["r1"].weight.lowest == 0.1
    assert lab.trainer.game.recipes["discriminator"].lr.lowest == 0.0025
    monkeypatch.undo()
    lab.act("#step-both")
    lab.until(lambda: alarms.count() == 0)

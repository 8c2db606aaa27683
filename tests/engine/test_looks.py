"""Looks between steps: what is measured of held-out rows, and that looking changes nothing."""

import pytest
import torch

from gannet.core.overrides import resolve
from gannet.engine.assembly import assemble
from gannet.engine.trainer import Trainer


def test_a_measure_is_taken_without_dropout_and_leaves_it_on(tiny):
    """The classes a network tells are those of the network one would use."""
    overrides = {**tiny("semi-supervised"), "batch": 16, "data.labels": 20, "discriminator.dropout": 0.9}
    trainer = Trainer(assemble(resolve("semi-supervised", overrides).experiment))
    network = trainer.game.networks["discriminator"]
    batch = trainer.looks.feed.take("heldout", range(64))
    network.eval()
    with torch.no_grad():
        right = network(batch["x"]).heads["class"].argmax(1) == batch["y"]
    network.train()
    found = [trainer._heldout()["heldout/class_accuracy"] for _ in range(2)]
    assert found == [float(right.float().mean())] * 2
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(("batch", "rows"), [(2, 8), (8, 32), (16, 64), (32, 64)])
def test_small_batches_are_not_outweighed_by_the_look(tiny, monkeypatch, batch, rows):
    trainer = Trainer(assemble(resolve("dcgan", {**tiny("dcgan"), "batch": batch}).experiment))
    looks = trainer.looks
    taken, take = [], looks.feed.take
    monkeypatch.setattr(looks.feed, "take", lambda name, rows: taken.append(len(rows)) or take(name, rows))
    assert 0 <= looks.heldout(0, trainer.table.feed)["p_train_above_heldout"] <= 1
    assert taken == [rows]

"""Everything a run must remember to go on as if it had never stopped, as tensors and plain JSON."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gannet.core.errors import CheckpointError
from gannet.engine import optimisers
from gannet.engine.ema import Ema
from gannet.engine.pool import Pool

if TYPE_CHECKING:
    from gannet.engine.trainer import Trainer

Tensors = dict[str, dict[str, Tensor]]


def capture(trainer: Trainer) -> tuple[Tensors, dict[str, Any]]:
    """Weights, averages, optimisers, regularizers' buffers and pools; and every counter."""
    table = trainer.table
    tensors: Tensors = {
        "weights": _flat(trainer.game.networks),
        "ema": _flat(trainer.ema.modules),
        "training": {
            **{
                f"optim/{p}/{k}": v
                for p, o in table.optimisers.items()
                for k, v in optimisers.state_tensors(o, table.names[p]).items()
            },
            **{
                f"regularizer/{n}/{k}": v
                for n, r in trainer.game.regularizers.items()
                for k, v in r.state_dict().items()
            },
            **{f"average/{k}": v for k, v in _flat(trainer.ema.others).items()},
            **{f"pool/{n}": p.rows for n, p in table.pools.items() if p.rows is not None},
        },
    }
    state = {
        "samples": trainer.clock.samples,
        "step": trainer.clock.step,
        "total": trainer.clock.total,
        "planned": trainer.planned,
        "cap": trainer.cap,
        "turns": table.turns,
        "cursors": table.cursors,
        "rate": table.rate,
        "rollbacks": trainer.rollbacks,
        "seconds": trainer.seconds,
        "health": trainer.health.state,
        "pilot": table.pilot.state,
        "ring": trainer.ring.entries,
        "halflives": trainer.ema.halflives,
        **trainer.scores.state,
        "done": {k: v for k, v in trainer.done.items() if k != "commit"},
    }
    return tensors, state


def restore(trainer: Trainer, tensors: Tensors, state: dict[str, Any]) -> None:
    """Undo `capture`, bit for bit. Raises `CheckpointError` if the weights were made for other networks."""
    load_weights(trainer.game.networks, tensors["weights"], "the checkpoint")
    _restore_averages(trainer.ema, tensors, state)
    table, training = trainer.table, tensors["training"]
    for player, optimiser in table.optimisers.items():
        optimisers.restore(optimiser, table.names[player], _under(training, f"optim/{player}/"))
    for name, regularizer in trainer.game.regularizers.items():
        regularizer.load_state_dict(_under(training, f"regularizer/{name}/"))
    table.pools = {}
    for name, rows in _under(training, "pool/").items():
        table.pools[name] = Pool()
        table.pools[name].rows = rows.to(trainer.game.device)
    table.turns, table.cursors, table.rate = dict(state["turns"]), dict(state["cursors"]), state["rate"]
    table.shared = None
    trainer.clock = trainer.clock.__class__(state["samples"], state["total"], state["step"])
    trainer.planned, trainer.cap = state["planned"], state["cap"]
    trainer.rollbacks, trainer.seconds = state["rollbacks"], state["seconds"]
    trainer.health.state = state["health"]
    table.pilot.state, trainer.ring.entries = state["pilot"], list(state["ring"])
    trainer.scores.state = state
    trainer.done.update(state["done"])


def _restore_averages(ema: Ema, tensors: Tensors, state: dict[str, Any]) -> None:
    """The averages as they stood; of other half-lives than these, each goes on from the one that was sampled."""
    load_weights(ema.modules, tensors["ema"], "the checkpoint")
    stood = state.get("halflives", [])
    if Counter(stood) == Counter(ema.halflives):
        ema.halflives = stood
        load_weights(ema.others, _under(tensors["training"], "average/"), "the checkpoint")
    else:
        sampled = {name: tensors["ema"][name.partition(".")[2]] for name in _flat(ema.others)}
        load_weights(ema.others, sampled, "the checkpoint")


def load_weights(modules: nn.ModuleDict | dict[str, nn.Module], tensors: dict[str, Tensor], whose: str) -> None:
    """Load `role.parameter` tensors strictly: a missing, unexpected or misshapen one is a `CheckpointError`."""
    wanted = _flat(modules)
    problems = [f"missing     {k} {tuple(v.shape)}" for k, v in wanted.items() if k not in tensors]
    problems += [f"unexpected  {k} {tuple(v.shape)}" for k, v in tensors.items() if k not in wanted]
    problems += [
        f"shape       {k}: stored {tuple(tensors[k].shape)}, needed {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in tensors and tensors[k].shape != v.shape
    ]
    if problems:
        more = f"\n  … and {len(problems) - 10} more" if len(problems) > 10 else ""
        listed = "\n  ".join(problems[:10])
        raise CheckpointError(
            f"the weights of {whose} do not fit these networks:\n  {listed}{more}\n"
            "Use the network settings they were trained with; the experiment.yaml beside them says which."
        )
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(tensors[key])


def _flat(modules: nn.ModuleDict | dict[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{role}.{key}": value for role, module in modules.items() for key, value in module.state_dict().items()}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

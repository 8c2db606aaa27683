"""What to try first against an alarm: one change, which the page's button sets as a person would."""

from __future__ import annotations

from typing import Any

from gannet.core import registry
from gannet.core.experiment import Experiment
from gannet.core.schedule import Schedule
from gannet.core.spec import Spec


def remedy(experiment: Experiment, alarm: str) -> dict[str, Any]:
    """The one change that a person should try first against `alarm`, as a path and a value."""
    if alarm == "vanishing gradients" and experiment.objective.name == "saturating":
        return {"path": "objective", "value": "nonsaturating"}
    if alarm in ("collapse", "oscillation", "vanishing gradients"):
        if "r1" not in experiment.regularizers:
            return {"path": "regularizers.r1", "value": "r1(weight=0.1)"}
        weight: Schedule = registry.REGULARIZERS.resolve(experiment.regularizers["r1"])["weight"]
        return {"path": "regularizers.r1.weight", "value": f"{min(100.0, 10 * max(weight.lowest, 0.01)):g}"}
    player = "discriminator" if alarm == "discriminator ahead" else "generator"
    recipe = experiment.optim.get(player, Spec("adam"))
    rate: Schedule = registry.OPTIMISERS.resolve(recipe)["lr"]
    return {"path": f"optim.{player}.lr", "value": f"{max(rate.lowest, 1e-6) / 2:g}"}

"""What one of several processes does in `test_distributed`, started by torchrun: `ranks.py PLACE OVERRIDES [die]`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

from gannet import api
from gannet.core.errors import UsageError
from gannet.engine import checkpoint, pictures, plots, run
from gannet.engine.run import Run
from gannet.engine.trainer import Trainer

RANK = int(os.environ["RANK"])
place, overrides = Path(sys.argv[1]), json.loads(sys.argv[2])
torch.set_num_threads(1)
plots.progress = lambda *args, **kwargs: None


class Broken(Exception):
    pass


def at(step, act):
    """Do `act` before that step."""
    whole = Trainer._step

    def stepped(self, vote):
        if self.clock.step == step:
            act(self)
        return whole(self, vote)

    return mock.patch.object(Trainer, "_step", stepped)


def at_the_end(act):
    whole = Trainer._finish

    def finished(self, reason):
        whole(self, reason)
        act(self)

    return mock.patch.object(Trainer, "_finish", finished)


def statistics(trainer):
    """The sum of every running statistic, by half-life."""
    return {
        f"{average.halflife:g}": [
            float(value.sum())
            for module in average.modules.values()
            for name, value in module.named_buffers()
            if "running" in name
        ]
        for average in trainer.ema.averages
    }


def broken(trainer):
    raise Broken


def said(name, **facts):
    (place / f"{name}-{RANK}.json").write_text(json.dumps(facts))


def writes(*args, **kwargs):
    raise AssertionError("only process 0 writes")


if RANK:
    checkpoint.commit = checkpoint.point = checkpoint.sweep = pictures.grid = writes
    run.replace_file = Run.append = Run.truncate_log = writes


def main() -> None:
    if "die" in sys.argv:
        with at(4, lambda trainer: os.kill(os.getpid(), signal.SIGKILL) if RANK else None):
            api.train("gan", overrides, place / "die")
        sys.exit("nobody noticed")

    _, outcome = api.train("gan", overrides, place / "straight")
    said("straight", reason=outcome.reason, samples=outcome.samples)

    try:
        with at(7, broken):
            api.train("gan", overrides, place / "broken")
    except Broken:
        api.resume(place / "broken")

    try:
        api.train("gan", {**overrides, "seed": RANK}, place / "differ")
    except UsageError as error:
        said("differ", text=str(error))

    with at(4, lambda trainer: os.kill(os.getpid(), signal.SIGTERM) if RANK else None):
        _, outcome = api.train("quick", json.loads(sys.argv[3]), place / "stopped")
    said("stopped", reason=outcome.reason, samples=outcome.samples, signal=outcome.signal)

    # A target that only process 0 knows it has reached, in a run with batch norm, whose buffers all must average, and
    # with two averages, of which it alone knows, and samples, the better.
    scored = {"evaluate": {"metrics": ["frechet"], "n": 16, "every": 16}, "stop.target": 1e9}
    averaged = {"ema": {"halflife": [8, 64], "ramp": None}}
    with at_the_end(lambda trainer: said("averages", order=trainer.ema.halflives, found=statistics(trainer))):
        _, outcome = api.train("quick", {**json.loads(sys.argv[3]), **scored, **averaged}, place / "target")
    said("target", samples=outcome.samples)


main()
# As `python -m gannet` does: gloo's threads now and then abort an interpreter that is shutting down, its work done.
sys.stdout.flush()
dist.barrier()
os._exit(0)

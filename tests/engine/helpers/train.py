"""Train in a process of its own, to be killed: `train.py RUN PRESET OVERRIDES` goes on where there is a checkpoint."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch

from gannet import api
from gannet.engine import plots
from gannet.engine.run import Run

if __name__ == "__main__":
    torch.set_num_threads(1)
    plots.progress = lambda *args, **kwargs: None
    run, preset, overrides = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    print("ready", flush=True)
    if (run / "log.jsonl").exists() and any(r["kind"] == "stop" for r in Run(run).read_log()):
        sys.exit()  # it ended before the kill
    if (run / "checkpoints" / "latest.json").exists():
        api.resume(run)
    else:  # killed before anything was worth keeping
        shutil.rmtree(run, ignore_errors=True)
        api.train(preset, overrides, run)

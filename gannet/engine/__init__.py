"""The engine: the step, the loop, checkpoints, the run directory."""

"""Contracts, specs, schedules, experiments, randomness and errors. Imports nothing of ours."""

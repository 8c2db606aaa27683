"""Runs compared file by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gannet.core.errors import GannetError
from gannet.engine import checkpoint, plots
from gannet.engine.run import Run
from gannet.engine.trainer import Trainer

CLOCK = ("seconds", "images_per_second")


class Broken(Exception):
    """The power cut of a test."""


@pytest.fixture
def no_plots(monkeypatch) -> None:
    """Curves are drawn by nobody: they take longer than the training of these tests."""
    monkeypatch.setattr(plots, "progress", lambda *args, **kwargs: None)


def log_lines(run: Run) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    return [{k: v for k, v in record.items() if k not in CLOCK} for record in run.read_log()]


def committed(run: Run) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The latest checkpoint as flat tensors and the state without what depends on the clock."""
    found = checkpoint.latest(run.checkpoints)
    tensors = {f"{group}/{name}": t for group, named in found.tensors.items() for name, t in named.items()}
    return tensors, {k: v for k, v in found.state.items() if k not in (*CLOCK, "log_position")}


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Run, Run], None]:
    """Two runs ended with the same bits: every tensor, every counter, every line of the log."""

    def same(one: Run, other: Run) -> None:
        (tensors, state), (found, found_state) = committed(one), committed(other)
        assert tensors.keys() == found.keys()
        different = [k for k, t in tensors.items() if t.dtype != found[k].dtype or not torch.equal(t, found[k])]
        assert not different
        assert state == found_state
        assert log_lines(one) == log_lines(other)

    return same


@pytest.fixture(scope="session")
def records() -> Callable[[Run], list[dict[str, Any]]]:
    return log_lines


@pytest.fixture(scope="session")
def last_commit() -> Callable[[Run], tuple[dict[str, torch.Tensor], dict[str, Any]]]:
    return committed


@pytest.fixture
def refused() -> Callable[..., str]:
    """`refused(kind, call, *args)`: the text of the `GannetError` of that kind the call ends with."""

    def text(kind: type[GannetError], call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        with pytest.raises(kind) as caught:
            call(*args, **kwargs)
        return str(caught.value)

    return text


@pytest.fixture
def broken_at(monkeypatch) -> Callable[[int, str], Any]:
    """`with broken_at(step, player):` the turn of that player in that step never comes back."""
    from contextlib import contextmanager

    from gannet.engine.turn import Table

    whole = Table.turn

    @contextmanager
    def cut(step: int, player: str):
        def turn(self, name, mover, clock, *rest):
            if clock.step == step and name == player:
                raise Broken
            return whole(self, name, mover, clock, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(Table, "turn", turn)
            with pytest.raises(Broken):
                yield

    return cut


@pytest.fixture
def before_step(monkeypatch):
    """`before_step(step, act)`: `act(trainer)` before every attempt at that step."""

    def install(step, act):
        whole = Trainer._step

        def stepped(self, vote):
            if self.clock.step == step:
                act(self)
            return whole(self, vote)

        monkeypatch.setattr(Trainer, "_step", stepped)

    return install


@pytest.fixture
def place(tmp_path) -> Callable[[str], Path]:
    return lambda name: tmp_path / name

"""`gannet lab` on the command line: what is refused, before anything is served."""

from __future__ import annotations

import socket

import pytest

from gannet.cli import main
from gannet.lab import server


def test_other_machines_need_a_token(capsys):
    assert main(["lab", "--host", "0.0.0.0"]) == 2
    assert "Add --token" in capsys.readouterr().err
    assert main(["lab", "--host", "0.0.0.0", "--token", "short"]) == 2
    assert "5 characters; use 16 or more" in capsys.readouterr().err


def test_a_port_that_is_taken_exits_6(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["lab", "--port", str(taken.getsockname()[1])]) == 6
    assert "Choose another: --port 0" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--port", "70000"], ["--port", "http"], ["--prot", "1"], ["runs/0001"]])
def test_wrong_words_are_refused(words, capsys):
    assert main(["lab", *words]) == 2
    assert "error:" in capsys.readouterr().err


def test_the_address_is_all_of_stdout(monkeypatch, capsys):
    """So that a script can read it."""

    class Never:
        def __init__(self, *args):
            pass

        def run(self, sockets):
            pass

    monkeypatch.setattr(server, "make_server", Never)
    assert main(["lab", "--port", "0"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("http://127.0.0.1:")
    assert said.out.count("\n") == 1
    assert "Ctrl+C closes it" in said.err

"""Real signals to real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from gannet.engine import signals
from gannet.engine.signals import Signals

LOOP = """
import sys, time
from gannet.engine.signals import Signals
with Signals() as caught:
    print("ready", flush=True)
    while caught.received is None:
        time.sleep(0.01)
        if caught.take_save_request():
            print("save", flush=True)
    print("stopping", flush=True)
    time.sleep(float(sys.argv[1]))
sys.exit(caught.exit_code)
"""


def start(finishing_s: float) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", LOOP, str(finishing_s)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_lets_the_loop_finish_and_gives_its_code(number, code):
    with start(0.05) as process:
        process.send_signal(number)
        assert process.stdout.read() == "stopping\n"
        assert process.wait(10) == code


def test_the_same_stop_again_ends_the_process_at_once():
    with start(60) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        time.sleep(signals.ECHO_S + 0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143


def test_a_stop_delivered_twice_by_the_launcher_still_lets_the_loop_finish():
    with start(0.2) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(10) == 143


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_a_save_request_is_taken_once_and_the_loop_goes_on(number):
    with start(0) as process:
        process.send_signal(number)
        assert process.stdout.readline() == "save\n"
        process.send_signal(number)
        assert process.stdout.readline() == "save\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "stopping\n"
        assert process.wait(10) == 143


def test_the_former_handlers_come_back():
    watched = (*signals.STOP, *signals.SAVE)
    before = [signal.getsignal(number) for number in watched]
    inside = []

    def work() -> None:
        with Signals():
            inside.extend(signal.getsignal(number) for number in watched)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        work()
    assert all(now != former for now, former in zip(inside, before, strict=True))
    assert [signal.getsignal(number) for number in watched] == before


def test_the_handler_only_sets_flags():
    with Signals() as caught:
        assert (caught.received, caught.exit_code, caught.take_save_request()) == (None, None, False)
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while caught.received is None and time.monotonic() < deadline:
            time.sleep(0.001)
        assert (caught.received, caught.exit_code) == (signal.SIGINT, 130)
        assert [caught.take_save_request(), caught.take_save_request()] == [True, False]


def test_outside_the_main_thread_nothing_is_changed():
    found = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with Signals() as caught:
            found.append((signal.getsignal(signal.SIGTERM) is before, caught.received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(True, None)]

import io
import os
import subprocess
import sys
import warnings

import pytest

from gannet.engine import console as module
from gannet.engine.console import Console, Silent

RECORD = {
    "kind": "step",
    "samples": 50_000,
    "images_per_second": 4321.0,
    "loss/discriminator": 0.693,
    "loss/generator": 0.71,
    "p_real_above_fake": 0.784,
}


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(module.time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_line_every_ten_seconds_without_a_terminal(clock):
    out = io.StringIO()
    console = Console(out)
    console.start(200_000, "images")
    for i in range(41):
        clock.now = 100 + i
        console.update({**RECORD, "samples": 1000 * i})
    console.stop()
    lines = out.getvalue().splitlines()
    assert [line.split("·")[1].split()[0] for line in lines] == ["0", "10,000", "20,000", "30,000", "40,000"]
    assert "\x1b" not in out.getvalue()


def test_a_line_says_all_a_person_waits_for(clock):
    out = io.StringIO()
    console = Console(out)
    console.start(100_000, "images")
    console.update({"kind": "score", "samples": 40_000, "scores": {"fd[digits]": 12.34, "recall": 0.5}, "best": True})
    clock.now += 10
    console.update({**RECORD, "p_real_above_fake/heldout": 0.66})
    assert out.getvalue().splitlines()[-1] == (
        " 50% · 50,000 / 100,000 images · 4,321/s · 0:12 left · loss D 0.693 G 0.710"
        " · P(real > fake) 0.78 (held out 0.66) · fd[digits] 12.3 (best)"
    )


def test_the_last_state_is_said_once(clock):
    out = io.StringIO()
    console = Console(out)
    console.start(100, "images")
    console.update({"samples": 10})
    console.update({"samples": 100})
    console.stop()
    console.stop()
    assert [line.split(" ·")[0] for line in out.getvalue().splitlines()] == [" 10%", "100%"]


def test_the_rate_is_measured_from_where_this_process_began_and_the_end_may_move(clock):
    out = io.StringIO()
    console = Console(out)
    console.start(2000, "points")
    console.update({"samples": 1000})  # resumed here
    clock.now += 10
    console.total(3000)
    console.update({"samples": 1500})
    assert out.getvalue().splitlines()[-1] == " 50% · 1,500 / 3,000 points · 50/s · 0:30 left"


def test_an_end_not_known_yet_is_not_made_up(clock):
    out = io.StringIO()
    console = Console(out)
    console.start(0, "samples")
    console.update({"samples": 640, "images_per_second": 64.0})
    console.total(1280)
    clock.now += 10
    console.update({})
    assert out.getvalue() == "  0% · 640 samples · 64/s\n 50% · 640 / 1,280 samples · 64/s · 0:10 left\n"


def test_notes_and_alarms_are_lines_even_before_start():
    out = io.StringIO()
    console = Console(out)
    console.note("resuming from 1,000 [red]samples")
    console.alarm("mode collapse")
    assert out.getvalue() == "resuming from 1,000 [red]samples\nALARM: mode collapse\n"


def test_a_locale_without_the_letters_gets_others():
    raw = io.BytesIO()
    console = Console(io.TextIOWrapper(raw, encoding="ascii"))
    console.note("penalty ×2 → 0.4 … 生")
    console.update(RECORD)
    assert raw.getvalue().startswith(b"penalty x2 -> 0.4 ... ?\n")
    assert b"images" not in raw.getvalue()
    assert b" | loss D 0.693" in raw.getvalue()


def test_a_stream_that_goes_away_silences_and_nothing_more():
    class Broken(io.StringIO):
        written = 0

        def write(self, text):
            self.written += 1
            raise BrokenPipeError

    broken = Broken()
    closed = io.StringIO()
    closed.close()
    for stream in (broken, closed):
        console = Console(stream)
        console.start(10)
        for _ in range(3):
            console.note("hello")
        console.update({"samples": 1})
        console.stop()
    assert broken.written == 1


def test_no_stderr_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    console = Console()
    console.start(10)
    console.update({"samples": 5})
    console.alarm("hello")
    console.stop()


def test_odd_values_are_shown_as_they_are(clock):
    out = io.StringIO()
    console = Console(out)
    console.update({"samples": 0, "loss/generator": "nan", "loss/critics": 12345.6, "images_per_second": None})
    assert "loss G nan critics 12,346" in out.getvalue()


def test_durations():
    assert [module._clock(s) for s in (7, 750, 11_100, 187_200)] == ["0:07", "12:30", "3:05:00", "2 d 4 h"]


def test_a_bar_on_a_terminal_that_later_closes(monkeypatch):
    pty = pytest.importorskip("pty")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w", encoding="utf-8")
    before = sys.stderr
    console = Console(stream)
    console.start(100_000, "images")
    console.note("scored fd[digits] 12.3")
    console.update({**RECORD, "p_real_above_fake/heldout": 0.66})
    shown = ""
    while "held out" not in shown:  # the last words of the bar; a pipe gives them in pieces
        shown += os.read(master, 65536).decode(errors="ignore")
    assert "━" in shown
    assert "50,000 / 100,000 images" in shown
    assert "scored fd[digits] 12.3" in shown
    assert shown.rindex("\x1b[?25h") > shown.find("\x1b[?25l")  # the cursor is never left hidden
    os.close(master)
    console.alarm("still here")
    console.update(RECORD)
    console.stop()
    assert sys.stderr is before


def test_silent_says_nothing_but_warns_of_an_alarm(capsys):
    silent = Silent()
    silent.start(10, "images")
    silent.update(RECORD)
    silent.total(20)
    silent.note("hello")
    with pytest.warns(RuntimeWarning, match="mode collapse"):
        silent.alarm("mode collapse")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silent.stop()
    assert capsys.readouterr() == ("", "")


def test_importing_it_costs_neither_rich_nor_torch():
    code = "import sys, gannet.engine.console; print(sorted({'rich', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_broken_pipe_does_not_change_how_the_process_ends():
    code = (
        "from gannet.engine.console import Console\n"
        "c = Console(); c.start(10); input()\n"
        "[c.note('x' * 100) for _ in range(5)]; c.stop(); print('done')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stderr.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stdout.read() == b"done\n"
        assert process.wait() == 0

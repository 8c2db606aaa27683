"""What the laboratory costs: steps a second with a browser that watches, and the time from a click to its effect.

- steps: a playing session with Chromium attached, beside a bare loop over the same experiment through the engine,
  without the laboratory: the preset `lab` with GAN Lab's default networks. At least 60 % of the bare loop's.
- answers: pause, play and a change of the loss, asked by a client that reads every frame, until the engine has carried
  them out and answered. 95 of 100 under 100 ms.
- clicks: the same, clicked in the page until the answer is painted there. The clicks are made inside the page, so that
  what drives the browser is not timed; the browser's own painting is.

    python benchmarks/laboratory.py [--only steps|answers|clicks] [--rounds 5] [--seconds 20] [--clicks 100]

Rounds are pairs, in turn, so that a machine that slows down slows both. One thread of torch.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import chromium
import httpx

from gannet.lab.share import State, beginning

if TYPE_CHECKING:
    from playwright.sync_api import Page

LEAST, MOST = 0.6, 100.0
"""Share of the bare loop's steps; milliseconds of the 95th percentile of clicks."""
NETWORKS = {"generator": "mlp(width=8, layers=2, latent=2)", "discriminator": "mlp(width=8, layers=2)"}
"""GAN Lab's own: its one hidden layer is a second one of 8 neurons."""
LOSSES = ("hinge", "nonsaturating")
BARE = """
import json, sys, time
from gannet.api import set_threads
from gannet.core.overrides import resolve
from gannet.engine.assembly import assemble
from gannet.engine.trainer import Trainer
experiment = resolve("lab", json.loads(sys.argv[2])).experiment
set_threads(experiment)
trainer = Trainer(assemble(experiment))
for _ in range(200):
    trainer.advance()
begun, steps = time.perf_counter(), trainer.clock.step
while (spent := time.perf_counter() - begun) < float(sys.argv[1]):
    trainer.advance()
    trainer.health.flush()
print((trainer.clock.step - steps) / spent)
"""
"""A process of its own, as the laboratory is one; it reads the losses of every step, as the laboratory does."""
CLICK = """([selector, value, wanted]) => new Promise((done, failed) => {
  const node = document.querySelector(selector);
  const begun = performance.now();
  const late = setTimeout(() => failed(new Error(`${selector}: no effect within ten seconds`)), 10000);
  const watcher = new MutationObserver(look);
  function look() {
    if (!document.querySelector(wanted[0])?.textContent.includes(wanted[1])) return;
    watcher.disconnect();
    clearTimeout(late);
    done(performance.now() - begun);
  }
  watcher.observe(document.body, { subtree: true, childList: true, characterData: true });
  if (value === null) node.click();
  else {
    node.value = value;
    node.dispatchEvent(new Event("change", { bubbles: true }));
  }
  look();
})"""


@contextlib.contextmanager
def served() -> Iterator[str]:
    """`gannet lab` in a process of its own; its address."""
    words = [sys.executable, "-m", "gannet", "lab", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextlib.contextmanager
def laboratory() -> Iterator[Page]:
    """The page of a laboratory in Chromium."""
    from playwright.sync_api import sync_playwright

    program = chromium.find()
    if program is None:
        sys.exit(f"This needs a browser: {chromium.missing()}.")
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=chromium.ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 860}, locale="en-GB")
        page.set_default_timeout(120_000)
        page.goto(f"{address}#{State(beginning(NETWORKS)).to_fragment()}")
        page.wait_for_selector("body[data-ready]")
        yield page
        browser.close()


def press(page: Page, selector: str, wanted: tuple[str, str], value: str | None = None) -> float:
    """Click, or choose `value`; milliseconds until the element `wanted[0]` says `wanted[1]`."""
    return page.evaluate(CLICK, [selector, value, list(wanted)])


def step(page: Page) -> int:
    return int("".join(filter(str.isdigit, page.inner_text("#step"))))


def watched(page: Page, seconds: float) -> float:
    """Steps a second of the playing session."""
    press(page, "#reset", ("#step", "0"))
    press(page, "#play", ("#play", "Pause"))
    page.wait_for_selector('#step:not(:text-is("0"))')
    time.sleep(0.5)
    begun, first = time.perf_counter(), step(page)
    time.sleep(seconds)
    rate = (step(page) - first) / (time.perf_counter() - begun)
    press(page, "#play", ("#play", "Play"))
    return rate


def bare(seconds: float) -> float:
    """Steps a second of the engine alone."""
    words = [sys.executable, "-c", BARE, str(seconds), json.dumps(NETWORKS)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout)


def steps(args: argparse.Namespace) -> None:
    pairs = []
    print(f"{'round':>6} {'bare loop':>10} {'watched':>10} {'share':>7}   steps a second, {args.seconds:g} s each")
    for number in range(args.rounds):
        alone = bare(args.seconds)
        with laboratory() as page:  # not there while the bare loop runs
            pairs.append((alone, watched(page, args.seconds)))
        print(f"{number + 1:>6} {alone:>10.0f} {pairs[-1][1]:>10.0f} {100 * pairs[-1][1] / alone:>5.0f} %", flush=True)
    share = statistics.median(b / a for a, b in pairs)
    print(f"median share {100 * share:.0f} %, at least {100 * LEAST:.0f} %: {'MET' if share >= LEAST else 'MISSED'}")


def asked(number: int) -> tuple[str, dict[str, Any]]:
    """The command of a click: pause, play and another loss, in turn."""
    if number % 3 == 2:
        return "loss", {"command": "set", "path": "objective", "value": LOSSES[number // 3 % 2]}
    kind = ("pause", "play")[number % 3]
    return kind, {"command": kind}


def answers(args: argparse.Namespace) -> None:
    spent: dict[str, list[float]] = {"pause": [], "play": [], "loss": []}
    with served() as address, httpx.Client(base_url=address, timeout=30) as client:
        while not client.get("/api/ready").json()["ready"]:
            time.sleep(0.2)
        opened = client.post("/api/sessions", json={"state": State(beginning(NETWORKS)).to_json()}).json()
        at = f"/api/sessions/{opened['id']}"
        reader = threading.Thread(target=reads, args=(f"{address.replace('http', 'ws', 1).rstrip('/')}{at}/frames",))
        reader.daemon = True
        reader.start()
        client.post(f"{at}/do", json={"command": "play"})
        time.sleep(1)
        for number in range(args.clicks):
            kind, command = asked(number)
            begun = time.perf_counter()
            client.post(f"{at}/do", json=command).raise_for_status()
            spent[kind].append(1000 * (time.perf_counter() - begun))
            time.sleep((50 + 37 * number % 100) / 1000)
    print("answered to a client that reads every frame")
    verdict(spent)


def reads(address: str) -> None:
    """Take every frame as soon as there is one, until the server ends."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with contextlib.suppress(ConnectionClosed), connect(address, max_size=None) as socket:
        while True:
            socket.send("ready")
            socket.recv()


def clicks(args: argparse.Namespace) -> None:
    spent: dict[str, list[float]] = {"pause": [], "play": [], "loss": []}
    with laboratory() as page:
        page.focus('[data-part-of-model="lossD"]')
        page.keyboard.press("Enter")
        menu = 'select[aria-label="Objective"]'
        press(page, "#play", ("#play", "Pause"))
        page.wait_for_selector('#step:not(:text-is("0"))')
        for number in range(args.clicks):
            kind, command = asked(number)
            if kind == "loss":
                spent[kind].append(press(page, menu, (".game b", command["value"]), command["value"]))
            else:
                spent[kind].append(press(page, "#play", ("#play", "Play" if kind == "pause" else "Pause")))
            page.wait_for_timeout(50 + 37 * number % 100)  # people do not click in step with frames
    print("painted in the page")
    verdict(spent)


def verdict(spent: dict[str, list[float]]) -> None:
    every = sorted(t for times in spent.values() for t in times)
    for kind, times in [*spent.items(), ("all", every)]:
        row = sorted(times)
        print(f"{kind:>6}: {len(row):>4} clicks, median {statistics.median(row):6.1f} ms, "
              f"95 % {share_of(row, 0.95):6.1f} ms, worst {row[-1]:6.1f} ms")  # fmt: skip
    late = share_of(every, 0.95)
    print(f"95th percentile {late:.0f} ms, at most {MOST:.0f} ms: {'MET' if late <= MOST else 'MISSED'}")


def share_of(ordered: list[float], share: float) -> float:
    """The value that this share of the values do not exceed."""
    return ordered[math.ceil(share * len(ordered)) - 1]


def main() -> None:
    parts: dict[str, Any] = {"steps": steps, "answers": answers, "clicks": clicks}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=parts)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clicks", type=int, default=100)
    args = parser.parse_args()
    for name, part in parts.items():
        if args.only in (None, name):
            part(args)


if __name__ == "__main__":
    main()

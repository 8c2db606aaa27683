"""A real Chromium before a real server. A `Visit` is one page with the session behind it; when a test ends, every page
must have kept quiet on its console and must not have asked any other origin for anything."""

from __future__ import annotations

import json
import re
import runpy
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gannet import api
from gannet.lab import server
from gannet.lab.app import Room, create_app
from gannet.lab.shelf import Shelf

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

    from gannet.engine.trainer import Trainer
    from gannet.lab.session import Session

PATIENCE = 30_000
"""Milliseconds until something that should happen has not: generous, as tests run beside others on two cores."""
HERE = Path(__file__).parent
CHROMIUM = runpy.run_path(str(HERE.parents[1] / "tools" / "chromium.py"))
ROLES = {"button", "checkbox", "combobox", "spinbutton", "slider", "textbox", "link", "image", "DisclosureTriangle"}
"""Roles whose every element needs a name."""
COLOURS = """selector => {
  const canvas = document.querySelector(selector);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker has them all, so that one browser is enough: `--dist worksteal` deals this folder out first and in
    one piece, `--dist loadgroup` reads the mark."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, headless; without one, or without Playwright, a skip that is told at the end."""
    program = CHROMIUM["find"]()
    if program is None:
        pytest.skip(f"NOT TESTED: the laboratory in a browser, as {CHROMIUM['missing']()}.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("NOT TESTED: the laboratory in a browser, as Playwright is missing: pip install -e '.[test]'.")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=CHROMIUM["ARGUMENTS"])
        yield launched
        launched.close()


class Served:
    """A laboratory on a free port, served from a thread, with its room at hand."""

    def __init__(self, folder: Path, **more: Any):
        self.listener = server.listen("127.0.0.1", 0)
        port = self.listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.room = Room(folder)
        self.server = server.make_server(
            create_app(folder, server.addresses("127.0.0.1", port), room=self.room, **more)
        )
        self.thread = threading.Thread(target=lambda: self.server.run(sockets=[self.listener]))
        self.thread.start()
        assert self.room.ready.wait(60)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        self.listener.close()


@pytest.fixture(scope="session")
def served_like() -> type[Served]:
    """What makes a further laboratory; whoever does closes it."""
    return Served


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = Served(tmp_path_factory.mktemp("lab"))
    yield found
    found.close()


SMALL: dict[str, Any] = {
    "data": "digits", "batch": 16, "threads": 1, "generator.width": 8, "discriminator.width": 8, "keep.samples": "25%",
    "evaluate.every": "50%", "evaluate.n": 100,
}  # fmt: skip
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("quick", {"task.labels": "ignore", "stop.samples": 1024, "seed": 3}),
    "classes": ("cgan", {"stop.samples": 512, "evaluate.metrics": []}),
    "styles": ("stylegan2", {"stop.samples": 256, "evaluate.metrics": [], "generator.latent": 16}),
    "points": ("gan", {"data": "points(n=200)", "stop.samples": 256, "evaluate.metrics": []}),
}
"""What is on the shelf, each trained in a second or two: preset and settings."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs; one of them cannot be read."""
    folder = tmp_path_factory.mktemp("runs")
    for name, (preset, settings) in RUNS.items():
        usual = {} if preset == "gan" else SMALL
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # so short a training is full of alarms
            api.train(preset, {**usual, "threads": 1, **settings}, folder / name)
    (folder / "broken").mkdir()
    (folder / "broken" / "experiment.yaml").write_text("preset: [quick\n")
    return folder


@pytest.fixture(scope="session")
def library(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A laboratory that was opened on the folder of runs."""
    found = Served(tmp_path_factory.mktemp("library"), shelf=Shelf(trained))
    yield found
    found.close()


class Visit:
    """A page of the laboratory in a context of its own, and the session that it opened."""

    def __init__(self, page: Page, served: Served):
        self.page, self.served = page, served
        self.said: list[str] = []
        self.strangers: list[str] = []
        self.names: list[str] = []
        self.forgiven = False
        page.set_default_timeout(PATIENCE)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.said.append(message.text)

    def _asked(self, url: str) -> None:
        if not re.match(rf"(https?|wss?)://{re.escape(self.served.address[7:])}/|blob:|data:", url):
            self.strangers.append(url)

    def go(self, path: str = "/") -> None:
        """Open an address and wait until its page is there; the laboratory's, until it has drawn a frame."""
        before = set(self.served.room.sessions)
        self.page.goto(self.served.address + path)
        self.page.wait_for_selector("body[data-ready]")
        if path.startswith(("/explore", "/runs")):
            return
        self.names = [name for name in self.served.room.sessions if name not in before]
        self.until(lambda: "," in (self.page.locator("#plane-A").get_attribute("aria-label") or ""))

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def session(self) -> Session:
        """The session behind side A, between two steps: whatever was asked of it before has been done."""
        found = self.served.room.sessions[self.names[0]]
        found.status()
        return found

    @property
    def trainer(self) -> Trainer:
        return self.session.playground.trainer

    def get(self, what: str) -> dict[str, Any]:
        """`state` or `status` of the session, over HTTP."""
        url = f"{self.served.address}/api/sessions/{self.names[0]}/{what}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    @property
    def step(self) -> int:
        return self.get("status")["step"]

    def controls(self) -> list[tuple[str, str]]:
        """Role and name of every control, as Chromium tells a screen reader."""
        protocol = self.page.context.new_cdp_session(self.page)
        nodes = protocol.send("Accessibility.getFullAXTree")["nodes"]
        protocol.detach()
        seen = [node for node in nodes if not node["ignored"] and node["role"]["value"] in ROLES]
        return [(node["role"]["value"], node.get("name", {}).get("value", "").strip()) for node in seen]

    def nameless(self) -> list[str]:
        """Roles of controls without a name."""
        return [role for role, name in self.controls() if not name]

    def colours(self, selector: str) -> int:
        """How many colours a canvas has."""
        return self.page.evaluate(COLOURS, selector)

    def too_wide(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def until(self, condition: Callable[[], Any]) -> Any:
        """What `condition` gives as soon as it is true, or a failure."""
        end = time.monotonic() + PATIENCE / 1000
        while not (found := condition()):
            assert time.monotonic() < end, "it did not happen"
            self.page.wait_for_timeout(20)
        return found

    # ------------------------------------------------------------------------------------------------ what one does

    def act(self, selector: str) -> dict[str, Any]:
        """Click, wait for the command's answer and give it back."""
        with self.page.expect_response(lambda r: r.url.endswith("/do")) as answer:
            self.page.click(selector)
        return answer.value.json()

    def play_to(self, step: int) -> None:
        """Play until `step` at least, and pause."""
        self.act("#play")
        self.until(lambda: self.step >= step)
        self.act("#play")

    def open(self, part: str) -> None:
        """Open a part of the picture of the model, if it is not open."""
        node = self.page.locator(f'[data-part-of-model="{part}"]')
        if node.get_attribute("aria-pressed") != "true":
            node.focus()
            self.page.keyboard.press("Enter")

    def group(self, title: str) -> Locator:
        """The form of that title in the panel."""
        return self.page.locator("#panel fieldset.group").filter(has=self.page.locator("legend", has_text=title))

    def enter(self, field: Locator, value: str | bool) -> dict[str, Any]:
        """Put a value into a field, as a person does; the server's answer."""
        with self.page.expect_response(lambda r: r.url.endswith("/do")) as answer:
            if isinstance(value, bool):
                field.set_checked(value)
            elif field.evaluate("node => node.localName") == "select":
                field.select_option(value)
            else:
                field.fill(value)
                field.press("Enter")
        return answer.value.json()

    def choose(self, selector: str) -> Path:
        """Choose an entry of the share menu that hands over a file; where the file is."""
        self.page.click("#share-menu summary")
        with self.page.expect_download() as download:
            self.page.click(selector)
        return download.value.path()


@pytest.fixture
def visit(browser: Browser, served: Served, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """`visit(path="/", **context)`: a new page, opened. A picture of each is left in the test's folder."""
    made: list[Visit] = []

    def opened(path: str = "/", at: Served = served, **context: Any) -> Visit:
        context = {"viewport": {"width": 1280, "height": 860}, "locale": "en-GB", "reduced_motion": "reduce"} | context
        found = Visit(browser.new_context(**context).new_page(), at)
        made.append(found)
        found.go(path)
        return found

    yield opened
    for number, found in enumerate(made):
        if not found.page.is_closed():
            found.page.screenshot(path=tmp_path / f"page-{number}.png")
        found.page.context.close()
    for found in made:
        found.served.room.close_all()
    for found in made:
        assert not found.strangers, "every request stays at its origin"
        assert found.forgiven or not found.said, found.said

"""The pictures of docs/laboratory.md, taken from a laboratory that runs: pages as they are, and one short animation.

    python tools/lab_pictures.py [NAME …] [--out docs/images] [--share 1]

Needs a Chromium and Playwright, as the tests do. Every picture says what was set and how far it was played, so the same
command makes the same game again; the explorer and the dashboard have two runs to show, trained for a minute each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"

import chromium
from PIL import Image

from gannet.lab.share import State, beginning

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COLOURS = 256
SIDE = 330
"""Pixels of the animation."""
DIGITS = ["quick", "data=digits", "threads=1", "keep.samples=10%", "evaluate.every=20%"]
SAMPLES = 200_000
RUNS = {"with-r1": [], "without": ["regularizers=[]"]}
"""The runs that are explored and compared: what they change of a preset on digits."""
CALM = {"regularizers": "[r1(weight=0.1)]", "generator.width": 64, "discriminator.width": 64}


class Studio:
    """Opens pages of one laboratory and plays them to a step."""

    def __init__(self, browser: Browser, address: str, out: Path, share: float):
        self.browser, self.address, self.out, self.share = browser, address, out, share

    def opened(self, settings: dict[str, Any], step: int, **context: Any) -> Page:
        """A page with these settings of the preset, played to `step`, or to a share of it."""
        step = round(step * self.share)
        context = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "reduced_motion": "reduce"} | context
        page = self.browser.new_context(**context).new_page()
        page.set_default_timeout(300_000)
        page.goto(f"{self.address}/#{State(beginning(settings), step=step).to_fragment()}")
        page.wait_for_selector("body[data-ready]")
        page.wait_for_selector(f'#step:text-is("{f"{step:,}".replace(",", chr(0x2009))}")')
        page.wait_for_timeout(1500)  # until the measures are there too
        return page

    def visited(self, path: str, selector: str, **context: Any) -> Page:
        """Another page, once it has what is selected."""
        context = {"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", "reduced_motion": "reduce"} | context
        page = self.browser.new_context(**context).new_page()
        page.set_default_timeout(300_000)
        page.goto(self.address + path)
        page.wait_for_selector("body[data-ready]")
        page.wait_for_selector(selector)
        page.wait_for_timeout(1500)  # until images and curves are there too
        return page

    def keep(self, name: str, page: Page, **clip: Any) -> None:
        """A screenshot in few colours."""
        picture = Image.open(io.BytesIO(page.screenshot(**clip))).convert("RGB")
        path = self.out / f"lab-{name}.png"
        few(picture).save(path, optimize=True)
        page.context.close()
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def few(picture: Image.Image) -> Image.Image:
    """The picture in few colours, the rare ones of points among them."""
    return picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE)


def playground(studio: Studio) -> None:
    page = studio.opened({"data": 'points(name="ring-8")', **CALM}, 1500)
    page.focus('[data-part-of-model="discriminator"]')
    page.keyboard.press("Enter")
    page.check('#layers [name="manifold"]')
    page.wait_for_timeout(1000)
    page.mouse.move(0, 0)
    studio.keep("playground", page)


def dark(studio: Studio) -> None:
    page = studio.opened({"data": 'points(name="spiral")', **CALM}, 2000, color_scheme="dark")
    for layer in ("optimal", "field"):
        page.check(f'#layers [name="{layer}"]')
    page.uncheck('#layers [name="arrows"]')
    page.wait_for_timeout(1000)
    studio.keep("dark", page)


def phone(studio: Studio) -> None:
    page = studio.opened({"data": 'points(name="moons")', **CALM}, 800, viewport={"width": 360, "height": 760})
    studio.keep("phone", page)


def collapse(studio: Studio) -> None:
    """The same game at the same seed, with and without a penalty on the discriminator's slope."""
    page = studio.opened({"data": 'points(name="ring-8")', "optim.generator.lr": 0.005}, 0)
    page.click("#compare")
    page.wait_for_selector("#plane-B")
    page.wait_for_selector("#compare:enabled")
    page.focus('[data-part-of-model="discriminator"]')
    page.keyboard.press("Enter")
    page.select_option('select[aria-label="Add Regularizers"]', "r1")
    page.wait_for_selector("text=regularizers=[r1]")
    page.fill('#panel .entry [name="weight"]', "0.1")
    page.press('#panel .entry [name="weight"]', "Enter")
    page.click("#play")
    while int("".join(filter(str.isdigit, page.inner_text("#step")))) < 1500 * studio.share:
        page.wait_for_timeout(100)
    page.click("#play")
    page.wait_for_timeout(1500)
    page.evaluate("scrollTo(0, 0)")
    studio.keep("compare", page)


def film(studio: Studio) -> None:
    """The ring of eight is learned: the plane every 25 steps, later every 100."""
    page = studio.opened({"data": 'points(name="ring-8")', **CALM}, 0, viewport={"width": 1280, "height": 900})
    frames = []
    for whole in [*range(0, 500, 25), *range(500, 1600, 100)]:
        step = round(whole * studio.share)
        page.locator("#time").evaluate("(node, most) => { node.max = most; }", max(1, step))
        page.locator("#time").fill(str(step))
        page.wait_for_selector(f'#step:text-is("{f"{step:,}".replace(",", chr(0x2009))}")')
        page.wait_for_timeout(400)
        frames.append(Image.open(io.BytesIO(page.locator("#plane-A").screenshot())).convert("RGB").resize((SIDE, SIDE)))
    path = studio.out / "lab-learning.gif"
    sheet = Image.new("RGB", (SIDE, SIDE * len(frames)))
    for number, frame in enumerate(frames):
        sheet.paste(frame, (0, SIDE * number))
    palette = few(sheet)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [120] * (len(drawn) - 1) + [1500]
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=times, loop=0, optimize=True)
    page.context.close()
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {len(frames)} pictures", flush=True)


def lesson(studio: Studio) -> None:
    """The Dirac-GAN with R1 spirals to its rest."""
    page = studio.visited("/#lesson=r1-dirac/4", "canvas.phase")
    while int("".join(filter(str.isdigit, page.inner_text("#step")))) < 300 * studio.share:
        page.wait_for_timeout(100)
    page.click("#play")
    page.wait_for_timeout(1500)
    studio.keep("lesson", page)


def explorer(studio: Studio) -> None:
    place = "#at=2.5,1.25&pin=1,0&pin=4,2&pin=3,3"
    page = studio.visited(f"/explore?run=with-r1{place}", "#directions input")
    page.wait_for_timeout(1500)  # the tiles of the plane come one sheet after another
    studio.keep("explorer", page)


def dashboard(studio: Studio) -> None:
    page = studio.visited("/runs#compare=with-r1&compare=without", ".tables table")
    studio.keep("dashboard", page)


PICTURES: dict[str, Callable[[Studio], None]] = {
    f.__name__: f for f in (playground, dark, phone, collapse, film, lesson, explorer, dashboard)
}
NEED_RUNS = {"explorer", "dashboard"}


def trained(folder: Path, share: float) -> None:
    """Train the runs that are to be shown."""
    for name, words in RUNS.items():
        more = [*words, f"stop.samples={max(2048, round(SAMPLES * share))}", "--run", str(folder / name)]
        train = [sys.executable, "-m", "gannet", "train", *DIGITS, *more]
        subprocess.run(train, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--share", type=float, default=1.0, help="of the steps, to try it out")
    args = parser.parse_args()
    strange = set(args.names) - set(PICTURES)
    if strange:
        parser.error(f"there is no picture {strange.pop()!r}. Known: {', '.join(PICTURES)}.")
    program = chromium.find()
    if program is None:
        sys.exit(f"This needs a browser: {chromium.missing()}.")
    names = args.names or list(PICTURES)
    words = [sys.executable, "-m", "gannet", "lab", "--port", "0"]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if NEED_RUNS & set(names):
            trained(Path(folder), args.share)
            words.append(folder)
        served = stack.enter_context(
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
        stack.callback(served.terminate)
        playwright = stack.enter_context(sync_playwright())
        assert served.stdout is not None
        address = served.stdout.readline().strip().removesuffix("/").removesuffix("/runs")
        browser = playwright.chromium.launch(executable_path=program, args=chromium.ARGUMENTS)
        for name in names:
            PICTURES[name](Studio(browser, address, args.out, args.share))
        browser.close()


if __name__ == "__main__":
    main()

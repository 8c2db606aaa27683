// The dashboard begins: the list, one run, or several side by side, as the address says.

import { $, el } from "../dom.js";
import { begin, say, taken, toast } from "../page.js";
import * as theme from "../theme.js";
import * as words from "../words.js";
import { board, Poll } from "./api.js";
import { Compare } from "./compare.js";
import { address, route } from "./format.js";
import { List } from "./list.js";
import { View } from "./view.js";

const { t } = words;
const HELP = [["/", "key.filter"], ["↑ ↓", "key.rows"], ["␣", "key.tick"], ["↵", "key.open"], ["C", "key.compare"], ["Esc", "key.back"], ["L", "language"], ["T", "theme"], ["?", "help"]];
let [here, poll, alone] = [null, null, null];

const root = () => $("#board");
const list = () => new List(root(), (names) => (location.hash = address("compare", names)));
let kept = null;

/** What the list asks for again and again. */
async function listing() {
  const { runs } = await board.list();
  here.put(runs);
}

/** Show what the address asks for. */
function show() {
  poll?.stop();
  const { page, names } = alone && location.hash.length < 2 ? { page: "run", names: [alone] } : route(location.hash);
  if (page === "list") here = kept ??= list();
  else here = page === "run" ? new View(root(), names[0], theme.current) : new Compare(root(), names, theme.current);
  here.build();
  scrollTo(0, 0);
  poll = new Poll(page === "list" ? listing : () => here.look(), gone);
  return poll.now();
}

/** A run is gone, or nobody answers: said once, and the page stays. */
function gone(error) {
  if (error.message !== gone.said) toast(error.message);
  gone.said = error.message;
}

async function start() {
  const shelf = await board.shelf();
  alone = shelf.alone;
  if (!shelf.runs.length) {
    root().replaceChildren(el("div", { class: "nothing" }, el("h2", { "data-word": "runs.nothing" }), el("p", { "data-word": "runs.nothing.how" }), el("pre", {}, "gannet lab runs/")));
    return;
  }
  addEventListener("hashchange", () => {
    show();
    root().focus({ preventScroll: true });
    say(document.title);
  });
  await show();
}

function speak() {
  here?.build();
}

/** A slider has no use for Escape, which leads back from it as from anywhere. */
const leaves = (event) => event.key === "Escape" && event.target.matches("[type=range]") && !document.querySelector("dialog[open]");

document.addEventListener("keydown", (event) => {
  if (taken(event) && !leaves(event)) return;
  const actions = {
    "/": () => $("#filter")?.focus(), c: () => $("#compare:not(:disabled)")?.click(), Escape: () => (location.hash = ""),
    l: () => $("#language").click(), t: () => $("#theme").click(), "?": () => $("#help").click(),
  };
  const run = actions[event.key] ?? actions[event.key.toLowerCase()];
  if (!run) return;
  event.preventDefault();
  run();
});

begin({ start, redraw: () => here?.redraw?.(), speak, help: HELP });

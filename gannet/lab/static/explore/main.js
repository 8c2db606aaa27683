// The explorer begins: a run, its facts, the state of the link, and the parts around it.

import { $, el } from "../dom.js";
import { Refused } from "../net.js";
import { begin, say, taken, toast } from "../page.js";
import * as theme from "../theme.js";
import { t } from "../words.js";
import { Activations } from "./activations.js";
import { explorer } from "./api.js";
import { Controls } from "./controls.js";
import { Directions } from "./directions.js";
import { Exports } from "./exports.js";
import { Nearest } from "./nearest.js";
import { Newest, settled } from "./newest.js";
import { picture, put } from "./parts.js";
import { Plane } from "./plane.js";
import { Saved } from "./saved.js";
import { fromFragment, look, seen, seedOf, start as startState, toFragment } from "./state.js";
import { Styles } from "./styles.js";
import { Tray } from "./tray.js";

const HELP = [["← ↑ → ↓", "key.move"], ["⇧ + ←", "key.seed"], ["Home", "key.home"], ["␣", "wander"], ["P", "pin"], ["A", "another"], ["B", "between.play"], ["0", "directions.reset"], ["L", "language"], ["T", "theme"], ["?", "help"]];

class Explorer {
  constructor() {
    this.asker = new Newest((asked) => this.picture(asked), { gap: 50, refused: (error) => this.refuse(error) });
    this.write = settled(() => this.remember(), 250);
    this.world = {
      state: () => this.state, change: (patch) => this.change(patch), move: (point) => this.change({ point, at: null }), glide: (point) => this.glide(point),
      pin: () => this.tray.pin(), open: (run) => this.choose(run), say: (text) => (say(text), toast(text)), refuse: (error) => this.refuse(error), palette: theme.current,
      link: () => {
        this.remember();
        return location.href;
      },
    };
  }

  async begin() {
    const { runs, alone } = await explorer.shelf();
    Object.assign(this.world, { runs, wide: innerWidth > 1000 });
    const asked = new URLSearchParams(location.search).get("run") ?? alone ?? runs[0];
    if (!runs.length) return this.nothing();
    addEventListener("hashchange", () => this.world.facts && this.change(fromFragment(location.hash)));
    addEventListener("popstate", () => this.open(new URLSearchParams(location.search).get("run") ?? asked, fromFragment(location.hash)));
    await this.open(asked, fromFragment(location.hash));
  }

  /** Another run from the list: its own address, and the beginning of its plane. */
  choose(run) {
    history.pushState(null, "", `?${new URLSearchParams({ run })}`);
    return this.open(run, startState());
  }

  async open(run, state) {
    this.controls?.stop();
    this.tray?.stop();
    Object.assign(this.world, { run, facts: null });
    this.state = state;
    this.problem = "";
    try {
      this.world.facts = await explorer.facts(run);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.problem = error.message;
    }
    if (this.world.run === run) this.build();
  }

  /** Build everything anew, in the present language. */
  build() {
    const { world } = this;
    $("#explore").hidden = false;
    this.controls?.stop();
    this.tray?.stop();
    this.controls = new Controls($("#controls"), world);
    this.controls.build();
    $(".not-explored")?.remove();
    for (const part of [$("#look"), $(".ways")]) part.hidden = !world.facts;
    if (!world.facts) {
      $("#explore").prepend(el("div", { class: "not-explored" }, el("h2", {}, t("explore.not")), el("p", {}, this.problem), el("a", { class: "button", href: `/runs#${new URLSearchParams({ run: world.run })}` }, t("explore.see"))));
      return;
    }
    this.canvas = picture("");
    this.under = el("figcaption", {}, el("strong", {}, world.facts.title), el("span", { class: "hint" }));
    $("#look").replaceChildren(el("div", { class: "frame" }, this.canvas), this.under);
    this.plane = new Plane($("#map"), world);
    this.tray = new Tray($("#tray"), world);
    this.tray.build();
    const { facts } = world;
    this.cards = [new Directions(world), ...(facts.styles ? [new Styles(world)] : []), new Nearest(world), ...(facts.layers.length ? [new Activations(world)] : []), new Saved(world), new Exports(world)];
    $("#cards").replaceChildren(...this.cards.map((part) => part.build()));
    this.changed();
  }

  nothing() {
    $("#controls").hidden = true;
    $("#explore").replaceChildren(el("div", { class: "not-explored" }, el("h2", { "data-word": "explore.nothing" }), el("p", { "data-word": "explore.nothing.how" }), el("pre", {}, "gannet lab runs/0001-quick-digits")));
  }

  change(patch) {
    this.state = { ...this.state, ...patch };
    this.changed();
  }

  glide(point) {
    if (this.state.at !== null) this.change({ at: null });
    this.controls.stop();
    this.tray.stop();
    return this.plane.glide(point);
  }

  /** Everything that shows the state hears of it; the picture is asked for. */
  changed() {
    this.asker.ask(look(this.state));
    this.plane.changed();
    this.controls.changed();
    this.tray.changed();
    for (const part of this.cards) part.changed();
    this.write();
  }

  async picture(asked) {
    const { run, facts } = this.world;
    if (!facts) return;
    const found = await explorer.images(run, [asked], { enlarge: true });
    if (run !== this.world.run) return;
    put(this.canvas, found);
    this.caption();
  }

  caption() {
    const { point } = this.state;
    const seed = this.state.at === null ? seedOf(point) : null;
    const between = seen(this.state) !== point;
    const where = between ? t("caption.between", { at: this.state.at.toFixed(2) }) : seed === null ? t("caption.point", { x: point.x.toFixed(2), y: point.y.toFixed(2) }) : t("seed.n", { n: seed });
    this.under.lastChild.textContent = [where, t("caption.after", { n: this.world.facts.samples.toLocaleString("en") })].join(" · ");
    this.canvas.setAttribute("aria-label", t("caption.image", { where }));
  }

  remember() {
    if (!this.world.facts) return;
    const url = new URL(location.href);
    url.searchParams.set("run", this.world.run);
    url.hash = toFragment(this.state);
    history.replaceState(null, "", url);
  }

  refuse(error) {
    if (!(error instanceof Refused)) throw error;
    toast(error.message);
  }

  key(event) {
    if (taken(event) || !this.world.facts) return;
    const actions = {
      " ": () => this.controls.toggle(), p: () => this.tray.pin(), a: () => this.controls.another(), b: () => this.state.pins.length > 1 && this.tray.toggle(),
      0: () => this.change({ directions: {} }), l: () => $("#language").click(), t: () => $("#theme").click(), "?": () => $("#help").click(),
    };
    const run = actions[event.key.toLowerCase()] ?? (event.key.startsWith("Arrow") || event.key === "Home" ? () => this.elsewhere(event) : null);
    if (!run) return;
    event.preventDefault();
    run();
  }

  /** The arrow keys move the plane from anywhere but a field. */
  elsewhere(event) {
    if (event.target.closest("details, .tray")) return;
    this.plane.press(event);
  }
}

const page = new Explorer();
document.addEventListener("keydown", (event) => page.key(event));
begin({
  start: () => page.begin(),
  redraw: () => page.plane?.redraw(),
  speak: () => page.world.run && page.build(),
  help: HELP,
});

// The laboratory: one or two sessions, and everything on the page that shows or moves them.

import { Alarms } from "./alarms.js";
import { charts } from "./charts.js";
import { Controls } from "./controls.js";
import { Data } from "./data.js";
import { $, paced } from "./dom.js";
import { Exports } from "./exports.js";
import { Legend } from "./legend.js";
import { Lessons } from "./lessons.js";
import { ModelPicture } from "./model.js";
import { api } from "./net.js";
import { Panel } from "./panel.js";
import { differing, effective } from "./settings.js";
import { fromTheStart, toFragment } from "./share.js";
import { Side } from "./side.js";
import { parseSpec } from "./spec.js";
import { t } from "./words.js";
import { View } from "./view.js";

/** Milliseconds between two pictures of the model, and two of the curves: the plane alone has every frame. */
const CALM = 200;

export class Lab {
  constructor(catalog, palette) {
    this.catalog = catalog;
    this.palette = palette;
    this.views = [];
    this.active = 0;
    this.part = null;
    const set = (path, value) => this.one("set", { path, value });
    const data = (values) => this.one("data", values);
    this.controls = new Controls($("#controls"), (command, values) => this.act(command, values));
    this.legend = new Legend($("#layers"), (asked) => this.layers(asked));
    this.picture = new ModelPicture($("#picture"), (part) => this.open(part), palette);
    this.tiles = new Data($("#tiles"), catalog, data, (text) => this.refuse(text), palette);
    this.panel = new Panel($("#panel"), catalog, set, () => null);
    this.alarms = new Alarms($("#alarms"));
    this.exports = new Exports($("#share-items"), this);
    this.lessons = new Lessons($("#lessons"), $("#lessons-button"), this);
    this.redrawCharts = charts($("#charts"), () => this.sides(), palette);
    this.follows = paced(() => this.beside(), CALM);
  }

  sides() {
    return this.views.map((v) => v.side);
  }

  get side() {
    return this.views[this.active].side;
  }

  /** Open a session beside those there are. */
  async add(state) {
    const side = new Side("AB"[this.views.length]);
    side.layers = this.legend.asked();
    await side.open(state);
    const view = new View(side, () => this.legend.on, this.palette, (chosen) => this.choose(chosen));
    side.addEventListener("frame", () => this.frame(side));
    side.addEventListener("status", () => this.status());
    side.addEventListener("state", () => this.state());
    side.addEventListener("refused", ({ detail }) => this.refuse(detail.message));
    this.views.push(view);
    $("#planes").append(view.root);
    this.roles();
    this.state();
    this.status();
  }

  drop(index) {
    const [view] = this.views.splice(index, 1);
    view.side.close();
    view.root.remove();
    this.choose(this.views[0]?.side);
  }

  /** Carry a command out on every session; its links follow what changes settings. */
  async act(command, values) {
    const answers = await Promise.all(this.sides().map((side) => side.do(command, values)));
    this.follow(command);
    if (command === "pause" || command === "step") this.say(`${t("step.word")} ${this.side.status.step}`);
    return answers;
  }

  /** On the chosen session only. */
  async one(command, values) {
    const answer = await this.side.do(command, values);
    if (answer?.restarted) this.say(t("restarted"));
    else if (answer && command === "set") this.say(`${values.path} = ${values.value}`);
    if (!answer) {
      this.changed = null; // a form shows what was refused
      this.state();
    }
    this.follow(command);
    return answer;
  }

  /** Keep the address bar's link up with the settings, where it is short enough to be one. */
  follow(command) {
    if (!["set", "data", "reset", "load"].includes(command)) return;
    clearTimeout(this.soon);
    if (this.lessons.open) return; // the address is the lesson's
    this.soon = setTimeout(async () => {
      const bundle = this.bundled(this.sides().map(({ state }) => state));
      const fragment = await toFragment(bundle).catch(() => "");
      history.replaceState(null, "", location.pathname + location.search + fragment);
    }, 400);
  }

  bundled(states) {
    return { laboratory: 1, sessions: states, layers: this.legend.on };
  }

  /** What is shared and saved, at this very step. */
  async bundle() {
    return this.bundled(await Promise.all(this.sides().map(({ id }) => api.state(id))));
  }

  /** Take what was saved or shared: one or two sessions, or a single state. */
  async load(bundle) {
    const states = bundle?.sessions ?? (bundle?.experiment ? [bundle] : null);
    if (!Array.isArray(states) || states.length < 1 || states.length > 2) throw new Error(t("load.bad"));
    this.legend.take(bundle.layers);
    while (this.views.length > states.length) this.drop(this.views.length - 1);
    for (const [k, state] of states.entries()) {
      if (k < this.views.length) await this.views[k].side.do("load", { state });
      else await this.add(state);
    }
    this.layers(this.legend.asked());
  }

  /** A second session with the first's settings and seed, both at the beginning; or back to one. */
  async compare() {
    const button = $("#compare");
    if (button.disabled) return;
    if (this.views.length > 1) return void this.drop(1);
    button.disabled = true;
    this.still(true);
    try {
      await this.side.do("pause");
      const start = fromTheStart(await api.state(this.side.id));
      await this.side.do("load", { state: start });
      await this.add(start);
      this.choose(this.views[1].side);
    } catch (error) {
      this.refuse(error.message);
    } finally {
      this.still(false);
      button.disabled = false;
    }
  }

  /** No setting changes while the second session begins: it would be the first one's alone. */
  still(on) {
    for (const selector of ["#panel", "#tiles", "#alarms", "#lessons"]) $(selector).inert = on;
  }

  choose(side) {
    this.active = Math.max(0, this.sides().indexOf(side));
    this.roles();
    this.changed = null;
    this.state();
    this.frame(this.side);
  }

  roles() {
    const many = this.views.length > 1;
    this.views.forEach((view, k) => view.role(many, k === this.active));
    $("#planes").classList.toggle("two", many);
    $("#compare").setAttribute("aria-pressed", String(many));
  }

  layers(asked) {
    for (const side of this.sides()) {
      side.layers = asked;
      side.do("layers", asked);
    }
    this.redraw();
    this.lessons.notice();
  }

  open(part) {
    this.part = this.part === part ? null : part;
    this.picture.chosen(this.part);
    this.panel.show(this.part, this.settings());
    this.lessons.notice();
    if (this.part === "reals") $("#tiles").scrollIntoView({ block: "nearest" });
  }

  settings() {
    return this.effective(this.side);
  }

  effective(side) {
    return effective(this.catalog.preset ?? {}, { ...side.state, step: side.status.step });
  }

  frame(side) {
    if (side === this.side) this.legend.without(side.header.unavailable ?? {});
    this.lessons.notice();
    this.follows();
  }

  /** What stands beside the plane, drawn anew. */
  beside() {
    if (this.views.length) this.picture.show(this.side);
    this.redrawCharts();
  }

  status() {
    const { status, furthest, state } = this.side;
    this.controls.show(status, furthest, state.seed);
    const reached = this.sides().map((s) => s.state.changes?.filter((c) => c.step <= s.status.step).length).join();
    if (reached !== this.reached) {
      this.reached = reached;
      this.state();
    }
    this.picture.status(status);
    this.alarms.show(this.sides());
    const staged = Number.isInteger(status.stage);
    const caption = $("#caption");
    const said = staged ? `${status.stage + 1}/10 · ${t(`stage.${status.stage}`)}` : "";
    if (caption.textContent !== said) caption.textContent = said;
    caption.hidden = !staged;
  }

  /** Forms anew, but only where the settings are other ones. */
  state() {
    if (!this.views.length) return;
    const settings = this.settings();
    const said = JSON.stringify(settings);
    this.differences();
    if (said === this.changed) return;
    this.changed = said;
    this.lessons.notice();
    this.panel.show(this.part, settings);
    this.tiles.show(settings);
    const objective = String(settings.objective ?? "");
    this.picture.formulas(objective, this.catalog.objectives?.find((e) => e.name === parseSpec(objective).name));
  }

  /** Beside each of two sessions, what it has that the other has not. */
  differences() {
    if (this.views.length < 2) return;
    const [a, b] = this.sides().map((side) => this.effective(side));
    this.views.forEach((view, k) => {
      view.settings.textContent = differing(...(k ? [b, a] : [a, b])).join("  ");
      view.settings.title = view.settings.textContent;
    });
  }

  redraw() {
    this.views.forEach((v) => v.plane.redraw());
    this.redrawCharts();
    this.picture.pictures.noise.replaceChildren();
    if (this.views.length) this.picture.show(this.side);
  }

  /** Everything in another language. */
  speak() {
    this.controls.speak();
    this.picture.speak();
    this.views.forEach((v) => v.speak());
    this.lessons.speak();
    this.changed = null;
    if (this.views.length) {
      this.roles();
      this.state();
      this.status();
    }
    this.redrawCharts();
  }

  say(text) {
    $("#said").textContent = text;
  }

  refuse(text) {
    const toast = $("#toast");
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(this.hiding);
    this.hiding = setTimeout(() => {
      toast.hidden = true;
    }, 8000);
  }
}

// The bar above: which run, which seed, truncation, class, wandering.

import { el } from "../dom.js";
import { t } from "../words.js";
import { slider } from "./parts.js";
import { drift, moved, pointOf, seedOf } from "./state.js";

export const MOST_SEED = 99_999_999;
const SPEEDS = [0.1, 3, 0.6];

export class Controls {
  /** `world`: `{run, runs, facts, state(), change(patch), move(point), glide(point), open(run)}`. */
  constructor(root, world) {
    Object.assign(this, { root, world, speed: SPEEDS[2], playing: 0, moment: Math.random() * 1000 });
  }

  build() {
    const { world } = this;
    const { facts } = world;
    const group = (word, ...children) => el("div", { class: "group", role: "group", "aria-label": t(word) }, ...children);
    const runs = el("select", { id: "run", "aria-label": t("run"), onchange: () => world.open(runs.value) }, ...world.runs.map((name) => el("option", { value: name, selected: name === world.run }, name)));
    this.seed = el("input", { id: "seed", type: "number", min: 0, max: MOST_SEED, step: 1, onchange: () => this.go() });
    const other = el("button", { type: "button", id: "another", onclick: () => this.another() }, el("span", { "aria-hidden": "true" }, "⚄"), t("another"));
    this.play = el("button", { type: "button", id: "play", class: "primary", onclick: () => this.toggle() });
    const speed = slider(t("speed.word"), { min: SPEEDS[0], max: SPEEDS[1], step: 0.1, value: this.speed, text: (v) => `${v.toFixed(1)}×` }, (v) => (this.speed = v));
    const parts = [group("run", el("label", {}, t("run"), runs))];
    if (facts) {
      parts.push(group("group.seed", el("label", {}, t("seed"), this.seed), other), group("wander", this.play, speed.root));
      this.truncation = slider(t("truncation"), { min: 0, max: 2, step: 0.01, value: world.state().truncation, text: (v) => v.toFixed(2), title: t("truncation.title") }, (truncation) => world.change({ truncation }));
      if (facts.truncation) parts.push(group("truncation", this.truncation.root));
      if (facts.classes) parts.push(group("class", this.classes(facts.classes)));
      parts.push(group("pin", el("button", { type: "button", id: "pin", onclick: () => world.pin() }, t("pin"))));
    }
    this.root.replaceChildren(...parts);
    this.changed();
  }

  classes(names) {
    this.label = el("select", { id: "class", "aria-label": t("class"), onchange: () => this.world.change({ label: this.label.value || null }) },
      el("option", { value: "" }, t("class.any")), ...names.map((name) => el("option", { value: name }, name)));
    return el("label", {}, t("class"), this.label);
  }

  changed() {
    if (!this.world.facts) return;
    const { point, truncation, label } = this.world.state();
    const seed = seedOf(point);
    if (document.activeElement !== this.seed) this.seed.value = seed ?? "";
    this.seed.placeholder = seed === null ? t("seed.between") : "";
    this.truncation.set(truncation);
    if (this.label) this.label.value = label ?? "";
    const word = this.playing ? "pause" : "wander";
    this.play.textContent = `${this.playing ? "❚❚" : "▶"} ${t(word)}`;
  }

  go() {
    const seed = Math.round(Number(this.seed.value));
    if (this.seed.value !== "" && seed >= 0 && seed <= MOST_SEED) this.world.glide(pointOf(seed));
  }

  another() {
    this.world.glide(pointOf(Math.floor(Math.random() * 10_000)));
  }

  /** Wander smoothly through the plane, or stand still. */
  toggle() {
    if (this.playing) {
      cancelAnimationFrame(this.playing);
      this.playing = 0;
      return this.changed();
    }
    let last = performance.now();
    const go = (now) => {
      const seconds = Math.min(0.1, (now - last) / 1000);
      last = now;
      this.moment += seconds;
      this.playing = requestAnimationFrame(go);
      if (!document.hidden) this.world.move(moved(this.world.state().point, ...drift(this.moment, seconds, this.speed)));
    };
    this.playing = requestAnimationFrame(go);
    return this.changed();
  }

  stop() {
    if (this.playing) this.toggle();
  }
}

// The tray of pinned points, and the way between them.

import { el } from "../dom.js";
import { t } from "../words.js";
import { explorer } from "./api.js";
import { Newest } from "./newest.js";
import { picture, slider } from "./parts.js";
import { look, MOST_PINS, seedOf } from "./state.js";

/** Ways between two pins a second. */
const PACE = 0.4;

export class Tray {
  /** `world`: `{run, state(), change(patch), glide(point), say(text), refuse(error)}`. */
  constructor(root, world) {
    Object.assign(this, { root, world, run: world.run, playing: 0, drawn: "" });
    this.asker = new Newest((key) => this.thumbnails(key), { gap: 200, refused: world.refuse });
  }

  build() {
    this.drawn = "";
    this.list = el("ol", { class: "pins" });
    this.way = slider(t("between"), { min: 0, max: 1, step: 0.005, value: 0, text: (v) => v.toFixed(2) }, (at) => this.world.change({ at }));
    this.range = this.way.root.querySelector("input");
    this.play = el("button", { type: "button", id: "between-play", onclick: () => this.toggle() });
    const clear = el("button", { type: "button", class: "quiet", onclick: () => this.world.change({ pins: [], at: null }) }, t("pins.clear"));
    const back = el("button", { type: "button", class: "quiet", onclick: () => this.world.change({ at: null }) }, t("between.leave"));
    this.row = el("div", { class: "row between" }, this.play, this.way.root, back, clear);
    this.empty = el("p", { class: "hint" }, t("pins.none"));
    this.root.replaceChildren(el("h2", { class: "unseen" }, t("pins")), this.empty, this.list, this.row);
    this.changed();
  }

  changed() {
    const state = this.world.state();
    const { pins, at } = state;
    this.empty.hidden = pins.length > 1;
    this.empty.textContent = t(pins.length ? "pins.one" : "pins.none");
    this.row.hidden = pins.length < 2;
    this.range.max = Math.max(1, pins.length - 1);
    this.way.set(at ?? 0);
    this.root.classList.toggle("on-the-way", at !== null);
    this.play.textContent = `${this.playing ? "❚❚" : "▶"} ${t(this.playing ? "pause" : "between.play")}`;
    const key = JSON.stringify([pins, { ...look(state, null), point: 0 }]);
    if (key === this.drawn) return;
    this.drawn = key;
    if (pins.length < 2 && this.playing) this.toggle();
    this.fill(pins);
    if (pins.length) this.asker.ask(key);
  }

  fill(pins) {
    // As many canvases as before stay, so that nothing flickers while a slider is dragged.
    const focus = [...this.list.children].findIndex((item) => item.contains(document.activeElement));
    const olds = [...this.list.querySelectorAll("canvas")];
    this.list.replaceChildren(...pins.map((pin, k) => {
      const seed = seedOf(pin);
      const name = seed === null ? `${pin.x.toFixed(2)}, ${pin.y.toFixed(2)}` : t("seed.n", { n: seed });
      const shown = olds[k] ?? picture("");
      shown.setAttribute("aria-label", name);
      return el("li", {}, el("button", { type: "button", class: "thumb", title: t("pin.go", { name }), "aria-label": t("pin.go", { name }), onclick: () => this.world.glide(pin) }, shown, el("small", {}, `${k + 1} · ${name}`)),
        el("button", { type: "button", class: "quiet away", "aria-label": t("pin.remove", { name }), onclick: () => this.remove(k) }, "×"));
    }));
    if (focus >= 0) (this.list.children[Math.min(focus, pins.length - 1)]?.querySelector("button") ?? document.querySelector("#pin")).focus();
  }

  async thumbnails(key) {
    const state = this.world.state();
    const columns = Math.min(8, state.pins.length);
    if (!columns || this.world.run !== this.run) return;
    const sheet = await explorer.images(this.world.run, state.pins.map((pin) => look(state, pin)), { columns });
    if (key !== this.drawn) return;
    const [w, h] = [sheet.width / columns, sheet.height / Math.ceil(state.pins.length / columns)];
    [...this.list.querySelectorAll("canvas")].forEach((canvas, k) => {
      Object.assign(canvas, { width: w, height: h });
      canvas.getContext("2d").drawImage(sheet, (k % columns) * w, Math.floor(k / columns) * h, w, h, 0, 0, w, h);
    });
  }

  pin() {
    const { pins, point } = this.world.state();
    if (pins.length >= MOST_PINS) return this.world.say(t("pins.most", { n: MOST_PINS }));
    this.world.change({ pins: [...pins, point] });
    return this.world.say(t("pinned"));
  }

  remove(k) {
    const pins = this.world.state().pins.filter((_, i) => i !== k);
    this.world.change({ pins, at: null });
  }

  /** Go to and fro between the first pin and the last. */
  toggle() {
    if (this.playing) {
      cancelAnimationFrame(this.playing);
      this.playing = 0;
      return this.changed();
    }
    let [last, way] = [performance.now(), 1];
    const go = (now) => {
      const seconds = Math.min(0.1, (now - last) / 1000);
      last = now;
      const { at, pins } = this.world.state();
      const end = pins.length - 1;
      let next = (at ?? 0) + way * PACE * seconds;
      if (next >= end || next <= 0) way = next >= end ? -1 : 1;
      next = Math.max(0, Math.min(end, next));
      this.playing = requestAnimationFrame(go);
      if (!document.hidden) this.world.change({ at: next });
    };
    this.playing = requestAnimationFrame(go);
    return this.changed();
  }

  stop() {
    if (this.playing) this.toggle();
  }
}

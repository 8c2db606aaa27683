// Style mixing: some layers take the style of a second point.

import { el } from "../dom.js";
import { t } from "../words.js";
import { explorer } from "./api.js";
import { Newest } from "./newest.js";
import { card, picture, put } from "./parts.js";
import { look, pointOf, seedOf } from "./state.js";

export class Styles {
  constructor(world) {
    this.world = world;
    this.asker = new Newest(async (state) => put(this.source, await explorer.images(world.run, [look({ ...state, style: null }, state.style.point)], { enlarge: true })), { gap: 200, refused: world.refuse });
  }

  build() {
    const { world } = this;
    const { root, body } = card("styles", () => this.opened());
    const count = world.facts.styles;
    const button = (word, run) => el("button", { type: "button", onclick: run }, t(word));
    this.source = picture(t("style.source"));
    this.name = el("small", {});
    this.boxes = Array.from({ length: count }, (_, k) => el("input", { type: "checkbox", onchange: () => this.ticked(), "aria-label": t("style.layer", { n: k + 1 }) }));
    const third = (k) => this.set((i) => Math.floor((3 * i) / count) === k);
    body.append(el("div", { class: "style-source" }, this.source, el("div", { class: "stack" }, this.name,
      button("style.here", () => this.from(world.state().point)), button("another", () => this.from(pointOf(Math.floor(Math.random() * 10_000)))))),
      el("fieldset", { class: "style-layers" }, el("legend", { class: "hint" }, t("style.layers")), ...this.boxes.map((box, k) => el("label", {}, box, String(k + 1)))),
      el("div", { class: "row" }, button("style.coarse", () => third(0)), button("style.middle", () => third(1)), button("style.fine", () => third(2)), button("style.none", () => this.set(() => false))));
    if (world.state().style) root.open = true;
    return root;
  }

  opened() {
    if (!this.world.state().style) this.from(pointOf(1 + Math.floor(Math.random() * 99)));
    else this.changed(true);
  }

  from(point) {
    this.world.change({ style: { point, layers: this.world.state().style?.layers ?? [] } });
  }

  set(wanted) {
    this.boxes.forEach((box, k) => (box.checked = wanted(k)));
    this.ticked();
  }

  ticked() {
    const layers = this.boxes.flatMap((box, k) => (box.checked ? [k] : []));
    this.world.change({ style: { point: this.world.state().style.point, layers } });
  }

  changed(again = false) {
    const state = this.world.state();
    if (!state.style || !this.boxes) return;
    this.boxes.forEach((box, k) => (box.checked = state.style.layers.includes(k)));
    const seed = seedOf(state.style.point);
    this.name.textContent = seed === null ? t("style.between") : t("seed.n", { n: seed });
    const key = JSON.stringify([state.style.point, state.truncation, state.label, state.directions]);
    if (key === this.key && !again) return;
    this.key = key;
    this.asker.ask(state);
  }
}

// Principal directions of the latent space, each with a slider in standard deviations.

import { el } from "../dom.js";
import { t } from "../words.js";
import { explorer } from "./api.js";
import { card, slider, told } from "./parts.js";
import { FARTHEST } from "./state.js";

const FIRST = 8;

export class Directions {
  constructor(world) {
    Object.assign(this, { world, found: null, sliders: [], many: false });
  }

  build() {
    const { root, body } = card("directions", () => this.opened());
    this.body = body;
    if (this.found) this.show();
    if (this.world.wide || Object.keys(this.world.state().directions).length) root.open = true;
    return root;
  }

  async opened() {
    if (this.found || this.asking) return;
    this.asking = true;
    told(this.body, t("directions.looking"));
    try {
      this.found = await explorer.directions(this.world.run);
      this.show();
    } catch (error) {
      told(this.body, error.message, true);
    } finally {
      this.asking = false;
    }
  }

  show() {
    const { directions, space } = this.found;
    const now = this.world.state().directions;
    const text = (v) => `${v > 0 ? "+" : ""}${v.toFixed(1)} σ`;
    this.sliders = directions.slice(0, this.many ? directions.length : FIRST).map(({ share }, k) =>
      slider(t("direction", { k: k + 1, share: (100 * share).toFixed(share < 0.1 ? 1 : 0) }), { min: -FARTHEST, max: FARTHEST, step: 0.1, value: now[k] ?? 0, text }, (s) =>
        this.world.change({ directions: { ...this.world.state().directions, [k]: s } })));
    const more = directions.length > FIRST ? el("button", { type: "button", class: "quiet", onclick: () => this.more() }, t(this.many ? "fewer" : "more", { n: directions.length - FIRST })) : null;
    this.body.replaceChildren(el("p", { class: "hint" }, t(`space.${space}`)), ...this.sliders.map((s) => s.root),
      el("div", { class: "row" }, el("button", { type: "button", onclick: () => this.world.change({ directions: {} }) }, t("directions.reset")), more));
  }

  more() {
    this.many = !this.many;
    this.show();
    this.body.querySelector("button.quiet").focus();
  }

  changed() {
    const now = this.world.state().directions;
    this.sliders.forEach((s, k) => s.set(now[k] ?? 0));
  }
}

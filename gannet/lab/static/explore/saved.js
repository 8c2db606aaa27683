// The run's own sample grids: how it came to make what it makes.

import { el } from "../dom.js";
import { t } from "../words.js";
import { explorer } from "./api.js";
import { card, slider, told } from "./parts.js";

export class Saved {
  constructor(world) {
    Object.assign(this, { world, at: null });
  }

  build() {
    const { saved } = this.world.facts;
    const { root, body } = card("saved", () => this.show(this.at ?? saved.length - 1));
    this.image = el("img", { alt: "", class: "pixels" });
    if (!saved.length) {
      told(body, t("saved.none"));
      return root;
    }
    const text = (k) => t("at.samples", { n: saved[k].samples.toLocaleString("en") });
    const range = slider(t("saved.moment"), { min: 0, max: saved.length - 1, step: 1, value: this.at ?? saved.length - 1, text }, (k) => this.show(k));
    body.append(range.root, this.image);
    return root;
  }

  show(k) {
    const found = this.world.facts.saved[k];
    if (!found) return;
    this.at = k;
    this.image.src = explorer.saved(this.world.run, found.index);
    this.image.alt = t("saved.alt", { n: found.samples.toLocaleString("en") });
  }

  changed() {}
}

// The nearest training images: is what one sees learned by heart?

import { el } from "../dom.js";
import { short } from "../scale.js";
import { t } from "../words.js";
import { bitmap, explorer } from "./api.js";
import { card, picture, put, told } from "./parts.js";
import { look, verdict } from "./state.js";

const SHOWN = 8;

export class Nearest {
  constructor(world) {
    this.world = world;
  }

  build() {
    const { root, body } = card("nearest", () => this.found || this.ask());
    Object.assign(this, { root, body });
    if (this.found) this.show();
    return root;
  }

  async ask() {
    const { train } = this.world.facts;
    if (train.why) return told(this.body, t("nearest.not", { why: train.why }), true);
    const asked = look(this.world.state());
    if (!this.found) told(this.body, t("nearest.looking", { n: train.count.toLocaleString("en") }));
    try {
      this.found = { ...(await explorer.nearest(this.world.run, asked, SHOWN)), key: JSON.stringify(asked) };
    } catch (error) {
      return told(this.body, error.message, true);
    }
    return this.show();
  }

  show() {
    const { neighbours, ratio, typical } = this.found;
    const said = verdict(ratio);
    const images = neighbours.map(({ distance, index, png }) => {
      const canvas = picture(t("nearest.image", { index, distance: short(distance) }));
      bitmap(png).then((found) => put(canvas, found));
      return el("figure", {}, canvas, el("small", {}, `№ ${index} · ${short(distance)}`));
    });
    this.old = el("p", { class: "hint", hidden: true }, t("nearest.old"));
    this.body.replaceChildren(el("p", { class: `verdict ${said}`, role: "status" }, t(`verdict.${said}`, { ratio: short(ratio ?? NaN) })),
      el("p", { class: "hint" }, t("nearest.typical", { typical: short(typical ?? NaN), n: this.world.facts.train.count?.toLocaleString("en") ?? "?" })),
      el("div", { class: "neighbours" }, ...images), this.old, el("div", { class: "row" }, el("button", { type: "button", onclick: () => this.ask() }, t("nearest.again"))));
    this.changed();
  }

  changed() {
    if (this.old) this.old.hidden = !this.found || this.found.key === JSON.stringify(look(this.world.state()));
  }
}

// What the layers of the generator hold while they make this image.

import { el } from "../dom.js";
import { short } from "../scale.js";
import { t } from "../words.js";
import { bitmap, explorer } from "./api.js";
import { Newest, settled } from "./newest.js";
import { card, picture, put, told } from "./parts.js";
import { look } from "./state.js";

export class Activations {
  constructor(world) {
    this.world = world;
    this.asker = new Newest((asked) => this.fetch(asked), { gap: 150, refused: (error) => told(this.shown, error.message, true) });
    this.rest = settled(() => this.ask(), 250);
  }

  build() {
    const { layers } = this.world.facts;
    const { root, body } = card("activations", () => this.ask(true));
    this.layer ??= layers[Math.floor((layers.length - 1) / 2)]?.name;
    const choice = el("select", { onchange: () => {
      this.layer = choice.value;
      this.ask(true);
    } }, ...layers.map(({ name, shape }) => el("option", { value: name, selected: name === this.layer }, `${name} · ${shape.join(" × ")}`)));
    this.canvas = picture(t("card.activations"));
    this.shown = el("p", { class: "hint", role: "status" });
    body.append(el("label", { class: "field" }, t("activations.layer"), choice), this.canvas, this.shown);
    Object.assign(this, { root, key: "" });
    return root;
  }

  ask(again = false) {
    const asked = { look: look(this.world.state()), layer: this.layer };
    const key = JSON.stringify(asked);
    if (!this.root.open || !this.layer || (key === this.key && !again)) return;
    this.key = key;
    this.asker.ask(asked);
  }

  async fetch({ look: seen, layer }) {
    const found = await explorer.activations(this.world.run, seen, layer);
    put(this.canvas, await bitmap(found.png));
    const words = t("activations.said", { n: found.channels, mean: short(found.mean), sd: short(found.sd), max: short(found.max), dead: (100 * found.dead).toFixed(0) });
    this.shown.textContent = words;
    this.canvas.setAttribute("aria-label", `${layer}: ${words}`);
  }

  changed() {
    if (this.root?.open) this.rest();
  }
}

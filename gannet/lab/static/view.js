// One session on the page: its plane, and its measures in words.

import { el } from "./dom.js";
import { Plane } from "./plane.js";
import { short } from "./scale.js";
import { t } from "./words.js";

export class View {
  /** `choose(side)` makes it the one that the forms act on. */
  constructor(side, shown, palette, choose) {
    this.side = side;
    this.canvas = el("canvas", { class: "plane", role: "img", tabindex: "0", id: `plane-${side.name}` });
    this.tab = el("button", { type: "button", class: "tab", "aria-pressed": "true", onclick: () => choose(side) }, side.name);
    this.settings = el("span", { class: "hint" });
    this.head = el("div", { class: "plane-head" }, this.tab, this.settings);
    this.readout = el("dl", { class: "readout" });
    this.root = el("figure", { class: "plane-figure" }, this.head, this.canvas, this.readout);
    this.plane = new Plane(this.canvas, side, shown, palette);
    side.addEventListener("frame", () => this.frame());
    side.addEventListener("state", () => this.measure());
  }

  frame() {
    this.plane.redraw();
    this.measure();
  }

  /** The measures as a list, and the plane's label for those who do not see it. */
  measure() {
    const { measures = {}, outside } = this.side.header;
    const floor = measures.floor ?? {};
    const rows = [];
    const put = (key, value, note, good) => rows.push([t(`measure.${key}`), value, note, good]);
    if (measures.of) put("modes", `${measures.modes} / ${measures.of}`, null, measures.modes === measures.of);
    if (Number.isFinite(measures.high_quality)) put("quality", `${Math.round(100 * measures.high_quality)} %`, null, measures.high_quality > 0.9);
    for (const key of ["kl", "js", "sliced"]) {
      if (!Number.isFinite(measures[key])) continue;
      const band = floor[key];
      put(key, short(measures[key]), band && t("floor", { low: short(band[0]), high: short(band[1]) }), band && measures[key] <= band[1]);
    }
    if (outside) put("outside", String(outside), t("outside.note"), false);
    const said = JSON.stringify(rows);
    if (said === this.said) return;
    this.said = said;
    this.readout.replaceChildren(...rows.map(([name, value, note, good]) =>
      el("div", { class: good ? "good" : undefined, title: note ?? undefined }, el("dt", {}, name), el("dd", {}, value, good ? el("span", { class: "tick" }, " ✓") : null), note ? el("small", {}, note) : null)));
    this.canvas.setAttribute("aria-label", [t("plane.label"), ...rows.map(([name, value]) => `${name} ${value}`)].join(", "));
  }

  speak() {
    this.said = null;
    this.measure();
  }

  /** Whether it is one of two, and whether the forms act on it. */
  role(many, active) {
    this.head.hidden = !many;
    this.root.classList.toggle("active", many && active);
    this.tab.setAttribute("aria-pressed", String(active));
    this.tab.setAttribute("aria-label", t("side", { name: this.side.name }));
  }
}

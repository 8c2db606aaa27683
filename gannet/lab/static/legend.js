// The layers' switches, which are the legend too: each with the mark it draws.

import { el, svg } from "./dom.js";
import { t } from "./words.js";

/** Layers the browser draws from what is sent anyway. */
const OWN = new Set(["real", "fake"]);
/** Layers that the picture of the model shows whether the plane does or not. */
const PICTURED = new Set(["heat", "manifold"]);
const ON = new Set(["heat", "real", "fake", "arrows"]);
export const LAYERS = ["real", "fake", "heat", "arrows", "manifold", "trajectories", "optimal", "r1", "field"];

const MARKS = {
  real: [["circle", { cx: 8, cy: 8, r: 3.4, class: "fill real" }]],
  fake: [["rect", { x: 5, y: 5, width: 6, height: 6, class: "fill fake" }]],
  heat: [["rect", { x: 0, y: 2, width: 6, height: 12, class: "heat-low" }], ["rect", { x: 6, y: 2, width: 5, height: 12, class: "heat-middle" }], ["rect", { x: 10, y: 2, width: 6, height: 12, class: "heat-high" }]],
  optimal: [["path", { d: "M1 12C6 12 6 4 15 4", class: "line ink dashed" }]],
  r1: [["circle", { cx: 5, cy: 9, r: 3, class: "line r1" }], ["circle", { cx: 12, cy: 7, r: 1.6, class: "line r1" }]],
  field: [["path", { d: "M1 12L8 9M5 9L8 9L6.6 11.4M8 6L15 3M12 3L15 3L13.6 5.4", class: "line faint" }]],
  manifold: [["path", { d: "M1 3L15 1M1 8L15 7M1 13L15 14M3 2V14M8 2V14M13 2V14", class: "line manifold" }]],
  trajectories: [["path", { d: "M1 13C4 5 8 13 15 3", class: "line fake" }]],
  arrows: [["path", { d: "M1 13L14 3M9 3L14 3L12.6 8", class: "line ink" }]],
};

export class Legend {
  /** `changed(asked)` is called with the layers that the server is to send. */
  constructor(root, changed) {
    this.on = Object.fromEntries(LAYERS.map((name) => [name, ON.has(name)]));
    this.boxes = {};
    for (const name of LAYERS) {
      const box = el("input", { type: "checkbox", name, onchange: () => this.set(name, box.checked, changed) });
      box.checked = this.on[name];
      this.boxes[name] = box;
      const swatch = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, ...MARKS[name].map(([kind, attributes]) => svg(kind, attributes)));
      root.append(el("label", { class: "layer" }, box, swatch, el("span", { "data-word": `layer.${name}` })));
      if (name === "manifold") root.append(this.folds());
    }
  }

  /** Say of the layers that this game cannot have why: `{layer: reason}`. */
  without(reasons) {
    const said = JSON.stringify(reasons);
    if (said === this.said) return;
    this.said = said;
    for (const [name, box] of Object.entries(this.boxes)) {
      box.parentElement.classList.toggle("missing", name in reasons);
      box.parentElement.title = reasons[name] ?? "";
    }
  }

  folds() {
    const fold = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: "M2 2H14V14H2zM2 2L14 14M14 2L2 14", class: "line fold" }));
    return el("span", { class: "layer key" }, fold, el("span", { "data-word": "layer.folds" }));
  }

  set(name, on, changed) {
    this.on[name] = on;
    this.boxes[name].checked = on;
    changed(this.asked());
  }

  /** Take the switches of a shared link. */
  take(on) {
    for (const name of LAYERS) if (typeof on?.[name] === "boolean") {
      this.on[name] = on[name];
      this.boxes[name].checked = on[name];
    }
  }

  flip(number, changed) {
    const name = LAYERS[number];
    if (name) this.set(name, !this.on[name], changed);
    return name && `${t(`layer.${name}`)}: ${t(this.on[name] ? "on" : "off")}`;
  }

  asked() {
    return Object.fromEntries(LAYERS.filter((name) => !OWN.has(name)).map((name) => [name, this.on[name] || PICTURED.has(name)]));
  }
}

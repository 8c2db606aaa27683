// InfoGAN's codes: the colours of the fakes' codes, and buttons that hold one code and show what it makes.

import { el } from "./dom.js";
import { at } from "./settings.js";
import { parseSpec, splitTop } from "./spec.js";
import { t } from "./words.js";

/** How many values the first category of a task's text has, and how many continuous codes there are. Pure. */
export function codesOf(task) {
  const { name, args } = parseSpec(task ?? "");
  if (name !== "infogan") return { categories: 0, continuous: 0 };
  const list = splitTop(String(args.categories ?? "[10]").replace(/^[[(]|[\])]$/g, ""));
  return { categories: Number(list[0] ?? 0), continuous: Number(args.continuous ?? 2) };
}

export class Codes {
  constructor(lab) {
    this.lab = lab;
    this.held = { category: null, continuous: null };
    this.root = el("div", { class: "codes", role: "group", "aria-label": t("codes.label") });
    this.said = "";
  }

  /** Buttons and slider for the codes of the game there is now. */
  notice() {
    const { categories, continuous } = codesOf(at(this.lab.settings(), "task", ""));
    const said = JSON.stringify([categories, continuous]);
    if (said === this.said) return;
    this.said = said;
    const colours = this.lab.palette().codes;
    const buttons = Array.from({ length: categories }, (_, k) => {
      const swatch = el("i", { class: "swatch" });
      swatch.style.background = colours[k % colours.length];
      return el("button", { type: "button", "aria-pressed": String(this.held.category === k), onclick: () => this.hold({ category: this.held.category === k ? null : k }) },
        swatch, t("codes.code", { n: k + 1 }));
    });
    const slider = el("input", { type: "range", min: -1, max: 1, step: 0.1, value: this.held.continuous ?? 0, "aria-label": t("codes.continuous"), oninput: () => this.hold({ continuous: Number(slider.value) }) });
    this.root.replaceChildren(...buttons, ...(continuous ? [el("label", { class: "field" }, el("span", {}, t("codes.continuous")), slider)] : []));
  }

  hold(change) {
    Object.assign(this.held, change);
    for (const [k, button] of [...this.root.querySelectorAll("button")].entries()) button.setAttribute("aria-pressed", String(k === this.held.category));
    this.lab.one("codes", this.held);
  }

  leave() {
    if (this.held.category !== null || this.held.continuous !== null) this.lab.one("codes", {});
  }
}

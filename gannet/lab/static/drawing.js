// Drawing one's own data: a brush that sprays points, an eraser, the keyboard as well as the pointer.

import { el, surface } from "./dom.js";
import { linear, ticks } from "./scale.js";
import { t } from "./words.js";

export const MOST = 4000;
const BRUSH = 0.025;

/** `points` without those within `radius` of `[x, y]`. Pure. */
export const erased = (points, [x, y], radius) => points.filter(([a, b]) => Math.hypot(a - x, b - y) > radius);

/** Every `k`-th of too many points, so that at most `most` are left. Pure. */
export function thinnedTo(points, most) {
  return points.length <= most ? points : Array.from({ length: most }, (_, i) => points[Math.floor((i * points.length) / most)]);
}

export class Drawing {
  /** `use(points)` gets `[[x, y], …]` in the unit square. */
  constructor(use, palette) {
    this.use = use;
    this.palette = palette;
    this.points = [];
    this.tool = "draw";
    this.cursor = [0.5, 0.5];
  }

  open() {
    this.dialog ??= this.build();
    this.speak();
    this.dialog.showModal();
    this.canvas.focus();
    this.draw();
  }

  build() {
    this.canvas = el("canvas", { class: "sheet", tabindex: "0", role: "application" });
    this.canvas.addEventListener("pointerdown", (e) => {
      this.canvas.setPointerCapture(e.pointerId);
      this.stroke(e);
    });
    this.canvas.addEventListener("pointermove", (e) => e.buttons && this.stroke(e));
    this.canvas.addEventListener("keydown", (e) => this.key(e));
    this.tools = ["draw", "erase"].map((tool) => el("button", { type: "button", "data-tool": tool, onclick: () => this.choose(tool) }));
    this.clear = el("button", { type: "button", onclick: () => this.keep([]) });
    this.cancel = el("button", { type: "button", onclick: () => this.dialog.close() });
    this.done = el("button", { type: "button", class: "primary", onclick: () => this.finish() });
    this.title = el("h2");
    this.count = el("span", { class: "hint", "aria-live": "polite" });
    this.help = el("p", { class: "hint" });
    const dialog = el("dialog", { class: "drawing" }, this.title, this.help, this.canvas,
      el("div", { class: "row" }, ...this.tools, this.clear, this.count), el("div", { class: "row end" }, this.cancel, this.done));
    document.body.append(dialog);
    return dialog;
  }

  speak() {
    this.title.textContent = t("data.draw.title");
    this.help.textContent = t("data.draw.help");
    this.canvas.setAttribute("aria-label", t("data.draw.help"));
    for (const tool of this.tools) tool.textContent = t(`data.${tool.dataset.tool}`);
    this.clear.textContent = t("data.clear");
    this.cancel.textContent = t("cancel");
    this.done.textContent = t("data.use");
    this.choose(this.tool);
  }

  choose(tool) {
    this.tool = tool;
    for (const button of this.tools) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  }

  stroke(event) {
    this.cursor = [event.offsetX / this.canvas.clientWidth, 1 - event.offsetY / this.canvas.clientHeight];
    this.mark(this.tool);
  }

  /** Spray or erase where the cursor is. */
  mark(tool) {
    if (tool === "erase") return this.keep(erased(this.points, this.cursor, 2 * BRUSH));
    const jitter = () => BRUSH * (Math.random() + Math.random() + Math.random() - 1.5);
    const sprayed = Array.from({ length: 6 }, () => [this.cursor[0] + jitter(), this.cursor[1] + jitter()]);
    return this.keep([...this.points, ...sprayed.filter((p) => p.every((v) => v >= 0 && v <= 1))]);
  }

  key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (move) this.cursor = this.cursor.map((v, k) => Math.max(0, Math.min(1, v + 0.02 * move[k])));
    else if (event.key === " ") this.mark("draw");
    else if (event.key === "Backspace" || event.key === "Delete") this.mark("erase");
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.draw();
  }

  keep(points) {
    this.points = thinnedTo(points, MOST);
    this.draw();
  }

  draw() {
    const { pen, width, height } = surface(this.canvas);
    const colour = this.palette();
    const [x, y] = [linear(0, 1, 0, width), linear(0, 1, height, 0)];
    pen.strokeStyle = colour.rule;
    pen.beginPath();
    for (const v of ticks(0.25, 0.75, 2)) {
      pen.moveTo(x(v), 0);
      pen.lineTo(x(v), height);
      pen.moveTo(0, y(v));
      pen.lineTo(width, y(v));
    }
    pen.stroke();
    pen.fillStyle = colour.real;
    for (const [a, b] of this.points) pen.fillRect(x(a) - 1.5, y(b) - 1.5, 3, 3);
    pen.strokeStyle = colour.ink;
    pen.beginPath();
    pen.arc(x(this.cursor[0]), y(this.cursor[1]), BRUSH * width * (this.tool === "erase" ? 2 : 1), 0, 7);
    pen.stroke();
    this.count.textContent = t("data.count", { n: this.points.length });
    this.done.disabled = this.points.length < 2;
  }

  finish() {
    this.dialog.close();
    this.use(this.points.map((p) => p.map((v) => Number(v.toFixed(4)))));
  }
}

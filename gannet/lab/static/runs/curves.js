// Curves over samples: the playground's charts, for lines of any run.

import { Chart } from "../charts.js";
import { has, t } from "../words.js";

/** Colours of the theme that colour-blind eyes tell apart; from the seventh on the same ones dashed. */
export const INKS = ["real", "fake", "manifold", "fold", "discriminator", "ink"];
export const ink = (k) => ({ ink: INKS[k % INKS.length], dash: k >= INKS.length ? [6, 3] : [] });

/** A role of the networks as people call it. */
export const roleName = (role) => (has(`line.${role}`) ? t(`line.${role}`) : role);

/** A single value, of which no line can be drawn, as a short dash that ends at it. */
const seenAlone = (points) => (points.length === 1 ? [[0.97 * points[0][0], points[0][1]], points[0]] : points);

export class Curves extends Chart {
  /** `found()` gives the lines: `[{label, ink, dash, points}]`; `title()` what stands above them. */
  constructor(title, found, palette, kind = {}) {
    super({ name: "curves", lines: [], ...kind }, () => [], palette);
    Object.assign(this, { title, found });
    this.heading = this.figure.querySelector("strong");
    this.heading.removeAttribute("data-word");
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => this.point(null));
  }

  lines(colour) {
    return this.found().map((line) => ({ ...line, points: seenAlone(line.points), colour: colour[line.ink], now: Infinity }));
  }

  bands() {
    return [];
  }

  describe(lines) {
    this.heading.textContent = this.title();
    super.describe(lines);
    this.canvas.setAttribute("aria-label", `${this.title()}: ${this.said.replaceAll(",", ", ") || t("empty")}`);
  }

  /** The arrow keys move the line at which values are read. */
  key(event) {
    const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (!by) return;
    event.preventDefault();
    const width = this.canvas.clientWidth;
    this.point(Math.max(0, Math.min(width, (this.hover ?? width / 2) + by * width)));
  }
}

// The Dirac-GAN's phase plot: the way of (θ, ψ), drawn from the weights of the engine, and the eigenvalues at its rest.

import { el, onceARefresh, surface } from "./dom.js";
import { linear, short, ticks } from "./scale.js";
import { t } from "./words.js";

/** Half the side of the plot: the smallest of these that shows the whole way. Pure. */
export function reach(points) {
  const farthest = Math.max(0, ...points.map(([x, y]) => Math.max(Math.abs(x), Math.abs(y))));
  return [0.5, 1, 1.5, 2, 3, 5, 10, 20, 50].find((r) => farthest <= 0.95 * r) ?? 1.1 * farthest;
}

/** What a pair of eigenvalues says of the game near its rest: "settles", "circles" or "flees". Pure. */
export function fate(eigenvalues) {
  const largest = Math.max(...eigenvalues.map(([re]) => re));
  return largest < -1e-6 ? "settles" : largest > 1e-6 ? "flees" : "circles";
}

/** `−0.05 ± 0.50i`. Pure. */
export function written([[re, im], [other]]) {
  const number = (v) => v.toFixed(2).replace("-", "−").replace("−0.00", "0.00");
  if (Math.abs(im) < 1e-9) return Math.abs(re - other) < 5e-3 ? number(re) : `${number(re)}, ${number(other)}`;
  return `${number(re)} ± ${number(Math.abs(im))}i`;
}

export class Phase {
  constructor(lab) {
    this.lab = lab;
    this.canvas = el("canvas", { class: "phase", role: "img", tabindex: "0" });
    this.values = el("p", { class: "phase-values", "aria-live": "polite" });
    this.root = el("figure", { class: "phase-figure" }, this.canvas, this.values);
    this.notice = onceARefresh(() => this.draw());
    this.watching = new ResizeObserver(this.notice);
    this.watching.observe(this.canvas);
    this.wide = 0;
  }

  leave() {
    this.watching.disconnect();
  }

  /** `[[θ, ψ], …]` up to the present step, the newest last. */
  way() {
    const { losses, status, header } = this.lab.side;
    const rows = losses.rows.filter((r) => Number.isFinite(r.theta) && Number.isFinite(r.psi) && r.step <= status.step);
    const now = header.phase ? [[header.phase.theta, header.phase.psi]] : [];
    return [...rows.map((r) => [r.theta, r.psi]), ...now];
  }

  draw() {
    const { pen, width, height } = surface(this.canvas);
    const colour = this.lab.palette();
    const points = this.way();
    const r = reach(points);
    const side = Math.min(width - 50, height - 30);
    const [left, top] = [(width - side) / 2, 6];
    const [x, y] = [linear(-r, r, left, left + side), linear(-r, r, top + side, top)];
    this.axes(pen, x, y, r, { left, top, side }, colour);
    pen.lineWidth = 1.4;
    pen.lineJoin = "round";
    pen.strokeStyle = colour.discriminator;
    // The older, the paler.
    const pieces = 12;
    for (let k = 0; k < pieces; k++) {
      const part = points.slice(Math.floor((k * points.length) / pieces), Math.floor(((k + 1) * points.length) / pieces) + 1);
      pen.globalAlpha = 0.25 + (0.75 * (k + 1)) / pieces;
      pen.beginPath();
      for (const [a, b] of part) pen.lineTo(x(a), y(b));
      pen.stroke();
    }
    pen.globalAlpha = 1;
    if (points.length) {
      pen.fillStyle = colour.fake;
      pen.beginPath();
      pen.arc(x(points.at(-1)[0]), y(points.at(-1)[1]), 4.5, 0, 2 * Math.PI);
      pen.fill();
    }
    this.say(points.at(-1));
  }

  axes(pen, x, y, r, { left, top, side }, colour) {
    pen.strokeStyle = colour.rule;
    pen.lineWidth = 1;
    pen.strokeRect(left + 0.5, top + 0.5, side, side);
    pen.beginPath();
    pen.moveTo(x(0), top);
    pen.lineTo(x(0), top + side);
    pen.moveTo(left, y(0));
    pen.lineTo(left + side, y(0));
    pen.stroke();
    pen.fillStyle = colour.faint;
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const v of ticks(-r, r, 4)) pen.fillText(short(v), x(v), top + side + 4);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const v of ticks(-r, r, 4)) pen.fillText(short(v), left - 5, y(v));
    pen.fillStyle = colour.ink;
    pen.font = "italic 15px Georgia, serif";
    pen.textAlign = "right";
    pen.fillText("θ", left + side - 6, y(0) - 11);
    pen.textAlign = "left";
    pen.fillText("ψ", x(0) + 7, top + 12);
    pen.beginPath();
    pen.strokeStyle = colour.real;
    pen.lineWidth = 2;
    pen.moveTo(x(0) - 5, y(0));
    pen.lineTo(x(0) + 5, y(0));
    pen.moveTo(x(0), y(0) - 5);
    pen.lineTo(x(0), y(0) + 5);
    pen.stroke();
  }

  say(last) {
    const eigenvalues = this.lab.side.header.phase?.eigenvalues ?? [];
    const found = eigenvalues.length === 2 ? `λ = ${written(eigenvalues)} · ${t(`phase.${fate(eigenvalues)}`)}` : t("phase.unknown");
    if (this.values.textContent !== found) this.values.textContent = found;
    const place = last ? `θ ${short(last[0])}, ψ ${short(last[1])}` : t("empty");
    this.canvas.setAttribute("aria-label", `${t("phase.label")}: ${place}`);
  }
}

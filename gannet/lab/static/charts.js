// Losses and measures over time: small line charts with the band of reals against reals.

import { el, onceARefresh, surface } from "./dom.js";
import { linear, short, ticks } from "./scale.js";
import { t } from "./words.js";

const LOSSES = { name: "losses", from: "losses", lines: [["discriminator", "discriminator"], ["generator", "generator"]] };
const MODES = {
  name: "modes", from: "measures", range: [0, 1.02],
  lines: [["covered", "real"], ["high_quality", "manifold"]],
};
const DIVERGENCE = { name: "divergence", from: "measures", least: 0, lines: [["kl", "arrow"], ["js", "r1"]], band: ["kl", "js"] };
const SLICED = { name: "sliced", from: "measures", least: 0, lines: [["sliced", "generator"]], band: ["sliced"] };
export const CHARTS = [LOSSES, MODES, DIVERGENCE, SLICED];

/** Derived columns: the share of modes that are covered. */
const value = (row, key) => (key === "covered" ? (row.of ? row.modes / row.of : NaN) : row[key]);

export class Chart {
  constructor(kind, sides, palette) {
    Object.assign(this, { kind, sides, palette });
    this.canvas = el("canvas", { class: "chart", role: "img", tabindex: "0" });
    this.legend = el("span", { class: "chart-legend" });
    this.figure = el("figure", { "data-chart": kind.name }, el("figcaption", {}, el("strong", { "data-word": `chart.${kind.name}` }), this.legend), this.canvas);
    this.redraw = onceARefresh(() => this.draw());
    this.hover = null;
    new ResizeObserver(this.redraw).observe(this.canvas);
    this.canvas.addEventListener("pointermove", (e) => this.point(e.offsetX));
    this.canvas.addEventListener("pointerleave", () => this.point(null));
  }

  point(x) {
    this.hover = x;
    this.redraw();
  }

  /** Lines of every side: `{label, colour, dash, points: [[step, value]], now}`. */
  lines(colour) {
    const many = this.sides().length > 1;
    return this.sides().flatMap((side, s) =>
      this.kind.lines.map(([key, ink]) => ({
        label: t(`line.${key}`) + (many ? ` ${side.name}` : ""),
        colour: colour[ink],
        dash: s ? [5, 3] : [],
        now: side.status?.step ?? 0,
        points: side[this.kind.from].rows.map((r) => [r.step, value(r, key)]).filter(([, v]) => Number.isFinite(v)),
      })),
    );
  }

  /** `{low, high, colour}` of the real-against-real bands of the first side's newest measure. */
  bands(colour) {
    const floor = this.sides()[0]?.measures.last?.floor ?? {};
    return (this.kind.band ?? []).filter((k) => floor[k]).map((k) => ({
      low: floor[k][0], high: floor[k][1], colour: colour[this.kind.lines.find(([key]) => key === k)[1]],
    }));
  }

  draw() {
    const { pen, width, height } = surface(this.canvas);
    const colour = this.palette();
    const lines = this.lines(colour);
    const bands = this.bands(colour);
    this.describe(lines);
    const box = { left: 38, right: width - 6, top: 6, bottom: height - 18 };
    const steps = lines.flatMap((l) => (l.points.length ? [l.points[0][0], l.points.at(-1)[0]] : []));
    const last = Math.max(10, ...steps);
    const x = linear(Math.min(0, ...steps), last, box.left, box.right);
    const [low, high] = this.kind.range ?? range(lines, bands, this.kind.least);
    const y = linear(low, high, box.bottom, box.top);
    grid(pen, box, x, y, [0, last], [low, high], colour);
    for (const band of bands) {
      pen.globalAlpha = 0.16;
      pen.fillStyle = band.colour;
      pen.fillRect(box.left, y(band.high), box.right - box.left, Math.max(2, y(band.low) - y(band.high)));
      pen.globalAlpha = 1;
    }
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top - 2, box.right - box.left, box.bottom - box.top + 4);
    pen.clip();
    for (const line of lines) stroke(pen, x, y, line);
    pen.restore();
    const now = x(lines[0]?.now ?? 0);
    if (lines[0]?.points.length && now < box.right - 1) rule(pen, now, box, colour.faint);
    if (!lines.some((l) => l.points.length)) empty(pen, box, t(this.sides()[0]?.measures.last ? `empty.${this.kind.from}` : "empty"), colour.faint);
    if (this.hover !== null) this.reading(pen, x, box, lines, colour);
  }

  /** The legend with the newest values, also what a screen reader is told. */
  describe(lines) {
    const texts = lines.map((l) => `${l.label} ${short(l.points.at(-1)?.[1] ?? NaN)}`);
    if (this.said === texts.join()) return;
    this.said = texts.join();
    this.legend.replaceChildren(...lines.map((l, k) => {
      const mark = el("i", { class: l.dash.length ? "mark dashed" : "mark" });
      mark.style.borderTopColor = l.colour;
      return el("span", {}, mark, texts[k]);
    }));
    this.canvas.setAttribute("aria-label", `${t(`chart.${this.kind.name}`)}: ${texts.join(", ")}`);
  }

  reading(pen, x, box, lines, colour) {
    const px = Math.max(box.left, Math.min(box.right, this.hover));
    rule(pen, px, box, colour.faint);
    const step = x.inverse(px);
    const found = lines.map((l) => [l, l.points.findLast?.(([s]) => s <= step)]).filter(([, p]) => p);
    const texts = [`${Math.round(step)}`, ...found.map(([l, p]) => `${l.label} ${short(p[1])}`)];
    pen.font = "11px system-ui, sans-serif";
    const wide = Math.max(...texts.map((s) => pen.measureText(s).width)) + 10;
    const left = px + wide + 8 > box.right ? px - wide - 6 : px + 6;
    pen.fillStyle = colour.paper;
    pen.globalAlpha = 0.92;
    pen.fillRect(left, box.top, wide, 15 * texts.length + 4);
    pen.globalAlpha = 1;
    pen.fillStyle = colour.ink;
    pen.textAlign = "left";
    pen.textBaseline = "top";
    texts.forEach((s, k) => pen.fillText(s, left + 5, box.top + 4 + 15 * k));
  }
}

/** Values from the 1st to the 99th percentile, with the bands and a little air. */
function range(lines, bands, least) {
  const all = lines.flatMap((l) => l.points.map(([, v]) => v)).sort((a, b) => a - b);
  const ends = bands.flatMap((b) => [b.low, b.high]);
  if (!all.length && !ends.length) return [0, 1];
  const cut = (q) => all[Math.round(q * (all.length - 1))];
  const low = least ?? Math.min(...(all.length ? [cut(0.01)] : []), ...ends);
  const high = Math.max(...(all.length ? [cut(0.99)] : []), ...ends);
  const air = 0.08 * (high - low || Math.abs(high) || 1);
  return [least ?? low - air, high + air];
}

function grid(pen, box, x, y, [first, last], [low, high], colour) {
  pen.font = "10.5px system-ui, sans-serif";
  pen.fillStyle = colour.faint;
  pen.strokeStyle = colour.rule;
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const v of ticks(low, high, 3)) {
    const py = Math.round(y(v)) + 0.5;
    pen.beginPath();
    pen.moveTo(box.left, py);
    pen.lineTo(box.right, py);
    pen.stroke();
    pen.fillText(short(v), box.left - 5, py);
  }
  pen.textBaseline = "top";
  pen.textAlign = "center";
  for (const v of ticks(first, last, 3)) {
    pen.fillText(short(v), Math.max(box.left + 4, Math.min(x(v), box.right - 10)), box.bottom + 5);
  }
}

/** A line, thinned to the least and greatest of every pixel; what lies after the present step is faint. */
function stroke(pen, x, y, { points, colour, dash, now }) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.4;
  pen.lineJoin = "round";
  pen.setLineDash(dash);
  for (const future of [false, true]) {
    const part = points.filter(([s]) => (future ? s >= now : s <= now));
    pen.globalAlpha = future ? 0.3 : 1;
    pen.beginPath();
    for (const [s, v] of thinned(part, x)) pen.lineTo(x(s), y(v));
    pen.stroke();
  }
  pen.globalAlpha = 1;
  pen.setLineDash([]);
}

/** At most two points a pixel, its least and its greatest, in order. Pure. */
export function thinned(points, x) {
  const out = [];
  for (let i = 0; i < points.length; ) {
    const pixel = Math.floor(x(points[i][0]));
    let [low, high] = [points[i], points[i]];
    for (; i < points.length && Math.floor(x(points[i][0])) === pixel; i++) {
      if (points[i][1] < low[1]) low = points[i];
      if (points[i][1] > high[1]) high = points[i];
    }
    out.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
  }
  return out;
}

function empty(pen, box, text, colour) {
  pen.fillStyle = colour;
  pen.font = "italic 13px Georgia, serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(text, (box.left + box.right) / 2, (box.top + box.bottom) / 2);
}

function rule(pen, px, box, colour) {
  pen.strokeStyle = colour;
  pen.setLineDash([2, 3]);
  pen.beginPath();
  pen.moveTo(px, box.top);
  pen.lineTo(px, box.bottom);
  pen.stroke();
  pen.setLineDash([]);
}

/** All charts inside `root`; returns what draws them anew. */
export function charts(root, sides, palette) {
  const all = CHARTS.map((kind) => new Chart(kind, sides, palette));
  root.append(...all.map((c) => c.figure));
  return () => all.forEach((c) => {
    c.said = null;
    c.redraw();
  });
}

/** One picture of several canvases below one another, on the theme's paper. */
export function composed(canvases, paper) {
  const shown = canvases.filter((c) => c.width > 1);
  const [width, height] = [Math.max(...shown.map((c) => c.width)), shown.reduce((h, c) => h + c.height + 8, 0)];
  const sheet = el("canvas", { width, height });
  const pen = sheet.getContext("2d");
  pen.fillStyle = paper;
  pen.fillRect(0, 0, width, height);
  let top = 0;
  for (const canvas of shown) {
    pen.drawImage(canvas, 0, top);
    top += canvas.height + 8;
  }
  return sheet;
}

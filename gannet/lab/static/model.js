// The model as a picture: noise → generator → fakes; reals; discriminator; losses; gradients back. Every part opens.

import { $$, el, svg } from "./dom.js";
import { shares } from "./plane1d.js";
import { linear, short } from "./scale.js";
import { formulas } from "./spec.js";
import { has, t } from "./words.js";

/** Parts as boxes `[x, y, width, height]` in a drawing of 560 × 340. */
export const PARTS = {
  noise: [4, 40, 84, 100], generator: [118, 40, 116, 100], fakes: [264, 40, 100, 100],
  reals: [264, 186, 100, 100], discriminator: [394, 84, 158, 150],
  lossG: [394, 8, 158, 52], lossD: [394, 260, 158, 52],
};
const FLOWS = [
  ["data", "M88 90H118"], ["data", "M234 90H264"], ["data", "M364 100C382 100 376 134 394 134"],
  ["data", "M364 236C382 236 376 190 394 190"], ["loss g", "M473 84V60"], ["loss d", "M473 234V260"],
  ["back g", "M394 24C330 8 196 2 176 40"], ["back d", "M552 288C564 270 562 214 552 196"],
];
const BACKS = { gradientG: [214, -4, 128, 25], gradientD: [394, 317, 158, 24] };

/** Milliseconds in which the noise becomes the generator's sheet, while the pointer or the focus is on it. */
const MORPH = 2000;
/** Colours between "fake" and "real" in which points are drawn by what D says of them. */
const SHADES = 9;

/** Which parts move in each of the ten stages of slow motion. */
export const ACTIVE = [
  ["noise", "generator", "fakes"], ["reals", "fakes", "discriminator"], ["discriminator", "lossD"], ["lossD", "gradientD"],
  ["discriminator"], ["noise", "generator", "fakes"], ["fakes", "discriminator"], ["discriminator", "lossG"],
  ["lossG", "gradientG"], ["generator"],
];

export class ModelPicture {
  /** `open(part)` is called when a part is chosen. */
  constructor(root, open, palette) {
    this.palette = palette;
    this.pictures = {};
    this.values = {};
    const flows = FLOWS.map(([kind, d]) => svg("path", { d, class: `flow ${kind}`, "marker-end": `url(#tip-${kind.split(" ").at(-1)})` }));
    const boxes = Object.entries(PARTS).map(([name, box]) => this.part(name, box, open));
    const backs = Object.entries(BACKS).map(([name, [x, y, w, h]]) =>
      button(name, open, svg("rect", { x, y, width: w, height: h, rx: 6 }), label(name, x + w / 2, y + h / 2 + 4)));
    this.root = svg("svg", { viewBox: "0 -6 566 350", class: "model", role: "group", "data-label": "model.label" },
      svg("defs", {}, tip("data"), tip("g"), tip("d"), ...clips()), ...flows, ...boxes, ...backs);
    this.game = el("div", { class: "game" });
    const generator = $$('[data-part-of-model="generator"]', this.root)[0];
    for (const event of ["pointerenter", "focus"]) generator.addEventListener(event, () => this.morph());
    root.append(this.root, this.game);
  }

  part(name, [x, y, w, h], open) {
    const isLoss = name.startsWith("loss");
    const picture = svg("g", { "clip-path": `url(#clip-${name})` });
    const text = svg("text", { x: x + w / 2, y: y + h - 13, class: "value" });
    this.pictures[name] = picture;
    this.values[name] = { text };
    const extra = isLoss ? [text] : [picture];
    return button(name, open, svg("rect", { x, y, width: w, height: h, rx: 8 }), ...extra, label(name, x + w / 2, y + 16));
  }

  /** Draw a side's newest frame inside the parts. */
  show(side) {
    const { header, arrays } = side;
    if (!header.bounds) return;
    this.shown = side;
    const flat = header.dimensions !== 1;
    const colour = this.palette();
    const points = (name, array, d) => flat
      ? (judged(array, d, ...square(name, header.bounds), colour, 150) ?? dots(array, ...square(name, header.bounds), colour[name.slice(0, 4)], 150))
      : bars(array, header.bounds, PARTS[name], colour[name.slice(0, 4)]);
    this.put("fakes", points("fakes", arrays.fake, arrays.probability));
    this.put("reals", points("reals", arrays.real, arrays.probability_real));
    if (!this.began) this.sheet();
    if (arrays.heat) this.put("discriminator", ...tiles(arrays.heat, PARTS.discriminator, colour.lut));
    if (!this.pictures.noise.childNodes.length) this.put("noise", noise(PARTS.noise, colour.manifold));
    const { losses = {} } = header;
    this.values.lossD.text.textContent = short(losses.discriminator ?? NaN);
    this.values.lossG.text.textContent = short(losses.generator ?? NaN);
  }

  /** The generator's sheet, `share` of the way from the noise to what it is. */
  sheet(share = 1) {
    const { header, arrays } = this.shown;
    if (header.dimensions === 1) return this.put("generator");
    const colour = this.palette();
    const place = square("generator", header.bounds);
    const array = arrays.manifold?.shape.length === 3 ? between(arrays.manifold, header.bounds, share) : null;
    this.put("generator", mesh(array, ...place, colour.manifold) ?? dots(arrays.fake, ...place, colour.generator, 90));
  }

  /** Show once how the noise is bent into the sheet. */
  morph() {
    if (this.began || !this.shown || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    this.began = performance.now();
    const frame = (now) => {
      const share = Math.min(1, (now - this.began) / MORPH);
      if (share === 1) this.began = 0;
      this.sheet(share * share * (3 - 2 * share));
      if (share < 1) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** The objective that is trained, with its formulas. */
  formulas(text, entry) {
    const lines = formulas(entry);
    this.game.replaceChildren(el("b", {}, text), el("pre", {}, lines.join("\n")), el("small", {}, lines.length ? t("formula.note") : ""));
  }

  put(name, ...nodes) {
    this.pictures[name].replaceChildren(...nodes.filter(Boolean));
  }

  /** Flow runs while it plays; in slow motion only the stage's parts are lit. */
  status({ playing, stage }) {
    this.root.classList.toggle("playing", Boolean(playing));
    const lit = Number.isInteger(stage) ? ACTIVE[stage] : null;
    this.root.classList.toggle("staged", Boolean(lit));
    for (const node of $$("[data-part-of-model]", this.root)) {
      node.classList.toggle("lit", Boolean(lit?.includes(node.dataset.partOfModel)));
    }
  }

  chosen(name) {
    for (const node of $$("[data-part-of-model]", this.root)) {
      node.setAttribute("aria-pressed", String(node.dataset.partOfModel === name));
    }
  }

  /** Words anew, after another language. */
  speak() {
    for (const node of $$("text[data-name]", this.root)) node.textContent = t(`part.${node.dataset.name}`);
    for (const node of $$("[data-part-of-model]", this.root)) {
      const name = node.dataset.partOfModel;
      node.setAttribute("aria-label", has(`about.${name}`) ? `${t(`part.${name}`)}: ${t(`about.${name}`)}` : t(`part.${name}`));
    }
  }
}

function button(name, open, ...children) {
  const press = (event) => {
    if (event.type === "keydown" && !["Enter", " "].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    open(name);
  };
  return svg("g", { class: `part ${name}`, role: "button", tabindex: "0", "aria-pressed": "false", "data-part-of-model": name, onclick: press, onkeydown: press }, ...children);
}

/** The scales from the plane's coordinates to a square inside the part `name`. */
function square(name, bounds) {
  const [x, y, w, h] = PARTS[name];
  const side = Math.min(w - 16, h - 30);
  const left = x + (w - side) / 2;
  return [linear(bounds[0], bounds[2], left, left + side), linear(bounds[1], bounds[3], y + h - 6, y + h - 6 - side)];
}

const label = (name, x, y) => svg("text", { x, y, class: "name", "data-name": name });

const tip = (name) => svg("marker", { id: `tip-${name}`, viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto", class: `tip ${name}` },
  svg("path", { d: "M0 0L8 4L0 8z" }));

const clips = () => Object.entries(PARTS).map(([name, [x, y, width, height]]) =>
  svg("clipPath", { id: `clip-${name}` }, svg("rect", { x, y, width, height, rx: 8 })));

/** Points as one path of zero-length strokes with round ends. */
function dots(array, x, y, colour, most) {
  if (!array) return null;
  const { data, shape: [n] } = array;
  const every = Math.max(1, Math.floor(n / most));
  let d = "";
  for (let i = 0; i < n; i += every) d += `M${x(data[2 * i]).toFixed(1)} ${y(data[2 * i + 1]).toFixed(1)}h0`;
  return svg("path", { d, stroke: colour, "stroke-width": 2.2, "stroke-linecap": "round", fill: "none", opacity: 0.85 });
}

/** Points in the colour of D's verdict, `[n]` bytes: from the fakes' colour (0) to the reals' (255). */
function judged(array, verdict, x, y, colour, most) {
  if (!array || !verdict || verdict.shape[0] !== array.shape[0]) return null;
  const { data, shape: [n] } = array;
  const lines = new Array(SHADES).fill("");
  const every = Math.max(1, Math.floor(n / most));
  for (let i = 0; i < n; i += every) {
    lines[Math.round((verdict.data[i] / 255) * (SHADES - 1))] += `M${x(data[2 * i]).toFixed(1)} ${y(data[2 * i + 1]).toFixed(1)}h0`;
  }
  const paths = lines.map((d, k) => d && svg("path", { d, stroke: `color-mix(in oklab, ${colour.real} ${(100 * k) / (SHADES - 1)}%, ${colour.fake})` }));
  return svg("g", { "stroke-width": 2.4, "stroke-linecap": "round", fill: "none" }, ...paths.filter(Boolean));
}

/** The sheet `share` of the way from an even lattice over the plane to where it is. Pure. */
export function between({ data, shape }, [x0, y0, x1, y1], share) {
  if (share === 1) return { data, shape };
  const [rows, columns] = shape;
  const moved = Float32Array.from(data, (value, k) => {
    const [r, c] = [Math.floor(k / 2 / columns), Math.floor(k / 2) % columns];
    const even = k % 2 ? y0 + ((r + 0.5) / rows) * (y1 - y0) : x0 + ((c + 0.5) / columns) * (x1 - x0);
    return share * value + (1 - share) * even;
  });
  return { data: moved, shape };
}

/** `[n, 1]` values as a histogram. */
function bars(array, bounds, [x, y, w, h], colour) {
  if (!array) return null;
  const heights = shares(array.data, bounds[0], bounds[2], 30);
  const most = Math.max(...heights, 1e-9);
  const wide = (w - 16) / heights.length;
  const d = heights.map((s, k) => `M${(x + 8 + (k + 0.5) * wide).toFixed(1)} ${y + h - 6}v${((-s / most) * (h - 36)).toFixed(1)}`).join("");
  return svg("path", { d, stroke: colour, "stroke-width": wide * 0.8, fill: "none" });
}

/** Every second line of the generator's lattice. */
function mesh(array, x, y, colour) {
  if (!array || array.shape.length !== 3) return null;
  const { data, shape: [rows, columns] } = array;
  const at = (r, c) => `${x(data[2 * (r * columns + c)]).toFixed(1)} ${y(data[2 * (r * columns + c) + 1]).toFixed(1)}`;
  let d = "";
  for (let r = 0; r < rows; r += 2) for (let c = 0; c < columns; c++) d += `${c ? "L" : "M"}${at(r, c)}`;
  for (let c = 0; c < columns; c += 2) for (let r = 0; r < rows; r++) d += `${r ? "L" : "M"}${at(r, c)}`;
  return svg("path", { d, stroke: colour, "stroke-width": 0.8, fill: "none", opacity: 0.8 });
}

/** The heat map in 16 × 16 tiles. */
function tiles({ data, shape }, [x, y, w, h], lut) {
  const [rows, columns] = shape.length === 2 ? shape : [1, shape[0]];
  const count = 16;
  const side = Math.min(w - 16, h - 30);
  const [left, bottom, cell] = [x + (w - side) / 2, y + h - 6, side / count];
  return Array.from({ length: count * count }, (_, k) => {
    const [r, c] = [Math.floor(k / count), k % count];
    const d = data[Math.floor(((r + 0.5) / count) * rows) * columns + Math.floor(((c + 0.5) / count) * columns)];
    return svg("rect", { x: left + c * cell, y: bottom - (r + 1) * cell, width: cell + 0.4, height: cell + 0.4, fill: `rgb(${lut[3 * d]} ${lut[3 * d + 1]} ${lut[3 * d + 2]})` });
  });
}

/** A lattice of dots: where the latent comes from. */
function noise([x, y, w, h], colour) {
  const side = Math.min(w - 16, h - 30);
  let d = "";
  for (let r = 0; r < 8; r++) for (let c = 0; c < 8; c++) d += `M${x + (w - side) / 2 + ((c + 0.5) * side) / 8} ${y + h - 6 - ((r + 0.5) * side) / 8}h0`;
  return svg("path", { d, stroke: colour, "stroke-width": 3, "stroke-linecap": "round", opacity: 0.75 });
}

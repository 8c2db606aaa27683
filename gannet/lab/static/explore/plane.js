// The latent plane: a map whose tiles are the images of whole seeds; one stands in its middle and drags it along.

import { el, onceARefresh, surface } from "../dom.js";
import { t } from "../words.js";
import { explorer } from "./api.js";
import { Newest, settled } from "./newest.js";
import { look, moved, seedOf } from "./state.js";

const CELL = 92;
const TILE = 78;
const MOST_TILES = 600;
const MOST_ASKED = 64;
const GLIDE = 350;
const CLICK = 5;

export class Plane {
  /** `world`: `{run, state(), move(point), refuse(error), palette()}`. */
  constructor(root, world) {
    Object.assign(this, { world, run: world.run, tiles: new Map(), key: "", held: null, gliding: 0 });
    this.canvas = el("canvas", { id: "plane", class: "plane-map", tabindex: "0", role: "application", "aria-roledescription": t("plane.role") });
    this.hint = el("figcaption", { class: "hint" });
    root.replaceChildren(this.canvas, this.hint);
    this.redraw = onceARefresh(() => this.draw());
    this.rest = settled(() => this.wanted(), 140);
    this.asker = new Newest((cells) => this.fetch(cells), { gap: 100, refused: world.refuse });
    new ResizeObserver(this.changed.bind(this)).observe(this.canvas);
    const on = (name, heard) => this.canvas.addEventListener(name, heard);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.drag(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", () => (this.held = null));
    on("keydown", (event) => this.press(event));
    this.speak();
  }

  speak() {
    this.hint.textContent = t("plane.hint");
  }

  /** What is seen has changed: tiles of other settings are thrown away, missing ones asked for once it is quiet. */
  changed() {
    const key = JSON.stringify({ ...look(this.world.state(), null), point: 0 });
    if (key !== this.key) this.tiles.clear();
    this.key = key;
    this.redraw();
    this.rest();
  }

  /** Lattice points in sight, those in the middle first. */
  cells() {
    const { x, y } = this.world.state().point;
    const [w, h] = [this.canvas.clientWidth / CELL / 2 + 0.5, this.canvas.clientHeight / CELL / 2 + 0.5];
    const found = [];
    for (let i = Math.ceil(x - w); i <= x + w; i++) for (let j = Math.ceil(y - h); j <= y + h; j++) found.push({ x: i, y: j });
    return found.sort((a, b) => Math.hypot(a.x - x, a.y - y) - Math.hypot(b.x - x, b.y - y));
  }

  wanted() {
    if (this.world.run !== this.run) return;
    const missing = this.cells().filter(({ x, y }) => !this.tiles.has(`${x},${y}`)).slice(0, MOST_ASKED);
    if (missing.length) this.asker.ask(missing);
  }

  async fetch(cells) {
    const { key } = this;
    const columns = Math.min(8, cells.length);
    const state = this.world.state();
    const sheet = await explorer.images(this.world.run, cells.map((cell) => look(state, cell)), { columns });
    if (key !== this.key) return;
    const [w, h] = [sheet.width / columns, sheet.height / Math.ceil(cells.length / columns)];
    if (this.tiles.size > MOST_TILES) this.tiles.clear();
    cells.forEach(({ x, y }, k) => this.tiles.set(`${x},${y}`, { sheet, left: (k % columns) * w, top: Math.floor(k / columns) * h, w, h }));
    this.redraw();
    this.rest();
  }

  draw() {
    const { pen, width, height } = surface(this.canvas);
    const colour = this.world.palette();
    const state = this.world.state();
    const place = ({ x, y }) => [width / 2 + (x - state.point.x) * CELL, height / 2 + (y - state.point.y) * CELL];
    pen.imageSmoothingEnabled = false;
    pen.textAlign = "center";
    pen.font = "10.5px system-ui, sans-serif";
    for (const cell of this.cells()) {
      const [px, py] = place(cell);
      const tile = this.tiles.get(`${cell.x},${cell.y}`);
      const [left, top] = [Math.round(px - TILE / 2), Math.round(py - TILE / 2)];
      if (tile) pen.drawImage(tile.sheet, tile.left, tile.top, tile.w, tile.h, left, top, TILE, TILE);
      pen.strokeStyle = colour.rule;
      if (!tile) pen.strokeRect(left + 0.5, top + 0.5, TILE, TILE);
      const seed = seedOf(cell);
      pen.fillStyle = colour.faint;
      if (seed !== null) pen.fillText(String(seed), px, top + TILE + 10);
    }
    this.way(pen, place, state, colour);
    state.pins.forEach((pin, k) => this.flag(pen, place(pin), String(k + 1), colour.fake, colour.paper));
    if (state.style) this.flag(pen, place(state.style.point), "S", colour.discriminator, colour.paper);
    this.cross(pen, width / 2, height / 2, colour);
    const seed = seedOf(state.point);
    this.canvas.setAttribute("aria-label", t(seed === null ? "plane.at" : "plane.seed", { x: state.point.x.toFixed(2), y: state.point.y.toFixed(2), seed }));
  }

  way(pen, place, { pins }, colour) {
    if (pins.length < 2) return;
    pen.strokeStyle = colour.fake;
    pen.lineWidth = 2;
    pen.setLineDash([4, 4]);
    pen.beginPath();
    for (const pin of pins) pen.lineTo(...place(pin));
    pen.stroke();
    pen.setLineDash([]);
    pen.lineWidth = 1;
  }

  flag(pen, [px, py], text, colour, paper) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(px, py, 9, 0, 7);
    pen.fill();
    pen.fillStyle = paper;
    pen.textBaseline = "middle";
    pen.fillText(text, px, py + 0.5);
    pen.textBaseline = "alphabetic";
  }

  cross(pen, x, y, colour) {
    for (const [ink, wide] of [[colour.paper, 5], [colour.real, 2]]) {
      pen.strokeStyle = ink;
      pen.lineWidth = wide;
      pen.beginPath();
      pen.arc(x, y, 11, 0, 7);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(x + 7 * dx, y + 7 * dy);
        pen.lineTo(x + 18 * dx, y + 18 * dy);
      }
      pen.stroke();
    }
    pen.lineWidth = 1;
  }

  down(event) {
    if (event.button) return;
    cancelAnimationFrame(this.gliding);
    this.canvas.setPointerCapture(event.pointerId);
    this.held = { x: event.clientX, y: event.clientY, far: 0 };
  }

  drag(event) {
    if (!this.held) return;
    const [dx, dy] = [event.clientX - this.held.x, event.clientY - this.held.y];
    this.held = { x: event.clientX, y: event.clientY, far: this.held.far + Math.hypot(dx, dy) };
    if (this.held.far > CLICK) this.world.move(moved(this.world.state().point, -dx / CELL, -dy / CELL));
  }

  up(event) {
    const clicked = this.held && this.held.far <= CLICK;
    this.held = null;
    if (!clicked) return;
    const { point } = this.world.state();
    const [x, y] = [event.offsetX - this.canvas.clientWidth / 2, event.offsetY - this.canvas.clientHeight / 2];
    this.glide({ x: Math.round(point.x + x / CELL), y: Math.round(point.y + y / CELL) });
  }

  /** Move to a point in a moment; at once where motion is not wanted. */
  glide(to) {
    cancelAnimationFrame(this.gliding);
    const from = this.world.state().point;
    const far = Math.hypot(to.x - from.x, to.y - from.y) > 12;
    if (far || matchMedia("(prefers-reduced-motion: reduce)").matches) return this.world.move(to);
    const began = performance.now();
    const go = (now) => {
      const share = Math.min(1, (now - began) / GLIDE);
      const eased = share * share * (3 - 2 * share);
      this.world.move(share < 1 ? moved(from, eased * (to.x - from.x), eased * (to.y - from.y)) : to);
      if (share < 1) this.gliding = requestAnimationFrame(go);
    };
    this.gliding = requestAnimationFrame(go);
    return undefined;
  }

  press(event) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const { point } = this.world.state();
    if (by && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      if (event.shiftKey) this.glide({ x: Math.round(point.x) + by[0], y: Math.round(point.y) + by[1] });
      else this.world.move(moved(point, 0.1 * by[0], 0.1 * by[1]));
    } else if (event.key === "Home") {
      event.preventDefault();
      this.glide({ x: Math.round(point.x), y: Math.round(point.y) });
    }
  }
}

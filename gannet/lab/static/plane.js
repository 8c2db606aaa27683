// The plane: layers of one frame, bottom to top, on a canvas.

import { onceARefresh, surface } from "./dom.js";
import { drawLine } from "./plane1d.js";
import { contour, linear, short, ticks } from "./scale.js";
import { arrows, coded, field, heat, held, manifold, points, rings, trails } from "./layers.js";

const MARGIN = { left: 34, bottom: 22, right: 8, top: 8 };

/** Draws `side`'s frames on `canvas`; `shown()` is `{layer: bool}`, `palette()` the theme's colours. */
export class Plane {
  constructor(canvas, side, shown, palette) {
    Object.assign(this, { canvas, side, shown, palette });
    this.redraw = onceARefresh(() => this.draw());
    this.cursor = null;
    new ResizeObserver(this.redraw).observe(canvas);
    canvas.addEventListener("pointermove", (e) => this.point([e.offsetX, e.offsetY]));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("blur", () => this.point(null));
    canvas.addEventListener("keydown", (e) => this.key(e));
  }

  point(place) {
    this.cursor = place;
    this.redraw();
  }

  /** Arrow keys move a reading cross over the focused plane. */
  key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const step = event.shiftKey ? 20 : 5;
    const [x, y] = this.cursor ?? [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2];
    this.point([x + step * move[0], y + step * move[1]]);
  }

  draw() {
    const { pen, width, height } = surface(this.canvas);
    const colour = this.palette();
    const { bounds } = this.side.header;
    pen.fillStyle = colour.paper;
    pen.fillRect(0, 0, width, height);
    if (!bounds || width < 50) return;
    const { arrays } = this.side;
    const box = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
    const x = linear(bounds[0], bounds[2], box.left, box.right);
    const y = linear(bounds[1], bounds[3], box.bottom, box.top);
    const view = { pen, x, y, box, bounds, colour, scale: (box.right - box.left) / 400 };
    this.view = view;
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    pen.clip();
    if (this.side.header.dimensions === 1) drawLine(view, arrays, this.shown());
    else this.layers(view, arrays, this.shown());
    pen.restore();
    this.axes(view);
    if (this.cursor) this.reading(view, arrays);
  }

  layers(view, arrays, shown) {
    const { colour } = view;
    if (shown.heat && arrays.heat) heat(view, arrays.heat, colour.lut);
    if (shown.optimal && arrays.optimal) this.optimal(view, arrays.optimal);
    if (shown.r1 && arrays.r1) rings(view, arrays.r1, colour.r1);
    if (shown.field && arrays.field) field(view, arrays.field, colour.field);
    if (shown.real && arrays.real) points(view, arrays.real, colour.real, "circle");
    if (shown.manifold && arrays.manifold) manifold(view, arrays.manifold, arrays.folds, colour);
    if (shown.trajectories && arrays.trajectories) trails(view, arrays.trajectories, colour.trail);
    if (shown.fake && arrays.fake && arrays.codes) coded(view, arrays.fake, arrays.codes, colour.codes);
    else if (shown.fake && arrays.fake) points(view, arrays.fake, colour.fake, "square");
    if (arrays.probe) held(view, arrays.probe, colour);
    if (shown.arrows && arrays.arrows) arrows(view, arrays.arrows, colour.arrow, colour.paper);
  }

  optimal({ pen, box, colour }, { data, shape: [rows, columns] }) {
    const x = linear(0, columns, box.left, box.right);
    const y = linear(0, rows, box.bottom, box.top);
    pen.strokeStyle = colour.optimal;
    for (const [level, dash, width] of [[0.1, [1, 4], 1], [0.5, [6, 4], 1.6], [0.9, [2, 3], 1]]) {
      pen.setLineDash(dash);
      pen.lineWidth = width;
      pen.beginPath();
      for (const [x0, y0, x1, y1] of contour(data, rows, columns, 255 * level)) {
        pen.moveTo(x(x0), y(y0));
        pen.lineTo(x(x1), y(y1));
      }
      pen.stroke();
    }
    pen.setLineDash([]);
  }

  axes({ pen, x, y, box, bounds, colour }) {
    pen.strokeStyle = colour.rule;
    pen.lineWidth = 1;
    pen.strokeRect(box.left + 0.5, box.top + 0.5, box.right - box.left - 1, box.bottom - box.top - 1);
    pen.fillStyle = colour.faint;
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const v of ticks(bounds[0], bounds[2])) pen.fillText(short(v), Math.min(x(v), box.right - 8), box.bottom + 6);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const v of ticks(bounds[1], bounds[3])) pen.fillText(short(v), box.left - 6, Math.max(y(v), box.top + 6));
  }

  /** Coordinates and D where the pointer or the keyboard's cross is. */
  reading({ pen, x, y, box, colour }, arrays) {
    const [px, py] = [clamp(this.cursor[0], box.left, box.right), clamp(this.cursor[1], box.top, box.bottom)];
    let text = `x ${x.inverse(px).toFixed(3)}   y ${y.inverse(py).toFixed(3)}`;
    if (arrays.heat && arrays.heat.shape.length === 2) {
      const [rows, columns] = arrays.heat.shape;
      const column = Math.min(columns - 1, Math.floor(((px - box.left) / (box.right - box.left)) * columns));
      const row = Math.min(rows - 1, Math.floor(((box.bottom - py) / (box.bottom - box.top)) * rows));
      text += `   D ${(arrays.heat.data[row * columns + column] / 255).toFixed(2)}`;
    }
    pen.strokeStyle = colour.faint;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(px, box.top);
    pen.lineTo(px, box.bottom);
    pen.moveTo(box.left, py);
    pen.lineTo(box.right, py);
    pen.stroke();
    pen.font = "12px ui-monospace, monospace";
    const wide = pen.measureText(text).width + 12;
    const left = clamp(px + 10, box.left, box.right - wide);
    const top = py > box.top + 34 ? py - 28 : py + 10;
    pen.fillStyle = colour.paper;
    pen.fillRect(left, top, wide, 20);
    pen.strokeRect(left + 0.5, top + 0.5, wide, 20);
    pen.fillStyle = colour.ink;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.fillText(text, left + 6, top + 10.5);
  }
}

const clamp = (v, low, high) => Math.max(low, Math.min(high, v));

// Data of one dimension: D as a band of colour and a line, reals and fakes as two histograms.

import { linear } from "./scale.js";

const BINS = 60;

/** Shares of `[n, 1]` values in equal bins of `[low, high]`. Pure. */
export function shares(data, low, high, bins = BINS) {
  const counts = new Array(bins).fill(0);
  for (const v of data) {
    const k = Math.floor(((v - low) / (high - low)) * bins);
    if (k >= 0 && k < bins) counts[k] += 1 / data.length;
  }
  return counts;
}

export function drawLine({ pen, x, box, bounds, colour }, arrays, shown) {
  const sides = ["real", "fake"].filter((name) => shown[name] && arrays[name]);
  if (shown.heat && arrays.heat) band(pen, box, arrays.heat.data, colour);
  const bars = sides.map((name) => shares(arrays[name].data, bounds[0], bounds[2]));
  const y = linear(0, 1.15 * Math.max(0.02, ...bars.flat()), box.bottom, box.top);
  sides.forEach((name, s) => {
    const wide = (x(bounds[2]) - x(bounds[0])) / BINS;
    pen.strokeStyle = pen.fillStyle = colour[name];
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(box.left, box.bottom);
    bars[s].forEach((share, k) => {
      pen.lineTo(box.left + k * wide, y(share));
      pen.lineTo(box.left + (k + 1) * wide, y(share));
    });
    pen.lineTo(box.right, box.bottom);
    pen.globalAlpha = 0.25;
    pen.fill();
    pen.globalAlpha = 1;
    pen.stroke();
  });
  for (const name of ["optimal", "heat"]) {
    if (shown[name] && arrays[name]) probability(pen, box, arrays[name].data, colour, name === "optimal");
  }
}

/** D behind everything, a column of colour each. */
function band(pen, box, data, colour) {
  const wide = (box.right - box.left) / data.length;
  data.forEach((d, k) => {
    pen.fillStyle = `rgb(${colour.lut[3 * d]} ${colour.lut[3 * d + 1]} ${colour.lut[3 * d + 2]})`;
    pen.fillRect(box.left + k * wide, box.top, wide + 1, box.bottom - box.top);
  });
}

/** D from 0 at the bottom to 1 at the top. */
function probability(pen, box, data, colour, dashed) {
  const x = linear(0, data.length, box.left, box.right);
  const y = linear(0, 255, box.bottom, box.top);
  pen.strokeStyle = dashed ? colour.optimal : colour.discriminator;
  pen.setLineDash(dashed ? [5, 4] : []);
  pen.lineWidth = 1.6;
  pen.beginPath();
  data.forEach((d, k) => pen.lineTo(x(k + 0.5), y(d)));
  pen.stroke();
  pen.setLineDash([]);
}

// One layer of the plane each: draws an array of the frame in a view `{pen, x, y, box, colour, scale}`.

import { linear } from "./scale.js";

const small = document.createElement("canvas");

/** `[rows, columns]` bytes as smooth colour; row 0 at the bottom. */
export function heat({ pen, box }, { data, shape: [rows, columns] }, lut) {
  small.width = columns;
  small.height = rows;
  const image = new ImageData(columns, rows);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      const to = 4 * ((rows - 1 - r) * columns + c);
      const from = 3 * data[r * columns + c];
      image.data[to] = lut[from];
      image.data[to + 1] = lut[from + 1];
      image.data[to + 2] = lut[from + 2];
      image.data[to + 3] = 255;
    }
  }
  small.getContext("2d").putImageData(image, 0, 0);
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, box.left, box.top, box.right - box.left, box.bottom - box.top);
}

/** Fakes as squares in the colour of the code each was made from: `codes` `[n]`. */
export function coded(view, { data, shape: [n] }, { data: codes }, colours) {
  colours.forEach((colour, k) => {
    const rows = Array.from({ length: n }, (_, i) => i).filter((i) => codes[i] % colours.length === k);
    points(view, { data: rows.flatMap((i) => [data[2 * i], data[2 * i + 1]]), shape: [rows.length, 2] }, colour, "square");
  });
}

/** Fakes of one code that is held, as rings. */
export function held({ pen, x, y, scale }, { data, shape: [n] }, colour) {
  const size = 4.5 * Math.min(scale, 1.3);
  pen.lineWidth = 1.4;
  for (const [ink, wide] of [[colour.paper, 3.4], [colour.ink, 1.4]]) {
    pen.strokeStyle = ink;
    pen.lineWidth = wide;
    for (let i = 0; i < n; i++) {
      pen.beginPath();
      pen.arc(x(data[2 * i]), y(data[2 * i + 1]), size, 0, 2 * Math.PI);
      pen.stroke();
    }
  }
}

/** `[n, 2]` points as circles or squares; squares for fakes, so that shape tells what colour does. */
export function points({ pen, x, y, scale }, { data, shape: [n] }, colour, kind) {
  const size = Math.max(1.3, (n > 500 ? 1.35 : 1.9) * Math.min(scale, 1.3));
  pen.globalAlpha = 0.8;
  pen.fillStyle = colour;
  pen.beginPath();
  for (let i = 0; i < n; i++) {
    const [px, py] = [x(data[2 * i]), y(data[2 * i + 1])];
    if (kind === "square") pen.rect(px - size, py - size, 2 * size, 2 * size);
    else {
      pen.moveTo(px + size, py);
      pen.arc(px, py, size, 0, 2 * Math.PI);
    }
  }
  pen.fill();
  pen.globalAlpha = 1;
}

/** The generator's image of its latent lattice; quads that are turned over are hatched in another colour. */
export function manifold({ pen, x, y }, { data, shape }, folds, colour) {
  if (shape.length === 2) return curve({ pen, x, y }, data, shape[0], colour.manifold);
  const [rows, columns] = shape;
  const at = (r, c) => [x(data[2 * (r * columns + c)]), y(data[2 * (r * columns + c) + 1])];
  const majority = folds ? Math.sign(folds.data.reduce((s, a) => s + Math.sign(a || 0), 0)) || 1 : 1;
  const straight = new Path2D();
  const turned = new Path2D();
  for (let r = 0; r + 1 < rows; r++) {
    for (let c = 0; c + 1 < columns; c++) {
      const back = folds && Math.sign(folds.data[r * (columns - 1) + c]) === -majority;
      const path = back ? turned : straight;
      const [a, b, d, e] = [at(r, c), at(r, c + 1), at(r + 1, c + 1), at(r + 1, c)];
      path.moveTo(...a);
      path.lineTo(...b);
      path.lineTo(...d);
      path.lineTo(...e);
      path.closePath();
      if (back) {
        path.moveTo(...a);
        path.lineTo(...d);
        path.moveTo(...b);
        path.lineTo(...e);
      }
    }
  }
  for (const [path, ink] of [[straight, colour.manifold], [turned, colour.fold]]) {
    pen.globalAlpha = 0.1;
    pen.fillStyle = ink;
    pen.fill(path);
    pen.globalAlpha = 0.55;
    pen.strokeStyle = ink;
    pen.lineWidth = 0.7;
    pen.stroke(path);
  }
  pen.globalAlpha = 1;
  return undefined;
}

/** A latent of one dimension is a line with dots. */
function curve({ pen, x, y }, data, n, ink) {
  pen.strokeStyle = pen.fillStyle = ink;
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (let i = 0; i < n; i++) pen.lineTo(x(data[2 * i]), y(data[2 * i + 1]));
  pen.stroke();
  for (let i = 0; i < n; i++) pen.fillRect(x(data[2 * i]) - 2, y(data[2 * i + 1]) - 2, 4, 4);
}

/** `[m, 4]` arrows x, y, dx, dy: the longest of nine in ten is 28 pixels, shorter ones in proportion; 120 at most. */
export function arrows({ pen, x, y }, { data, shape: [m] }, colour, halo) {
  const unit = Math.abs(x(1) - x(0));
  const lengths = Array.from({ length: m }, (_, i) => Math.hypot(data[4 * i + 2], data[4 * i + 3])).sort((a, b) => a - b);
  const long = lengths[Math.floor(0.9 * (m - 1))] || 1;
  const factor = 28 / (long * unit);
  const path = new Path2D();
  for (let i = 0; i < m; i += Math.max(1, Math.floor(m / 120))) {
    const [px, py] = [x(data[4 * i]), y(data[4 * i + 1])];
    dart(path, px, py, data[4 * i + 2] * unit * factor, -data[4 * i + 3] * Math.abs(y(1) - y(0)) * factor);
  }
  for (const [ink, width] of [[halo, 2.6], [colour, 1]]) {
    pen.strokeStyle = ink;
    pen.lineWidth = width;
    pen.stroke(path);
  }
}

/** A shaft with a head, at most 60 pixels. */
function dart(path, px, py, dx, dy) {
  const length = Math.hypot(dx, dy);
  if (!(length > 1)) return;
  const k = Math.min(1, 60 / length);
  const [ex, ey] = [px + dx * k, py + dy * k];
  const head = Math.min(5, length * k * 0.4);
  const angle = Math.atan2(dy, dx);
  path.moveTo(px, py);
  path.lineTo(ex, ey);
  for (const turn of [2.6, -2.6]) {
    path.moveTo(ex, ey);
    path.lineTo(ex + head * Math.cos(angle + turn), ey + head * Math.sin(angle + turn));
  }
}

/** `[rows, columns, 2]` directions on a lattice of cell centres; lengths in proportion to the root. */
export function field({ pen, box }, { data, shape: [rows, columns] }, colour) {
  const [wide, high] = [(box.right - box.left) / columns, (box.bottom - box.top) / rows];
  let most = 1e-12;
  for (let i = 0; i < rows * columns; i++) most = Math.max(most, Math.hypot(data[2 * i], data[2 * i + 1]));
  const path = new Path2D();
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      const [dx, dy] = [data[2 * (r * columns + c)], data[2 * (r * columns + c) + 1]];
      const size = Math.hypot(dx, dy);
      if (!(size > 0)) continue;
      const length = Math.sqrt(size / most) * 0.85 * Math.min(wide, high);
      const [cx, cy] = [box.left + (c + 0.5) * wide, box.bottom - (r + 0.5) * high];
      const [vx, vy] = [(dx / size) * length, (-dy / size) * length];
      dart(path, cx - vx / 2, cy - vy / 2, vx, vy);
    }
  }
  pen.globalAlpha = 0.75;
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.stroke(path);
  pen.globalAlpha = 1;
}

/** `[rows, columns]` |∇D| as rings whose radius grows with it. */
export function rings({ pen, box }, { data, shape: [rows, columns] }, colour) {
  const x = linear(0, columns, box.left, box.right);
  const y = linear(0, rows, box.bottom, box.top);
  let most = 1e-12;
  for (const value of data) if (value > most) most = value;
  const largest = (x(2) - x(0)) * 0.48;
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.globalAlpha = 0.8;
  pen.beginPath();
  for (let r = 1; r < rows; r += 2) {
    for (let c = 1; c < columns; c += 2) {
      const radius = Math.sqrt(Math.max(0, data[r * columns + c]) / most) * largest;
      if (radius < 0.6) continue;
      pen.moveTo(x(c + 0.5) + radius, y(r + 0.5));
      pen.arc(x(c + 0.5), y(r + 0.5), radius, 0, 2 * Math.PI);
    }
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

/** `[m, t, 2]`: where m fakes of fixed latents went over the last t frames; older pieces are fainter. */
export function trails({ pen, x, y }, { data, shape: [m, t] }, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1.3;
  for (let k = 1; k < t; k++) {
    pen.globalAlpha = 0.85 * (k / t) ** 1.5;
    pen.beginPath();
    for (let i = 0; i < m; i++) {
      const [before, after] = [2 * (i * t + k - 1), 2 * (i * t + k)];
      pen.moveTo(x(data[before]), y(data[before + 1]));
      pen.lineTo(x(data[after]), y(data[after + 1]));
    }
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

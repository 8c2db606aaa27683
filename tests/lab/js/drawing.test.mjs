import assert from "node:assert/strict";
import { test } from "node:test";
import { colours } from "../../../gannet/lab/static/colours.js";
import { gif, lzw, palette } from "../../../gannet/lab/static/gif.js";
import { History } from "../../../gannet/lab/static/history.js";
import { contour, linear, short, ticks } from "../../../gannet/lab/static/scale.js";
import { sketch } from "../../../gannet/lab/static/sketches.js";

test("a contour lies where the grid crosses the level", () => {
  const grid = Array.from({ length: 25 }, (_, i) => 10 * (i % 5)); // grows with the column
  const pieces = contour(grid, 5, 5, 12.5);
  assert.equal(pieces.length, 4);
  for (const [x0, , x1] of pieces) assert.deepEqual([x0, x1], [1.75, 1.75]); // a quarter of the way between the centres 1.5 and 2.5
  assert.deepEqual(contour(grid, 5, 5, 99), []);
});

test("scales, ticks and short numbers", () => {
  const x = linear(-1, 1, 0, 200);
  assert.equal(x(0), 100);
  assert.equal(x.inverse(150), 0.5);
  assert.deepEqual(ticks(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.ok(ticks(0.21, 0.9).length >= 3);
  assert.deepEqual(ticks(-0.3, 0.3, 3), [-0.2, 0, 0.2]);
  assert.deepEqual([12000, 0.00123, 1.5, 250, NaN].map(short), ["12k", "0.0012", "1.5", "250", "–"]);
});

test("histories are ordered, overwritten by a replay and cut", () => {
  const h = new History();
  for (const step of [1, 2, 3, 5, 4]) h.put({ step, a: step * 10 });
  h.put({ step: 3, a: -1 });
  assert.deepEqual(h.series("a"), [[1, 10], [2, 20], [3, -1], [4, 40], [5, 50]]);
  h.cut(3);
  assert.equal(h.last.step, 3);
  assert.equal(h.csv(), "step,a\n1,10\n2,20\n3,-1\n");
  const full = new History(10);
  for (let step = 0; step < 30; step++) full.put({ step });
  assert.ok(full.rows.length <= 11);
  assert.equal(full.last.step, 29);
});

test("the colour of D is pale at a half and symmetric in order", () => {
  for (const theme of ["light", "dark"]) {
    const { lut, heat } = colours(theme);
    assert.deepEqual([...lut.slice(0, 3)], heat[0]);
    assert.deepEqual([...lut.slice(-3)], heat[2]);
    assert.ok(Math.abs(lut[3 * 127] - heat[1][0]) <= 4);
    for (let d = 1; d < 128; d++) assert.ok(lut[3 * d + 2] >= lut[3 * d - 1] || theme === "dark", "from orange to pale, blue only grows");
  }
});

/** Undo LZW at 8 bits, as a reader of GIFs does. */
function unlzw(bytes) {
  const out = [];
  let [bits, held, at, width] = [0, 0, 0, 9];
  let table = [];
  let before = null;
  const reset = () => {
    table = Array.from({ length: 258 }, (_, i) => [i]);
    width = 9;
    before = null;
  };
  for (;;) {
    while (bits < width) {
      held |= bytes[at++] << bits;
      bits += 8;
    }
    const code = held & ((1 << width) - 1);
    held >>>= width;
    bits -= width;
    if (code === 256) reset();
    else if (code === 257) return out;
    else {
      const entry = table[code] ?? [...before, before[0]];
      for (const value of entry) out.push(value);
      if (before && table.length < 4096) table.push([...before, entry[0]]);
      if (table.length === 1 << width && width < 12) width++;
      before = entry;
    }
  }
}

test("LZW comes back, also beyond a full table", () => {
  let state = 1;
  const noise = Uint8Array.from({ length: 60_000 }, () => (state = (state * 48271) % 2147483647) & 255);
  for (const indices of [Uint8Array.of(7), new Uint8Array(5000), noise]) assert.deepEqual(unlzw(lzw(indices)), [...indices]);
});

test("a palette keeps few colours as they are and never has more than 256", () => {
  const few = Uint8ClampedArray.of(255, 0, 0, 255, 0, 0, 255, 255, 255, 0, 0, 255);
  assert.deepEqual(palette([few]).colours.sort(), [[0, 0, 255], [255, 0, 0]]);
  const many = Uint8ClampedArray.from({ length: 40_000 }, (_, i) => (i % 4 === 3 ? 255 : (i * 7919) % 256));
  assert.ok(palette([many]).colours.length <= 256);
});

test("a GIF has its size, its frames and its end", () => {
  const frame = new Uint8ClampedArray(4 * 6).fill(255);
  const bytes = gif([frame, frame], 3, 2, 20);
  assert.equal(String.fromCharCode(...bytes.slice(0, 6)), "GIF89a");
  assert.deepEqual([...bytes.slice(6, 10)], [3, 0, 2, 0]);
  assert.equal(bytes.at(-1), 0x3b);
  assert.throws(() => gif([], 3, 2), RangeError);
  assert.throws(() => gif([frame], 4, 2), RangeError);
});

test("sketches stay on their tile and are the same every time", () => {
  for (const name of ["ring", "lab-ring", "swiss-roll", "checkerboard", "pinwheel", "spiral", "grid-25", "line"]) {
    const points = sketch(name);
    assert.equal(points.length, 160);
    assert.ok(points.filter(([x, y]) => x > 0 && x < 1 && y > 0 && y < 1).length > 150, name);
    assert.deepEqual(points, sketch(name));
  }
  assert.equal(sketch("nothing-known"), null);
});

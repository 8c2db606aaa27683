// From numbers to places on a canvas: linear scales, ticks, contour lines. Pure.

/** A linear map of `[a, b]` onto `[p, q]`, with its inverse. */
export function linear(a, b, p, q) {
  const slope = (q - p) / (b - a || 1);
  const map = (value) => p + (value - a) * slope;
  map.inverse = (place) => a + (place - p) / slope;
  return map;
}

/** About `count` round numbers inside `[low, high]`. */
export function ticks(low, high, count = 4) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.7);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) out.push(round(k * step));
  return out;
}

const round = (value) => Number(value.toPrecision(12));

/** A short text of a number: 12,000 → "12k", 0.00123 → "0.0012". */
export function short(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${round(Number((value / 1e6).toPrecision(3)))}M`;
  if (size >= 1e4) return `${round(Number((value / 1e3).toPrecision(3)))}k`;
  if (size >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return String(Number(value.toPrecision(size < 0.01 ? 2 : 3)));
}

/**
 * Line pieces where a grid `[rows × columns]` (row 0 at the bottom) crosses `level`: `[[x0, y0, x1, y1], …]` in units
 * of cells, cell centres at .5.
 */
export function contour(grid, rows, columns, level) {
  const pieces = [];
  for (let r = 0; r + 1 < rows; r++) {
    for (let c = 0; c + 1 < columns; c++) {
      const corners = [grid[r * columns + c], grid[r * columns + c + 1], grid[(r + 1) * columns + c + 1], grid[(r + 1) * columns + c]];
      const crossings = [];
      for (let k = 0; k < 4; k++) {
        const a = corners[k];
        const b = corners[(k + 1) % 4];
        if (a < level === b < level) continue;
        const t = (level - a) / (b - a);
        const [x0, y0] = CORNER[k];
        const [x1, y1] = CORNER[(k + 1) % 4];
        crossings.push([c + 0.5 + x0 + t * (x1 - x0), r + 0.5 + y0 + t * (y1 - y0)]);
      }
      for (let k = 0; k + 1 < crossings.length; k += 2) pieces.push([...crossings[k], ...crossings[k + 1]]);
    }
  }
  return pieces;
}

const CORNER = [[0, 0], [1, 0], [1, 1], [0, 1]];

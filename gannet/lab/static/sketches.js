// Small drawings of the named densities for the tiles; the points that are trained on come from the server. Pure.

/** Numbers in [0, 1) that are the same every time. */
function numbers(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const TURN = 2 * Math.PI;
const blobs = (centres, sd) => (u, n) => {
  const [x, y] = centres[Math.floor(u() * centres.length)];
  return [x + sd * n(), y + sd * n()];
};
const circle = (k) => Array.from({ length: k }, (_, i) => [0.5 + 0.36 * Math.cos((TURN * i) / k), 0.5 + 0.36 * Math.sin((TURN * i) / k)]);
const lattice = Array.from({ length: 25 }, (_, i) => [0.14 + 0.18 * (i % 5), 0.14 + 0.18 * Math.floor(i / 5)]);

const SKETCHES = {
  line: (u, n) => {
    const v = u();
    return [0.85 - 0.7 * v + 0.01 * n(), 0.35 + 0.3 * v + 0.01 * n()];
  },
  gaussians: (u, n) => (u() < 0.5 ? [0.3 + 0.08 * n(), 0.65 + 0.08 * n()] : [0.7 + 0.05 * n(), 0.4 + 0.14 * n()]),
  ring: (u, n) => {
    const a = TURN * u();
    return [0.5 + 0.34 * Math.cos(a) + 0.025 * n(), 0.5 + 0.3 * Math.sin(a) + 0.025 * n()];
  },
  disjoint: blobs([[0.3, 0.75], [0.75, 0.6], [0.45, 0.3]], 0.035),
  "ring-8": blobs(circle(8), 0.018),
  "grid-25": blobs(lattice, 0.018),
  moons: (u, n) => {
    const a = Math.PI * u();
    const upper = u() < 0.5;
    return [(upper ? 0.38 : 0.62) + (upper ? 1 : -1) * 0.24 * Math.cos(a) + 0.02 * n(), 0.5 + (upper ? 1 : -1) * (0.24 * Math.sin(a) - 0.07) + 0.02 * n()];
  },
  spiral: (u, n) => {
    const a = TURN * Math.sqrt(u()) * 1.2;
    const s = u() < 0.5 ? 1 : -1;
    return [0.5 + s * 0.052 * a * Math.cos(a) + 0.01 * n(), 0.5 + s * 0.052 * a * Math.sin(a) + 0.01 * n()];
  },
  "swiss-roll": (u, n) => {
    const a = TURN * (0.75 + 1.5 * u());
    return [0.5 + 0.028 * a * Math.cos(a) + 0.012 * n(), 0.5 + 0.028 * a * Math.sin(a) + 0.012 * n()];
  },
  checkerboard: (u) => {
    const [i, j] = [Math.floor(4 * u()), Math.floor(2 * u())];
    return [0.1 + 0.2 * (i + u()), 0.1 + 0.2 * (2 * j + (i % 2) + u())];
  },
  pinwheel: (u, n) => {
    const r = 0.2 + 0.07 * n();
    const a = (TURN * Math.floor(5 * u())) / 5 + 0.12 * n() + 5 * r;
    return [0.5 + r * 1.5 * Math.cos(a), 0.5 + r * 1.5 * Math.sin(a)];
  },
  "gaussian-1d": (u, n) => [0.5 + 0.14 * n(), 0.5 + 0.012 * n()],
  dirac: (u, n) => [0.5 + 0.012 * n(), 0.5 + 0.012 * n()],
  "mixture-1d": (u, n) => [[0.2, 0.5, 0.8][Math.floor(3 * u())] + 0.035 * n(), 0.5 + 0.012 * n()],
};

/** About 160 points in the unit square, or `null` for a density without a drawing. */
export function sketch(name) {
  const draw = SKETCHES[name] ?? SKETCHES[name.replace(/^lab-/, "")];
  if (!draw) return null;
  const u = numbers(name.length * 7919 + 11);
  const n = () => Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(TURN * u());
  return Array.from({ length: 160 }, () => draw(u, n));
}

// Where one stands in the latent plane and how one looks: the state, its link, the look that is sent. Pure.

export const FAR = 1e6;
export const ACROSS = 100;
export const MOST_PINS = 16;
export const FARTHEST = 5;

const short = (value) => Number(value.toFixed(4));
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

export const start = () => ({ point: { x: 0, y: 0 }, truncation: 1, label: null, directions: {}, style: null, pins: [], at: null });

/** The lattice point of a seed. */
export const pointOf = (seed) => ({ x: seed % ACROSS, y: Math.floor(seed / ACROSS) });

/** The seed of a point, `null` between seeds. */
export function seedOf({ x, y }) {
  return Number.isInteger(x) && Number.isInteger(y) && x >= 0 && x < ACROSS && y >= 0 ? y * ACROSS + x : null;
}

/** A point of the plane, kept inside it. */
export const moved = ({ x, y }, dx, dy) => ({ x: short(clamp(x + dx, -FAR, FAR)), y: short(clamp(y + dy, -FAR, FAR)) });

/** Where on the way through the pins, 0 to the number of ways: the two pins and how far between them. */
export function between(pins, at) {
  const k = clamp(Math.floor(at), 0, pins.length - 2);
  return { between: [pins[k], pins[k + 1]], t: short(clamp(at - k, 0, 1)) };
}

/** The point that is seen: in the plane, or on the way between pins. */
export const seen = (state) => (state.at === null || state.pins.length < 2 ? state.point : between(state.pins, state.at));

/** What is sent to the server: `point` in place of what the state sees, where one is given. */
export function look(state, point = seen(state)) {
  const directions = Object.entries(state.directions).filter(([, s]) => s !== 0).map(([k, s]) => [Number(k), s]);
  const style = state.style && state.style.layers.length ? { point: state.style.point, layers: state.style.layers } : null;
  return { point, class: state.label, truncation: state.truncation, directions, style };
}

const pair = ({ x, y }) => `${short(x)},${short(y)}`;

/** The state as the fragment of a link; what is as it was at the start is left out. */
export function toFragment(state) {
  const said = new URLSearchParams({ at: pair(state.point) });
  if (state.truncation !== 1) said.set("truncation", short(state.truncation));
  if (state.label !== null) said.set("class", state.label);
  const directions = Object.entries(state.directions).filter(([, s]) => s !== 0);
  if (directions.length) said.set("directions", directions.map(([k, s]) => `${k}:${short(s)}`).join(","));
  if (state.style) said.set("style", `${pair(state.style.point)}:${state.style.layers.join(".")}`);
  for (const pin of state.pins) said.append("pin", pair(pin));
  if (state.at !== null) said.set("between", short(state.at));
  return `#${said.toString().replaceAll("%2C", ",").replaceAll("%3A", ":")}`;
}

function number(text, low, high) {
  const value = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) ? clamp(value, low, high) : null;
}

function point(text) {
  const [x, y, more] = (text ?? "").split(",").map((part) => number(part, -FAR, FAR));
  return more === undefined && typeof x === "number" && typeof y === "number" ? { x, y } : null;
}

/** A link's fragment → the state; whatever cannot be read is as at the start. */
export function fromFragment(fragment) {
  const said = new URLSearchParams(fragment.replace(/^#/, ""));
  const state = start();
  state.point = point(said.get("at")) ?? state.point;
  state.truncation = number(said.get("truncation"), 0, 2) ?? 1;
  state.label = said.get("class");
  for (const part of (said.get("directions") ?? "").split(",")) {
    const [k, sigmas] = part.split(":");
    const s = number(sigmas ?? null, -FARTHEST, FARTHEST);
    if (/^\d{1,3}$/.test(k) && s !== null) state.directions[k] = s;
  }
  const [where, layers] = (said.get("style") ?? "").split(":");
  const from = point(where);
  if (from) state.style = { point: from, layers: (layers ?? "").split(".").filter((k) => /^\d{1,3}$/.test(k)).map(Number) };
  state.pins = said.getAll("pin").map(point).filter(Boolean).slice(0, MOST_PINS);
  state.at = state.pins.length < 2 ? null : number(said.get("between"), 0, state.pins.length - 1);
  return state;
}

/** How the image compares with what was trained on: "copy", "near" or "new", from the ratio to the usual distance. */
export const verdict = (ratio) => (!Number.isFinite(ratio) ? "unknown" : ratio < 0.35 ? "copy" : ratio < 0.75 ? "near" : "new");

/** A smooth wandering: the step of `seconds` at this moment, at `speed` cells a second. */
export function drift(moment, seconds, speed) {
  const angle = 2.1 * Math.sin(0.31 * moment) + 1.7 * Math.sin(0.17 * moment + 1);
  return [speed * seconds * Math.cos(angle), speed * seconds * Math.sin(angle)];
}

// The whole state as a URL fragment, and the flags of a page for a class. Pure but for the browser's own codecs.

export const LONGEST = 30_000;
const PREFIX = "#lab=";
/** Beginning of the path of a lone turn, which is a change but no setting. */
export const TURN = "turn.";

function toBase64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function fromBase64(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (c) => c.charCodeAt(0));
}

async function through(bytes, stream) {
  const piped = new Blob([bytes]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(piped).arrayBuffer());
}

/** Anything JSON-able → `#lab=…`, deflated. Throws `RangeError` above `LONGEST` characters. */
export async function toFragment(value) {
  const bytes = await through(new TextEncoder().encode(JSON.stringify(value)), new CompressionStream("deflate"));
  const text = PREFIX + toBase64(bytes);
  if (text.length > LONGEST) throw new RangeError(`the link would be ${text.length} characters long`);
  return text;
}

async function unpacked(text) {
  const bytes = await through(fromBase64(text), new DecompressionStream("deflate"));
  return JSON.parse(new TextDecoder().decode(bytes));
}

/**
 * `#lab=…` → what was put in; `#…` as the server makes it of one state → `{sessions: [state]}`; `null` where the
 * fragment is neither. Throws for a damaged one.
 */
export async function fromFragment(fragment) {
  if (fragment.startsWith(PREFIX)) return unpacked(fragment.slice(PREFIX.length));
  if (!/^#[\w-]{24,}$/.test(fragment)) return null;
  return { sessions: [await unpacked(fragment.slice(1))] };
}

/** `?hide=data,charts` → `Set {"data", "charts"}`. */
export function hidden(query) {
  const text = new URLSearchParams(query).get("hide") ?? "";
  return new Set(text.split(",").map((w) => w.trim()).filter(Boolean));
}

/** A state without its history: the same settings and seed, from the beginning. Settings changed on the way are kept. */
export function fromTheStart(state) {
  const experiment = { ...state.experiment };
  for (const { path, value } of state.changes ?? []) {
    if (path.startsWith(TURN)) continue;
    // What was said of this path or below it before counts no more, and order matters.
    for (const old of Object.keys(experiment)) if (old === path || old.startsWith(`${path}.`)) delete experiment[old];
    experiment[path] = value;
  }
  return { ...state, experiment, changes: [], step: 0 };
}

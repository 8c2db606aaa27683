// Whether what a lesson asked for has been done, and where in the lessons the address points. Pure.

import { at, partsOf } from "./settings.js";
import { parseSpec } from "./spec.js";

/**
 * `when` is one of `{setting, has | is | least | most}`, `{step}`, `{measure, least | most}`, `{layer}`, `{part}`,
 * `{turns}`; `view` is what the page knows: `{settings, status, changes, measures, layers, part}`.
 */
export function done(when, { settings = {}, status = {}, changes = [], measures = {}, layers = {}, part = null } = {}) {
  if ("setting" in when) return fits(when, valueAt(settings, when.setting));
  if ("measure" in when) return within(when, measures[when.measure]);
  if ("step" in when) return (status.step ?? 0) >= when.step;
  if ("layer" in when) return Boolean(layers[when.layer]);
  if ("part" in when) return part === when.part;
  if ("turns" in when) return changes.some((c) => c.path === `turn.${when.turns}` && c.step <= (status.step ?? 0));
  return false;
}

/** The value at a path that may go on into the options of a part: `regularizers.r1.weight`. */
function valueAt(settings, path) {
  const [key, name, option] = path.split(".");
  const found = at(settings, path);
  if (found !== undefined || option === undefined) return found;
  const part = partsOf(at(settings, key)).map(parseSpec).find((spec) => spec.name === name);
  return part?.args[option];
}

function fits(when, value) {
  if ("has" in when) return partsOf(value).some((text) => parseSpec(text).name === when.has);
  if ("is" in when) return parseSpec(value ?? "").name === String(when.is);
  return within(when, Number(value ?? NaN));
}

const within = ({ least = -Infinity, most = Infinity }, value) => Number.isFinite(value) && value >= least && value <= most;

/** `#lesson=r1-dirac/3` → `{id: "r1-dirac", card: 2}`; `null` for another address. */
export function fromAddress(fragment) {
  const found = /^#lesson=([a-z0-9-]+)(?:\/(\d{1,2}))?$/.exec(fragment);
  return found && { id: found[1], card: Math.max(0, Number(found[2] ?? 1) - 1) };
}

export const toAddress = (id, card) => `#lesson=${id}${card ? `/${card + 1}` : ""}`;

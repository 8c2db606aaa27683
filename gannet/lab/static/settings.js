// What a session's settings are now: the preset, under what the state differs in, under its timed changes. Pure.

import { TURN } from "./share.js";
import { parseSpec, specText, splitTop } from "./spec.js";

/** A copy of `tree` with `value` at the dotted `path`, which may go on into the arguments of a spec. */
export function assigned(tree, path, value) {
  const [head, ...rest] = path.split(".");
  if (!rest.length) return { ...tree, [head]: value };
  const below = typeof tree?.[head] === "string" ? tree[head] : undefined;
  if (below !== undefined && PARTS.has(head)) return { ...tree, [head]: assigned(byName(below), rest.join("."), value) };
  if (below !== undefined) return { ...tree, [head]: withArgument(below, rest, value) };
  return { ...tree, [head]: assigned(isTree(tree?.[head]) ? tree[head] : {}, rest.join("."), value) };
}

/** A spec's text with another value of one argument, at any depth. */
function withArgument(text, [key, ...rest], value) {
  const spec = parseSpec(text);
  spec.args[key] = rest.length ? withArgument(spec.args[key] ?? "", rest, value) : value;
  return specText(spec);
}

/** List text of parts as a mapping by name. */
const byName = (text) => Object.fromEntries(partsOf(text).map((part) => [parseSpec(part).name, part]));

const isTree = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** `over` laid over `under`, section by section. */
function merged(under, over) {
  const result = { ...under };
  for (const [key, value] of Object.entries(over ?? {})) {
    result[key] = isTree(value) && isTree(result[key]) && !PARTS.has(key) ? merged(result[key], value) : value;
  }
  return result;
}

/** Keys whose mapping is replaced as a whole: lists of parts by name. */
const PARTS = new Set(["regularizers", "constraints", "augment", "controllers"]);

/** The settings at the state's step; keys with dots are paths. Points that were given stand for `data`. */
export function effective(preset, state) {
  let tree = { ...preset };
  for (const [path, value] of Object.entries(state?.experiment ?? {})) {
    tree = path.includes(".") ? assigned(tree, path, value) : merged(tree, { [path]: value });
  }
  for (const change of state?.changes ?? []) {
    if (!change.path.startsWith(TURN) && change.step <= (state.step ?? Infinity)) tree = assigned(tree, change.path, change.value);
  }
  return state?.points ? { ...tree, data: state.points.kind } : tree;
}

/** The value at a dotted path, or `fallback`. */
export function at(tree, path, fallback = undefined) {
  const value = path.split(".").reduce((node, key) => (isTree(node) ? node[key] : undefined), tree);
  return value === undefined || value === null ? fallback : value;
}

/** Parts of a list-like key as texts: from a mapping, a list, or list text `[r1(weight=1), r2]`. */
export function partsOf(value) {
  if (value === undefined || value === null || value === "") return [];
  if (Array.isArray(value)) return value.map(String);
  if (typeof value === "object") return Object.values(value).map(String);
  const text = String(value).trim();
  return splitTop(text.startsWith("[") ? text.slice(1, text.lastIndexOf("]")) : text);
}

/** `path=value` of every setting of `a` that is another one in `b`. Pure. */
export function differing(a, b, prefix = "") {
  const keys = [...new Set([...Object.keys(a ?? {}), ...Object.keys(b ?? {})])];
  return keys.flatMap((key) => {
    const [x, y] = [a?.[key], b?.[key]];
    if (isTree(x) && isTree(y)) return differing(x, y, `${prefix}${key}.`);
    const [one, other] = [parseSpec(x ?? ""), parseSpec(y ?? "")];
    if (one.name && one.name === other.name && x !== y) return differing(one.args, other.args, `${prefix}${key}.`);
    if (JSON.stringify(x) === JSON.stringify(y)) return [];
    return [`${prefix}${key}=${isTree(x) ? `[${Object.values(x).join(", ")}]` : x ?? "–"}`];
  });
}

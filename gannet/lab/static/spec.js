// Spec text, `r1(weight=cosine(2, 0.2), every=16)`: split into name and arguments, and put together again. Pure.

/** Split at top-level commas: nested brackets and quoted text stay whole. */
export function splitTop(text) {
  const parts = [];
  let depth = 0;
  let quote = "";
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quote) {
      if (c === "\\") i++;
      else if (c === quote) quote = "";
    } else if (c === '"' || c === "'") quote = c;
    else if ("([{".includes(c)) depth++;
    else if (")]}".includes(c)) depth--;
    else if (c === "," && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts.map((p) => p.trim()).filter((p) => p !== "");
}

/** `"mlp(width=8)"` → `{name: "mlp", positional: [], args: {width: "8"}}`; arguments stay text. */
export function parseSpec(text) {
  const trimmed = String(text).trim();
  const open = trimmed.indexOf("(");
  if (open < 0) return { name: trimmed, positional: [], args: {} };
  const inner = trimmed.slice(open + 1, trimmed.lastIndexOf(")"));
  const spec = { name: trimmed.slice(0, open).trim(), positional: [], args: {} };
  for (const part of splitTop(inner)) {
    const named = /^([A-Za-z_]\w*)\s*=(?!=)\s*([\s\S]*)$/.exec(part);
    if (named) spec.args[named[1]] = named[2];
    else spec.positional.push(part);
  }
  return spec;
}

/** The text of a spec; a bare name where it has no arguments. */
export function specText({ name, positional = [], args = {} }) {
  const parts = [...positional, ...Object.entries(args).map(([k, v]) => `${k}=${v}`)];
  return parts.length ? `${name}(${parts.join(", ")})` : name;
}

/** A value of a form as spec text: `true`, `none`, `0.5`, `"text"`. */
export function valueText(value, type) {
  if (value === null || value === undefined) return "none";
  if (typeof value === "boolean") return value ? "true" : "false";
  if (typeof value === "number") return String(value);
  if (Array.isArray(value)) return `[${value.map((v) => valueText(v, type)).join(", ")}]`;
  return type === "choice" || type === "text" ? quoted(value) : value;
}

const BARE = /^(none|true|false|-?[\d.]+(e[-+]?\d+)?|\[.*\]|.*\(.*\))$/is;

/** Text in quotes unless it is already quoted, or is a number, list or part of its own. */
function quoted(text) {
  return /^["']/.test(text) || BARE.test(text) ? text : JSON.stringify(text);
}

/** What a form shows for an argument's text: without quotes. */
export function plainText(text) {
  const match = /^(["'])([\s\S]*)\1$/.exec(String(text).trim());
  return match ? match[2] : String(text).trim();
}

/** The losses' formulas alone, one a line: of a docstring's line without its citation. */
export function formulas(entry) {
  const [first = ""] = [entry?.formula ?? []].flat();
  const lines = first.split("\n").flatMap((line) => line.split(/;\s*|,\s*(?=L_[DG])/));
  return lines.map((line) => line.replace(/\.$/, "").trim()).filter((line) => line.includes("=")).map((line) => line.replace(/^.*:\s*(?=L_D)/, ""));
}

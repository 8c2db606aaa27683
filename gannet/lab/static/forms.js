// Forms made from the catalogue: one field an option, one select a part. What is changed is handed on as spec text.

import { el } from "./dom.js";
import { parseSpec, plainText, specText, valueText } from "./spec.js";
import { has, t } from "./words.js";

/** A sensible step of a number field: a tenth of its default, whole for whole numbers. Pure. */
export function stepOf({ type, default: value }) {
  if (type === "integer") return 1;
  const size = Math.abs(Number(value));
  if (!Number.isFinite(size) || size === 0) return 0.01;
  return Number((10 ** (Math.floor(Math.log10(size)) - (size >= 1 && size < 10 ? 1 : size < 1 ? 0 : 1))).toPrecision(1));
}

const RATES = ["0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1"];
let lists = 0;

/** What a field shows: the given text, else the option's default. */
function shownValue(option, text) {
  if (text !== undefined && text !== null) return plainText(text);
  if (option.default === null || option.default === undefined) return "";
  return plainText(typeof option.default === "object" ? valueText(option.default, option.type) : String(option.default));
}

/** One labelled field; `changed(text)` gets spec text, or `null` where it was emptied. */
export function field(option, text, changed) {
  const value = shownValue(option, text);
  const word = has(`option.${option.name}`) ? t(`option.${option.name}`) : option.name.replaceAll("_", " ");
  const emit = (raw) => changed(raw === "" ? null : valueText(raw, option.type));
  if (option.type === "boolean") {
    const box = el("input", { type: "checkbox", name: option.name, onchange: () => changed(box.checked ? "true" : "false") });
    box.checked = value.toLowerCase() === "true";
    return el("label", { class: "field check" }, box, el("span", {}, word));
  }
  if (option.type === "choice") {
    const select = el("select", { name: option.name, onchange: () => emit(select.value) },
      ...option.choices.map((c) => el("option", { value: String(c) }, has(`choice.${c}`) ? t(`choice.${c}`) : String(c))));
    select.value = value;
    return el("label", { class: "field" }, el("span", {}, word), select);
  }
  const numeric = option.type === "number" || option.type === "integer";
  const input = el("input", {
    type: numeric ? "number" : "text", name: option.name, value, autocomplete: "off", spellcheck: "false",
    step: numeric ? stepOf(option) : undefined, min: numeric ? option.least : undefined, max: numeric ? option.most : undefined,
    title: option.type === "schedule" ? t("schedule") : undefined, onchange: () => emit(input.value.trim()),
  });
  const label = el("label", { class: "field" }, el("span", {}, word), input);
  if (option.name === "lr") {
    const id = `rates-${++lists}`;
    input.setAttribute("list", id);
    label.append(el("datalist", { id }, ...RATES.map((r) => el("option", { value: r }))));
  }
  return label;
}

/** The mark that says whether a change is live or restarts. */
export const mark = (live) =>
  el("span", { class: live ? "live-mark live" : "live-mark", title: t(live ? "live.title" : "restarts.title") }, t(live ? "live" : "restarts"));

/** What an entry says of itself: its first line, and its formulas. */
export function explained(entry) {
  if (!entry) return [];
  const formula = Array.isArray(entry.formula) ? entry.formula.join("\n") : entry.formula;
  const doc = entry.doc && !formula?.includes(entry.doc) ? entry.doc : null;
  return [doc ? el("p", { class: "doc" }, doc) : null, formula ? el("pre", { class: "formula" }, formula) : null].filter(Boolean);
}

/** Fields of every option of `entry`, reading and changing the spec `text`; `changed(newText)`. */
export function options(entry, text, changed) {
  const spec = parseSpec(text);
  return (entry?.options ?? []).map((option, k) =>
    field(option, spec.args[option.name] ?? spec.positional[k], (value) => {
      const { positional, args } = named(entry, spec);
      const next = { ...args };
      if (value === null) delete next[option.name];
      else next[option.name] = value;
      changed(specText({ name: spec.name, positional, args: next }));
    }));
}

/** A spec whose positional arguments are named, so that each can be replaced. Pure. */
export function named(entry, spec) {
  const args = {};
  spec.positional.forEach((value, k) => {
    if (entry.options[k]) args[entry.options[k].name] = value;
  });
  return { positional: spec.positional.slice(entry.options.length), args: { ...args, ...spec.args } };
}

/** A part that is one of several: a select with the chosen one's options, formula and words below. */
export function part(title, entries, text, live, changed) {
  const { name } = parseSpec(text);
  const entry = entries.find((e) => e.name === name);
  const select = el("select", { "aria-label": title, onchange: () => changed(select.value) },
    ...entries.map((e) => el("option", { value: e.name }, e.name)));
  if (!entry) select.append(el("option", { value: name }, name));
  select.value = name;
  const fields = options(entry, text, changed);
  return el("fieldset", { class: "group" }, el("legend", {}, title, " ", mark(live)),
    entries.length > 1 || !entry ? select : null, ...explained(entry), el("div", { class: "fields" }, ...fields));
}

/** A list of parts: each with its options and a way out, and a select that adds. `changed([texts])`. */
export function list(title, entries, texts, live, changed) {
  const rows = texts.map((text, k) => {
    const entry = entries.find((e) => e.name === parseSpec(text).name);
    const without = () => changed(texts.filter((_, i) => i !== k));
    const remove = el("button", { type: "button", class: "quiet", onclick: without, "aria-label": t("remove", { name: parseSpec(text).name }) }, "×");
    return el("div", { class: "entry" }, el("h4", {}, parseSpec(text).name, remove), ...explained(entry),
      el("div", { class: "fields" }, ...options(entry, text, (next) => changed(texts.map((old, i) => (i === k ? next : old))))));
  });
  const add = el("select", { "aria-label": `${t("add")} ${title}`, onchange: () => add.value && changed([...texts, add.value]) },
    el("option", { value: "" }, `+ ${t("add")}`),
    ...entries.filter((e) => !texts.some((text) => parseSpec(text).name === e.name)).map((e) => el("option", { value: e.name }, e.name)));
  return el("fieldset", { class: "group" }, el("legend", {}, title, " ", mark(live)), ...rows, add);
}

// What the page says, in English and Chinese.

import { $$ } from "./dom.js";

export const LANGUAGES = ["en", "zh"];
const KEPT = "gannet-lab-language";
let language = "en";
let words = {};

/** The language kept from last time, else the browser's. */
export function preferred() {
  const kept = remembered(KEPT);
  if (LANGUAGES.includes(kept)) return kept;
  return navigator.language?.startsWith("zh") ? "zh" : "en";
}

/** Files of words of a page: the common ones, and those that `<html data-words="runs">` names; later ones win. */
const files = () => ["words", ...(document.documentElement.dataset.words ?? "").split(" ").filter(Boolean)];

/** Load a language and put it on every element that names a word. */
export async function use(name) {
  const load = async (file) => (await fetch(new URL(`${file}.${name}.json`, import.meta.url))).json();
  words = Object.assign({}, ...(await Promise.all(files().map(load))));
  language = name;
  remember(KEPT, name);
  document.documentElement.lang = name === "zh" ? "zh-Hans" : "en";
  document.title = t("title");
  apply(document);
}

export const current = () => language;

/** The word of a key, `{name}` filled in; the key itself where there is none. */
export function t(key, values = {}) {
  return fill(words[key] ?? key, values);
}

export const has = (key) => key in words;

export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));

/** `data-word` becomes the text, `data-label` the ARIA label and tooltip. */
export function apply(root) {
  for (const node of $$("[data-word]", root)) node.textContent = t(node.dataset.word);
  for (const node of $$("[data-label]", root)) {
    node.setAttribute("aria-label", t(node.dataset.label));
    if (node.localName === "button") node.title = t(node.dataset.label);
  }
}

/** A small thing kept between visits; nothing where the browser forbids it. */
export function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // private windows may refuse: the page works without
  }
}

export function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

// Small parts of the page: a picture on a canvas, a labelled slider, a card that opens.

import { el } from "../dom.js";
import { t } from "../words.js";

/** A canvas that shows a bitmap as it is; CSS makes it larger without smoothing. */
export function picture(label) {
  return el("canvas", { class: "pixels", role: "img", "aria-label": label, width: 1, height: 1 });
}

export function put(canvas, bitmap) {
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}

/** A slider with its name and its value; `input(value)` hears of every move. Returns `{root, set(value)}`. */
export function slider(name, { min, max, step, value, text = (v) => v.toFixed(1), title = null }, input) {
  const shown = el("output", {}, text(value));
  const range = el("input", { type: "range", min, max, step, value, "aria-label": title ?? name, oninput: () => {
    set(Number(range.value));
    input(Number(range.value));
  } });
  const set = (v) => {
    range.value = v;
    shown.textContent = text(v);
    range.setAttribute("aria-valuetext", text(v));
  };
  set(value);
  return { root: el("label", { class: "slider" }, el("span", { title }, name), range, shown), set };
}

/** A part of the page that opens, and asks for nothing while it is closed: `open(body)` is called when it is opened. */
export function card(id, opened) {
  const body = el("div", { class: "card-body" });
  const root = el("details", { class: "card", id }, el("summary", {}, el("h2", {}, t(`card.${id}`)), el("span", { class: "hint" }, t(`about.${id}`))), body);
  root.addEventListener("toggle", () => root.open && opened());
  return { root, body };
}

/** Say in a card that it is at work, or why it cannot. */
export function told(body, text, bad = false) {
  body.replaceChildren(el("p", { class: bad ? "hint bad" : "hint", role: "status" }, text));
}

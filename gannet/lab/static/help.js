// Shortcuts, and the list of them.

import { el } from "./dom.js";
import { t } from "./words.js";

export const SHORTCUTS = [
  [" ", "space", "play"], ["d", "D", "step-discriminator"], ["g", "G", "step-generator"], ["b", "B", "step-both"], ["s", "S", "slow"],
  ["r", "R", "reset"], ["ArrowLeft", "←", "back"], ["ArrowRight", "→", "forward"], ["1", "1 … 9", "layers"], ["c", "C", "compare"], ["m", "M", "lessons"],
  ["l", "L", "language"], ["t", "T", "theme"], ["?", "?", "help"],
];

/** Whether a key belongs to the field or button it was pressed in. */
function taken(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return true;
  if (target.matches("input:not([type=checkbox]):not([type=range]), select, textarea")) return true;
  if (target.matches("input[type=range]") && key.startsWith("Arrow")) return true;
  return key === " " && target.matches("button, summary, input, [role=button]");
}

/** `run(name, key)` is called for the shortcuts that are pressed. */
export function listen(run) {
  document.addEventListener("keydown", (event) => {
    if (taken(event)) return;
    const layer = /^[1-9]$/.test(event.key);
    const found = SHORTCUTS.find(([key]) => key === event.key || key === event.key.toLowerCase());
    if (!found && !layer) return;
    event.preventDefault();
    run(layer ? "layers" : found[2], event.key);
  });
}

export function show() {
  const rows = SHORTCUTS.map(([, key, name]) => el("tr", {}, el("td", {}, el("kbd", {}, key === "space" ? t("key.space") : key)), el("td", {}, t(name))));
  const dialog = el("dialog", { class: "help", "aria-label": t("help") }, el("h2", {}, t("help")), el("table", {}, el("tbody", {}, ...rows)),
    el("p", { class: "hint" }, t("help.plane")), el("p", { class: "hint" }, t("help.hide")),
    el("div", { class: "row end" }, el("button", { type: "button", class: "primary", onclick: () => dialog.close() }, t("close"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// Where the reals come from: tiles of named densities, a drawing, a table, an image.

import { el, svg } from "./dom.js";
import { Drawing } from "./drawing.js";
import { sketch } from "./sketches.js";
import { parseSpec, plainText } from "./spec.js";
import { at } from "./settings.js";
import { current, has, t } from "./words.js";

const LARGEST_IMAGE = 128;

/** Names of the densities in the catalogue: of `points`' own choices, or the entries themselves. Pure. */
export function densities(catalog) {
  const entries = catalog.data ?? [];
  const choices = entries.find((e) => e.name === "points")?.options.find((o) => o.name === "name")?.choices;
  return choices ?? entries.map((e) => e.name);
}

/** The density of the settings' `data`, or "" for other sources. Pure. */
export function chosenDensity(settings) {
  const spec = parseSpec(String(at(settings, "data", "")));
  return spec.name === "points" ? plainText(spec.args.name ?? spec.positional[0] ?? "") : "";
}

export class Data {
  /** `use(values)` hands the "data" command's values on; `refuse(text)` says what is wrong with a file. */
  constructor(root, catalog, use, refuse, palette) {
    Object.assign(this, { root, catalog, use, refuse, palette });
    this.drawing = new Drawing((points) => use({ kind: "drawing", points }), palette);
  }

  /** Mark the density of the settings; the tiles are made anew for other names or another language only. */
  show(settings) {
    const chosen = chosenDensity(settings);
    const names = densities(this.catalog);
    const made = [current(), ...names].join();
    if (made !== this.made) {
      this.made = made;
      const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset.density : null;
      this.root.replaceChildren(...names.map((name) => this.tile(name)), ...this.own());
      if (focused) this.root.querySelector(`[data-density="${CSS.escape(focused)}"]`)?.focus();
    }
    for (const tile of this.root.querySelectorAll("[aria-pressed]")) {
      tile.setAttribute("aria-pressed", String(tile.dataset.density === chosen));
    }
  }

  tile(name) {
    const d = (sketch(name) ?? []).map(([x, y]) => `M${(38 * x).toFixed(1)} ${(38 * (1 - y)).toFixed(1)}h0`).join("");
    const doc = (this.catalog.data ?? []).find((e) => e.name === name)?.doc;
    const word = has(`density.${name}`) ? t(`density.${name}`) : name;
    return el("button", { class: "tile", type: "button", title: doc ? `${word}: ${doc}` : word, "data-density": name, "aria-pressed": "false", onclick: () => this.use({ kind: "points", name }) },
      svg("svg", { viewBox: "0 0 38 38", "aria-hidden": "true" }, svg("path", { d })), el("span", {}, word));
  }

  own() {
    const csv = el("input", { type: "file", accept: ".csv,.txt,text/csv", class: "unseen", onchange: () => this.csv(csv) });
    const image = el("input", { type: "file", accept: "image/*", class: "unseen", onchange: () => this.image(image) });
    const file = (input, sign, word) => el("label", { class: "tile file" }, input, el("b", { "aria-hidden": "true" }, sign), el("span", {}, t(word)));
    return [
      el("button", { class: "tile", type: "button", "data-density": "drawing", onclick: () => this.drawing.open() }, el("b", { "aria-hidden": "true" }, "✎"), el("span", {}, t("data.draw"))),
      file(csv, "▦", "data.csv"), file(image, "◩", "data.image"),
    ];
  }

  async csv(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    if (file.size > 4_000_000) return void this.refuse(t("data.too_big", { size: "4 MB" }));
    await this.use({ kind: "csv", text: await file.text() });
  }

  /** An image becomes a small PNG here, whatever it was; dark places are dense. */
  async image(input) {
    const [file] = input.files;
    input.value = "";
    if (!file) return;
    let picture;
    try {
      picture = await createImageBitmap(file);
    } catch {
      return void this.refuse(t("data.no_image"));
    }
    const scale = Math.min(1, LARGEST_IMAGE / Math.max(picture.width, picture.height));
    const canvas = el("canvas", { width: Math.max(1, Math.round(picture.width * scale)), height: Math.max(1, Math.round(picture.height * scale)) });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    await this.use({ kind: "density", png: canvas.toDataURL("image/png").split(",")[1] });
  }
}

// The panel below the picture: what the chosen part is, and its forms.

import { el } from "./dom.js";
import { field, list, mark, part } from "./forms.js";
import { at, partsOf } from "./settings.js";
import { t } from "./words.js";

const setting = (path) => ({ kind: "setting", path });

/** What each part of the picture opens. */
const CONTENTS = {
  noise: [{ kind: "option", path: "generator", from: "generators", option: "latent" }],
  generator: [{ kind: "part", path: "generator", from: "generators" }, setting("ema.halflife")],
  fakes: [setting("batch"), { kind: "list", path: "augment", from: "augment" }],
  reals: [{ kind: "tiles" }],
  discriminator: [
    { kind: "part", path: "discriminator", from: "discriminators" },
    { kind: "list", path: "regularizers", from: "regularizers" }, { kind: "list", path: "constraints", from: "constraints" },
  ],
  lossD: [{ kind: "part", path: "objective", from: "objectives" }, { kind: "list", path: "regularizers", from: "regularizers" }],
  lossG: [{ kind: "part", path: "objective", from: "objectives" }, { kind: "part", path: "opponent", from: "opponents" }],
  gradientD: [{ kind: "part", path: "optim.discriminator", from: "optimisers" }, setting("players.discriminator.repeats")],
  gradientG: [{ kind: "part", path: "optim.generator", from: "optimisers" }, setting("players.generator.repeats")],
};

const RESTARTS = new Set(["generator", "discriminator"]);

export class Panel {
  /** `set(path, value)` changes a setting; `tiles()` makes the data's own panel. */
  constructor(root, catalog, set, tiles) {
    Object.assign(this, { root, catalog, set, tiles });
    this.part = null;
  }

  /** Show a part with these settings, or the introduction for `null`. Focus stays on the field that was left. */
  show(part, settings) {
    const left = this.root.contains(document.activeElement) ? document.activeElement : null;
    const which = left && this.called(left).indexOf(left);
    this.part = part;
    const head = part ? [el("h2", {}, t(`part.${part}`)), el("p", { class: "about" }, t(`about.${part}`))] : this.introduction();
    const groups = part ? CONTENTS[part].map((content) => this.group(content, settings)) : [];
    this.root.replaceChildren(...head, ...groups.filter(Boolean));
    if (left) this.called(left)[which]?.focus();
  }

  /** Every field that is called what `field` is; several forms may have a weight. */
  called(field) {
    const name = (node) => node.name || node.getAttribute("aria-label");
    return [...this.root.querySelectorAll("input, select, button")].filter((node) => name(node) === name(field));
  }

  introduction() {
    const steps = [1, 2, 3].map((k) => el("li", {}, t(`intro.${k}`)));
    return [el("h2", {}, t("intro.title")), el("ol", { class: "intro" }, ...steps), el("p", { class: "hint" }, t("intro.hint"))];
  }

  group(content, settings) {
    const { kind, path, from } = content;
    if (kind === "tiles") return this.tiles();
    const live = !RESTARTS.has(path);
    const set = (value) => this.set(path, value);
    if (kind === "list") {
      const texts = partsOf(settings[path]);
      return list(t(`setting.${path}`), this.catalog[from] ?? [], texts, live, (next) => set(`[${next.join(", ")}]`));
    }
    if (kind === "setting") {
      const option = this.catalog.settings?.find((s) => s.path === path);
      return option && el("fieldset", { class: "group" }, el("legend", {}, t(`setting.${path}`), " ", mark(live)),
        el("div", { class: "fields" }, field(option, at(settings, path), (value) => set(value ?? "none"))));
    }
    const entries = this.catalog[from] ?? [];
    const text = String(at(settings, path, ""));
    const title = t(`setting.${path}`);
    if (kind === "option") {
      const only = entries.map((e) => ({ ...e, doc: null, options: e.options.filter((o) => o.name === content.option) }));
      return part(t(`setting.${content.option}`), only, text, live, set);
    }
    return part(title, entries, text, live, set);
  }
}

// What can be taken away: the image, an animation, the exact command, Python, the link.

import { download, el } from "../dom.js";
import { trying } from "../page.js";
import { t } from "../words.js";
import { explorer } from "./api.js";
import { card } from "./parts.js";
import { look, moved } from "./state.js";

const FRAMES = 60;
const FPS = 20;

/** The keyframes of an animation: the pins, or a small round about the present point. */
export function keyframes(state) {
  const round = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => moved(state.point, x, y));
  return (state.pins.length > 1 ? state.pins : round).map((point) => look(state, point));
}

export class Exports {
  constructor(world) {
    this.world = world;
  }

  build() {
    const { root, body } = card("export", () => {});
    const button = (word, run) => el("button", { type: "button", id: `export-${word}`, onclick: (event) => this.busy(event.currentTarget, run) }, t(`export.${word}`));
    body.append(el("div", { class: "row" }, button("png", () => this.file("png", "png")), button("gif", () => this.file("gif", "gif")),
      button("command", () => this.text("command")), button("python", () => this.text("python")), button("link", () => this.link())), el("p", { class: "hint" }, t("export.gif.how")));
    return root;
  }

  async busy(button, run) {
    button.disabled = true;
    await trying(run);
    button.disabled = false;
    button.focus();
  }

  ask(kind) {
    const state = this.world.state();
    const animated = kind === "gif";
    return explorer.export(this.world.run, { kind, looks: animated ? keyframes(state) : [look(state)], ...(animated ? { frames: FRAMES, fps: FPS } : {}) });
  }

  async file(kind, ending) {
    this.world.say(t("export.making"));
    download(`${this.world.run.replaceAll("/", "-")}.${ending}`, await this.ask(kind));
  }

  async text(kind) {
    const words = await (await this.ask(kind)).text();
    const dialog = el("dialog", { "aria-label": t(`export.${kind}`) }, el("h2", {}, t(`export.${kind}`)), el("pre", { tabindex: "0" }, words),
      el("div", { class: "row end" }, el("button", { type: "button", onclick: () => this.copy(words) }, t("copy")),
        el("button", { type: "button", onclick: () => download(`explore.${kind === "python" ? "py" : "sh"}`, words) }, t("download")),
        el("button", { type: "button", class: "primary", onclick: () => dialog.close() }, t("close"))));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  link() {
    return this.copy(this.world.link());
  }

  async copy(text) {
    await navigator.clipboard?.writeText(text);
    this.world.say(t("copied"));
  }

  changed() {}
}

// The row of controls: play, step, slow motion, speed, reset, seed, and the line of time.

import { el } from "./dom.js";
import { t } from "./words.js";

const SPEEDS = [1, 5, 20, 100, 500, 0];
export const SLOW = 1250;

export class Controls {
  /** `act(command, values)` is carried out on every session shown. */
  constructor(root, act) {
    this.act = act;
    this.seeking = null;
    const button = (id, sign, run) => el("button", { id, type: "button", "data-label": id, onclick: run }, el("span", { "aria-hidden": "true" }, sign), el("span", { class: "word", "data-word": `${id}.word` }));
    this.play = el("button", { id: "play", type: "button", class: "primary", onclick: () => this.toggle() });
    this.slow = button("slow", "◷", () => this.toggleSlow());
    this.slow.setAttribute("aria-pressed", "false");
    this.speed = el("select", { id: "speed", "data-label": "speed", onchange: () => act("speed", { steps_per_second: Number(this.speed.value) }) });
    this.seed = el("input", { id: "seed", type: "number", min: 0, step: 1, value: 0, onchange: () => this.reset() });
    this.time = el("input", { id: "time", type: "range", min: 0, max: 1, value: 0, step: 1, "data-label": "time", oninput: () => this.seek(Number(this.time.value)) });
    this.step = el("output", { id: "step", "data-label": "step.label" }, "0");
    this.rate = el("span", { id: "rate", class: "hint" });
    const group = (name, ...children) => el("div", { class: "group", role: "group", "data-hide": name, "data-label": `group.${name}` }, ...children);
    root.append(
      group("play", this.play, button("reset", "↺", () => this.reset())),
      group("step", ...["discriminator", "generator", "both"].map((who) => button(`step-${who}`, "▸", () => this.once(who)))),
      group("slow", this.slow, el("label", {}, el("span", { "data-word": "speed.word" }), this.speed)),
      group("seed", el("label", {}, el("span", { "data-word": "seed" }), this.seed)),
      group("time", button("back", "◂", () => this.by(-1)), this.time, button("forward", "▸", () => this.by(1)),
        el("span", { class: "counter" }, el("span", { "data-word": "step.word" }), " ", this.step), this.rate),
    );
  }

  toggle() {
    return this.act(this.status?.playing ? "pause" : "play");
  }

  once(who) {
    return this.act("step", { who, n: 1 });
  }

  reset() {
    const seed = Math.max(0, Math.floor(Number(this.seed.value) || 0));
    return this.act("reset", { seed });
  }

  toggleSlow() {
    const on = this.slow.getAttribute("aria-pressed") !== "true";
    this.slow.setAttribute("aria-pressed", String(on));
    return this.act("slow", { milliseconds: on ? SLOW : 0 });
  }

  /** Back or forward by a fiftieth of the way. */
  by(direction) {
    const most = Number(this.time.max);
    this.time.value = Number(this.time.value) + direction * Math.max(1, Math.round(most / 50));
    return this.seek(Number(this.time.value));
  }

  /** Go to a step; while one is under way only the newest wish is kept. */
  async seek(step) {
    const busy = this.seeking !== null;
    this.seeking = step;
    if (busy) return;
    for (let asked = null; asked !== this.seeking; ) {
      asked = this.seeking;
      await this.act("seek", { step: asked });
    }
    this.seeking = null;
  }

  /** Put a side's status on the controls. */
  show(status, furthest, seed) {
    this.status = status;
    const word = status.playing ? "pause" : "play";
    if (this.said !== word + t(word)) {
      this.said = word + t(word);
      this.play.replaceChildren(el("span", { "aria-hidden": "true" }, status.playing ? "❚❚" : "▶"), el("span", {}, t(word)));
    }
    this.step.textContent = status.step.toLocaleString("en").replaceAll(",", "\u2009");
    this.time.max = Math.max(1, furthest);
    if (this.seeking === null) this.time.value = status.step;
    this.time.setAttribute("aria-valuetext", `${t("step.word")} ${status.step}`);
    if (document.activeElement !== this.seed && seed !== undefined) this.seed.value = seed;
    if (document.activeElement !== this.speed && SPEEDS.includes(status.speed)) this.speed.value = String(status.speed);
    this.measure(status);
  }

  /** Steps a second, over the last second or so. */
  measure({ playing, step, busy }) {
    const now = performance.now();
    this.since ??= { now, step };
    if (busy) this.rate.textContent = busy;
    else if (!playing) this.rate.textContent = "";
    if (now - this.since.now < 900) return;
    const rate = ((step - this.since.step) * 1000) / (now - this.since.now);
    if (playing && !busy && rate > 0) this.rate.textContent = t("rate", { n: rate < 10 ? rate.toFixed(1) : Math.round(rate) });
    this.since = { now, step };
  }

  speak() {
    const chosen = this.speed.value;
    this.speed.replaceChildren(...SPEEDS.map((s) => el("option", { value: String(s) }, s ? t("rate", { n: s }) : t("speed.full"))));
    this.speed.value = chosen || "0";
    this.said = null;
    if (this.status) this.show(this.status, Number(this.time.max));
  }
}

// One run: its curves as they grow, its pictures, what happened, how it was made and how it goes on.

import { el } from "../dom.js";
import { short } from "../scale.js";
import { t } from "../words.js";
import { toast } from "../page.js";
import { board, follow } from "./api.js";
import { Curves, ink, roleName } from "./curves.js";
import { clock, shell } from "./format.js";
import { progress, stateMark, when } from "./list.js";
import { Series } from "./series.js";
import { timeline } from "./timeline.js";

const MOST_SCORES = 4;
const JUDGED = ["p_real_above_fake", "p_real_above_fake/heldout", "p_train_above_heldout"];

export class View {
  constructor(root, name, palette) {
    Object.assign(this, { root, name, palette, series: new Series(), row: null, charts: [], at: null });
  }

  /** Build everything anew, in the present language. */
  build() {
    this.charts = [];
    this.head = el("div", { class: "run-head" });
    this.figures = el("section", { class: "charts", "aria-label": t("charts.label") });
    this.pictures = el("section", { class: "pictures", "aria-label": t("samples") });
    this.events = el("section", { class: "events" });
    this.made = el("section", { class: "made" });
    this.root.replaceChildren(el("a", { class: "back", href: "#" }, t("back.list")), this.head,
      el("div", { class: "run" }, el("div", { class: "stack" }, this.figures, this.events), el("div", { class: "stack" }, this.pictures, this.made)));
    this.image = el("img", { alt: "" });
    this.slider = el("input", { type: "range", min: 0, value: 0, "aria-label": t("samples.scrub"), oninput: () => this.picture(Number(this.slider.value)) });
    this.under = el("p", { class: "hint", "aria-live": "polite" });
    this.pictures.append(el("h2", {}, t("samples")), el("div", { class: "grid" }, this.image), this.slider, this.under);
    if (this.row) this.show();
  }

  /** Ask for what is new. */
  async look() {
    const [row, news] = await Promise.all([board.one(this.name), follow(this.name, this.series)]);
    const first = this.row === null;
    this.row = row;
    if (first || news) this.show();
    else this.title();
  }

  show() {
    this.title();
    this.curves();
    const last = this.series.saved.length - 1;
    this.slider.max = Math.max(0, last);
    this.slider.disabled = last < 1;
    if (this.at === null || this.at >= this.newest || this.at > last) this.picture(last);
    else this.under.textContent = this.caption();
    this.newest = last;
    this.told(this.events, this.series.events(), (events) => [el("h2", {}, t("timeline")), timeline(events)]);
    this.told(this.made, [this.row.settings, this.row.command], () => this.experiment());
  }

  /** Write a part anew only where it says something else. */
  told(part, value, children) {
    const text = JSON.stringify(value);
    if (part.dataset.told === text) return;
    part.dataset.told = text;
    part.replaceChildren(...children(value));
  }

  title() {
    const { row } = this;
    const explore = `/explore?${new URLSearchParams({ run: this.name })}`;
    const parameters = Object.entries(row.parameters).map(([role, n]) => `${roleName(role)} ${short(n)}`).join(" · ");
    const fact = (word, value) => el("div", {}, el("dt", {}, t(word)), el("dd", {}, value));
    this.told(this.head, [row, when(row.changed)], () => [
      el("div", { class: "row" }, el("h2", {}, row.name), stateMark(row), el("a", { class: "button", href: explore }, t("open.explorer"))),
      el("p", { class: "hint" }, [row.title, row.text && row.state === "broken" ? row.text : ""].filter(Boolean).join(" · ")),
      el("dl", { class: "facts" }, fact("column.share", progress(row)), fact("column.seconds", clock(row.seconds)),
        fact("column.speed", row.speed ? t("speed.value", { n: short(row.speed) }) : "–"), fact("column.changed", when(row.changed)),
        parameters ? fact("parameters", parameters) : null),
      row.bad ? el("p", { class: "hint" }, t("log.bad", { n: row.bad })) : null,
      row.standing.length ? el("p", { class: "alarm" }, el("span", { class: "sign", "aria-hidden": "true" }, "▲"), el("span", {}, row.alarm?.text ?? row.standing.join(", "))) : null,
    ].filter(Boolean));
  }

  /** Charts for what the log holds: losses, who is ahead, spread, and the first scores. */
  curves() {
    const steps = this.series.keys("step");
    const wanted = [["losses", () => this.losses(steps)], ["judged", () => this.numbers(JUDGED)], ["spread", () => this.numbers(["spread"])]];
    const scores = this.series.keys("score").slice(0, MOST_SCORES);
    const names = [...wanted.filter(([, lines]) => lines().length).map(([name]) => name), ...scores];
    if (this.drawn !== names.join() || !this.charts.length) {
      this.drawn = names.join();
      this.charts = [
        ...wanted.filter(([name]) => names.includes(name)).map(([name, lines]) =>
          new Curves(() => t(`chart.${name}`), lines, this.palette, name === "judged" ? { range: [0, 1.02] } : name === "spread" ? { least: 0 } : {})),
        ...scores.map((key) => new Curves(() => key, () => [{ label: "", ink: "manifold", dash: [], points: this.series.points("score", key) }], this.palette)),
      ];
      this.figures.replaceChildren(...this.charts.map((chart) => chart.figure));
      if (!names.length) this.figures.append(el("p", { class: "hint" }, t("curves.none")));
    }
    this.charts.forEach((chart) => chart.redraw());
  }

  losses() {
    const roles = this.series.keys("step").filter((key) => key.startsWith("loss/")).map((key) => key.slice(5));
    return roles.map((role, k) => ({ label: roleName(role), ...(role === "discriminator" || role === "generator" ? { ink: role, dash: [] } : ink(k)), points: this.series.points("step", `loss/${role}`) }));
  }

  numbers(keys) {
    return keys.map((key, k) => ({ label: t(`number.${key}`), ...ink(k), points: this.series.points("step", key) })).filter((line) => line.points.length);
  }

  /** Show the picture of this index. */
  picture(index) {
    this.at = index;
    this.slider.value = index;
    this.image.hidden = index < 0;
    if (index >= 0) this.image.src = board.picture(this.name, index) + `&of=${this.series.saved[index]}`;
    this.under.textContent = this.caption();
    this.image.alt = t("samples.alt", { n: this.under.textContent });
    this.slider.setAttribute("aria-valuetext", this.under.textContent);
  }

  caption() {
    const saved = this.series.saved;
    return this.at < 0 || !saved.length ? t("samples.none") : t("samples.at", { n: saved[this.at].toLocaleString("en"), k: this.at + 1, of: saved.length });
  }

  experiment() {
    const line = (words) => el("div", { class: "command" }, el("pre", {}, words), el("button", { type: "button", onclick: () => copied(words) }, t("copy")));
    const rows = Object.entries(this.row.settings).map(([key, value]) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, value)));
    return [el("h2", {}, t("go.on")), line(`gannet resume ${shell(this.row.path)}`),
      ...(this.row.command ? [el("p", { class: "hint" }, t("begun.by")), line(this.row.command)] : []),
      el("details", {}, el("summary", {}, t("experiment")), el("div", { class: "wide" }, el("table", { class: "settings" }, el("tbody", {}, ...rows))))];
  }

  redraw() {
    this.charts.forEach((chart) => chart.redraw());
  }
}

async function copied(text) {
  await navigator.clipboard?.writeText(text);
  toast(t("copied"));
}

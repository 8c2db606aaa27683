// Several runs side by side: curves over one another, pictures of one moment, scores, and the settings that differ.

import { el } from "../dom.js";
import { short } from "../scale.js";
import { t } from "../words.js";
import { board, follow } from "./api.js";
import { Curves, ink, roleName } from "./curves.js";
import { address } from "./format.js";
import { stateMark } from "./list.js";
import { atSamples, Series } from "./series.js";

const MOST_CHARTS = 8;

/** Index of the best of some values, `-1` where nothing is better than the rest. Pure. */
export function bestOf(values, better) {
  const known = values.filter((v) => Number.isFinite(v));
  if (!better || known.length < 2 || new Set(known).size < 2) return -1;
  return values.indexOf(better === "lower" ? Math.min(...known) : Math.max(...known));
}

export class Compare {
  constructor(root, names, palette) {
    Object.assign(this, { root, names, palette, found: null, charts: [], at: null });
    this.series = names.map(() => new Series());
  }

  build() {
    this.charts = [];
    this.told = "";
    this.legend = el("ul", { class: "sides" });
    this.figures = el("section", { class: "charts", "aria-label": t("charts.label") });
    this.slider = el("input", { type: "range", min: 0, max: 1000, value: 1000, "aria-label": t("samples.scrub"), oninput: () => this.moment(Number(this.slider.value)) });
    this.under = el("p", { class: "hint", "aria-live": "polite" });
    this.grids = el("div", { class: "grids" });
    this.tables = el("section", { class: "tables" });
    this.root.replaceChildren(el("a", { class: "back", href: "#" }, t("back.list")), el("h2", {}, t("compare.title")), this.legend, this.figures,
      el("section", { class: "pictures" }, el("h2", {}, t("samples.same")), this.slider, this.under, this.grids), this.tables);
    this.images = this.names.map((name, k) => {
      const [image, words] = [el("img", { alt: "" }), el("figcaption", {})];
      this.grids.append(el("figure", {}, image, words));
      return { image, words, name, k };
    });
    if (this.found) this.show();
  }

  async look() {
    const [found, ...news] = await Promise.all([board.compare(this.names), ...this.names.map((name, k) => follow(name, this.series[k]))]);
    const first = !this.found;
    this.found = found;
    if (first || news.some(Boolean)) this.show();
  }

  show() {
    this.legend.replaceChildren(...this.found.runs.map((run, k) => el("li", {}, this.mark(k), el("a", { href: address("run", [run.name]) }, run.name), stateMark(run))));
    this.curves();
    this.moment(Number(this.slider.value));
    const told = JSON.stringify([this.found.scores, this.found.differences]);
    if (told === this.told) return;
    this.told = told;
    this.tables.replaceChildren(el("h2", {}, t("scores")), this.scores(), el("h2", {}, t("differences")), this.differences());
  }

  mark(k) {
    const own = ink(k);
    return el("i", { class: `side-mark ${own.ink}${own.dash.length ? " dashed" : ""}`, "aria-hidden": "true" });
  }

  /** One chart for each loss and score that any of the runs has. */
  curves() {
    const all = (kind) => [...new Set(this.series.flatMap((s) => s.keys(kind)))];
    const wanted = [
      ...all("step").filter((key) => key.startsWith("loss/")).map((key) => ["step", key, () => t("chart.loss", { name: roleName(key.slice(5)) })]),
      ...all("score").map((key) => ["score", key, () => key]),
    ].slice(0, MOST_CHARTS);
    const names = wanted.map(([, key]) => key).join();
    if (names !== this.drawn || !this.charts.length) {
      this.drawn = names;
      this.charts = wanted.map(([kind, key, title]) => new Curves(title, () => this.lines(kind, key), this.palette));
      this.figures.replaceChildren(...this.charts.map((chart) => chart.figure));
    }
    this.charts.forEach((chart) => chart.redraw());
  }

  lines(kind, key) {
    return this.series.map((series, k) => ({ label: this.names[k], ...ink(k), points: series.points(kind, key) })).filter((line) => line.points.length);
  }

  /** Show the pictures of a moment, 0 to 1000 of the longest run: for each run the last one taken until then. */
  moment(share) {
    const end = Math.max(0, ...this.series.flatMap((s) => s.saved.slice(-1)));
    const samples = Math.round((share / 1000) * end);
    this.under.textContent = t("samples.until", { n: samples.toLocaleString("en") });
    this.slider.setAttribute("aria-valuetext", this.under.textContent);
    for (const { image, words, name, k } of this.images) {
      const { saved } = this.series[k];
      const index = atSamples(saved, samples);
      image.hidden = !saved.length;
      const source = saved.length ? board.picture(name, index) + `&of=${saved[index]}` : "";
      if (source && image.getAttribute("src") !== source) image.src = source;
      const told = saved.length ? t("at.samples", { n: saved[index].toLocaleString("en") }) : t("samples.none");
      words.replaceChildren(this.mark(k), el("span", {}, name), el("small", {}, told));
      image.alt = t("samples.alt", { n: `${name}, ${told}` });
    }
  }

  scores() {
    if (!this.found.scores.length) return el("p", { class: "hint" }, t("scores.none"));
    const rows = this.found.scores.flatMap(({ metric, better, alike, last, best }) => [["last", last], ["best", best]].map(([which, values]) => {
      const won = alike ? bestOf(values, better) : -1;
      const arrow = { lower: " ↓", higher: " ↑" }[better] ?? "";
      return el("tr", {}, el("th", { scope: "row" }, metric + arrow, el("small", {}, ` ${t(`score.${which}`)}`), alike ? null : el("small", { class: "unlike" }, ` ${t("score.unlike")}`)),
        ...values.map((v, k) => el("td", { class: k === won ? "won" : null }, v === null ? "–" : short(v), k === won ? el("span", { class: "unseen" }, t("score.won")) : null)));
    }));
    return this.table(t("scores"), rows);
  }

  differences() {
    if (!this.found.differences.length) return el("p", { class: "hint" }, t("differences.none"));
    return this.table(t("differences"), this.found.differences.map(({ key, values }) => el("tr", {}, el("th", { scope: "row" }, key), ...values.map((v) => el("td", {}, v ?? "–")))));
  }

  table(caption, rows) {
    return el("div", { class: "wide" }, el("table", { class: "sides-table" }, el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, el("th", {}), ...this.names.map((name, k) => el("th", { scope: "col" }, this.mark(k), name)))), el("tbody", {}, ...rows)));
  }

  redraw() {
    this.charts.forEach((chart) => chart.redraw());
  }
}

// The table of runs: sorted, filtered, ticked; all of it by keyboard too.

import { $$, el } from "../dom.js";
import { short } from "../scale.js";
import { current, has, t } from "../words.js";
import { address, ago, clock, COLUMNS, filtered, firstScore, sorted } from "./format.js";

const STATES = ["training", "finished", "stopped", "broken"];
export const MOST = 12;

/** The state of a run as a coloured word with its reason. */
export function stateMark(row) {
  const why = `why.${row.state}.${row.why}`;
  return el("span", { class: `condition ${row.state}`, title: row.text || null }, el("b", {}, t(`state.${row.state}`)),
    has(why) ? el("small", {}, t(why, { host: row.text })) : null);
}

/** How far a run has come, as a bar and in words. */
export function progress(row) {
  const [goal, unit] = row.goal.samples ? [short(row.goal.samples), "samples"] : row.goal.minutes ? [short(row.goal.minutes), "minutes"] : ["", "none"];
  const text = unit === "minutes" ? t("progress.minutes", { n: short(row.samples), goal }) : unit === "samples" ? t("progress.samples", { n: short(row.samples), goal }) : t("progress.none", { n: short(row.samples) });
  return el("div", { class: "progress" }, row.share === null ? null : el("progress", { max: 1, value: row.share, "aria-label": t("column.share") }), el("small", {}, text));
}

const score = (row, which) => {
  const [name, value] = firstScore(row, which);
  return name === null ? "–" : el("span", { title: name }, short(value ?? NaN), which === "last" ? el("small", {}, ` ${name.split(/[[(]/)[0]}`) : null);
};

export function when(seconds) {
  if (!seconds) return "–";
  const [count, unit] = ago(seconds, Date.now() / 1000);
  return new Intl.RelativeTimeFormat(current() === "zh" ? "zh-CN" : "en", { numeric: "auto", style: "short" }).format(count, unit);
}

export class List {
  /** `pick(names)` opens the comparison. */
  constructor(root, pick) {
    Object.assign(this, { root, pick, rows: [], column: "changed", down: true, text: "", state: "", ticked: new Set(), shown: new Map(), said: {} });
  }

  /** Build the frame of the table; the rows come with `put`. */
  build() {
    this.shown.clear();
    this.said = {};
    this.filter = el("input", { type: "search", id: "filter", value: this.text, placeholder: t("filter.hint"), "aria-label": t("filter"), oninput: () => this.again({ text: this.filter.value }) });
    const states = el("select", { "aria-label": t("filter.state"), onchange: () => this.again({ state: states.value }) },
      el("option", { value: "" }, t("state.all")), ...STATES.map((s) => el("option", { value: s, selected: s === this.state }, t(`state.${s}`))));
    this.go = el("button", { type: "button", id: "compare", class: "primary", disabled: true, onclick: () => this.pick([...this.ticked]) });
    this.count = el("span", { class: "hint", role: "status" });
    this.body = el("tbody", { onkeydown: (event) => this.key(event) });
    this.heads = COLUMNS.map((column) => el("th", { scope: "col", class: column },
      el("button", { type: "button", class: "quiet", onclick: () => this.sort(column) }, t(`column.${column}`), el("i", { "aria-hidden": "true" }))));
    const table = el("table", { class: "runs" }, el("caption", { class: "unseen" }, t("table.caption")),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, el("span", { class: "unseen" }, t("tick"))), ...this.heads)), this.body);
    this.root.replaceChildren(el("div", { class: "row tools" }, this.filter, states, this.count, this.go), el("div", { class: "wide" }, table));
    this.put(this.rows);
  }

  again(asked) {
    Object.assign(this, asked);
    this.put(this.rows);
  }

  sort(column) {
    // A name reads best from the beginning, everything else with the most or the newest first.
    this.again(this.column === column ? { down: !this.down } : { column, down: !["name", "state", "score", "best"].includes(column) });
  }

  /** Show these rows: only what changed is written anew, so that focus and selection stay where they are. */
  put(rows) {
    this.rows = rows;
    const seen = sorted(filtered(rows, this.text, this.state), this.column, this.down);
    const there = new Set(rows.map((r) => r.name));
    for (const name of this.ticked) if (!there.has(name)) this.ticked.delete(name);
    this.heads.forEach((head, k) => {
      const own = COLUMNS[k] === this.column;
      head.setAttribute("aria-sort", own ? (this.down ? "descending" : "ascending") : "none");
      head.querySelector("i").textContent = own ? (this.down ? " ↓" : " ↑") : "";
    });
    const lines = seen.map((row) => this.line(row));
    if (lines.some((line, k) => this.body.children[k] !== line) || lines.length !== this.body.children.length) {
      const focus = document.activeElement;
      this.body.replaceChildren(...lines);
      if (focus && this.body.contains(focus)) focus.focus({ preventScroll: true });
    }
    if (!lines.length) this.body.append(el("tr", { class: "none" }, el("td", { colspan: COLUMNS.length + 1 }, t(rows.length ? "table.filtered" : "table.none"))));
    this.count.textContent = t("table.count", { n: seen.length, of: rows.length });
    this.ticks();
  }

  line(row) {
    const known = this.shown.get(row.name);
    const told = JSON.stringify([row, when(row.changed)]);
    if (known?.told === told) return known.line;
    const line = known?.line ?? el("tr", {}, this.box(row.name), el("th", { scope: "row" }));
    const link = line.querySelector("a") ?? el("a", { href: address("run", [row.name]) });
    link.textContent = row.name;
    const cell = (name, ...children) => el("td", { class: name, "data-head": t(`column.${name}`) }, ...children);
    const alarm = row.standing.length || row.alarm ? el("span", { class: row.standing.length && row.state === "training" ? "bell now" : "bell", role: "img", title: row.alarm?.text ?? "", "aria-label": t("alarm.last", { text: row.alarm?.text ?? "" }) }, "▲") : null;
    line.children[1].replaceChildren(link, " ", ...(alarm ? [alarm] : []), el("small", {}, row.title));
    while (line.children.length > 2) line.lastChild.remove();
    line.append(cell("state", stateMark(row)), cell("share", progress(row)), cell("speed", row.speed ? t("speed.value", { n: short(row.speed) }) : "–"),
      cell("seconds", clock(row.seconds)), cell("score", score(row, "last")), cell("best", score(row, "best")), cell("changed", when(row.changed)));
    this.shown.set(row.name, { line, told });
    return line;
  }

  box(name) {
    const box = el("input", { type: "checkbox", checked: this.ticked.has(name), "aria-label": t("tick.run", { name }), onchange: () => this.tick(name, box) });
    return el("td", {}, box);
  }

  tick(name, box) {
    if (box.checked) this.ticked.add(name);
    else this.ticked.delete(name);
    this.ticks();
  }

  ticks() {
    this.go.disabled = this.ticked.size < 2 || this.ticked.size > MOST;
    this.go.textContent = t(this.ticked.size > MOST ? "compare.most" : this.ticked.size < 2 ? "compare.tick" : "compare.runs", { n: Math.min(MOST, this.ticked.size) });
  }

  /** Up and down move between runs, Space ticks, Enter opens as on any link. */
  key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    const lines = $$("tr:not(.none)", this.body);
    const at = lines.findIndex((line) => line.contains(event.target));
    if (by && at >= 0) {
      event.preventDefault();
      lines[Math.max(0, Math.min(lines.length - 1, at + by))].querySelector("a").focus();
    } else if (event.key === " " && event.target.localName === "a") {
      event.preventDefault();
      lines[at].querySelector("input").click();
    }
  }
}

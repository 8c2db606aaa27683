// The lessons' drawer: a list, then one card at a time. What a card does are the learner's own commands.

import { $$, el } from "./dom.js";
import { Codes } from "./lesson_codes.js";
import { done, fromAddress, toAddress } from "./lesson_done.js";
import { api } from "./net.js";
import { Phase } from "./phase.js";
import { current, t } from "./words.js";

const WIDGETS = { phase: Phase, codes: Codes };

export class Lessons {
  /** `button` opens and closes the drawer `root`; `lab` is the laboratory it plays on. */
  constructor(root, button, lab) {
    Object.assign(this, { root, button, lab });
    this.all = null;
    this.lesson = null;
    this.card = 0;
    this.widget = null;
    button.addEventListener("click", () => this.flip());
    root.addEventListener("keydown", (event) => this.key(event));
    addEventListener("hashchange", () => this.follow());
  }

  get open() {
    return !this.root.hidden;
  }

  flip() {
    return this.open ? this.close() : this.list();
  }

  /** Escape closes, and the arrow keys turn the cards, while the drawer has the focus. */
  key(event) {
    const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.close();
    else if (turn && this.lesson && !event.target.matches("input")) this.go(this.card + turn);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Go where the address points; whether it pointed at a lesson. */
  async follow() {
    const place = fromAddress(location.hash);
    if (!place || (this.lesson?.id === place.id && this.card === place.card)) return Boolean(place);
    const lesson = (await this.fetched()).find(({ id }) => id === place.id);
    if (!lesson) {
      this.lab.refuse(t("lesson.missing"));
      await this.list();
    } else await this.begin(lesson, place.card);
    return true;
  }

  async fetched() {
    this.all ??= await api.lessons();
    return this.all;
  }

  async list() {
    this.lesson = null;
    await this.fetched();
    this.show();
    this.root.querySelector("button")?.focus();
  }

  close() {
    this.leave();
    this.lesson = null;
    this.root.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    this.button.focus();
    this.lab.follow("load");
  }

  leave() {
    this.widget?.leave();
    this.widget = null;
    for (const node of $$(".marked")) node.classList.remove("marked");
  }

  async begin(lesson, card = 0) {
    if (this.lab.sides().length > 1) this.lab.drop(1);
    this.lesson = lesson;
    this.card = -1;
    await this.go(Math.min(card, lesson.cards.length - 1));
  }

  /** Turn to a card. One that is not reached from the card before begins with what the cards before it had loaded. */
  async go(number) {
    const { cards } = this.lesson;
    if (this.busy || number < 0 || number >= cards.length) return;
    this.busy = true;
    this.root.setAttribute("aria-busy", "true"); // hundreds of turns may be played now
    try {
      const next = number === this.card + 1;
      const from = next ? number : cards.slice(0, number + 1).findLastIndex((card) => card.load);
      this.card = number;
      history.replaceState(null, "", location.pathname + location.search + toAddress(this.lesson.id, number));
      this.show();
      for (const card of cards.slice(Math.max(0, from), number)) await this.carryOut({ ...card, play: undefined });
      await this.carryOut(cards[number]);
    } finally {
      this.busy = false;
      this.root.removeAttribute("aria-busy");
    }
    this.notice();
  }

  async carryOut({ load, set = [], turns = {}, play, show }) {
    const { lab } = this;
    if (load) await lab.one("load", { state: load });
    for (const values of set) await lab.one("set", values);
    for (const [who, n] of Object.entries(turns)) await lab.one("step", { who, n });
    if (show) {
      lab.legend.take(Object.fromEntries(Object.keys(lab.legend.on).map((name) => [name, show.includes(name)])));
      lab.layers(lab.legend.asked());
    }
    if (play !== undefined) await lab.act(play ? "play" : "pause");
  }

  /** The list or the card, anew. */
  show() {
    const focused = this.root.contains(document.activeElement);
    this.leave();
    this.root.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.root.replaceChildren(...(this.lesson ? this.page() : this.contents()));
    if (this.lesson) this.mark();
    if (focused) this.root.querySelector("h2").focus();
  }

  contents() {
    const items = this.all.map((lesson) =>
      el("li", {}, el("button", { type: "button", class: "lesson", onclick: () => this.begin(lesson) },
        el("b", {}, said(lesson.title)), el("span", {}, said(lesson.summary)))));
    return [this.head(t("lessons")), el("p", { class: "hint" }, t("lessons.hint")), el("ol", { class: "lesson-list" }, ...items)];
  }

  page() {
    const { title, cards, claim } = this.lesson;
    const { text, try: asked, ask, widget } = cards[this.card];
    const last = this.card === cards.length - 1;
    this.tick = asked ? el("span", { class: "tick-box", "aria-hidden": "true" }) : null;
    this.task = asked ? el("p", { class: "lesson-try", "aria-live": "polite" }, this.tick, el("span", {}, el("b", {}, t("lesson.try")), " ", said(asked.text))) : null;
    this.widget = widget ? new WIDGETS[widget](this.lab) : null;
    const answer = ask && el("details", { class: "lesson-ask" }, el("summary", {}, said(ask.question)), el("p", {}, said(ask.answer)));
    const proven = last && el("p", { class: "lesson-claim" }, el("b", {}, t("lesson.claim")), " ", said(claim));
    return [
      this.head(said(title), t("lesson.place", { n: this.card + 1, of: cards.length })),
      ...said(text).trim().split(/\n\s*\n/).map((paragraph) => el("p", {}, paragraph)),
      this.widget?.root, this.task, answer, proven || null, this.foot(cards.length),
    ].filter(Boolean);
  }

  head(title, place = "") {
    return el("div", { class: "lesson-head" }, el("h2", { tabindex: "-1" }, title), el("span", { class: "hint" }, place),
      el("button", { type: "button", class: "quiet icon", "aria-label": t("close"), title: t("close"), onclick: () => this.close() }, "✕"));
  }

  foot(count) {
    const turn = (by, word, kind) => el("button", {
      type: "button", class: kind, "data-turn": by, disabled: this.card + by < 0, onclick: () => this.turn(by),
    }, t(word));
    const last = this.card === count - 1;
    return el("div", { class: "row lesson-foot" },
      el("button", { type: "button", class: "quiet", onclick: () => this.list() }, t("lessons.all")), turn(-1, "lesson.back", ""),
      last ? el("button", { type: "button", class: "primary", "data-turn": "end", onclick: () => this.list() }, t("lesson.end")) : turn(1, "lesson.next", "primary"));
  }

  /** Turn by a button, which keeps the focus. */
  async turn(by) {
    await this.go(this.card + by);
    this.root.querySelector(`[data-turn="${by}"]:not(:disabled), [data-turn="end"]`)?.focus();
  }

  mark() {
    for (const name of this.lesson.cards[this.card].mark ?? []) {
      const [kind, ...rest] = name.split(".");
      const selector = { chart: `[data-chart="${rest}"]`, plane: ".plane-figure", measures: ".readout", alarms: "#alarms" }[kind]
        ?? `[data-part-of-model="${name}"]`;
      for (const node of $$(selector)) node.classList.add("marked");
    }
  }

  /** Look whether what the card asks for is done; the widget looks too. */
  notice() {
    if (!this.open || !this.lesson) return;
    this.widget?.notice();
    if (this.busy) return; // what is there now may be the game before this card's
    const asked = this.lesson.cards[this.card]?.try;
    if (!asked || !this.tick || this.tick.textContent) return;
    const { side, legend, part } = this.lab;
    const view = { settings: this.lab.settings(), status: side.status, changes: side.state?.changes, measures: side.header.measures, layers: legend.on, part };
    if (!done(asked.when, view)) return;
    this.tick.textContent = "✓";
    this.task.classList.add("done");
    this.lab.say(t("lesson.done"));
  }

  /** Everything in another language. */
  speak() {
    if (!this.open) return;
    const ticked = this.tick?.textContent;
    this.show();
    if (ticked) this.notice();
  }
}

/** A text of a lesson in the page's language. */
const said = (text) => text[current()] ?? text.en;

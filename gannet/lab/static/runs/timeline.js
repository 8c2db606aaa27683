// What happened in a run, as sentences in their order: the auto-pilot's decisions, alarms, notes, the end.

import { el } from "../dom.js";
import { short } from "../scale.js";
import { current, has, t } from "../words.js";

const ALARMS = [
  [/^mode collapse/, "collapse"], [/^the discriminator is far ahead/, "discriminator_ahead"], [/diverged|not finite|rolled back/, "not_finite"],
];

/** A row of the log as one sentence, in the page's language where it is known what it says. Pure but for the words. */
export function sentence(row) {
  if (row.kind === "stop") return has(`end.${row.reason}`) ? t(`end.${row.reason}`) : t("end.other", { reason: row.reason ?? "?" });
  if (row.kind === "decision") {
    const moved = has(`actuator.${row.actuator}`) ? t(`actuator.${row.actuator}`) : row.actuator ?? "?";
    return t("decision", { moved, factor: short(row.factor ?? NaN), controller: row.controller ?? "?", text: row.text ?? "" });
  }
  const known = row.kind === "alarm" && current() !== "en" && ALARMS.find(([words]) => words.test(row.text ?? ""));
  return known ? `${t(`alarm.short.${known[1]}`)} (${row.text})` : row.text ?? "";
}

/** The list of all events, the newest first. */
export function timeline(rows) {
  const items = rows.map((row) => el("li", { class: `event ${row.kind}` },
    el("span", { class: "when" }, t("at.samples", { n: short(row.samples) })), el("b", {}, t(`event.${row.kind}`)), el("span", {}, sentence(row))));
  return items.length ? el("ol", { class: "timeline", reversed: true }, ...items.reverse()) : el("p", { class: "hint" }, t("timeline.none"));
}

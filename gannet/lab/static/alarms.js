// Alarms: what is going wrong, why, and a button that applies the remedy.

import { el } from "./dom.js";
import { has, t } from "./words.js";

/** The key of an alarm's words. Pure. */
export const keyOf = (name) => `alarm.${name.replaceAll(/[\s-]+/g, "_")}`;

export class Alarms {
  constructor(root) {
    this.root = root;
    this.said = "";
  }

  /** Show every side's alarms; rebuilt only where they changed, so that focus and screen readers rest. */
  show(sides) {
    const all = sides.flatMap((side) => (side.status?.alarms ?? []).map((alarm) => ({ side, alarm })));
    const errors = sides.filter((s) => s.status?.error);
    const said = JSON.stringify([all.map(({ side, alarm }) => [side.name, alarm.name, alarm.remedy]), errors.map((s) => s.status.error), t("remedy")]);
    if (said === this.said) return;
    this.said = said;
    const name = (side) => (sides.length > 1 ? el("b", {}, `${side.name}: `) : null);
    this.root.replaceChildren(
      ...errors.map((side) => el("div", { class: "alarm error" }, el("p", {}, name(side), side.status.error),
        el("button", { type: "button", onclick: () => side.do("reset") }, t("reset.word")))),
      ...all.map(({ side, alarm }) => el("div", { class: "alarm" }, el("span", { class: "sign", "aria-hidden": "true" }, "▲"),
        el("p", {}, name(side), has(keyOf(alarm.name)) ? t(keyOf(alarm.name)) : alarm.text),
        alarm.remedy ? el("button", { type: "button", class: "primary", title: `${alarm.remedy.path} = ${alarm.remedy.value}`, onclick: () => side.do("set", alarm.remedy) }, t("remedy"),
          el("code", {}, `${alarm.remedy.path} = ${alarm.remedy.value}`)) : null)),
    );
  }
}

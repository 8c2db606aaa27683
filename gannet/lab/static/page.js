// What the explorer and the dashboard begin with: language, theme, a server that is ready, and the words for all of it.

import { $, el } from "./dom.js";
import { api, Refused } from "./net.js";
import * as theme from "./theme.js";
import * as words from "./words.js";

/** Wait until the server has its engine. */
async function ready() {
  for (;;) {
    try {
      const answer = await api.ready();
      if (answer.error) throw new Refused(answer.error, 500);
      if (answer.ready) return;
    } catch (error) {
      if (error.status !== 0 && error.status !== 503) throw error;
    }
    await new Promise((done) => setTimeout(done, 250));
  }
}

/** Take the token out of the address, where it would be seen, copied and kept; a cookie has it now. */
function conceal() {
  const url = new URL(location.href);
  if (!url.searchParams.has("token")) return;
  url.searchParams.delete("token");
  history.replaceState(null, "", url);
}

/** Say something to all eyes, and to a screen reader. */
export function toast(text) {
  const box = $("#toast");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => (box.hidden = true), 6000);
}

export const say = (text) => ($("#said").textContent = text);

/** Do something that may be refused, and say why it was. */
export async function trying(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    toast(error.message);
    return undefined;
  }
}

/** The list of shortcuts of a page: `[[key as it is shown, word], …]`. */
export function shortcuts(rows) {
  const dialog = el("dialog", { class: "help", "aria-label": words.t("help") }, el("h2", {}, words.t("help")),
    el("table", {}, el("tbody", {}, ...rows.map(([key, word]) => el("tr", {}, el("td", {}, el("kbd", {}, key)), el("td", {}, words.t(word)))))),
    el("div", { class: "row end" }, el("button", { type: "button", class: "primary", onclick: () => dialog.close() }, words.t("close"))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** Whether a key that was pressed belongs to the field or button it was pressed in. */
export function taken(event) {
  const { target } = event;
  return event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")
    || target.matches("input:not([type=checkbox]), select, textarea") || (event.key === " " && target.matches("button, summary, input, a"));
}

/** Begin a page: `start()` builds it, `redraw()` is called when the theme is another, `speak()` when the language is. */
export async function begin({ start, redraw, speak, help }) {
  let built = false;
  const language = async (name) => {
    await words.use(name);
    $("#language").textContent = name === "en" ? "中文" : "English";
    if (built) speak();
  };
  try {
    conceal();
    await language(words.preferred());
    $("#theme").addEventListener("click", theme.follow(() => built && redraw()));
    $("#language").addEventListener("click", () => language(words.current() === "en" ? "zh" : "en"));
    $("#help").addEventListener("click", () => shortcuts(help));
    $(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the fragment says where one is, and stays as it is
      $(event.target.getAttribute("href"))?.focus();
    });
    await ready();
    await start();
    built = true;
    words.apply(document);
    addEventListener("unhandledrejection", (event) => {
      if (!(event.reason instanceof Refused)) return;
      event.preventDefault();
      toast(event.reason.message);
    });
    $("#waiting").remove();
    document.body.dataset.ready = "";
  } catch (error) {
    $("#waiting").replaceChildren(el("p", {}, error.message));
    if (!(error instanceof Refused)) console.error(error);
  }
}

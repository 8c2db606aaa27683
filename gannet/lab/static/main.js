// The page begins: language and theme first, then the server, then the laboratory.

import { $, $$ } from "./dom.js";
import * as help from "./help.js";
import { Lab } from "./lab.js";
import { fromAddress } from "./lesson_done.js";
import { api, Refused } from "./net.js";
import { fromFragment, hidden } from "./share.js";
import * as theme from "./theme.js";
import * as words from "./words.js";

let lab = null;

/** Wait until the server has its engine. A server without that question has it already. */
async function ready() {
  for (;;) {
    try {
      const answer = await api.ready();
      if (answer.error) throw new Refused(answer.error, 500);
      if (answer.ready !== false) return;
    } catch (error) {
      if (error.status === 404) return;
      if (error.status !== 0 && error.status !== 503) throw error;
    }
    await new Promise((done) => setTimeout(done, 250));
  }
}

/** What the link says, if it says anything that can be read. */
async function linked() {
  try {
    return await fromFragment(location.hash);
  } catch {
    return "damaged";
  }
}

async function language(name) {
  await words.use(name);
  $("#language").textContent = name === "en" ? "中文" : "English";
  lab?.speak();
}

const other = () => language(words.current() === "en" ? "zh" : "en");

function run(name, key, flip) {
  const { controls, legend } = lab;
  const actions = {
    play: () => controls.toggle(), slow: () => controls.toggleSlow(), reset: () => controls.reset(), back: () => controls.by(-1),
    forward: () => controls.by(1), compare: () => lab.compare(), language: other, theme: flip, help: help.show, lessons: () => lab.lessons.flip(),
    layers: () => lab.say(legend.flip(Number(key) - 1, (asked) => lab.layers(asked))),
  };
  return (actions[name] ?? (() => controls.once(name.replace("step-", ""))))();
}

/** Take the token out of the address, where it would be seen, copied and kept; a cookie has it now. */
function conceal() {
  const url = new URL(location.href);
  if (!url.searchParams.has("token")) return;
  url.searchParams.delete("token");
  history.replaceState(null, "", url);
}

async function begin() {
  conceal();
  await language(words.preferred());
  const flip = theme.follow(() => lab?.redraw());
  $("#theme").addEventListener("click", flip);
  $("#language").addEventListener("click", other);
  $("#help").addEventListener("click", help.show);
  await ready();
  lab = new Lab(await api.catalog(), theme.current);
  words.apply(document);
  const hide = hidden(location.search);
  for (const node of $$("[data-hide]")) if (hide.has(node.dataset.hide)) node.hidden = true;
  lab.speak();
  const bundle = await linked();
  const states = bundle?.sessions?.slice(0, 2) ?? [undefined];
  lab.legend.take(bundle?.layers);
  for (const state of states) await lab.add(state);
  if (bundle === "damaged") lab.refuse(words.t("link.damaged"));
  $("#compare").addEventListener("click", () => lab.compare());
  help.listen((name, key) => run(name, key, flip));
  if (fromAddress(location.hash)) await lab.lessons.follow();
  addEventListener("pagehide", () => lab.sides().forEach((side) => side.close()));
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  $("#waiting").remove();
  document.body.dataset.ready = "";
}

begin().catch((error) => {
  $("#waiting").replaceChildren(Object.assign(document.createElement("p"), { textContent: error.message }));
  console.error(error);
});

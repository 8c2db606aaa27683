// What can be taken away: link, files, pictures, text made by the server.

import { composed } from "./charts.js";
import { $, download, el } from "./dom.js";
import { gif } from "./gif.js";
import { api } from "./net.js";
import { toFragment } from "./share.js";
import { t } from "./words.js";

const GIF_SIZE = 400;
const GIF_EVERY = 200;
const GIF_MOST = 60;
const TEXTS = { csv: "csv", yaml: "yaml", python: "py", command: "sh" };

export class Exports {
  /** `lab`: `{sides(), bundle(), load(bundle), say(text), refuse(text), palette()}`. */
  constructor(root, lab) {
    this.lab = lab;
    this.recording = null;
    const item = (word, run) => el("button", { type: "button", id: `export-${word}`, "data-word": `export.${word}`, onclick: () => this.after(run) });
    const file = el("input", { type: "file", accept: ".json,application/json", class: "unseen", onchange: () => this.load(file) });
    root.append(
      item("link", () => this.link()), item("save", () => this.save()), el("label", { class: "button" }, file, el("span", { "data-word": "export.load" })), el("hr"),
      item("png", () => this.png()), item("gif", () => this.gif()), el("hr"),
      ...Object.keys(TEXTS).map((as) => item(as, () => this.text(as))),
    );
    closing($("#share-menu"));
  }

  async after(run) {
    $("#share-menu").open = false;
    try {
      await run();
    } catch (error) {
      this.lab.refuse(error.message);
    }
  }

  async link() {
    const url = new URL(location.href);
    url.searchParams.delete("token"); // what lets one in is not shared
    try {
      url.hash = await toFragment(await this.lab.bundle());
    } catch (error) {
      if (error instanceof RangeError) return this.lab.refuse(t("link.long"));
      throw error;
    }
    history.replaceState(null, "", url);
    await copied(url.href);
    return this.lab.say(t("link.copied"));
  }

  async save() {
    download("gannet-lab.json", JSON.stringify(await this.lab.bundle(), null, 1), "application/json");
  }

  async load(input) {
    const [file] = input.files;
    input.value = "";
    $("#share-menu").open = false;
    if (!file) return;
    try {
      await this.lab.load(JSON.parse(await file.text()));
      this.lab.say(t("loaded"));
    } catch (error) {
      this.lab.refuse(error instanceof SyntaxError ? t("load.bad") : error.message);
    }
  }

  png() {
    const sheet = composed([...document.querySelectorAll(".planes canvas, .charts canvas")], this.lab.palette().paper);
    return new Promise((done) => sheet.toBlob((blob) => done(download("gannet-lab.png", blob))));
  }

  /** Begin recording the plane, or end it; ends by itself after sixty pictures. */
  gif() {
    if (this.recording) return this.finish();
    const sources = [...document.querySelectorAll(".planes canvas")];
    const sheet = el("canvas", { width: GIF_SIZE * sources.length, height: GIF_SIZE });
    const pen = sheet.getContext("2d", { willReadFrequently: true });
    const frames = [];
    const take = () => {
      pen.fillStyle = this.lab.palette().paper;
      pen.fillRect(0, 0, sheet.width, sheet.height);
      sources.forEach((source, k) => pen.drawImage(source, k * GIF_SIZE, 0, GIF_SIZE, GIF_SIZE));
      frames.push(pen.getImageData(0, 0, sheet.width, sheet.height).data);
    };
    const timer = setInterval(() => (frames.length < GIF_MOST - 1 ? take() : this.finish()), GIF_EVERY);
    this.recording = { frames, sheet, take, timer };
    take();
    this.mark();
    this.lab.say(t("gif.recording"));
    return undefined;
  }

  /** What the plane shows at the end is the last picture. */
  finish() {
    const { frames, sheet, take, timer } = this.recording;
    clearInterval(timer);
    take();
    this.recording = null;
    this.mark();
    download("gannet-lab.gif", new Blob([gif(frames, sheet.width, sheet.height, GIF_EVERY / 10)], { type: "image/gif" }));
  }

  mark() {
    const button = $("#export-gif");
    button.dataset.word = this.recording ? "export.gif.stop" : "export.gif";
    button.textContent = t(button.dataset.word);
    $("#share-menu").classList.toggle("recording", Boolean(this.recording));
  }

  async text(as) {
    const name = `gannet-lab.${TEXTS[as]}`;
    const texts = await Promise.all(this.lab.sides().map(({ id }) => api.text(id, as)));
    if (as === "csv") return texts.forEach((text, k) => download(k ? name.replace(".csv", "-b.csv") : name, text, "text/csv"));
    return this.show(as, texts.join("\n"), name);
  }

  /** A text to read and copy. */
  show(as, text, name) {
    const dialog = el("dialog", { class: "text", "aria-label": t(`export.${as}`) }, el("h2", {}, t(`export.${as}`)), el("pre", { tabindex: "0" }, text),
      el("div", { class: "row end" },
        el("button", { type: "button", onclick: () => copied(text).then(() => this.lab.say(t("copied"))) }, t("copy")),
        el("button", { type: "button", onclick: () => download(name, text) }, t("download")),
        el("button", { type: "button", class: "primary", onclick: () => dialog.close() }, t("close"))));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }
}

/** Close a menu by Escape, and when the pointer or the focus goes elsewhere: it covers what lies below it. */
function closing(menu) {
  const away = ({ target }) => menu.contains(target) || (menu.open = false);
  document.addEventListener("pointerdown", away);
  document.addEventListener("focusin", away);
  menu.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || !menu.open) return;
    menu.open = false;
    $("summary", menu).focus();
  });
}

/** Text on the clipboard; browsers without one get a selected field's copy. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

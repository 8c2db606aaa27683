// Small helpers for elements; no text is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return node;
}

/** An HTML element; `onclick: f` listens, `false` leaves an attribute out. */
export const el = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);

/** An SVG element. */
export const svg = (name, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Sizes of canvases in CSS pixels, until they change: to ask for one makes the browser lay out the whole page. */
const sizes = new WeakMap();
const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => sizes.delete(target)));

function sizeOf(canvas) {
  if (!sizes.has(canvas)) {
    resized.observe(canvas);
    sizes.set(canvas, [canvas.clientWidth, canvas.clientHeight]);
  }
  return sizes.get(canvas);
}

/** A canvas' 2-D context at the device's resolution, cleared; sizes in CSS pixels. */
export function surface(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = sizeOf(canvas);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

/** Call `work` at most once a screen refresh, however often it is asked. */
export function onceARefresh(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** Call `work` at once, and then at most once in so many milliseconds; the last of what was asked is never lost. */
export function paced(work, milliseconds) {
  let [last, timer] = [-Infinity, 0];
  const run = () => {
    timer = 0;
    last = performance.now();
    work();
  };
  return () => {
    if (timer) return;
    const left = last + milliseconds - performance.now();
    if (left <= 0) run();
    else timer = setTimeout(run, left);
  };
}

/** Hand a file to the person. */
export function download(name, content, kind = "text/plain") {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: kind }));
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

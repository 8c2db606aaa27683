// Light or dark: the browser's wish, or the person's.

import { colours } from "./colours.js";
import { remember, remembered } from "./words.js";

const KEPT = "gannet-lab-theme";
const wish = matchMedia("(prefers-color-scheme: dark)");
let palette = colours("light");

export const current = () => palette;

/** Put the theme on the page; `redraw()` is called whenever it changes. */
export function follow(redraw) {
  const put = () => {
    const theme = remembered(KEPT) ?? (wish.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    palette = colours(theme);
    redraw();
  };
  wish.addEventListener("change", put);
  put();
  return () => {
    remember(KEPT, document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    put();
  };
}

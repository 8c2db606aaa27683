// Colours of the two themes, safe for colour-blind eyes: blue is real, orange is fake, violet the discriminator. Pure.

const LIGHT = {
  paper: "#ffffff", ink: "#1d2733", faint: "#8a94a3", rule: "#dfe3e8", real: "#0b5fa5", fake: "#c2500a", manifold: "#00795a",
  fold: "#b8347f", arrow: "#1d2733", field: "#5b6470", optimal: "#1d2733", r1: "#5a3fa0", discriminator: "#6b3fa0",
  generator: "#c2500a", trail: "#c2500a", codes: ["#c2500a", "#00795a", "#6b3fa0", "#b8347f", "#8a6d00", "#0b7fa5", "#566273", "#9c2f2f"],
  heat: [[246, 200, 152], [252, 251, 249], [158, 204, 236]],
};
const DARK = {
  paper: "#12171e", ink: "#e8ecf1", faint: "#8592a3", rule: "#2b3440", real: "#6fc3ff", fake: "#ffa057", manifold: "#3fd6a5",
  fold: "#ff8ccb", arrow: "#f4f6f8", field: "#a9b4c2", optimal: "#f4f6f8", r1: "#c3aaff", discriminator: "#c3a6ff",
  generator: "#ffa057", trail: "#ffa057", codes: ["#ffa057", "#3fd6a5", "#c3a6ff", "#ff8ccb", "#e3c34a", "#5fd3f0", "#a9b4c2", "#ff8f8f"],
  heat: [[98, 60, 26], [26, 31, 39], [20, 72, 112]],
};

/** The colours of a theme, `"light"` or `"dark"`, with `lut` `[256 × 3]`: D from 0 (fake) to 255 (real). */
export function colours(theme) {
  const chosen = theme === "dark" ? DARK : LIGHT;
  return { ...chosen, lut: lookup(chosen.heat) };
}

/** A power below 1, so that a discriminator that has only begun to decide is seen already. */
const CONTRAST = 0.65;

function lookup([low, middle, high]) {
  const table = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const t = (i - 127.5) / 127.5;
    const end = t < 0 ? low : high;
    for (let k = 0; k < 3; k++) table[3 * i + k] = Math.round(middle[k] + (end[k] - middle[k]) * Math.abs(t) ** CONTRAST);
  }
  return table;
}

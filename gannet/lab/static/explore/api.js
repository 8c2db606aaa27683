// The explorer's questions to the server; pictures come as bitmaps, so that no address of them is needed.

import { ask, json } from "../net.js";

const at = (what, run, more = {}) => `/api/explore/${what}?${new URLSearchParams({ run, ...more })}`;

/** A PNG in base64 as a bitmap. */
export const bitmap = (base64) => createImageBitmap(new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], { type: "image/png" }));

export const explorer = {
  shelf: () => json("GET", "/api/shelf"),
  facts: (run) => json("GET", at("facts", run)),
  images: async (run, looks, more = {}) => createImageBitmap(await (await ask("POST", at("images", run), { looks, ...more })).blob()),
  directions: (run) => json("POST", at("directions", run), { method: "pca" }),
  nearest: (run, look, n) => json("POST", at("nearest", run), { look, n }),
  activations: (run, look, layer) => json("POST", at("activations", run), { look, layer }),
  saved: (run, index) => at("saved", run, { index }),
  export: async (run, body) => (await ask("POST", at("export", run), body)).blob(),
};

import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.location = { search: "" };
const { Side } = await import("../../../gannet/lab/static/side.js");

/** A side that has heard of one status, and what it tells from then on. */
function begun(status) {
  const side = new Side("A");
  side.take(status, null);
  const told = [];
  side.addEventListener("status", () => told.push(side.status));
  return { side, told };
}

test("a status from before the newest answer is no news", () => {
  const { side, told } = begun({ version: 5, playing: false, step: 62 });
  side.take({ version: 4, playing: true, step: 61 }, null);
  assert.deepEqual([side.status.playing, side.status.step, side.furthest], [false, 62, 62]);
  assert.deepEqual(told, []);
});

test("a status of the same version or a later one is taken", () => {
  const { side, told } = begun({ version: 5, playing: false, step: 62 });
  side.take({ version: 5, playing: false, step: 62 }, null);
  side.take({ version: 6, playing: false, step: 10, furthest: 62 }, null);
  assert.deepEqual([side.status.step, side.furthest, told.length], [10, 62, 2]);
});

test("an old status takes no state with it", () => {
  const { side } = begun({ version: 5, step: 1 });
  side.take({ version: 1, step: 0 }, { seed: 3 });
  assert.deepEqual([side.state.seed, side.status.step], [3, 1]);
});

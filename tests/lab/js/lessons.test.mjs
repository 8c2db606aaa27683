// When a task counts as done, where an address points, what a phase plot says, which codes a game has.

import assert from "node:assert/strict";
import { test } from "node:test";
import { done, fromAddress, toAddress } from "../../../gannet/lab/static/lesson_done.js";

const view = {
  settings: {
    objective: "hinge(pairing=average)", regularizers: { r1: "r1(weight=0.5)", lecam: "lecam" },
    players: { discriminator: { repeats: 5 } },
  },
  status: { step: 100 }, changes: [{ step: 100, path: "turn.generator", value: "1" }, { step: 200, path: "turn.discriminator", value: "1" }],
  measures: { modes: 3 }, layers: { manifold: true, heat: false }, part: "lossG",
};

test("settings", () => {
  assert.ok(done({ setting: "objective", is: "hinge" }, view));
  assert.ok(!done({ setting: "objective", is: "saturating" }, view));
  assert.ok(done({ setting: "regularizers", has: "r1" }, view));
  assert.ok(!done({ setting: "regularizers", has: "wgan-gp" }, view));
  assert.ok(done({ setting: "regularizers", has: "r2" }, { settings: { regularizers: "[r2(weight=1)]" } }));
  assert.ok(done({ setting: "players.discriminator.repeats", least: 5 }, view));
  assert.ok(!done({ setting: "players.discriminator.repeats", most: 4 }, view));
  assert.ok(done({ setting: "players.generator.repeats", most: 1 }, { settings: { players: { generator: { repeats: "1" } } } }));
  assert.ok(!done({ setting: "optim.nobody.lr", least: 0 }, view));
});

test("an option inside a part", () => {
  assert.ok(done({ setting: "regularizers.r1.weight", least: 0.5 }, view));
  assert.ok(!done({ setting: "regularizers.r1.weight", least: 1 }, view));
  assert.ok(done({ setting: "regularizers.r1.weight", least: 1 }, { settings: { regularizers: "[r1(weight=2)]" } }));
});

test("steps, turns, measures, layers, parts", () => {
  assert.ok(done({ step: 100 }, view));
  assert.ok(!done({ step: 101 }, view));
  assert.ok(done({ turns: "generator" }, view));
  assert.ok(!done({ turns: "discriminator" }, view), "it lies in a future that was rewound");
  assert.ok(done({ measure: "modes", least: 3 }, view));
  assert.ok(!done({ measure: "kl", most: 3 }, view));
  assert.ok(done({ layer: "manifold" }, view));
  assert.ok(!done({ layer: "heat" }, view));
  assert.ok(done({ part: "lossG" }, view));
  assert.ok(!done({ part: "lossD" }, {}));
  assert.ok(!done({ strange: 1 }, view));
});

test("addresses", () => {
  assert.deepEqual(fromAddress("#lesson=r1-dirac/3"), { id: "r1-dirac", card: 2 });
  assert.deepEqual(fromAddress(toAddress("infogan", 0)), { id: "infogan", card: 0 });
  assert.deepEqual(fromAddress(toAddress("infogan", 4)), { id: "infogan", card: 4 });
  for (const other of ["", "#lab=abc", "#lesson=../x", "#lesson=a/b", "#lesson=<b>"]) assert.equal(fromAddress(other), null);
});

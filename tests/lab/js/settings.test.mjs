import assert from "node:assert/strict";
import { test } from "node:test";
import { assigned, at, differing, effective, partsOf } from "../../../gannet/lab/static/settings.js";
import { fromFragment, fromTheStart, hidden, LONGEST, toFragment } from "../../../gannet/lab/static/share.js";
import { formulas, parseSpec, plainText, specText, splitTop, valueText } from "../../../gannet/lab/static/spec.js";

test("a spec is split at its own commas only", () => {
  const spec = parseSpec('r1(0.5, weight=cosine(2, 0.2), name="a, (b", betas=[0.5, 0.9])');
  assert.equal(spec.name, "r1");
  assert.deepEqual(spec.positional, ["0.5"]);
  assert.deepEqual(spec.args, { weight: "cosine(2, 0.2)", name: '"a, (b"', betas: "[0.5, 0.9]" });
  assert.deepEqual(parseSpec("hinge"), { name: "hinge", positional: [], args: {} });
});

test("spec text comes back as it was", () => {
  for (const text of ["hinge", "adam(lr=0.1, betas=[0, 0.99])", 'top-k(of=nonsaturating(pairing="none"), share=linear(1, 0.5, over="50%"))']) {
    assert.equal(specText(parseSpec(text)), text);
  }
  assert.deepEqual(splitTop("r1(weight=1), r2"), ["r1(weight=1)", "r2"]);
});

test("values of forms become spec text", () => {
  assert.equal(valueText("paired", "choice"), '"paired"');
  assert.equal(valueText("none", "choice"), "none");
  assert.equal(valueText("cosine(1, 0.1)", "schedule"), "cosine(1, 0.1)");
  assert.equal(valueText("[0.5, 0.9]", "text"), "[0.5, 0.9]");
  assert.equal(valueText(true, "boolean"), "true");
  assert.equal(valueText(null, "number"), "none");
  assert.equal(plainText('"paired"'), "paired");
});

const PRESET = { objective: "nonsaturating", optim: { generator: "adam(lr=0.005)", discriminator: "adam(lr=0.005)" }, regularizers: {}, batch: 150 };

test("settings are the preset, the experiment and the changes up to the step", () => {
  const state = {
    experiment: { objective: "hinge", "regularizers.r1": "r1(weight=1)" },
    changes: [
      { step: 5, path: "optim.generator.lr", value: "0.1" }, { step: 6, path: "turn.generator", value: "3" },
      { step: 7, path: "regularizers.r1.weight", value: "9" }, { step: 90, path: "batch", value: "10" },
    ],
    step: 50,
  };
  const now = effective(PRESET, state);
  assert.equal(now.objective, "hinge");
  assert.equal(now.optim.generator, "adam(lr=0.1)");
  assert.equal(now.optim.discriminator, "adam(lr=0.005)");
  assert.deepEqual(now.regularizers, { r1: "r1(weight=9)" });
  assert.equal(now.batch, 150);
  assert.equal("turn" in now, false);
  assert.equal(PRESET.optim.generator, "adam(lr=0.005)");
});

test("a list of parts in text can be gone into by name", () => {
  assert.deepEqual(assigned({ regularizers: "[r1(weight=1), r2]" }, "regularizers.r1.weight", "4").regularizers, { r1: "r1(weight=4)", r2: "r2" });
  assert.deepEqual(partsOf("[r1(weight=cosine(1, 0)), r2]"), ["r1(weight=cosine(1, 0))", "r2"]);
  assert.deepEqual(partsOf({ r1: "r1" }), ["r1"]);
  assert.deepEqual(partsOf("[]"), []);
  assert.equal(at({ ema: { halflife: null } }, "ema.halflife", 5), 5);
});

test("two sessions differ in what differs", () => {
  const other = { ...PRESET, objective: "hinge", regularizers: { r1: "r1" } };
  assert.deepEqual(differing(PRESET, other), ["objective=nonsaturating", "regularizers.r1=–"]);
  const slower = { ...PRESET, optim: { ...PRESET.optim, generator: "adam(lr=0.1)" } };
  assert.deepEqual(differing(slower, PRESET), ["optim.generator.lr=0.1"]);
  assert.deepEqual(differing(other, PRESET), ["objective=hinge", "regularizers.r1=r1"]);
});

test("from the start keeps what was changed on the way, newest last, and no lone turns", () => {
  const state = {
    version: 1, seed: 4, step: 90, experiment: { "regularizers.r1": "r1", batch: 10 },
    changes: [
      { step: 1, path: "regularizers.r1.weight", value: "5" }, { step: 2, path: "regularizers", value: "[]" },
      { step: 3, path: "turn.generator", value: "2" }, { step: 4, path: "batch", value: "20" },
    ],
  };
  assert.deepEqual(fromTheStart(state), { version: 1, seed: 4, step: 0, experiment: { regularizers: "[]", batch: "20" }, changes: [] });
});

test("a link gives back what it was made of", async () => {
  const bundle = { sessions: [{ version: 1, experiment: { objective: "hinge" }, seed: 3, changes: [], step: 12 }], text: "真 −∂" };
  const fragment = await toFragment(bundle);
  assert.match(fragment, /^#lab=[\w-]+$/);
  assert.deepEqual(await fromFragment(fragment), bundle);
  assert.equal(await fromFragment("#play"), null);
  assert.equal(await fromFragment(""), null);
  await assert.rejects(fromFragment(fragment.slice(0, 30)));
});

test("a link that the server made of one state is read", async () => {
  const { deflateSync } = await import("node:zlib");
  const state = { version: 1, experiment: {}, seed: 0, changes: [], step: 1500 };
  const fragment = `#${deflateSync(JSON.stringify(state)).toString("base64url")}`;
  assert.deepEqual(await fromFragment(fragment), { sessions: [state] });
});

test("a state too long for a link is refused", async () => {
  const noise = Array.from({ length: LONGEST }, (_, i) => Math.sin(i * i) * 1e9);
  await assert.rejects(toFragment(noise), RangeError);
});

test("hide flags are read from the address", () => {
  assert.deepEqual([...hidden("?hide=data,%20charts,")], ["data", "charts"]);
  assert.equal(hidden("").size, 0);
});

test("formulas are told without citations", () => {
  const one = { formula: ["L_D = relu(1 − r) + relu(1 + f), L_G = −f; Lim & Ye 2017, Miyato et al. 2018.", "Paired: L_D = 0"] };
  assert.deepEqual(formulas(one), ["L_D = relu(1 − r) + relu(1 + f)", "L_G = −f"]);
  const two = { formula: "The zero-sum game: L_D = sp(−r) + sp(f), L_G = −sp(f); sp(u) = log(1 + eᵘ)." };
  assert.deepEqual(formulas(two), ["L_D = sp(−r) + sp(f)", "L_G = −sp(f)", "sp(u) = log(1 + eᵘ)"]);
  assert.deepEqual(formulas({ formula: null }), []);
});

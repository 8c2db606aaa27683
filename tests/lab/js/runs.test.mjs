import assert from "node:assert/strict";
import { test } from "node:test";
import { address, ago, clock, filtered, firstScore, route, shell, sorted } from "../../../gannet/lab/static/runs/format.js";
import { atSamples, Series } from "../../../gannet/lab/static/runs/series.js";

const row = (name, more = {}) => ({ name, title: "quick · digits", state: "finished", share: 1, speed: 10, seconds: 5, last: {}, best: {}, changed: 100, ...more });

test("rows are sorted by a column, those without a value last either way", () => {
  const rows = [row("b", { last: { fd: 3 } }), row("a", { last: {} }), row("c", { last: { fd: 1 } }), row("d", { last: { fd: null } })];
  const names = (column, down) => sorted(rows, column, down).map((r) => r.name).join("");
  assert.equal(names("score", false), "cbad");
  assert.equal(names("score", true), "bcad");
  assert.equal(names("name", true), "dcba");
  assert.equal(names("nothing", true), "bacd");
});

test("names are sorted as numbers where they hold some", () => {
  assert.deepEqual(sorted([row("run-10"), row("run-9")], "name", false).map((r) => r.name), ["run-9", "run-10"]);
});

test("runs that train come first among states", () => {
  const rows = ["finished", "broken", "training", "stopped"].map((state) => row(state, { state }));
  assert.deepEqual(sorted(rows, "state", false).map((r) => r.name), ["training", "broken", "stopped", "finished"]);
});

test("every word of a filter must stand somewhere", () => {
  const rows = [row("0001-quick"), row("0002-auto", { title: "auto · mnist", state: "training" })];
  const names = (text, state = "") => filtered(rows, text, state).map((r) => r.name);
  assert.deepEqual(names(""), ["0001-quick", "0002-auto"]);
  assert.deepEqual(names("MNIST auto"), ["0002-auto"]);
  assert.deepEqual(names("mnist quick"), []);
  assert.deepEqual(names("", "training"), ["0002-auto"]);
  assert.deepEqual(names("finished"), ["0001-quick"]);
});

test("times as people say them", () => {
  assert.equal(clock(75), "1:15");
  assert.equal(clock(3700.9), "1:01:40");
  assert.equal(clock(null), "–");
  assert.deepEqual(ago(0, 59), [-59, "second"]);
  assert.deepEqual(ago(0, 3599), [-59, "minute"]);
  assert.deepEqual(ago(0, 90_000), [-1, "day"]);
  assert.equal(ago(100, 50)[1], "second");
  assert.deepEqual(firstScore(row("a"), "last"), [null, null]);
});

test("paths become one word of a shell", () => {
  assert.equal(shell("runs/0001-quick"), "runs/0001-quick");
  assert.equal(shell("my runs; rm -rf /"), "'my runs; rm -rf /'");
  assert.equal(shell("it's"), `'it'"'"'s'`);
});

test("addresses come back as they were, whatever the names hold", () => {
  const names = ["a b/c&run=x", "d#e"];
  assert.deepEqual(route(address("compare", names)), { page: "compare", names });
  assert.deepEqual(route(address("run", ["a=b"])), { page: "run", names: ["a=b"] });
  assert.deepEqual(route("#compare=a"), { page: "list", names: [] });
  assert.deepEqual(route(""), { page: "list", names: [] });
});

const step = (samples, loss) => ({ kind: "step", samples, "loss/generator": loss });
const answer = (rows, more = {}) => ({ rows, next: 10, mark: 7, more: false, again: false, saved: [], ...more });

test("a series grows, knows whether anything is new, and begins again when the log does", () => {
  const series = new Series();
  assert.equal(series.take(answer([step(1, 0.5), { kind: "score", samples: 1, scores: { fd: 2 } }])), true);
  assert.deepEqual([series.next, series.mark], [10, 7]);
  assert.equal(series.take(answer([])), false);
  assert.equal(series.take(answer([], { saved: [1] })), true);
  series.take(answer([step(2, null), step(3, 0.25)], { saved: [1] }));
  assert.deepEqual(series.points("step", "loss/generator"), [[1, 0.5], [3, 0.25]]);
  assert.deepEqual(series.points("score", "fd"), [[1, 2]]);
  assert.deepEqual(series.keys("score"), ["fd"]);
  series.take(answer([step(1, 9)], { again: true }));
  assert.deepEqual(series.points("step", "loss/generator"), [[1, 9]]);
});

test("a page that is open for days keeps a bounded number of steps and all events", () => {
  const series = new Series();
  for (let k = 0; k < 40; k++) series.take(answer([...Array.from({ length: 500 }, (_, i) => step(500 * k + i, 1)), { kind: "alarm", samples: 500 * k }]));
  assert.ok(series.rows.length <= 4500);
  assert.equal(series.events().length, 40);
});

test("pictures of the same moment", () => {
  assert.equal(atSamples([10, 20, 30], 25), 1);
  assert.equal(atSamples([10, 20, 30], 5), 0);
  assert.equal(atSamples([10, 20, 30], 99), 2);
  assert.equal(atSamples([], 5), 0);
});

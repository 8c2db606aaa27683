import assert from "node:assert/strict";
import { test } from "node:test";
import { Newest } from "../../../gannet/lab/static/explore/newest.js";
import { between, drift, fromFragment, look, moved, pointOf, seedOf, seen, start, toFragment, verdict } from "../../../gannet/lab/static/explore/state.js";

const STATE = {
  point: { x: 1.25, y: -0.5 }, truncation: 0.7, label: "a & b", directions: { 0: 1.5, 3: -2 },
  style: { point: { x: 4, y: 0 }, layers: [0, 2] }, pins: [{ x: 0, y: 0 }, { x: 1, y: 2.5 }, { x: 3, y: 0 }], at: 1.25,
};

test("a link comes back as it was", () => {
  assert.deepEqual(fromFragment(toFragment(STATE)), STATE);
  assert.deepEqual(fromFragment(toFragment(start())), start());
  assert.equal(toFragment(start()), "#at=0,0");
});

test("a link that somebody wrote cannot leave the plane", () => {
  assert.deepEqual(fromFragment("#plane"), start());
  assert.deepEqual(fromFragment("#at=1e9,-1e9").point, { x: 1e6, y: -1e6 });
  for (const bad of ["#at=NaN,1", "#at=1", "#at=1,2,3", "#at=,", "#at=Infinity,0", "#at=<b>,0"]) assert.deepEqual(fromFragment(bad).point, { x: 0, y: 0 }, bad);
  assert.equal(fromFragment("#truncation=99").truncation, 2);
  assert.equal(fromFragment("#truncation=x").truncation, 1);
  assert.deepEqual(fromFragment("#directions=0:99,x:1,1:,__proto__:1,2:-1").directions, { 0: 5, 2: -1 });
  assert.equal(fromFragment(`#${"pin=1,1&".repeat(99)}`).pins.length, 16);
  assert.equal(fromFragment("#pin=1,1&between=0.5").at, null);
  assert.equal(fromFragment("#pin=1,1&pin=2,2&between=7").at, 1);
  assert.equal(fromFragment("#style=bad:1.2").style, null);
  assert.deepEqual(fromFragment("#style=1,1:0.x.7").style, { point: { x: 1, y: 1 }, layers: [0, 7] });
});

test("seeds are lattice points, a hundred to a row", () => {
  assert.deepEqual(pointOf(1234), { x: 34, y: 12 });
  for (const seed of [0, 99, 100, 99_999_999]) assert.equal(seedOf(pointOf(seed)), seed);
  for (const point of [{ x: 0.5, y: 0 }, { x: -1, y: 0 }, { x: 100, y: 0 }, { x: 0, y: -1 }]) assert.equal(seedOf(point), null);
  assert.deepEqual(moved({ x: 999_999.9, y: 0.1 }, 5, 0.2), { x: 1e6, y: 0.3 });
});

test("the way between pins", () => {
  const { pins } = STATE;
  assert.deepEqual(between(pins, 0), { between: [pins[0], pins[1]], t: 0 });
  assert.deepEqual(between(pins, 1.25), { between: [pins[1], pins[2]], t: 0.25 });
  assert.deepEqual(between(pins, 2), { between: [pins[1], pins[2]], t: 1 });
  assert.deepEqual(seen(STATE), between(pins, 1.25));
  assert.equal(seen({ ...STATE, at: null }), STATE.point);
  assert.equal(seen({ ...STATE, pins: pins.slice(0, 1) }), STATE.point);
});

test("a look says what the server wants to know", () => {
  assert.deepEqual(look({ ...STATE, at: null, directions: { 0: 0, 2: 1 } }), {
    point: STATE.point, class: "a & b", truncation: 0.7, directions: [[2, 1]], style: STATE.style,
  });
  assert.equal(look({ ...STATE, style: { point: STATE.point, layers: [] } }).style, null);
  assert.deepEqual(look(STATE, { x: 9, y: 9 }).point, { x: 9, y: 9 });
});

test("verdicts go from copy to new", () => {
  assert.deepEqual([0, 0.34, 0.5, 0.9, 3, null].map(verdict), ["copy", "copy", "near", "new", "new", "unknown"]);
});

test("wandering is as fast as it is asked to be, and turns", () => {
  for (const moment of [0, 3, 77]) assert.ok(Math.abs(Math.hypot(...drift(moment, 0.5, 2)) - 1) < 1e-12);
  assert.notDeepEqual(drift(0, 1, 1), drift(4, 1, 1));
});

test("only the newest question waits, one is under way at a time, and none comes too early", async () => {
  let clock = 0;
  let [running, most] = [0, 0];
  const asked = [];
  const waits = [];
  const newest = new Newest(async (value) => {
    asked.push(value);
    most = Math.max(most, ++running);
    clock += 10;
    await new Promise((done) => setTimeout(done, 5));
    running--;
  }, { gap: 50, now: () => clock, wait: async (ms) => { waits.push(ms); clock += ms; } });
  for (let k = 0; k < 20; k++) newest.ask(k);
  while (newest.busy) await new Promise((done) => setTimeout(done, 5));
  assert.deepEqual(asked, [0, 19]);
  assert.equal(most, 1);
  assert.deepEqual(waits, [40, 40]);
});

test("a question that fails does not stop the next", async () => {
  const [done, failed] = [[], []];
  const newest = new Newest(async (value) => {
    if (value === 1) throw new Error("no");
    done.push(value);
  }, { gap: 0, refused: (error) => failed.push(error.message) });
  newest.ask(1);
  newest.ask(2);
  while (newest.busy) await new Promise((later) => setTimeout(later, 5));
  assert.deepEqual([done, failed], [[2], ["no"]]);
});

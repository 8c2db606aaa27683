import assert from "node:assert/strict";
import { test } from "node:test";
import { decode } from "../../../gannet/lab/static/frame.js";

/** A frame's bytes from a header and `[name, dtype, shape, bytes]`. */
function packed(header, arrays) {
  const listed = arrays.map(([name, dtype, shape]) => ({ name, dtype, shape }));
  const text = new TextEncoder().encode(JSON.stringify({ ...header, arrays: listed }));
  const parts = [new Uint8Array(new Uint32Array([text.length]).buffer), text];
  for (const [, , , bytes] of arrays) parts.push(bytes, new Uint8Array((4 - (bytes.length % 4)) % 4));
  return Uint8Array.from(parts.flatMap((p) => [...p])).buffer;
}

const halves = (...bits) => new Uint8Array(Uint16Array.from(bits).buffer);

test("half floats of every kind are read", () => {
  const bits = [0x0000, 0x3c00, 0xc000, 0x3555, 0x7bff, 0x0001, 0x7c00, 0xfc00, 0x7e00, 0x8400];
  const { arrays } = decode(packed({}, [["a", "f2", [10], halves(...bits)]]));
  const want = [0, 1, -2, 0.333251953125, 65504, 2 ** -24, Infinity, -Infinity, NaN, -(2 ** -14)];
  assert.deepEqual([...arrays.a.data], want);
});

test("arrays follow one another, each filled up to four bytes", () => {
  const frame = packed({ step: 7 }, [
    ["heat", "u1", [1, 3], Uint8Array.of(1, 2, 255)],
    ["real", "f2", [1], halves(0x3c00)],
    ["wide", "f4", [2], new Uint8Array(Float32Array.of(0.5, -3).buffer)],
  ]);
  const { header, arrays } = decode(frame);
  assert.equal(header.step, 7);
  assert.deepEqual(arrays.heat, { data: Uint8Array.of(1, 2, 255), shape: [1, 3] });
  assert.deepEqual([...arrays.real.data], [1]);
  assert.deepEqual([...arrays.wide.data], [0.5, -3]);
});

test("words outside ASCII in the header do not shift the arrays", () => {
  const { header, arrays } = decode(packed({ text: "−∂L 崩" }, [["a", "u1", [1], Uint8Array.of(9)]]));
  assert.equal(header.text, "−∂L 崩");
  assert.equal(arrays.a.data[0], 9);
});

test("a frame that is cut off is refused", () => {
  const whole = packed({}, [["a", "f4", [4], new Uint8Array(16)]]);
  assert.throws(() => decode(whole.slice(0, whole.byteLength - 4)), /cut off/);
  assert.throws(() => decode(whole.slice(0, 12)), /cut off/);
  assert.throws(() => decode(new ArrayBuffer(2)), /no header/);
  assert.throws(() => decode(packed({}, [["a", "i8", [1], new Uint8Array(8)]])), /unknown kind/);
});

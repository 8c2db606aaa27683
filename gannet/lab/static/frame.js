// One binary frame of the laboratory: header and arrays. Pure.

/** Float of every half-precision bit pattern, `[65536]`; made once, when first needed. */
let halves = null;

function tableOfHalves() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 31) table[bits] = fraction ? NaN : sign * Infinity;
    else if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else table[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return table;
}

/** Little-endian half floats to `Float32Array`. */
function readHalves(view, offset, count) {
  halves ??= tableOfHalves();
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = halves[view.getUint16(offset + 2 * i, true)];
  return out;
}

function readFloats(view, offset, count) {
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = view.getFloat32(offset + 4 * i, true);
  return out;
}

function readBytes(view, offset, count) {
  return new Uint8Array(view.buffer, view.byteOffset + offset, count).slice();
}

const READERS = { f2: [2, readHalves], f4: [4, readFloats], u1: [1, readBytes] };

/**
 * `ArrayBuffer` → `{header, arrays}`; `arrays[name] = {data, shape}`, rows first.
 * Throws `Error` for a buffer that is shorter than it says, or holds an unknown kind of number.
 */
export function decode(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 4) throw new Error(`a frame of ${buffer.byteLength} bytes has no header`);
  const length = view.getUint32(0, true);
  if (4 + length > buffer.byteLength) throw new Error(`the frame's header of ${length} bytes is cut off`);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  let offset = 4 + length;
  for (const { name, dtype, shape } of header.arrays ?? []) {
    if (!(dtype in READERS)) throw new Error(`array ${name} is of unknown kind ${dtype}`);
    const [bytes, read] = READERS[dtype];
    const count = shape.reduce((a, b) => a * b, 1);
    if (offset + bytes * count > buffer.byteLength) throw new Error(`array ${name} is cut off`);
    arrays[name] = { data: read(view, offset, count), shape };
    offset += Math.ceil((bytes * count) / 4) * 4;
  }
  return { header, arrays };
}

// A small writer of animated GIFs: one palette by median cut, LZW. Pure: RGBA pixels in, bytes out.

const BITS = 5;

/** Counts of colours, five bits a channel, over every frame: `Map key → count`. */
function histogram(frames) {
  const counts = new Map();
  for (const pixels of frames) {
    for (let i = 0; i < pixels.length; i += 4) {
      const key = keyOf(pixels[i], pixels[i + 1], pixels[i + 2]);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  return counts;
}

const keyOf = (r, g, b) => ((r >> (8 - BITS)) << (2 * BITS)) | ((g >> (8 - BITS)) << BITS) | (b >> (8 - BITS));
const channel = (key, c) => (key >> ((2 - c) * BITS)) & 31;
const whole = (value) => (value << 3) | (value >> 2);

/** At most `size` colours `[[r, g, b], …]` and the index of every key in use. */
export function palette(frames, size = 256) {
  const counts = histogram(frames);
  const boxes = [[...counts.keys()]];
  while (boxes.length < size) {
    boxes.sort((a, b) => spread(b).range * Math.log2(b.length + 1) - spread(a).range * Math.log2(a.length + 1));
    const box = boxes[0];
    if (box.length < 2) break;
    const { axis } = spread(box);
    box.sort((a, b) => channel(a, axis) - channel(b, axis));
    boxes.push(box.splice(box.length >> 1));
  }
  const index = new Map();
  const chosen = boxes.map((box, k) => {
    const sum = [0, 0, 0];
    let total = 0;
    for (const key of box) {
      index.set(key, k);
      const n = counts.get(key);
      total += n;
      for (let c = 0; c < 3; c++) sum[c] += n * whole(channel(key, c));
    }
    return sum.map((s) => Math.round(s / total));
  });
  return { colours: chosen, index };
}

/** The widest channel of a box of keys. */
function spread(box) {
  let best = { axis: 0, range: -1 };
  for (let axis = 0; axis < 3; axis++) {
    let low = 31;
    let high = 0;
    for (const key of box) {
      const value = channel(key, axis);
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (high - low > best.range) best = { axis, range: high - low };
  }
  return best;
}

/** LZW codes of `indices` at 8 bits a pixel, as bytes. */
export function lzw(indices) {
  const out = [];
  let bits = 0;
  let held = 0;
  let width = 9;
  let next = 258;
  let table = new Map();
  const emit = (code) => {
    held |= code << bits;
    bits += width;
    while (bits >= 8) {
      out.push(held & 255);
      held >>>= 8;
      bits -= 8;
    }
  };
  emit(256);
  let prefix = indices[0];
  for (let i = 1; i < indices.length; i++) {
    const key = (prefix << 8) | indices[i];
    const known = table.get(key);
    if (known !== undefined) {
      prefix = known;
      continue;
    }
    emit(prefix);
    if (next === 4096) {
      emit(256);
      table = new Map();
      width = 9;
      next = 258;
    } else {
      if (next === 1 << width) width++;
      table.set(key, next++);
    }
    prefix = indices[i];
  }
  emit(prefix);
  emit(257);
  if (bits > 0) out.push(held & 255);
  return out;
}

/**
 * Frames of RGBA pixels `[4 · width · height]` as an animated GIF that repeats; `delay` in hundredths of a second.
 * Throws `RangeError` without frames or where one has another size.
 */
export function gif(frames, width, height, delay = 10) {
  if (!frames.length) throw new RangeError("a GIF needs at least one frame");
  if (frames.some((f) => f.length !== 4 * width * height)) throw new RangeError("a frame of another size");
  const { colours, index } = palette(frames);
  const bytes = [...ascii("GIF89a"), ...short(width), ...short(height), 0xf7, 0, 0];
  for (let k = 0; k < 256; k++) bytes.push(...(colours[k] ?? [0, 0, 0]));
  bytes.push(0x21, 0xff, 11, ...ascii("NETSCAPE2.0"), 3, 1, 0, 0, 0);
  const chunks = [Uint8Array.from(bytes)];
  for (const pixels of frames) {
    const indices = new Uint8Array(width * height);
    for (let i = 0; i < indices.length; i++) {
      indices[i] = index.get(keyOf(pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2]));
    }
    const image = [0x21, 0xf9, 4, 4, ...short(delay), 0, 0, 0x2c, 0, 0, 0, 0, ...short(width), ...short(height), 0, 8];
    chunks.push(Uint8Array.from(image), blocks(lzw(indices)));
  }
  chunks.push(Uint8Array.of(0x3b));
  return joined(chunks);
}

const ascii = (text) => [...text].map((c) => c.charCodeAt(0));
const short = (n) => [n & 255, (n >> 8) & 255];

/** Bytes in blocks of at most 255, each after its length, and an empty one. */
function blocks(data) {
  const parts = [];
  for (let i = 0; i < data.length; i += 255) {
    const part = data.slice(i, i + 255);
    parts.push(Uint8Array.from([part.length, ...part]));
  }
  return joined([...parts, Uint8Array.of(0)]);
}

function joined(chunks) {
  const all = new Uint8Array(chunks.reduce((n, c) => n + c.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}

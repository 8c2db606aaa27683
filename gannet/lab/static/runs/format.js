// Rows of the list in order, and numbers as people say them. Pure.

/** 75 → "1:15", 3700 → "1:01:40". */
export function clock(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.floor(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** How long ago, as `[count, unit]` for Intl.RelativeTimeFormat: the largest unit that is not 0. */
export function ago(then, now) {
  const seconds = Math.max(0, now - then);
  for (const [unit, size] of [["day", 86_400], ["hour", 3600], ["minute", 60]]) {
    if (seconds >= size) return [-Math.floor(seconds / size), unit];
  }
  return [-Math.floor(seconds), "second"];
}

/** The first score of a run: what its "best" is judged by. */
export const firstScore = (row, which) => Object.entries(row[which])[0] ?? [null, null];

const VALUES = {
  name: (row) => row.name,
  state: (row) => ["training", "broken", "stopped", "finished"].indexOf(row.state),
  share: (row) => row.share,
  speed: (row) => row.speed,
  seconds: (row) => row.seconds,
  score: (row) => firstScore(row, "last")[1],
  best: (row) => firstScore(row, "best")[1],
  changed: (row) => row.changed,
};
export const COLUMNS = Object.keys(VALUES);

/** Rows by a column, up or down; those without a value come last either way, equals stay in their order. */
export function sorted(rows, column, down) {
  const value = VALUES[column] ?? VALUES.changed;
  const known = (v) => v !== null && v !== undefined;
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (!known(x) || !known(y)) return Number(known(y)) - Number(known(x));
    const order = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return down ? -order : order;
  });
}

/** Rows in which every word of `text` stands somewhere, of one state or of all. */
export function filtered(rows, text, state) {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((row) => {
    const said = `${row.name} ${row.title} ${row.state}`.toLowerCase();
    return (!state || row.state === state) && wanted.every((word) => said.includes(word));
  });
}

/** A path as one word of a shell. */
export const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

/** What the fragment asks for: the list, one run, or several. */
export function route(fragment) {
  const asked = new URLSearchParams(fragment.replace(/^#/, ""));
  const many = asked.getAll("compare");
  if (many.length > 1) return { page: "compare", names: many };
  return asked.get("run") ? { page: "run", names: [asked.get("run")] } : { page: "list", names: [] };
}

export const address = (page, names) => `#${new URLSearchParams(names.map((n) => [page, n]))}`;

// A run's log as it grows: rows in order, and the points of one curve. Pure.

const MOST = 4000;

export class Series {
  constructor() {
    this.rows = [];
    this.saved = [];
    this.next = 0;
    this.mark = null;
  }

  /** Take an answer of the server; says whether anything is new. */
  take(answer) {
    if (answer.again) this.rows = [];
    this.rows.push(...answer.rows);
    this.next = answer.next;
    this.mark = answer.mark;
    const more = answer.again || answer.rows.length > 0 || answer.saved.length !== this.saved.length;
    this.saved = answer.saved;
    // Very long runs lose every other step, so that a page that is open for days stays quick.
    if (this.rows.length > MOST) this.rows = this.rows.filter((row, k) => row.kind !== "step" || k % 2 === 0);
    return more;
  }

  /** `[[samples, value], …]` of a number of the steps, or of a score. */
  points(kind, key) {
    const value = (row) => (kind === "score" ? row.scores[key] : row[key]);
    return this.rows.filter((row) => row.kind === kind && Number.isFinite(value(row))).map((row) => [row.samples, value(row)]);
  }

  /** Names of the numbers of a kind of row, in the order they came. */
  keys(kind) {
    const found = new Set();
    for (const row of this.rows) {
      if (row.kind === kind) for (const key of Object.keys(kind === "score" ? row.scores : row)) found.add(key);
    }
    return [...found];
  }

  /** What happened, told in rows that are neither steps nor pictures. */
  events() {
    return this.rows.filter(({ kind }) => ["alarm", "decision", "plan", "note", "stop"].includes(kind));
  }
}

/** The index of the last saved picture at or before `samples`; 0 where all are later. */
export function atSamples(saved, samples) {
  let found = 0;
  saved.forEach((value, k) => {
    if (value <= samples) found = k;
  });
  return found;
}

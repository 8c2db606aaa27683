// Rows over time, of losses or measures: in order of steps, overwritten when replayed, cut when the future changes. Pure.

export class History {
  constructor(most = 20_000) {
    this.most = most;
    this.rows = [];
  }

  /** Where `step` is or would be. */
  place(step) {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].step < step) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Put a row `{step, …}`; one of the same step is replaced. */
  put(row) {
    const k = this.place(row.step);
    this.rows.splice(k, this.rows[k]?.step === row.step ? 1 : 0, row);
    if (this.rows.length > this.most) this.rows = this.rows.filter((_, i) => i % 2 === 0);
  }

  /** Forget everything after `step`. */
  cut(step) {
    this.rows.length = this.place(step + 1e-9);
  }

  clear() {
    this.rows = [];
  }

  get last() {
    return this.rows.at(-1);
  }

  /** `[[step, value], …]` of one key, rows without a finite value left out. */
  series(key) {
    return this.rows.filter((r) => Number.isFinite(r[key])).map((r) => [r.step, r[key]]);
  }

  /** CSV text with a header line; empty cells where a row lacks a value. */
  csv() {
    const keys = [...new Set(this.rows.flatMap((r) => Object.keys(r)))].filter((k) => typeof this.last[k] !== "object");
    const lines = this.rows.map((r) => keys.map((k) => (Number.isFinite(r[k]) ? r[k] : "")).join(","));
    return [keys.join(","), ...lines].join("\n") + "\n";
  }
}

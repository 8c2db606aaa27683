// What the server tells of runs, and a question that is asked again and again while the page is seen.

import { json, Refused } from "../net.js";

const query = (values) => new URLSearchParams(values);

export const board = {
  shelf: () => json("GET", "/api/shelf"),
  list: () => json("GET", "/api/runs"),
  one: (run) => json("GET", `/api/runs/one?${query({ run })}`),
  log: (run, { next, mark }) => json("GET", `/api/runs/log?${query({ run, after: next, ...(mark === null ? {} : { mark }) })}`),
  compare: (runs) => json("GET", `/api/runs/compare?${query(runs.map((run) => ["run", run]))}`),
  picture: (run, index) => `/api/runs/samples?${query({ run, index })}`,
};

/** Read a series to its present end; says whether anything is new. */
export async function follow(run, series) {
  let news = false;
  for (;;) {
    const answer = await board.log(run, series);
    news = series.take(answer) || news;
    if (!answer.more) return news;
  }
}

const EVERY = 2000;

/** Ask at once, then every two seconds, but never while nobody looks; `stop()` ends it. */
export class Poll {
  constructor(work, refused) {
    Object.assign(this, { work, refused, timer: 0, ended: false, busy: false });
    this.look = () => (document.hidden ? clearTimeout(this.timer) : this.now());
    document.addEventListener("visibilitychange", this.look);
  }

  async now() {
    clearTimeout(this.timer);
    if (this.ended || this.busy || document.hidden) return;
    this.busy = true;
    try {
      await this.work();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (!this.ended) this.refused(error);
    } finally {
      this.busy = false;
      if (!this.ended && !document.hidden) this.timer = setTimeout(() => this.now(), EVERY);
    }
  }

  stop() {
    this.ended = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.look);
  }
}

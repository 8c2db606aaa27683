// One question at a time: what is asked while another is under way waits, and only the newest of it is asked then. Pure.

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Newest {
  /** `work(value)` is awaited; at least `gap` milliseconds lie between two beginnings; `refused(error)` hears of failures. */
  constructor(work, { gap = 50, refused = () => {}, now = () => performance.now(), wait = pause } = {}) {
    Object.assign(this, { work, gap, refused, now, wait, wanted: null, busy: false });
  }

  ask(value) {
    this.wanted = { value };
    if (!this.busy) this.run();
  }

  async run() {
    this.busy = true;
    while (this.wanted) {
      const { value } = this.wanted;
      this.wanted = null;
      const began = this.now();
      try {
        await this.work(value);
      } catch (error) {
        this.refused(error);
      }
      const left = this.gap - (this.now() - began);
      if (left > 0) await this.wait(left);
    }
    this.busy = false;
  }
}

/** Call `work` once nothing was asked for `ms` milliseconds. */
export function settled(work, ms) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, ms);
  };
}

// One session as the page knows it: its newest frame, status, state, and histories.

import { decode } from "./frame.js";
import { History } from "./history.js";
import { api, Frames, Refused } from "./net.js";

/** Values of "speed" and "slow" as last asked for: a session opened beside another one, or anew, keeps its pace. */
const pace = {};

/** Tells of "frame", "status", "state" and "refused" (with `detail`, the error). */
export class Side extends EventTarget {
  constructor(name) {
    super();
    this.name = name;
    this.losses = new History();
    this.measures = new History();
    this.forget();
  }

  forget() {
    this.losses.clear();
    this.measures.clear();
    this.arrays = this.arrays?.real ? { real: this.arrays.real } : {};
    this.header = {};
    this.furthest = 0;
  }

  async open(state) {
    const { id, status, state: given } = await api.create(state);
    this.id = id;
    this.status = null;
    this.take(status, given);
    if (this.layers) await this.do("layers", this.layers);
    for (const [command, values] of Object.entries(pace)) await this.do(command, values);
    // Last, so that whoever opens it listens before the first frame comes; there may be no other for long.
    this.frames = new Frames(id, (buffer) => this.receive(buffer), () => this.stillThere());
  }

  close() {
    this.frames?.close();
    if (this.id) api.remove(this.id).catch(() => {});
  }

  /** After a lost connection: whether to ask for its frames again. A session that ended is started anew from its last
   * state, with frames of its own; where that is refused now, it is tried again later. */
  async stillThere() {
    try {
      this.take(null, await api.state(this.id));
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) return true;
      try {
        await this.open(this.state);
        return false;
      } catch (refusal) {
        this.tell("refused", refusal);
      }
    }
    return true;
  }

  /** Carry out a command after those that were asked before it: requests overtake one another. */
  do(command, values = {}) {
    this.turn = (this.turn ?? Promise.resolve()).then(() => this.carryOut(command, values));
    return this.turn;
  }

  /** A refusal is told and answered with `null`. */
  async carryOut(command, values) {
    if (command === "speed" || command === "slow") pace[command] = values;
    try {
      const { status, state, restarted } = await api.do(this.id, command, values);
      if (["reset", "load", "data"].includes(command) || restarted) this.forget();
      this.take(status, state);
      return { status, state, restarted };
    } catch (error) {
      this.tell("refused", error);
      return null;
    }
  }

  /** A frame that was painted before a command was answered may come after the answer: its status is no news. */
  take(status, state) {
    if (status?.version < this.status?.version) status = null;
    if (status) {
      this.status = status;
      this.furthest = status.furthest ?? Math.max(this.furthest, status.step);
      this.losses.cut(this.furthest);
      this.measures.cut(this.furthest);
    }
    if (state) {
      this.state = state;
      this.tell("state");
    }
    if (status) this.tell("status");
  }

  receive(buffer) {
    const { header, arrays } = decode(buffer);
    if (header.start !== this.header.start) this.forget();
    this.header = { ...header, measures: header.measures ?? this.header.measures };
    Object.assign(this.arrays, arrays);
    for (const name of OPTIONAL) if (!(name in arrays)) delete this.arrays[name];
    if (Number.isInteger(header.forked)) {
      this.losses.cut(header.forked);
      this.measures.cut(header.forked);
    }
    for (const row of header.history ?? []) this.losses.put(lossRow(row, header.columns));
    if (header.measures) this.measures.put({ step: header.step, ...header.measures });
    this.take(header.status, null);
    this.tell("frame");
  }

  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

/** Arrays of layers that are sent with each frame or not at all. */
const OPTIONAL = ["heat", "optimal", "r1", "manifold", "folds", "arrows", "field", "trajectories", "probability", "probability_real", "codes", "probe"];

function lossRow(row, columns = ["step", "discriminator", "generator"]) {
  return Object.fromEntries(row.map((value, k) => [columns[k] ?? `column${k}`, value]).filter(([, v]) => v !== null));
}

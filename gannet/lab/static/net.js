// The server's API and its stream of frames.

/** A refusal in the server's words; `status` is HTTP's, 0 where nobody answered. */
export class Refused extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

const token = new URLSearchParams(location.search).get("token");

/** The answer to one question, or a `Refused`. */
export async function ask(method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    // A session is given back even while its page is being left.
    const keepalive = method === "DELETE";
    answer = await fetch(path, { method, headers, keepalive, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Refused("the laboratory does not answer; is `gannet lab` still running?", 0);
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Refused(said.error ?? `${answer.status} ${answer.statusText}`, answer.status);
  }
  return answer;
}

export const json = async (method, path, body) => (await ask(method, path, body)).json();

export const api = {
  ready: () => json("GET", "/api/ready"),
  catalog: () => json("GET", "/api/catalog"),
  lessons: () => json("GET", "/api/lessons"),
  create: (state) => json("POST", "/api/sessions", state ? { state } : {}),
  remove: (id) => ask("DELETE", `/api/sessions/${id}`),
  state: (id) => json("GET", `/api/sessions/${id}/state`),
  do: (id, command, values = {}) => json("POST", `/api/sessions/${id}/do`, { command, ...values }),
  text: async (id, as) => (await ask("GET", `/api/sessions/${id}/export?as=${as}`)).text(),
};

/** Until the page has been painted, so that a click is not kept waiting by pictures; a second where it is not shown. */
const painted = () => new Promise((done) => {
  const late = setTimeout(done, 1000);
  requestAnimationFrame(() => setTimeout(() => {
    clearTimeout(late);
    done();
  }));
});

/** Frames of one session: `onframe(buffer)` returns (or awaits) once it is drawn, then the next is asked for. */
export class Frames {
  constructor(id, onframe, onclose) {
    this.id = id;
    this.onframe = onframe;
    this.onclose = onclose;
    this.wait = 250;
    this.ended = false;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const query = token ? `?token=${encodeURIComponent(token)}` : "";
    this.socket = new WebSocket(`${scheme}://${location.host}/api/sessions/${this.id}/frames${query}`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.wait = 250;
      this.socket.send("ready");
    };
    this.socket.onmessage = ({ data }) => this.receive(data);
    this.socket.onclose = () => this.again();
  }

  async receive(data) {
    const socket = this.socket;
    if (data instanceof ArrayBuffer) await this.onframe(data);
    await painted();
    if (socket.readyState === WebSocket.OPEN) socket.send("ready");
  }

  /** Another try after a pause, longer each time; `onclose` may end it for good. */
  async again() {
    if (this.ended) return;
    await new Promise((done) => setTimeout(done, this.wait));
    this.wait = Math.min(this.wait * 2, 4000);
    if (!this.ended && (await this.onclose()) !== false) this.open();
  }

  close() {
    this.ended = true;
    this.socket.close();
  }
}

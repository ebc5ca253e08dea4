// Talking to the server: an error is an Error whose message is one sentence for the person at the page.

async function sentence(answer) {
  try { return (await answer.json()).error || answer.statusText; } catch { return answer.statusText || `error ${answer.status}`; }
}

async function ask(path, options) {
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Error("The server does not answer. Is it still running?"); }
  if (!answer.ok) {
    const error = new Error(answer.status === 413 ? "This file is too large." : await sentence(answer));
    error.status = answer.status;
    throw error;
  }
  return answer;
}

const asJson = (value) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });

export const about = async () => (await ask("/api/models")).json();
export const openMidi = async (bytes) => (await ask("/api/songs/open_midi", { method: "POST", body: bytes })).json();
export const look = async (sheet) => (await ask("/api/songs/look", asJson(sheet))).json();
export const take = async (what, body) => (await ask(`/api/songs/${what}`, asJson(body))).blob();
export const print = async (sheet) => (await ask("/api/songs/engrave", asJson(sheet))).json();

/** The sound of each stem: a list of {frames, samples: Int16Array}, at half its level. */
export async function sound(stems) {
  const buffer = await (await ask("/api/sound", asJson({ stems }))).arrayBuffer();
  const count = new DataView(buffer).getUint32(0, true), heard = [];
  let place = 4 + 4 * count;
  for (let i = 0; i < count; i++) {
    const frames = new DataView(buffer).getUint32(4 + 4 * i, true);
    heard.push({ frames, samples: new Int16Array(buffer.slice(place, place + 4 * frames)) });
    place += 4 * frames;
  }
  return heard;
}

/** Have a job done. `hear` gets its messages; what is returned has stop(). Ends with hear({end: ...}), always. */
export async function compose(job, hear) {
  const { job: name } = await (await ask("/api/jobs", asJson(job))).json();
  const address = new URL(`/api/jobs/${name}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  let ended = false;
  const end = (message) => { if (!ended) { ended = true; hear(message); } };
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.end) end(message); else hear(message);
  };
  socket.onclose = () => end({ end: "error", error: "The connection to the server was lost." });
  return { stop() { if (socket.readyState === WebSocket.OPEN) socket.send("stop"); else socket.close(); } };
}

// What the page holds: takes, which of them is chosen, and how it was before each step. It outlives a reload.

import { countNotes, emptySheet } from "./sheet.js";

const STEPS = 200; // that can be undone
const DATABASE = "ritornello", TABLE = "studio", KEY = "now";

export class Store {
  constructor() {
    this.takes = []; // never changed in place: each step makes a new list of new takes
    this.chosen = null; // the id of one
    this.past = [];
    this.future = [];
    this.listeners = [];
    this.step = null; // what the last step belongs to: the many moves of one drag are one step
  }

  get take() { return this.takes.find((take) => take.id === this.chosen) || EMPTY; }
  get(id) { return this.takes.find((take) => take.id === id); }
  listen(listener) { this.listeners.push(listener); }

  #tell(what) {
    for (const listener of this.listeners) listener(what);
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.save(), 300);
  }

  /** Remember how it is now, so that undo leads back to it. */
  remember(step = {}) {
    if (step === this.step) return;
    this.step = step;
    this.past.push({ takes: this.takes, chosen: this.chosen });
    if (this.past.length > STEPS) this.past.shift();
    this.future = [];
  }

  #travel(from, to) {
    const then = from.pop();
    if (!then) return false;
    to.push({ takes: this.takes, chosen: this.chosen });
    // A take that is being written stays: undo must not fork what the model does now
    const writing = this.takes.filter((take) => take.writing);
    this.takes = then.takes.map((take) => writing.find((one) => one.id === take.id) || { ...take, writing: false });
    this.takes.push(...writing.filter((one) => !this.takes.some((take) => take.id === one.id)));
    this.chosen = this.takes.some((take) => take.id === then.chosen) ? then.chosen : this.takes[0]?.id ?? null;
    this.step = null;
    this.#tell("takes");
    return true;
  }

  undo() { return this.#travel(this.past, this.future); }
  redo() { return this.#travel(this.future, this.past); }

  add(take) {
    const names = new Set(this.takes.map((one) => one.name));
    let number = 0;
    while (names.has(letter(number))) number++;
    const made = { ...EMPTY, id: crypto.randomUUID(), name: letter(number), mix: { muted: new Set(), solo: new Set() }, ...take };
    this.takes = [...this.takes, made];
    this.#tell("takes");
    return made;
  }

  change(id, change, what = "take") {
    this.takes = this.takes.map((take) => (take.id === id ? { ...take, ...change } : take));
    this.#tell(what);
  }

  choose(id) { this.chosen = id; this.#tell("takes"); }

  remove(id) {
    const at = this.takes.findIndex((take) => take.id === id);
    this.takes = this.takes.filter((take) => take.id !== id);
    if (this.chosen === id) this.chosen = (this.takes[at] || this.takes[at - 1])?.id ?? null;
    this.#tell("takes");
  }

  // ---- kept in the browser -----------------------------------------------------------------------------------------

  async save() {
    try {
      const table = (await database()).transaction(TABLE, "readwrite").objectStore(TABLE);
      table.put({ takes: this.takes, chosen: this.chosen }, KEY);
    } catch { /* private windows keep nothing: the page works all the same */ }
  }

  async load() {
    try {
      const table = (await database()).transaction(TABLE).objectStore(TABLE);
      const kept = await result(table.get(KEY));
      if (!kept) return;
      // What was being written when the page went can be gone on with
      this.takes = kept.takes.filter((take) => countNotes(take.sheet))
        .map((take) => (take.writing ? { ...take, writing: false, unfinished: take.resumable } : take));
      this.chosen = this.takes.some((take) => take.id === kept.chosen) ? kept.chosen : this.takes[0]?.id ?? null;
      this.#tell("takes");
    } catch { /* nothing was kept */ }
  }
}

const EMPTY = Object.freeze({ id: null, name: "", sheet: emptySheet(), bars: 0, asked: 0, seed: null, writing: false, unfinished: false, resumable: false,
  origin: null, original: null, remarks: [], mix: { muted: new Set(), solo: new Set() } });

const letter = (number) => (number >= 26 ? letter(Math.floor(number / 26) - 1) : "") + String.fromCharCode(65 + (number % 26));

const result = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

let opened;
function database() {
  opened ??= (() => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
    return result(request);
  })();
  return opened;
}

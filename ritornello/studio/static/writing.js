// Having songs written: a job for the server, and what comes of it into the takes, bar by bar.

import { compose } from "./net.js";
import { barGrid, countNotes, emptySheet, merge } from "./sheet.js";

/** Whether a model writes bar after bar, so that it can go on where it was stopped: then bars are a number. */
const isWhole = (field) => (field?.anyOf || [field]).some((kind) => kind?.type === "integer");

export class Writing {
  /** hooks: status(words), fault(error or null), changed(), show(tick) */
  constructor(store, player, hooks) {
    Object.assign(this, { store, player, hooks });
    this.job = null;
    this.ids = []; // of the takes that are written now
  }

  get busy() { return this.ids.length > 0; }
  has(id) { return this.ids.includes(id); }

  /** Begin new takes, as many as the wishes say. */
  async start(model, wishes, songs) {
    const { store } = this, count = wishes.count || 1;
    store.remember();
    const { form_of, ...openings } = songs, opening = Object.values(openings)[0];
    const ids = Array.from({ length: count }, (_, index) => store.add({
      writing: true, seed: wishes.seed + index, asked: model.verb === "restyle" ? 0 : wishes.bars || 0, sheet: emptySheet(),
      origin: { model: model.name, verb: model.verb, weights: model.weights, wishes, songs, take: index },
      resumable: model.songs.includes("prompt") && isWhole(model.schema.properties.bars),
    }).id);
    store.choose(ids[0]);
    await this.#run(model, wishes, songs, ids, opening ? barGrid(opening).metres.length - 1 : 0);
  }

  /** Write a take that was stopped to its end: what is there is what it goes on from. */
  async resume(take) {
    if (this.busy) return;
    const { model, verb, weights, wishes } = take.origin;
    const bars = take.bars || barGrid(take.sheet).metres.length;
    const { key, prompt_bars, ...rest } = wishes; // the key is that of what is there
    const asked = { ...rest, seed: take.seed, count: 1 };
    if (asked.bars && asked.bars <= bars) return this.store.change(take.id, { unfinished: false });
    const songs = { ...take.origin.songs, prompt: take.sheet };
    this.store.remember();
    this.store.change(take.id, { writing: true, origin: { model, verb, weights, wishes: asked, songs, take: 0 } }, "takes");
    this.player.open();
    await this.#run({ name: model, verb }, asked, songs, [take.id], bars - 1);
  }

  stop() { this.job?.stop(); }

  /** `from`: the bar where the music is to begin: before what is new. */
  async #run(model, wishes, songs, ids, from) {
    const { hooks } = this;
    this.ids = ids;
    this.from = from;
    this.began = performance.now();
    hooks.fault(null);
    hooks.changed();
    hooks.status("asking…");
    try {
      this.job = await compose({ model: model.name, verb: model.verb, wishes, songs }, (message) => this.#hear(message));
    } catch (error) {
      this.#end({ end: "error", error: error.message });
    }
  }

  #hear(message) {
    const { hooks } = this;
    if (message.place !== undefined) hooks.status(message.place ? `${message.place} ${message.place === 1 ? "song comes" : "songs come"} first` : "beginning…");
    if (message.draft) {
      this.#draft(message.draft);
      const { bars, done } = message.draft;
      if (!done) hooks.status(`bar ${bars} written`);
    }
    if (message.end) this.#end(message);
  }

  #draft({ bars, done, takes }) {
    const { store, player } = this;
    takes.forEach((news, index) => {
      const take = store.get(this.ids[index]);
      if (!take) return;
      const sheet = merge(take.sheet, news);
      store.change(take.id, { sheet, original: sheet, bars, seed: news.seed, remarks: news.remarks, ...(done && { bars: barGrid(sheet).metres.length }) });
    });
    // Music begins when there is a bar to hear, unless the person plays something else already
    const take = store.get(this.ids[0]);
    if (!this.heard && take && bars > this.from && countNotes(take.sheet) && store.chosen === take.id) {
      this.heard = true;
      if (!player.playing) {
        const tick = barGrid(take.sheet, bars).starts[Math.min(this.from, bars - 1)];
        this.hooks.show(tick);
        player.play(tick);
      }
    }
  }

  #end({ end, error }) {
    const { store, hooks } = this, seconds = (performance.now() - this.began) / 1000;
    for (const id of this.ids) {
      const take = store.get(id);
      if (!take) continue;
      if (!countNotes(take.sheet)) store.remove(id);
      else {
        const stopped = end !== "done";
        store.change(id, { writing: false, unfinished: stopped && take.resumable, bars: stopped ? take.bars : barGrid(take.sheet).metres.length,
          origin: { ...take.origin, bars: stopped ? take.bars : null } }, "takes");
      }
    }
    this.ids = [];
    this.job = null;
    this.heard = false;
    hooks.fault(end === "error" ? error : null);
    hooks.status(end === "done" ? `written in ${seconds.toFixed(seconds < 10 ? 1 : 0)} s` : end === "stopped" ? "stopped" : "");
    hooks.changed();
  }
}

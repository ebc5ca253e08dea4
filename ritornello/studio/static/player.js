// Sound: the server renders a few bars of every track ahead, and they are put end to end on the audio clock.
// Each stretch rings out over the beginning of the next, so that nothing is cut at their border; every track goes
// through a gain of its own, so that mute, solo and volume are heard at once.

import { sound } from "./net.js";
import { barGrid, barOf, clock, firstAt } from "./sheet.js";

const RATE = 44100;
const AHEAD = 6; // seconds that are prepared
const STRETCH = 2.5; // seconds of a stretch, at least, but for the first, which is one bar
const SOON = 0.06; // seconds from now at which sound can still begin on time
const LONGEST = 30; // seconds of one note
const AUDITION = 0.4; // seconds of a note that is heard by itself
const KEPT = 48; // stems that are kept in case they come back: in a loop, most do

export class Player {
  /** `hear`: called with an Error when there is no sound. `source()`: the take that is played. */
  constructor(source, hear) {
    this.source = source;
    this.hear = hear;
    this.loop = null; // [first bar, bar after the last]
    this.playing = false;
    this.waiting = false; // playing, but at the end of what there is
    this.at = 0; // tick, while it does not play
    this.segments = []; // what is on the audio clock: {from, until (its seconds), tick, end, second, nodes}
    this.gains = new Map();
    this.run = 0;
    this.cache = new Map();
    this.onchange = () => {};
  }

  /** The tick that is heard now. */
  get tick() {
    if (!this.playing || !this.segments.length) return this.at;
    const now = this.context.currentTime;
    let segment = this.segments[0];
    for (const one of this.segments) if (one.from <= now) segment = one;
    const inside = Math.min(Math.max(now - segment.from, 0), segment.until - segment.from);
    return Math.min(segment.clock.ticks(segment.second + inside), segment.end);
  }

  /** The level of what is heard, from 0: its root mean square. */
  get level() {
    if (!this.context) return 0;
    const samples = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
  }

  async play(tick = this.at) {
    this.open();
    this.#clear();
    const take = this.source();
    const grid = barGrid(take.sheet, take.bars);
    let bar = barOf(grid, tick);
    if (this.loop && (bar < this.loop[0] || bar >= this.loop[1])) bar = this.loop[0];
    else if (!take.writing && bar >= this.#bars(take)) bar = 0;
    else if (tick > grid.starts[bar]) this.partial = tick; // from the middle of a bar
    this.cursor = bar;
    this.at = this.partial ?? grid.starts[bar];
    this.want = 1; // bars that must be there to begin
    this.playing = true;
    this.onchange();
    await this.context.resume();
    this.#pump(++this.run);
  }

  pause() {
    if (!this.playing) return;
    this.at = this.tick;
    this.playing = false;
    this.waiting = false;
    this.run++;
    this.#clear();
    this.onchange();
  }

  seek(tick) {
    this.partial = undefined;
    this.at = Math.max(0, tick);
    if (this.playing) this.play(this.at);
    else this.onchange();
  }

  /** Something in the song changed: what has not begun to sound is made anew. */
  refresh() {
    if (!this.playing) return;
    const now = this.context.currentTime + SOON;
    const gone = this.segments.filter((segment) => segment.from > now);
    if (gone.length) this.cursor = gone[0].bar;
    for (const segment of gone) for (const node of segment.nodes) node.stop();
    this.segments = this.segments.filter((segment) => segment.from <= now);
    this.#pump(++this.run);
  }

  /** Sound one note of a track by itself, so that who touches it hears it; not into the music that plays. */
  async audition(index, [, , pitch, velocity]) {
    if (this.playing) return;
    this.open();
    const { program, drums } = this.source().sheet.parts[index];
    const stem = { index, program, drums, notes: [[0, AUDITION, pitch, velocity]], controls: [], bends: [] };
    const auditioned = (this.auditioned = {});
    try {
      const [{ buffer }] = await this.#stems([stem]);
      if (this.auditioned !== auditioned || this.playing || !buffer) return; // another was touched since
      const node = new AudioBufferSourceNode(this.context, { buffer });
      node.connect(this.#gain(index));
      node.start();
    } catch (error) { this.hear(error); }
  }

  /** The gains of the tracks, by mute, solo and volume. */
  mix() {
    const take = this.source();
    for (const [index, gain] of this.gains) {
      gain.gain.setTargetAtTime(take ? loudness(take, index) : 0, this.context.currentTime, 0.02);
    }
  }

  /** Browsers allow sound only from a gesture on: open it while there is one. */
  open() {
    if (this.context) { this.context.resume(); return; }
    this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    this.analyser = this.context.createAnalyser();
    const limit = new DynamicsCompressorNode(this.context, { threshold: -8, knee: 6, ratio: 12, attack: 0.003, release: 0.2 });
    this.out = new GainNode(this.context, { gain: 1.2 });
    this.out.connect(limit).connect(this.analyser).connect(this.context.destination);
  }

  #clear() {
    for (const segment of this.segments) for (const node of segment.nodes) try { node.stop(); } catch { /* it has not begun */ }
    this.segments = [];
    this.partial = undefined;
  }

  /** Bars that can be played now. */
  #bars(take) {
    return take.writing ? take.bars : Math.max(take.bars, barGrid(take.sheet).metres.length);
  }

  /** Seconds that are on the clock already. */
  #ahead() {
    const last = this.segments[this.segments.length - 1];
    return last ? last.until - this.context.currentTime : 0;
  }

  async #pump(run) {
    while (this.run === run) {
      const ahead = this.#ahead();
      this.#forget();
      this.#setWaiting(ahead <= 0);
      const take = this.source();
      const stretch = ahead < AHEAD ? this.#next(take) : null;
      if (!stretch) {
        if (!take.writing && ahead <= 0 && !this.loop && this.cursor >= this.#bars(take)) return this.#end();
        if (ahead <= 0) this.want = this.segments.length ? 2 : 1;
        await new Promise((resume) => setTimeout(resume, 50));
        continue;
      }
      this.cursor = stretch.next;
      try {
        const stems = await this.#stems(stretch.stems);
        if (this.run !== run) return;
        this.#schedule(stretch, stems);
      } catch (error) {
        if (this.run !== run) return;
        this.pause();
        this.hear(error);
      }
    }
  }

  #end() {
    this.at = 0;
    this.playing = false;
    this.run++;
    this.onchange();
  }

  #setWaiting(waiting) {
    if (waiting !== this.waiting) { this.waiting = waiting; this.onchange(); }
  }

  /** The next bars to prepare, or null where they are not written yet. */
  #next(take) {
    const bars = this.#bars(take);
    if (this.loop && this.cursor >= Math.min(this.loop[1], bars) && bars > this.loop[0]) this.cursor = this.loop[0];
    const limit = this.loop ? Math.min(this.loop[1], bars) : bars;
    if (this.cursor >= limit || (take.writing && bars - this.cursor < this.want)) return null;
    this.want = 1;
    const grid = barGrid(take.sheet, take.bars), time = clock(take.sheet);
    const tick = this.partial ?? grid.starts[this.cursor];
    this.partial = undefined;
    let next = this.cursor + 1;
    const enough = this.segments.length ? STRETCH : 0;
    while (next < limit && time.seconds(grid.starts[next]) - time.seconds(tick) < enough) next++;
    const end = grid.starts[next];
    const second = time.seconds(tick);
    const stems = take.sheet.parts.map((part, index) => ({ index, ...stemOf(part, tick, end, time) })).filter((stem) => stem.notes.length);
    return { bar: this.cursor, next, tick, end, second, length: time.seconds(end) - second, clock: time, stems };
  }

  /** The sound of stems, as audio buffers; those heard lately are not made again. */
  async #stems(stems) {
    const keys = stems.map(({ index, ...stem }) => JSON.stringify(stem));
    const missing = [...new Set(keys)].filter((key) => !this.cache.has(key));
    if (missing.length) {
      const heard = await sound(missing.map((key) => JSON.parse(key)));
      heard.forEach((one, i) => this.cache.set(missing[i], this.#buffer(one)));
    }
    const found = stems.map((stem, i) => ({ index: stem.index, buffer: this.cache.get(keys[i]) }));
    for (const key of keys) { const buffer = this.cache.get(key); this.cache.delete(key); this.cache.set(key, buffer); }
    while (this.cache.size > KEPT) this.cache.delete(this.cache.keys().next().value);
    return found;
  }

  #buffer({ frames, samples }) {
    if (!frames) return null;
    const buffer = this.context.createBuffer(2, frames, RATE);
    for (let channel = 0; channel < 2; channel++) {
      const data = buffer.getChannelData(channel);
      for (let i = 0; i < frames; i++) data[i] = samples[2 * i + channel] / 16384;
    }
    return buffer;
  }

  #schedule(stretch, stems) {
    const last = this.segments[this.segments.length - 1];
    const from = Math.max(last ? last.until : 0, this.context.currentTime + SOON);
    const nodes = [];
    for (const { index, buffer } of stems) {
      if (!buffer) continue;
      const node = new AudioBufferSourceNode(this.context, { buffer });
      node.connect(this.#gain(index));
      node.start(from);
      nodes.push(node);
    }
    this.segments.push({ from, until: from + stretch.length, tick: stretch.tick, end: stretch.end, second: stretch.second,
      bar: stretch.bar, clock: stretch.clock, nodes });
  }

  /** Drop segments whose last note has rung out. */
  #forget() {
    const now = this.context.currentTime;
    while (this.segments.length > 1 && this.segments[1].from <= now && this.segments[0].until + LONGEST < now) this.segments.shift();
  }

  #gain(index) {
    if (!this.gains.has(index)) {
      const gain = new GainNode(this.context, { gain: loudness(this.source(), index) });
      gain.connect(this.out);
      this.gains.set(index, gain);
    }
    return this.gains.get(index);
  }
}

/** The gain of a track. Synthesizers square the channel volume; 100 is its default. */
export function loudness(take, index) {
  const { muted, solo } = take.mix;
  if (!take.sheet.parts[index] || muted.has(index) || (solo.size && !solo.has(index))) return 0;
  return (take.sheet.parts[index].volume / 100) ** 2;
}

/** What begins in [tick, end) of a part, in seconds from tick; what was set before holds from the beginning. */
function stemOf(part, tick, end, time) {
  const zero = time.seconds(tick);
  const from = firstAt(part.notes, tick), notes = [];
  for (let i = from; i < part.notes.length && part.notes[i][0] < end; i++) {
    const [start, duration, pitch, velocity] = part.notes[i];
    const begins = time.seconds(start);
    notes.push([round(begins - zero), round(Math.min(time.seconds(start + duration) - begins, LONGEST)), pitch, velocity]);
  }
  const state = (events, key) => {
    const before = new Map();
    for (const event of events) if (event[0] < tick) before.set(key(event), [0, ...event.slice(1)]);
    return [...before.values(), ...events.filter((event) => event[0] >= tick && event[0] < end)
      .map((event) => [round(time.seconds(event[0]) - zero), ...event.slice(1)])];
  };
  return { program: part.program, drums: part.drums, notes,
    controls: state(part.controls, (event) => event[1]), bends: state(part.bends, () => 0) };
}

const round = (seconds) => Math.round(seconds * 1e4) / 1e4;

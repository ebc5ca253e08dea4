// The piano roll: one canvas that draws only what is in view, over a strip as wide as the song that the browser scrolls.
// paint.js draws it, pointer.js is the mouse and the fingers; here is what it shows, and what is done to its notes.

import { GUTTER, RULER, layOut, pitchAt, rowHeight, rowTop } from "./layout.js";
import { paintRoll } from "./paint.js";
import { Pointer } from "./pointer.js";
import { addNote, changeNotes, endOf, firstAt, lengthened, longestOf, removeNotes, shifted } from "./sheet.js";

const EDGE = 6; // pixels from a note's end within which its length is drawn
const STEPS = 4; // of a quarter: the grid of edits

export class Roll {
  /** hooks: take(), edit(sheet, step), chose(), hear(part, note), seek(tick), region(bars or null), say(words),
   *  tick(), playing(), curves */
  constructor(scroller, strip, canvas, hooks) {
    Object.assign(this, { scroller, strip, canvas, hooks });
    this.context = canvas.getContext("2d");
    this.quarter = 28; // pixels
    this.chosen = new Set();
    this.part = 0; // where new notes go
    this.region = null; // [first bar, bar after the last]
    this.band = null; // the rubber band: {x0, y0, x1, y1}
    this.drag = null; // what the mouse or a finger does now
    this.follow = true;
    this.dirty = true;
    this.frames = this.cost = 0;
    this.pointer = new Pointer(this);
    new ResizeObserver(() => this.touch()).observe(scroller);
    scroller.addEventListener("scroll", () => { this.dirty = true; });
    this.recolour();
    const frame = () => { this.#frame(); requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
  }

  /** Draw anew. */
  touch() { this.dirty = true; this.layout = null; }

  /** Take the colours from the style sheet. */
  recolour() {
    const style = getComputedStyle(document.documentElement);
    this.colours = new Proxy({}, { get: (known, name) => (known[name] ??= style.getPropertyValue(`--${name}`).trim() || "#888") });
    this.font = `11px ${style.getPropertyValue("--sans")}`;
    this.touch();
  }

  zoom(factor, at = this.scroller.clientWidth / 2) {
    const tick = this.tickAt(at);
    this.quarter = Math.min(400, Math.max(2, this.quarter * factor));
    this.touch();
    this.measure();
    this.scroller.scrollLeft = tick * this.scale + GUTTER - at;
  }

  show(tick) {
    this.measure();
    this.scroller.scrollLeft = Math.max(0, tick * this.scale - 0.3 * this.scroller.clientWidth);
  }

  choose(notes) {
    this.chosen = new Set(notes);
    this.touch();
  }

  #frame() {
    const playing = this.hooks.playing(), tick = this.hooks.tick();
    if (playing && this.follow && !this.drag) {
      const x = this.x(tick), width = this.scroller.clientWidth;
      if (x > 0.62 * width || x < GUTTER) this.scroller.scrollLeft += x > 0.62 * width && x < width ? x - 0.62 * width : x - 0.2 * width;
    }
    if (!this.dirty && !playing && tick === this.shownTick) return;
    this.dirty = false;
    this.shownTick = tick;
    const begin = performance.now();
    paintRoll(this, tick, playing);
    this.frames++; // how many were drawn, and the milliseconds that they took: what the benchmark reads
    this.cost += performance.now() - begin;
  }

  // ---- where things are ------------------------------------------------------------------------------------------

  /** Sizes and rows, kept until something changes. */
  measure() {
    const take = this.hooks.take();
    if (this.layout?.sheet === take.sheet) return this.layout;
    this.layout = layOut(take, this.scroller.clientWidth, this.scroller.clientHeight, Boolean(this.hooks.curves.pen));
    const { grid, width, sheet } = this.layout;
    const wide = Math.max(endOf(sheet), grid.starts[grid.metres.length]) * this.scale + GUTTER + 80;
    this.strip.style.width = `${Math.max(wide, width)}px`;
    return this.layout;
  }

  get scale() { return this.quarter / this.hooks.take().sheet.ticks; }
  x(tick) { return GUTTER + tick * this.scale - this.scroller.scrollLeft; }
  tickAt(x) { return Math.max(0, (x - GUTTER + this.scroller.scrollLeft) / this.scale); }

  /** The note at a point, or the nearest within `reach` pixels: {part, index, note, edge}. The chosen part comes first,
   *  then what was drawn last. `only`: a Set of notes that count. */
  hit(x, y, reach = 0, only = null) {
    const layout = this.measure(), { sheet } = layout, tick = this.tickAt(x), { drums } = pitchAt(layout, y);
    const order = sheet.parts.map((_, index) => index).sort((a, b) => (b === this.part) - (a === this.part) || b - a);
    let found = null, nearest = Infinity;
    for (const index of order) {
      const part = sheet.parts[index], beside = Math.max(reach, part.drums ? 4 : 2), ticks = beside / this.scale;
      if (part.drums !== drums) continue;
      for (let i = firstAt(part.notes, tick - longestOf(part.notes) - ticks); i < part.notes.length && part.notes[i][0] <= tick + ticks; i++) {
        const note = part.notes[i], end = note[0] + Math.max(note[1], part.drums ? 8 / this.scale : 0);
        const top = rowTop(layout, part, note[2]);
        const across = Math.max(note[0] - tick, tick - end, 0) * this.scale;
        const along = Math.max(top - y, y - top - rowHeight(layout, part), 0);
        const far = Math.hypot(across, along);
        if (across > beside || along > reach || far >= nearest || (only && !only.has(note))) continue;
        const long = note[1] * this.scale > 3 * EDGE;
        nearest = far;
        found = { part, index, note, edge: !part.drums && (end - tick) * this.scale < (long ? EDGE : 0) };
      }
    }
    return found;
  }

  /** The notes that a rubber band touches. */
  inside({ x0, y0, x1, y1 }) {
    const layout = this.measure(), found = [];
    const [left, right] = [this.tickAt(Math.min(x0, x1)), this.tickAt(Math.max(x0, x1))];
    const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
    for (const part of layout.sheet.parts) for (const note of part.notes) {
      if (note[0] > right) break;
      const y = rowTop(layout, part, note[2]);
      if (note[0] + note[1] >= left && y + rowHeight(layout, part) >= top && y <= bottom) found.push(note);
    }
    return found;
  }

  // ---- what is done to notes -------------------------------------------------------------------------------------

  get step() { return this.hooks.take().sheet.ticks / STEPS; }

  /** A new note at a point, chosen; whether there was a track for it. */
  add(x, y, undo = {}) {
    const layout = this.measure(), { sheet, laneTop } = layout;
    if (y < RULER || y >= laneTop) return false;
    const { drums, pitch } = pitchAt(layout, y), { step } = this;
    const index = sheet.parts[this.part]?.drums === drums ? this.part : sheet.parts.findIndex((part) => part.drums === drums);
    if (index < 0) { this.hooks.say(drums ? "There is no drum track." : "There is no track to put a note in."); return false; }
    const note = [Math.floor(this.tickAt(x) / step) * step, drums ? step : sheet.ticks, pitch, 90];
    this.part = index;
    this.#edited({ sheet: addNote(sheet, index, note), chosen: new Set([note]) }, undo);
    return true;
  }

  remove() {
    if (!this.chosen.size) return;
    const count = this.chosen.size;
    this.#edited({ sheet: removeNotes(this.hooks.take().sheet, this.chosen), chosen: new Set() });
    this.hooks.say(`${count} ${count === 1 ? "note" : "notes"} deleted`);
  }

  /** The chosen notes later by steps of the grid and higher by semitones. */
  nudge(steps, semitones) {
    if (!this.chosen.size) return;
    this.#edited(changeNotes(this.hooks.take().sheet, this.chosen, (note) => shifted(note, steps * this.step, semitones)));
    if (semitones) this.hear();
  }

  /** The chosen notes longer by steps of the grid. */
  lengthen(steps) {
    if (!this.chosen.size) return;
    this.#edited(changeNotes(this.hooks.take().sheet, this.chosen, (note) => lengthened(note, steps * this.step, this.step)));
  }

  /** `undo`: edits with the same one are taken back together. */
  #edited({ sheet, chosen }, undo = {}) {
    this.chosen = chosen;
    this.hooks.edit(sheet, undo);
    this.hooks.chose();
  }

  /** Choose the next or the previous note of the track. */
  walk(by) {
    const part = this.hooks.take().sheet.parts[this.part];
    if (!part?.notes.length) return;
    const [current] = this.chosen, at = current ? part.notes.indexOf(current) : firstAt(part.notes, this.hooks.tick()) - (by > 0 ? 1 : 0);
    const note = part.notes[Math.max(0, Math.min(part.notes.length - 1, at + by))];
    this.choose([note]);
    const x = this.x(note[0]);
    if (x < GUTTER || x > this.scroller.clientWidth - 40) this.show(note[0]);
    this.hooks.chose();
    this.hear();
  }

  /** Sound the chosen note, where it is one. */
  hear() {
    const [note] = this.chosen, part = this.hooks.take().sheet.parts.findIndex((one) => one.notes.includes(note));
    if (this.chosen.size === 1 && part >= 0) this.hooks.hear(part, note);
  }
}

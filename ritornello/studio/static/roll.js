// The piano roll: one canvas that draws only what is in view, over a strip as wide as the song that the browser scrolls.

import { addNote, barGrid, barOf, changeNotes, drumName, endOf, firstAt, hue, pitchName, removeNotes, shifted } from "./sheet.js";

const RULER = 26, GUTTER = 46, LANE = 64;
const EDGE = 6; // pixels from a note's end within which its length is drawn
const KIT = [36, 38, 42, 46, 49];
const BLACK = new Set([1, 3, 6, 8, 10]);

const longest = new WeakMap(); // of a part's notes
function longestOf(notes) {
  if (!longest.has(notes)) longest.set(notes, notes.reduce((most, note) => Math.max(most, note[1]), 0));
  return longest.get(notes);
}

export class Roll {
  /** hooks: take(), edit(sheet, chosen, name), seek(tick), region(bars or null), say(words), tick(), playing(), curves */
  constructor(scroller, strip, canvas, hooks) {
    Object.assign(this, { scroller, strip, canvas, hooks });
    this.context = canvas.getContext("2d");
    this.quarter = 28; // pixels
    this.chosen = new Set();
    this.part = 0; // where new notes go
    this.region = null; // [first bar, bar after the last]
    this.band = null; // the rubber band
    this.drag = null;
    this.follow = true;
    this.dirty = true;
    this.frames = this.cost = 0;
    new ResizeObserver(() => this.touch()).observe(scroller);
    scroller.addEventListener("scroll", () => { this.dirty = true; });
    scroller.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => { this.drag = this.band = null; this.touch(); });
    canvas.addEventListener("dblclick", (event) => this.#add(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
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
    this.#measure();
    this.scroller.scrollLeft = tick * this.scale + GUTTER - at;
  }

  show(tick) {
    this.#measure();
    this.scroller.scrollLeft = Math.max(0, tick * this.scale - 0.3 * this.scroller.clientWidth);
  }

  choose(notes) {
    this.chosen = new Set(notes);
    this.touch();
  }

  // ---- where things are ------------------------------------------------------------------------------------------

  /** Sizes and rows, kept until something changes. */
  #measure() {
    const take = this.hooks.take();
    if (this.layout && this.layout.sheet === take.sheet) return this.layout;
    const sheet = take.sheet, width = this.scroller.clientWidth, height = this.scroller.clientHeight;
    const lane = LANE;
    let low = 128, high = -1;
    const drums = new Set();
    for (const part of sheet.parts) {
      if (part.drums) { for (const note of part.notes) drums.add(note[2]); continue; }
      for (const note of part.notes) { if (note[2] < low) low = note[2]; if (note[2] > high) high = note[2]; }
    }
    if (high < 0 || take.writing) { low = Math.min(low, 36); high = Math.max(high, 84); } // rows stay while it grows
    const spare = Math.max(0, 36 - (high - low)) / 2;
    low = Math.max(0, Math.floor(low - spare - 2)); high = Math.min(127, Math.ceil(high + spare + 2));
    const hasDrums = sheet.parts.some((part) => part.drums);
    const kit = hasDrums ? [...new Set([...KIT, ...drums])].sort((a, b) => a - b) : [];
    const room = height - RULER - lane;
    const drumRow = Math.max(3, Math.min(9, (room * 0.3) / Math.max(kit.length, 1)));
    const drumTop = RULER + room - kit.length * drumRow;
    const row = (drumTop - RULER - (kit.length ? 6 : 0)) / (high - low + 1);
    const grid = barGrid(sheet, Math.max(take.bars, 8));
    const wide = Math.max(endOf(sheet), grid.starts[grid.metres.length]) * this.#scale(sheet) + GUTTER + 80;
    this.strip.style.width = `${Math.max(wide, width)}px`;
    this.layout = { sheet, width, height, low, high, row, kit, drumRow, drumTop, grid, lane, laneTop: height - lane };
    return this.layout;
  }

  #scale(sheet) { return this.quarter / sheet.ticks; }
  get scale() { return this.#scale(this.hooks.take().sheet); }
  x(tick) { return GUTTER + tick * this.scale - this.scroller.scrollLeft; }
  tickAt(x) { return Math.max(0, (x - GUTTER + this.scroller.scrollLeft) / this.scale); }

  #y(part, pitch) {
    const { high, row, kit, drumRow, drumTop } = this.layout;
    if (part.drums) return drumTop + (kit.length - 1 - kit.indexOf(pitch)) * drumRow;
    return RULER + (high - pitch) * row;
  }

  #pitchAt(y) {
    const { high, row, kit, drumRow, drumTop } = this.layout;
    if (kit.length && y >= drumTop) return { drums: true, pitch: kit[Math.max(0, Math.min(kit.length - 1, kit.length - 1 - Math.floor((y - drumTop) / drumRow)))] };
    return { drums: false, pitch: Math.max(0, Math.min(127, high - Math.floor((y - RULER) / row))) };
  }

  /** The note under a point: {part, index, note, edge}, the last drawn first. */
  #hit(x, y) {
    const { sheet } = this.#measure(), tick = this.tickAt(x), { drums, pitch } = this.#pitchAt(y);
    const order = sheet.parts.map((_, index) => index).sort((a, b) => (b === this.part) - (a === this.part) || b - a);
    for (const index of order) {
      const part = sheet.parts[index];
      if (part.drums !== drums) continue;
      const slack = part.drums ? 4 / this.scale : 2 / this.scale;
      for (let i = firstAt(part.notes, tick - longestOf(part.notes) - slack); i < part.notes.length && part.notes[i][0] <= tick + slack; i++) {
        const note = part.notes[i], end = note[0] + Math.max(note[1], part.drums ? 8 / this.scale : 0);
        if (note[2] === pitch && tick <= end + slack) {
          const wide = note[1] * this.scale > 3 * EDGE;
          return { part, index, note, edge: wide && !part.drums && (end - tick) * this.scale < EDGE };
        }
      }
    }
    return null;
  }

  // ---- drawing ---------------------------------------------------------------------------------------------------

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
    this.#draw(tick, playing);
    this.frames++; // how many were drawn, and the milliseconds that they took: what the benchmark reads
    this.cost += performance.now() - begin;
  }

  #draw(tick, playing) {
    const layout = this.#measure(), { width, height } = layout, { context, canvas, colours } = this;
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = colours.roll;
    context.fillRect(0, 0, width, height);
    context.font = this.font;
    context.textBaseline = "middle";
    const view = { from: this.tickAt(GUTTER), to: this.tickAt(width) };
    this.#rows(layout);
    this.#bars(layout, view);
    this.#notes(layout, view, playing ? tick : -1);
    this.hooks.curves.draw(context, this, layout);
    this.#writing(layout);
    this.#gutter(layout);
    this.#playhead(tick, layout);
    if (this.band) {
      const { x0, y0, x1, y1 } = this.band;
      context.fillStyle = colours.band;
      context.fillRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    }
  }

  #rows({ width, low, high, row, kit, drumRow, drumTop }) {
    const { context, colours } = this;
    context.fillStyle = colours["roll-black"];
    for (let pitch = low; pitch <= high; pitch++) if (BLACK.has(pitch % 12)) context.fillRect(0, RULER + (high - pitch) * row, width, row);
    context.fillStyle = colours["roll-line"];
    for (let pitch = low; pitch <= high; pitch++) if (pitch % 12 === 0) context.fillRect(0, RULER + (high - pitch + 1) * row - 0.5, width, 1);
    if (!kit.length) return;
    context.fillStyle = colours["roll-drums"];
    context.fillRect(0, drumTop - 3, width, kit.length * drumRow + 3);
  }

  #bars({ grid, height, sheet }, view) {
    const { context, colours } = this, first = barOf(grid, view.from);
    const barWidth = (grid.starts[first + 1] - grid.starts[first]) * this.scale;
    let every = 1;
    while (barWidth * every < 34) every *= 2;
    if (this.region) {
      const [from, to] = this.region.map((bar) => this.x(grid.starts[Math.min(bar, grid.starts.length - 1)]));
      context.fillStyle = colours.region;
      context.fillRect(from, 0, to - from, height);
    }
    for (let bar = first; bar < grid.metres.length && grid.starts[bar] <= view.to; bar++) {
      const x = this.x(grid.starts[bar]);
      const shown = bar % every === 0;
      if (shown || barWidth > 6) { context.fillStyle = shown ? colours["roll-bar"] : colours["roll-line"]; context.fillRect(Math.round(x), shown ? 6 : RULER, 1, height); }
      if (shown) { context.fillStyle = colours.faint; context.fillText(String(bar + 1), x + 5, RULER / 2 + 1); }
      const beat = (sheet.ticks * 4) / grid.metres[bar][1];
      if (beat * this.scale > 14) {
        context.fillStyle = colours["roll-line"];
        for (let at = grid.starts[bar] + beat; at < grid.starts[bar + 1] - 1; at += beat) context.fillRect(Math.round(this.x(at)), RULER, 1, height - RULER);
      }
    }
  }

  #notes({ sheet, row, drumRow }, view, playing) {
    const { context, colours } = this, { muted, solo } = this.hooks.take().mix;
    const order = sheet.parts.map((_, index) => index).sort((a, b) => (a === this.part) - (b === this.part));
    const offset = GUTTER - this.scroller.scrollLeft, scale = this.scale;
    for (const index of order) {
      const part = sheet.parts[index], silent = muted.has(index) || (solo.size && !solo.has(index));
      const height = part.drums ? drumRow - 1 : Math.max(row - 1, 2);
      const soft = new Path2D(), loud = new Path2D(), now = new Path2D(), chosen = new Path2D();
      const from = firstAt(part.notes, view.from - longestOf(part.notes));
      for (let i = from; i < part.notes.length && part.notes[i][0] <= view.to; i++) {
        const note = part.notes[i], [time, duration, pitch, velocity] = note;
        if (time + duration < view.from) continue;
        const x = offset + time * scale, y = this.#y(part, pitch);
        const wide = part.drums ? Math.max(3, Math.min(7, duration * scale)) : Math.max(duration * scale - 1, 2);
        const sounds = !part.drums ? playing >= time && playing < time + duration : playing >= time && playing < time + sheet.ticks / 4;
        const path = this.chosen.has(note) ? chosen : sounds ? now : velocity > 70 ? loud : soft;
        if (wide > 6 && height > 5) path.roundRect(x, y, wide, height, 2); else path.rect(x, y, wide, height);
      }
      const colour = colours[`part-${hue(part)}`];
      context.fillStyle = colour;
      context.globalAlpha = silent ? 0.12 : 0.62;
      context.fill(soft);
      context.globalAlpha = silent ? 0.16 : 0.92;
      context.fill(loud);
      context.globalAlpha = silent ? 0.2 : 1;
      context.fillStyle = colours.sounding;
      context.fill(now);
      context.fillStyle = colour;
      context.fill(chosen);
      context.globalAlpha = 1;
      context.strokeStyle = colours.ink;
      context.lineWidth = 1.5;
      context.stroke(chosen);
    }
  }

  /** Where the model writes: a soft edge after the last complete bar. */
  #writing({ grid, height }) {
    const take = this.hooks.take();
    if (!take.writing) return;
    const x = this.x(grid.starts[Math.min(take.bars, grid.starts.length - 1)]);
    const shade = this.context.createLinearGradient(x, 0, x + 90, 0);
    shade.addColorStop(0, this.colours.writing);
    shade.addColorStop(1, "transparent");
    this.context.fillStyle = shade;
    this.context.fillRect(x, RULER, 90, height - RULER);
  }

  #gutter({ height, low, high, row, kit, drumRow, drumTop, laneTop }) {
    const { context, colours } = this;
    context.fillStyle = colours.roll;
    context.fillRect(0, 0, GUTTER, height);
    context.fillStyle = colours["roll-bar"];
    context.fillRect(GUTTER - 1, 0, 1, height);
    context.fillStyle = colours.faint;
    for (let pitch = low; pitch <= high; pitch++) if (pitch % 12 === 0) context.fillText(pitchName(pitch), 14, RULER + (high - pitch + 0.5) * row);
    if (kit.length) context.fillText("drums", 8, drumTop + (kit.length * drumRow) / 2);
    this.hooks.curves.legend(context, this, laneTop);
  }

  #playhead(tick, { height }) {
    const x = this.x(tick);
    if (x < GUTTER - 1) return;
    this.context.fillStyle = this.colours.accent;
    this.context.fillRect(Math.round(x) - 1, 0, 2, height);
    this.context.beginPath();
    this.context.moveTo(x - 6, 0); this.context.lineTo(x + 6, 0); this.context.lineTo(x, 8);
    this.context.fill();
  }

  // ---- the mouse -------------------------------------------------------------------------------------------------

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) {
      if (Math.abs(event.deltaY) > Math.abs(event.deltaX) && !event.shiftKey) { this.scroller.scrollLeft += event.deltaY; event.preventDefault(); }
      this.follow = false;
      return;
    }
    event.preventDefault();
    this.zoom(Math.exp(-event.deltaY * 0.003), event.offsetX);
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #down(event) {
    if (event.button) return;
    const { x, y } = this.#place(event), layout = this.#measure(), tick = this.tickAt(x);
    this.canvas.focus({ preventScroll: true });
    if (y < RULER) this.drag = { kind: "ruler", from: barOf(layout.grid, tick), x, tick };
    else if (y >= layout.laneTop) { if (!this.hooks.curves.down(tick, y, layout)) return; this.drag = { kind: "curve" }; }
    else if (event.pointerType !== "mouse") { this.drag = { kind: "tap", x, y }; return; }
    else {
      const hit = this.#hit(x, y);
      if (hit) {
        if (event.shiftKey) { this.chosen.has(hit.note) ? this.chosen.delete(hit.note) : this.chosen.add(hit.note); }
        else if (!this.chosen.has(hit.note)) this.chosen = new Set([hit.note]);
        this.part = hit.index;
        this.hooks.chose();
        this.drag = { kind: hit.edge ? "length" : "move", sheet: layout.sheet, chosen: this.chosen, tick, y, drums: hit.part.drums, moved: false };
      } else {
        this.drag = { kind: "band", add: event.shiftKey ? new Set(this.chosen) : new Set() };
        this.band = { x0: x, y0: y, x1: x, y1: y };
      }
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.touch();
  }

  #move(event) {
    const { x, y } = this.#place(event), { drag } = this;
    if (!drag) {
      const layout = this.#measure();
      const hit = y >= RULER && y < height(layout) && event.pointerType === "mouse" ? this.#hit(x, y) : null;
      this.canvas.style.cursor = y < RULER ? "col-resize" : y >= layout.laneTop ? this.hooks.curves.cursor() : hit ? (hit.edge ? "ew-resize" : "grab") : "crosshair";
      this.canvas.title = hit ? (hit.part.drums ? drumName(hit.note[2]) : pitchName(hit.note[2])) : "";
      return;
    }
    const layout = this.#measure(), tick = this.tickAt(x);
    if (drag.kind === "ruler" && (drag.dragged || Math.abs(x - drag.x) > 4)) {
      drag.dragged = true;
      const to = barOf(layout.grid, tick);
      this.hooks.region([Math.min(drag.from, to), Math.max(drag.from, to) + 1]);
    } else if (drag.kind === "curve") this.hooks.curves.move(tick, y, layout);
    else if (drag.kind === "band") {
      Object.assign(this.band, { x1: x, y1: y });
      this.chosen = new Set([...drag.add, ...this.#inside(this.band)]);
      this.hooks.chose();
    } else if (drag.kind === "move" || drag.kind === "length") this.#dragNotes(drag, tick, y, layout);
    this.touch();
  }

  #dragNotes(drag, tick, y, layout) {
    const step = drag.sheet.ticks / 4;
    const ticks = Math.round((tick - drag.tick) / step) * step;
    const pitches = drag.kind === "move" ? this.#pitchAt(drag.y).pitch - this.#pitchAt(y).pitch : 0;
    if (!drag.moved && !ticks && !pitches) return;
    drag.moved = true;
    const change = drag.kind === "length"
      ? (note) => [note[0], Math.max(Math.min(step, note[1]), note[1] + ticks), note[2], note[3]]
      : (note, part) => shifted(note, ticks, part.drums === drag.drums ? -pitches : 0);
    const { sheet, chosen } = changeNotes(drag.sheet, drag.chosen, change);
    this.chosen = chosen;
    this.hooks.edit(sheet, drag.kind === "length" ? "length" : "move", drag);
  }

  #inside({ x0, y0, x1, y1 }) {
    const { sheet, row } = this.layout, found = [];
    const [left, right] = [this.tickAt(Math.min(x0, x1)), this.tickAt(Math.max(x0, x1))];
    const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
    for (const part of sheet.parts) for (const note of part.notes) {
      if (note[0] > right) break;
      const y = this.#y(part, note[2]);
      if (note[0] + note[1] >= left && y + row >= top && y <= bottom) found.push(note);
    }
    return found;
  }

  #up(event) {
    const { drag } = this, { x, y } = this.#place(event);
    this.drag = this.band = null;
    if (drag?.kind === "ruler" && !drag.dragged) { this.hooks.region(null); this.hooks.seek(drag.tick); }
    if (drag?.kind === "curve") this.hooks.curves.up();
    if (drag?.kind === "tap" && Math.hypot(x - drag.x, y - drag.y) < 8) {
      const hit = this.#hit(x, y);
      this.chosen = new Set(hit ? [hit.note] : []);
      if (hit) this.part = hit.index;
    }
    this.hooks.chose();
    this.touch();
  }

  #add(event) {
    const { x, y } = this.#place(event), { sheet, laneTop } = this.#measure();
    if (y < RULER || y >= laneTop || this.#hit(x, y)) return;
    const { drums, pitch } = this.#pitchAt(y), step = sheet.ticks / 4;
    const index = sheet.parts[this.part]?.drums === drums ? this.part : sheet.parts.findIndex((part) => part.drums === drums);
    if (index < 0) return this.hooks.say(drums ? "There is no drum track." : "There is no track to put a note in.");
    const note = [Math.floor(this.tickAt(x) / step) * step, drums ? step : sheet.ticks, pitch, 90];
    this.chosen = new Set([note]);
    this.part = index;
    this.hooks.edit(addNote(sheet, index, note), "add");
    this.hooks.chose();
  }

  // ---- the keyboard: what app.js calls ---------------------------------------------------------------------------

  remove() {
    if (!this.chosen.size) return;
    const count = this.chosen.size, sheet = removeNotes(this.hooks.take().sheet, this.chosen);
    this.chosen = new Set();
    this.hooks.edit(sheet, "delete");
    this.hooks.say(`${count} ${count === 1 ? "note" : "notes"} deleted`);
    this.hooks.chose();
  }

  nudge(steps, semitones) {
    if (!this.chosen.size) return;
    const sheet = this.hooks.take().sheet, ticks = (steps * sheet.ticks) / 4;
    const changed = changeNotes(sheet, this.chosen, (note) => shifted(note, ticks, semitones));
    this.chosen = changed.chosen;
    this.hooks.edit(changed.sheet, "nudge");
    this.hooks.chose();
  }

  /** Choose the next or the previous note of the track. */
  step(by) {
    const part = this.hooks.take().sheet.parts[this.part];
    if (!part?.notes.length) return;
    const [current] = this.chosen, at = current ? part.notes.indexOf(current) : firstAt(part.notes, this.hooks.tick()) - (by > 0 ? 1 : 0);
    const note = part.notes[Math.max(0, Math.min(part.notes.length - 1, at + by))];
    this.choose([note]);
    const x = this.x(note[0]);
    if (x < GUTTER || x > this.scroller.clientWidth - 40) this.show(note[0]);
    this.hooks.chose();
  }
}

const height = (layout) => layout.height - layout.lane;

/** A whole song on a small canvas. */
export function drawSmall(canvas, take, tick) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  context.scale(ratio, ratio);
  const { sheet } = take, grid = barGrid(sheet, take.asked || take.bars);
  const end = Math.max(grid.starts[grid.metres.length], 1);
  let low = 127, high = 0;
  for (const part of sheet.parts) if (!part.drums) for (const note of part.notes) { low = Math.min(low, note[2]); high = Math.max(high, note[2]); }
  const span = Math.max(high - low, 24);
  for (const part of sheet.parts) {
    context.fillStyle = style.getPropertyValue(`--part-${hue(part)}`);
    context.globalAlpha = 0.85;
    const path = new Path2D();
    for (const note of part.notes) {
      const y = part.drums ? height - 3 : 2 + (1 - (note[2] - low) / span) * (height - 9);
      path.rect((note[0] / end) * width, y, Math.max((note[1] / end) * width, 0.8), part.drums ? 2 : 1.6);
    }
    context.fill(path);
  }
  if (tick === undefined) return;
  context.globalAlpha = 1;
  context.fillStyle = style.getPropertyValue("--accent");
  context.fillRect((tick / end) * width - 0.75, 0, 1.5, height);
}

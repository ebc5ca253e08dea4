// The mouse and the fingers on the roll. A finger that moves scrolls, as everywhere; so notes are moved by one only when
// it comes down on a chosen note, or holds still for a moment first. Held on an empty place, it makes a note there.

import { RULER, pitchAt } from "./layout.js";
import { barOf, changeNotes, drumName, lengthened, pitchName, shifted } from "./sheet.js";

const HOLD = 380; // milliseconds until a finger that rests has hold of what is under it
const SLIP = 8; // pixels that a resting finger may move
const REACH = 14; // pixels: how far from a note a finger still means it

export class Pointer {
  constructor(roll) {
    this.roll = roll;
    const { canvas, scroller } = roll;
    scroller.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => this.#leave()); // the browser scrolls with this finger
    canvas.addEventListener("dblclick", (event) => this.#double(event));
    // The browser scrolls with a finger unless its touch events say otherwise
    canvas.addEventListener("touchstart", (event) => this.#touched(event), { passive: false });
    canvas.addEventListener("touchmove", (event) => this.#touched(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => { if (this.finger) event.preventDefault(); });
  }

  #place({ clientX, clientY }) {
    const box = this.roll.canvas.getBoundingClientRect();
    return { x: clientX - box.left, y: clientY - box.top };
  }

  #wheel(event) {
    const { roll } = this;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      return roll.zoom(Math.exp(-event.deltaY * 0.003), event.offsetX);
    }
    roll.follow = false;
    if (Math.abs(event.deltaY) <= Math.abs(event.deltaX) || event.shiftKey) return;
    roll.scroller.scrollLeft += event.deltaY;
    event.preventDefault();
  }

  // ---- down, move, up ----------------------------------------------------------------------------------------------

  #down(event) {
    if (event.button || !event.isPrimary) return;
    const { roll } = this, { x, y } = this.#place(event), layout = roll.measure(), tick = roll.tickAt(x);
    this.finger = event.pointerType === "touch";
    roll.canvas.focus({ preventScroll: true });
    if (y < RULER) roll.drag = { kind: "ruler", from: barOf(layout.grid, tick), x, tick };
    else if (y >= layout.laneTop) roll.drag = roll.hooks.curves.down(tick, y, layout) ? { kind: "curve" } : null;
    else if (this.finger) this.#fingerDown(x, y);
    else this.#mouseDown(event, x, y);
    if (!roll.drag) return;
    roll.canvas.setPointerCapture(event.pointerId);
    roll.touch();
  }

  #mouseDown(event, x, y) {
    const { roll } = this, hit = roll.hit(x, y);
    if (!hit) {
      roll.drag = { kind: "band", add: event.shiftKey ? new Set(roll.chosen) : new Set() };
      roll.band = { x0: x, y0: y, x1: x, y1: y };
      return;
    }
    if (event.shiftKey) { roll.chosen.has(hit.note) ? roll.chosen.delete(hit.note) : roll.chosen.add(hit.note); }
    else if (!roll.chosen.has(hit.note)) roll.chosen = new Set([hit.note]);
    this.#take(hit, x, y);
    roll.hear();
  }

  #fingerDown(x, y) {
    const { roll } = this, held = roll.hit(x, y, REACH, roll.chosen);
    if (held) return this.#take(held, x, y);
    roll.drag = { kind: "tap", x, y };
    this.holding = setTimeout(() => this.#hold(x, y), HOLD);
  }

  /** The finger has rested: it has the note under it, or a new one. */
  #hold(x, y) {
    const { roll } = this, hit = roll.hit(x, y, REACH), undo = {};
    if (hit) roll.chosen = new Set([hit.note]);
    else if (!roll.add(x, y, undo)) return;
    navigator.vibrate?.(10);
    this.#take({ ...(hit || roll.hit(x, y, REACH, roll.chosen)), edge: false }, x, y, undo);
    roll.hear();
  }

  /** Have the chosen notes follow, or, from the end of one, their lengths. */
  #take({ part, index, edge }, x, y, undo = {}) {
    const { roll } = this, { sheet } = roll.measure();
    roll.part = index;
    roll.drag = { kind: edge ? "length" : "move", sheet, chosen: roll.chosen, tick: roll.tickAt(x), y, drums: part.drums, moved: false, undo };
    roll.hooks.chose();
    roll.touch();
  }

  #move(event) {
    const { roll } = this, { x, y } = this.#place(event), { drag } = roll;
    if (!drag) return this.#hover(event, x, y);
    const layout = roll.measure(), tick = roll.tickAt(x);
    if (drag.kind === "tap") {
      if (Math.hypot(x - drag.x, y - drag.y) > SLIP) this.#leave();
    } else if (drag.kind === "ruler" && (drag.dragged || Math.abs(x - drag.x) > 4)) {
      drag.dragged = true;
      const to = barOf(layout.grid, tick);
      roll.hooks.region([Math.min(drag.from, to), Math.max(drag.from, to) + 1]);
    } else if (drag.kind === "curve") roll.hooks.curves.move(tick, y, layout);
    else if (drag.kind === "band") {
      Object.assign(roll.band, { x1: x, y1: y });
      roll.chosen = new Set([...drag.add, ...roll.inside(roll.band)]);
      roll.hooks.chose();
    } else if (drag.kind === "move" || drag.kind === "length") this.#dragNotes(drag, tick, y, layout);
    roll.touch();
  }

  #dragNotes(drag, tick, y, layout) {
    const { roll } = this, { step } = roll;
    const ticks = Math.round((tick - drag.tick) / step) * step;
    const pitches = drag.kind === "move" ? pitchAt(layout, y).pitch - pitchAt(layout, drag.y).pitch : 0;
    if (!drag.moved && !ticks && !pitches) return;
    drag.moved = true;
    const change = drag.kind === "length" ? (note) => lengthened(note, ticks, step)
      : (note, part) => shifted(note, ticks, part.drums === drag.drums ? pitches : 0);
    const { sheet, chosen } = changeNotes(drag.sheet, drag.chosen, change);
    roll.chosen = chosen;
    roll.hooks.edit(sheet, drag.undo);
    if (pitches !== (drag.pitches ?? 0)) roll.hear();
    drag.pitches = pitches;
  }

  #up(event) {
    const { roll } = this, { drag } = roll, { x, y } = this.#place(event);
    this.#leave();
    if (drag?.kind === "ruler" && !drag.dragged) { roll.hooks.region(null); roll.hooks.seek(drag.tick); }
    if (drag?.kind === "curve") roll.hooks.curves.up();
    if (drag?.kind === "tap") {
      const hit = roll.hit(x, y, REACH);
      roll.chosen = new Set(hit ? [hit.note] : []);
      if (hit) { roll.part = hit.index; roll.hear(); }
    }
    roll.hooks.chose();
  }

  #leave() {
    clearTimeout(this.holding);
    this.roll.drag = this.roll.band = null;
    this.roll.touch();
  }

  #double(event) {
    const { x, y } = this.#place(event), { roll } = this;
    if (!roll.hit(x, y, this.finger ? REACH : 0) && roll.add(x, y)) roll.hear();
  }

  #hover(event, x, y) {
    if (event.pointerType !== "mouse") return;
    const { roll } = this, { laneTop } = roll.measure(), { canvas } = roll;
    const hit = y >= RULER && y < laneTop ? roll.hit(x, y) : null;
    canvas.style.cursor = y < RULER ? "col-resize" : y >= laneTop ? roll.hooks.curves.cursor() : hit ? (hit.edge ? "ew-resize" : "grab") : "crosshair";
    canvas.title = hit ? (hit.part.drums ? drumName(hit.note[2]) : pitchName(hit.note[2])) : "";
  }

  // ---- fingers -----------------------------------------------------------------------------------------------------

  /** One finger that does something keeps the page from scrolling; two of them zoom. */
  #touched(event) {
    const { roll } = this, { touches } = event;
    if (touches.length === 2) {
      const [one, other] = [...touches].map((touch) => this.#place(touch));
      const apart = Math.max(Math.abs(one.x - other.x), 40);
      if (event.type === "touchmove" && this.apart) roll.zoom(apart / this.apart, (one.x + other.x) / 2);
      this.apart = apart;
      this.#leave();
      event.preventDefault();
      return;
    }
    this.apart = 0;
    if (roll.drag && roll.drag.kind !== "tap" && event.cancelable) event.preventDefault();
  }
}

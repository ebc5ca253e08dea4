// The lane under the roll: how busy and how full every bar is, and, where a model can restyle, what it shall become.

import { GUTTER } from "./layout.js";
import { barOf } from "./sheet.js";

const CLASSES = 8; // 0 calm and thin, 7 busy and full
export const CURVES = { rhythm: "rhythmic_intensity", polyphony: "polyphony" };
const FULL = { rhythm: 1, polyphony: 8 }; // the attribute's value at the top of the lane

export class Curves {
  constructor() {
    this.measured = null; // attributes by bar, as the server tells them
    this.wanted = { rhythm: new Map(), polyphony: new Map() }; // bar → class
    this.pen = null; // the curve that the mouse draws
    this.onchange = () => {};
  }

  cursor() { return this.pen ? "crosshair" : "default"; }

  clear() {
    for (const curve of Object.values(this.wanted)) curve.clear();
    this.onchange();
  }

  /** "5:3,6:4": what the restyler reads. */
  wish(name) {
    return [...this.wanted[name]].sort((a, b) => a[0] - b[0]).map(([bar, value]) => `${bar + 1}:${value}`).join(",") || undefined;
  }

  /** The bars that were drawn over. */
  bars() { return [...new Set(Object.values(this.wanted).flatMap((curve) => [...curve.keys()]))].sort((a, b) => a - b); }

  set(name, bar, value) {
    this.wanted[name].set(bar, Math.max(0, Math.min(CLASSES - 1, value)));
    this.onchange();
  }

  down(tick, y, layout) {
    if (!this.pen) return false;
    this.last = null;
    this.move(tick, y, layout);
    return true;
  }

  move(tick, y, { grid, laneTop, lane }) {
    const bar = barOf(grid, tick);
    const value = Math.round((1 - (y - laneTop - 8) / (lane - 14)) * (CLASSES - 1));
    const from = this.last ?? bar; // a fast mouse leaves no bar out
    for (let one = Math.min(from, bar); one <= Math.max(from, bar); one++) this.wanted[this.pen].set(one, Math.max(0, Math.min(CLASSES - 1, value)));
    this.last = bar;
    this.onchange();
  }

  up() { this.last = null; }

  draw(context, roll, { grid, width, laneTop, lane }) {
    const { colours } = roll, top = laneTop + 8, tall = lane - 14;
    context.fillStyle = colours["roll-lane"];
    context.fillRect(0, laneTop, width, lane);
    context.fillStyle = colours["roll-bar"];
    context.fillRect(0, laneTop, width, 1);
    if (this.pen) this.#scale(context, colours, { width, top, tall });
    for (const name of Object.keys(CURVES)) {
      const values = this.measured?.[CURVES[name]] || [];
      const level = (bar) => Math.min(values[bar] / FULL[name], 1);
      steps(context, roll, grid, Math.min(values.length, grid.metres.length), (bar) => top + tall * (1 - level(bar)));
      context.strokeStyle = colours[`curve-${name}`];
      context.lineWidth = 1.5;
      context.globalAlpha = this.pen && this.pen !== name ? 0.35 : 0.9;
      context.stroke();
      context.globalAlpha = 1;
      for (const [bar, value] of this.wanted[name]) {
        if (bar >= grid.metres.length) continue;
        const from = roll.x(grid.starts[bar]), to = roll.x(grid.starts[bar + 1]);
        context.fillStyle = colours[`curve-${name}`];
        context.fillRect(from + 1, top + tall * (1 - value / (CLASSES - 1)) - 2, to - from - 2, 4);
      }
    }
  }

  /** Where the classes are drawn, and, while there is no curve, what to do. */
  #scale(context, colours, { width, top, tall }) {
    context.fillStyle = colours["roll-line"];
    for (let value = 0; value < CLASSES; value++) context.fillRect(0, Math.round(top + (tall * value) / (CLASSES - 1)), width, 1);
    if (this.bars().length) return;
    context.fillStyle = colours.faint;
    context.fillText(`Draw here how the ${this.pen === "rhythm" ? "rhythm" : "number of voices"} shall go.`, 58, top + tall / 2);
  }

  legend(context, colours, laneTop) {
    context.fillStyle = colours["curve-rhythm"];
    context.fillText("rhythm", 4, laneTop + 22, GUTTER - 8);
    context.fillStyle = colours["curve-polyphony"];
    context.fillText("voices", 4, laneTop + 40, GUTTER - 8);
  }
}

/** A path that steps from bar to bar. */
function steps(context, roll, grid, count, y) {
  context.beginPath();
  for (let bar = 0; bar < count; bar++) {
    context.lineTo(roll.x(grid.starts[bar]), y(bar));
    context.lineTo(roll.x(grid.starts[bar + 1]), y(bar));
  }
}

// What the piano roll looks like.

import { GUTTER, RULER, rowHeight, rowTop } from "./layout.js";
import { barGrid, barOf, firstAt, hue, longestOf, pitchName } from "./sheet.js";

const BLACK = new Set([1, 3, 6, 8, 10]); // keys of the piano

/** All that is in view, with the playhead at a tick. */
export function paintRoll(roll, tick, playing) {
  const layout = roll.measure(), { width, height } = layout, { context, canvas, colours } = roll;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.fillStyle = colours.roll;
  context.fillRect(0, 0, width, height);
  context.font = roll.font;
  context.textBaseline = "middle";
  const view = { from: roll.tickAt(GUTTER), to: roll.tickAt(width) };
  rows(roll, layout);
  bars(roll, layout, view);
  notes(roll, layout, view, playing ? tick : -1);
  roll.hooks.curves.draw(context, roll, layout);
  writing(roll, layout);
  gutter(roll, layout);
  playhead(roll, layout, tick);
  if (roll.band) {
    const { x0, y0, x1, y1 } = roll.band;
    context.fillStyle = colours.band;
    context.fillRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
  }
}

function rows({ context, colours }, { width, low, high, row, kit, drumRow, drumTop }) {
  context.fillStyle = colours["roll-black"];
  for (let pitch = low; pitch <= high; pitch++) if (BLACK.has(pitch % 12)) context.fillRect(0, RULER + (high - pitch) * row, width, row);
  context.fillStyle = colours["roll-line"];
  for (let pitch = low; pitch <= high; pitch++) if (pitch % 12 === 0) context.fillRect(0, RULER + (high - pitch + 1) * row - 0.5, width, 1);
  if (!kit.length) return;
  context.fillStyle = colours["roll-drums"];
  context.fillRect(0, drumTop - 3, width, kit.length * drumRow + 3);
}

function bars(roll, { grid, height, sheet }, view) {
  const { context, colours, scale } = roll, first = barOf(grid, view.from);
  const barWidth = (grid.starts[first + 1] - grid.starts[first]) * scale;
  let every = 1;
  while (barWidth * every < 34) every *= 2;
  if (roll.region) {
    const [from, to] = roll.region.map((bar) => roll.x(grid.starts[Math.min(bar, grid.starts.length - 1)]));
    context.fillStyle = colours.region;
    context.fillRect(from, 0, to - from, height);
  }
  for (let bar = first; bar < grid.metres.length && grid.starts[bar] <= view.to; bar++) {
    const x = roll.x(grid.starts[bar]);
    const shown = bar % every === 0;
    if (shown || barWidth > 6) { context.fillStyle = shown ? colours["roll-bar"] : colours["roll-line"]; context.fillRect(Math.round(x), shown ? 6 : RULER, 1, height); }
    if (shown) { context.fillStyle = colours.faint; context.fillText(String(bar + 1), x + 5, RULER / 2 + 1); }
    const beat = (sheet.ticks * 4) / grid.metres[bar][1];
    if (beat * scale <= 14) continue;
    context.fillStyle = colours["roll-line"];
    for (let at = grid.starts[bar] + beat; at < grid.starts[bar + 1] - 1; at += beat) context.fillRect(Math.round(roll.x(at)), RULER, 1, height - RULER);
  }
}

function notes(roll, layout, view, playing) {
  const { muted, solo } = roll.hooks.take().mix, { parts } = layout.sheet;
  const order = parts.map((_, index) => index).sort((a, b) => (a === roll.part) - (b === roll.part));
  for (const index of order) {
    const silent = muted.has(index) || (solo.size && !solo.has(index));
    fillPart(roll, parts[index], silent, pathsOf(roll, layout, parts[index], view, playing));
  }
}

/** The notes of a part that are in view, as outlines: soft, loud, sounding now, chosen. */
function pathsOf(roll, layout, part, view, playing) {
  const { scale } = roll, { ticks } = layout.sheet, offset = GUTTER - roll.scroller.scrollLeft;
  const height = part.drums ? layout.drumRow - 1 : Math.max(rowHeight(layout, part) - 1, 2);
  const soft = new Path2D(), loud = new Path2D(), now = new Path2D(), chosen = new Path2D();
  for (let i = firstAt(part.notes, view.from - longestOf(part.notes)); i < part.notes.length && part.notes[i][0] <= view.to; i++) {
    const note = part.notes[i], [time, duration, pitch, velocity] = note;
    if (time + duration < view.from) continue;
    const x = offset + time * scale, y = rowTop(layout, part, pitch);
    const wide = part.drums ? Math.max(3, Math.min(7, duration * scale)) : Math.max(duration * scale - 1, 2);
    const sounds = playing >= time && playing < time + (part.drums ? ticks / 4 : duration);
    const path = roll.chosen.has(note) ? chosen : sounds ? now : velocity > 70 ? loud : soft;
    if (wide > 6 && height > 5) path.roundRect(x, y, wide, height, 2); else path.rect(x, y, wide, height);
  }
  return { soft, loud, now, chosen };
}

function fillPart({ context, colours }, part, silent, { soft, loud, now, chosen }) {
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

/** Where the model writes: a soft edge after the last complete bar. */
function writing(roll, { grid, height }) {
  const take = roll.hooks.take(), { context, colours } = roll;
  if (!take.writing) return;
  const x = roll.x(grid.starts[Math.min(take.bars, grid.starts.length - 1)]);
  const shade = context.createLinearGradient(x, 0, x + 90, 0);
  shade.addColorStop(0, colours.writing);
  shade.addColorStop(1, "transparent");
  context.fillStyle = shade;
  context.fillRect(x, RULER, 90, height - RULER);
}

function gutter({ context, colours, hooks }, layout) {
  const { height, low, high, row, kit, drumRow, drumTop, laneTop } = layout;
  context.fillStyle = colours.roll;
  context.fillRect(0, 0, GUTTER, height);
  context.fillStyle = colours["roll-bar"];
  context.fillRect(GUTTER - 1, 0, 1, height);
  context.fillStyle = colours.faint;
  for (let pitch = low; pitch <= high; pitch++) if (pitch % 12 === 0) context.fillText(pitchName(pitch), 14, RULER + (high - pitch + 0.5) * row);
  if (kit.length) context.fillText("drums", 8, drumTop + (kit.length * drumRow) / 2);
  hooks.curves.legend(context, colours, laneTop);
}

function playhead(roll, { height }, tick) {
  const x = roll.x(tick), { context } = roll;
  if (x < GUTTER - 1) return;
  context.fillStyle = roll.colours.accent;
  context.fillRect(Math.round(x) - 1, 0, 2, height);
  context.beginPath();
  context.moveTo(x - 6, 0); context.lineTo(x + 6, 0); context.lineTo(x, 8);
  context.fill();
}

/** A whole song on a small canvas. */
export function paintSmall(canvas, take) {
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
}

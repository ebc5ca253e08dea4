// Where things are in the roll: rows of pitches, rows of the drum kit under them, and the lane of curves at the foot.

import { barGrid } from "./sheet.js";

export const RULER = 26, GUTTER = 46; // pixels: bar numbers above, pitch names on the left
const LANE = 64, DRAWN = 104; // pixels of the lane; there is more room where curves are drawn
const KIT = [36, 38, 42, 46, 49]; // drums that have a row in any case

/** {sheet, width, height, low, high, row, kit, drumRow, drumTop, grid, lane, laneTop} of a take in so many pixels;
 *  `drawing`: whether curves are drawn. */
export function layOut(take, width, height, drawing) {
  const { sheet } = take, lane = drawing ? DRAWN : LANE, room = height - RULER - lane;
  const { low, high, kit } = pitchesOf(take);
  const drumRow = Math.max(3, Math.min(9, (room * 0.3) / Math.max(kit.length, 1)));
  const drumTop = RULER + room - kit.length * drumRow;
  const row = (drumTop - RULER - (kit.length ? 6 : 0)) / (high - low + 1);
  const grid = barGrid(sheet, Math.max(take.bars, 8));
  return { sheet, width, height, low, high, row, kit, drumRow, drumTop, grid, lane, laneTop: height - lane };
}

/** The pitches that have rows: all that sound, three octaves at least, and those of the drum kit. */
function pitchesOf({ sheet, writing }) {
  let low = 128, high = -1;
  const drums = new Set();
  for (const part of sheet.parts) for (const [, , pitch] of part.notes) {
    if (part.drums) drums.add(pitch);
    else { low = Math.min(low, pitch); high = Math.max(high, pitch); }
  }
  if (high < 0 || writing) { low = Math.min(low, 36); high = Math.max(high, 84); } // rows stay while it grows
  const spare = Math.max(0, 36 - (high - low)) / 2;
  const kit = sheet.parts.some((part) => part.drums) ? [...new Set([...KIT, ...drums])].sort((a, b) => a - b) : [];
  return { low: Math.max(0, Math.floor(low - spare - 2)), high: Math.min(127, Math.ceil(high + spare + 2)), kit };
}

/** The upper edge of a pitch's row. */
export function rowTop({ high, row, kit, drumRow, drumTop }, part, pitch) {
  if (part.drums) return drumTop + (kit.length - 1 - kit.indexOf(pitch)) * drumRow;
  return RULER + (high - pitch) * row;
}

export const rowHeight = (layout, part) => (part.drums ? layout.drumRow : layout.row);

/** What a height means: {drums, pitch}. */
export function pitchAt({ high, row, kit, drumRow, drumTop }, y) {
  if (kit.length && y >= drumTop) {
    const from = kit.length - 1 - Math.floor((y - drumTop) / drumRow);
    return { drums: true, pitch: kit[Math.max(0, Math.min(kit.length - 1, from))] };
  }
  return { drums: false, pitch: Math.max(0, Math.min(127, high - Math.floor((y - RULER) / row))) };
}

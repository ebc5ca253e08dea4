// A song as plain numbers (music/sheet.py says what each is), and what one does with it. Nothing here touches the page.
// Sheets are never changed in place: every edit is a new sheet that shares what stayed the same, so that undo is cheap.

export function emptySheet() {
  return { ticks: 12, tempos: [], metres: [], keys: [], parts: [] };
}

// ---- time --------------------------------------------------------------------------------------------------------

const grids = new WeakMap();

/** Where every bar begins, as music/bars.py lays them: {starts: [b + 1], metres: [b]}; at least `least` bars. */
export function barGrid(sheet, least = 0) {
  const known = grids.get(sheet) ?? new Map();
  if (known.has(least)) return known.get(least);
  const last = Math.max(0, ...sheet.parts.map((part) => (part.notes.length ? part.notes[part.notes.length - 1][0] : 0)));
  const changes = [[0, 4, 4]];
  for (const [time, numerator, denominator] of [...sheet.metres].sort((a, b) => a[0] - b[0])) {
    if (time > last && time > 0) break;
    const before = changes[changes.length - 1];
    if (before[0] === time) changes.pop();
    const now = changes[changes.length - 1];
    if (!now || now[1] !== numerator || now[2] !== denominator) changes.push([time, numerator, denominator]);
  }
  const starts = [], metres = [];
  let end = 0;
  changes.forEach(([time, numerator, denominator], index) => {
    const length = Math.max((4 * sheet.ticks * numerator) / denominator, 1);
    const next = index + 1 < changes.length ? changes[index + 1][0] : Infinity;
    for (let n = 0; ; n++) {
      const start = time + Math.floor(n * length + 0.5);
      const enough = next === Infinity ? start > last && starts.length >= Math.max(least, 1) : start >= next;
      if (enough) { end = Math.min(start, next); break; }
      starts.push(start);
      metres.push([numerator, denominator]);
    }
  });
  const grid = { starts: [...starts, end], metres };
  grids.set(sheet, known.set(least, grid));
  return grid;
}

/** The bar that holds a tick. */
export function barOf(grid, tick) {
  let low = 0, high = grid.metres.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (grid.starts[middle] <= tick) low = middle; else high = middle - 1;
  }
  return low;
}

const clocks = new WeakMap();

/** Ticks to seconds and back, by the tempos: {seconds(tick), ticks(second), tempoAt(tick)}. */
export function clock(sheet) {
  if (clocks.has(sheet)) return clocks.get(sheet);
  const events = [[0, 500000]];
  for (const [time, tempo] of [...sheet.tempos].sort((a, b) => a[0] - b[0])) {
    if (events[events.length - 1][0] === time) events.pop();
    events.push([time, tempo]);
  }
  const rate = (tempo) => tempo / (1e6 * sheet.ticks);
  const at = [0];
  for (let i = 1; i < events.length; i++) at.push(at[i - 1] + (events[i][0] - events[i - 1][0]) * rate(events[i - 1][1]));
  const find = (list, value) => { let i = list.length - 1; while (i > 0 && list[i] > value) i--; return i; };
  const times = events.map((event) => event[0]);
  const made = {
    seconds(tick) { const i = find(times, tick); return at[i] + (tick - times[i]) * rate(events[i][1]); },
    ticks(second) { const i = find(at, second); return times[i] + (second - at[i]) / rate(events[i][1]); },
    tempoAt(tick) { return 6e7 / events[find(times, tick)][1]; },
  };
  clocks.set(sheet, made);
  return made;
}

/** The tick at which the last note ends. */
export function endOf(sheet) {
  let end = 0;
  for (const part of sheet.parts) for (const note of part.notes) end = Math.max(end, note[0] + note[1]);
  return end;
}

export function countNotes(sheet) {
  return sheet.parts.reduce((sum, part) => sum + part.notes.length, 0);
}

// ---- drafts ------------------------------------------------------------------------------------------------------

const sameTrack = (one, other) => one.name === other.name && one.program === other.program && one.drums === other.drums;

/** A draft's news put into the sheet as it was: `news.sheet` holds only notes from the tick `news.since` on. */
export function merge(sheet, news) {
  const parts = news.sheet.parts.map((part) => {
    const before = sheet.parts.find((other) => sameTrack(part, other));
    const kept = before ? before.notes.slice(0, firstAt(before.notes, news.since)) : [];
    return { ...part, notes: kept.length ? kept.concat(part.notes) : part.notes };
  });
  return { ...news.sheet, parts };
}

/** The index of the first note at or after a tick. */
export function firstAt(notes, tick) {
  let low = 0, high = notes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (notes[middle][0] < tick) low = middle + 1; else high = middle;
  }
  return low;
}

const longest = new WeakMap(); // of a part's notes

/** The longest duration among notes: how far back one that still sounds may have begun. */
export function longestOf(notes) {
  if (!longest.has(notes)) longest.set(notes, notes.reduce((most, note) => Math.max(most, note[1]), 0));
  return longest.get(notes);
}

// ---- edits -------------------------------------------------------------------------------------------------------

const inOrder = (a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2] || a[3] - b[3];

export function withPart(sheet, index, change) {
  return { ...sheet, parts: sheet.parts.map((part, i) => (i === index ? { ...part, ...change } : part)) };
}

export function addNote(sheet, index, note) {
  return withPart(sheet, index, { notes: [...sheet.parts[index].notes, note].sort(inOrder) });
}

/** `chosen` is a Set of note objects of this sheet. */
export function removeNotes(sheet, chosen) {
  return { ...sheet, parts: sheet.parts.map((part) =>
    part.notes.some((note) => chosen.has(note)) ? { ...part, notes: part.notes.filter((note) => !chosen.has(note)) } : part) };
}

/** Every chosen note through `change`; the new sheet and the Set of the new notes. */
export function changeNotes(sheet, chosen, change) {
  const moved = new Set();
  const parts = sheet.parts.map((part) => {
    if (!part.notes.some((note) => chosen.has(note))) return part;
    const notes = part.notes.map((note) => {
      if (!chosen.has(note)) return note;
      const changed = change(note, part);
      moved.add(changed);
      return changed;
    });
    return { ...part, notes: notes.sort(inOrder) };
  });
  return { sheet: { ...sheet, parts }, chosen: moved };
}

/** Moved by ticks and semitones, as far as there are such. */
export function shifted(note, ticks, semitones) {
  const pitch = Math.min(127, Math.max(0, note[2] + semitones));
  return [Math.max(0, note[0] + ticks), note[1], pitch, note[3]];
}

/** Longer by ticks; never shorter than `least`, or than it is. */
export function lengthened([time, duration, pitch, velocity], ticks, least) {
  return [time, Math.max(Math.min(least, duration), duration + ticks), pitch, velocity];
}

/** All tempos times a factor. */
export function withTempo(sheet, quarters) {
  const now = clock(sheet).tempoAt(0);
  const tempos = sheet.tempos.length ? sheet.tempos : [[0, 500000]];
  const limited = (tempo) => Math.min(2 ** 24 - 1, Math.max(30000, Math.round((tempo * now) / quarters)));
  return { ...sheet, tempos: tempos.map(([time, tempo]) => [time, limited(tempo)]) };
}

// ---- names and colours -------------------------------------------------------------------------------------------

const SIX = ["melody", "piano", "guitar", "strings", "bass", "drums"];
const FAMILIES = ["piano", "mallets", "organ", "guitar", "bass", "strings", "ensemble", "brass", "reeds", "pipes",
  "lead", "pad", "effects", "world", "percussion", "noises"];
const HUES = { piano: "piano", mallets: "piano", organ: "pad", guitar: "guitar", bass: "bass", strings: "strings",
  ensemble: "strings", brass: "brass", reeds: "melody", pipes: "melody", lead: "melody", pad: "pad", effects: "pad",
  world: "guitar", percussion: "drums", noises: "drums" };

const VOICES = { soprano: "melody", alto: "guitar", tenor: "piano", bass: "bass" }; // of a choir, which one wants to tell apart

/** The name of the CSS colour of a part: --part-<name>. */
export function hue(part) {
  if (part.drums) return "drums";
  const voice = VOICES[part.name.trim().toLowerCase()];
  if (voice) return voice;
  if (SIX.includes(part.name)) return part.name;
  return HUES[FAMILIES[part.program >> 3]];
}

export function partName(part, programs) {
  if (SIX.includes(part.name)) return part.name;
  return part.drums ? "drums" : part.name.trim() || programs[part.program] || "track";
}

const KEYS = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];
export const pitchName = (pitch) => `${KEYS[pitch % 12]}${Math.floor(pitch / 12) - 1}`;

const DRUMS = { 35: "bass drum", 36: "bass drum", 37: "side stick", 38: "snare", 39: "clap", 40: "snare", 41: "low tom",
  42: "closed hi-hat", 43: "low tom", 44: "pedal hi-hat", 45: "tom", 46: "open hi-hat", 47: "tom", 48: "high tom",
  49: "crash", 50: "high tom", 51: "ride", 52: "china", 53: "ride bell", 54: "tambourine", 55: "splash", 56: "cowbell",
  57: "crash", 59: "ride" };
export const drumName = (pitch) => DRUMS[pitch] || `drum ${pitch}`;

/** A note in words, for those who do not see the roll. */
export function tell(sheet, part, note, programs) {
  const grid = barGrid(sheet), bar = barOf(grid, note[0]);
  const beat = (note[0] - grid.starts[bar]) / ((sheet.ticks * 4) / grid.metres[bar][1]) + 1;
  const what = part.drums ? drumName(note[2]) : pitchName(note[2]);
  return `${partName(part, programs)}, ${what}, bar ${bar + 1}, beat ${Math.round(beat * 100) / 100}, ${Math.round((note[1] / sheet.ticks) * 100) / 100} quarters`;
}

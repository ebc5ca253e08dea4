// The page: what there is, and what each part asks of the others.

import { Curves } from "./curves.js";
import { acceptFiles, offerFiles } from "./files.js";
import { listenToKeys } from "./keyboard.js";
import { Mixer } from "./mixer.js";
import * as net from "./net.js";
import { $, fault, minutes, say } from "./page.js";
import { Player } from "./player.js";
import { Roll } from "./roll.js";
import { Store } from "./store.js";
import { Structure } from "./structure.js";
import { Takes } from "./takes.js";
import { Wishes } from "./wishes.js";
import { Writing } from "./writing.js";
import { barGrid, barOf, blankSheet, clock, countNotes, endOf, tell, withTempo } from "./sheet.js";

const WRITING = "It is still being written; stop it to change its notes.";

// ---- the parts -----------------------------------------------------------------------------------------------------

const store = new Store(), curves = new Curves(), programs = [];
const player = new Player(() => store.take, (error) => fault("sound-error", error));
const roll = new Roll($("scroller"), $("strip"), $("canvas"), {
  curves,
  take: () => store.take,
  tick: () => player.tick,
  playing: () => player.playing,
  seek: (tick) => player.seek(tick),
  hear: (part, note) => player.audition(part, note),
  edit,
  begin: beginByHand,
  region: setRegion,
  chose,
  say,
  refuse: (words) => fault("sound-error", store.take.writing ? WRITING : words),
});
const mixer = new Mixer($("tracks"), {
  programs,
  take: () => store.take,
  picked: () => roll.part,
  pick: (index) => { roll.part = index; roll.touch(); mixer.show(); },
  edit,
  mix: (mix) => { store.change(store.chosen, { mix }); player.mix(); },
});
const structure = new Structure($("structure"), $("structure-note"), {
  seek: (bar) => player.seek(barGrid(store.take.sheet).starts[bar]),
  bar: () => (store.chosen ? barOf(barGrid(store.take.sheet), player.tick) : -1),
});
const writing = new Writing(store, player, {
  status: (words) => { $("status").textContent = words; },
  fault: (error) => fault("compose-error", error),
  changed: () => wishes.showBusy(),
  show: (tick) => { roll.follow = true; roll.show(tick); },
});
const wishes = new Wishes(store, roll, curves, {
  busy: () => writing.busy,
  stop: () => writing.stop(),
  start(model, asked, songs) {
    player.open();
    $("stage").scrollIntoView({ block: "nearest" }); // on a phone the roll is above the form
    return writing.start(model, asked, songs);
  },
});
const takes = new Takes($("takes"), store, {
  choose: chooseTake,
  remove(id) {
    if (writing.has(id)) writing.stop();
    store.remember();
    store.remove(id);
    player.pause();
  },
  resume(id) { chooseTake(id); writing.resume(store.get(id)); },
});
curves.onchange = () => roll.touch();

// ---- what is done to the song --------------------------------------------------------------------------------------

/** A new state of the chosen take; whether it may be changed. Edits with the same `undo` are taken back together.
 *  `quiet`: it is heard without being played anew. */
function edit(sheet, undo = {}, quiet = false) {
  const take = store.take;
  if (!take.id) return false;
  if (take.writing) { fault("sound-error", WRITING); return false; }
  fault("sound-error", null);
  store.remember(undo);
  store.change(take.id, { sheet });
  if (quiet) player.mix(); else player.refresh();
  return true;
}

/** A take with a piano and nothing to play on it yet. */
function beginByHand(undo) {
  const sheet = blankSheet();
  store.remember(undo);
  store.choose(store.add({ sheet, original: sheet }).id);
}

function travel(moved) {
  if (!moved) return;
  player.refresh();
  player.mix();
  clear();
}
const undo = () => travel(store.undo()), redo = () => travel(store.redo());

/** No note is chosen. */
function clear() { roll.choose([]); chose(); }

function chose() {
  const count = roll.chosen.size;
  $("tools").hidden = count === 0;
  $("tools-count").textContent = count === 1 ? "1 note" : `${count} notes`;
  mixer.show();
  if (count !== 1) return;
  const [note] = roll.chosen, part = store.take.sheet.parts.find((one) => one.notes.includes(note));
  if (part) say(tell(store.take.sheet, part, note, programs));
}

const allBars = () => [0, barGrid(store.take.sheet).metres.length];

function setRegion(region) {
  roll.region = region;
  if (player.loop) player.loop = region || allBars();
  roll.touch();
  if (region) say(`Bars ${region[0] + 1} to ${region[1]}`);
  wishes.showFrom();
}

function chooseTake(id) {
  if (id === store.chosen) return;
  const { playing, tick } = player;
  player.pause();
  store.choose(id);
  player.at = Math.min(tick, endOf(store.take.sheet));
  if (playing) player.play();
}

// ---- showing -------------------------------------------------------------------------------------------------------

store.listen((what) => {
  const take = store.take;
  if (what === "takes") { takes.list(); wishes.showFrom(); }
  $("empty").hidden = countNotes(take.sheet) > 0 || take.writing;
  $("undo").disabled = !store.past.length;
  $("redo").disabled = !store.future.length;
  $("remarks").textContent = take.remarks.join(" ");
  if (document.activeElement !== $("tempo")) $("tempo").value = take.id ? Math.round(clock(take.sheet).tempoAt(0)) : "";
  if (roll.shown !== take.id) {
    roll.shown = take.id;
    roll.part = 0;
    clear();
  }
  roll.touch();
  mixer.show();
  player.mix();
  takes.show();
  lookSoon();
});

player.onchange = () => {
  $("play").classList.toggle("on", player.playing);
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  $("sound-state").textContent = player.playing && player.waiting ? (store.take.writing ? "waiting for the next bar…" : "preparing sound…") : "";
  if (player.playing) fault("sound-error", null);
};

/** Ten times a second: where it plays. */
setInterval(() => {
  const { sheet } = store.take, time = clock(sheet), grid = barGrid(sheet), tick = player.tick, bar = barOf(grid, tick);
  const beat = Math.floor((tick - grid.starts[bar]) / ((sheet.ticks * 4) / grid.metres[bar][1])) + 1;
  $("place").textContent = `bar ${bar + 1}.${Math.max(1, beat)}`;
  $("time").textContent = `${minutes(time.seconds(tick))} / ${minutes(time.seconds(endOf(sheet)))}`;
  if (player.playing) structure.draw();
}, 100);

// What the server sees in the song: not more often than it can say
let looking = null, looked = null;
function lookSoon() {
  looking ??= setTimeout(async () => {
    const { sheet } = store.take;
    if (sheet !== looked) {
      try { see(countNotes(sheet) ? await net.look(sheet) : NOTHING_SEEN); } catch (error) { $("structure-note").textContent = error.message; }
      looked = sheet;
    }
    looking = null;
    if (store.take.sheet !== looked) lookSoon();
  }, store.take.writing ? 1500 : 250);
}
const NOTHING_SEEN = { attributes: null, bars: 0, similarity: "" };

function see({ attributes, bars, similarity }) {
  curves.measured = attributes;
  structure.set(bars, similarity);
  roll.touch();
}

// ---- what is pressed -----------------------------------------------------------------------------------------------

function toggle() {
  if (player.playing) return player.pause();
  if (!store.take.id || !countNotes(store.take.sheet)) { if (!writing.busy) wishes.compose(); return; }
  roll.follow = true;
  player.play();
}

function home() { player.seek(0); roll.show(0); }

function loop() {
  player.loop = player.loop ? null : roll.region || allBars();
  $("loop").setAttribute("aria-pressed", Boolean(player.loop));
  if (player.playing) player.play(player.tick);
}

function setTempo() {
  const asked = Number($("tempo").value);
  if (!(asked >= 10 && asked <= 400)) return fault("sound-error", "The tempo should be from 10 to 400 quarters a minute.");
  fault("sound-error", null);
  edit(withTempo(store.take.sheet, asked));
  if (player.playing) player.play(player.tick);
}

function turnTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", theme);
  document.documentElement.dataset.theme = theme;
}

const PRESSED = { play: toggle, rewind: home, stop: () => writing.stop(), loop, undo, redo, delete: () => roll.remove(),
  shorter: () => roll.lengthen(-1), longer: () => roll.lengthen(1), in: () => roll.zoom(1.5), out: () => roll.zoom(1 / 1.5), theme: turnTheme };
for (const [id, act] of Object.entries(PRESSED)) $(id).addEventListener("click", act);
for (const button of document.querySelectorAll("[data-nudge]")) button.addEventListener("click", () => roll.nudge(...button.dataset.nudge.split(",").map(Number)));
$("tempo").addEventListener("change", setTempo);

listenToKeys(roll, {
  toggle, undo, redo, loop, home,
  chooseAll() { roll.choose(store.take.sheet.parts[roll.part]?.notes || []); chose(); },
  clear() { clear(); setRegion(null); },
  bar(by) {
    const grid = barGrid(store.take.sheet), bar = barOf(grid, player.tick) + by;
    player.seek(grid.starts[Math.max(0, Math.min(grid.metres.length - 1, bar))]);
  },
});
offerFiles(() => store.take);
acceptFiles(({ sheet, facts, remarks }) => {
  player.pause();
  store.remember();
  const take = store.add({ sheet, original: sheet, bars: barGrid(sheet).metres.length, remarks: [facts, ...remarks] });
  store.choose(take.id);
  home();
});
new MutationObserver(() => { roll.recolour(); structure.draw(); takes.recolour(); })
  .observe(document.documentElement, { attributeFilter: ["data-theme"] });
addEventListener("beforeunload", () => { store.save(); });

async function begin() {
  await store.load();
  $("status").textContent = "loading the models…";
  try {
    const told = await net.about();
    if (!told.models.length) throw new Error("The server has no model that can be opened.");
    programs.push(...told.programs);
    wishes.offer(told.models, programs);
    mixer.show();
    $("compose").disabled = false;
  } catch (error) { fault("compose-error", error); }
  $("status").textContent = "";
  document.body.dataset.ready = "yes";
}
window.studio = { store, player, roll, structure, writing, curves }; // for the tests, and for the curious
begin();

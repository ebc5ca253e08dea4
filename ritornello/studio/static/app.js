// The page: what there is, and what each part asks of the others.

import { makeForm } from "./controls.js";
import { Curves } from "./curves.js";
import { Mixer } from "./mixer.js";
import * as net from "./net.js";
import { Player } from "./player.js";
import { Roll, drawSmall } from "./roll.js";
import { Store } from "./store.js";
import { Structure } from "./structure.js";
import { Writing } from "./writing.js";
import { barGrid, barOf, clock, countNotes, endOf, partName, tell, withTempo } from "./sheet.js";

const $ = (id) => document.getElementById(id);
const store = new Store(), curves = new Curves();
let models = [], programs = [], form = null;

/** One sentence where it happened; an empty one takes it away. */
function fault(place, error) {
  $(place).textContent = error ? error.message || String(error) : "";
  $(place).hidden = !error;
}
const say = (words) => { $("say").textContent = words; };
const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// ---- the parts -----------------------------------------------------------------------------------------------------

const player = new Player(() => store.take, (error) => fault("sound-error", error));
const roll = new Roll($("scroller"), $("strip"), $("canvas"), {
  curves,
  take: () => store.take,
  tick: () => player.tick,
  playing: () => player.playing,
  seek: (tick) => player.seek(tick),
  edit,
  region: setRegion,
  chose,
  say,
});
const mixer = new Mixer($("tracks"), {
  programs,
  take: () => store.take,
  picked: () => roll.part,
  pick: (index) => { roll.part = index; roll.touch(); mixer.show(); },
  edit: (sheet, step, quiet) => edit(sheet, "track", step, quiet),
  mix: (mix) => { store.change(store.chosen, { mix }); player.mix(); },
});
const structure = new Structure($("structure"), $("structure-note"), {
  seek: (bar) => player.seek(barGrid(store.take.sheet).starts[bar]),
  bar: () => (store.chosen ? barOf(barGrid(store.take.sheet), player.tick) : -1),
});
const writing = new Writing(store, player, {
  status: (words) => { $("status").textContent = words; },
  fault: (error) => fault("compose-error", error),
  changed: showWriting,
  show: (tick) => { roll.follow = true; roll.show(tick); },
});

/** A new state of the chosen take, as one step that can be undone. `quiet`: it is heard without being played anew. */
function edit(sheet, _name, step = {}, quiet = false) {
  const take = store.take;
  if (!take.id) return;
  if (take.writing) return say("It is still being written; stop it to change its notes.");
  store.remember(step);
  store.change(take.id, { sheet });
  if (quiet) player.mix(); else player.refresh();
}

function setRegion(region) {
  roll.region = region;
  if (player.loop) player.loop = region || all();
  roll.touch();
  if (region) say(`Bars ${region[0] + 1} to ${region[1]}`);
  showFrom();
}
const all = () => [0, barGrid(store.take.sheet).metres.length];

function chose() {
  const count = roll.chosen.size;
  $("tools").hidden = count === 0;
  $("tools-count").textContent = count === 1 ? "1 note" : `${count} notes`;
  mixer.show();
  if (count !== 1) return;
  const [note] = roll.chosen, part = store.take.sheet.parts.find((one) => one.notes.includes(note));
  if (part) say(tell(store.take.sheet, part, note, programs));
}

// ---- showing -------------------------------------------------------------------------------------------------------

store.listen((what) => {
  const take = store.take;
  if (what === "takes") { showTakes(); showFrom(); }
  $("empty").hidden = countNotes(take.sheet) > 0 || take.writing;
  $("undo").disabled = !store.past.length;
  $("redo").disabled = !store.future.length;
  $("remarks").textContent = take.remarks.join(" ");
  if (document.activeElement !== $("tempo")) $("tempo").value = take.id ? Math.round(clock(take.sheet).tempoAt(0)) : "";
  if (roll.shown !== take.id) {
    roll.shown = take.id;
    roll.choose([]);
    chose();
    roll.part = 0;
  }
  roll.touch();
  mixer.show();
  player.mix();
  showTakeStates();
  lookSoon();
});

function showTakes() {
  const rows = new Map([...$("takes").children].map((row) => [row.dataset.id, row]));
  const wanted = store.takes.map((take) => rows.get(take.id) || takeCard(take));
  $("takes").replaceChildren(...wanted);
}

function takeCard(take) {
  const row = document.createElement("li"), pick = document.createElement("button"), away = document.createElement("button");
  row.dataset.id = take.id;
  pick.type = away.type = "button";
  pick.className = "pick";
  pick.append(document.createElement("canvas"), document.createElement("b"), document.createElement("small"));
  away.className = "away";
  away.textContent = "×";
  away.setAttribute("aria-label", `Remove take ${take.name}`);
  pick.addEventListener("click", () => chooseTake(take.id));
  away.addEventListener("click", () => {
    if (writing.has(take.id)) writing.stop();
    store.remember();
    store.remove(take.id);
    player.pause();
  });
  row.append(pick, away);
  return row;
}

function chooseTake(id) {
  if (id === store.chosen) return;
  const playing = player.playing, tick = player.tick;
  player.pause();
  store.choose(id);
  player.at = Math.min(tick, endOf(store.take.sheet));
  if (playing) player.play();
}

function showTakeStates() {
  for (const row of $("takes").children) {
    const take = store.get(row.dataset.id), pick = row.firstChild;
    pick.setAttribute("aria-pressed", take.id === store.chosen);
    row.classList.toggle("writing", take.writing);
    pick.children[1].textContent = take.name;
    const seed = take.seed === null ? "" : ` · seed ${take.seed}`;
    pick.children[2].textContent = `${take.writing && !take.bars ? "…" : `${take.bars || barGrid(take.sheet).metres.length} bars`}${seed}`;
    if (row.drawn !== take.sheet) { row.drawn = take.sheet; drawSmall(pick.firstChild, take); }
    let on = row.querySelector(".on");
    if (take.unfinished && !take.writing && take.origin && !on) {
      on = Object.assign(document.createElement("button"), { type: "button", className: "on", textContent: "go on" });
      on.title = "Have it written to its end";
      on.addEventListener("click", () => { chooseTake(take.id); writing.resume(store.get(take.id)); });
      row.append(on);
    } else if (on && (!take.unfinished || take.writing)) on.remove();
  }
}

function showWriting() {
  const busy = writing.busy;
  $("compose").textContent = busy ? "Stop" : { restyle: "Restyle", compose: "Compose" }[model().verb] || "Compose";
  $("compose").classList.toggle("busy", busy);
  $("stop").disabled = !busy;
}

player.onchange = () => {
  $("play").classList.toggle("on", player.playing);
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  $("sound-state").textContent = player.playing && player.waiting ? (store.take.writing ? "waiting for the next bar…" : "preparing sound…") : "";
  if (player.playing) fault("sound-error", null);
};

/** Ten times a second: where it plays. */
setInterval(() => {
  const take = store.take, time = clock(take.sheet), grid = barGrid(take.sheet), tick = player.tick, bar = barOf(grid, tick);
  const beat = Math.floor((tick - grid.starts[bar]) / ((take.sheet.ticks * 4) / grid.metres[bar][1])) + 1;
  $("place").textContent = `bar ${bar + 1}.${Math.max(1, beat)}`;
  $("time").textContent = `${minutes(time.seconds(tick))} / ${minutes(time.seconds(endOf(take.sheet)))}`;
  if (player.playing) structure.draw();
}, 100);

// What the server sees in the song: not more often than it can say
let looking = null, looked = null;
function lookSoon() {
  if (looking) return;
  looking = setTimeout(async () => {
    const { sheet, writing: busy } = store.take;
    try {
      if (sheet !== looked && countNotes(sheet)) {
        const seen = await net.look(sheet);
        looked = sheet;
        curves.measured = seen.attributes;
        structure.set(seen.bars, seen.similarity);
        roll.touch();
      } else if (!countNotes(sheet)) { curves.measured = null; structure.set(0, ""); looked = sheet; roll.touch(); }
    } catch (error) { $("structure-note").textContent = error.message; looked = sheet; }
    looking = null;
    if (store.take.sheet !== looked) lookSoon();
    void busy;
  }, store.take.writing ? 1500 : 250);
}

// ---- wishes --------------------------------------------------------------------------------------------------------

const model = () => models[$("model").value] || { schema: { properties: {} }, songs: [] };
const OURS = new Set(["rhythm", "polyphony", "bars", "schedule"]); // of a restyler: drawn, not typed

function showModel() {
  const chosen = model(), restyle = chosen.verb === "restyle";
  $("model-note").textContent = chosen.about || "";
  const kept = form?.values() || {};
  form = makeForm($("fields"), chosen, new Set([...chosen.songs, ...(restyle ? OURS : [])]), () => fault("compose-error", null));
  for (const [name, value] of Object.entries(kept)) if (name !== "bars" || !restyle) form.set(name, value);
  $("pens").hidden = !restyle;
  if (!restyle) { curves.pen = null; curves.clear(); for (const pen of document.getElementsByName("pen")) pen.checked = false; }
  const seed = form.fields.seed;
  if (seed?.number) {
    seed.number.placeholder = "a new one each time";
    if (!kept.seed) seed.set("");
    const dice = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: "new" });
    dice.title = "A new seed each time";
    dice.addEventListener("click", () => seed.set(""));
    seed.number.after(dice);
    seed.valid = () => seed.number.checkValidity() || seed.number.reportValidity();
  }
  showFrom();
  showWriting();
}

/** What the model may begin with: nothing, or the chosen take, whole, to the chosen bars, or one track of it. */
function showFrom() {
  const chosen = model(), field = $("from-field"), take = store.take, from = $("from"), part = $("from-part");
  const needed = (chosen.needs || []).length > 0;
  field.hidden = !chosen.songs.length;
  if (field.hidden) return;
  const before = from.value, region = roll.region;
  const options = needed ? [] : [["", "nothing"]];
  if (countNotes(take.sheet)) {
    options.push(["all", `take ${take.name}`]);
    if (region && chosen.verb !== "restyle") options.push(["bars", `bars ${region[0] + 1}–${region[1]} of take ${take.name}`]);
  }
  from.replaceChildren(...options.map(([value, words]) => new Option(words, value)));
  from.value = options.some(([value]) => value === before) ? before : options[0]?.[0] ?? "";
  const tracks = [["", "all tracks"], ...take.sheet.parts.map((one, index) => [index, `only ${partName(one, programs)}`])];
  const was = part.value;
  part.replaceChildren(...tracks.map(([value, words]) => new Option(words, value)));
  part.value = tracks.some(([value]) => String(value) === was) ? was : "";
  part.hidden = !from.value || chosen.verb === "restyle";
}

/** The sheet that the model is to begin with, or null. */
function opening(whole) {
  const from = $("from-field").hidden ? "" : $("from").value;
  if (!from) return null;
  const { sheet } = store.take, only = $("from-part").hidden ? "" : $("from-part").value;
  let { parts } = sheet;
  if (only !== "") parts = [parts[Number(only)]];
  if (from === "bars" && !whole) {
    const { starts } = barGrid(sheet), [first, end] = [starts[roll.region[0]], starts[roll.region[1]]];
    parts = parts.map((part) => ({ ...part, notes: part.notes.filter((note) => note[0] >= first && note[0] < end)
      .map(([time, ...rest]) => [time - first, ...rest]) })).filter((part) => part.notes.length);
  }
  return { ...sheet, parts };
}

async function compose() {
  fault("compose-error", null);
  if (writing.busy) return writing.stop();
  if (form.invalid()) return;
  const chosen = model(), wishes = form.values();
  const { bars } = chosen.schema.properties;
  const inBars = (bars?.anyOf || [bars]).some((kind) => kind?.type === "string"); // "5-8": it writes these bars anew
  const sheet = opening(inBars);
  if (sheet && inBars && chosen.verb === "compose" && $("from").value === "bars") wishes.bars = `${roll.region[0] + 1}-${roll.region[1]}`;
  if ((chosen.needs || []).length && !sheet) return fault("compose-error", "Compose or open a song first: this model plays one that is there.");
  wishes.seed ??= Math.floor(Math.random() * 1e6);
  if (chosen.verb === "restyle") {
    wishes.rhythm = curves.wish("rhythm");
    wishes.polyphony = curves.wish("polyphony");
    const region = roll.region || (curves.bars().length ? [curves.bars()[0], curves.bars().at(-1) + 1] : null);
    if (region) wishes.bars = `${region[0] + 1}-${region[1]}`;
  }
  const slot = chosen.needs?.[0] ?? chosen.songs[0];
  const songs = sheet && slot ? { [slot]: sheet } : {};
  player.open();
  await writing.start(chosen, wishes, songs);
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); compose(); });
$("model").addEventListener("change", showModel);
$("from").addEventListener("change", showFrom);
for (const pen of document.getElementsByName("pen")) pen.addEventListener("change", () => { curves.pen = pen.value; roll.touch(); });
$("pens-clear").addEventListener("click", () => curves.clear());
$("pen-set").addEventListener("click", () => {
  const [from, to] = roll.region || all();
  for (let bar = from; bar < to; bar++) curves.set(curves.pen || "rhythm", bar, Number($("pen-value").value));
  say(`${curves.pen || "rhythm"} of bars ${from + 1} to ${to} to ${$("pen-value").value}`);
});
curves.onchange = () => roll.touch();

// ---- playing -------------------------------------------------------------------------------------------------------

function toggle() {
  if (player.playing) return player.pause();
  if (!store.take.id || !countNotes(store.take.sheet)) { if (!writing.busy) compose(); return; }
  roll.follow = true;
  player.play();
}
$("play").addEventListener("click", toggle);
$("rewind").addEventListener("click", () => { player.seek(0); roll.show(0); });
$("stop").addEventListener("click", () => writing.stop());
$("loop").addEventListener("click", loop);
function loop() {
  player.loop = player.loop ? null : roll.region || all();
  $("loop").setAttribute("aria-pressed", Boolean(player.loop));
  if (player.playing) player.play(player.tick);
}
let tempoStep = {};
$("tempo").addEventListener("change", () => {
  const asked = Number($("tempo").value);
  if (!(asked >= 10 && asked <= 400)) return fault("sound-error", "The tempo should be from 10 to 400 quarters a minute.");
  fault("sound-error", null);
  edit(withTempo(store.take.sheet, asked), "tempo", tempoStep);
  tempoStep = {};
  if (player.playing) player.play(player.tick);
});
$("in").addEventListener("click", () => roll.zoom(1.5));
$("out").addEventListener("click", () => roll.zoom(1 / 1.5));

// ---- files ---------------------------------------------------------------------------------------------------------

async function open(file) {
  fault("file-error", null);
  if (!file) return;
  if (file.size > 4 * 2 ** 20) return fault("file-error", "This file is larger than 4 MB.");
  try {
    const { sheet, facts, remarks } = await net.openMidi(await file.arrayBuffer());
    player.pause();
    store.remember();
    const take = store.add({ sheet, original: sheet, bars: barGrid(sheet).metres.length, remarks: [facts, ...remarks] });
    store.choose(take.id);
    player.seek(0);
    roll.show(0);
  } catch (error) { fault("file-error", error); }
}
$("file").addEventListener("change", (event) => { open(event.target.files[0]); event.target.value = ""; });
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("dropping"); open(event.dataTransfer.files[0]); });

const KINDS = { midi: ".mid", wav: ".wav", musicxml: ".musicxml", recipe: ".json" };
async function takeAway(what, button) {
  fault("take-error", null);
  const take = store.take;
  if (!countNotes(take.sheet)) return fault("take-error", "There is no song yet.");
  if (what === "recipe" && !take.origin) return fault("take-error", "This song was opened, not written: there is no recipe for it.");
  button.disabled = true;
  try {
    if (what === "score") { await showScore(take); $("take-away").open = false; return; }
    const silent = (index) => take.mix.muted.has(index) || (take.mix.solo.size && !take.mix.solo.has(index));
    const heard = { ...take.sheet, parts: take.sheet.parts.filter((_, index) => !silent(index)) };
    const body = what === "recipe" ? { ...take.origin, written: take.original, sheet: take.sheet } : what === "wav" ? heard : take.sheet;
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await net.take(what, body)), download: fileName(take, what) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) { fault("take-error", error); } finally { button.disabled = false; }
}
const fileName = (take, what) => `ritornello-${take.name.toLowerCase()}${take.seed === null ? "" : `-${take.seed}`}${KINDS[what]}`;
for (const button of document.querySelectorAll("[data-take]")) button.addEventListener("click", () => takeAway(button.dataset.take, button));
addEventListener("pointerdown", (event) => { if (!event.target.closest("#take-away")) $("take-away").open = false; });

async function showScore(take) {
  const { pages } = await net.print(take.sheet);
  $("pages").replaceChildren(...pages.map((page, number) => Object.assign(new Image(), {
    src: URL.createObjectURL(new Blob([page], { type: "image/svg+xml" })), alt: `Page ${number + 1} of ${pages.length}` })));
  $("score").showModal();
}
$("score-print").addEventListener("click", () => print());
$("score-close").addEventListener("click", () => $("score").close());

// ---- the rest ------------------------------------------------------------------------------------------------------

const travel = (moved) => { if (moved) { player.refresh(); player.mix(); roll.choose([]); chose(); } };
$("undo").addEventListener("click", () => travel(store.undo()));
$("redo").addEventListener("click", () => travel(store.redo()));
$("delete").addEventListener("click", () => roll.remove());
for (const button of document.querySelectorAll("[data-nudge]")) button.addEventListener("click", () => roll.nudge(...button.dataset.nudge.split(",").map(Number)));
$("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", theme);
  document.documentElement.dataset.theme = theme;
});
new MutationObserver(() => { roll.recolour(); structure.draw(); for (const row of $("takes").children) row.drawn = null; showTakeStates(); })
  .observe(document.documentElement, { attributeFilter: ["data-theme"] });

addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=range]):not([type=checkbox]):not([type=radio]), select, textarea, dialog");
  if (typing) return;
  const control = event.ctrlKey || event.metaKey, slider = event.target.matches("input");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const chosen = roll.chosen.size > 0;
  const act = {
    " ": () => !event.target.matches("button, summary, label") && toggle(),
    z: () => control && travel(event.shiftKey ? store.redo() : store.undo()),
    y: () => control && travel(store.redo()),
    a: () => control && (roll.choose(store.take.sheet.parts[roll.part]?.notes || []), chose()),
    l: () => !control && loop(),
    "+": () => !control && roll.zoom(1.5),
    "-": () => !control && roll.zoom(1 / 1.5),
    Delete: () => roll.remove(),
    Backspace: () => roll.remove(),
    Escape: () => { roll.choose([]); chose(); setRegion(null); },
    Home: () => { player.seek(0); roll.show(0); },
    ArrowLeft: () => arrow(event, -1, 0, chosen, slider),
    ArrowRight: () => arrow(event, 1, 0, chosen, slider),
    ArrowUp: () => arrow(event, 0, 1, chosen, slider),
    ArrowDown: () => arrow(event, 0, -1, chosen, slider),
  }[key];
  if (act && act() !== false) event.preventDefault();
});

/** With notes chosen: move them (with Alt, go to the next note). Without: choose one, or go a bar on. */
function arrow(event, time, pitch, chosen, slider) {
  if (slider || event.ctrlKey || event.metaKey) return false;
  if (event.altKey && time) return roll.step(time);
  if (chosen) return roll.nudge(time, pitch * (event.shiftKey ? 12 : 1));
  if (event.target === $("canvas")) return roll.step(time || -pitch);
  if (!time) return false;
  const grid = barGrid(store.take.sheet), bar = barOf(grid, player.tick);
  player.seek(grid.starts[Math.max(0, Math.min(grid.metres.length - 1, bar + time))]);
}

addEventListener("beforeunload", () => { store.save(); });

async function begin() {
  await store.load();
  try {
    const told = await net.about();
    models = told.models;
    programs.push(...told.programs);
    if (!models.length) throw new Error("The server has no model that can be opened.");
    $("model").replaceChildren(...models.map((one, index) => new Option(one.title, index)));
    showModel();
    mixer.show();
  } catch (error) { fault("compose-error", error); }
  document.body.dataset.ready = "yes";
}
window.studio = { store, player, roll, structure, writing, curves }; // for the tests, and for the curious
begin();

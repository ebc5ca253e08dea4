// Files: MIDI that is opened or dropped, and what is taken away.

import * as net from "./net.js";
import { $, fault } from "./page.js";
import { countNotes } from "./sheet.js";

const LARGEST = 4 * 2 ** 20; // bytes of a MIDI file
const KINDS = { midi: ".mid", wav: ".wav", musicxml: ".musicxml", recipe: ".json" };

/** `opened`: called with {sheet, facts, remarks} of a file. */
export function acceptFiles(opened) {
  async function open(file) {
    fault("file-error", null);
    if (!file) return;
    if (file.size > LARGEST) return fault("file-error", "This file is larger than 4 MB.");
    try { opened(await net.openMidi(await file.arrayBuffer())); } catch (error) { fault("file-error", error); }
  }
  const dropping = (on) => document.body.classList.toggle("dropping", on);
  $("file").addEventListener("change", (event) => { open(event.target.files[0]); event.target.value = ""; });
  addEventListener("dragover", (event) => { event.preventDefault(); dropping(event.dataTransfer.types.includes("Files")); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) dropping(false); });
  addEventListener("drop", (event) => { event.preventDefault(); dropping(false); open(event.dataTransfer.files[0]); });
}

/** `current()`: the take that is taken away. */
export function offerFiles(current) {
  for (const button of document.querySelectorAll("[data-take]")) button.addEventListener("click", () => takeAway(current(), button.dataset.take, button));
  addEventListener("pointerdown", (event) => { if (!event.target.closest("#take-away")) $("take-away").open = false; });
  $("score-print").addEventListener("click", () => print());
  $("score-close").addEventListener("click", () => $("score").close());
}

async function takeAway(take, what, button) {
  fault("take-error", null);
  if (!countNotes(take.sheet)) return fault("take-error", "There is no song yet.");
  if (what === "recipe" && !take.origin) return fault("take-error", "This song was opened, not written: there is no recipe for it.");
  button.disabled = true;
  try {
    if (what === "score") { await showScore(take); $("take-away").open = false; return; }
    const made = await net.take(what, bodyOf(take, what));
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(made), download: fileName(take, what) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) { fault("take-error", error); } finally { button.disabled = false; }
}

function bodyOf({ sheet, origin, original, mix }, what) {
  if (what === "recipe") return { ...origin, written: original, sheet };
  if (what !== "wav") return sheet;
  const silent = (index) => mix.muted.has(index) || (mix.solo.size && !mix.solo.has(index));
  return { ...sheet, parts: sheet.parts.filter((_, index) => !silent(index)) }; // as it is heard
}

const fileName = (take, what) => `ritornello-${take.name.toLowerCase()}${take.seed === null ? "" : `-${take.seed}`}${KINDS[what]}`;

async function showScore(take) {
  const { pages } = await net.print(take.sheet);
  $("pages").replaceChildren(...pages.map((page, number) => Object.assign(new Image(), {
    src: URL.createObjectURL(new Blob([page], { type: "image/svg+xml" })), alt: `Page ${number + 1} of ${pages.length}` })));
  $("score").showModal();
}

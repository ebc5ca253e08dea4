// What one asks of a model: which one, what it begins with, its own wishes, and the curves that are drawn for it.

import { makeForm } from "./controls.js";
import { $, button, fault, say } from "./page.js";
import { barGrid, countNotes, partName } from "./sheet.js";

const DRAWN = new Set(["rhythm", "polyphony", "bars", "schedule"]); // of a restyler: drawn over the bars, not typed
const NOTHING = { schema: { properties: {} }, songs: [] };

export class Wishes {
  /** hooks: start(model, wishes, songs), stop(), busy() */
  constructor(store, roll, curves, hooks) {
    Object.assign(this, { store, roll, curves, hooks });
    this.models = [];
    this.programs = [];
    this.form = null;
    $("form").addEventListener("submit", (event) => { event.preventDefault(); this.compose(); });
    $("model").addEventListener("change", () => this.#showModel());
    $("from").addEventListener("change", () => this.showFrom());
    for (const pen of document.getElementsByName("pen")) pen.addEventListener("change", () => { curves.pen = pen.value; roll.touch(); });
    $("pens-clear").addEventListener("click", () => curves.clear());
    $("pen-set").addEventListener("click", () => this.#setCurve());
  }

  /** What the server has to offer. */
  offer(models, programs) {
    Object.assign(this, { models, programs });
    $("model").replaceChildren(...models.map((one, index) => new Option(one.title, index)));
    this.#showModel();
  }

  get model() { return this.models[$("model").value] || NOTHING; }
  get restyles() { return this.model.verb === "restyle"; }

  // ---- showing -----------------------------------------------------------------------------------------------------

  #showModel() {
    const { model, restyles } = this, kept = this.form?.values() || {};
    $("model-note").textContent = model.about || "";
    this.form = makeForm($("fields"), model, new Set([...model.songs, ...(restyles ? DRAWN : [])]), () => fault("compose-error", null));
    for (const [name, value] of Object.entries(kept)) if (name !== "bars" || !restyles) this.form.set(name, value);
    $("pens").hidden = !restyles;
    const pens = [...document.getElementsByName("pen")];
    if (restyles && !this.curves.pen) { pens[0].checked = true; this.curves.pen = pens[0].value; }
    if (!restyles) { this.curves.pen = null; this.curves.clear(); for (const pen of pens) pen.checked = false; }
    this.roll.touch();
    this.#offerNewSeeds(kept.seed);
    this.showFrom();
    this.showBusy();
  }

  #offerNewSeeds(kept) {
    const { seed } = this.form.fields;
    if (!seed?.number) return;
    seed.number.placeholder = "a new one each time";
    if (!kept) seed.set("");
    const anew = button("new", "quiet", () => seed.set(""));
    anew.title = "A new seed each time";
    seed.number.after(anew);
    seed.valid = () => seed.number.reportValidity(); // without one, one is drawn
  }

  showBusy() {
    const busy = this.hooks.busy();
    $("compose").textContent = busy ? "Stop" : this.restyles ? "Restyle" : "Compose";
    $("compose").classList.toggle("busy", busy);
    $("stop").disabled = !busy;
  }

  /** What the model may begin with: nothing, the chosen take, its form alone, its chosen bars; of all tracks or of one. */
  showFrom() {
    const { model, roll, restyles } = this, { take } = this.store;
    $("from-field").hidden = !model.songs.length;
    if (!model.songs.length) return;
    const froms = (model.needs || []).length ? [] : [["", "nothing"]];
    if (countNotes(take.sheet)) {
      froms.push(["all", `take ${take.name}`]);
      if (model.songs.includes("form_of")) froms.push(["form", `the form of take ${take.name}`]);
      if (roll.region && !restyles) froms.push(["bars", `bars ${roll.region[0] + 1}–${roll.region[1]} of take ${take.name}`]);
    }
    refill($("from"), froms);
    refill($("from-part"), [["", "all tracks"], ...take.sheet.parts.map((part, index) => [index, `only ${partName(part, this.programs)}`])]);
    $("from-part").hidden = !$("from").value || restyles;
  }

  #setCurve() {
    const { curves, roll } = this, pen = curves.pen || "rhythm", value = Number($("pen-value").value);
    const [from, to] = roll.region || [0, barGrid(this.store.take.sheet).metres.length];
    for (let bar = from; bar < to; bar++) curves.set(pen, bar, value);
    say(`${pen} of bars ${from + 1} to ${to} to ${value}`);
  }

  // ---- asking ------------------------------------------------------------------------------------------------------

  /** Have it written, or, while something is being written, stop that. */
  async compose() {
    fault("compose-error", null);
    if (this.hooks.busy()) return this.hooks.stop();
    if (!this.form || this.form.invalid()) return; // the models are not there yet, or the form says what is wrong
    const { model } = this, wishes = this.form.values(), anew = this.#barsAnew();
    const sheet = this.#opening(anew);
    if (!sheet && model.needs?.length) return fault("compose-error", "Compose or open a song first: this model plays one that is there.");
    if (sheet && anew && !this.restyles && $("from").value === "bars") wishes.bars = this.#span(this.roll.region);
    wishes.seed ??= Math.floor(Math.random() * 1e6);
    if (this.restyles) Object.assign(wishes, this.#drawn());
    const slot = $("from").value === "form" ? "form_of" : model.needs?.[0] ?? model.songs[0];
    await this.hooks.start(model, wishes, sheet && slot ? { [slot]: sheet } : {});
  }

  /** Whether the model writes bars of a song anew, which it is told as "5-8", rather than so many bars. */
  #barsAnew() {
    const { bars } = this.model.schema.properties;
    return (bars?.anyOf || [bars]).some((kind) => kind?.type === "string");
  }

  #span([from, to]) { return `${from + 1}-${to}`; }

  /** The curves, and the bars that they or the person chose. */
  #drawn() {
    const { curves, roll } = this, bars = curves.bars();
    const region = roll.region || (bars.length ? [bars[0], bars.at(-1) + 1] : null);
    return { rhythm: curves.wish("rhythm"), polyphony: curves.wish("polyphony"), ...(region && { bars: this.#span(region) }) };
  }

  /** The sheet that the model is to begin with, or null. */
  #opening(whole) {
    const from = $("from-field").hidden ? "" : $("from").value;
    if (!from) return null;
    const { sheet } = this.store.take, only = $("from-part").hidden ? "" : $("from-part").value;
    const parts = only === "" ? sheet.parts : [sheet.parts[Number(only)]];
    if (from !== "bars" || whole) return { ...sheet, parts };
    const { starts } = barGrid(sheet), [first, end] = this.roll.region.map((bar) => starts[bar]);
    const cut = ({ notes }) => notes.filter((note) => note[0] >= first && note[0] < end).map(([time, ...rest]) => [time - first, ...rest]);
    return { ...sheet, parts: parts.map((part) => ({ ...part, notes: cut(part) })).filter((part) => part.notes.length) };
  }
}

/** New options for a select, with the one that was chosen kept where it is still there. */
function refill(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, words]) => new Option(words, value)));
  select.value = options.some(([value]) => String(value) === before) ? before : options[0]?.[0] ?? "";
}

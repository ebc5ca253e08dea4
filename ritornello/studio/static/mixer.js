// The tracks: what plays, how loud, and which of them one hears.

import { hue, partName, withPart } from "./sheet.js";

export class Mixer {
  /** hooks: take(), edit(sheet, step), mix(mix), pick(index), picked(), programs */
  constructor(place, hooks) {
    Object.assign(this, { place, hooks, rows: [] });
  }

  show() {
    const take = this.hooks.take(), { parts } = take.sheet;
    while (this.rows.length > parts.length) this.rows.pop().root.remove();
    while (this.rows.length < parts.length) this.rows.push(this.#row(this.rows.length));
    parts.forEach((part, index) => {
      const row = this.rows[index], { muted, solo } = take.mix, name = partName(part, this.hooks.programs);
      row.root.style.setProperty("--track", `var(--part-${hue(part)})`);
      row.root.classList.toggle("picked", this.hooks.picked() === index);
      row.root.classList.toggle("silent", muted.has(index) || (solo.size > 0 && !solo.has(index)));
      row.name.textContent = name;
      row.name.setAttribute("aria-pressed", this.hooks.picked() === index);
      row.mute.setAttribute("aria-pressed", muted.has(index));
      row.mute.setAttribute("aria-label", `Mute ${name}`);
      row.solo.setAttribute("aria-pressed", solo.has(index));
      row.solo.setAttribute("aria-label", `Solo ${name}`);
      row.program.setAttribute("aria-label", `Instrument of ${name}`);
      row.program.hidden = part.drums;
      row.kit.hidden = !part.drums;
      if (document.activeElement !== row.program) row.program.value = part.program;
      row.volume.setAttribute("aria-label", `Volume of ${name}`);
      if (document.activeElement !== row.volume) row.volume.value = part.volume;
    });
  }

  #row(index) {
    const root = document.createElement("li"), { hooks } = this;
    const button = (text, className) => Object.assign(document.createElement("button"), { type: "button", textContent: text, className });
    const name = button("", "name"), mute = button("M", "toggle"), solo = button("S", "toggle");
    name.title = "New notes go into this track";
    mute.title = "Mute"; solo.title = "Solo";
    const program = document.createElement("select");
    hooks.programs.forEach((label, number) => program.append(new Option(label, number)));
    const kit = Object.assign(document.createElement("span"), { className: "kit", textContent: "drum kit" });
    const volume = Object.assign(document.createElement("input"), { type: "range", min: 0, max: 127, step: 1 });
    name.addEventListener("click", () => hooks.pick(index));
    const flip = (which) => () => {
      const mix = hooks.take().mix, changed = new Set(mix[which]);
      changed.has(index) ? changed.delete(index) : changed.add(index);
      hooks.mix({ ...mix, [which]: changed });
    };
    mute.addEventListener("click", flip("muted"));
    solo.addEventListener("click", flip("solo"));
    program.addEventListener("change", () => hooks.edit(withPart(hooks.take().sheet, index, { program: Number(program.value) }), {}));
    let step = {};
    volume.addEventListener("change", () => { step = {}; });
    volume.addEventListener("input", () => hooks.edit(withPart(hooks.take().sheet, index, { volume: Number(volume.value) }), step, true));
    root.append(name, mute, solo, program, kit, volume);
    this.place.append(root);
    return { root, name, mute, solo, program, kit, volume };
  }
}

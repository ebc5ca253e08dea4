/** One piece of a group: its player, and a scale for each criterion. */

import { alertLine, clock, h, percent } from "./dom.js";
import { PARTS } from "./draft.js";

const PLAY = "M7 4.5v15l12.5-7.5z";
const PAUSE = "M6.5 4.5h4v15h-4zM13.5 4.5h4v15h-4z";
const players = new Set(); // of the page: one sounds at a time

export class Clip {
  /** test: what the server says of the test; changed: called whenever something was heard or scored. */
  constructor(test, name, position, draft, changed) {
    Object.assign(this, { test, name, draft, changed });
    this.letter = String.fromCharCode(65 + position);
    this.sound = new Audio();
    this.gone = new AbortController();
    this.problem = alertLine();
    this.missing = alertLine();
    this.element = h(
      "section",
      { class: "clip", id: `piece-${position}`, "aria-labelledby": `name-${position}` },
      this.player(position),
      this.problem.line,
      h("div", { class: "criteria" }, ...test.criteria.map((criterion) => this.scale(criterion))),
      this.missing.line,
    );
    for (const event of ["play", "pause", "timeupdate", "seeking", "ended", "durationchange"])
      this.sound.addEventListener(event, () => this.show());
    players.add(this);
    this.show();
  }

  player(position) {
    this.shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    icon.setAttribute("viewBox", "0 0 24 24");
    icon.setAttribute("aria-hidden", "true");
    icon.append(this.shape);
    this.button = h("button", { type: "button", class: "play", onclick: () => this.toggle() }, icon);
    this.time = h("span", { class: "time", "aria-hidden": "true" });
    this.share = h("span", { class: "share" });
    this.place = h("input", {
      type: "range", class: "place", min: 0, max: PARTS, step: 1, value: 0, "aria-label": `Place in piece ${this.letter}`,
      oninput: () => { this.sound.currentTime = (this.place.value / PARTS) * this.length; },
    });
    return h(
      "div",
      { class: "player" },
      this.button,
      h("h2", { id: `name-${position}` }, `Piece ${this.letter}`),
      this.time,
      this.share,
      this.place,
    );
  }

  scale({ key, name }) {
    const { lowest, highest } = this.test;
    const marks = [];
    for (let score = lowest; score <= highest; score++) {
      const end = score === lowest ? ", lowest" : score === highest ? ", highest" : "";
      marks.push(
        h(
          "label",
          {},
          h("input", {
            type: "radio", name: `${this.name}-${key}`, value: score, "aria-label": `${score}${end}`,
            checked: this.draft.of(this.name).scores[key] === score,
            onchange: () => this.given(key, score),
          }),
          h("span", { "aria-hidden": "true" }, String(score)),
        ),
      );
    }
    return h("fieldset", { "aria-describedby": `asks-${key}` }, h("legend", {}, name), h("div", { class: "scale" }, ...marks));
  }

  get length() {
    return Number.isFinite(this.sound.duration) ? this.sound.duration : this.test.seconds;
  }

  given(criterion, score) {
    this.draft.score(this.name, criterion, score);
    this.missing.say("");
    this.changed();
  }

  /** Fetch the sound, once. Whole, because players that stream keep connections open, of which a browser has six. */
  load() {
    this.loading ??= this.fetch().catch((error) => {
      this.loading = null;
      throw error;
    });
    return this.loading;
  }

  async fetch() {
    const answer = await fetch(`api/listen/clips/${this.name}.mp3`, { signal: this.gone.signal });
    if (!answer.ok) throw new Error(answer.statusText);
    this.sound.src = URL.createObjectURL(await answer.blob());
  }

  async toggle() {
    if (this.wanted || !this.sound.paused) {
      this.wanted = false;
      this.sound.pause();
      return this.show();
    }
    this.problem.say("");
    for (const other of players) if (other !== this) other.hush();
    this.wanted = true; // until it sounds, or is pressed again
    this.show();
    try {
      await this.load();
      if (this.wanted) await this.sound.play();
    } catch (error) {
      this.sound.pause(); // it would count as playing
      if (error.name === "NotAllowedError") this.problem.say("The piece is here now; press play once more.");
      else if (error.name !== "AbortError")
        this.problem.say("This piece cannot be played at the moment. Check your connection, then press play again.");
    }
    this.wanted = false;
    this.show();
  }

  hush() {
    this.wanted = false;
    this.sound.pause();
  }

  /** Take up what was played, and draw it. */
  show() {
    const { played, currentTime, paused } = this.sound;
    const stretches = Array.from({ length: played.length }, (_, i) => [played.start(i), played.end(i)]);
    this.draft.hear(this.name, stretches.map(([from, to]) => [from / this.length, to / this.length]));
    const heard = this.draft.heard(this.name);
    const enough = heard >= this.test.heard;
    const silent = paused && !this.wanted;
    this.shape.setAttribute("d", silent ? PLAY : PAUSE);
    this.button.setAttribute("aria-label", `${silent ? "Play" : "Pause"} piece ${this.letter}`);
    this.element.classList.toggle("sounding", !silent);
    this.time.textContent = `${clock(currentTime)} / ${clock(this.length)}`;
    const needed = enough ? " ✓" : `, ${percent(this.test.heard)} needed`;
    this.share.textContent = this.wanted && paused ? "loading …" : `heard ${percent(heard)}${needed}`;
    this.place.value = Math.round((currentTime / this.length) * PARTS);
    this.place.setAttribute("aria-valuetext", `${clock(currentTime)} of ${clock(this.length)}, ${this.share.textContent}`);
    this.place.style.setProperty("--heard", this.stripes());
    if (enough && this.complete) this.missing.say("");
    this.changed();
  }

  /** What was heard, as a background for the line of places. */
  stripes() {
    const { heard } = this.draft.of(this.name);
    const stops = [];
    for (let i = 0; i < PARTS; i++) {
      if (i > 0 && heard[i] === heard[i - 1]) continue;
      const colour = heard[i] === "1" ? "var(--heard-colour)" : "var(--line)";
      if (stops.length) stops.push(`${stops.at(-1).split(" ")[0]} ${(100 * i) / PARTS}%`);
      stops.push(`${colour} ${(100 * i) / PARTS}%`);
    }
    stops.push(`${stops.at(-1).split(" ")[0]} 100%`);
    return `linear-gradient(to right, ${stops.join(", ")})`;
  }

  get scored() {
    return Object.keys(this.draft.of(this.name).scores).length;
  }

  get complete() {
    return this.scored === this.test.criteria.length && this.draft.heard(this.name) >= this.test.heard;
  }

  /** Say what is missing, where it is missing; where the eye and the keyboard should go. */
  complain() {
    const heard = this.draft.heard(this.name) >= this.test.heard;
    const missing = this.test.criteria.filter(({ key }) => !(key in this.draft.of(this.name).scores));
    const parts = [];
    if (!heard) parts.push(`hear at least ${percent(this.test.heard)} of it`);
    if (missing.length) parts.push(`give a score for ${missing.map(({ name }) => name.toLowerCase()).join(", ")}`);
    this.missing.say(`Piece ${this.letter}: please ${parts.join(" and ")}.`);
    return heard ? this.element.querySelector(`input[name="${this.name}-${missing[0].key}"]`) : this.button;
  }

  ballot() {
    return { clip: this.name, heard: this.draft.heard(this.name), ...this.draft.of(this.name).scores };
  }

  leave() {
    this.gone.abort();
    this.hush();
    URL.revokeObjectURL(this.sound.src);
    this.sound.removeAttribute("src");
    players.delete(this);
  }
}

/** The space bar, where it means nothing else, plays and pauses the piece that was played last. */
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.closest("button, input, a, summary")) return;
  const played = [...players].filter(({ sound }) => sound.currentTime > 0);
  const last = played.find(({ sound }) => !sound.paused) ?? played.at(-1) ?? [...players][0];
  if (!last) return;
  event.preventDefault();
  last.toggle();
});

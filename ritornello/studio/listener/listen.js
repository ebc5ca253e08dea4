/** The listener's way: a welcome, group after group, thanks. Where they are is known by the server; this page asks it. */

import { Clip } from "./clip.js";
import { alertLine, clock, h, percent } from "./dom.js";
import { Draft } from "./draft.js";

const main = document.getElementById("main");

/** Ask the server; its JSON. Throws an Error with a sentence for the listener. */
async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(`api/listen/${path}`, body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server cannot be reached. Nothing is lost; check your connection, then try again.");
  }
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw Object.assign(new Error(told.error ?? "The server failed. Nothing is lost; please try again."), { status: answer.status });
}

/** Put a page in place of the one before; the keyboard and screen readers begin at its heading. */
function turn(test, ...children) {
  document.getElementById("title").textContent = test.title;
  const where = test.joined ? (test.group < test.groups ? `Group ${test.group + 1} of ${test.groups}` : "Finished") : "";
  document.getElementById("where").textContent = where;
  document.title = [where, test.title].filter(Boolean).join(" · ");
  const progress = document.getElementById("progress");
  Object.assign(progress, { max: test.groups, value: test.group, hidden: !test.joined });
  main.replaceChildren(...children);
  window.scrollTo(0, 0);
  const heading = main.querySelector("h1");
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

function show(test) {
  if (!test.joined) welcome(test);
  else if (test.group < test.groups) group(test);
  else thanks(test);
}

function explanations(test) {
  return h(
    "dl",
    { class: "criteria-list" },
    ...test.criteria.flatMap(({ key, name, question }) => [h("dt", {}, name), h("dd", { id: `asks-${key}` }, question)]),
  );
}

function welcome(test) {
  const problem = alertLine();
  const minutes = Math.max(1, Math.round((test.groups * test.clips_a_group * (test.seconds + 15)) / 60));
  const choices = [["yes", "Yes"], ["no", "No"], ["", "Rather not say"]].map(([value, text]) =>
    h("label", { class: "choice" }, h("input", { type: "radio", name: "trained", value, checked: value === "" }), text));
  const begin = h("button", {
    type: "submit", class: "primary",
  }, "Begin");
  const form = h(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        begin.disabled = true;
        const said = new FormData(form).get("trained");
        try {
          show(await ask("join", { trained: said ? said === "yes" : null }));
        } catch (error) {
          problem.say(error.message);
          begin.disabled = false;
        }
      },
    },
    h("fieldset", { class: "trained" }, h("legend", {}, "Have you learned music: an instrument, singing, theory?"), ...choices),
    h("div", { class: "actions" }, begin, h("button", { type: "button", onclick: chime }, "Try the sound")),
    problem.line,
  );
  turn(
    test,
    h("h1", {}, "Listen, and say what you hear"),
    h("p", { class: "lead" },
      `You will hear ${test.groups} groups of ${test.clips_a_group} pieces, each ${clock(test.seconds)} long: `
      + `about ${minutes} minutes in all. Score every piece from ${test.lowest}, the lowest, to ${test.highest}, `
      + "the highest, in four ways:"),
    explanations(test),
    h("p", {}, "Headphones are best. Hear pieces as often as you like, in any order, and change scores until you send "
      + "a group's. You may close the page and come back to it in this browser; what you gave stays. Nobody sees your scores "
      + "but those who run this test."),
    form,
  );
}

function group(test) {
  const draft = new Draft(test.id, test.group);
  const problem = alertLine();
  const jumps = h("nav", { class: "jumps", "aria-label": "Pieces of this group" });
  const send = h("button", { type: "button", class: "primary" }, test.group + 1 < test.groups ? "Send and go on" : "Send and finish");
  let clips = [];

  function changed() {
    if (!clips.length) return;
    const ready = clips.every((clip) => clip.complete);
    send.setAttribute("aria-disabled", String(!ready));
    clips.forEach((clip, i) => {
      const jump = jumps.children[i];
      jump.classList.toggle("done", clip.complete);
      const state = clip.complete ? "done" : `heard ${percent(draft.heard(clip.name))}, ${clip.scored} of ${test.criteria.length} scores`;
      jump.setAttribute("aria-label", `Piece ${clip.letter}: ${state}`);
    });
  }

  clips = test.clips.map((name, position) => new Clip(test, name, position, draft, changed));
  jumps.append(...clips.map((clip, i) => h("a", { href: `#piece-${i}` }, clip.letter)));
  changed();

  send.addEventListener("click", async () => {
    problem.say("");
    const unfinished = clips.filter((clip) => !clip.complete);
    if (unfinished.length) {
      const places = unfinished.map((clip) => clip.complain());
      places[0].focus();
      places[0].closest(".clip").scrollIntoView({ block: "start" });
      return;
    }
    if (send.disabled) return;
    send.disabled = true;
    try {
      const next = await ask("ballot", { group: test.group, marks: clips.map((clip) => clip.ballot()) });
      draft.forget();
      for (const clip of clips) clip.leave();
      show(next);
    } catch (error) {
      problem.say(error.message);
      send.disabled = false;
      if (error.status === 409) problem.line.append(" ", h("button", { type: "button", onclick: start }, "Go on"));
    }
  });

  turn(
    test,
    h("h1", {}, `Group ${test.group + 1}`),
    h("details", {}, h("summary", {}, "What the four scores mean"), explanations(test)),
    ...clips.map((clip) => clip.element),
    h("footer", {}, jumps, send, problem.line),
  );
  fetchAll(clips);
}

/** Fetch the pieces ahead of the listener, one after the other; what fails is fetched when it is played. */
async function fetchAll(clips) {
  for (const clip of clips) await clip.load().catch(() => {});
}

function thanks(test) {
  turn(
    test,
    h("h1", {}, "Thank you"),
    h("p", { class: "lead" }, "All your scores have arrived. You can close this page now."),
  );
}

/** A quiet chord, to set the volume by. */
async function chime() {
  const context = new AudioContext();
  const now = context.currentTime;
  for (const [i, frequency] of [261.63, 329.63, 392, 523.25].entries()) {
    const tone = new OscillatorNode(context, { type: "triangle", frequency });
    const level = new GainNode(context, { gain: 0 });
    level.gain.setValueAtTime(0, now + i * 0.15);
    level.gain.linearRampToValueAtTime(0.12, now + i * 0.15 + 0.05);
    level.gain.exponentialRampToValueAtTime(0.001, now + 2.5);
    tone.connect(level).connect(context.destination);
    tone.start(now + i * 0.15);
    tone.stop(now + 2.6);
  }
  setTimeout(() => context.close(), 3000);
}

async function start() {
  try {
    show(await ask("state"));
  } catch (error) {
    main.replaceChildren(
      h("p", { class: "error", role: "alert" }, error.message),
      h("button", { type: "button", onclick: start }, "Try again"),
    );
  }
}

start();

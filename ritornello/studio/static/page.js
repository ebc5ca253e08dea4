// Small things that every part of the page uses.

export const $ = (id) => document.getElementById(id);

/** One sentence where it happened, brought into view; without an error it goes away. */
export function fault(place, error) {
  $(place).textContent = error ? error.message || String(error) : "";
  $(place).hidden = !error;
  if (error) $(place).scrollIntoView({ block: "nearest" });
}

/** For those who hear the page. */
export const say = (words) => { $("say").textContent = words; };

/** 83.2 → "1:23" */
export const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

export function button(text, className, onclick) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text, className });
  if (onclick) made.addEventListener("click", onclick);
  return made;
}

/** Small helpers for making the page. */

/** h("p", { class: "quiet" }, "text", child): an element. Properties that begin with "on" are listeners. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** An alert beside what it is about; empty until `say` is called, empty again with say(""). */
export function alertLine() {
  const line = h("p", { class: "error", role: "alert" });
  return { line, say: (text) => { line.textContent = text; } };
}

/** 83.2 → "1:23" */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export const percent = (share) => `${Math.floor(share * 100)} %`;

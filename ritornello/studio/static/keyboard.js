// The keyboard: space plays, arrows walk and move, delete deletes, ctrl-z takes back.

const TYPING = "input:not([type=range]):not([type=checkbox]):not([type=radio]), select, textarea, dialog";

/** acts: toggle(), undo(), redo(), chooseAll(), clear(), loop(), home(), bar(by); roll. */
export function listenToKeys(roll, acts) {
  addEventListener("keydown", (event) => {
    if (event.target.closest(TYPING)) return;
    const control = event.ctrlKey || event.metaKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const act = (control ? {
      z: () => (event.shiftKey ? acts.redo() : acts.undo()),
      y: acts.redo,
      a: acts.chooseAll,
    } : {
      " ": () => (event.target.matches("button, summary, label") ? false : acts.toggle()),
      l: acts.loop,
      "+": () => roll.zoom(1.5),
      "-": () => roll.zoom(1 / 1.5),
      Delete: () => roll.remove(),
      Backspace: () => roll.remove(),
      Escape: acts.clear,
      Home: acts.home,
      ArrowLeft: () => arrow(event, -1, 0),
      ArrowRight: () => arrow(event, 1, 0),
      ArrowUp: () => arrow(event, 0, 1),
      ArrowDown: () => arrow(event, 0, -1),
    })[key];
    if (act && act() !== false) event.preventDefault();
  });

  /** With notes chosen: move them (with Alt, go to the next note). Without: choose one, or go a bar on. */
  function arrow(event, time, pitch) {
    if (event.target.matches("input")) return false;
    if (event.altKey && time) return roll.walk(time);
    if (roll.chosen.size && event.shiftKey && time) return roll.lengthen(time);
    if (roll.chosen.size) return roll.nudge(time, pitch * (event.shiftKey ? 12 : 1));
    if (event.target === roll.canvas) return roll.walk(time || -pitch);
    return time ? acts.bar(time) : false;
  }
}

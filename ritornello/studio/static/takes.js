// The takes, side by side: a small picture of each, its length and seed.

import { button } from "./page.js";
import { paintSmall } from "./paint.js";
import { barGrid } from "./sheet.js";

export class Takes {
  /** hooks: choose(id), remove(id), resume(id) */
  constructor(place, store, hooks) {
    Object.assign(this, { place, store, hooks });
  }

  /** A card for each take there is. */
  list() {
    const cards = new Map([...this.place.children].map((card) => [card.dataset.id, card]));
    this.place.replaceChildren(...this.store.takes.map((take) => cards.get(take.id) || this.#card(take)));
  }

  #card(take) {
    const card = document.createElement("li"), { hooks } = this;
    const pick = button("", "pick", () => hooks.choose(take.id));
    pick.append(document.createElement("canvas"), document.createElement("b"), document.createElement("small"));
    const away = button("×", "away", () => hooks.remove(take.id));
    away.setAttribute("aria-label", `Remove take ${take.name}`);
    card.dataset.id = take.id;
    card.append(pick, away);
    return card;
  }

  /** What each card says, as it is now. */
  show() {
    for (const card of this.place.children) {
      const take = this.store.get(card.dataset.id), pick = card.firstChild, [picture, name, about] = pick.children;
      pick.setAttribute("aria-pressed", take.id === this.store.chosen);
      card.classList.toggle("writing", take.writing);
      const seed = take.seed === null ? "" : ` · seed ${take.seed}`;
      name.textContent = take.name;
      about.textContent = `${take.writing && !take.bars ? "…" : `${take.bars || barGrid(take.sheet).metres.length} bars`}${seed}`;
      if (card.drawn !== take.sheet) { card.drawn = take.sheet; paintSmall(picture, take); }
      this.#offerToGoOn(card, take);
    }
  }

  #offerToGoOn(card, take) {
    const offered = card.querySelector(".on"), wanted = take.unfinished && !take.writing && take.origin;
    if (!wanted) return offered?.remove();
    if (offered) return;
    const on = button("go on", "on", () => this.hooks.resume(take.id));
    on.title = "Have it written to its end";
    card.append(on);
  }

  /** The colours have changed. */
  recolour() {
    for (const card of this.place.children) card.drawn = null;
    this.show();
  }
}

// The form of a song at one glance: how alike every two of its bars are. What comes back shows as stripes.

export class Structure {
  /** hooks: seek(bar), bar() */
  constructor(canvas, words, hooks) {
    Object.assign(this, { canvas, words, hooks });
    this.count = 0;
    canvas.addEventListener("pointermove", (event) => this.#tell(event));
    canvas.addEventListener("pointerleave", () => { this.words.textContent = this.sentence || ""; });
    canvas.addEventListener("click", (event) => { const at = this.#at(event); if (at) hooks.seek(at[0]); });
  }

  /** `similarity`: base64 of bytes, 0 to 254, 255 where both bars are empty. */
  set(bars, similarity) {
    const bytes = Uint8Array.from(atob(similarity), (letter) => letter.charCodeAt(0));
    this.count = bytes.length === bars * bars ? bars : 0;
    this.bytes = bytes;
    this.sentence = this.#sentence();
    this.words.textContent = this.sentence;
    this.canvas.setAttribute("aria-label", `Similarity of the bars. ${this.sentence}`);
    this.picture = null;
    this.draw();
  }

  draw() {
    const { canvas, count } = this, ratio = devicePixelRatio || 1, side = canvas.clientWidth;
    if (!side) return;
    canvas.width = canvas.height = Math.round(side * ratio);
    const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
    context.fillStyle = style.getPropertyValue("--roll");
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!count) return;
    const colour = style.getPropertyValue("--heat").trim().split(/[ ,]+/).map(Number);
    const paper = style.getPropertyValue("--heat-paper").trim().split(/[ ,]+/).map(Number);
    if (this.colour !== colour.join()) { this.picture = null; this.colour = colour.join(); }
    this.picture ??= this.#paint(colour, paper);
    context.imageSmoothingEnabled = count * 1.5 > canvas.width;
    context.drawImage(this.picture, 0, 0, canvas.width, canvas.height);
    const bar = this.hooks.bar(), step = canvas.width / count;
    if (bar < 0 || bar >= count) return;
    context.strokeStyle = style.getPropertyValue("--accent");
    context.lineWidth = ratio;
    context.strokeRect(bar * step, 0, Math.max(step, 1), canvas.height);
    context.strokeRect(0, bar * step, canvas.width, Math.max(step, 1));
  }

  #paint(colour, paper) {
    const { count, bytes } = this, picture = new OffscreenCanvas(count, count), context = picture.getContext("2d");
    const pixels = context.createImageData(count, count);
    for (let i = 0; i < count * count; i++) {
      const share = bytes[i] === 255 ? 0 : Math.sqrt(bytes[i] / 254);
      for (let channel = 0; channel < 3; channel++) pixels.data[4 * i + channel] = paper[channel] + (colour[channel] - paper[channel]) * share;
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
    return picture;
  }

  #at(event) {
    if (!this.count) return null;
    const side = this.canvas.clientWidth;
    return [event.offsetX, event.offsetY].map((place) => Math.max(0, Math.min(this.count - 1, Math.floor((place / side) * this.count))));
  }

  #tell(event) {
    const at = this.#at(event);
    if (!at) return;
    const value = this.bytes[at[1] * this.count + at[0]];
    this.words.textContent = value === 255 ? `Bars ${at[1] + 1} and ${at[0] + 1} are empty.` : `Bars ${at[1] + 1} and ${at[0] + 1} share ${Math.round((value / 254) * 100)} % of their notes.`;
  }

  /** The interval at which bars come back most, in words. */
  #sentence() {
    const { count, bytes } = this;
    if (count < 2) return "";
    let best = 0, at = 0;
    for (let apart = 1; apart <= Math.min(32, count - 1); apart++) {
      let sum = 0, pairs = 0;
      for (let bar = 0; bar + apart < count; bar++) {
        const value = bytes[bar * count + bar + apart];
        if (value < 255) { sum += value / 254; pairs++; }
      }
      if (pairs >= Math.min(4, count - 1) && sum / pairs > best) { best = sum / pairs; at = apart; }
    }
    return at ? `Bars come back most after ${at} ${at === 1 ? "bar" : "bars"}: ${Math.round(best * 100)} % of their notes, on average.` : "No bar comes back.";
  }
}

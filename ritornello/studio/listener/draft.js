/** Scores that are not yet sent, and what was heard: kept in the browser, so that a reload loses nothing. */

export const PARTS = 200; // of a clip, by which "heard" is counted

export class Draft {
  constructor(id, group) {
    this.key = `${id}:${group}`;
    this.clips = {};
    try {
      this.clips = JSON.parse(localStorage.getItem(this.key)) ?? {};
    } catch {
      // A browser that keeps nothing, or a damaged draft: begin anew
    }
  }

  of(clip) {
    return (this.clips[clip] ??= { scores: {}, heard: "0".repeat(PARTS) });
  }

  score(clip, criterion, score) {
    this.of(clip).scores[criterion] = score;
    this.save();
  }

  /** Take up the stretches [from, to] of a clip, in shares of it, that were played. */
  hear(clip, stretches) {
    const parts = [...this.of(clip).heard];
    for (let i = 0; i < PARTS; i++) {
      const middle = (i + 0.5) / PARTS;
      if (stretches.some(([from, to]) => from <= middle && middle <= to)) parts[i] = "1";
    }
    const heard = parts.join("");
    if (heard === this.of(clip).heard) return;
    this.of(clip).heard = heard;
    this.save();
  }

  heard(clip) {
    return [...this.of(clip).heard].filter((part) => part === "1").length / PARTS;
  }

  save() {
    try {
      localStorage.setItem(this.key, JSON.stringify(this.clips));
    } catch {
      // Without storage the scores live as long as the page
    }
  }

  forget() {
    try {
      localStorage.removeItem(this.key);
    } catch {
      // Nothing was kept
    }
  }
}

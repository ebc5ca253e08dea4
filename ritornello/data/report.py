"""What preparing a corpus came to: counts, token statistics, and why files were dropped, as JSON and as a page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ritornello.data.shards import load_shard
from ritornello.representations.vocabulary import Vocabulary

EXAMPLES = 5  # of each reason, on the page


@dataclass(frozen=True)
class Report:
    """What `prepare` did. `dropped` has a row {"file", "reason", "detail"} for every file that was not accepted."""

    corpus: str
    out: Path
    files: int
    songs: int = 0
    complete: bool = True  # False while other machines' shards are missing: then there is no songs.jsonl yet
    dropped: list[dict[str, str]] = field(default_factory=list)
    warned: list[dict[str, str]] = field(default_factory=list)  # accepted, though the reader had to mend something
    statistics: dict[str, Any] = field(default_factory=dict)

    @property
    def reasons(self) -> dict[str, int]:
        """How many files were dropped for each reason, the most frequent first."""
        return dict(Counter(drop["reason"] for drop in self.dropped).most_common())

    def to_json(self) -> dict[str, Any]:
        return {
            "corpus": self.corpus,
            "files": self.files,
            "songs": self.songs,
            "reasons": self.reasons,
            "statistics": self.statistics,
            "dropped": self.dropped,
            "warned": self.warned,
        }

    def markdown(self) -> str:
        """The report as a page for people."""
        lines = [f"# {self.corpus}: {self.songs:,} of {self.files:,} files accepted", ""]
        for split, counts in self.statistics["splits"].items():
            lines.append(f"- {split}: " + ", ".join(f"{value:,} {what}" for what, value in counts.items()))
        unit = "tokens" if "tokens" in self.statistics else "steps"
        lines.append("- " + ", ".join(f"{value:,} {unit} {what}" for what, value in self.statistics[unit].items()))
        if shares := [f"{family} {share:.1%}" for family, share in self.statistics["families"].items()]:
            lines.append(f"- tokens by family: {', '.join(shares)}")
        for reason, count in self.reasons.items():
            examples = [drop for drop in self.dropped if drop["reason"] == reason][:EXAMPLES]
            lines += ["", f"## Dropped: {reason} ({count:,})", ""]
            lines += [f"- `{drop['file']}` {drop['detail']}" for drop in examples]
        if self.warned:
            lines += ["", f"## Accepted with a warning ({len(self.warned):,})", ""]
            lines += [f"- {warning['detail']}" for warning in self.warned[:EXAMPLES]]
        return "\n".join(lines) + "\n"


def statistics(shards: Path, songs: list[dict[str, Any]], vocabulary: Vocabulary) -> dict[str, Any]:
    """Counts by split, tokens (of rolls: steps) a note, a bar and a song, and the share of every family of tokens."""
    unit = "steps" if songs and "steps" in songs[0] else "tokens"
    what = (unit, "bars", "notes")
    splits = {}
    for split in ("train", "valid", "test"):
        chosen = [song for song in songs if song["split"] == split]
        splits[split] = {"songs": len(chosen), **{name: sum(song[name] for song in chosen) for name in what}}
    total = {name: sum(counts[name] for counts in splits.values()) for name in ("songs", *what)}
    families = np.zeros(len(vocabulary.families))
    for name in sorted({song["shard"] for song in songs} if unit == "tokens" else ()):
        ids = load_shard(shards / name, ["ids"])["ids"]
        counts = np.bincount(ids, minlength=vocabulary.size)
        families += np.bincount(vocabulary.family_of, weights=counts, minlength=len(families))
    return {
        "splits": splits,
        unit: {f"a {name}": round(total[unit] / max(1, total[f"{name}s"]), 2) for name in ("note", "bar", "song")},
        "families": {
            name: round(float(count / max(1.0, families.sum())), 6)
            for name, count in zip(vocabulary.families, families, strict=True)
            if count
        },
    }

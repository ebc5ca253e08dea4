"""Tracks: find the melody; merge all into Museformer's six named instruments, one track a program, or one piano."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from symusic.core import NoteTickList, TrackTick

from ritornello.music.melody import melody_chances
from ritornello.music.score import Score

DRUM = 128
# The six and their programs, in writing order (the paper's 80, 128, 43, 25, 0, 48)
SIX = {"melody": 80, "drums": DRUM, "bass": 43, "guitar": 25, "piano": 0, "strings": 48}

# Which of the six takes an instrument that is not the melody, by General MIDI family (program // 8). The reference
# keeps only pianos, guitars, basses and strings; here whatever plays a like part is kept.
FAMILY_HOMES = {
    0: "piano",  # pianos
    1: "piano",  # tuned percussion struck as keys are: celesta, vibraphone
    2: "piano",  # organs, accordions
    3: "guitar",
    4: "bass",
    5: "strings",  # bowed strings and harp
    6: "strings",  # string ensembles and choirs
    7: "strings",  # brass: held chords and swells
    8: "strings",  # reeds: second voices
    9: "strings",  # pipes: second voices
    10: "strings",  # synth leads that are not the melody: second voices
    11: "strings",  # synth pads
    12: "strings",  # what General MIDI calls synth effects plays chords as pads do
    13: "guitar",  # sitar, banjo, shamisen, koto
}
PROGRAM_HOMES = {
    43: "bass",  # contrabass
    47: None,  # timpani: neither a drum kit nor a line
    55: None,  # orchestra hit
    108: "piano",  # kalimba
    109: "strings",  # bagpipe
    110: "strings",  # fiddle
    111: "strings",  # shanai
    112: "piano",  # tinkle bell
    114: "piano",  # steel drums
}
SYNTHS = (10, 11, 12)  # families whose instruments play the bass where they lie
LOW = 48  # below this mean pitch

SURE = 0.5  # find_melody's confidence from which a song counts as having a lead
LEAST = 0.25  # below this, merge_six makes no melody track
CHORDAL = 0.2  # the most that find_melody trusts a track of full chords, such as a solo piano


def find_melody(score: Score) -> tuple[int | None, float]:
    """The track that most likely carries the melody.

    Returns:
        Its index in `score.tracks`, and how likely it is to be right (0..1; `SURE` divides songs with a lead from those
        where it is doubtful). (None, 0.0) for a score without pitched notes.
    """
    chosen, chances, chordal = melody_chances(score)
    if not chosen:
        return None, 0.0
    best = int(np.argmax(chances))
    return chosen[best], min(float(chances[best]), CHORDAL if chordal[best] else 1.0)


@dataclass(frozen=True)
class MergeReport:
    """What `merge_six` did to a score."""

    melody: str  # the instrument that carries the melody, "" without one
    confidence: float  # of find_melody
    merged: dict[str, list[str]] = field(default_factory=dict)  # of the six -> the instruments that went into it
    dropped: list[str] = field(default_factory=list)  # one sentence per instrument left out
    kept: int = 0  # notes in the result
    lost: int = 0  # notes of instruments left out
    doubled: int = 0  # notes that sounded twice at once, now once

    def __str__(self) -> str:
        """The report in words."""
        sure = f" ({self.confidence:.0%} sure)" if self.melody else ""
        lines = [] if self.melody else ["No track carries a melody for certain."]
        for name, sources in self.merged.items():
            lines.append(f"{name.capitalize()}: {', '.join(sources)}{sure if name == 'melody' else ''}.")
        lines += self.dropped
        lines.append(f"{self.kept:,} notes kept, {self.lost:,} dropped, {self.doubled:,} doublings merged.")
        return "\n".join(lines)


def merge_six(score: Score) -> tuple[Score, MergeReport]:
    """Merge the instruments into Museformer's six (paper section 4.1), each into the one that plays a like part.

    The melody goes on a square synthesizer, unless no track carries it for certain (`LEAST`). Notes of one pitch and
    onset in one of the six become one, the longest. Sound effects and tuned drums are left out.

    Returns:
        A new score of at most six tracks, named as in `SIX` and in its order, with the tempos, time signatures and key
        signatures of `score`; and what was done. An empty score gives no tracks.
    """
    melody, confidence = find_melody(score)
    if confidence < LEAST:
        melody = None
    parts: dict[str, list[TrackTick]] = {name: [] for name in SIX}
    merged: dict[str, Counter[str]] = {name: Counter() for name in SIX}
    lost: Counter[str] = Counter()
    for index, track in enumerate(score.tracks):
        if not len(track.notes):
            continue
        home = "melody" if index == melody else home_of(track)
        if home is None:
            lost[instrument_name(track)] += len(track.notes)
        else:
            parts[home].append(track)
            merged[home][instrument_name(track)] += 1
    result = _frame(score)
    for name, program in SIX.items():
        if parts[name]:
            result.tracks.append(_merged(parts[name], name, program % DRUM, program == DRUM))
    total = sum(len(track.notes) for group in parts.values() for track in group)
    kept = sum(len(track.notes) for track in result.tracks)
    return result, MergeReport(
        melody="" if melody is None else instrument_name(score.tracks[melody]),
        confidence=confidence,
        merged={name: [_times(*item) for item in sources.items()] for name, sources in merged.items() if sources},
        dropped=[f"{name} left out ({notes:,} notes): none of the six plays its part." for name, notes in lost.items()],
        kept=kept,
        lost=sum(lost.values()),
        doubled=total - kept,
    )


def merge_programs(score: Score) -> Score:
    """One track per program, and one for the drums, in the order of the programs, drums first; doublings become one."""
    groups: dict[tuple[bool, int], list[TrackTick]] = {}
    for track in score.tracks:
        if len(track.notes):
            groups.setdefault((not track.is_drum, 0 if track.is_drum else track.program), []).append(track)
    result = _frame(score)
    for (pitched, program), tracks in sorted(groups.items()):
        result.tracks.append(_merged(tracks, instrument_name(tracks[0]), program, not pitched))
    return result


def merge_piano(score: Score) -> tuple[Score, str]:
    """All pitched tracks as one piano part, called "piano", and one sentence about it; drums are left out.

    Notes of one pitch and onset become one, the longest. The sentence is empty where the score was one piano already; a
    score without pitched notes gives no track.
    """
    pitched = [track for track in score.tracks if len(track.notes) and not track.is_drum]
    drums = sum(len(track.notes) for track in score.tracks if track.is_drum)
    result = _frame(score)
    if not pitched:
        return result, f"{drums:,} drum notes left out." if drums else ""
    result.tracks.append(_merged(pitched, "piano", 0, False))
    said = []
    if len(pitched) > 1 or pitched[0].program // 8:
        counts = Counter(instrument_name(track) for track in pitched)
        said.append(f"{', '.join(_times(*item) for item in counts.items())} became one piano part")
    if drums:
        said.append(f"{drums:,} drum notes left out")
    sentence = "; ".join(said)
    return result, sentence and f"{sentence[0].upper()}{sentence[1:]}."


def home_of(track: TrackTick) -> str | None:
    """Which of the six plays a track that is not the melody; None: none does (effects, percussion)."""
    if track.is_drum:
        return "drums"
    family = track.program // 8
    if family in SYNTHS and track.notes.numpy()["pitch"].mean() < LOW:
        return "bass"
    return PROGRAM_HOMES[track.program] if track.program in PROGRAM_HOMES else FAMILY_HOMES.get(family)


def instrument_name(track: TrackTick) -> str:
    """General MIDI's name of what the track plays; "drums" for drums."""
    return "drums" if track.is_drum else PROGRAMS[track.program]


def _times(name: str, count: int) -> str:
    return name if count == 1 else f"{name} ({count} tracks)"


def _frame(score: Score) -> Score:
    """A score without tracks: the tempos, time signatures and key signatures of this one."""
    frame = Score(score.ticks_per_quarter)
    frame.tempos = score.tempos.copy()
    frame.time_signatures = score.time_signatures.copy()
    frame.key_signatures = score.key_signatures.copy()
    return frame


def _merged(tracks: list[TrackTick], name: str, program: int, is_drum: bool) -> TrackTick:
    """One track with the notes of all, by (time, duration, pitch); of one pitch and onset the longest stays."""
    columns = [track.notes.numpy() for track in tracks]
    time, duration, pitch, velocity = (
        np.concatenate([column[key] for column in columns]) for key in ("time", "duration", "pitch", "velocity")
    )
    order = np.lexsort((-velocity.astype(np.int32), -duration, pitch, time))
    time, duration, pitch, velocity = time[order], duration[order], pitch[order], velocity[order]
    first = np.append(True, (time[1:] != time[:-1]) | (pitch[1:] != pitch[:-1])).astype(bool)
    chosen = np.flatnonzero(first)
    chosen = chosen[np.lexsort((pitch[chosen], duration[chosen], time[chosen]))]
    track = TrackTick(name, program, is_drum)
    track.notes = NoteTickList.from_numpy(time[chosen], duration[chosen], pitch[chosen], velocity[chosen])
    return track


# General MIDI's instruments, by program
# fmt: off
PROGRAMS = (
    "acoustic grand piano", "bright piano", "electric grand piano", "honky-tonk piano", "electric piano 1",
    "electric piano 2", "harpsichord", "clavinet", "celesta", "glockenspiel", "music box", "vibraphone", "marimba",
    "xylophone", "tubular bells", "dulcimer", "drawbar organ", "percussive organ", "rock organ", "church organ",
    "reed organ", "accordion", "harmonica", "tango accordion", "nylon guitar", "steel guitar", "jazz guitar",
    "clean guitar", "muted guitar", "overdriven guitar", "distorted guitar", "guitar harmonics", "acoustic bass",
    "fingered bass", "picked bass", "fretless bass", "slap bass 1", "slap bass 2", "synth bass 1", "synth bass 2",
    "violin", "viola", "cello", "contrabass", "tremolo strings", "pizzicato strings", "harp", "timpani",
    "string ensemble 1", "string ensemble 2", "synth strings 1", "synth strings 2", "choir aahs", "voice oohs",
    "synth voice", "orchestra hit", "trumpet", "trombone", "tuba", "muted trumpet", "french horn", "brass section",
    "synth brass 1", "synth brass 2", "soprano sax", "alto sax", "tenor sax", "baritone sax", "oboe", "english horn",
    "bassoon", "clarinet", "piccolo", "flute", "recorder", "pan flute", "blown bottle", "shakuhachi", "whistle",
    "ocarina", "square lead", "sawtooth lead", "calliope lead", "chiff lead", "charang lead", "voice lead",
    "fifths lead", "bass and lead", "new age pad", "warm pad", "polysynth pad", "choir pad", "bowed pad",
    "metallic pad", "halo pad", "sweep pad", "rain effect", "soundtrack effect", "crystal effect",
    "atmosphere effect", "brightness effect", "goblins effect", "echoes effect", "sci-fi effect", "sitar", "banjo",
    "shamisen", "koto", "kalimba", "bagpipe", "fiddle", "shanai", "tinkle bell", "agogo", "steel drums", "woodblock",
    "taiko drum", "melodic tom", "synth drum", "reverse cymbal", "guitar fret noise", "breath noise", "seashore",
    "bird tweet", "telephone ring", "helicopter", "applause", "gunshot",
)
# fmt: on

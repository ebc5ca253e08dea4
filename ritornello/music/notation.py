"""Score → MusicXML: notes as a player reads them, with rests, ties, beams, triplets, two staves where a part is wide.

Performed lengths are not what one writes: here every note lasts until the next of its staff, or ends on the grid of
sixteenths (of eighth triplets, in beats whose onsets lie nearer to those). All that begin together are one chord. So a
score is a reading of a song, and the MIDI file stays the song.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from xml.sax.saxutils import escape

import numpy as np
from symusic.core import TrackTick

from ritornello.music.bars import Bars, bars
from ritornello.music.keys import find_key
from ritornello.music.score import Score, tempo_map
from ritornello.music.tracks import SIX, instrument_name

HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">
"""
QUARTER = 12  # divisions
SIXTEENTH, TRIPLET = 3, 4
TYPES = {48: "whole", 36: "half", 24: "half", 18: "quarter", 12: "quarter", 9: "eighth", 6: "eighth", 3: "16th"}
DOTTED = (36, 18, 9)
IN_TRIPLETS = {4: "eighth", 8: "quarter"}
MIDDLE_C = 60
STEPS = "CDEFGAB"
# Where drums stand on the staff, and the shape of their heads: General MIDI key → step, octave, head
KIT = {
    35: ("F", 4, ""), 36: ("F", 4, ""), 37: ("C", 5, "x"), 38: ("C", 5, ""), 39: ("C", 5, "x"), 40: ("C", 5, ""),
    41: ("G", 4, ""), 43: ("A", 4, ""), 45: ("B", 4, ""), 47: ("D", 5, ""), 48: ("E", 5, ""), 50: ("F", 5, ""),
    42: ("G", 5, "x"), 44: ("D", 4, "x"), 46: ("G", 5, "circle-x"), 49: ("A", 5, "x"), 51: ("F", 5, "x"),
    52: ("B", 5, "x"), 53: ("F", 5, "diamond"), 54: ("E", 5, "x"), 55: ("B", 5, "x"), 56: ("E", 5, "triangle"),
    57: ("A", 5, "x"), 59: ("F", 5, "x"),
}  # fmt: skip


@dataclass
class Chord:
    """What one staff plays at one moment: no pitches is a rest. Times in divisions from the start of the bar."""

    start: int
    length: int
    pitches: list[int]
    tied_from: bool = False
    tied_on: bool = False
    triplet: bool = False
    beams: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bar:
    """A bar's place in divisions, and its beats."""

    start: int
    length: int
    beat: int
    metre: tuple[int, int]


def musicxml(score: Score, title: str = "") -> str:
    """The score as a partwise MusicXML 4.0 document. Tracks without notes are left out."""
    grid = _grid(score, bars(score))
    tracks = [track for track in score.tracks if len(track.notes)]
    fifths = _fifths(score)
    heads = [_head(track, f"P{i}", i) for i, track in enumerate(tracks, 1)]
    bodies = [_body(track, f"P{i}", score, grid, fifths, i == 1) for i, track in enumerate(tracks, 1)]
    work = _tag("work", _tag("work-title", escape(title))) if title else ""
    return HEADER + _tag("score-partwise", work, _tag("part-list", *heads), *bodies, version="4.0") + "\n"


def _grid(score: Score, grid: Bars) -> list[Bar]:
    """The bars in divisions."""
    starts = np.rint(grid.starts * QUARTER / score.ticks_per_quarter).astype(int).tolist()
    metres, made = grid.metres.tolist(), []
    sounds = max(int((n["time"] + n["duration"]).max()) for t in score.tracks if len((n := t.notes.numpy())["time"]))
    while sounds * QUARTER / score.ticks_per_quarter - starts[-1] >= QUARTER:  # the last notes ring on
        starts.append(starts[-1] + max(QUARTER * 4 * metres[-1][0] // metres[-1][1], 1))
        metres.append(metres[-1])
    for (start, end), (numerator, denominator) in zip(pairwise(starts), metres, strict=True):
        compound = denominator >= 8 and numerator % 3 == 0 and numerator > 3
        beat = QUARTER * 4 * (3 if compound else 1) // denominator if denominator >= 4 else QUARTER
        made.append(Bar(start, max(end - start, 1), max(beat if compound else QUARTER, 1), (numerator, denominator)))
    return made


def _fifths(score: Score) -> int:
    """Sharps of the key signature, flats below 0: the file's own, or that of the key its notes lean to."""
    if len(score.key_signatures):
        return int(score.key_signatures[0].key)
    key = find_key(score)
    tonic = key.tonic if key.mode == "major" else key.tonic + 3
    return (tonic * 7 + 5) % 12 - 5


# ---- from performed notes to chords --------------------------------------------------------------------------------


def _chords(score: Score, track: TrackTick, grid: Sequence[Bar], keep: range) -> list[list[Chord]]:
    """Every bar's chords and rests of one staff, which plays the pitches in `keep`."""
    columns = track.notes.numpy()
    times = columns["time"] * QUARTER / score.ticks_per_quarter
    ends = times + columns["duration"] * QUARTER / score.ticks_per_quarter
    starts = np.array([bar.start for bar in grid])
    index = np.clip(np.searchsorted(starts, times + 1e-6, "right") - 1, 0, len(grid) - 1)
    ternary = _ternary(times - starts[index], index, grid)
    at: dict[int, tuple[set[int], float]] = {}
    for time, end, pitch, bar in zip(
        times.tolist(), ends.tolist(), columns["pitch"].tolist(), index.tolist(), strict=True
    ):
        if pitch in keep:
            place = _snap(time, grid[bar], ternary)
            pitches, longest = at.get(place, (set(), 0.0))
            at[place] = (pitches | {pitch}, max(longest, end))
    filled: list[list[Chord]] = [[] for _ in grid]
    onsets = sorted(at)
    last = grid[-1].start + grid[-1].length
    for onset, following in zip(onsets, [*onsets[1:], last], strict=True):
        pitches, end = at[onset]
        bar = int(np.searchsorted(starts, onset, "right")) - 1
        stop = _end(onset, end, following, track.is_drum, starts.tolist(), ternary)
        _lay(filled, grid, ternary, bar, onset, stop, sorted(pitches))
    return [_with_rests(chords, bar, ternary) for chords, bar in zip(filled, grid, strict=True)]


def _ternary(places: np.ndarray, index: np.ndarray, grid: Sequence[Bar]) -> set[int]:
    """The beats (their starts) whose onsets lie nearer to eighth triplets than to sixteenths."""
    cost: dict[int, list[float]] = {}
    for place, bar in zip(places.tolist(), index.tolist(), strict=True):
        if grid[bar].beat != QUARTER:
            continue
        beat = int(place // QUARTER) * QUARTER
        if beat + QUARTER > grid[bar].length:
            continue
        inside = place - beat
        two, three = (abs(inside - round(inside / step) * step) for step in (SIXTEENTH, TRIPLET))
        sums = cost.setdefault(grid[bar].start + beat, [0.0, 0.0])
        sums[0] += two
        sums[1] += three
    return {beat for beat, (two, three) in cost.items() if three + 0.5 < two}


def _snap(time: float, bar: Bar, ternary: set[int]) -> int:
    """The nearest place of the grid, in the same bar."""
    beat = bar.start + int(max(time - bar.start, 0) // QUARTER) * QUARTER
    step = TRIPLET if beat in ternary else SIXTEENTH
    place = beat + round((time - beat) / step) * step
    end = bar.start + bar.length
    return place if place < end else max(end - step, beat)


def _end(onset: int, end: float, following: int, drums: bool, starts: Sequence[int], ternary: set[int]) -> int:
    """Where a chord's note ends on paper: at the next chord, or earlier where the rest is worth reading."""
    if drums:  # as a drummer reads: to the next beat at the latest
        start = starts[bisect_right(starts, onset) - 1]
        return min(following, onset + QUARTER - (onset - start) % QUARTER)
    at = max(bisect_right(starts, end) - 1, 0)
    beat = starts[at] + int((end - starts[at]) // QUARTER) * QUARTER
    step = TRIPLET if beat in ternary else SIXTEENTH
    stop = beat + round((end - beat) / step) * step
    return following if following - max(stop, onset) < 2 * SIXTEENTH or stop <= onset else min(stop, following)


def _lay(
    filled: list[list[Chord]],
    grid: Sequence[Bar],
    ternary: set[int],
    bar: int,
    onset: int,
    stop: int,
    pitches: list[int],
) -> None:
    """Put one chord into its bars, cut into lengths that can be written, tied."""
    pieces = []
    while onset < stop and bar < len(grid):
        here = grid[bar]
        end = min(stop, here.start + here.length)
        pieces += [(bar, *piece) for piece in _pieces(onset, end, here, ternary)]
        onset, bar = end, bar + 1
    for number, (where, start, length, triplet) in enumerate(pieces):
        chord = Chord(start - grid[where].start, length, pitches, number > 0, number < len(pieces) - 1, triplet)
        filled[where].append(chord)


def _pieces(onset: int, stop: int, bar: Bar, ternary: set[int]) -> Iterator[tuple[int, int, bool]]:
    """[onset, stop) of one bar in lengths that have a note value: start, length, whether it is in a triplet."""
    while onset < stop:
        inside = (onset - bar.start) % bar.beat
        beat = onset - inside
        if beat in ternary:
            length = min(stop, beat + QUARTER) - onset
            length = QUARTER if length == QUARTER else 8 if length >= 8 else 4 if length >= 4 else length
            yield onset, length, length != QUARTER
        else:
            free = stop - onset
            if inside:
                free = min(free, bar.beat - inside)
            else:
                whole = next((b for b in range(beat, stop, bar.beat) if b in ternary), stop)
                free = min(free, max(whole - onset, bar.beat))
            length = next((value for value in TYPES if value <= free), free)
            yield onset, length, False
        onset += length


def _with_rests(chords: list[Chord], bar: Bar, ternary: set[int]) -> list[Chord]:
    """The bar filled up; with beams over what belongs together."""
    full, at = [], 0
    for chord in [*chords, Chord(bar.length, 0, [])]:
        for start, length, triplet in _pieces(bar.start + at, bar.start + chord.start, bar, ternary):
            full.append(Chord(start - bar.start, length, [], triplet=triplet))
        full.append(chord)
        at = chord.start + chord.length
    full.pop()
    groups: dict[int, list[Chord]] = {}
    for chord in full:
        groups.setdefault(chord.start // bar.beat, []).append(chord)
    for group in groups.values():
        _beam(group)
    return full


def _flags(chord: Chord) -> int:
    if not chord.pitches:
        return 0
    kind = (IN_TRIPLETS if chord.triplet else TYPES).get(chord.length, "")
    return {"eighth": 1, "16th": 2}.get(kind, 0)


def _beam(group: Sequence[Chord]) -> None:
    """Beams over the flagged notes of a beat that follow each other."""
    for level in (1, 2):
        run: list[Chord] = []
        for chord in [*group, Chord(0, 0, [])]:
            if _flags(chord) >= level and (level == 1 or 1 in chord.beams):
                run.append(chord)
                continue
            if len(run) > 1:
                for place, member in enumerate(run):
                    member.beams[level] = "begin" if place == 0 else "end" if place == len(run) - 1 else "continue"
            elif run and level == 2:
                run[0].beams[2] = "backward hook" if run[0].beams[1] == "end" else "forward hook"
            run = []


# ---- as XML ----------------------------------------------------------------------------------------------------------


def _tag(name: str, *content: str | int, **attributes: str | int) -> str:
    """An element; of an attribute's name, "_" is a hyphen. Content is XML already."""
    told = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in attributes.items())
    inside = "".join(map(str, content))
    return f"<{name}{told}>{inside}</{name}>" if inside else f"<{name}{told}/>"


def _head(track: TrackTick, id: str, number: int) -> str:
    """The part's entry in the list."""
    name = track.name if track.name in SIX else track.name.strip() or instrument_name(track)
    if track.is_drum:
        used = sorted(set(track.notes.numpy()["pitch"].tolist()))
        voices = [(f"{id}-D{key}", f"drum {key}", 10, _tag("midi-unpitched", key + 1)) for key in used]
    else:
        channel = (number - 1) % 15 + 1
        channel += channel >= 10  # 10 is for drums
        voices = [(f"{id}-I", escape(instrument_name(track)), channel, _tag("midi-program", track.program + 1))]
    instruments = [_tag("score-instrument", _tag("instrument-name", title), id=voice) for voice, title, _, _ in voices]
    midi = [_tag("midi-instrument", _tag("midi-channel", at), sound, id=voice) for voice, _, at, sound in voices]
    return _tag("score-part", _tag("part-name", escape(name.capitalize())), *instruments, *midi, id=id)


def _body(track: TrackTick, id: str, score: Score, grid: Sequence[Bar], fifths: int, first: bool) -> str:
    """All bars of a part; the first carries the tempo."""
    pitches = track.notes.numpy()["pitch"]
    wide = not track.is_drum and pitches.min() < MIDDLE_C - 7 and pitches.max() > MIDDLE_C + 7
    single = "percussion" if track.is_drum else "F4" if pitches.mean() < MIDDLE_C - 5 else "G2"
    clefs = ["G2", "F4"] if wide else [single]
    keep = [range(MIDDLE_C, 128), range(MIDDLE_C)] if wide else [range(128)]
    staves = [_chords(score, track, grid, some) for some in keep]
    tempos = _tempos(score, grid) if first else {}
    pen = _Pen(id, track.is_drum, fifths)
    measures = []
    for number, bar in enumerate(grid):
        content = [_attributes(number, grid, fifths, clefs), tempos.get(number, "")]
        for staff, chords in enumerate(staves, 1):
            content += [_tag("backup", _tag("duration", bar.length))] if staff > 1 else []
            content += pen.voice(chords[number], staff if wide else 0, bar)
        measures.append(_tag("measure", *content, number=number + 1))
    return _tag("part", *measures, id=id)


def _attributes(number: int, grid: Sequence[Bar], fifths: int, clefs: Sequence[str]) -> str:
    """Metre, and before the first bar key and clefs."""
    metre = grid[number].metre
    time = _tag("time", _tag("beats", metre[0]), _tag("beat-type", metre[1]))
    if number:
        return _tag("attributes", time) if metre != grid[number - 1].metre else ""
    signs = [
        _tag("clef", _tag("sign", "percussion"))
        if clef == "percussion"
        else _tag("clef", _tag("sign", clef[0]), _tag("line", clef[1]), number=staff)
        for staff, clef in enumerate(clefs, 1)
    ]
    key = _tag("key", _tag("fifths", 0 if clefs[0] == "percussion" else fifths))
    staves = _tag("staves", len(clefs)) if len(clefs) > 1 else ""
    return _tag("attributes", _tag("divisions", QUARTER), key, time, staves, *signs)


def _tempos(score: Score, grid: Sequence[Bar]) -> dict[int, str]:
    """Metronome marks, by bar: at the beginning, and where the tempo has changed by a twentieth or more."""
    ticks, tempos = tempo_map(score)
    marks, shown = {}, 0.0
    for number, bar in enumerate(grid):
        index = int(np.searchsorted(ticks, bar.start * score.ticks_per_quarter / QUARTER + 1, "right")) - 1
        tempo = 60e6 / int(tempos[max(index, 0)])
        if shown == 0 or abs(tempo / shown - 1) >= 0.05:
            shown = tempo
            mark = _tag("metronome", _tag("beat-unit", "quarter"), _tag("per-minute", f"{tempo:.0f}"))
            sound = _tag("sound", tempo=f"{tempo:.2f}")
            marks[number] = _tag("direction", _tag("direction-type", mark), sound, placement="above")
    return marks


@dataclass(frozen=True)
class _Pen:
    """Writes the notes of one part."""

    id: str
    drums: bool
    fifths: int

    def voice(self, chords: Sequence[Chord], staff: int, bar: Bar) -> list[str]:
        """The notes of one staff in one bar."""
        where = _tag("staff", staff) if staff else ""
        voice = _tag("voice", staff or 1)
        if not any(chord.pitches for chord in chords):
            return [_tag("note", _tag("rest", measure="yes"), _tag("duration", bar.length), voice, where)]
        notes = []
        for chord in chords:
            notes += [self.note(chord, pitch, i == 0, voice, where) for i, pitch in enumerate(chord.pitches or [None])]
        return notes

    def note(self, chord: Chord, pitch: int | None, first: bool, voice: str, staff: str) -> str:
        """One note of a chord, or a rest, its parts in the order that the format wants."""
        kind = (IN_TRIPLETS if chord.triplet else TYPES).get(chord.length, "")
        ties = [*(["stop"] if chord.tied_from else []), *(["start"] if chord.tied_on else [])]
        what, head = self._pitch(pitch)
        beams = [_tag("beam", word, number=level) for level, word in sorted(chord.beams.items())]
        notations = [*(_tag("tied", type=end) for end in ties), *(_bracket(chord) if first else [])]
        return _tag(
            "note",
            "" if first else _tag("chord"),
            what,
            _tag("duration", chord.length),
            *(_tag("tie", type=end) for end in ties),
            "" if pitch is None else _tag("instrument", id=f"{self.id}-{f'D{pitch}' if self.drums else 'I'}"),
            voice,
            _tag("type", kind) if kind else "",
            _tag("dot") if chord.length in DOTTED and not chord.triplet else "",
            _tag("time-modification", _tag("actual-notes", 3), _tag("normal-notes", 2)) if chord.triplet else "",
            head,
            staff,
            *(beams if first else []),
            _tag("notations", *notations) if notations else "",
        )

    def _pitch(self, pitch: int | None) -> tuple[str, str]:
        """What is played, and the shape of its head."""
        if pitch is None:
            return _tag("rest"), ""
        if self.drums:
            step, octave, shape = KIT.get(pitch, ("E", 4, "diamond"))
            what = _tag("unpitched", _tag("display-step", step), _tag("display-octave", octave))
            return what, _tag("notehead", shape) if shape else ""
        return _spelled(pitch, self.fifths), ""


def _bracket(chord: Chord) -> list[str]:
    """Where a triplet's bracket begins and ends."""
    begins = chord.triplet and chord.start % QUARTER == 0
    ends = chord.triplet and (chord.start + chord.length) % QUARTER == 0
    return [_tag("tuplet", type=end) for end, here in (("start", begins), ("stop", ends)) if here]


def _spelled(pitch: int, fifths: int) -> str:
    """A pitch by its name in the key: from three flats to eight sharps of the tonic on the line of fifths."""
    place = next(f for f in range(fifths - 3, fifths + 9) if f * 7 % 12 == pitch % 12)
    letter = STEPS[place * 4 % 7]
    alter = (place + 1) // 7
    octave = (pitch - alter) // 12 - 1
    return _tag("pitch", _tag("step", letter), _tag("alter", alter) if alter else "", _tag("octave", octave))

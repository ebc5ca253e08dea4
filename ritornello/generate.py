"""Request → drafts → Songs: from nothing, or from the first bars of one's own MIDI file."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from symusic.core import TempoTick

from ritornello.data.batch import TokenBatch, collate, unbatch
from ritornello.errors import ConfigError, MusicError
from ritornello.models.base import DecoderLM
from ritornello.music.keys import Key, find_key, transposition_to_c
from ritornello.music.score import MusicWarning, Score, read
from ritornello.music.tracks import PROGRAMS
from ritornello.representations.base import Representation, Tokens
from ritornello.representations.vocabulary import BOS, EOS, Vocabulary
from ritornello.request import Request
from ritornello.sampling.autoregress import autoregress
from ritornello.sampling.candidates import Candidates, candidate_seeds
from ritornello.sampling.density import Fullness, densities
from ritornello.sampling.form import Origin, form_of, origins, sections
from ritornello.sampling.forms import drawn, fits
from ritornello.sampling.grammar import Grammar
from ritornello.sampling.keys import in_c, towards
from ritornello.sampling.logits import Processor, lean, min_p, seeded, temperature, top_k, top_p
from ritornello.sampling.returning import Returning
from ritornello.sampling.strict import MelodyGrammar, VoicesGrammar
from ritornello.song import Song

EMPTY_BARS = 2  # in a row, at most: of human bars 0.2 % are empty
STRICT = {"melody": MelodyGrammar, "voices": VoicesGrammar}  # grammars of representations without instruments


@dataclass(frozen=True)
class Draft:
    """The songs of a request as far as they are written: complete bars only."""

    tokens: tuple[Tokens, ...]
    bars: int
    """Bars complete in every song that is still being written; once all have ended, of the longest."""
    done: bool
    taken: float
    """Seconds since the request."""
    request: Request
    representation: Representation
    remarks: tuple[str, ...] = ()
    """Sentences about what was changed on the way."""

    def songs(self) -> list[Song]:
        """What one can hear of it."""
        return [
            Song(score, self.request.seed + i, self.taken, (*self.remarks, *self._on_key(score)))
            for i, score in enumerate(map(self._score, self.tokens))
        ]

    def _score(self, tokens: Tokens) -> Score:
        score = self.representation.decode(tokens)
        if self.request.tempo and not self.request.prompt:
            score.tempos.clear()  # the nearest that there is a token for; the one asked for instead
            score.tempos.append(TempoTick(0, qpm=self.request.tempo))
        return score

    def _on_key(self, score: Score) -> tuple[str, ...]:
        if self.request.key is None or not self.done or (found := find_key(score)) == Key.parse(self.request.key):
            return ()
        return (f"{self.request.key} was asked for; the notes lean to {found}.",)


def generate(model: DecoderLM, representation: Representation, request: Request) -> Iterator[Draft]:
    """Write the songs asked for; a draft whenever every song has another bar, and at last the songs themselves.

    Where `request.bars` is given, each song has exactly as many. Song i is the one that seed + i alone would give.

    Raises: ConfigError for a wish that this representation or these limits cannot meet; MusicError for a MIDI file that
    cannot be read.
    """
    start = time.monotonic()
    forms = _forms(model, representation, request)
    if request.form_of and request.bars is None:
        request = request.model_copy(update={"bars": len(forms[0])})
    begin = Opening.of_prompt if request.prompt else Opening.of_nothing
    opening = begin(representation, request)
    candidates = _candidates(model, request, opening)
    each = candidates.count if candidates else 1
    grammar = _grammar(representation, request, opening, request.count * each)
    prompt = collate([opening.tokens] * request.count * each).to(next(model.parameters()).device)
    seeds = [s for song in range(request.count) for s in candidate_seeds(request.seed + song, each)]
    training, threads = model.training, torch.get_num_threads()
    model.eval()
    player = model.player(prompt, seeds, request.bars)
    if forms:
        faithful = model.config.faithful if request.faithful is None else request.faithful
        of_rows = [form for form in forms for _ in range(each)]
        player = Returning(player, representation.vocabulary, of_rows, faithful, opening.instruments or ())
    torch.set_num_threads(1)  # a step is many small products: handing them to other threads costs more than it gains
    try:
        processors = _processors(model, representation, request, bool(forms))
        for draft in autoregress(player, prompt, grammar, processors, seeded(seeds), candidates):
            batch = TokenBatch(draft.ids, draft.bars, draft.positions, draft.countdown, draft.lengths)
            rows = unbatch(batch, [opening.tokens.meta] * request.count)
            done, taken = bool(draft.done.all()), time.monotonic() - start
            chosen = draft.complete if candidates and not done else None  # later bars may yet be chosen otherwise
            songs = tuple(_complete(row, chosen) for row in rows)
            yield Draft(songs, draft.complete, done, taken, request, representation, opening.remarks)
    finally:
        model.train(training)
        torch.set_num_threads(threads)


def _forms(model: DecoderLM, representation: Representation, request: Request) -> list[list[Origin]]:
    """Of every song where each of its bars comes from; nothing where songs are free."""
    vocabulary = representation.vocabulary
    places, planned = "Position" in vocabulary.families, fits(vocabulary)
    for name, there in (("form", places), ("form_of", places), ("planned", planned)):
        if (wish := getattr(request, name)) and not there:
            raise ConfigError(f"{name} = {wish}: this model's songs have no form to ask for; leave it out.")
    if request.form:
        return [origins(sections(request.form, request.bars))] * request.count
    if request.form_of:
        return [_form_of(request.form_of, representation)] * request.count
    if request.planned or (request.planned is None and model.config.planned and planned):
        seeds = range(request.seed, request.seed + request.count)
        return [drawn(seed, request.bars, vocabulary) for seed in seeds]
    return []


def _form_of(path: Path, representation: Representation) -> list[Origin]:
    """The form of a MIDI file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MusicWarning)  # of notes, of which none is taken over
            return form_of(representation.encode(read(path)), representation.vocabulary)
    except MusicError as error:
        raise MusicError(f"{path} gives no form: {error}") from None


def _candidates(model: DecoderLM, request: Request, opening: Opening) -> Candidates | None:
    """Where a density is asked for: who chooses among the candidates of every bar that follows the opening."""
    if request.density is None:
        return None
    if not model.divisible:
        raise ConfigError(f"density = {request.density}: this model writes one candidate of a bar; leave it out.")
    wishes = densities(request.density, request.bars)
    named = {name: _instruments(model.vocabulary, [name], "density") for *_, name in wishes if name}
    for name, tokens in named.items():
        if opening.instruments is not None and not set(tokens) & set(opening.instruments):
            raise ConfigError(f"density = {request.density}: {name} is not among those that may play; add it.")
    judge = Fullness(model.vocabulary, wishes, named)
    begun = int(opening.tokens.bars[-1])
    return Candidates(request.count, request.candidates, judge, begun, judge.last) if begun < judge.last else None


def _grammar(representation: Representation, request: Request, opening: Opening, rows: int) -> Any:
    """What the songs keep to: a `Grammar`, or a `StrictGrammar` of one voice or four."""
    vocabulary = representation.vocabulary
    sizes = {"bars": request.bars, "max_tokens": request.budget}
    if strict := STRICT.get(representation.name):
        return strict(vocabulary, rows, key=_key(vocabulary, request.key), **sizes)
    return Grammar(
        vocabulary,
        rows,
        **sizes,
        tempo=opening.tempo,
        instruments=opening.instruments,
        ranges=_ranges(vocabulary, opening.tokens.meta["transposition"]),
        empty_bars=EMPTY_BARS,
    )


def finish(drafts: Iterator[Draft]) -> list[Song]:
    """The songs of the last draft."""
    *_, last = drafts
    return last.songs()


@dataclass(frozen=True)
class Opening:
    """What the songs begin with, and what they must keep to."""

    tokens: Tokens
    tempo: int | None  # Tempo token
    instruments: Sequence[int] | None  # Instrument tokens
    remarks: tuple[str, ...] = ()

    @staticmethod
    def of_nothing(representation: Representation, request: Request) -> Opening:
        """BOS, in the key asked for."""
        vocabulary = representation.vocabulary
        key = Key.parse(request.key) if request.key and in_c(vocabulary) else None
        meta = {"transposition": transposition_to_c(key) if key else 0}
        one = np.ones(1, np.int16)
        tokens = Tokens(BOS * one, 0 * one.astype(np.int32), 0 * one, np.zeros((1, 0), np.int16), _told(meta, request))
        may_play = _instruments(vocabulary, request.instruments) if request.instruments else None
        return Opening(tokens, _tempo(vocabulary, request.tempo), may_play)

    @staticmethod
    def of_prompt(representation: Representation, request: Request) -> Opening:
        """The first bars of the prompt and the bar line after them; its key, last tempo and instruments."""
        assert request.prompt is not None
        if request.key:
            raise ConfigError(f"key = {request.key}: a song keeps the key of its prompt; leave one of the two out.")
        vocabulary = representation.vocabulary
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", MusicWarning)
            score = read(request.prompt)
        try:
            song = representation.encode(score)
        except MusicError as error:
            raise MusicError(f"{request.prompt} cannot be continued: {error}") from None
        has = int(song.bars[-1]) + 1
        bars = min(request.prompt_bars or has, has)
        if request.bars is not None and request.bars <= bars:
            raise ConfigError(
                f"bars = {request.bars}: the whole song, prompt included, should have more bars than the {bars} of its "
                "prompt; ask for more bars or fewer prompt_bars."
            )
        kept = song.ids[(song.bars < bars) & (song.ids != EOS)]
        tokens = _cut(song, len(kept), bars, vocabulary.id("Bar"), _told(song.meta, request))
        playing = sorted(set(song.ids.tolist()) & set(_ids(vocabulary, "Instrument")))
        tempo = ([None] + [id for id in kept.tolist() if id in _ids(vocabulary, "Tempo")])[-1]
        remarks = [str(warning.message) for warning in caught if issubclass(warning.category, MusicWarning)]
        return Opening(
            tokens,
            tempo if request.tempo is None else _tempo(vocabulary, request.tempo),
            _instruments(vocabulary, request.instruments) if request.instruments else (playing or None),
            (*remarks, *_on_prompt(vocabulary, song.meta, request.prompt, bars, has, playing)),
        )


def _cut(song: Tokens, length: int, bars: int, bar: int, meta: dict[str, Any]) -> Tokens:
    """The first `length` tokens of a song, which are `bars` bars, and one Bar token more: they are complete."""
    return Tokens(
        np.append(song.ids[:length], np.int16(bar)),
        np.append(song.bars[:length], np.int32(bars)),
        np.append(song.positions[:length], np.int16(0)),
        song.attributes[: bars + 1],
        meta,
    )


def _complete(song: Tokens, bars: int | None) -> Tokens:
    """The first bars of a song; by default all, less the one that is being written."""
    if bars is None:
        if song.ids[-1] == EOS:
            return song
        bars = int(song.bars[-1])
    length = int(np.searchsorted(song.bars, bars))
    parts = {name: getattr(song, name)[:length] for name in ("ids", "bars", "positions")}
    return replace(song, **parts, attributes=song.attributes[:bars])


def _told(meta: dict[str, Any], request: Request) -> dict[str, Any]:
    """Meta that tells how many bars the song is to have, from which its countdown comes."""
    told = {key: value for key, value in meta.items() if key != "bars"}
    if request.tempo is not None:
        told["tempo"] = request.tempo
    return told if request.bars is None else {**told, "bars": request.bars}


def _on_prompt(
    vocabulary: Vocabulary, meta: dict[str, Any], path: Path, bars: int, has: int, playing: Sequence[int]
) -> Iterator[str]:
    """Sentences: what is continued, and what became of the file on the way into the representation."""
    place = f"bar {bars}" if bars < has else f"its {has} bars"
    names = ", ".join(_name(vocabulary, id) for id in playing)
    key = f"in {meta['key']}, " if "key" in meta else ""
    with_whom = f", with {names}" if names else ""
    yield f"{path.name} goes on after {place}: {key}at {meta['tempo']:.0f} quarters a minute{with_whom}."
    if meta.get("left_out"):
        yield f"{meta['left_out']} notes below its top line were left out."
    yield from str(meta.get("merged", "")).splitlines()
    if meta.get("leading_bars"):
        yield f"{meta['leading_bars']} empty bars before its first note were left out."
    if meta.get("tempo_clipped"):
        yield f"The tempo of {meta['tempo_clipped']} of its bars was out of range and is the nearest there is."


# Wishes in words → tokens


def _ids(vocabulary: Vocabulary, family: str) -> range:
    """The ids of a family, none where it is not there."""
    return vocabulary.range(family) if family in vocabulary.families else range(0)


def _key(vocabulary: Vocabulary, key: str | None) -> int | None:
    """The Key token."""
    return None if key is None else vocabulary.id("Key", str(Key.parse(key)))


def _tempo(vocabulary: Vocabulary, tempo: float | None) -> int | None:
    """The nearest Tempo token."""
    if tempo is None or "Tempo" not in vocabulary.families:  # a song without Tempo tokens has it in its meta
        return None
    tempos = np.array(vocabulary.labels("Tempo"), float)
    if not tempos[0] <= tempo <= tempos[-1]:
        raise ConfigError(f"tempo = {tempo:g}: should be from {tempos[0]:g} to {tempos[-1]:g} quarters a minute.")
    return vocabulary.range("Tempo")[int(np.abs(np.log(tempos / tempo)).argmin())]


def _instruments(vocabulary: Vocabulary, names: Sequence[str], wish: str = "instruments") -> list[int]:
    """Instrument tokens: by the vocabulary's own names, or by General MIDI's names, a part of one, or its number."""
    ids = _ids(vocabulary, "Instrument")
    if not ids:
        raise ConfigError(f"{wish} = {', '.join(names)}: this model has no instruments to choose; leave it out.")
    found: set[int] = set()
    for name in names:
        matches = {id for id in ids if name == str(vocabulary.labels("Instrument")[id - ids.start])}
        matches = matches or {id for id in ids if name == _name(vocabulary, id)}
        matches = matches or {id for id in ids if not in_c(vocabulary) and name in _name(vocabulary, id)}
        if not matches:
            known = ", ".join(map(str, vocabulary.labels("Instrument")))
            known = known if in_c(vocabulary) else "General MIDI's names (flute), its programs 0 to 127, and drums"
            raise ConfigError(f"{wish} = {name}: there is no such instrument; there are {known}.")
        found |= matches
    return sorted(found)


def _name(vocabulary: Vocabulary, id: int) -> str:
    """An instrument in words."""
    label = vocabulary.labels("Instrument")[id - vocabulary.range("Instrument").start]
    return PROGRAMS[label] if isinstance(label, int) else str(label)


def _ranges(vocabulary: Vocabulary, transposition: int) -> dict[int, tuple[int, int]]:
    """The keys of each instrument that are still keys when the song is shifted back by `transposition` semitones."""
    return {id: (max(0, transposition), 127 + min(0, transposition)) for id in _ids(vocabulary, "Instrument")}


def _processors(model: DecoderLM, representation: Representation, request: Request, formed: bool) -> list[Processor]:
    """What is done to the logits, in turn. `formed`: songs have forms."""
    processors = [temperature(request.temperature or model.temperature)]
    if request.key and "Key" not in representation.vocabulary.families:
        processors.append(lean(towards(representation.vocabulary, Key.parse(request.key))))
    if request.top_k:
        processors.append(top_k(request.top_k))
    elif request.top_k is None:
        # What has a form comes back anyway; its notes may be as long and as loud as they are
        processors.append(top_k(model.config.few, representation.vocabulary.range("Pitch") if formed else None))
    if request.top_p < 1:
        processors.append(top_p(request.top_p))
    if request.min_p:
        processors.append(min_p(request.min_p))
    return processors

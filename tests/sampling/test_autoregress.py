"""The token loop, with models that know nothing: what comes out is well-formed all the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ritornello.data.batch import TokenBatch, collate, unbatch
from ritornello.errors import ConfigError, RitornelloError
from ritornello.representations import build
from ritornello.representations.base import Representation, Tokens
from ritornello.representations.vocabulary import EOS
from ritornello.sampling.autoregress import Draft, autoregress
from ritornello.sampling.grammar import Grammar
from ritornello.sampling.logits import seeded, top_k
from tests.sampling.wellformed import Deaf, fault, notes, walk

BOS = 1


@pytest.fixture(params=["museformer", "remi"])
def representation(request: pytest.FixtureRequest) -> Representation:
    return build(request.param)


def begin(rows: int, bars: int | None = None) -> TokenBatch:
    """Songs of which nothing is written."""
    one = np.ones(1, np.int16)
    meta = {} if bars is None else {"bars": bars}
    return collate([Tokens(one, 0 * one.astype(np.int32), 0 * one, np.zeros((1, 0), np.int16), meta)] * rows)


def play(representation: Representation, seeds=(0,), model=None, processors=(), bars=None, **wishes) -> list[Draft]:
    grammar = Grammar(representation.vocabulary, len(seeds), bars=bars, **wishes)
    model = model or Deaf(representation.vocabulary)
    return list(autoregress(model, begin(len(seeds), bars), grammar, processors, seeded(seeds)))


def songs(draft: Draft) -> list[Tokens]:
    return unbatch(TokenBatch(draft.ids, draft.bars, draft.positions, draft.countdown, draft.lengths))


def rows(draft: Draft) -> list[list[int]]:
    return [ids[:length].tolist() for ids, length in zip(draft.ids, draft.lengths, strict=True)]


@pytest.mark.parametrize("processors", [[], [top_k(8)]], ids=["temperature 1", "top-k 8"])
def test_of_200_songs_200_decode(representation: Representation, processors: list):
    """As they are: nothing is mended on the way, and no note is lost."""
    vocabulary = representation.vocabulary
    for seed in range(0, 200, 20):
        model = Deaf(vocabulary, seed)
        last = play(representation, range(seed, seed + 20), model, processors, bars=3, max_tokens=300)[-1]
        assert last.done.all()
        for song, tokens in zip(rows(last), songs(last), strict=True):
            assert fault(vocabulary, song, 3) is None
            assert representation.decode(tokens).note_num() == notes(vocabulary, song) > 0


def test_without_a_number_of_bars_every_song_ends(representation: Representation):
    last = play(representation, range(20), max_tokens=200)[-1]
    assert last.done.all()
    assert int(last.lengths.max()) <= 200
    assert all(fault(representation.vocabulary, song) is None for song in rows(last))


def test_who_would_go_on_behind_the_last_bar_ends(representation: Representation):
    """A model that never thinks of ending, and begins a bar as soon as it may."""
    model, vocabulary = Deaf(representation.vocabulary), representation.vocabulary
    model.logits[:, vocabulary.id("Bar")], model.logits[:, EOS] = 50.0, -50.0
    last = play(representation, [0, 1], model, bars=3, max_tokens=2000)[-1]
    counts = torch.stack([(last.bars == bar).sum(1) for bar in range(3)], 1)  # the first has BOS, the last EOS
    assert int(counts.max()) <= 12


def test_a_song_depends_on_its_seed_alone(representation: Representation):
    together = rows(play(representation, [4, 5, 6], bars=2, max_tokens=300)[-1])
    assert together == rows(play(representation, [4, 5, 6], bars=2, max_tokens=300)[-1])
    assert [together[1]] == rows(play(representation, [5], bars=2, max_tokens=300)[-1])
    assert together[0] != together[1]


def test_the_model_hears_every_token_in_its_place(representation: Representation):
    model = Deaf(representation.vocabulary)
    last = play(representation, [0, 1], model, bars=3, max_tokens=300)[-1]
    written = torch.stack([last.ids, last.bars, last.positions, last.countdown])
    for row, length in enumerate(last.lengths.tolist()):  # not the prompt, not EOS, and nothing once the song has ended
        heard = [tokens[:, rows.index(row)] for rows, tokens in model.heard if row in rows]
        assert torch.equal(torch.stack(heard, -1), written[:, row, 1 : length - 1])
    song = songs(last)[0]
    again = collate([Tokens(song.ids, song.bars, song.positions, song.attributes, {"bars": 3})])
    for name in ("ids", "bars", "positions", "countdown"):
        assert torch.equal(getattr(again, name)[0], getattr(last, name)[0, : len(song)])


def test_a_draft_after_every_bar(representation: Representation):
    drafts = play(representation, [0, 1, 2], bars=4, max_tokens=300)
    assert [draft.complete for draft in drafts] == [1, 2, 3, 4]
    assert [bool(draft.done.all()) for draft in drafts] == [False, False, False, True]
    for draft in drafts:
        for early, final in zip(rows(draft), rows(drafts[-1]), strict=True):
            assert early == final[: len(early)]
        padding = torch.arange(draft.ids.shape[1]) >= draft.lengths[:, None]
        assert not draft.ids[padding].any()
        assert (draft.bars.diff(dim=1) >= 0).all()


def test_closing_the_iterator_stops_and_grad_mode_does_not_leak():
    representation = build("museformer")
    model = Deaf(representation.vocabulary)
    grammar = Grammar(representation.vocabulary, bars=100, max_tokens=9000)
    songs = autoregress(model, begin(1, 100), grammar, [], seeded([0]))
    draft = next(songs)
    assert not torch.is_inference_mode_enabled()
    assert not draft.ids.is_inference()
    songs.close()  # type: ignore[attr-defined]
    steps = len(model.heard)
    assert steps < 1000
    assert list(songs) == []
    assert len(model.heard) == steps


def test_prompts_of_unequal_length_are_continued(representation: Representation):
    vocabulary = representation.vocabulary
    prompts = [
        walk(Grammar(vocabulary, bars=4), vocabulary, np.random.default_rng(seed), [BOS], 10 + 25 * seed)
        for seed in range(3)
    ]
    longest = max(map(len, prompts))
    fields = np.zeros((4, 3, longest), np.int64)
    for row, prompt in enumerate(prompts):
        place = Grammar(vocabulary, bars=4)
        for column, id in enumerate(prompt):
            place.advance(np.array([id]))
            fields[:, row, column] = [id, *place.place()[:, 0]]
    ids, bars, positions, countdown = torch.from_numpy(fields)
    batch = TokenBatch(ids, bars, positions, countdown, torch.tensor([len(prompt) for prompt in prompts]))
    grammar = Grammar(vocabulary, 3, bars=4, max_tokens=400)
    *_, last = autoregress(Deaf(vocabulary), batch, grammar, [], seeded(range(3)))
    for prompt, song in zip(prompts, rows(last), strict=True):
        assert song[: len(prompt)] == prompt
        assert fault(vocabulary, song, 4) is None
        assert song[-1] == 2


def test_a_prompt_too_long_for_the_budget_is_one_sentence(representation: Representation):
    vocabulary = representation.vocabulary
    song = walk(Grammar(vocabulary, bars=9), vocabulary, np.random.default_rng(0), [BOS], 60)
    ids = torch.tensor([song])
    prompt = TokenBatch(ids, 0 * ids, 0 * ids, 0 * ids, torch.tensor([len(song)]))
    songs = autoregress(Deaf(vocabulary), prompt, Grammar(vocabulary, bars=9, max_tokens=80), [], seeded([0]))
    with pytest.raises(ConfigError, match=r"max_tokens = 80 is too few"):
        next(songs)


def test_a_model_that_predicts_nan_is_one_sentence(representation: Representation):
    model = Deaf(representation.vocabulary)
    model.logits[5] = torch.nan
    with pytest.raises(RitornelloError, match="NaN"):
        play(representation, [0, 1], model, bars=4)

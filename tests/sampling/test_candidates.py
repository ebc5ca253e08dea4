"""Candidates of every bar: who is judged, who is kept, and that what comes of it is one well-formed song."""

from __future__ import annotations

import numpy as np

from ritornello.data.batch import TokenBatch, unbatch
from ritornello.representations import build
from ritornello.sampling.autoregress import Draft, Page, autoregress
from ritornello.sampling.candidates import Candidates
from ritornello.sampling.grammar import Grammar
from ritornello.sampling.logits import seeded
from tests.sampling.test_autoregress import begin
from tests.sampling.wellformed import Deaf, fault

VOCABULARY = build("museformer").vocabulary
BARS = 5


def drafts_of(seeds: list[int], candidates: Candidates | None, model: Deaf | None = None) -> list[Draft]:
    grammar, model = Grammar(VOCABULARY, len(seeds), bars=BARS, max_tokens=800), model or Deaf(VOCABULARY)
    return list(autoregress(model, begin(len(seeds), BARS), grammar, [], seeded(seeds), candidates))


def ids_of(draft: Draft) -> list[list[int]]:
    return [ids[:length].tolist() for ids, length in zip(draft.ids, draft.lengths, strict=True)]


class Recorder:
    """Likes what `liked` says of a bar's tokens most, and keeps what it was shown and chose."""

    def __init__(self, liked) -> None:
        self.liked, self.kept = liked, {}

    def __call__(self, song: int, bar: int, drafts) -> list[float]:
        assert all(draft[1, -1] == bar for draft in drafts)
        found = [float(self.liked(draft[0, draft[1] == bar])) for draft in drafts]
        self.kept[song, bar] = drafts[int(np.argmax(found))][0]
        return found


def test_what_is_judged_best_is_in_the_song():
    judge = Recorder(len)
    last = drafts_of(list(range(8)), Candidates(2, 4, judge))[-1]
    assert last.done.all()
    assert sorted(judge.kept) == [(song, bar) for song in range(2) for bar in range(BARS)]
    rows = ids_of(last)
    assert len(rows) == 2
    for song, row in enumerate(rows):
        assert fault(VOCABULARY, row, BARS) is None
        for bar in range(BARS):
            kept = judge.kept[song, bar].tolist()
            assert row[: len(kept)] == kept


def test_the_best_of_four_is_better():
    lengths = [
        drafts_of(list(range(8)), Candidates(2, 4, Recorder(sign)))[-1].lengths for sign in (len, lambda x: -len(x))
    ]
    assert lengths[0].min() > lengths[1].max()


def test_a_song_depends_on_its_own_seeds_alone():
    together = ids_of(drafts_of(list(range(8)), Candidates(2, 4, Recorder(np.sum)))[-1])
    alone = ids_of(drafts_of([4, 5, 6, 7], Candidates(1, 4, Recorder(np.sum)))[-1])
    assert together[1:] == alone


def test_one_candidate_is_none():
    one = drafts_of([3, 9], Candidates(2, 1, Recorder(len)))[-1]
    assert ids_of(one) == ids_of(drafts_of([3, 9], None)[-1])


def test_a_song_is_done_when_all_its_candidates_are():
    grammar = Grammar(VOCABULARY, 4, bars=BARS, max_tokens=800)
    page = Page(begin(4, BARS), grammar)
    grammar.end(np.array([0, 2, 3]))
    assert page.draft(2).done.tolist() == [False, True]


def test_complete_bars_are_settled():
    """What a draft says is complete stays."""
    drafts = drafts_of(list(range(6)), Candidates(2, 3, Recorder(len)))
    assert [draft.complete for draft in drafts] == list(range(1, BARS + 1))
    final = songs(drafts[-1])
    for draft in drafts:
        for early, song in zip(songs(draft), final, strict=True):
            settled = early.bars < draft.complete
            assert np.array_equal(early.ids[settled], song.ids[: settled.sum()])


def songs(draft: Draft) -> list:
    return unbatch(TokenBatch(draft.ids, draft.bars, draft.positions, draft.countdown, draft.lengths))


def test_after_the_last_choice_one_row_goes_on():
    judge, model = Recorder(len), Deaf(VOCABULARY)
    drafts = drafts_of(list(range(8)), Candidates(2, 4, judge, until=2), model)
    assert sorted(judge.kept) == [(song, bar) for song in range(2) for bar in range(2)]
    assert [draft.complete for draft in drafts] == list(range(1, BARS + 1))
    rows = ids_of(drafts[-1])
    for song in range(2):
        kept = judge.kept[song, 1].tolist()
        assert rows[song][: len(kept)] == kept
        assert fault(VOCABULARY, rows[song], BARS) is None
    assert max(len(rows) for rows, (_, bars, *_) in model.heard if (bars >= 2).all()) == 2

"""What is MuseMorphose's own: a latent of each bar, the bound that it learns by, and conditions while it writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ritornello.data.batch import TokenBatch, collate
from ritornello.data.dataset import cut
from ritornello.layers import step
from ritornello.models.base import Packed
from ritornello.models.directed import Directed, Insistence
from ritornello.models.musemorphose import Config, MuseMorphose
from ritornello.representations import build
from ritornello.representations.base import Tokens
from ritornello.sampling.autoregress import Token
from tests.families import SMALL
from tests.songs import make_piano

PIANO = build("musemorphose")
SHIPPED = {**SMALL["musemorphose"], "carry": 2, "progress": True}


def make_model(seed: int = 0, **settings: Any) -> MuseMorphose:
    torch.manual_seed(seed)
    model = MuseMorphose(Config.from_dict({**SHIPPED, **settings}), PIANO.vocabulary)
    model.begin([song(seed, 40) for seed in range(4)])
    for table in model.classes:
        torch.nn.init.normal_(table.weight)  # pyright: ignore[reportArgumentType]
    torch.nn.init.normal_(model.condition.weight)  # so that what it is told can be seen
    return model.eval()


def song(seed: int = 0, bars: int = 12) -> Tokens:
    return PIANO.encode(make_piano(seed, bars))


def bar_crop(tokens: Tokens, first: int, last: int) -> Tokens:
    begin, end = np.searchsorted(tokens.bars, [first, last]).tolist()
    return cut(tokens, begin, end)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


# Latents


def test_a_bars_latent_is_its_own():
    """The same whatever stands beside it, in whatever batch: the encoder reads each bar by itself."""
    model, one, other = make_model(), song(0), song(1)
    mean, deviation = model.encode(collate([one, other]))
    assert mean.shape == (2, 12, 8)
    assert (deviation > 0).all()
    crop, _ = model.encode(collate([bar_crop(other, 3, 7)]))
    close(crop[0], mean[1, 3:7])
    whole = [model.encode(collate([bar_crop(one, b, b + 1)]))[0][0, 0] for b in range(12)]
    close(torch.stack(whole), mean[0])
    assert (mean[0, 0] - mean[0, 1]).abs().max() > 1e-3


def test_classes_are_as_many_bounds_as_lie_below():
    model = make_model()
    model.bounds.copy_(torch.tensor([[100.0 * k for k in range(1, 8)], [10.0 * k for k in range(1, 8)]]))
    asked = model.classify(torch.tensor([[0, 0], [100, 10], [101, 11], [700, 71], [900, 900]]))
    assert asked.tolist() == [[0, 0], [0, 0], [1, 1], [6, 7], [7, 7]]


def test_bounds_divide_the_corpus_evenly_and_are_saved():
    model = make_model()
    songs = [song(seed, 40) for seed in range(8)]
    model.begin(songs)
    classes = model.classify(torch.from_numpy(np.concatenate([s.attributes for s in songs])).long())
    for column in classes.T:
        assert torch.bincount(column, minlength=8).min() > 0.05 * len(column)
    assert "bounds" in model.state_dict()


# The bound


def terms(model: MuseMorphose, batch: TokenBatch, beta: float, free_bits: float) -> dict[str, torch.Tensor]:
    model.config = model.config.model_copy(update={"beta": beta, "free_bits": free_bits, "beta_from": 0})
    return {name: term.detach() for name, term in model.loss(batch, step=model.config.beta_cycle - 1).items()}


def test_the_loss_is_the_bound_a_token():
    """With β = 1 and no free bits: (nats of all tokens + KL of all bars) / tokens, the KL from the encoder's own σ."""
    model = make_model()
    batch = collate([bar_crop(song(0), 2, 6), bar_crop(song(1), 0, 5)])
    tokens, bars = int(batch.lengths.sum()) - 2, 4 + 5
    mean, deviation = model.encode(batch)
    kl = 0.5 * (mean**2 + deviation**2 - 1 - 2 * deviation.clamp(min=1e-9).log())
    kl = kl[0, :4].sum() + kl[1, :5].sum()
    found = terms(model, batch, beta=1.0, free_bits=0.0)
    assert float(found["kl_a_bar"]) == pytest.approx(float(kl) / bars, rel=1e-4)
    assert float(found["loss"]) == pytest.approx(float(found["nats"]) + float(kl) / tokens, rel=1e-4)
    assert float(found["beta"]) == 1.0
    # a number of the latent that holds less than its free bits costs as if it held them
    free = terms(model, batch, beta=1.0, free_bits=1000.0)
    assert float(free["loss"]) == pytest.approx(float(free["nats"]) + 8 * 1000.0 * bars / tokens, rel=1e-4)


def test_padding_and_company_cost_nothing():
    """Two songs at once are the mean of each alone, by tokens and by bars: no padded bar counts."""
    model, crops = make_model(), [bar_crop(song(0), 0, 9), bar_crop(song(1), 2, 3)]
    both = terms(model, collate(crops), 1.0, 0.0)
    alone = [terms(model, collate([crop]), 1.0, 0.0) for crop in crops]
    weights = [len(crop.ids) - 1 for crop in crops]
    expected = sum(w * float(t["loss"]) for w, t in zip(weights, alone, strict=True)) / sum(weights)
    assert float(both["loss"]) == pytest.approx(expected, rel=1e-4)


def test_every_token_is_told_of_its_own_bar():
    """The gather z[rows, bars], against a loop over bars."""
    model, batch = make_model(), collate([song(0), bar_crop(song(1), 4, 9)])
    mean, _ = model.encode(batch)
    packed = Packed(batch)
    classes = [model.classify(batch.attributes[row]) for row in range(2)]
    told = []
    for row, bar in zip(packed.rows.tolist(), packed.bars.tolist(), strict=True):
        bar -= int(batch.bars[row, 0])
        told.append(model.tell(mean[row, bar], classes[row][bar]))
    hidden = model.norm(model._decode(packed, torch.stack(told)))
    follows = packed.rows[1:] == packed.rows[:-1]
    logits = model.head(hidden[:-1][follows])
    nats = torch.nn.functional.cross_entropy(logits, packed.ids[1:][follows])
    assert float(model.loss(batch)["nats"]) == pytest.approx(float(nats), rel=1e-5)


def test_gradient_reaches_what_conditions_it():
    model = make_model().train()
    model.loss(collate([song(0)]), step=10)["loss"].backward()
    for part in (model.to_mean, model.to_log_variance, model.condition, *model.classes, *(model.progress or ())):
        assert part.weight.grad is not None  # pyright: ignore[reportAttributeAccessIssue]
        assert part.weight.grad.abs().sum() > 0  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]


# Writing


def told(model: MuseMorphose, batch: TokenBatch) -> tuple[torch.Tensor, torch.Tensor]:
    latents = model.encode(batch)[0]
    return latents, model.classify(batch.attributes[:, : latents.shape[1]])


def teacher(model: MuseMorphose, batch: TokenBatch, latents: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Logits after every token of equally long songs, all at once."""
    packed = Packed(batch)
    with torch.no_grad():
        hidden = model.norm(model._decode(packed, model.tell(latents, classes)[packed.rows, packed.bars]))
        return model.head(hidden).unflatten(0, (len(batch), -1))


def fed(player: Any, batch: TokenBatch, cache: Any, start: int = 0) -> torch.Tensor:
    """Logits after every token from `start` on, one token at a time."""
    fields = (batch.ids, batch.bars, batch.positions, batch.countdown)
    rows = [player.advance(Token(*(f[:, t] for f in fields)), cache) for t in range(start, batch.ids.shape[1])]
    return torch.stack(rows, 1)


def two_songs() -> TokenBatch:
    """Two different songs in one batch, cut to one length."""
    batch = collate([song(0, 4), song(1, 4)])
    length = min(int(batch.lengths.min()), 140)
    cut_off = {f: getattr(batch, f)[:, :length] for f in ("ids", "bars", "positions", "countdown")}
    return replace(batch, **cut_off, lengths=torch.full((2,), length))


@pytest.mark.parametrize("conditioning", ["in", "pre", "post"])
def test_told_while_writing_is_told_all_at_once(conditioning: str):
    model, batch = make_model(conditioning=conditioning), two_songs()
    latents, classes = told(model, batch)
    expected = teacher(model, batch, latents, classes)
    player = Directed(model, latents, classes)
    close(fed(player, batch, player.cache(2)), expected)
    cache = player.cache(2)  # the first 40 tokens at once
    head = {f: getattr(batch, f)[:, :40] for f in ("ids", "bars", "positions", "countdown")}
    close(player.prefill(replace(batch, **head, lengths=torch.tensor([40, 40])), cache), expected[:, 39])
    close(fed(player, batch, cache, 40), expected[:, 40:])


@pytest.mark.skipif(not step.available(), reason="no compiler on this machine")
@pytest.mark.parametrize("conditioning", ["in", "pre"])
def test_the_compiled_step_says_the_same(conditioning: str):
    model, batch = make_model(conditioning=conditioning), two_songs()
    latents, classes = told(model, batch)
    model.writing = "float32"
    cache = model.cache(2)
    assert cache.step is not None
    model.direct(cache, latents, classes)
    close(fed(model, batch, cache), teacher(model, batch, latents, classes))


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_songs_leave_come_back_and_change_places(guidance: float):
    model, batch = make_model(), two_songs()
    latents, classes = told(model, batch)
    player = Directed(model, latents, classes, guidance)
    expected = fed(player, batch, player.cache(2))
    cache = player.cache(2)
    fed(player, rows_of(batch, [0, 1], 30), cache)
    aside = cache.part([1])
    cache.keep([0])
    close(fed(player, rows_of(batch, [0], 45), cache, 30), expected[:1, 30:45])
    aside.keep([0, 0])
    cache.join(aside)
    behind = rows_of(batch, [0, 1, 1], 125)
    behind.ids[2, 30:] = behind.ids[0, 30:]  # a copy hears something else
    shifted = {f: getattr(behind, f).clone() for f in ("ids", "bars", "positions", "countdown")}
    for field, values in shifted.items():
        values[0, 30:110] = getattr(batch, field)[0, 45:125]
    after = fed(player, replace(behind, **shifted), cache, 30)
    close(after[0, :80], expected[0, 45:125])
    close(after[1], expected[1, 30:125])
    assert (after[2] - after[1]).abs().max() > 1e-3


def rows_of(batch: TokenBatch, rows: list[int], length: int) -> TokenBatch:
    """The first `length` tokens of some rows."""
    fields = {f: getattr(batch, f)[rows, :length] for f in ("ids", "bars", "positions", "countdown")}
    return replace(batch, **fields, lengths=torch.full((len(rows),), length))


def test_guidance_moves_away_from_what_classes_do_not_say():
    model, batch = make_model(), two_songs()
    latents, classes = told(model, batch)
    with_classes = teacher(model, batch, latents, classes).log_softmax(-1)
    without = teacher(model, batch, latents, torch.full_like(classes, -1)).log_softmax(-1)
    player = Directed(model, latents, classes, guidance=2.5)
    close(fed(player, batch, player.cache(2)), without + 2.5 * (with_classes - without))


def test_what_lies_before_the_window_is_out_of_sight():
    """A token depends on the last `window` bars, through each of the layers, and on nothing earlier."""
    model = make_model(window=1, progress=False, carry=0)  # two layers: two bars back in all
    batch = collate([song(0, 8)])
    pitches = PIANO.vocabulary.range("Pitch")
    first = (batch.ids >= pitches.start) & (batch.ids < pitches.stop - 1) & (batch.bars == 0)
    changed = replace(batch, ids=batch.ids + first.long())
    latents, classes = told(model, batch)
    a, b = (teacher(model, x, latents, classes)[0] for x in (batch, changed))
    later = batch.bars[0] > 2
    assert torch.equal(a[later], b[later])
    assert not torch.allclose(a[batch.bars[0] == 2], b[batch.bars[0] == 2])


def test_the_cache_is_bounded_in_a_long_song():
    """Time and memory a token do not grow: as many sources at bar 30 as at bar 5."""
    model = make_model(window=1)
    inside = np.flatnonzero(song(0, 2).ids > 2)
    ids, bars, positions = (getattr(song(0, 2), f)[inside].tolist() for f in ("ids", "bars", "positions"))
    cache = model.cache(1)
    filled = []
    for time in range(15):
        for id, bar, position in zip(ids, bars, positions, strict=True):
            place = torch.tensor([[id], [bar + 2 * time], [position], [0]])
            model.advance(Token(*place), cache)
        filled.append(cache.songs[0].filled)
    assert filled[1:] == filled[1:2] * 14
    assert len(cache.songs[0].whole) <= 1


# From nothing


def test_the_prior_is_fitted_and_drawn_by_seed():
    model = make_model()
    model.conclude([[song(seed) for seed in range(4)]])
    mean = torch.cat([model.encode(collate([song(seed)]))[0][0] for seed in range(4)]).mean(0)
    close(model.prior.mean[:8], mean)
    prompt = collate([bar_crop(song(0), 0, 1)] * 2)
    player = model.player(prompt, [3, 4], 6)
    assert player.latents.shape == (2, 6, 8)
    assert torch.equal(player.latents[1], model.player(prompt, [4, 5], 6).latents[0])
    assert not torch.equal(player.latents[0], player.latents[1])


def test_a_prompts_bars_keep_their_own_latents():
    model = make_model()
    model.conclude([[song(seed) for seed in range(4)]])
    prompt = collate([bar_crop(song(0), 0, 4)])
    player = model.player(prompt, [3], 10)
    close(player.latents[0, :3], model.encode(prompt)[0][0, :3])
    assert player.latents.shape[1] == 10


# Insistence


def test_what_would_leave_the_class_falls():
    model = make_model()
    vocabulary = PIANO.vocabulary
    bounds = np.array([[125.0 * k for k in range(1, 8)], [1000.0 * k for k in range(1, 8)]])
    insistence = Insistence(vocabulary, model.ruler, bounds, 5.0)
    cache = model.cache(1)
    counter = cache.counters[0]
    for id, position in [("Bar", 0), ("Metre_4/4", 0), (f"Tempo_{vocabulary.labels('Tempo')[200]}", 0)]:
        family, _, label = id.partition("_")
        whole = vocabulary.range(family)
        place = list(map(str, vocabulary.labels(family))).index(label) if label else 0
        counter.read(whole[place], 0, position)
    bar, position = vocabulary.id("Bar"), vocabulary.range("Position")
    # class 3 of rhythm: more than 6 and at most 8 of 16 onsets
    falls = insistence.falls(counter, [[3, -1]])
    assert falls[bar] == 5
    assert falls[position[0]] == 0
    assert falls[position[3 * 9]] == 0  # 7 sixteenths are left from there
    assert falls[position[3 * 10]] == 5  # 6 are too few
    for onset in range(8):
        for id in (position[3 * onset], vocabulary.id("Pitch", 60), vocabulary.id("Duration", 3)):
            counter.read(id, 0, 3 * onset + 1)
    falls = insistence.falls(counter, [[3, -1]])
    assert falls[bar] == 0
    assert falls[position[3 * 8]] == 5
    # polyphony: 8 of 16 sound: class 0 is at most 16, class 1 more than that
    assert insistence.falls(counter, [[-1, 0]])[bar] == 0
    falls = insistence.falls(counter, [[-1, 1]])
    assert falls[bar] == 5
    assert falls[vocabulary.id("Duration", 24)] == 0
    assert insistence.falls(counter, [[-1, 0]])[vocabulary.id("Duration", 48)] == 5
    assert not insistence.falls(counter, [[-1, -1]]).any()

"""MuseGAN of chorales: what its phrases are, and what each kind of noise moves."""

from __future__ import annotations

import pytest
import torch

from ritornello.data.rolls import collate, transpose, unbatch
from ritornello.evaluate.harmony import voices
from ritornello.layers.counterpoint import faults
from ritornello.models.musegan import Controls
from ritornello.models.players import PAIRS, VOICES, WINDOW, Latents, Phrase, differing
from ritornello.music.choir import RANGES
from ritornello.representations.base import HELD, ONSET
from ritornello.sampling.noise import Noise
from tests.families import make_model, make_rolls
from tests.rolls import make_roll


def latents(seed: int, count: int = 8) -> Latents:
    generator = torch.Generator().manual_seed(seed)
    return Latents.of(torch.randn(count, Latents.size(4), generator=generator), 4)


def test_a_phrase_says_one_thing_for_every_voice_and_step():
    phrase = make_model("musegan").generator(latents(0))
    assert phrase.keys.shape == (8, VOICES, WINDOW, 85)
    torch.testing.assert_close(phrase.keys.sum(-1), torch.ones(8, VOICES, WINDOW))
    assert set(phrase.onsets.round(decimals=4).unique().tolist()) <= {0.0, 1.0}
    same = phrase.keys[:, :, 1:].argmax(-1) == phrase.keys[:, :, :-1].argmax(-1)
    assert same[phrase.onsets[:, :, 1:] < 0.5].all()  # what does not begin is held
    assert (phrase.onsets[:, :, 0] == 1).all()


def test_what_is_heard_is_written_again():
    model, batch = make_model("musegan"), make_rolls()
    again = model.write(model.hear(batch))
    torch.testing.assert_close(again.cells, batch.cells, atol=0, rtol=0)
    torch.testing.assert_close(again.bars, batch.bars, atol=0, rtol=0)


def test_rests_are_heard():
    roll = make_roll(0, bars=2)
    roll.cells[2, 8:12] = 0
    phrase = make_model("musegan").hear(collate([roll]))
    assert phrase.keys[0, 2, :, -1].tolist() == [0] * 8 + [1] * 4 + [0] * 20
    assert phrase.onsets[0, 2].tolist() == [1, 0, 0, 0] * 8


@pytest.mark.parametrize("kind", ["melody", "groove"])
def test_a_voices_own_noise_moves_that_voice_alone(kind: str):
    model = make_model("musegan")
    before, after = model.generator(latents(0)), model.generator(latents(0).changed(kind, latents(1), voice=2))
    keys, onsets = differing(before, after)
    assert (keys + onsets)[:, 2].sum() > 0
    assert (keys + onsets)[:, [0, 1, 3]].sum() == 0


@pytest.mark.parametrize("kind", ["chords", "style"])
def test_shared_noise_moves_all_voices(kind: str):
    model = make_model("musegan")
    keys, onsets = differing(
        model.generator(latents(0, 64)), model.generator(latents(0, 64).changed(kind, latents(1, 64)))
    )
    assert ((keys + onsets).sum((0, 2)) > 0).all()


def test_relations_are_those_that_one_counts():
    """Intervals of a C major chord, its fit, and parallel fifths of soprano over alto."""
    model = make_model("musegan")
    keys = torch.zeros(1, VOICES, WINDOW, 85)
    frames = [(67, 60, 55, 48)] * 4 + [(69, 62, 57, 50)] * 28  # fifths between soprano and alto, tenor and bass
    for step, frame in enumerate(frames):
        for voice, key in enumerate(frame):
            keys[0, voice, step, key - 24] = 1
    found = model.critic.relations(Phrase(keys, torch.ones(1, VOICES, WINDOW)))[0]
    between, kept = found[:, : 12 * len(PAIRS)].view(16, len(PAIRS), 12), found[:, 12 * len(PAIRS) : 14 * len(PAIRS)]
    assert between[0, PAIRS.index((0, 1))].argmax() == 7
    assert between[0, PAIRS.index((1, 2))].argmax() == 5
    assert between[0, PAIRS.index((0, 2))].argmax() == 0
    kept = kept.view(16, len(PAIRS), 2)
    assert kept[2, PAIRS.index((0, 1))].tolist() == [0, 1]
    assert kept[2, PAIRS.index((0, 2))].tolist() == [1, 0]
    assert kept.sum() == 5  # of six pairs, once, and never while nothing moves


def test_shifts_bring_voices_into_their_ranges():
    model = make_model("musegan")
    low = model.hear(collate([transpose(make_roll(0, 2), shift) for shift in (-9, 0)]))
    shift = model.shift_of(low.keys, torch.tensor([0.0, 0.999]))
    assert shift.tolist()[0] > shift.tolist()[1] - 12
    moved = unbatch(model.write(model.shifted(low, shift)))
    for before, after, semitones in zip(unbatch(model.write(low)), moved, shift.tolist(), strict=True):
        assert (voices(after) - voices(before) == semitones).all()
    inside = torch.tensor(
        [[(low <= v <= high) for (low, high), v in zip(RANGES, f, strict=True)] for f in voices(moved[1])]
    )
    assert inside.all()


def test_pieces_are_chains_of_phrases():
    model = make_model("musegan").eval()
    with torch.no_grad():
        drafts = list(model.sample(Controls(phrases=3, tries=4), Noise([3, 4])))
    assert [draft.cells.shape[2] for draft in drafts] == [32, 64, 96]
    assert drafts[-1].bars[0, [0, 31, 32, 95]].tolist() == [0, 1, 2, 5]
    assert set(drafts[-1].cells.unique().tolist()) == {0, HELD, ONSET}


def pitches(phrase: Phrase) -> torch.Tensor:
    """As `faults` wants them."""
    keys = phrase.keys.argmax(-1)
    return torch.where(keys == phrase.keys.shape[-1] - 1, 0, keys + 1)


def test_of_each_phrase_the_draft_with_the_fewest_faults_is_kept():
    model = make_model("musegan").eval()
    with torch.no_grad():
        one = model.phrase(Controls(tries=1), Noise([3]), None)
        kept = model.phrase(Controls(tries=64), Noise([3]), one)
        size = Latents.size(model.config.latent)
        drafts = model.mean.mean(Latents.of(Noise([3]).normal(64, size)[0], model.config.latent))
        seam = one.keys[:, :, -1:].expand(64, -1, -1, -1)
        count = [
            float(faults(pitches(Phrase(torch.cat([a, b], 1)[None], drafts.onsets[:1]))))
            for a, b in zip(seam, drafts.keys, strict=True)
        ]
    assert min(count) < max(count)
    torch.testing.assert_close(kept.keys[0], drafts.keys[count.index(min(count))])


def test_a_variation_changes_what_was_asked_for():
    model = make_model("musegan").eval()
    with torch.no_grad():
        plain = model.phrase(Controls(tries=1), Noise([5, 6, 7, 8]), None)
        varied = model.phrase(Controls(tries=1, change="melody", voice="bass"), Noise([5, 6, 7, 8]), None)
    keys, onsets = differing(plain, varied)
    assert (keys + onsets)[:, 3].sum() > 0
    assert (keys + onsets)[:, :3].sum() == 0


def test_the_mean_follows_the_generator():
    model = make_model("musegan")
    before = model.mean.mean.nearness.clone()
    with torch.no_grad():
        model.generator.nearness += 1
    model.after(0)
    torch.testing.assert_close(model.mean.mean.nearness, before + 0.9)  # the first updates forget quickly
    assert not any(p.requires_grad for p in model.mean.parameters())

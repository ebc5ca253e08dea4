"""What is hidden, what is kept, what is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ritornello.cli import main
from ritornello.data.rolls import beats, collate
from ritornello.errors import ConfigError
from ritornello.layers.counterpoint import parallels
from ritornello.models.masked_diffusion import REST, Config, Controls, Model, Picture
from ritornello.music.score import read, write
from ritornello.representations import build
from ritornello.representations.base import SILENT, Roll
from ritornello.run import Run, RunConfig
from ritornello.sampling.noise import Noise
from tests.families import make_config, make_model
from tests.rolls import make_chorale, make_roll


@pytest.fixture
def model() -> Model:
    return make_model("masked_diffusion").eval()


def play(model: Model, *rolls: Roll, **wishes):
    controls = Controls(rounds=4, polish=2, prompt=Path("x.mid") if rolls else None, **wishes)
    *_, last = model.sample(controls, Noise([1, 2]), rolls)
    return last


def test_exactly_four_voices_sound(model: Model):
    last = play(model, bars="3")
    assert last.cells.shape == (2, 4, 48, 128)
    assert ((last.cells != SILENT).sum(-1) == 1).all()


def test_a_kept_voice_stays_and_the_others_are_new(model: Model):
    roll = make_roll(0, 3)
    last = play(model, roll, keep=("soprano",))
    given = collate([roll]).cells[0]
    assert (last.cells[:, 0] == given[0]).all()
    for voice in (1, 2, 3):
        assert (last.cells[:, voice] != given[voice]).any()


def test_several_keys_are_the_mean_of_each(model: Model):
    """Of a piece inside the pitches by hand; one that touches both ends is looked at as it is."""
    torch.manual_seed(0)
    cells = torch.randint(5, 40, (1, 4, 32))
    hidden, beat = torch.rand(1, 4, 32) < 0.4, torch.arange(32)[None] % 4
    with torch.no_grad():
        here, higher, lower = (model.logits(cells + up, hidden, beat).log_softmax(-1) for up in (0, 1, -1))
        mean = model.logits(cells, hidden, beat, keys=3)
        top = model.classes - 1
        assert mean[..., REST].allclose((here + higher + lower)[..., REST] / 3)
        for pitch in (2, 17, top - 1):
            by_hand = (here[..., pitch] + higher[..., pitch + 1] + lower[..., pitch - 1]) / 3
            assert mean[..., pitch].allclose(by_hand, atol=1e-5)
        assert mean[..., top].allclose((here[..., top] + lower[..., top - 1]) / 2, atol=1e-5)
        cells[0, 0, 0], cells[0, 3, 1], hidden[0, :, :2] = top, 1, False
        alone = model.logits(cells, hidden, beat).log_softmax(-1)
        assert model.logits(cells, hidden, beat, keys=3).allclose(alone, atol=1e-5)


def test_playing_looks_at_as_many_keys_as_are_asked_for(model: Model, monkeypatch: pytest.MonkeyPatch):
    asked, logits = [], model.logits
    monkeypatch.setattr(model, "logits", lambda *given: asked.append(given[3]) or logits(*given))
    play(model, bars="1", keys=3)
    given = collate([make_roll(0, 2)])  # in parallel throughout
    cells = model.hear(given)
    model._polish(cells, torch.ones_like(cells, dtype=torch.bool), given, Controls(keys=5), Noise([1]))
    assert asked[:4] == [3] * 4
    assert asked[-1] == 5


def test_polish_gives_whole_notes_another_pitch_until_no_parallels_are_left(model: Model):
    given = collate([make_roll(0, 4), make_roll(1, 4)])  # chords that move in parallel throughout
    first = model.hear(given)
    free = torch.ones_like(first, dtype=torch.bool)
    free[:, 0] = False  # a tune that is kept
    free[:, 3, 5] = False  # and one step of a note in the bass
    assert parallels(first).sum() > 100
    noise, cells, counts = Noise([1, 2]), first, [int(parallels(first).sum())]
    with torch.no_grad():
        for _ in range(100):
            cells = model._polish(cells, free, given, Controls(), noise)
            counts.append(int(parallels(cells).sum()))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 10
    assert (cells[:, 0] == first[:, 0]).all()
    assert (cells[:, 3, 4:8] == first[:, 3, 4:8]).all()
    assert (cells.unflatten(-1, (-1, 4)) == cells[..., ::4, None]).all()  # still quarters


def test_bars_outside_the_gap_stay(model: Model):
    roll = make_roll(0, 4)
    last = play(model, roll, bars="2-3", keep=("bass",))
    given = collate([roll]).cells[0]
    assert (last.cells[:, :, :16] == given[:, :16]).all()
    assert (last.cells[:, :, 48:] == given[:, 48:]).all()
    assert (last.cells[:, 3] == given[3]).all()
    assert (last.cells[:, 0, 16:48] != given[0, 16:48]).any()


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [({}, "what of it to write anew"), ({"bars": "4-9"}, "the prompt has 3 bars"), ({"bars": "5"}, "has 3 bars")],
)
def test_a_prompt_that_cannot_be_met(model: Model, wishes: dict, sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        play(model, make_roll(0, 3), **wishes)


def test_a_gap_needs_a_prompt(model: Model):
    with pytest.raises(ConfigError, match="name its file"):
        play(model, bars="2-3")
    with pytest.raises(ConfigError, match="first and last"):
        Controls(bars="8-5")


def test_what_is_hidden_is_not_seen(model: Model):
    batch = collate([make_roll(0), make_roll(1)])
    cells = model.hear(batch)
    hidden = model.hide(cells.shape, cells.device)
    other = torch.where(hidden, (cells + 5) % model.classes, cells)
    with torch.no_grad():
        first, second = (model.logits(x, hidden, beats(batch)) for x in (cells, other))
    torch.testing.assert_close(first, second, atol=0, rtol=0)


def test_the_product_of_matrices_is_the_convolution(model: Model):
    x = torch.randn(2, 9, model.config.width)
    torch.testing.assert_close(model._around(x), model.around(x.transpose(1, 2)).transpose(1, 2))


def test_the_configuration_says_how_deep_the_picture_is():
    pictures = [Model(Config(layers=1, channels=channels, depth=7), 4).picture for channels in (0, 8)]
    assert pictures[0] is None
    assert pictures[1] is not None
    assert len(pictures[1].layers) == 7


def test_a_picture_is_seen_alike_in_every_key_and_at_every_step():
    """Moved up and on, it says the same further up and further on, away from the edges."""
    torch.manual_seed(0)
    picture = Picture(4, 8, channels=8, depth=2)
    torch.nn.init.normal_(picture.last.weight)
    cells = torch.randint(40, 61, (1, 4, 24))
    hidden, context = torch.rand(1, 4, 24) < 0.4, torch.randn(1, 24, 8)
    with torch.no_grad():
        here = picture(cells, hidden, 100, context)
        moved = picture(cells.roll(4, -1) + 7, hidden.roll(4, -1), 100, context.roll(4, 1))
    assert here.std() > 0.1
    assert (here[..., REST] == 0).all()
    torch.testing.assert_close(moved[:, :, 8:20, 30:80], here[:, :, 4:16, 23:73], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("depth", "steps", "pitches"), [(0, 1, 6), (2, 4, 18), (5, 17, 32)])
def test_how_far_a_picture_sees(depth: int, steps: int, pitches: int):
    """A note in the middle is heard just so many steps and pitches away, and no further."""
    torch.manual_seed(0)
    picture = Picture(1, 8, channels=8, depth=depth)
    torch.nn.init.normal_(picture.last.weight)
    cells, hidden, context = torch.full((1, 1, 41), 50), torch.zeros(1, 1, 41, dtype=torch.bool), torch.zeros(1, 41, 8)
    other = cells.clone()
    other[..., 20] = REST
    with torch.no_grad():
        changed = (picture(cells, hidden, 100, context) != picture(other, hidden, 100, context))[0, 0]
    at, pitch = changed.nonzero(as_tuple=True)
    assert (int(at.min()), int(at.max())) == (20 - steps, 20 + steps)
    assert (int(pitch.min()), int(pitch.max())) == (50 - pitches, 50 + pitches)


def test_every_number_of_cells_is_hidden_as_often():
    model = Model(Config(whole_steps=0.0, whole_voices=0.0), 4)
    torch.manual_seed(0)
    hidden = model.hide(torch.Size((4000, 4, 16)), torch.device("cpu")).flatten(1).sum(1)
    assert hidden.min() == 1
    assert hidden.max() == 64
    assert hidden.float().mean().item() == pytest.approx(32.5, abs=1)


def test_steps_are_hidden_whole_or_but_for_some_voices():
    model = Model(Config(whole_steps=1.0, whole_voices=0.0), 4)
    torch.manual_seed(0)
    voices = model.hide(torch.Size((4000, 4, 16)), torch.device("cpu")).sum(1)  # how many are hidden of every step
    some = voices > 0
    assert some.float().mean() == pytest.approx(8.5 / 16, abs=0.02)
    for hidden in (1, 2, 3):  # in half of the hidden steps one to three voices, each number as often
        assert (voices == hidden).sum() / some.sum() == pytest.approx(1 / 6, abs=0.02)
    whole = (voices == 4).sum(1) / some.sum(1)  # of a window: from none to all
    assert [(whole < 0.25).float().mean().item(), (whole > 0.75).float().mean().item()] == pytest.approx(
        [0.25] * 2, abs=0.08
    )


def test_classes_come_back_as_a_roll(model: Model):
    batch = collate([make_roll(0)])
    cells = model.hear(batch)
    back = model._batch(cells, torch.ones_like(cells, dtype=torch.bool), batch)
    assert ((back.cells != SILENT) == (batch.cells != SILENT)).all()
    silent = collate([Roll(batch.cells[0].numpy() * 0, batch.bars[0].numpy())])
    assert (model.hear(silent) == REST).all()


def test_beats_count_from_the_bar_line():
    batch = collate([Roll(make_roll(0, 2).cells[:, 10:], make_roll(0, 2).bars[10:])])
    assert beats(batch)[0, :8].tolist() == [2, 3, 0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize("bars", [None, "2-3"])
def test_the_verb_harmonises_a_file(tmp_path: Path, bars: str | None):
    """From MIDI to MIDI, with the flags of this family: without bars, all of them."""
    run = Run.create(RunConfig.from_dict(make_config("masked_diffusion")), tmp_path / "run")
    run.save()
    write(make_chorale(0, 3), tmp_path / "hymn.mid")
    flags = ["--rounds", "4", "--polish", "1", "--prompt", str(tmp_path / "hymn.mid"), "--keep", "soprano"]
    flags += ["--bars", bars] if bars else []
    assert main(["generate", "--run", str(tmp_path / "run"), *flags, "-o", str(tmp_path / "a.mid")]) == 0
    given, made = (build("chorale").encode(read(tmp_path / name)).cells for name in ("hymn.mid", "a.mid"))
    assert (made[0] == given[0]).all()
    assert (made[:, :16] == given[:, :16]).all() == bool(bars)
    assert (made[3, 16:] != given[3, 16:]).any()

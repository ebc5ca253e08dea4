"""Songs of one voice and of four, asked for as all songs are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ritornello.errors import ConfigError
from ritornello.generate import finish, generate
from ritornello.music.score import Score, read, write
from ritornello.representations import build
from ritornello.request import Request
from ritornello.run import Run, RunConfig
from ritornello.studio.models import describe
from tests.families import make_config, make_model
from tests.lines import make_melody
from tests.rolls import make_chorale

NAMES = {"melody": "melody_transformer", "voices": "chorale_transformer"}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def prompt(name: str, tmp_path: Path) -> Path:
    score = make_chorale(0, 3) if name == "voices" else build("melody").decode(make_melody())
    path = tmp_path / "prompt.mid"
    write(score, path)
    return path


def songs(name: str, **wishes) -> list[Score]:
    return [song.score for song in finish(generate(make_model(NAMES[name]), build(name), Request(**wishes)))]


def test_bars_tempo_and_key(name: str):
    for score in songs(name, bars=2, tempo=66, key="E minor", count=2):
        encoded = build(name).encode(score)
        assert encoded.meta["bars"] <= 2
        assert score.tempos[0].qpm == pytest.approx(66, abs=0.01)
    (again,) = songs(name, bars=2, tempo=66, key="E minor", seed=1)
    assert list(again.tracks[0].notes) == list(score.tracks[0].notes)


def test_a_prompt_is_kept_and_continued(name: str, prompt: Path):
    representation = build(name)
    (score,) = songs(name, prompt=prompt, prompt_bars=2, bars=4)
    given = representation.encode(read(prompt))
    length = int((given.bars < 2).sum())
    made = representation.encode(score)
    assert made.meta["bars"] == 4
    assert made.ids[3:length].tolist() == given.ids[3:length].tolist()


def test_there_are_no_instruments_to_choose(name: str):
    with pytest.raises(ConfigError, match="no instruments to choose"):
        songs(name, instruments=("piano",), bars=1)


def test_chorales_are_surer_than_other_songs_where_nothing_else_is_asked_for():
    """A family's own temperature: the songs are those that one gets by asking for it, and others at 1."""

    def notes(**wishes) -> list[tuple[int, int]]:
        return [(n.time, n.pitch) for score in songs("voices", bars=3, **wishes) for t in score.tracks for n in t.notes]

    assert notes() == notes(temperature=0.8)
    assert notes() != notes(temperature=1.0)


def test_a_page_is_told_the_familys_temperature():
    defaults = {
        name: describe(name)[0]["schema"]["properties"]["temperature"]["default"]
        for name in ("chorale_transformer", "melody_transformer", "masked_diffusion")
    }
    assert defaults == {"chorale_transformer": 0.8, "melody_transformer": 1.0, "masked_diffusion": 0.75}


def test_a_page_is_told_how_faithful_a_model_is_and_whether_it_is_planned(tmp_path: Path):
    """One that recalls needs fewer nats; one with habits has a form; songs without places have none to ask for."""
    config = RunConfig.from_dict(make_config("museformer"))
    Run.create(config, tmp_path).save()
    shown = [describe(str(name))[0]["schema"]["properties"] for name in (tmp_path, "museformer")]
    assert [(one["faithful"]["default"], one["planned"]["default"]) for one in shown] == [(4.0, False), (2.0, True)]
    of_a_line = describe("chorale_transformer")[0]["schema"]["properties"]
    assert not {"form", "form_of", "faithful", "planned"} & of_a_line.keys()

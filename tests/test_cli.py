"""The verbs, as one types them: what they write, what they say, and how they fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.io import wavfile

import ritornello as rn
from ritornello.cli import VERBS, main
from ritornello.cli.song import A_SONG, usual
from ritornello.errors import ConfigError, RitornelloError
from ritornello.music.audio import find_synthesizer
from ritornello.music.bars import bars
from ritornello.music.score import read, write
from ritornello.request import Request
from ritornello.run import Run, RunConfig
from tests.families import SMALL
from tests.rolls import make_chorale
from tests.songs import make_song, write_songs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run's folder; its model has learned nothing."""
    folder = tmp_path_factory.mktemp("run")
    model = {**SMALL["museformer"], "countdown": True}
    Run.create(RunConfig(family="museformer", representation="museformer", model=model), folder).save()
    return str(folder)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "mine.mid"
    write(make_song(seed=3, bars=12), path)
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever is written without a place lands in the test's own folder."""
    monkeypatch.chdir(tmp_path)


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


# What is said before anything is done


def test_help_names_every_verb_and_loads_nothing_heavy():
    code = "import sys; from ritornello.cli import main; main(['--help']); print(*sys.modules)"
    told, modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.rsplit("flags.", 1)
    assert all(f"  {verb} " in told for verb in VERBS)
    assert not {"torch", "numpy", "matplotlib", "tyro", "scipy"} & set(modules.split())


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, ritornello; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "matplotlib", "pydantic"} & set(modules)
    assert {"read", "write", "load"} <= set(dir(rn))
    with pytest.raises(AttributeError):
        rn.compose  # noqa: B018


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"usage: ritornello {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["genrate"], "there is no verb genrate; the nearest is generate."),
        (["render", "none.mid"], "none.mid"),
        (["inspect", "none.mid"], "none.mid"),
        (["inspect", "no-such-corpus"], "no-such-corpus"),
        (["prepare", "no-such-corpus"], "no-such-corpus"),
        (["prepare", ".", "--part", "3"], "--part 3: expected i/n"),
        (["prepare", ".", "--set", "most_bars=many"], "--set most_bars=many: most_bars = 'many' should be"),
        (["train", "none.toml"], "none.toml cannot be read as TOML settings: No such file"),
        (["generate", "--run", "nobody"], "nobody is neither a run's folder nor a model that ships"),
        (["generate", "--bars", "0"], "bars = 0 should be greater than or equal to 1."),
        (["generate", "--key", "H flat"], "H flat"),
        (["evaluate", "--run", "nobody"], "nobody is neither"),
        (["evaluate", "--task", "restyle", "--files", "x.mid"], "task = restyle: held-out pieces are played again"),
        (["evaluate", "--files", "none*.mid"], "No MIDI file (.mid, .midi, .kar, .rmi) matches none*.mid."),
        (["evaluate", "--reference", "lmd"], "--reference says what --files are held against; name the files, too."),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(lines(said.err)) == 1
    assert said.err.startswith("ritornello: ")
    assert sentence in said.err


def test_an_unknown_flag_ends_with_2(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(["generate", "--barz", "3"])
    assert stop.value.code == 2
    assert "--bars" in capsys.readouterr().err


def test_stopping_says_that_what_was_finished_is_kept(
    song: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ritornello.music.audio.render", stopped)
    assert main(["render", str(song)]) == 130
    assert capsys.readouterr().err == "stopped; what was finished is kept\n"


# The verbs


def test_generate_writes_exactly_the_bars_asked_for(run: str, capsys: pytest.CaptureFixture[str]):
    assert main(["generate", "--run", run, "--bars", "3", "--seed", "5", "-o", "new/night.mid", "--picture"]) == 0
    assert len(bars(read("new/night.mid"))) == 3
    assert Path("new/night.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "3 bars of 4/4" in said
    assert "Seed 5, written in " in said


def test_generate_writes_several_songs_named_by_their_seeds(run: str):
    assert main(["generate", "--run", run, "--bars", "2", "--count", "3", "--seed", "7", "-o", "takes"]) == 0
    assert sorted(path.name for path in Path("takes").iterdir()) == ["song-7.mid", "song-8.mid", "song-9.mid"]
    assert main(["generate", "--run", run, "--bars", "2", "--seed", "8", "-o", "alone.mid"]) == 0
    assert Path("alone.mid").read_bytes() == Path("takes/song-8.mid").read_bytes()


def test_generate_goes_on_from_ones_own_music(run: str, song: Path, capsys: pytest.CaptureFixture[str]):
    flags = ["--prompt", str(song), "--prompt-bars", "2", "--bars", "4", "-o", "more.mid"]
    assert main(["generate", "--run", run, *flags]) == 0
    assert len(bars(read("more.mid"))) == 4
    assert "mine.mid goes on after bar 2" in capsys.readouterr().out


def test_generate_keeps_what_was_written_when_it_is_stopped(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from ritornello.api import Player

    drafts = Player.drafts

    def stopped(self: Player, request):
        for draft in drafts(self, request):
            yield draft
            if draft.bars == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(Player, "drafts", stopped)
    assert main(["generate", "--run", run, "--bars", "6", "-o", "half.mid"]) == 130
    assert len(bars(read("half.mid"))) == 2
    assert "what was finished is kept" in capsys.readouterr().err


def test_song_is_written_heard_and_seen(run: str, capsys: pytest.CaptureFixture[str]):
    assert main(["song", "--run", run, "--bars", "2", "--seed", "1"]) == 0
    assert {path.name for path in Path("songs").iterdir()} >= {"song-1.mid", "song-1.png"}
    find_synthesizer()  # the package brings one
    rate, sound = wavfile.read("songs/song-1.wav")
    assert rate == 44_100
    assert abs(sound).max() > 1000
    assert "2 bars of 4/4" in capsys.readouterr().out


def test_the_song_is_there_even_where_nothing_can_play_it(
    run: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RITORNELLO_SOUNDFONT", "no-such-font.sf2")
    assert main(["song", "--run", run, "--bars", "2", "--seed", "1"]) == 0
    assert Path("songs/song-1.mid").exists()
    assert not Path("songs/song-1.wav").exists()
    assert "no-such-font.sf2" in capsys.readouterr().err


def test_render_says_what_it_made(song: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["render", str(song)]) == 0
    rate, sound = wavfile.read(song.with_suffix(".wav"))
    assert len(sound) / rate > 12
    assert str(song.with_suffix(".wav")) in capsys.readouterr().out


def test_inspect_a_file(song: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(song), "--json", "--picture", "figure.png"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bars"] == 12
    assert told["metres"] == {"4/4": 12}
    assert told["instruments"] == {"flute": 48, "fingered bass": 48, "drums": 48, "acoustic grand piano": 36}
    assert [row["bar"] for row in told["by_bar"]] == list(range(1, 13))
    assert told["by_bar"][0]["notes"] == 15
    assert (
        told["similarity"]["distribution"][3] > told["similarity"]["distribution"][1]
    )  # its chords come back after four
    assert 4 in told["similarity"]["structure_offsets"]
    assert Path("figure.png").exists()
    assert main(["inspect", str(song)]) == 0
    assert "12 bars of 4/4" in capsys.readouterr().out


def test_inspect_a_folder_names_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_songs(tmp_path / "songs", 3, bars=8)
    (tmp_path / "songs" / "broken.mid").write_bytes(b"MThd nothing more")
    assert main(["inspect", "songs", "--json", "--workers", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["songs"] == 3
    assert told["files"] == 4
    assert list(told["unreadable"]) == ["broken.mid"]
    assert told["quartiles_of_songs"]["bars"] == [8, 8, 8]
    assert told["metres"] == {"4/4": 3}


def test_from_ones_own_files_to_a_measured_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_songs(tmp_path / "mine", 60, bars=8)
    assert main(["prepare", "mine", "--workers", "1", "--set", "fewest_notes=10"]) == 0
    assert "60 songs of 60 files are in tokens/mine" in capsys.readouterr().out
    sizes = {**SMALL["museformer"], "layers": 1}
    (tmp_path / "small.toml").write_text(
        RunConfig.from_dict(
            {
                "family": "museformer",
                "representation": "museformer",
                "model": sizes,
                "data": {"folders": ["tokens/mine"]},
                "train": {"steps": 2, "stages": [[0, 128, 256]], "precision": "float32", "save_every": 1},
            }
        ).to_toml()
    )
    assert main(["train", "small.toml"]) == 0
    assert main(["train", "small.toml"]) == 2
    assert "runs/small holds a training already; add --resume" in capsys.readouterr().err
    assert main(["train", "small.toml", "--resume", "--set", "train.steps=3"]) == 0
    steps = [json.loads(line)["step"] for line in Path("runs/small/metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 3
    capsys.readouterr()
    flags = ["--run", "runs/small", "--tokens", "tokens/mine", "--held-out", "1", "--songs", "2", "--bars", "2"]
    assert main(["evaluate", *flags, "--yardsticks", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["likelihood"]) == {"small", "4-gram", "4-gram with copying"}
    assert told["songs"]["small"] == 2
    assert told["songs"]["human"] >= 1
    assert [told["texture"]["bars"][whose]["highest"] for whose in ("small", "human")] == [2, 2]


def test_any_files_are_measured_beside_human_songs(run: str, capsys: pytest.CaptureFixture[str]):
    write_songs(Path("human"), 5, bars=8)
    write_songs(Path("takes"), 2, bars=4)
    Path("takes/broken.mid").write_bytes(b"MThd")
    flags = ["--files", "takes/*.mid", "--reference", "human", "--workers", "1"]
    assert main(["evaluate", *flags, "--run", run, "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["songs"] == {"files": 2, "human": 2}
    assert told["known"]["songs"] == 3
    assert list(told["skipped"]) == ["takes/broken.mid"]
    assert "note: left out: cannot read takes/broken.mid" in said.err
    name = Path(run).name
    assert list(told["likelihood"]) == [f"{name}, on the files", f"{name}, on human songs"]
    assert {"texture", "pitch", "rhythm", "structure", "structureness", "originality"} < set(told)
    assert Path("tokens/human-originality/00000.json").exists()
    assert main(["evaluate", *flags, "--md"]) == 0
    text = capsys.readouterr().out
    assert "**Originality: what is found in 3 songs (songs of human)**" in text
    assert "| no repetition |" in text
    assert main(["evaluate", *flags, "--bars", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [told["texture"]["bars"][whose]["highest"] for whose in ("files", "human")] == [3, 3]


def test_chorales_of_ones_own_stand_beside_held_out_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for seed in range(8):  # look-alikes, all of which are in one split: none is held out
        write(make_chorale(seed), tmp_path / "bach" / f"{seed}.mid")
    assert main(["prepare", "bach", "--representation", "chorale", "-o", "tokens/bach", "--workers", "1"]) == 0
    capsys.readouterr()
    write(make_chorale(1), tmp_path / "mine" / "good.mid")
    Path("mine/broken.mid").write_bytes(b"MThd")
    flags = ["evaluate", "--task", "harmony", "--tokens", "tokens/bach", "--json", "--files"]
    assert main([*flags, "bach", "mine/good.mid", "mine/broken.mid"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)["harmony"]
    assert {name: found["pieces"] for name, found in told.items()} == {"held out": 0, "bach": 8, "mine": 1}
    assert told["mine"]["full_triads"]["value"] == 1
    assert "note: cannot read mine/broken.mid" in said.err
    assert main([*flags, "mine/broken.mid"]) == 2
    assert "mine holds no music of four voices." in capsys.readouterr().err


# From Python


def test_the_python_path_is_the_command_lines(run: str):
    song = rn.load(run).generate(bars=2, seed=4)
    song.write("python.mid")
    assert main(["generate", "--run", run, "--bars", "2", "--seed", "4", "-o", "command.mid"]) == 0
    assert Path("python.mid").read_bytes() == Path("command.mid").read_bytes()
    assert rn.read("python.mid").note_num() == song.facts.notes
    assert "2 bars of 4/4" in song.describe()


def test_wishes_are_checked_by_the_same_sentences(run: str):
    with pytest.raises(ConfigError, match="there is no setting barz; the nearest known one is bars"):
        rn.load(run).generate(barz=2)
    with pytest.raises(ConfigError, match="songs"):
        rn.load(run).generate(count=2)
    assert len(rn.load(run).songs(count=2, bars=1)) == 2
    with pytest.raises(RitornelloError, match="nobody"):
        rn.load("nobody")


def test_a_closed_pipe_is_no_error(song: Path):
    code = "import sys; from ritornello.cli import main; sys.exit(main(sys.argv[1:]))"
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-c", code, "inspect", str(song), "--json"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_verb_whose_extra_is_not_installed_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for module in [name for name in sys.modules if name.startswith("ritornello.studio")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "soundfile", None)  # as if it were not there
    assert main(["listen", "new", "--systems", "a", "b", "-o", "test"]) == 2
    assert "needs soundfile: pip install 'ritornello[studio]'" in capsys.readouterr().err


def test_a_song_of_which_little_is_said_is_as_usual():
    whole, short = usual(A_SONG), usual(Request(bars=8, seed=3))
    assert (whole.bars, whole.planned, whole.density) == (64, True, "1-8:16-67,1-8:melody 2-9")
    assert (short.bars, short.planned, short.density, short.seed) == (8, True, whole.density, 3)
    assert usual(Request(bars=2)).density == "1-2:16-67,1-2:melody 2-9"
    said = Request(bars=64, planned=False, density="9", instruments=("bass",))
    assert usual(said) == said
    assert usual(Request(instruments=("bass",))).density is None
    continued = Request(prompt=Path("mine.mid"), bars=64)
    assert usual(continued) == continued


def test_songs_of_every_museformer_have_a_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Not those of other models, nor where bars may have any metre."""
    asked = {}
    monkeypatch.setattr(
        "ritornello.cli.generate.main", lambda request, run, *_, **__: asked.update({run: request.planned})
    )
    (tmp_path / "config.toml").write_text('family = "museformer"\nrepresentation = "remi"\n', encoding="utf-8")
    for run in ("chorale_transformer", str(tmp_path), "museformer"):
        assert main(["song", "--run", run, "--seed", "1"]) == 0
    assert asked == {"museformer": True, "chorale_transformer": None, str(tmp_path): None}

"""Anybody's files: whatever they are, they are measured or named with a reason; and references of human songs."""

from __future__ import annotations

from pathlib import Path

import pytest
from symusic.core import TimeSignatureTick

from ritornello.data.corpora import find
from ritornello.data.workers import Failure
from ritornello.errors import MusicError
from ritornello.evaluate import files as module
from ritornello.evaluate import originality
from ritornello.evaluate.files import Measurer, measure_all, open_reference
from ritornello.evaluate.measure import measure
from ritornello.evaluate.report import evaluate, markdown
from ritornello.music.bars import first_bars
from ritornello.music.score import read, write
from ritornello.representations import build
from tests.evaluate.songs import song
from tests.songs import make_song, write_songs


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without worker processes."""
    for each in (module, originality):
        monkeypatch.setattr(each, "run", lambda task, jobs, workers: map(task, jobs))


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Songs of all sorts, and files that are none."""
    folder = tmp_path / "odd"
    write_songs(folder, 2, bars=8)
    write(song(drums="abab"), folder / "drums.mid")
    write(song(melody="a"), folder / "one bar.mid")
    waltz = make_song(bars=6)
    waltz.time_signatures[0] = TimeSignatureTick(0, 7, 8)
    write(waltz, folder / "seven.mid")
    (folder / "empty.mid").touch()
    (folder / "cut.mid").write_bytes((folder / "seven.mid").read_bytes()[:200])
    (folder / "notes.txt").write_text("no music")
    return folder


def test_files_are_found_by_pattern_name_folder_and_archive(odd: Path):
    def names(*given: str) -> list[str]:
        return [Path(entry.name).name for entry in find(given)]

    everything = ["cut.mid", "drums.mid", "empty.mid", "one bar.mid", "seven.mid", "song000.mid", "song001.mid"]
    assert names(str(odd)) == names(f"{odd}/*") == names(f"{odd.parent}/**/*.mid") == everything
    assert names(f"{odd}/s*.mid", f"{odd}/drums.mid") == ["seven.mid", "song000.mid", "song001.mid", "drums.mid"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("nowhere", "There is no file, folder, archive or named corpus called"),
        ("*.mid", "No MIDI file .* matches"),
        ("nothing", "nothing holds no MIDI file"),
    ],
)
def test_what_stands_for_no_file_is_said(tmp_path: Path, given: str, sentence: str):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(MusicError, match=sentence):
        list(find([str(tmp_path / given)]))


def test_every_file_is_measured_or_has_a_reason(odd: Path):
    readings = measure_all(((entry.name, entry) for entry in find([str(odd)])), Measurer())
    assert {Path(name).name for name in readings.skipped} == {"empty.mid", "cut.mid"}
    assert all(Path(name).name in reason for name, reason in readings.skipped.items())
    assert len(readings.songs) == 5
    assert "| files |" in markdown(evaluate({"files": readings.songs}, readings.songs[:2]))


def test_as_a_representation_holds_them(odd: Path):
    six = Measurer("museformer")
    refused = six(next(find([str(odd / "seven.mid")])))
    assert isinstance(refused, Failure)
    assert "4/4 only" in refused.detail
    held = six(next(find([str(odd / "song000.mid")])))
    assert not isinstance(held, Failure)
    expected = measure(build("museformer").normalise(read(odd / "song000.mid")))
    assert held.measured.figures == expected.figures
    plain = Measurer()(next(find([str(odd / "song000.mid")])))
    assert not isinstance(plain, Failure)
    assert plain.measured.figures["range"].keys() != held.measured.figures["range"].keys()


def test_the_first_bars_alone(odd: Path):
    song = next(find([str(odd / "song000.mid")]))
    begun = Measurer(bars=2)(song)
    assert not isinstance(begun, Failure)
    assert begun.measured.figures == measure(first_bars(read(odd / "song000.mid"), 2)).figures
    assert begun.measured.figures != measure(read(odd / "song000.mid")).figures


def test_tokens_for_a_likelihood_and_why_there_are_none(odd: Path):
    jobs = [(entry.name, entry) for entry in find([str(odd / "seven.mid"), str(odd / "song000.mid")])]
    readings = measure_all(jobs, Measurer(encoder="museformer"))
    assert len(readings.songs) == 2
    assert len(readings.tokens) == 1
    (name, reason), *_ = readings.refused.items()
    assert "seven.mid" in name
    assert "7/8" in reason


def test_a_folder_as_reference_is_halved_by_lot(tmp_path: Path):
    write_songs(tmp_path / "human", 9, bars=8)
    reference = open_reference(tmp_path / "human", songs=100)
    human = [name for name, _ in reference.human()]
    known = [key.split()[0] for key, _ in reference.known()]
    assert (len(human), len(known)) == (reference.human_count, reference.known_count) == (4, 5)
    assert not set(human) & set(known)
    again = open_reference(tmp_path / "human", songs=2, known=3)
    fewer = [name for name, _ in again.human()], [key.split()[0] for key, _ in again.known()]
    assert set(fewer[0]) < set(human)
    assert len(fewer[1]) == 3
    assert not set(fewer[0]) & set(fewer[1])


def test_what_a_manifest_calls_one_piece_is_on_one_side(tmp_path: Path):
    write_songs(tmp_path / "human", 12, bars=8)
    rows = [f"song{i:03d}.mid,{i // 3}" for i in range(12)]
    (tmp_path / "human" / "MANIFEST.csv").write_text("\n".join(["path,cluster", *rows]))
    reference = open_reference(tmp_path / "human", songs=3)
    human = {int(name[4:7]) // 3 for name, _ in reference.human()}
    known = {int(key[4:7]) // 3 for key, _ in reference.known()}
    assert len(human) in (1, 2)
    assert not human & known
    rows = [f"song{i:03d}.mid,{'test' if i in (4, 7) else 'train'}" for i in range(12)]
    (tmp_path / "human" / "MANIFEST.csv").write_text("\n".join(["path,split", *rows]))
    split = open_reference(tmp_path / "human", songs=5)
    assert sorted(name for name, _ in split.human()) == ["song004.mid", "song007.mid"]
    assert split.known_count == 10


def test_an_empty_reference_is_said(tmp_path: Path):
    (tmp_path / "human").mkdir()
    with pytest.raises(MusicError, match="human holds no MIDI file"):
        open_reference(tmp_path / "human", songs=5)


def test_copies_of_the_reference_are_found(tmp_path: Path):
    write_songs(tmp_path / "human", 6, bars=8)
    reference = open_reference(tmp_path / "human", songs=2)
    index = reference.build(None, tmp_path / "index", workers=1)
    assert index.songs == 4
    copied = [(key, job) for key, job in reference.known()][:1]
    found = measure_all(copied, Measurer()).songs
    human = measure_all(reference.human(), Measurer()).songs
    result = evaluate({"files": found}, human, known=index)
    assert result["originality"]["all_longest_run"]["files"]["highest"] == 32  # all of its bass
    assert result["originality"]["melody_found_16"]["files"]["median"] == 1
    assert result["originality"]["melody_found_16"]["human"]["median"] == 0


def test_prepared_tokens_as_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ritornello.data.encode import Filters
    from ritornello.data.prepare import prepare

    write_songs(tmp_path / "human", 12, bars=8)
    rows = [f"song{i:03d}.mid,{'test' if i < 3 else 'train'}" for i in range(12)]
    (tmp_path / "human" / "MANIFEST.csv").write_text("\n".join(["path,split", *rows]))
    prepare(tmp_path / "human", tmp_path / "tokens", "museformer", 1, filters=Filters(fewest_notes=10), progress=False)
    reference = open_reference(tmp_path / "tokens", songs=2)
    assert (reference.representation, reference.human_count, reference.known_count) == ("museformer", 2, 9)
    readings = measure_all(reference.human(), Measurer("museformer"))
    assert len(readings.songs) == 2
    assert reference.build("museformer", None, workers=1).songs == 9
    assert (tmp_path / "tokens" / "originality" / "00000.json").exists()
    expected = Measurer("museformer")(next(find([str(tmp_path / "human" / "song000.mid")])))
    assert not isinstance(expected, Failure)
    assert readings.songs[0].figures == expected.measured.figures

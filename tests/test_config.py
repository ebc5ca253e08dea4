"""Settings: TOML in and out, and the sentence a slip of the pen gets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from ritornello.config import Config
from ritornello.errors import ConfigError


class Attention(Config):
    offsets: tuple[int, ...] = (1, 2, 4)
    heads: int = Field(default=4, ge=1)


class Train(Config):
    lr: float = Field(default=3e-4, gt=0)
    warmup: int = 100
    clip: float | None = 1.0
    limit: int | None = None


class Recipe(Config):
    name: str
    attention: Attention = Attention()
    train: Train = Train()
    stages: tuple[Train, ...] = ()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "first"\n[train]\nlr = 1e-3\n')
    return path


def test_reads_a_file_and_fills_in_defaults(file: Path):
    recipe = Recipe.from_toml(file)
    assert recipe == Recipe(name="first", train=Train(lr=1e-3))


def test_overrides_are_toml_values_and_bare_words_are_text(file: Path):
    recipe = Recipe.from_toml(
        file, ["train.lr=5e-4", "attention.offsets=[1, 8]", "name=second song", "train.clip=none"]
    )
    assert recipe.train == Train(lr=5e-4, clip=None)
    assert recipe.attention.offsets == (1, 8)
    assert recipe.name == "second song"


def test_override_leaves_the_rest_as_it_was():
    recipe = Recipe(name="first", train=Train(clip=None, limit=3))
    assert recipe.override(["train.lr=1"]) == Recipe(name="first", train=Train(lr=1, clip=None, limit=3))
    assert recipe.train.lr == 3e-4


@given(
    st.builds(
        Recipe,
        name=st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda text: text != "none"),
        attention=st.builds(Attention, offsets=st.lists(st.integers(-9, 9)).map(tuple), heads=st.integers(1, 99)),
        train=st.builds(
            Train,
            lr=st.floats(1e-9, 1e9),
            clip=st.none() | st.floats(-9, 9),
            limit=st.none() | st.integers(-(2**40), 2**40),
        ),
        stages=st.lists(st.builds(Train, clip=st.none() | st.just(2.0)), max_size=3).map(tuple),
    )
)
def test_to_toml_reads_back_equal(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe):
    path = tmp_path_factory.getbasetemp() / "round.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.from_toml(path) == recipe


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.lrr=3", "there is no setting train.lrr; the nearest known one is train.lr."),
        ("warmpu=3", "there is no setting warmpu; the nearest known one is train.warmup."),
        ("zzz=3", "there is no setting zzz; known here: name, attention, train, stages."),
        ("train.lr=-1", "train.lr = -1 should be greater than 0."),
        ("train.warmup=soon", "train.warmup = 'soon' should be a valid integer."),
        ("attention=3", "attention = 3 should be a table of settings."),
        ("attention.offsets=[1, 'x']", "attention.offsets.1 = 'x' should be a valid integer."),
        ("name.first=3", "name is a single value here, it has no settings inside."),
        ("train.lr", "expected key=value, for example --set train.lr=3e-4."),
    ],
)
def test_a_wrong_override_is_one_sentence_that_names_it(file: Path, override: str, sentence: str):
    with pytest.raises(ConfigError, match=re.escape(f"--set {override}: {sentence}") + "$"):
        Recipe.from_toml(file, ["name=fine", override])


def test_a_wrong_key_in_the_file_names_the_file(file: Path):
    file.write_text('name = "first"\n[train]\nlearning = 1\n')
    with pytest.raises(ConfigError, match=r"recipe\.toml: there is no setting train\.learning; known here: train\.lr"):
        Recipe.from_toml(file, ["train.warmup=3"])


@pytest.mark.parametrize("text", ["name = ", "\xff", "[train]\nlr = 1e-3\n"])
def test_an_unreadable_or_incomplete_file_names_the_file(file: Path, text: str):
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"recipe\.toml"):
        Recipe.from_toml(file)


def test_a_missing_file_says_so(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read as TOML settings: No such file"):
        Recipe.from_toml(tmp_path / "none.toml")


def test_the_class_itself_complains_alike():
    with pytest.raises(ConfigError, match=r"^there is no setting warmpu; the nearest known one is warmup\.$"):
        Train(warmpu=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ConfigError, match=r"^train\.lr = -1 should be greater than 0\.$"):
        Recipe(name="first", train={"lr": -1})  # pyright: ignore[reportArgumentType]


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        Train().lr = 1.0  # pyright: ignore[reportAttributeAccessIssue]

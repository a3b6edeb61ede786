"""Presets: what they hold, who wins, and that a job is the same however its settings were given."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.client import Client
from ftjobs.errors import ConfigError, UnsupportedError
from ftjobs.jobs.jobfile import dumps, parse_job, read_job
from ftjobs.jobs.preset import find, names, read_preset, settings
from ftjobs.schema import Capabilities, Job

TRAIN = Path(__file__).parents[2] / "datasets/support/train.jsonl"
LEAST = 'model = "m"\n[data]\ntrain = "t.jsonl"\n'
MINE = "[hyperparameters]\nn_epochs = 7\nlora_r = 4\n"


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(steps=1, models=("m",))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return path


# --- what ships ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_what_ships_is_whole(name: str) -> None:
    preset = read_preset(name)
    assert 20 < len(preset.description) < 80
    assert preset.hyperparameters.given()


def test_the_tutorial_of_h2o() -> None:
    assert read_preset("h2o-tutorial").hyperparameters.given() == {
        "lora_r": 4,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "optimizer": "adamw",
        "learning_rate": 1.5e-4,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0,
        "batch_size": 4,
        "n_epochs": 50,
        "validation_split": 0.01,
    }


# --- which one is meant -------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["mine.toml", "./mine", "../a/mine", "/mine", "a\\mine", ".toml"])
def test_a_path_is_told_from_a_name(path: str) -> None:
    assert find(path) == Path(path)


def test_a_path_object_is_a_path_whatever_it_is_called() -> None:
    assert find(Path("h2o-tutorial")) == Path("h2o-tutorial")
    assert find("h2o-tutorial") == "h2o-tutorial"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("h2o-tutoral", "Did you mean h2o-tutorial?"), ("zzz", "Known: "), ("", "Known: ")],
)
def test_an_unknown_name_lists_the_known(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="no preset") as error:
        read_preset(name)
    assert hint in error.value.hint
    assert "h2o-tutorial" in error.value.hint


# --- files --------------------------------------------------------------------------------------


def test_a_file(mine: Path) -> None:
    assert read_preset(str(mine)).hyperparameters.given() == {"n_epochs": 7, "lora_r": 4}


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("", "hyperparameters is missing", "[hyperparameters]"),
        ("[hyperparameters]\nepochs = 3\n", "unknown key 'hyperparameters.epochs'", "n_epochs"),
        ("lora_r = 3\n", "unknown key 'lora_r'", "hyperparameters.lora_r"),
        ("[hyperparameters]\nlora_r = 0\n", "hyperparameters.lora_r: ", ""),
        ('[hyperparameters]\nlora_r = "4"\n', "hyperparameters.lora_r: ", ""),
        ('[hyperparameters]\noptimizer = "lion"\n', "hyperparameters.optimizer: ", ""),
        (f"description = 3\n{MINE}", "description: ", ""),
        (f'model = "m"\n{MINE}', "unknown key 'model'", "a job file"),
        (f'{MINE}[data]\ntrain = "secret.jsonl"\n', "unknown key 'data'", "a job file"),
        ("[hyperparameters", "", "TOML"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, words: str, hint: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_preset(path)
    assert error.value.message.startswith(f"{path}: ")
    assert words in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * 2**21])
def test_a_file_that_is_something_else(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"mine\.toml: "):
        read_preset(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_preset(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="directory"):
        read_preset(tmp_path)
    with pytest.raises(ConfigError, match="cannot be a path"):
        read_preset("./\0")


@given(st.text(max_size=200))
def test_any_text_is_a_preset_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        assert read_preset(text).hyperparameters.given()


# --- who wins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"n_epochs": 7, "lora_r": 4}),
        ({"n_epochs": 3}, {"n_epochs": 3, "lora_r": 4}),
        ({"n_epochs": None}, {"n_epochs": 7, "lora_r": 4}),
        ({"n_epochs": "auto"}, {"n_epochs": "auto", "lora_r": 4}),
        ({"seed_of": 1}, {"n_epochs": 7, "lora_r": 4, "seed_of": 1}),  # judged with the rest
    ],
)
def test_what_is_given_wins(mine: Path, given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert settings(mine, given) == wanted
    assert settings(None, given) == given


def identity(backend: FakeBackend, **how: Any) -> str:
    return Client(backend).plan(TRAIN, model="m", **how).identity


def test_the_same_settings_are_the_same_job(backend: FakeBackend, mine: Path) -> None:
    by_hand = identity(backend, n_epochs=7, lora_r=4)
    assert identity(backend, preset=mine) == by_hand
    assert identity(backend, preset=str(mine), lora_r="4") == by_hand
    assert identity(backend, preset=mine, lora_r=8) == identity(backend, n_epochs=7, lora_r=8)
    assert identity(backend, preset=mine, n_epochs="auto") == identity(backend, lora_r=4)
    shipped = read_preset("h2o-tutorial").hyperparameters.given()
    assert identity(backend, preset="h2o-tutorial") == identity(backend, **shipped)


def test_a_second_submission_by_hand_adopts_the_first(backend: FakeBackend, mine: Path) -> None:
    first: Job = Client(backend).submit(TRAIN, model="m", preset=mine)
    assert Client(backend).submit(TRAIN, model="m", n_epochs=7, lora_r=4).id == first.id
    assert first.hyperparameters["n_epochs"] == 7


def test_a_backend_refuses_what_it_lacks_before_an_upload(mine: Path) -> None:
    wire = FakeBackend(models=("m",), capabilities=Capabilities())
    with pytest.raises(UnsupportedError, match="lora_r"):
        Client(wire).submit(TRAIN, model="m", preset=mine)
    assert not list(wire.files())


# --- in a job file ------------------------------------------------------------------------------


def test_a_job_file_names_a_preset_or_a_file(tmp_path: Path, mine: Path) -> None:
    (tmp_path / "t.jsonl").touch()
    file = tmp_path / "job.toml"
    for preset, wanted in (("h2o-tutorial", "h2o-tutorial"), ("mine.toml", mine)):
        file.write_text(f'preset = "{preset}"\n{LEAST}')
        assert read_job(file).preset == wanted


@pytest.mark.parametrize("preset", ["h2o-tutorial", "presets/mine.toml"])
def test_what_is_written_is_read_again(preset: str) -> None:
    job = parse_job(f'preset = "{preset}"\n{LEAST}')
    assert parse_job(dumps(job)) == job


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ('"h2o-tutoral"', "Did you mean h2o-tutorial?"),
        ("3", "must be the name of a preset"),
        ('""', "must be the name of a preset"),
        ('"./\\u0000.toml"', "must be the name of a preset"),
    ],
)
def test_a_job_files_error_names_file_and_key(preset: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_job(f"preset = {preset}\n{LEAST}", "my.toml")
    assert error.value.message.startswith("my.toml: preset: ")
    assert words in error.value.message


def test_a_preset_that_a_job_file_names_and_nobody_finds(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").touch()
    (tmp_path / "job.toml").write_text(f'preset = "none.toml"\n{LEAST}')
    with pytest.raises(ConfigError, match=r"job\.toml: preset: no file none\.toml"):
        read_job(tmp_path / "job.toml")

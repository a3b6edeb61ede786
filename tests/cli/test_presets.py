"""`--preset`, and the headings under which help shows what can be set."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import click
import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import fields, plan, root, submit
from ftjobs.cli.app import Command
from ftjobs.errors import ExitCode
from ftjobs.jobs.preset import names
from ftjobs.schema import Hyperparameters
from tests.cli.conftest import TRAIN, Run

MINE = "[hyperparameters]\nn_epochs = 7\nlora_r = 4\nlora_alpha = 8\n"
MODEL = ("--model", "fake-base")


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.toml").write_text(MINE)
    return "mine.toml"  # tests run in this folder


def settings(run: Run, *args: str) -> dict[str, object]:
    """The settings of the job that a command line plans."""
    result = run("plan", *args, "--json")
    assert result.code == 0, result.err
    chosen = result.rows[0]["spec"]["hyperparameters"]
    return {name: value for name, value in chosen.items() if value is not None}


def test_options_win_over_a_preset(run: Run, mine: str) -> None:
    assert settings(run, TRAIN, *MODEL, "--preset", mine, "--lora-r", "16") == {
        "n_epochs": 7,
        "lora_r": 16,
        "lora_alpha": 8.0,
    }


def test_options_win_over_a_job_file_and_that_over_its_preset(run: Run, mine: str) -> None:
    text = f'model = "fake-base"\npreset = "{mine}"\n[data]\ntrain = "{TRAIN}"\n'
    Path("job.toml").write_text(f"{text}[hyperparameters]\nlora_r = 16\nlora_alpha = 32\n")
    wanted = {"n_epochs": 7, "lora_r": 16, "lora_alpha": 64.0}
    assert settings(run, "job.toml", "--lora-alpha", "64") == wanted


def test_a_preset_of_the_command_line_takes_the_place_of_the_files(run: Run, mine: str) -> None:
    Path("other.toml").write_text("[hyperparameters]\nbatch_size = 2\n")
    text = f'model = "fake-base"\npreset = "{mine}"\n[data]\ntrain = "{TRAIN}"\n'
    Path("job.toml").write_text(f"{text}[hyperparameters]\nn_epochs = 3\n")
    assert settings(run, "job.toml", "--preset", "other.toml") == {"batch_size": 2, "n_epochs": 3}


def test_submitting_by_preset_and_by_hand_is_one_job(
    run: Run, mine: str, backend: FakeBackend
) -> None:
    by_preset = run("submit", TRAIN, *MODEL, "--preset", mine)
    hand = ("--n-epochs", "7", "--lora-r", "4", "--lora-alpha", "8")
    assert run("submit", TRAIN, *MODEL, *hand).out == by_preset.out
    assert len([*backend.jobs()]) == 1


def test_an_unknown_preset_lists_them_and_sends_nothing(run: Run, backend: FakeBackend) -> None:
    result = run("submit", TRAIN, *MODEL, "--preset", "h2o")
    assert result.code == ExitCode.USAGE
    assert "h2o-tutorial" in result.err
    assert not [*backend.files()]


@pytest.mark.parametrize("command", ["plan", "submit"])
def test_help_lists_presets_and_needs_nothing_else(run: Run, command: str) -> None:
    result = run(command, "--preset", "help")
    assert (result.code, result.err) == (0, "")
    heads = re.findall(r"^(\S+): \S", result.out, re.MULTILINE)
    assert heads == [*names()]
    assert "    learning_rate = 0.00015\n" in result.out


# --- headings -----------------------------------------------------------------------------------


def test_every_hyperparameter_is_under_one_heading() -> None:
    assert sorted(chain(*fields.SECTIONS.values())) == sorted(Hyperparameters.model_fields)


@pytest.mark.parametrize("command", [plan.command, submit.command])
def test_help_shows_every_option_once(command: Command) -> None:
    context = click.Context(command, info_name="ftjobs")
    grouped = command.options_by_section(context)
    shown = [*chain(*grouped.values())]
    assert sorted(o.name or "" for o in shown) == sorted(
        p.name or "" for p in command.get_params(context) if isinstance(p, click.Option)
    )
    assert {option.opts[0] for option in grouped["Options"]} == {"--backend", "--debug", "--help"}


@pytest.mark.parametrize("width", [80, 100])
def test_descriptions_begin_in_one_column(width: int) -> None:
    context = click.Context(root, info_name="ftjobs", terminal_width=width)
    text = submit.command.get_help(click.Context(submit.command, context, "submit"))
    options = text.partition("What to train:")[2]
    found = re.finditer(r"^  -.*?\S {2,}(?=\S)", options, re.MULTILINE)
    columns = {len(match[0]) for match in found}
    assert columns == {34}
    assert max(map(len, text.splitlines())) <= width

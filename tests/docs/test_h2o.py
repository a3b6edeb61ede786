"""The page for users of H2O LLM Studio: nothing of theirs is missing, what it names is there."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftjobs.cli import main
from ftjobs.jobs.preset import Preset
from ftjobs.schema import Hyperparameters, Sampling
from tests.docs.pages import ROOT, Page

PAGE = Page(ROOT / "docs/how-to/from-h2o-llm-studio.md")
SETTINGS = {
    "prompt_column", "answer_column", "validation_size", "validation_dataframe",
    "text_prompt_start", "text_answer_separator", "add_eos_token_to_prompt",
    "add_eos_token_to_answer", "mask_prompt_labels", "max_length_prompt", "max_length_answer",
    "max_length", "padding_quantile", "token_mask_probability", "backbone_dtype",
    "gradient_checkpointing", "force_embedding_gradients", "intermediate_dropout",
    "loss_function", "optimizer", "learning_rate", "batch_size", "drop_last_batch", "epochs",
    "schedule", "warmup_epochs", "weight_decay", "gradient_clip", "grad_accumulation",
    "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "save_checkpoint",
    "evaluation_epochs", "evaluate_before_training", "metric", "min_length_inference",
    "max_length_inference", "do_sample", "num_beams", "temperature", "repetition_penalty",
    "top_k", "top_p", "mixed_precision", "number_of_workers", "seed", "system_column",
    "id_column", "parent_id_column",
}  # fmt: skip
OURS = {*Hyperparameters.model_fields, *Sampling.model_fields}
VALUES = {
    "float32", "bfloat16", "float16", "int8", "int4", "auto", "adamw", "adamw_8bit", "adam",
    "adadelta", "rmsprop", "sgd", "cosine", "linear", "constant", "loss", "perplexity", "bleu",
    "instruction", "input", "output", "system", "id", "parent_id", "rejected", "rejected_response",
    "warmup_epochs", "epochs", "submit", "integrations",
}  # fmt: skip
"""What the right column names that is no setting: values, columns, and words of the left one."""


def rows() -> Iterator[tuple[list[str], str]]:
    """The settings of each row, and what stands for them here."""
    for left, right in re.findall(r"^\| (`.*?) \| (.*) \|$", PAGE.prose, re.MULTILINE):
        yield re.findall(r"`(\w+)`", left), right


def test_no_setting_is_missing() -> None:
    assert {name for names, _ in rows() for name in names} >= SETTINGS


def test_what_is_named_is_there() -> None:
    named = {name for _, right in rows() for name in re.findall(r"`([a-z][\w]*)`", right)}
    assert named - VALUES <= OURS
    assert len(named & OURS) > 20


def test_the_same_names_are_the_same() -> None:
    same = [name for names, right in rows() if right.startswith("the same") for name in names]
    assert set(same) <= OURS
    assert len(same) > 10


def test_every_setting_has_an_answer() -> None:
    assert all(right for _, right in rows())
    assert len([*rows()]) > 60


def test_its_preset_is_one() -> None:
    (text,) = (block.text for block in PAGE.blocks if block.language == "toml")
    preset = Preset.model_validate(tomllib.loads(text))
    assert preset.hyperparameters.given()


def test_its_conversion_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    monkeypatch.chdir(tmp_path)
    (text,) = (block.text for block in PAGE.blocks if block.language == "console")
    first, *printed = text.splitlines()
    assert main(shlex.split(first.removeprefix("$ ftjobs "))) == 0
    done = capsys.readouterr()
    assert (done.out + done.err).splitlines() == printed
    assert (tmp_path / "one-fact.jsonl").read_bytes()

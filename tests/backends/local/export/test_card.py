"""Model cards: read by the hub's own library, the same every time, and silent on what was said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.local.export import about as knowing
from ftjobs.backends.local.export import card
from ftjobs.backends.local.export.about import About, Found, Licence
from ftjobs.backends.local.export.uses import slug
from ftjobs.backends.local.models import BaseModel
from tests.backends.local.export.conftest import NAME, TRAINING

FORMS = ("checkpoint", "adapter", "merged", "gguf", "ollama")
ABOUT = About(
    base="owner/base-1b",
    fingerprint="0123456789abcdef" * 4,
    hub_id="owner/base-1b",
    task="text-generation",
    licence=Licence("other", "Their own: terms", "https://example.org/terms"),
    training=TRAINING,
)
FOUND = Found({"difference by merging": "1e-7"}, rank=8, file="model-q8_0.gguf")


def read(text: str) -> dict[str, Any]:
    data = ModelCard(text, ignore_metadata_errors=False).data
    return dict(data.to_dict())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("form", FORMS)
def test_the_hub_reads_the_front_matter(form: str) -> None:
    said = read(card.text(ABOUT, form, FOUND))
    assert said["base_model"] == "owner/base-1b"
    assert said["license"] == "other"
    assert said["license_name"] == "Their own: terms"
    assert said["pipeline_tag"] == "text-generation"
    assert {"ftjobs", "lora", "supervised"} <= set(said["tags"])
    assert said.get("library_name") == {
        "checkpoint": "peft", "adapter": "peft", "merged": "transformers",
    }.get(form)  # fmt: skip
    is_adapter = form in ("checkpoint", "adapter")
    assert said["base_model_relation"] == ("adapter" if is_adapter else "finetune")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("checkpoint", f"ftjobs chat {NAME}"),
        ("adapter", "--max-lora-rank 8"),
        ("adapter", 'PeftModel.from_pretrained(base, ".")'),
        ("merged", "vllm serve ."),
        ("merged", 'pipeline("text-generation", model=".")'),
        ("gguf", "llama-server -m model-q8_0.gguf"),
        ("ollama", "ollama create tiny-support-v1-a1b2c3d4-ckpt-step-12 -f Modelfile"),
    ],
)
def test_a_card_says_how_its_form_is_used(form: str, words: str) -> None:
    assert words in card.text(ABOUT, form, FOUND)


def test_a_card_says_what_was_done() -> None:
    text = card.text(ABOUT, "merged", FOUND)
    for words in (
        "| training | 12 | " + "ab" * 32,
        "| validation | 2 | " + "cd" * 32,
        "| learning_rate | 0.0005 |",
        '| lora_target_modules | ["q_proj"] |',
        "| full_valid_loss | 0.5 |",
        "lowest full_valid_loss so far (step 6) | 0.375",
        "step 12 of 24",
        "`0123456789abcdef`",
        "| difference by merging | 1e-7 |",
        "names `Their own: terms` as its licence",
    ):
        assert words in text, words


def test_what_is_not_known_is_not_said() -> None:
    bare = About(base="/secret/place/model", fingerprint="f" * 64)
    text = card.text(bare, "merged")
    assert read(text) == {"library_name": "transformers", "tags": ["ftjobs"]}
    assert "/secret/place" not in text
    assert "look at its own page" in text
    assert "## Training" not in text


def test_the_default_model_tells_where_its_weights_come_from(tmp_path: Path) -> None:
    base = BaseModel("smollm2-135m", "smollm2-135m", tmp_path, "f" * 64)
    about = knowing.of_base(base)
    assert about.hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert about.licence == Licence("apache-2.0")
    assert "Q4_1" in card.text(about, "merged")


@given(words=st.text(max_size=60), form=st.sampled_from(FORMS))
def test_whatever_a_name_holds_the_card_stays_one(words: str, form: str) -> None:
    training = dataclasses.replace(TRAINING, model=words, recipe={words: words})
    licence = Licence("mit", words, words)
    about = dataclasses.replace(ABOUT, training=training, licence=licence, base=words, hub_id=words)
    text = card.text(about, form, FOUND)
    if words.isprintable():
        assert read(text)["license"] == "mit"
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings[-1] == "## Licence"
    assert len(headings) == 4
    assert text.count("\n---\n") == 1


@given(name=st.text(max_size=80))
def test_a_slug_is_a_name_for_files_and_for_ollama(name: str) -> None:
    import re

    found = slug(About(base=name, fingerprint="", training=None))
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", found)
    assert not found.endswith((".", "-"))


# --- licences ---------------------------------------------------------------------------------


def licence_of(folder: Path) -> Licence | None:
    return knowing.licence(BaseModel(str(folder), "m", folder, "f"))


def test_a_licence_is_taken_from_the_bases_own_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nlicense: llama3.2\nlicense_name: x\ntags: [a]\n---\n# text\nlicense: mit\n"
    )
    assert licence_of(tmp_path) == Licence("llama3.2", "x")


def test_or_from_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"license": "apache-2.0"}))
    assert licence_of(tmp_path) == Licence("apache-2.0")


@pytest.mark.parametrize(
    "text",
    ["", "no front matter", "---\n: [\n---\n", "---\nlicense: [a, b]\n---\n", "---\n- a\n---\n",
     "---\nlicense: 'a b\\n# x'\n---\n", "---\nlicense: !!python/object:os.system x\n---\n"],
)  # fmt: skip
def test_a_card_that_names_none_is_no_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert licence_of(tmp_path) is None


def test_a_cached_snapshot_is_known_by_its_hub_id(tmp_path: Path) -> None:
    folder = tmp_path / "models--owner--base-1b" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    assert knowing.hub_id(BaseModel(str(folder), "m", folder, "f")) == "owner/base-1b"
    assert knowing.hub_id(BaseModel(str(tmp_path), "m", tmp_path, "f")) == ""
    assert knowing.hub_id(BaseModel("owner/other", "m", folder, "f")) == "owner/other"

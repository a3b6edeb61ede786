"""The settings of training mean the same in every family."""

from __future__ import annotations

from typing import Any

import pytest

from ftjobs.backends.local.backend import LocalBackend
from ftjobs.errors import TrainingError
from tests.backends.local.families.conftest import MOODS, QUESTIONS, Builder, ask, losses, train

KINDS = {
    "Llama": "q_proj",
    "Gemma2": "up_proj",
    "GPT2": "c_attn",
    "T5": "SelfAttention.q",
    "BERT": "query",
}
"""Families, and a layer of each."""


def first_loss(backend: LocalBackend, model: Builder, kind: str, **settings: Any) -> float:
    rows = MOODS if kind == "BERT" else QUESTIONS
    return losses(backend.store, train(backend, model(kind), rows, n_epochs=1, **settings))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_reads_hidden_inputs(kind: str, model: Builder, backend: LocalBackend) -> None:
    plain = first_loss(backend, model, kind)
    assert first_loss(backend, model, kind) == plain
    assert first_loss(backend, model, kind, token_mask_probability=0.5) != plain


@pytest.mark.parametrize("kind", KINDS)
def test_every_family_learns_with_dora_on_chosen_layers(
    kind: str, model: Builder, backend: LocalBackend
) -> None:
    rows = MOODS if kind == "BERT" else QUESTIONS
    settings = {"use_dora": True, "use_rslora": True, "lora_dropout": 0.1, "optimizer": "adam"}
    targets = (KINDS[kind],)
    job = train(backend, model(kind), rows, n_epochs=6, lora_target_modules=targets, **settings)
    told = losses(backend.store, job)
    assert told[-1] < told[0]
    answer = ask(backend, job.fine_tuned_model or "", rows[0][0])
    assert kind != "BERT" or answer in {"positive", "negative"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_a_family_lacks_is_refused_with_those_that_it_has(
    kind: str, model: Builder, backend: LocalBackend
) -> None:
    with pytest.raises(TrainingError, match="no linear layer 'qkv'; they have") as caught:
        first_loss(backend, model, kind, lora_target_modules=("qkv",))
    assert KINDS[kind].rpartition(".")[2] in caught.value.message
    assert "classifier" not in caught.value.message
    assert "lm_head" not in caught.value.message

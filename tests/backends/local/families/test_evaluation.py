"""Every family is asked in mid-training, with its weights as they stand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftjobs.backends.local import models
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.training.bleu import Question
from ftjobs.backends.local.training.classifier import choose
from ftjobs.backends.local.training.processes import deal
from ftjobs.backends.local.training.writing import Greedy, Letters
from tests.backends.local.families.conftest import MOODS, QUESTIONS, Builder, train
from tests.backends.local.families.test_scores import adapted
from tests.backends.local.families.test_training import DECODERS

PROMPTS = [list(range(5, 5 + size)) for size in (4, 90, 17, 4)]
"""Ragged, and one of them longer than the windows of Gemma's layers."""
LIMITS = [12, 9, 14, 1]


def generated(model: Any, prompt: list[int], limit: int) -> list[int]:
    """What transformers writes to one prompt that it reads alone."""
    ids = torch.tensor([prompt])
    own: list[int] = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False
    )[0].tolist()
    return own[1:] if model.config.is_encoder_decoder else own[len(prompt) :]


@pytest.mark.parametrize("kind", [*DECODERS, "T5"])
def test_answers_are_those_that_transformers_writes_alone(kind: str, model: Builder) -> None:
    made, tokenizer = adapted(kind, model), models.load_tokenizer(model(kind))
    stops = models.stop_ids(tokenizer, model(kind))
    made.train()
    found = Greedy(made, Letters(tokenizer, stops)).write(PROMPTS, LIMITS)
    assert made.training
    made.eval()
    for prompt, limit, text in zip(PROMPTS, LIMITS, found, strict=True):
        ids = generated(made, prompt, limit)
        assert text == tokenizer.decode(ids, skip_special_tokens=True)


def test_a_classifier_gives_one_of_its_answers(model: Builder) -> None:
    made, tokenizer = adapted("BERT", model), models.load_tokenizer(model("BERT"))
    letters = Letters(tokenizer, frozenset(), ("a", "b", "c"))
    prompts = [prompt[:20] for prompt in PROMPTS]
    with torch.no_grad():
        wanted = ["abc"[int(choose(made.eval(), [p]).argmax())] for p in prompts]
    assert Greedy(made, letters).write(prompts, LIMITS) == wanted


@pytest.mark.parametrize(
    ("kind", "rows"), [("T5", QUESTIONS), ("BERT", MOODS), ("GPT2", QUESTIONS)]
)
def test_bleu_of_every_family_is_a_metric(
    kind: str, rows: list[Any], model: Builder, backend: LocalBackend
) -> None:
    settings = {"n_epochs": 2, "evaluation_metric": "bleu", "validation_split": 0.3}
    job = train(
        backend, model(kind), rows, **settings, save_best_checkpoint=True,
        evaluate_before_training=True,
    )  # fmt: skip
    assert job.status == "succeeded", job.error
    found = [e.data for e in backend.events(job.id) if "full_valid_bleu" in e.data]
    assert len(found) == 3
    assert all(0 <= data["full_valid_bleu"] <= 100 for data in found)
    if kind == "BERT":  # BLEU of a whole answer or of another one
        rates = [data["full_valid_mean_token_accuracy"] for data in found]
        assert [data["full_valid_bleu"] / 100 for data in found] == pytest.approx(rates)


def test_processes_share_questions_out() -> None:
    questions = [Question(tuple(range(size)), "x", 5) for size in (3, 50, 7, 20, 4)]
    hands = deal([[question] for question in questions], 2)
    shared = [question for hand in hands for _, part in hand for question in part]
    assert sorted(shared, key=lambda q: q.size) == sorted(questions, key=lambda q: q.size)
    assert all(hands)

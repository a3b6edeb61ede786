"""Likelihoods: the numbers of the training loop, token for token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from ftjobs.backends.base import Likelihood
from ftjobs.backends.local.answers import likelihood
from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.answers.likelihood import foresee, likelihoods, tokens_of
from ftjobs.backends.local.training import loop
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.objectives import Supervised
from ftjobs.backends.local.training.padded import Padded
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Tokens
from ftjobs.schema import ChatMessage, Example
from tests import tiny
from tests.backends.local.adapters import save_adapter

RECIPE = Recipe(
    n_epochs=1, batch_size=4, learning_rate=1e-4, warmup_steps=0, lora_r=4, lora_alpha=8,
    lora_dropout=0.0, seed=1, dtype="float32", device="cpu", threads=1, micro_batch_tokens=100,
)  # fmt: skip


def chat(*contents: str) -> list[ChatMessage]:
    roles = ("user", "assistant")
    return [ChatMessage(role=roles[n % 2], content=text) for n, text in enumerate(contents)]


CHATS = [chat("q" * n, "an answer " * (1 + n % 5) + str(n)) for n in range(1, 20)]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return Engine(tiny_model, dtype="float32", device="cpu")


def rows(engine: Engine) -> list[Tokens]:
    return [engine.renderer(None).example(Example(messages=tuple(each))) for each in CHATS]


def scores(found: Sequence[object]) -> list[Likelihood]:
    assert all(isinstance(each, Likelihood) for each in found)
    return [each for each in found if isinstance(each, Likelihood)]


def test_they_add_up_to_the_loss_of_validation(engine: Engine, tiny_model: Path) -> None:
    fresh = Engine(tiny_model, dtype="float32", device="cpu").model
    examples = rows(engine)
    run = loop.Run(add_adapter(fresh, RECIPE), RECIPE, examples, examples)
    wanted = run.evaluate(examples)
    found = scores(list(likelihoods(engine, None, CHATS)))
    total = sum(each.tokens for each in found)
    assert total == sum(row.targets for row in examples)
    assert sum(each.loss for each in found) / total == pytest.approx(wanted.loss, rel=1e-6)
    assert sum(each.correct for each in found) / total == wanted.accuracy


@pytest.mark.parametrize(("budget", "numbers"), [(1, 264), (64, 264 * 3), (2048, 2**24)])
def test_every_row_has_its_loss_however_it_is_cut(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, budget: int, numbers: int
) -> None:
    monkeypatch.setattr(likelihood, "HEAD_NUMBERS", numbers)
    monkeypatch.setattr(likelihood, "READ_TOKENS", max(7, budget // 8))
    examples = [tokens_of(engine, None, each) for each in CHATS]
    found = dict(foresee(engine, "", examples, budget=budget))
    for number, row in enumerate(examples):
        wanted = Supervised(Padded(engine.model)).measure([row])
        assert found[number].loss == pytest.approx(wanted.loss.item(), rel=1e-5)
        assert (found[number].tokens, found[number].correct) == (row.targets, wanted.hits)


def test_the_adapter_foresees(engine: Engine, tiny_model: Path, tmp_path: Path) -> None:
    adapter = save_adapter(tmp_path / "adapter", tiny_model, seed=4)
    base = scores(list(likelihoods(engine, None, CHATS[:3])))
    tuned = scores(list(likelihoods(engine, adapter, CHATS[:3])))
    assert [each.tokens for each in base] == [each.tokens for each in tuned]
    assert all(abs(a.loss - b.loss) > 0.1 for a, b in zip(base, tuned, strict=True))


def test_only_the_last_turn_counts(engine: Engine) -> None:
    turns = chat("one", "first answer", "two", "second")
    (found,) = scores(list(likelihoods(engine, None, [turns])))
    assert found.tokens == len("second") + 1  # a token a byte, and the one that ends the turn
    weighed = [turn.model_copy(update={"weight": 0}) for turn in turns]
    assert list(likelihoods(engine, None, [weighed])) == [found]


def test_errors_stand_where_their_conversation_does(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "TOGETHER", 3)
    asked = [CHATS[0], chat("no answer"), chat("x", "y" * 600), [], CHATS[1], CHATS[2]]
    found = list(likelihoods(engine, None, asked))
    assert [isinstance(each, Likelihood) for each in found] == [
        True,
        False,
        False,
        False,
        True,
        True,
    ]
    assert "does not end with an answer" in str(found[1])
    assert "the limit is 512" in str(found[2])
    assert "y" * 9 not in str(found[2])
    assert found[4:] == list(likelihoods(engine, None, CHATS[1:3]))


def test_weights_that_are_no_numbers_are_an_error(
    engine: Engine, tiny_model: Path, tmp_path: Path
) -> None:
    adapter = save_adapter(tmp_path / "adapter", tiny_model, std=math.nan)
    found = list(likelihoods(engine, adapter, CHATS[:2]))
    assert [str(each) for each in found] == ["its weights give no numbers"] * 2


def test_a_model_whose_rows_cannot_be_batched(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    config = LlamaConfig(
        vocab_size=264, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=512, rope_parameters=rope, eos_token_id=257,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tiny.save_tokenizer(tmp_path)
    engine = Engine(tmp_path, dtype="float32", device="cpu")
    assert engine.layers == 0
    for found, row in zip(likelihoods(engine, None, CHATS[:3]), rows(engine), strict=False):
        assert isinstance(found, Likelihood)
        loss = Supervised(Padded(engine.model)).measure([row]).loss
        assert found.loss == pytest.approx(loss.item(), rel=1e-5)

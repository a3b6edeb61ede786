import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from ftjobs.backends.base import Foresees, Likelihood
from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.errors import BackendError, ConfigError, ModelError, NotFoundError
from ftjobs.evals.arms import Arm
from ftjobs.evals.graders import Item, perplexity, token_accuracy
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer, Mark
from ftjobs.schema import ChatMessage
from tests import tiny
from tests.evals.graders.marking import QUESTION, nobody

Found = Likelihood | BackendError | ConfigError


class Oracle(FakeBackend):
    """Foresees a character of the last turn with a loss of 2 nats, or what `loss` says."""

    def __init__(self, loss: float = 2.0) -> None:
        super().__init__()
        self.loss = loss
        self.asked: list[tuple[str, list[list[ChatMessage]]]] = []

    def likelihoods(
        self, model: str, conversations: Sequence[Sequence[ChatMessage]]
    ) -> Iterator[Found]:
        self.asked.append((model, [list(each) for each in conversations]))
        for conversation in conversations:
            text = str(conversation[-1].content)
            if text == "unknown":
                yield NotFoundError("no such model")
            elif text == "too long":
                yield ModelError("a conversation is longer than the model reads")
            else:
                yield Likelihood(self.loss * (len(text) + 1), len(text) + 1, len(text) // 2)


def item(arm: Arm, expected: str | None) -> Item:
    return Item(Prompt(QUESTION, expected), Answer(text="whatever"), arm)


def test_scores_are_log_likelihoods_and_shares_of_tokens() -> None:
    backend = Oracle()
    assert isinstance(backend, Foresees)
    items = [item(Arm("a", "m", backend), "abc")]
    assert perplexity().grade(items, nobody) == [Mark(score=-2, note="perplexity 7.39")]
    assert token_accuracy().grade(items, nobody) == [Mark(score=1 / 4, note="1 of 4 tokens")]


def test_nothing_is_computed_twice_and_each_model_is_asked_once() -> None:
    backend, other = Oracle(), Oracle(loss=1)
    base, tuned = Arm("base", "m", backend), Arm("tuned", "ft:m", backend)
    far = Arm("far", "m", other)
    items = [item(arm, text) for text in ("abc", "de") for arm in (base, tuned, far)]
    items += items[:3]  # several samples
    marks = perplexity().grade(items, nobody)
    assert [mark.score for mark in marks] == [-2, -2, -1] * 3
    token_accuracy().grade(items, nobody)
    assert [(model, len(each)) for model, each in backend.asked] == [("m", 2), ("ft:m", 2)]
    assert [(model, len(each)) for model, each in other.asked] == [("m", 2)]


def test_the_model_is_shown_what_the_arm_is_sent() -> None:
    backend = Oracle()
    example = Prompt((ChatMessage(role="user", content="2 + 2?"),), "4")
    arm = Arm("few", "m", backend, system="Be brief.", examples=(example,))
    perplexity().grade([item(arm, "abc"), item(replace(arm, system=None), "abc")], nobody)
    ((_, conversations),) = backend.asked
    assert [(m.role, m.content) for m in conversations[0]] == [
        ("system", "Be brief."),
        ("user", "2 + 2?"),
        ("assistant", "4"),
        ("user", "What?"),
        ("assistant", "abc"),
    ]
    assert conversations[1] == conversations[0][1:]


def test_what_cannot_be_foreseen_has_no_score_and_says_why() -> None:
    backend = Oracle()
    arm = Arm("a", "m", backend)
    items = [
        item(arm, "unknown"),
        item(arm, "fine"),
        item(arm, "too long"),
        item(arm, None),
        item(Arm("hosted", "m", FakeBackend()), "x"),
        item(Arm("stored", "m"), "x"),
    ]
    marks = perplexity().grade(items, nobody)
    assert [mark.score for mark in marks] == [None, -2, None, None, None, None]
    assert [mark.note for mark in marks] == [
        "no such model",
        "perplexity 7.39",
        "a conversation is longer than the model reads",
        "no expected answer",
        "fake cannot say how likely an answer is",
        "the arm's answers are stored: there is no model to ask",
    ]
    perplexity().grade(items, nobody)
    assert [len(each) for _, each in backend.asked] == [3, 2]  # what failed is tried again


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_a_likelihood_that_is_no_number_has_no_score(loss: float) -> None:
    items = [item(Arm("a", "m", Oracle(loss)), "abc")]
    assert perplexity().grade(items, nobody)[0].score is None


def test_a_perplexity_beyond_all_numbers() -> None:
    items = [item(Arm("a", "m", Oracle(1e6)), "abc")]
    assert perplexity().grade(items, nobody) == [
        Mark(score=-1e6, note="perplexity beyond all numbers")
    ]


def test_a_local_model_is_asked_for_its_likelihoods(tmp_path: Path) -> None:
    model = str(tiny.save_model(tmp_path / "tiny"))
    backend = LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))
    arm = Arm("base", model, backend)
    items = [item(arm, "yes"), item(arm, "a much longer answer"), item(arm, "yes")]
    marks = perplexity().grade(items, nobody)
    shares = token_accuracy().grade(items, nobody)
    assert marks[0] == marks[2] != marks[1]
    for mark, share in zip(marks, shares, strict=True):
        # Random weights know nothing: each of the vocabulary's tokens is about as likely.
        assert mark.score is not None
        assert -math.log(1000) < mark.score < -1
        assert float(mark.note.split()[-1]) == pytest.approx(math.exp(-mark.score), rel=0.01)
        assert share.score is not None
        assert 0 <= share.score <= 1


def test_a_local_likelihood_is_that_of_the_models_own_logits(tmp_path: Path) -> None:
    import torch
    from transformers import PreTrainedTokenizerFast

    from ftjobs.backends.local.models import load_model, pick_dtype

    folder = tiny.save_model(tmp_path / "tiny")
    backend = LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))
    arm = Arm("base", str(folder), backend)
    (mark,) = perplexity().grade([item(arm, "yes")], nobody)
    model = load_model(folder, dtype=pick_dtype("cpu"), device="cpu")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    before = tokenizer("<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n").input_ids
    ids = before + tokenizer("yes<|im_end|>").input_ids  # the end of the turn is foreseen too
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    found = [logs[place - 1, ids[place]].item() for place in range(len(before), len(ids))]
    assert mark.score == pytest.approx(fmean(found), abs=2e-3)
    assert len(found) == 4

"""Log-probabilities: the model's own, of the tokens that an answer's text is made of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.local.answers.batch import Batch
from ftjobs.backends.local.answers.draw import Scored, scored
from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.answers.gathered import Answered
from ftjobs.backends.local.answers.shared import SharedBatch
from ftjobs.backends.local.answers.vocabulary import Vocabulary
from ftjobs.backends.local.answers.writer import Writer
from ftjobs.schema import Delta, Sampling
from tests.backends.local.adapters import save_adapter
from tests.backends.local.answers.asking import Ask, alone, gathered


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return Engine(tiny_model, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def tokens(engine: Engine) -> Vocabulary:
    renderer = engine.renderer(None)
    return Vocabulary(renderer.tokenizer, renderer.stops)


def content(answered: Answered, index: int = 0) -> list[Any]:
    return list(answered.logprobs[index]["content"])


SETTINGS: dict[str, Any] = {"logprobs": True, "top_logprobs": 5, "seed": 3, "max_tokens": 15}


@pytest.mark.parametrize(
    "drawn",
    [
        {"temperature": 0},
        {"temperature": 1.7, "top_k": 50, "top_p": 0.9, "n": 2},
        {"temperature": 0.1, "repetition_penalty": 1.5, "frequency_penalty": 1, "min_tokens": 9},
        {"temperature": 1, "response_format": {"type": "json_object"}},
    ],
)
def test_they_are_the_models_own(engine: Engine, drawn: dict[str, Any]) -> None:
    """Whatever changes the draw: the oracle is one pass over prompt and answer."""
    ask = Ask("hello", Sampling(**SETTINGS | drawn))
    question = ask.question(engine)
    prompt, vocabulary = question.prompt, question.vocabulary
    assert vocabulary is not None
    writers = question.writers()
    answered = gathered(ask, engine.answer(question, writers))
    for index, writer in enumerate(writers):
        told, written = content(answered, index), writer.ids
        with torch.inference_mode():
            logits = engine.model(input_ids=torch.tensor([prompt + written])).logits[0].double()
        wanted = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
        for row, token, each in zip(wanted, written, told, strict=True):
            assert each["logprob"] == pytest.approx(float(row[token]), abs=1e-4)
            best = row.topk(5)
            assert [top["logprob"] for top in each["top_logprobs"]] == pytest.approx(
                best.values.tolist(), abs=1e-4
            )
            assert each["token"] == vocabulary.told(token, 0)["token"]
            tops = [vocabulary.told(top, each["logprob"]) for top in best.indices.tolist()]
            assert [top["token"] for top in each["top_logprobs"]] == [t["token"] for t in tops]


@given(st.lists(st.floats(-80, 80, width=32), min_size=2, max_size=9), st.integers(0, 20))
def test_they_are_exact_to_float32(row: list[float], most: int) -> None:
    found = scored(torch.tensor([row]), 0, most)
    total = math.fsum(math.exp(each - max(row)) for each in row)
    wanted = [each - max(row) - math.log(total) for each in row]
    assert found.logprob == pytest.approx(wanted[0], rel=1e-9, abs=1e-9)
    likeliest = sorted(wanted, reverse=True)[:most]
    assert [value for _, value in found.likeliest] == pytest.approx(likeliest, rel=1e-9, abs=1e-9)


def test_a_batch_and_a_desk_tell_the_same(engine: Engine, tmp_path: Path, tiny_model: Path) -> None:
    adapter = save_adapter(tmp_path / "adapter", tiny_model)
    asks = [
        Ask("a", Sampling(**SETTINGS, n=2), adapter),
        Ask("nothing told"),
        Ask("b" * 30, Sampling(**SETTINGS, temperature=0, stop=("e",))),
    ]
    wanted = [alone(engine, each) for each in asks]
    questions = [(number, each.question(engine)) for number, each in enumerate(asks)]
    batch = dict(Batch(engine, questions).run())
    shared = [gathered(each, SharedBatch(engine).say(each.question(engine))) for each in asks]
    for found, given_alone in zip([*map(batch.get, range(3)), *shared], wanted * 2, strict=True):
        assert isinstance(found, Answered)
        assert (found.texts, found.usage) == (given_alone.texts, given_alone.usage)
        for ours, theirs in zip(found.logprobs, given_alone.logprobs, strict=True):
            assert _flat(ours) == pytest.approx(_flat(theirs), abs=1e-4)


def _flat(told: Any) -> list[float]:
    return [
        number
        for each in told["content"]
        for number in (each["logprob"], *(top["logprob"] for top in each["top_logprobs"]))
    ]


# --- which piece tells which tokens ------------------------------------------------------------


def written(tokens: Vocabulary, text: str, stops: tuple[str, ...], *, whole: bool) -> list[Delta]:
    tokenizer = tokens._tokenizer
    writer = Writer(0, tokenizer, frozenset({257}), stops, whole, tokens)
    deltas: list[Delta] = []
    for place, token in enumerate(tokenizer(text, add_special_tokens=False)["input_ids"]):
        deltas += writer.write(token, Scored(token, -float(place), ()))
        if writer.finished:
            return deltas
    return [*deltas, *writer.write(257)]


def told(delta: Delta) -> bytes:
    return b"".join(bytes(each["bytes"]) for each in (delta.logprobs or {"content": ()})["content"])


@settings(deadline=None)
@given(
    st.text("ab終é😀", max_size=20),
    st.lists(st.text("ab終", min_size=1, max_size=3), max_size=2),
    st.booleans(),
)
def test_a_piece_tells_the_tokens_of_its_text(
    tokens: Vocabulary, text: str, stops: list[str], whole: bool
) -> None:
    deltas = written(tokens, text, tuple(stops), whole=whole)
    # One token a byte here: nothing of a token is cut.
    assert [told(delta).decode() for delta in deltas] == [delta.content for delta in deltas]
    places = [
        each["logprob"] for delta in deltas if delta.logprobs for each in delta.logprobs["content"]
    ]
    assert places == [-float(place) for place in range(len(places))]


def test_a_part_of_a_character_is_told_by_its_bytes(tokens: Vocabulary) -> None:
    first, *_ = tokens._tokenizer("終", add_special_tokens=False)["input_ids"]
    assert tokens.told(first, -1.0) == {"token": "\ufffd", "logprob": -1.0, "bytes": [0xE7]}


def test_a_token_without_text_is_told_by_its_name(tokens: Vocabulary) -> None:
    assert tokens.told(256, -1.0) == {"token": "<|im_start|>", "logprob": -1.0, "bytes": []}
    assert tokens.told(263, -1.0) == {"token": "", "logprob": -1.0, "bytes": []}


def test_no_text_is_no_tokens(engine: Engine) -> None:
    (first, *_) = content(alone(engine, Ask("hello", Sampling(**SETTINGS, temperature=0))))
    stopped = Sampling(**SETTINGS, temperature=0, stop=(first["token"],))
    answered = alone(engine, Ask("hello", stopped))
    assert answered.texts == ("",)
    assert answered.logprobs == ({"content": []},)

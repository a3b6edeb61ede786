"""Answers: the model's own, drawn as asked, cut where asked."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from ftjobs.backends.local import models
from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.answers.writer import Writer
from ftjobs.schema import Delta, Sampling
from tests import tiny

MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return Engine(tiny_model, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.save_tokenizer(folder)
    return models.load_tokenizer(folder)


def answer(engine: Engine, **settings: Any) -> list[str]:
    sampling = Sampling(**{"max_tokens": 20, "temperature": 0} | settings)
    texts = [""] * sampling.n
    for delta in engine.stream(MESSAGES, sampling):
        texts[delta.index] += delta.content
    return texts


def test_temperature_0_is_greedy_and_the_same_as_transformers(
    engine: Engine, tokenizer: Any
) -> None:
    prompt = torch.tensor([engine.renderer(None).prompt(MESSAGES)])
    output = engine.model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=20,
        do_sample=False,
        pad_token_id=257,
    )
    wanted = tokenizer.decode(output[0, prompt.shape[1] :], skip_special_tokens=True)
    assert answer(engine) == [wanted]
    assert answer(engine) == answer(engine, seed=5)


def test_a_seed_makes_a_draw_repeatable(engine: Engine) -> None:
    draws = [answer(engine, temperature=1, seed=3, n=3) for _ in range(2)]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 3
    assert answer(engine, temperature=1, seed=4, n=3) != draws[0]


def test_max_tokens_and_usage(engine: Engine) -> None:
    deltas = list(engine.stream(MESSAGES, Sampling(max_tokens=5, temperature=0, n=2)))
    usage = deltas[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 10
    assert usage.total_tokens == usage.prompt_tokens + 10
    reasons = {d.index: d.finish_reason for d in deltas if d.finish_reason}
    assert reasons == {0: "length", 1: "length"}


def test_a_prompt_that_leaves_no_room_is_refused(engine: Engine) -> None:
    long = [{"role": "user", "content": "x" * 600}]
    with pytest.raises(ValueError, match="takes 512"):
        list(engine.stream(long, Sampling()))


def test_two_streams_at_once_do_not_disturb_each_other(engine: Engine) -> None:
    sampling = Sampling(max_tokens=12, temperature=0)
    other = [{"role": "user", "content": "something else entirely"}]
    alone = [list(engine.stream(MESSAGES, sampling)), list(engine.stream(other, sampling))]
    a, b = engine.stream(MESSAGES, sampling), engine.stream(other, sampling)
    both: list[list[Delta]] = [[], []]
    for pair in itertools.zip_longest(a, b):
        for got, delta in zip(both, pair, strict=True):
            got += [delta] if delta else []
    joined = [["".join(d.content for d in s) for s in pair] for pair in (alone, both)]
    assert joined[0] == joined[1]


def run(writer: Writer, text: str, reason: str = "length") -> list[Delta]:
    deltas = []
    for token in writer.tokenizer(text, add_special_tokens=False)["input_ids"]:
        deltas += list(writer.write(token))
        if writer.finished:
            return deltas
    return deltas + list(writer.finish(reason))


@settings(deadline=None)
@given(st.text(max_size=40).filter(lambda t: "\ufffd" not in t and "<|" not in t))
def test_pieces_are_the_whole_and_never_half_a_character(tokenizer: Any, text: str) -> None:
    deltas = run(Writer(0, tokenizer, frozenset({257}), ()), text)
    assert "".join(delta.content for delta in deltas) == text
    assert not any("\ufffd" in delta.content for delta in deltas)


@settings(deadline=None)
@given(
    st.text("ab終", max_size=30),
    st.lists(st.text("ab終", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_the_answer_ends_before_the_first_stop_text(
    tokenizer: Any, text: str, stops: list[str]
) -> None:
    deltas = run(Writer(0, tokenizer, frozenset({257}), stops), text)
    got = "".join(delta.content for delta in deltas)
    assert text.startswith(got)
    assert not any(stop in got for stop in stops)
    if any(stop in text for stop in stops):
        assert deltas[-1].finish_reason == "stop"
        rest = text[len(got) :]
        assert any(rest.startswith(stop) for stop in stops)
    else:
        assert got == text


def test_the_stop_token_ends_the_answer_and_is_not_part_of_it(tokenizer: Any) -> None:
    writer = Writer(0, tokenizer, frozenset({257}), ())
    deltas = [*writer.write(65), *writer.write(257)]
    assert deltas[-1].finish_reason == "stop"
    assert writer.finished
    assert "<|" not in "".join(delta.content for delta in deltas)


def test_a_tokenizer_that_would_clean_spaces_up_says_what_was_trained() -> None:
    # Only those that are no BPE do: T5's, for one.
    pieces = [("<unk>", 0.0), ("▁it", -1.0), ("▁'", -1.0), ("s", -1.0), ("▁.", -1.0)]
    unigram = Tokenizer(tokenizers.models.Unigram(pieces, 0))
    unigram.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    unigram.decoder = tokenizers.decoders.Metaspace()
    cleaning = PreTrainedTokenizerFast(
        tokenizer_object=unigram, unk_token="<unk>", clean_up_tokenization_spaces=True
    )
    deltas = run(Writer(0, cleaning, frozenset(), ()), "it 's .")
    assert "".join(delta.content for delta in deltas) == "it 's ."

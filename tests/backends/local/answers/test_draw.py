"""Logits → tokens: the distributions are those of transformers' processors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as theirs

from ftjobs.backends.local.answers.draw import NUCLEUS, Shaping, draws, probabilities
from ftjobs.schema import Sampling

VOCABULARY = 12
TOKENS = st.lists(st.integers(0, VOCABULARY - 1), max_size=8)
LOGITS = st.lists(
    st.floats(-20, 20, width=32), min_size=VOCABULARY, max_size=VOCABULARY, unique=True
).map(lambda row: torch.tensor([row]))


def shaped(
    logits: torch.Tensor,
    written: list[int],
    prompt: list[int] = [],  # noqa: B006 - read only
    stops: set[int] = set(),  # noqa: B006
    **options: Any,
) -> torch.Tensor:
    shaping = Shaping(Sampling(**options), prompt, stops)
    return shaping(logits, torch.tensor([written], dtype=torch.long))


@settings(deadline=None, max_examples=60)
@given(
    LOGITS,
    TOKENS,
    TOKENS.filter(bool),
    st.floats(0.5, 2),
    st.integers(0, 8),
    st.one_of(st.none(), st.floats(0.2, 2)),
    st.one_of(st.none(), st.integers(0, 15)),
    st.one_of(st.none(), st.floats(0.05, 1)),
)
def test_distributions_are_those_of_transformers(
    logits: torch.Tensor,
    written: list[int],
    prompt: list[int],
    penalty: float,
    least: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
) -> None:
    stops = {1, 5}
    options: dict[str, Any] = {"repetition_penalty": penalty, "min_tokens": least}
    draw: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    changed = shaped(logits, written, prompt, stops, **options)
    # Rounding decides what is as likely as the last of `top_k`.
    assume((changed[changed.isfinite()].sort().values.diff() > 1e-5).all())
    ours = probabilities(changed, Sampling(**draw))

    processors = theirs.LogitsProcessorList(
        [
            theirs.RepetitionPenaltyLogitsProcessor(penalty),
            theirs.MinNewTokensLengthLogitsProcessor(len(prompt), least, sorted(stops)),
        ]
    )
    if temperature is not None:
        processors.append(theirs.TemperatureLogitsWarper(temperature))
    if top_k:
        processors.append(theirs.TopKLogitsWarper(top_k))
    ids = torch.tensor([prompt + written])
    wanted = processors(ids, logits.double())
    if top_p is not None and top_p < 1:
        assume(_is_clear(wanted, top_p))
        wanted = theirs.TopPLogitsWarper(top_p)(ids, wanted)
    torch.testing.assert_close(ours / ours.sum(), wanted.softmax(-1), atol=1e-6, rtol=1e-4)


def _is_clear(logits: torch.Tensor, top_p: float) -> bool:
    """Whether rounding cannot decide what `top_p` keeps: no ties, and no sum that just is it."""
    ordered = logits.softmax(-1)[0].sort(descending=True).values
    ties = ordered.diff().abs() < 1e-6 * ordered[1:]
    return not (ties & (ordered[1:] > 0)).any() and bool(
        ((ordered.cumsum(0) - top_p).abs() > 1e-5).all()
    )


def test_penalties_are_the_wires() -> None:
    logits = torch.tensor([[3.0, 2.9, 0.0]])

    def pick(**penalties: float) -> int:
        return int(shaped(logits, [0, 1, 0], [], set(), **penalties).argmax())

    assert pick() == 0
    assert pick(frequency_penalty=0.2) == 1  # 3.0 - 0.4 < 2.9 - 0.2
    assert pick(presence_penalty=2.0) == 0  # both lose 2, and stay above the unused one
    assert pick(frequency_penalty=2.0) == 1
    assert pick(frequency_penalty=2.0, presence_penalty=2.0) == 2


def test_a_token_that_no_head_writes_is_not_penalised() -> None:
    logits = torch.tensor([[1.0, 2.0]])
    assert shaped(logits, [], [7, 0], repetition_penalty=2.0).tolist() == [[0.5, 2.0]]


def test_a_draw_counts_what_it_has_written() -> None:
    sampling = Sampling(temperature=0, repetition_penalty=2.0, min_tokens=3)
    draw = draws(sampling, [0], {3})[0]
    logits = torch.tensor([[4.0, 3.9, 3.8, 9.0]])
    assert [draw.next(logits) for _ in range(4)] == [1, 2, 0, 3]
    assert not draw.likeliest


def test_numbers_or_an_error() -> None:
    draw = draws(Sampling(temperature=0), [], set())[0]
    assert draw.likeliest
    with pytest.raises(ValueError, match="no numbers"):
        draw.next(torch.tensor([[0.0, math.nan]]))


@given(st.floats(0.05, 0.99))
def test_top_p_draws_only_from_the_smallest_sufficient_set(top_p: float) -> None:
    given_ = torch.tensor([0.5, 0.25, 0.15, 0.1])
    allowed, total = set(), 0.0
    for index, p in enumerate(given_.tolist()):
        if total >= top_p:
            break
        allowed.add(index)
        total += p
    found = probabilities(given_.log().unsqueeze(0), Sampling(top_p=top_p))[0]
    assert set(found.nonzero().flatten().tolist()) == allowed


@pytest.mark.parametrize("sharpness", [0.1, 1, 10])
def test_top_p_in_a_large_vocabulary(sharpness: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 3 * NUCLEUS, generator=generator) * sharpness
    found = probabilities(logits, Sampling(top_p=0.8))
    wanted = theirs.TopPLogitsWarper(0.8)(torch.tensor([[0]]), logits.double()).softmax(-1)
    torch.testing.assert_close(found / found.sum(), wanted)
    assert (int((found > 0).sum()) > NUCLEUS) is (sharpness < 5)


def test_draws_follow_the_models_probabilities() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0]])
    drawn = [
        draw.next(logits)
        for seed in range(20)
        for draw in draws(Sampling(temperature=0.5, n=128, seed=seed * 1000), [], set())
    ]
    share = torch.bincount(torch.tensor(drawn), minlength=3) / len(drawn)
    wanted = torch.softmax(logits[0] / 0.5, -1)
    torch.testing.assert_close(share, wanted, atol=0.03, rtol=0)


@pytest.mark.parametrize("penalty", [1e-300, 1e300])
def test_a_penalty_that_float32_does_not_hold_is_the_strongest(penalty: float) -> None:
    logits = torch.tensor([[-1.0, 0.0, 1.0, 2.0]])
    found = shaped(logits, [0, 1, 2], repetition_penalty=penalty)
    assert found.isfinite().all()
    assert probabilities(found, Sampling()).sum() == pytest.approx(1)

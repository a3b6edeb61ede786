"""The packed scorer gives transformers' scores and gradients, and knows where it does not."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ftjobs.backends.local.training.packed import attention, head
from ftjobs.backends.local.training.packed.attention import attend, attend_back, groups
from ftjobs.backends.local.training.packed.head import token_logprobs
from ftjobs.backends.local.training.packed.scorer import open_packed
from ftjobs.backends.local.training.packed.tree import pack
from ftjobs.backends.local.training.padded import Padded
from ftjobs.backends.local.training.render import Tokens
from ftjobs.backends.local.training.scores import Scorer

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "llama, one key a query": (LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 4}),
    "llama, biases": (LlamaConfig, LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}),
    "llama, tied": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16}),
}


def adapted(name: str = "llama", *, dtype: torch.dtype = torch.float32, **lora: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    config, kind, more = FAMILIES[name]
    torch.manual_seed(0)
    model = kind(config(**{**SIZES, **more})).requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms that do something
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    asked = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **lora}
    peft = get_peft_model(model.to(dtype), LoraConfig(**asked))
    with torch.no_grad():
        for key, parameter in peft.named_parameters():
            if "lora_" in key:
                parameter.normal_(std=0.2)
    return peft


PLAIN = adapted()


def examples(*sizes: int) -> list[Tokens]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for size in sizes:
        ids = torch.randint(0, 97, (size,), generator=generator).tolist()
        made.append(Tokens(tuple(ids), tuple(i > size // 3 for i in range(size))))
    return made


RAGGED = examples(30, 5, 28, 2, 30, 12, 61)


def measured(
    scorer: Scorer, model: Any, rows: list[Tokens]
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    scores = scorer.score(rows)
    weights = torch.linspace(-1, 2, len(scores.logprobs))  # any objective, not only a mean
    torch.autograd.backward((scores.logprobs * weights).sum())
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return scores.logprobs.detach(), scores.hits, grads


def same(model: Any, rows: list[Tokens], *, rtol: float = 1e-4) -> None:
    packed = open_packed(model)
    assert packed is not None
    ours, hits, gradients = measured(packed, model, rows)
    theirs, right, wanted = measured(Padded(model), model, rows)
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol)
    assert torch.equal(hits, right)
    assert gradients.keys() == wanted.keys()
    scale = max(value.abs().max() for value in wanted.values())
    for name, value in wanted.items():
        largest = value.abs().max() + scale / 100  # one that ought to be 0 is noise
        assert (gradients[name] - value).abs().max() <= rtol * largest, name


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_and_gradients_are_those_of_transformers(name: str) -> None:
    same(adapted(name), RAGGED)


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["k_proj", "down_proj"]},
        {"use_rslora": True},
        {"rank_pattern": {"v_proj": 7, "up_proj": 2}},
    ],
)
def test_every_kind_of_plain_lora(lora: dict[str, Any]) -> None:
    same(adapted(**lora), RAGGED)


def test_the_reference_is_the_model_without_its_adapter() -> None:
    model = adapted()
    packed = open_packed(model)
    assert packed is not None
    with torch.no_grad():
        tuned = packed.score(RAGGED).logprobs
        with model.disable_adapter():
            base, wanted = packed.score(RAGGED).logprobs, Padded(model).score(RAGGED).logprobs
        assert torch.equal(packed.score(RAGGED).logprobs, tuned)
    torch.testing.assert_close(base, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(base, tuned, atol=1e-2)


def test_transformers_still_reads_the_weights_that_were_put_together() -> None:
    model = adapted("qwen2")
    ids = torch.tensor([RAGGED[0].ids])
    before = model(input_ids=ids).logits
    state = {key: value.clone() for key, value in model.state_dict().items()}
    assert open_packed(model) is not None
    assert torch.equal(model(input_ids=ids).logits, before)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_in_bfloat16_it_is_as_near_to_the_truth_as_transformers() -> None:
    exact = adapted()
    truth, _, wanted = measured(Padded(exact), exact, RAGGED)
    model = adapted(dtype=torch.bfloat16).to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()  # as PEFT keeps them
    packed = open_packed(model)
    assert packed is not None
    ours, _, gradients = measured(packed, model, RAGGED)
    theirs, _, usual = measured(Padded(model), model, RAGGED)
    assert (ours - truth).abs().mean() < 1.5 * (theirs - truth).abs().mean()

    def error(found: dict[str, torch.Tensor]) -> float:
        off = sum(float((found[name] - value).norm() ** 2) for name, value in wanted.items())
        return math.sqrt(off / sum(float(value.norm() ** 2) for value in wanted.values()))

    assert error(gradients) < 1.6 * error(usual)  # adapters are computed in 16 bits, PEFT's in 32


def test_a_long_example_and_many_short_ones() -> None:
    same(adapted(), examples(200, 3, 3, 3, 3, 90, 88))


def apart(lengths: list[int]) -> list[list[int]]:
    """Paths of examples that share nothing."""
    rows = iter(range(sum(lengths)))
    return [list(itertools.islice(rows, length)) for length in lengths]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("short", [0, 10_000])
def test_both_ways_back_through_attention(
    dtype: torch.dtype, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SHORT", short)
    torch.manual_seed(0)
    lengths, heads, kv_heads = [17, 16, 16, 5, 1], 6, 2
    qkv = torch.randn(sum(lengths), heads + 2 * kv_heads, 8, dtype=dtype)
    grad = torch.randn(sum(lengths), heads * 8, dtype=dtype)
    parts = groups(apart(lengths), dtype=dtype, device=qkv.device)
    output, sums = attend(qkv, heads, kv_heads, parts)
    found = attend_back(grad, output, sums, qkv, heads, kv_heads, parts)

    exact = qkv.double().requires_grad_()
    rows = []
    for row in torch.split(exact, lengths):
        q, k, v = torch.split(row.transpose(0, 1), [heads, kv_heads, kv_heads])
        k, v = k.repeat_interleave(3, 0), v.repeat_interleave(3, 0)
        scores = (q @ k.mT / 8**0.5).masked_fill(torch.ones(len(row), len(row)).triu(1) > 0, -1e30)
        rows.append((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
    wanted = torch.cat(rows)
    (back,) = torch.autograd.grad(wanted, exact, grad.double())
    limit = 1e-5 if dtype == torch.float32 else 5e-2
    assert (output.double() - wanted).abs().max() < limit
    assert (found.double() - back).abs().max() < limit * back.abs().max()


@given(st.lists(st.integers(1, 600), min_size=1, max_size=20))
@settings(max_examples=50)
def test_groups_cover_every_token_once(lengths: list[int]) -> None:
    lengths = sorted(lengths, reverse=True)
    found = groups(apart(lengths), dtype=torch.float32, device=torch.device("cpu"))
    assert [part.start for part in found] == [0, *(part.end for part in found[:-1])]
    assert found[-1].end == sum(lengths)
    assert sum(part.count for part in found) == len(lengths)
    for part in found:
        if part.fill is not None and part.real is not None:
            assert part.fill[part.real].tolist() == list(range(part.start, part.end))
            assert part.borrowed is None


TREES = st.lists(
    st.lists(st.integers(0, 1), min_size=2, max_size=12).map(tuple), min_size=1, max_size=12
)


def shared(*texts: tuple[int, ...]) -> list[Tokens]:
    """Examples of these tokens, longest first, the last half supervised."""
    ordered = sorted(texts, key=len, reverse=True)
    return [Tokens(ids, tuple(t >= len(ids) // 2 for t in range(len(ids)))) for ids in ordered]


@given(TREES)
def test_what_examples_begin_with_in_common_stands_once(texts: list[tuple[int, ...]]) -> None:
    rows = shared(*texts)
    row = pack(rows)
    beginnings = {each.ids[: t + 1] for each in rows for t in range(each.size - 1)}
    assert len(row.ids) == len(beginnings)
    end = 0
    for each, path in zip(rows, row.paths, strict=True):
        assert [row.ids[place] for place in path] == list(each.ids[:-1])
        assert [row.positions[place] for place in path] == list(range(each.size - 1))
        own = [place for place in path if place >= end]
        assert own == path[len(path) - len(own) :] == list(range(end, end + len(own)))
        end += len(own)


def test_what_comes_after_the_last_supervised_token_is_not_computed() -> None:
    row = pack([Tokens((5, 6, 7, 8, 9), (False, False, True, False, False))])
    assert row.ids == [5, 6]
    assert pack([Tokens((5, 6), (True, False))]).ids == [5]


COMMON = examples(40)[0].ids
FORKED = [
    *shared(
        (*COMMON, 1, 2, 3), (*COMMON, 1, 2, 4), (*COMMON, *[9] * 30), (*COMMON[:20], 7, 7), COMMON,
        (*COMMON, 1, 2, 3), COMMON[:9], (8,) * 25,
    ),
    *examples(14),
]  # fmt: skip
"""A fork in a fork, one twice, a beginning of another, short and long, and two that share none."""


@pytest.mark.parametrize("name", FAMILIES)
def test_shared_beginnings_change_neither_scores_nor_gradients(name: str) -> None:
    same(adapted(name), FORKED)
    same(adapted(name), FORKED[::-1])


@given(TREES)
@settings(max_examples=30, deadline=None)
def test_any_tree_of_examples(texts: list[tuple[int, ...]]) -> None:
    same(PLAIN, shared(*texts))


def test_the_gradient_of_what_many_share_is_summed_in_float32() -> None:
    """In bfloat16, a sum of 64 addends that is rounded after each would lose its last digits."""
    torch.manual_seed(0)
    paths = [[*range(6), 6 + i] for i in range(64)]
    qkv = torch.randn(70, 6, 16, dtype=torch.bfloat16)
    grad = torch.rand(70, 64, dtype=torch.bfloat16)
    found, exact = (
        attend_back(kind(grad), *attend(kind(qkv), 4, 1, parts), kind(qkv), 4, 1, parts)
        for kind, parts in (
            (torch.Tensor.bfloat16, groups(paths, dtype=torch.bfloat16, device=qkv.device)),
            (torch.Tensor.double, groups(paths, dtype=torch.float64, device=qkv.device)),
        )
    )
    off = (found[:6].double() - exact[:6]).norm() / exact[:6].norm()
    assert off < 2**-8


@pytest.mark.parametrize("numbers", [1, 97 * 4, 1 << 23])
def test_the_head_is_cut_into_parts_that_change_nothing(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "HEAD_NUMBERS", numbers)
    torch.manual_seed(0)
    hidden = torch.randn(9, 16, dtype=torch.float64, requires_grad=True)
    weight, labels = torch.randn(97, 16, dtype=torch.float64), torch.randint(0, 97, (9,))
    logprobs, hits = token_logprobs(hidden, weight, labels)
    logits = hidden @ weight.t()
    wanted = logits.log_softmax(-1).gather(1, labels[:, None]).squeeze(1)
    torch.testing.assert_close(logprobs, wanted)
    assert torch.equal(hits, logits.argmax(-1) == labels)
    factors = torch.randn(9, dtype=torch.float64)
    ours = torch.autograd.grad((logprobs * factors).sum(), hidden)[0]
    torch.testing.assert_close(ours, torch.autograd.grad((wanted * factors).sum(), hidden)[0])


def test_a_nearly_certain_token_keeps_its_gradient_in_bfloat16() -> None:
    """What is left of it may be a thousandth of the weights, of which it is a difference."""
    torch.manual_seed(0)
    weight = (torch.randn(4000, 128) * 0.5).bfloat16()
    labels = torch.arange(6)
    hidden = (weight[labels] * 0.6).requires_grad_()
    logprobs, hits = token_logprobs(hidden, weight, labels)
    torch.autograd.backward(logprobs.sum())
    truth = hidden.detach().double().requires_grad_()
    exact = torch.log_softmax(truth @ weight.double().t(), dim=-1)[labels, labels]
    torch.autograd.backward(exact.sum())
    assert exact.mean() > -0.01
    assert hits.all()
    assert hidden.grad is not None
    assert truth.grad is not None
    assert (hidden.grad - truth.grad).norm() < 0.05 * truth.grad.norm()


def test_what_it_cannot_do_is_left_to_transformers() -> None:
    assert open_packed(adapted(lora_dropout=0.1)) is None
    assert open_packed(adapted(use_dora=True)) is None
    for config, kind in ((GemmaConfig, GemmaForCausalLM), (GraniteConfig, GraniteForCausalLM)):
        assert open_packed(peft_of(kind(config(**SIZES)))) is None
    window = MistralConfig(**SIZES, sliding_window=16)
    assert open_packed(peft_of(MistralForCausalLM(window))) is None


def peft_of(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))


def test_a_variant_that_only_the_numbers_show_is_found_out() -> None:
    """A model of a known family whose layers compute something else."""
    model = adapted()
    for layer in model.get_base_model().model.layers:
        layer.mlp.act_fn = torch.nn.GELU()
    assert open_packed(model) is None

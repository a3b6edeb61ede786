"""What memory and speed are bought with changes nothing but rounding; what cannot be is refused."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.local import models
from ftjobs.backends.local.training import execution, joined, loop, precision
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.objectives import scorer_for
from ftjobs.backends.local.training.padded import Padded
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.errors import TrainingError
from tests.backends.local.training.test_loop import RECIPE, examples

PLAIN = dataclasses.replace(RECIPE, lora_dropout=0.0, n_epochs=3)


def opened(folder: Path, recipe: Recipe) -> Any:
    model = models.load_model(folder, dtype=recipe.dtype, device="cpu")
    return execution.arrange(add_adapter(model, recipe), recipe)


def trained(folder: Path, **changes: Any) -> tuple[list[float], loop.Run]:
    recipe = dataclasses.replace(PLAIN, **changes)
    run = loop.Run(opened(folder, recipe), recipe, examples())
    return [step.train.loss for step in run if step.train], run


# --- int8 and int4 ----------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "bits"), [("int8", 8), ("int4", 4)])
def test_quantised_weights_take_few_bits_and_teach_the_adapter(
    tiny_model: Path, dtype: str, bits: int
) -> None:
    losses, run = trained(tiny_model, dtype=dtype)
    plain, _ = trained(tiny_model)
    assert losses[0] == pytest.approx(plain[0], rel=0.05)
    assert losses[-1] < losses[0] - 0.15
    layer = run.model.get_base_model().model.layers[0].mlp.up_proj.base_layer
    assert layer.weight.numel() * layer.weight.element_size() * 8 == 64 * 128 * bits
    assert {p.dtype for p in run.parameters.values()} == {torch.float32}
    head = run.model.get_base_model().lm_head
    assert type(head) is torch.nn.Linear


def test_a_run_over_int4_resumes_exactly(tiny_model: Path) -> None:
    recipe = dataclasses.replace(PLAIN, dtype="int4", n_epochs=2)
    unbroken, whole = trained(tiny_model, dtype="int4", n_epochs=2)
    first = loop.Run(opened(tiny_model, recipe), recipe, examples())
    losses = [step.train.loss for step in islice(iter(first), 2) if step.train]
    second = loop.Run(opened(tiny_model, recipe), recipe, examples())
    second.restore({name: value.clone() for name, value in first.state().items()})
    assert losses + [step.train.loss for step in second if step.train] == unbroken
    for name, value in second.parameters.items():
        assert torch.equal(value, whole.parameters[name])


def test_what_is_not_possible_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="float16") as refused:
        precision.choose("float16", "cpu")
    assert refused.value.param == "dtype"
    assert precision.choose("float16", "cuda") == "float16"
    assert precision.choose("auto", "cpu") == precision.choose(None, "cpu")
    assert precision.choose("int4", "cpu") == "int4"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="int8 needs bitsandbytes"):
        precision.choose("int8", "cpu")


# --- float16 ----------------------------------------------------------------------------------


def test_float16_learns_what_float32_learns(tiny_model: Path) -> None:
    """On a CPU it is refused for its speed alone; what is computed is the same."""
    plain, _ = trained(tiny_model)
    losses, run = trained(tiny_model, dtype="float16")
    assert losses == pytest.approx(plain, abs=0.02)
    assert run.state()["loss_scale"] == precision.LARGEST


def test_a_step_that_overflows_is_computed_again_with_a_smaller_scale(tiny_model: Path) -> None:
    _, whole = trained(tiny_model, dtype="float16", n_epochs=1)
    recipe = dataclasses.replace(PLAIN, dtype="float16", n_epochs=1)
    run = loop.Run(opened(tiny_model, recipe), recipe, examples())
    run.accumulator.scale.factor = 2.0**40
    for _ in run:
        pass
    factor = run.accumulator.scale.factor
    assert factor < 2.0**40
    for name, value in run.parameters.items():  # no step was left out
        torch.testing.assert_close(value, whole.parameters[name], rtol=0.05, atol=2e-3)
    again = loop.Run(opened(tiny_model, recipe), recipe, examples())
    again.restore({name: value.clone() for name, value in run.state().items()})
    assert again.accumulator.scale.factor == factor


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=5), st.booleans())
def test_a_scale_is_taken_out_again_exactly(numbers: list[float], overflow: bool) -> None:
    scale = precision.LossScale("float16")
    parameter = torch.nn.Parameter(torch.zeros(len(numbers)))
    parameter.grad = torch.tensor(numbers) * scale.factor
    if overflow:
        parameter.grad[0] = float("inf")
    assert scale.divide([parameter]) is not overflow
    assert scale.factor == precision.LARGEST / (2 if overflow else 1)
    if not overflow:
        assert parameter.grad.tolist() == torch.tensor(numbers).tolist()


def test_what_never_is_finite_ends() -> None:
    """The loop then says that the gradient is not finite."""
    scale = precision.LossScale("float16")
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([float("nan")])
    tries = 0
    while not scale.divide([parameter]):
        tries += 1
        assert tries < 100
    assert precision.LossScale("bfloat16").divide([parameter])


# --- computing again, compiling ---------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_activations_that_are_computed_again_give_the_same_gradients(
    tiny_model: Path, dropout: float
) -> None:
    kept, a = trained(tiny_model, lora_dropout=dropout)
    again, b = trained(tiny_model, lora_dropout=dropout, gradient_checkpointing=True)
    assert again == pytest.approx(kept, rel=1e-6)
    for name, value in b.parameters.items():
        torch.testing.assert_close(value, a.parameters[name], rtol=1e-4, atol=1e-6)
    assert all(layer.gradient_checkpointing for layer in execution.blocks(b.model))


def test_checkpointing_keeps_fewer_activations(tiny_model: Path) -> None:
    def kept(recipe: Recipe) -> int:
        model = opened(tiny_model, recipe)
        scorer, total = scorer_for(model, recipe), 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        model.train()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            scorer.score(examples())
        return total

    recipe = dataclasses.replace(PLAIN, lora_dropout=0.1)
    assert kept(dataclasses.replace(recipe, gradient_checkpointing=True)) < kept(recipe) / 4


def test_a_compiled_model_keeps_its_names_and_learns(tiny_model: Path) -> None:
    """All but the compiler, which takes a minute of a CPU: tests/gpu lets it work."""
    plain, _ = trained(tiny_model, n_epochs=1)
    with torch.compiler.set_stance("force_eager"):
        compiled, run = trained(tiny_model, n_epochs=1, torch_compile=True)
    assert compiled == pytest.approx(plain, rel=1e-4)
    found = list(execution.blocks(run.model))
    assert len(found) == 2
    assert all(block._compiled_call_impl for block in found)
    assert all("_orig_mod" not in name for name in run.parameters)


def test_without_a_compiler_a_job_says_so(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(TrainingError, match=r"torch_compile needs g\+\+"):
        opened(tiny_model, dataclasses.replace(PLAIN, torch_compile=True))


# --- examples end to end ----------------------------------------------------------------------


def decoder(kind: str) -> Any:
    """A tiny decoder of a family that `packed` does not know, or not with this attention."""
    import transformers

    small = {"vocab_size": 264, "hidden_size": 32, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
    small |= {"max_position_embeddings": 128, "head_dim": 8}
    configs = {
        "gpt2": transformers.GPT2Config(vocab_size=264, n_embd=32, n_layer=2, n_head=4),
        "sliding": transformers.MistralConfig(sliding_window=6, **small),
        "gemma3": transformers.Gemma3TextConfig(sliding_window=6, **small),
        "gemma2": transformers.Gemma2Config(**small),
        "cohere": transformers.CohereConfig(logit_scale=0.5, **small),
        "qwen2_moe": transformers.Qwen2MoeConfig(
            use_sliding_window=True, sliding_window=64, max_window_layers=2, num_experts=4, **small
        ),
    }
    torch.manual_seed(1)
    chosen = {"attn_implementation": "sdpa"} if kind in ("gpt2", "sliding", "gemma3") else {}
    model = transformers.AutoModelForCausalLM.from_config(configs[kind], **chosen)
    return add_adapter(model.requires_grad_(False).eval(), PLAIN)


@pytest.mark.parametrize("kind", ["gpt2", "sliding", "gemma3"])
def test_joined_examples_score_as_padded_ones(kind: str) -> None:
    """Values and gradients; examples longer than the attention's window among them."""
    model, chosen = decoder(kind), examples(6)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    parameters = [p for p in model.parameters() if p.requires_grad]
    wanted = Padded(model).score(chosen)
    gradients = torch.autograd.grad(wanted.logprobs.sum(), parameters)
    scorer = joined.open_joined(model)
    assert scorer is not None
    found = scorer.score(chosen)
    torch.testing.assert_close(found.logprobs, wanted.logprobs, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.hits, wanted.hits)
    for ours, theirs in zip(
        torch.autograd.grad(found.logprobs.sum(), parameters), gradients, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    # Other code may ask the model for padded rows, or for an answer: it stays what it was.
    torch.testing.assert_close(Padded(model).score(chosen).logprobs, wanted.logprobs)
    ids = torch.tensor([[1, 2, 3], [7, 8, 9]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    model.set_attn_implementation("sdpa")
    plain = model(input_ids=ids, attention_mask=mask).logits
    model.set_attn_implementation(joined.ATTENTION)
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, plain)


@pytest.mark.parametrize("kind", ["gemma2", "cohere", "qwen2_moe"])
def test_decoders_that_cannot_be_joined_stay_padded(kind: str) -> None:
    """By the configuration, by scores that are not the head's, by a window only masks tell of."""
    model = decoder(kind)
    before = model.config._attn_implementation
    assert joined.open_joined(model) is None
    assert model.config._attn_implementation == before
    assert isinstance(scorer_for(model, PLAIN), Padded)

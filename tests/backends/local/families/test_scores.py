"""The scores of every family are those of transformers, whatever is computed beside them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftjobs.backends.local import models
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.objectives import scorer_for
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Tokens
from tests.backends.local.families.conftest import Builder
from tests.backends.local.families.test_training import DECODERS

RECIPE = Recipe(
    n_epochs=1, batch_size=4, learning_rate=1e-2, warmup_steps=0, lora_r=2, lora_alpha=4,
    lora_dropout=0.0, seed=3, dtype="float32", device="cpu", threads=1,
)  # fmt: skip


def adapted(kind: str, model: Builder) -> Any:
    """A model with an adapter that changes something."""
    labels = ("a", "b", "c") if kind == "BERT" else ()
    base = models.load_model(model(kind), dtype="float32", device="cpu", labels=labels, seed=3)
    made = add_adapter(base, RECIPE)
    torch.manual_seed(4)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return made


def examples(kind: str, count: int = 5) -> list[Tokens]:
    """Ragged examples of tokens that every tiny model knows."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for index in range(count):
        size = int(torch.randint(4, 12, (1,), generator=generator))
        ids = torch.randint(3, 90, (2 * size,), generator=generator).tolist()
        supervised = [False] * size + [True] * size
        if kind == "BERT":
            ids, supervised = [*ids[:size], index % 3], [False] * size + [True]
        made.append(Tokens(tuple(ids), tuple(supervised)))
    return made


def wanted(kind: str, model: Any, tokens: Tokens) -> float:
    """Transformers' own loss of one example, as a sum."""
    cut = tokens.supervised.index(True)
    read, answer = torch.tensor([tokens.ids[:cut]]), torch.tensor([tokens.ids[cut:]])
    if kind in ("T5", "BERT"):
        output = model(input_ids=read, labels=answer if kind == "T5" else answer[0])
    else:
        labels = torch.cat([torch.full_like(read, -100), answer], dim=1)
        output = model(input_ids=torch.tensor([tokens.ids]), labels=labels)
    return float(output.loss) * tokens.targets


@pytest.mark.parametrize("kind", [*DECODERS, "T5", "BERT"])
def test_scores_are_those_of_transformers(kind: str, model: Builder) -> None:
    made, rows = adapted(kind, model).eval(), examples(kind)
    scores = scorer_for(made, RECIPE).score(rows)
    with torch.no_grad():
        losses = [wanted(kind, made, tokens) for tokens in rows]
    parts = torch.split(-scores.logprobs.detach(), [tokens.targets for tokens in rows])
    found = [float(part.sum()) for part in parts]
    assert found == pytest.approx(losses, rel=1e-4)
    assert scores.logprobs.requires_grad
    assert scores.hits.dtype == torch.bool


@pytest.mark.parametrize("kind", ["GPT2", "T5", "BERT"])
def test_every_adapted_layer_gets_a_gradient_and_the_base_none(kind: str, model: Builder) -> None:
    made = adapted(kind, model).train()
    torch.autograd.backward(-scorer_for(made, RECIPE).score(examples(kind)).logprobs.sum())
    for name, parameter in made.named_parameters():
        trained = "lora_" in name or "modules_to_save" in name
        assert parameter.requires_grad == trained, name
        if trained:
            assert parameter.grad is not None, name
            assert parameter.dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "some"),
    [
        ("GPT2", {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}),
        ("T5", {"q", "k", "v", "o", "wi", "wo"}),
        ("BERT", {"query", "key", "value", "intermediate.dense", "output.dense"}),
    ],
)
def test_every_linear_layer_but_the_head_is_adapted(
    kind: str, some: set[str], model: Builder
) -> None:
    from peft.tuners.lora import LoraLayer

    names = {
        n for n, module in adapted(kind, model).named_modules() if isinstance(module, LoraLayer)
    }
    assert all(any(name.endswith(f".{end}") for name in names) for end in some)
    assert not any(name.endswith(("lm_head", "classifier", "pooler.dense")) for name in names)


def test_bert_in_bfloat16_learns_its_head_in_float32(model: Builder) -> None:
    base = models.load_model(model("BERT"), dtype="bfloat16", device="cpu", labels=("a", "b", "c"))
    made = add_adapter(base, RECIPE)
    heads = {n: p for n, p in made.named_parameters() if "modules_to_save" in n}
    assert {name.split(".modules_to_save")[0].rpartition(".")[2] for name in heads} == {
        "pooler",
        "classifier",
    }
    assert {parameter.dtype for parameter in heads.values()} == {torch.float32}
    scores = scorer_for(made, RECIPE).score(examples("BERT"))
    assert scores.logprobs.dtype == torch.float32
    assert base.bert.embeddings.word_embeddings.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("beams", [1, 3])
def test_t5_writes_what_transformers_generates(beams: int, model: Builder) -> None:
    from ftjobs.backends.local.answers.gathered import Answered
    from ftjobs.backends.local.answers.seq2seq import Seq2Seq
    from ftjobs.schema import Sampling

    engine = Seq2Seq(model("T5"), dtype="float32", device="cpu")
    sampling = Sampling(temperature=0 if beams == 1 else None, max_tokens=10, num_beams=beams)
    prompts = ["the cat sat", "What is your name ? My name is", "sky"]
    asked = [engine.question([{"role": "user", "content": text}], sampling) for text in prompts]
    found = dict(engine.answers(list(enumerate(asked))))
    for number, question in enumerate(asked):
        with torch.no_grad():
            ids = engine.model.generate(
                torch.tensor([question.prompt]), max_new_tokens=10, num_beams=beams, do_sample=False
            )
        answer = found[number]
        assert isinstance(answer, Answered)
        wanted_text = question.renderer.tokenizer.decode(ids[0], skip_special_tokens=True)
        assert answer.texts[0] == wanted_text

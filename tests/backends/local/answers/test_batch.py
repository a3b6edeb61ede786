"""Batches: every answer is the one that is given to the same request alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ftjobs.backends.local.answers.batch import Batch, answers
from ftjobs.backends.local.answers.engine import MAX_ADAPTERS, Engine
from ftjobs.backends.local.answers.feed import token_bytes
from ftjobs.backends.local.answers.gathered import Answered
from ftjobs.schema import Sampling
from tests import tiny
from tests.backends.local.adapters import save_adapter
from tests.backends.local.answers.asking import Ask, alone, mixture


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [save_adapter(folder / str(seed), tiny_model, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return Engine(tiny_model, dtype="float32", device="cpu")


def batch(engine: Engine, asks: Sequence[Ask], **limits: Any) -> Batch:
    questions = [(number, ask.question(engine)) for number, ask in enumerate(asks)]
    return Batch(engine, questions, **limits)


def together(engine: Engine, asks: Sequence[Ask], **limits: Any) -> dict[int, Any]:
    found = dict(batch(engine, asks, **limits).run())
    assert sorted(found) == list(range(len(asks)))
    assert not any(engine._users.values())
    return found


@pytest.fixture(scope="module")
def mixed(engine: Engine, adapters: list[Path]) -> list[tuple[Ask, Answered]]:
    """Requests of every kind, with the answers that they get alone."""
    return [(ask, alone(engine, ask)) for ask in mixture(adapters, 16, seed=1)]


@pytest.mark.parametrize(
    "limits", [{}, {"max_rows": 5}, {"max_rows": 12, "budget": 600}, {"max_rows": 1}]
)
def test_answers_are_those_given_alone(
    engine: Engine, mixed: list[tuple[Ask, Answered]], limits: dict[str, int]
) -> None:
    found = together(engine, [ask for ask, _ in mixed], **limits)
    assert [found[number] for number in range(16)] == [wanted for _, wanted in mixed]


def test_base_and_adapters_differ_in_one_batch(engine: Engine, adapters: list[Path]) -> None:
    asks = [Ask("the same question", adapter=adapter) for adapter in (None, *adapters)]
    assert len({found.texts for found in together(engine, asks).values()}) == 4


def in_peft(engine: Engine, base: Path, ask: Ask) -> tuple[str]:
    """The greedy answer by transformers and PEFT alone."""
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    oracle = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), ask.adapter)
    question = engine.question(ask.messages, ask.sampling, adapter=ask.adapter)
    prompt = torch.tensor([question.prompt])
    written = oracle.eval().generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=question.limit,
        do_sample=False,
        pad_token_id=257,
    )[0, prompt.shape[1] :]
    return (question.renderer.tokenizer.decode(written, skip_special_tokens=True),)


def test_an_adapter_answers_as_it_does_in_peft(
    engine: Engine, tiny_model: Path, adapters: list[Path]
) -> None:
    asks = [Ask("a"), Ask("hello", adapter=adapters[0]), Ask("b", adapter=adapters[1]), Ask("c")]
    assert together(engine, asks)[1].texts == in_peft(engine, tiny_model, asks[1])


def test_a_draw_does_not_depend_on_its_neighbours(engine: Engine, adapters: list[Path]) -> None:
    ask = Ask("x", Sampling(temperature=1.2, seed=7, n=2, max_tokens=15), adapters[1])
    first = together(engine, [ask, *mixture(adapters, 5, seed=2)])[0]
    last = together(engine, [*mixture(adapters, 9, seed=3), ask])[9]
    assert first == last == alone(engine, ask)
    assert first.texts[0] != first.texts[1]


@pytest.mark.parametrize("budget", [300, 1200])
def test_the_cache_stays_within_its_budget(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    kept = []
    forward = engine.forward

    def watched(ids: torch.Tensor, cache: Any, *rest: Any, **settings: Any) -> torch.Tensor:
        kept.append(cache.rows * (cache.width + ids.shape[1]))
        return forward(ids, cache, *rest, **settings)

    monkeypatch.setattr(engine, "forward", watched)
    asks = [
        Ask(f"question {number}", Sampling(temperature=0, max_tokens=100)) for number in range(9)
    ]
    together(engine, asks, budget=budget)
    assert budget / 2 < max(kept) <= budget
    assert token_bytes(engine) == 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, size, bytes


def test_more_adapters_than_are_kept(tmp_path: Path, tiny_model: Path) -> None:
    engine = Engine(tiny_model, dtype="float32", device="cpu")
    count = MAX_ADAPTERS + 3
    folders = [save_adapter(tmp_path / str(n), tiny_model, seed=n) for n in range(count)]
    asks = [Ask(f"{n}", adapter=folder) for n, folder in enumerate([*folders, *folders])]
    found = together(engine, asks)
    assert len({found[n].texts for n in range(count)}) == count
    assert all(found[n].usage == alone(engine, asks[n]).usage for n in range(0, count, 4))
    assert len(engine._adapters) <= MAX_ADAPTERS


def test_an_error_is_met_by_one_request_alone(
    tmp_path: Path, tiny_model: Path, adapters: list[Path]
) -> None:
    engine = Engine(tiny_model, dtype="float32", device="cpu")
    broken = save_adapter(tmp_path / "broken", tiny_model, std=float("nan"))
    gone = save_adapter(tmp_path / "gone", tiny_model)
    (gone / "adapter_model.safetensors").write_bytes(b"")
    three = Sampling(temperature=1, seed=1, n=3, max_tokens=9)
    asks = [
        Ask("a", adapter=broken),
        Ask("b"),
        Ask("c", three, gone),
        Ask("d", adapter=adapters[0]),
        Ask("e", three, broken),
        *(Ask(f"f {number}") for number in range(9)),
    ]
    found = together(engine, asks, max_rows=6)
    errors = {n: str(error) for n, error in found.items() if isinstance(error, Exception)}
    assert sorted(errors) == [0, 2, 4]
    assert errors[0] == errors[4] == "its weights give no numbers"
    assert "damaged" in errors[2]
    assert all(found[n] == alone(engine, asks[n]) for n in (1, 3, *range(5, 14)))


def test_closing_ends_the_work(engine: Engine, adapters: list[Path]) -> None:
    asks = [
        Ask(f"{n}", Sampling(max_tokens=n + 1, temperature=0), adapters[n % 3]) for n in range(20)
    ]
    running = batch(engine, asks, max_rows=4)
    iterator: Iterator[Any] = running.run()
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert running.waiting
    assert not any(engine._users.values())


def test_a_batch_and_streams_at_once(engine: Engine, adapters: list[Path]) -> None:
    asks = mixture(adapters, 12, seed=5)
    wanted = [alone(engine, ask) for ask in asks]
    got: dict[int, Answered] = {}

    def stream(number: int) -> None:
        got[number] = alone(engine, asks[number])

    threads = [threading.Thread(target=stream, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    found = together_while(engine, asks)
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(12)] == wanted
    assert [got[number] for number in range(4)] == wanted[:4]


def together_while(engine: Engine, asks: Sequence[Ask]) -> dict[int, Any]:
    return dict(batch(engine, asks, max_rows=6).run())


def gpt2(**sizes: int) -> Any:
    from transformers import GPT2Config

    return GPT2Config(n_embd=64, n_layer=2, n_head=4, n_positions=512, **sizes)


def llama_like(name: str, **settings: Any) -> Any:
    import transformers

    return getattr(transformers, name)(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        **settings,
    )


SLIDING = {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = {
    "gpt2": lambda ids: gpt2(**ids),
    "qwen3": lambda ids: llama_like("Qwen3Config", **ids),
    "mistral": lambda ids: llama_like("MistralConfig", sliding_window=24, **ids),
    "gemma3": lambda ids: llama_like("Gemma3TextConfig", **SLIDING, **ids),
    # Its frequencies follow the longest row, so that rows are answered one after another.
    "dynamic": lambda ids: llama_like(
        "LlamaConfig",
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
        **ids,
    ),
    # Linear attention keeps a running state that padding would change.
    "qwen3-next": lambda ids: llama_like(
        "Qwen3NextConfig",
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
        **ids,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_model_families(tmp_path: Path, family: str) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    ids = {"vocab_size": 264, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}
    folder = tmp_path / "model"
    AutoModelForCausalLM.from_config(FAMILIES[family](ids)).save_pretrained(folder)
    tiny.save_tokenizer(folder)
    engine = Engine(folder, dtype="float32", device="cpu")
    assert bool(engine.layers) is (family not in ("dynamic", "qwen3-next"))
    adapter = save_adapter(tmp_path / "adapter", folder, target_modules=r".*attn.*(proj|c_attn)")
    asks = [Ask("y" * (7 * n + 1), adapter=(None, adapter)[n % 2]) for n in range(8)]
    questions = [(n, ask.question(engine)) for n, ask in enumerate(asks)]
    found = dict(answers(engine, questions))
    assert [found[n] for n in range(8)] == [alone(engine, ask) for ask in asks]


@pytest.mark.parametrize("kind", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_what_is_more_than_lora_is_left_to_peft(
    tmp_path: Path, tiny_model: Path, adapters: list[Path], kind: dict[str, Any]
) -> None:
    engine = Engine(tiny_model, dtype="float32", device="cpu")
    special = save_adapter(tmp_path / "special", tiny_model, **kind)
    asks = [Ask(f"{n}", adapter=(None, special, adapters[0])[n % 3]) for n in range(6)]
    found = together(engine, asks)
    assert [found[n] for n in range(6)] == [alone(engine, ask) for ask in asks]
    assert found[1].texts == in_peft(engine, tiny_model, asks[1]) != found[0].texts

"""Beam search: what `generate` of transformers finds, with adapters and beside other requests."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from ftjobs.backends.local.answers.batch import answers
from ftjobs.backends.local.answers.beams import Beams
from ftjobs.backends.local.answers.draw import Shaping
from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.answers.gathered import Answered
from ftjobs.backends.local.answers.seq2seq import Seq2Seq
from ftjobs.schema import Sampling
from tests import tiny
from tests.backends.local.adapters import save_adapter
from tests.backends.local.families.build import save_t5

STOPS = [257, *range(20, 90)]


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that is sure of itself, and ends answers at one token in four."""
    from transformers import AutoModelForCausalLM

    folder = tiny.save_model(tmp_path_factory.mktemp("models") / "decided", seed=5)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight *= 12
    model.generation_config.eos_token_id = STOPS
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine(decided: Path) -> Engine:
    return Engine(decided, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, decided: Path) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapters") / "a", decided, std=0.1)


@pytest.fixture(scope="module")
def peer(decided: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(decided)


def ours(engine: Engine, text: str, adapter: Path | None = None, **options: Any) -> list[str]:
    sampling = Sampling(**options)
    texts = [""] * sampling.n
    messages = [{"role": "user", "content": text}]
    for delta in engine.stream(messages, sampling, adapter=adapter):
        texts[delta.index] += delta.content
    return texts


def theirs(peer: Any, engine: Engine, text: str, *, beams: int, n: int = 1, **options: Any) -> Any:
    renderer = engine.renderer(None)
    prompt = torch.tensor([renderer.prompt([{"role": "user", "content": text}])])
    found = peer.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        num_beams=beams,
        num_return_sequences=n,
        do_sample=False,
        pad_token_id=257,
        **options,
    )
    return [_decoded(renderer, row) for row in found[:, prompt.shape[1] :].tolist()]


def _decoded(renderer: Any, tokens: list[int]) -> str:
    """The answer before its stop token, which transformers leaves in where it is a character."""
    ends = [place for place, token in enumerate(tokens) if token in renderer.stops]
    return str(renderer.tokenizer.decode(tokens[: min(ends, default=None)]))


def question(seed: int) -> str:
    draw = random.Random(seed)
    return "".join(draw.choices("abcdefgh 学習率?", k=draw.randint(1, 40)))


@pytest.mark.parametrize("seed", range(24))
def test_the_answers_are_those_of_generate(engine: Engine, peer: Any, seed: int) -> None:
    draw = random.Random(seed)
    beams, limit = draw.choice([2, 3, 4, 8]), draw.choice([1, 2, 15, 30])
    n = draw.randint(1, beams)
    penalty, least = draw.choice([None, 1.3, 0.8]), draw.choice([None, 0, limit // 2])
    rest = {"repetition_penalty": penalty} | ({} if least is None else {"min_new_tokens": least})
    wanted = theirs(peer, engine, question(seed), beams=beams, n=n, max_new_tokens=limit, **rest)
    found = ours(
        engine,
        question(seed),
        num_beams=beams,
        n=n,
        max_tokens=limit,
        repetition_penalty=penalty,
        min_tokens=least,
    )
    assert found == wanted


def test_more_beams_find_likelier_answers(engine: Engine) -> None:
    def best(text: str, width: int) -> float:
        sampling = Sampling(max_tokens=12, min_tokens=12)
        asked = engine.question([{"role": "user", "content": text}], sampling)
        beams = Beams(
            width, limit=12, stops=asked.renderer.stops, shaping=Shaping(sampling, [], STOPS)
        )
        cache = DynamicCache(config=engine.model.config)
        found = beams.search(
            asked.prompt, lambda ids: engine.forward(ids, cache, [""] * len(ids))[:, -1], cache
        )[0]
        ids = torch.tensor([[*asked.prompt, *found.tokens]])
        with torch.inference_mode():
            logits = engine.model(ids).logits[0, len(asked.prompt) - 1 : -1]
        mean = logits.log_softmax(-1).gather(1, ids[0, len(asked.prompt) :, None]).mean()
        assert found.score == pytest.approx(float(mean), abs=1e-4)
        return found.score

    texts = [f"abc {number}" for number in range(6)]
    gains = [best(text, 6) - best(text, 1) for text in texts]
    assert min(gains) > -1e-4
    assert max(gains) > 0.01


def test_one_beam_is_no_search(engine: Engine) -> None:
    greedy: dict[str, Any] = {"temperature": 0, "max_tokens": 20}
    assert ours(engine, "a", num_beams=1, **greedy) == ours(engine, "a", **greedy)
    three = ours(engine, "a", num_beams=1, n=3, seed=1, max_tokens=20)
    assert len(set(three)) == 3


def test_an_adapter_is_searched_as_it_is_in_peft(
    engine: Engine, decided: Path, adapter: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    peer = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(decided), adapter).eval()
    wanted = theirs(peer, engine, "hello", beams=4, n=2, max_new_tokens=15)
    options: dict[str, Any] = {"num_beams": 4, "n": 2, "max_tokens": 15}
    assert ours(engine, "hello", adapter, **options) == wanted
    assert ours(engine, "hello", **options) != wanted


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("penalty", [None, 1.5])
def test_an_encoder_decoder(tmp_path: Path, beams: int, penalty: float | None) -> None:
    """Its repetition penalty counts what the decoder has, which is not the prompt."""
    from transformers import AutoModelForSeq2SeqLM

    folder = save_t5(tmp_path / "t5")
    t5 = Seq2Seq(folder, dtype="float32", device="cpu")
    peer = AutoModelForSeq2SeqLM.from_pretrained(folder)
    for text in ("the cat", "a dog is good"):
        options: dict[str, Any] = {"max_tokens": 12, "repetition_penalty": penalty}
        how: dict[str, Any] = {"temperature": 0} if beams == 1 else {"num_beams": beams}
        messages = [{"role": "user", "content": text}]
        prompt = torch.tensor([t5.renderer(None).prompt(messages)])
        wanted = peer.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            num_beams=beams,
            max_new_tokens=12,
            repetition_penalty=penalty or 1.0,
            do_sample=False,
        )[0, 1:]
        decoded = t5.renderer(None).tokenizer.decode(wanted, skip_special_tokens=True)
        assert ours(t5, text, **options, **how) == [decoded]


def test_stop_texts_end_a_beam(engine: Engine, peer: Any) -> None:
    hits = 0
    for number in range(5):
        text = question(number)
        whole = ours(engine, text, num_beams=4, max_tokens=20)[0]
        stop = whole[len(whole) // 2 :][:1]
        if not stop or stop == "\ufffd":
            continue
        hits += 1
        found = ours(engine, text, num_beams=4, max_tokens=20, stop=stop)[0]
        wanted = theirs(
            peer,
            engine,
            text,
            beams=4,
            max_new_tokens=20,
            stop_strings=[stop],
            tokenizer=engine.renderer(None).tokenizer,
        )[0]
        assert found == wanted.partition(stop)[0]
    assert hits > 2


def test_among_other_requests(engine: Engine, adapter: Path, tmp_path: Path) -> None:
    gone = save_adapter(tmp_path / "gone", engine.folder)
    (gone / "adapter_model.safetensors").write_bytes(b"")
    searched = Sampling(num_beams=3, n=2, max_tokens=10)
    greedy = Sampling(temperature=0, max_tokens=10)
    asks: list[tuple[str, Sampling, Path | None]] = [
        ("a", searched, None),
        ("b", greedy, adapter),
        ("c", searched, adapter),
        ("d", searched, gone),
        ("e", greedy, None),
    ]
    questions = []
    for number, (text, sampling, where) in enumerate(asks):
        known = engine.question([{"role": "user", "content": text}], sampling)
        questions.append((number, replace(known, adapter=where)))
    found = dict(answers(engine, questions))
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert "damaged" in str(found[3])
    for number in (0, 1, 2, 4):
        text, sampling, where = asks[number]
        wanted = ours(engine, text, where, **sampling.model_dump())
        answered = found[number]
        assert isinstance(answered, Answered)
        assert list(answered.texts) == wanted
    assert not any(engine._users.values())


def test_usage_and_reasons(engine: Engine) -> None:
    messages = [{"role": "user", "content": "hello"}]
    sampling = Sampling(num_beams=4, n=4, max_tokens=3)
    deltas = list(engine.stream(messages, sampling))
    usage = deltas[-1].usage
    assert usage is not None
    assert 4 <= usage.completion_tokens <= 12
    reasons = [delta.finish_reason for delta in deltas if delta.finish_reason]
    assert len(reasons) == 4
    assert set(reasons) <= {"stop", "length"}


# --- the search alone ---------------------------------------------------------------------------


class Rows:
    """A cache that only counts."""

    rows = 1

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        assert beam_idx.max() < self.rows
        self.rows = len(beam_idx)


def search(logits: list[float], stops: set[int], ends: Any, width: int, limit: int) -> list[Any]:
    """A search over a model that says the same whatever was read."""
    plain = Shaping(Sampling(), [], stops)
    beams = Beams(width, limit=limit, stops=frozenset(stops), shaping=plain, ends=ends)
    cache = Rows()

    def forward(ids: torch.Tensor) -> torch.Tensor:
        assert len(ids) == cache.rows
        return torch.tensor([logits]).expand(len(ids), -1)

    return beams.search([0], forward, cache)


def test_texts_that_all_end_at_once_still_give_every_answer() -> None:
    found = search([3.0, 2.0, 1.0, 0.0], {3}, lambda _tokens: True, 2, 9)
    assert [answer.tokens for answer in found] == [(0,), (1,)]
    assert found[0].score > found[1].score


def test_few_may_go_on() -> None:
    found = search([3.0, 2.0, 1.0, 0.0], {3}, lambda tokens: tokens[-1] != 2, 3, 4)
    assert len(found) == 3
    assert found[0].tokens == (0,)


def test_a_vocabulary_smaller_than_the_beams() -> None:
    found = search([1.0, 0.0], {1}, lambda _tokens: False, 8, 3)
    assert {answer.tokens for answer in found} == {(1,), (0, 1), (0, 0, 1), (0, 0, 0)}


def test_no_numbers() -> None:
    with pytest.raises(ValueError, match="no numbers"):
        search([float("nan"), 1.0], {1}, lambda _tokens: False, 2, 3)

"""Every family: the same dataset, the same job, the same chat."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ftjobs.backends.base import Request
from ftjobs.backends.local import checkpoints, models
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.errors import ModelError
from ftjobs.schema import ChatMessage, Completion, Job, Sampling
from tests.backends.local.families.conftest import (
    COLOURS,
    GREEDY,
    MOODS,
    QUESTIONS,
    Builder,
    ask,
    losses,
    train,
)

DECODERS = ["Llama", "Qwen2", "Qwen3", "Gemma2", "Gemma3", "GPT2"]


@pytest.mark.parametrize("kind", [*DECODERS, "T5", "BERT"])
def test_the_loss_falls_and_the_model_can_be_asked(
    kind: str, model: Builder, backend: LocalBackend
) -> None:
    rows = MOODS if kind == "BERT" else QUESTIONS
    job = train(backend, model(kind), rows)
    assert job.status == "succeeded"
    told = losses(backend.store, job)
    assert told[-1] < 0.95 * told[0]
    tuned = job.fine_tuned_model or ""
    answer = ask(backend, tuned, rows[0][0])
    pieces = backend.stream(tuned, (ChatMessage(role="user", content=rows[0][0]),), sampling=GREEDY)
    assert "".join(delta.content for delta in pieces) == answer
    assert _adapter_dtypes(backend, tuned) == {torch.float32}
    if kind == "BERT":
        assert answer in {"positive", "negative"}


def _adapter_dtypes(backend: LocalBackend, tuned: str) -> set[torch.dtype]:
    from safetensors.torch import load_file

    folder, _ = backend.store.adapter(tuned)
    return {weights.dtype for weights in load_file(folder / "adapter_model.safetensors").values()}


@pytest.fixture(scope="module")
def t5(model: Builder, tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalBackend, str]:
    """A T5 that has learned its questions by heart."""
    return _taught(model("T5"), COLOURS, tmp_path_factory.mktemp("t5"), n_epochs=50)


@pytest.fixture(scope="module")
def bert(model: Builder, tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalBackend, str]:
    return _taught(model("BERT"), MOODS, tmp_path_factory.mktemp("bert"), n_epochs=8)


def _taught(
    base: Path, rows: list[tuple[str, str]], folder: Path, *, n_epochs: int
) -> tuple[LocalBackend, str]:
    from ftjobs.config import Settings

    backend = LocalBackend(Settings(home=folder / "home", cache=folder / "cache"))
    job: Job = train(backend, base, rows, n_epochs=n_epochs)
    return backend, job.fine_tuned_model or ""


def test_t5_answers_what_it_was_taught_in_batches_beside_its_base(
    t5: tuple[LocalBackend, str], model: Builder
) -> None:
    backend, tuned = t5
    names = [tuned, str(model("T5"))]
    requests = [
        Request(name, (ChatMessage(role="user", content=question),), GREEDY)
        for name in names
        for question, _ in COLOURS
    ]
    found = dict(backend.complete_many(requests))
    texts = []
    for number in range(len(requests)):
        answer = found[number]
        assert isinstance(answer, Completion)
        texts.append(answer.choices[0].message.content)
    assert texts[:4] == [answer for _, answer in COLOURS]
    assert texts[4:] != texts[:4]
    alone = [ask(backend, request.model, str(request.messages[0].content)) for request in requests]
    assert alone == texts


def test_t5_draws_by_seed_and_searches_with_beams(t5: tuple[LocalBackend, str]) -> None:
    backend, tuned = t5
    asked = (ChatMessage(role="user", content=COLOURS[3][0]),)
    drawn = Sampling(temperature=2, max_tokens=8, n=3, seed=5)
    once, again = (backend.complete(tuned, asked, sampling=drawn).choices for _ in range(2))
    assert [c.message.content for c in once] == [c.message.content for c in again]
    assert len({c.message.content for c in once}) > 1
    (together,) = [c for _, c in backend.complete_many([Request(tuned, asked, drawn)])]
    assert isinstance(together, Completion)
    assert [c.message.content for c in together.choices] == [c.message.content for c in once]
    searched = backend.complete(tuned, asked, sampling=Sampling(num_beams=3, max_tokens=12))
    assert searched.choices[0].message.content == COLOURS[3][1]


def test_the_likelihood_of_t5_is_its_training_loss(t5: tuple[LocalBackend, str]) -> None:
    """Compared with transformers' own loss of the adapted model."""
    from ftjobs.backends.base import Likelihood

    backend, tuned = t5
    conversations = [
        (ChatMessage(role="user", content=q), ChatMessage(role="assistant", content=a))
        for q, a in COLOURS[:3]
    ]
    found = list(backend.likelihoods(tuned, conversations))
    folder, job = backend.store.adapter(tuned)
    tokenizer = models.load_tokenizer(folder)
    recipe = (backend.store.recipe(job.id) or {})["recipe"]
    base = models.load_model(Path(job.model), dtype=recipe["dtype"], device="cpu")
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(base, folder).eval()
    for (question, answer), likelihood in zip(COLOURS[:3], found, strict=True):
        assert isinstance(likelihood, Likelihood)
        labels = tokenizer(text_target=answer, return_tensors="pt")["input_ids"]
        read = tokenizer(question, return_tensors="pt")
        with torch.no_grad():
            loss = adapted(**read, labels=labels).loss.item()
        assert likelihood.tokens == labels.shape[1]
        assert likelihood.loss / likelihood.tokens == pytest.approx(loss, rel=0.05)


def test_bert_gives_the_answers_it_was_taught_and_no_others(
    bert: tuple[LocalBackend, str],
) -> None:
    backend, tuned = bert
    for question, answer in MOODS[:3]:
        assert ask(backend, tuned, question) == answer
    asked = (ChatMessage(role="user", content="the cat is good"),)
    done = backend.complete(tuned, asked, sampling=Sampling(temperature=2, seed=1, n=3))
    assert [choice.message.content for choice in done.choices] == ["positive"] * 3
    found = backend.complete_many([Request(tuned, asked, GREEDY)] * 2)
    assert {number for number, _ in found} == {0, 1}
    folder, _ = backend.store.adapter(tuned)
    assert (checkpoints.verify(folder) or {})["labels"] == ["negative", "positive"]


def test_bert_can_be_asked_by_peft_alone(bert: tuple[LocalBackend, str]) -> None:
    """The checkpoint is whole: encoder's pooler and classifier are in it."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    backend, tuned = bert
    folder, job = backend.store.adapter(tuned)
    with models.quietly():
        base = AutoModelForSequenceClassification.from_pretrained(job.model, num_labels=2)
        loaded = PeftModel.from_pretrained(base, folder).eval()
    tokenizer = models.load_tokenizer(folder)
    for question, answer in MOODS[:3]:
        with torch.no_grad():
            logits = loaded(**tokenizer(question, return_tensors="pt")).logits
        assert ["negative", "positive"][int(logits.argmax())] == answer


def test_a_job_of_bert_gives_the_same_bytes_twice(model: Builder, tmp_path: Path) -> None:
    """Its fresh head is drawn by the job's seed."""
    written = []
    for name in ("one", "two"):
        torch.rand(3)  # whatever else was drawn in this process
        backend, tuned = _taught(model("BERT"), MOODS, tmp_path / name, n_epochs=1)
        folder, _ = backend.store.adapter(tuned)
        written.append((folder / "adapter_model.safetensors").read_bytes())
    assert written[0] == written[1]


def test_a_tuned_model_is_not_asked_over_a_base_that_has_changed(
    model: Builder, backend: LocalBackend, tmp_path: Path
) -> None:
    import shutil

    base = Path(shutil.copytree(model("Llama"), tmp_path / "copy"))
    tuned = train(backend, base, QUESTIONS, n_epochs=1).fine_tuned_model or ""
    ask(backend, tuned, "What is 1 ?")
    config = (base / "config.json").read_text("utf-8")
    (base / "config.json").write_text(
        config.replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-03')
    )
    with pytest.raises(ModelError, match="have changed since") as caught:
        ask(backend, tuned, "What is 1 ?")
    assert "Put the old files back" in str(caught.value)
    (base / "config.json").write_text(config, "utf-8")
    ask(backend, tuned, "What is 1 ?")


def test_a_base_that_changes_under_a_server_is_loaded_anew(
    model: Builder, backend: LocalBackend, tmp_path: Path
) -> None:
    import shutil

    from transformers import AutoModelForCausalLM

    base = Path(shutil.copytree(model("Llama"), tmp_path / "copy"))
    before = ask(backend, str(base), "What is 1 ?")
    other = AutoModelForCausalLM.from_pretrained(base)
    other.config.rms_norm_eps = 1e-3
    other.lm_head.weight.data = other.lm_head.weight.data.flip(0)
    other.save_pretrained(base)
    after = ask(backend, str(base), "What is 1 ?")
    assert after != before
    fresh = LocalBackend(backend.settings)
    assert after == ask(fresh, str(base), "What is 1 ?")
    assert len(backend._answering._engines) == 1

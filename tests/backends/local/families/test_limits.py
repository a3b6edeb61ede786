"""What a family cannot do, it says; and nobody's template can keep a worker for ever."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.base import Request
from ftjobs.backends.local import families, models, templates
from ftjobs.backends.local.answers.labels import Labels
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.training.pairs import closed_set, renderer_for
from ftjobs.errors import InvalidRequestError, ModelError, TrainingError, UnsupportedError
from ftjobs.schema import ChatMessage, Example, JobSpec, Sampling
from tests import tiny
from tests.backends.local.families import build
from tests.backends.local.families.conftest import MOODS, QUESTIONS, Builder, train, write

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
BAD = ("assistant", "bad")
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


def example(*turns: tuple[str, str] | tuple[str, str, int], **more: Any) -> Example:
    messages = [
        {"role": role, "content": content, "weight": weight[0] if weight else None}
        for role, content, *weight in turns
    ]
    return Example.model_validate({"messages": messages, "line": 7, **more})


def renderer(folder: Path, **settings: Any) -> Any:
    kind = models.family(folder)
    tokenizer = models.load_tokenizer(folder, settings.pop("template", None))
    stops = models.stop_ids(tokenizer, folder)
    limit = models.context_length(folder)
    return renderer_for(kind, tokenizer, stops, limit, labels=("bad", "good"), **settings)


# --- which family -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "decoder"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "decoder"),
        ({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]}, "decoder"),
        ({"model_type": "nobody-knows", "architectures": ["NewForCausalLM"]}, "decoder"),
        ({"model_type": "bert", "is_decoder": True}, "decoder"),
        ({"model_type": "t5"}, "encoder-decoder"),
        ({"model_type": "new", "is_encoder_decoder": True}, "encoder-decoder"),
        ({"model_type": "bert", "architectures": ["BertForPreTraining"]}, "classifier"),
        ({"model_type": "xlm-roberta"}, "classifier"),
        ({"model_type": "new", "architectures": ["NewForMaskedLM"]}, "classifier"),
        ({"model_type": "new", "architectures": 5}, "decoder"),
    ],
)
def test_a_family_is_told_from_the_configuration(
    config: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert models.family(tmp_path) == wanted


@pytest.mark.parametrize("text", ["{", "[]", "", "[" * 100_000])
def test_a_broken_configuration_is_a_models_fault(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"config\.json"):
        models.family(tmp_path)


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"model_type": "gpt2", "n_positions": 128}, 128),
        ({"model_type": "llama", "max_position_embeddings": 256}, 256),
        ({"model_type": "llama", "max_position_embeddings": 256, "text_config": 5}, 256),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "bert", "max_position_embeddings": 64}, 64),
        ({"model_type": "t5", "n_positions": 512}, families.UNBOUNDED),
    ],
)
def test_the_context_is_what_the_positions_allow(
    config: dict[str, Any], wanted: int, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert models.context_length(tmp_path) == wanted


def test_no_model_has_dropout_of_its_own(model: Builder) -> None:
    for kind in ("GPT2", "T5", "BERT"):
        loaded = models.load_model(model(kind), dtype="float32", device="cpu", labels=("a", "b"))
        drops = {name: value for name, value in vars(loaded.config).items() if "drop" in name}
        assert not any(value for value in drops.values() if isinstance(value, float)), drops


# --- what T5 and BERT are refused -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["T5", "BERT"])
@pytest.mark.parametrize(
    ("turns", "tools", "reason"),
    [
        ([("user", "a"), BAD, ("user", "b"), BAD], (), "only the last turn"),
        ([("user", "a"), (*BAD, 0), ("user", "b"), BAD], (), "set chat_template"),
        ([("user", "a"), ("assistant", "bad"), ("user", "b")], (), "only the last turn"),
        ([("user", "a"), ("assistant", "bad", 0)], (), "no assistant turn is trained"),
        ([("user", "a"), ("assistant", "bad")], (TOOL,), "does not show the model its tools"),
        ([("user", " "), ("assistant", "bad")], (), "no text"),
        ([("user", "a"), ("assistant", " ")], (), "must be a text"),
    ],
)  # fmt: skip
def test_what_is_no_prompt_with_an_answer_is_refused(
    kind: str, turns: Any, tools: Any, reason: str, model: Builder
) -> None:
    with pytest.raises(TrainingError, match=f"line 7 .*{reason}") as caught:
        renderer(model(kind)).example(example(*turns, tools=tools))
    assert caught.value.code == "invalid_training_file"


def test_a_prompt_template_may_show_earlier_answers(model: Builder) -> None:
    shown = renderer(
        model("T5"),
        template="{% for m in messages %}{{ m['role'] + ': ' + m['content'] + ' ' }}{% endfor %}",
    )
    turns: list[Any] = [
        ("user", "sky"),
        ("assistant", "blue", 0),
        ("user", "snow"),
        ("assistant", "white"),
    ]
    tokens = shown.example(example(*turns))
    cut = tokens.supervised.index(True)
    assert "blue" in shown.tokenizer.decode(tokens.ids[:cut])
    assert shown.tokenizer.decode(tokens.ids[cut:]) == "white</s>"
    assert tokens.targets == len(tokens.ids) - cut


def test_the_prompt_is_what_the_model_will_be_asked(model: Builder) -> None:
    made = renderer(model("T5"))
    turns = [("system", "answer"), ("user", "What is your name ?"), ("assistant", "cat")]
    tokens = made.example(example(*turns))
    prompt = made.prompt([{"role": r, "content": c} for r, c in turns[:-1]])
    assert list(tokens.ids[: tokens.supervised.index(True)]) == prompt
    assert prompt[-1] in made.stops  # T5's encoder has always read an end
    assert tokens.ids[-1] in made.stops
    assert sum(token in made.stops for token in tokens.ids) == 2


@pytest.mark.parametrize(
    ("kind", "turns", "reason"),
    [
        ("T5", [("user", "a"), ("assistant", "龍")], "does not give the answer back"),
        ("T5", [("user", "a"), ("assistant", "two\nlines")], "does not give the answer back"),
        ("T5", [("user", "a </s>"), ("assistant", "b")], "reserved tokens"),
        ("BERT", [("user", "a"), ("assistant", "ugly")], "none of the 2 of the training file"),
        ("BERT", [("user", "a " * 99), ("assistant", "good")], "the model takes 64"),
        ("BERT", [("user", "a [SEP]"), ("assistant", "good")], "reserved tokens"),
    ],
)
def test_what_a_family_cannot_learn_is_refused_by_line(
    kind: str, turns: Any, reason: str, model: Builder
) -> None:
    with pytest.raises(TrainingError, match=f"line 7 .*{reason}"):
        renderer(model(kind)).example(example(*turns))


@pytest.mark.parametrize("kind", ["T5", "BERT"])
def test_only_decoders_learn_their_prompts(kind: str, model: Builder) -> None:
    with pytest.raises(TrainingError, match="train_on_inputs") as caught:
        renderer(model(kind), train_on_inputs=True)
    assert caught.value.param == "train_on_inputs"


@pytest.mark.parametrize("kind", ["T5", "BERT"])
def test_only_decoders_learn_preferences(
    kind: str, model: Builder, backend: LocalBackend, tmp_path: Path
) -> None:
    file = backend.upload(write(tmp_path / "rows.jsonl", QUESTIONS))
    spec = JobSpec(model=str(model(kind)), training_file=file.id, method="dpo")
    with pytest.raises(UnsupportedError, match="can be trained supervised only, not by dpo"):
        backend.create(spec)
    assert not list(backend.jobs())


@pytest.mark.parametrize(
    ("answers", "reason"),
    [(["yes"] * 5, "the same answer"), (list("abcdef"), "which is no closed set")],
)
def test_a_classifier_needs_a_closed_set_of_answers(answers: list[str], reason: str) -> None:
    with pytest.raises(TrainingError, match=reason):
        closed_set(example(("user", "q"), ("assistant", answer)) for answer in answers)


def test_a_closed_set_is_sorted_and_knows_no_spaces_at_the_ends() -> None:
    answers = ["no", "yes ", "no\n", "yes"]
    found = closed_set(example(("user", "q"), ("assistant", answer)) for answer in answers)
    assert found == ("no", "yes")


def test_an_encoder_has_no_answers_of_its_own(model: Builder, backend: LocalBackend) -> None:
    asked = (ChatMessage(role="user", content="the cat"),)
    with pytest.raises(ModelError, match="without answers of its own"):
        backend.complete(str(model("BERT")), asked)
    ((_, found),) = backend.complete_many([Request(str(model("BERT")), asked, Sampling())])
    assert isinstance(found, ModelError)


def test_what_a_classifier_cannot_be_asked(model: Builder, backend: LocalBackend) -> None:
    tuned = train(backend, model("BERT"), MOODS, n_epochs=1).fine_tuned_model or ""
    asked = (ChatMessage(role="user", content="the cat is good"),)
    with pytest.raises(InvalidRequestError, match="nothing to search by beams"):
        backend.complete(tuned, asked, sampling=Sampling(num_beams=2))
    with pytest.raises(InvalidRequestError, match="does not show the model its tools"):
        backend.complete(tuned, asked, tools=(TOOL,))
    with pytest.raises(UnsupportedError, match="no likelihood"):
        list(backend.likelihoods(tuned, [asked]))


# --- tokenizers and templates -----------------------------------------------------------------


def test_what_a_tokenizer_loses_is_told(model: Builder, backend: LocalBackend) -> None:
    assert models.lost_in_tokens(models.load_tokenizer(model("Llama"))) == []
    job = train(backend, model("T5"), QUESTIONS, n_epochs=1)
    (event,) = [e for e in backend.events(job.id) if e.level == "warn"]
    assert event.message.endswith("does not keep emoji, line breaks as written")


def test_a_template_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "SECONDS", 0.2)
    tiny.save_tokenizer(tmp_path, ENDLESS)
    tokenizer = models.load_tokenizer(tmp_path)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"has not ended after 0\.2 s"):
        templates.render_text(tokenizer, [{"role": "user", "content": "a"}], prompt=True)
    assert time.monotonic() - began < 5
    _until_no_thread_renders()
    tokenizer.chat_template = tiny.CHATML
    monkeypatch.setattr(templates, "SECONDS", 10)
    text = templates.render_text(tokenizer, [{"role": "user", "content": "a"}], prompt=False)
    assert text == "<|im_start|>user\na<|im_end|>\n"


def _until_no_thread_renders() -> None:
    """The thread that rendered for ever has really ended: only idle ones are left."""
    end = time.monotonic() + 10
    while True:
        running = [t for t in threading.enumerate() if t.name == "templates"]
        if len(running) <= len(templates._idle):
            return
        assert time.monotonic() < end, "a template still runs"
        time.sleep(0.01)


def test_templates_are_rendered_by_many_threads_at_once(tmp_path: Path) -> None:
    tiny.save_tokenizer(tmp_path)
    tokenizer = models.load_tokenizer(tmp_path)
    found: dict[int, str] = {}

    def render(number: int) -> None:
        for _ in range(20):
            messages = [{"role": "user", "content": str(number)}]
            found[number] = templates.render_text(tokenizer, messages, prompt=False)

    threads = [threading.Thread(target=render, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: f"<|im_start|>user\n{n}<|im_end|>\n" for n in range(8)}


def test_half_a_pair_of_surrogates_is_no_text(model: Builder) -> None:
    with pytest.raises(ValueError, match="not valid Unicode"):
        renderer(model("T5")).prompt([{"role": "user", "content": "\ud83d"}])


def test_weights_that_are_not_whole_are_refused_but_for_the_head(
    model: Builder, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    build.save_bert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop("bert.encoder.layer.0.output.dense.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="not whole: 1 tensors missing"):
        models.load_model(tmp_path, dtype="float32", device="cpu", labels=("a", "b"))


@pytest.mark.parametrize("lacks", ["head", "labels"])
def test_a_head_that_the_weights_lack_answers_nobody(
    lacks: str, model: Builder, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(model("BERT"))
    config.id2label = {0: "bad", 1: "good"}
    classifier = AutoModelForSequenceClassification.from_config(config)
    classifier.save_pretrained(tmp_path)
    models.load_model(tmp_path, dtype="float32", device="cpu")
    said = json.loads((tmp_path / "config.json").read_text("utf-8"))
    if lacks == "head":
        build.save_bert(tmp_path)
    else:
        said["id2label"] |= {"2": "so-so"}
        said["label2id"] = {name: int(key) for key, name in said["id2label"].items()}
    (tmp_path / "config.json").write_text(json.dumps(said), "utf-8")
    labels = Labels(tmp_path, dtype="float32", device="cpu")
    if lacks == "labels":
        models.load_tokenizer(model("BERT")).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"without answers of its own|cannot be loaded"):
        labels.question([{"role": "user", "content": "the cat"}], Sampling())


@pytest.mark.parametrize("text", ["nope", "[]"])
def test_a_broken_generation_config_is_a_models_fault(text: str, tmp_path: Path) -> None:
    tiny.save_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"generation_config\.json cannot be read"):
        models.stop_ids(models.load_tokenizer(tmp_path), tmp_path)


def test_only_tokens_can_end_an_answer(tmp_path: Path) -> None:
    tiny.save_tokenizer(tmp_path)
    listed = {"eos_token_id": [3, None, "x", 99_999, -1]}
    (tmp_path / "generation_config.json").write_text(json.dumps(listed), "utf-8")
    tokenizer = models.load_tokenizer(tmp_path)
    assert models.stop_ids(tokenizer, tmp_path) == {3, tokenizer.eos_token_id}


def test_ctrl_c_stops_a_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(templates, "wait", interrupted)
    tiny.save_tokenizer(tmp_path, ENDLESS)
    tokenizer = models.load_tokenizer(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        templates.render_text(tokenizer, [{"role": "user", "content": "a"}], prompt=True)
    _until_no_thread_renders()


@pytest.mark.parametrize("token", ["<|eot_id|>", '<|"|>'])
def test_a_special_token_without_a_name_is_reserved_too(token: str, tmp_path: Path) -> None:
    from tokenizers import AddedToken

    tiny.save_tokenizer(tmp_path)
    tokenizer = models.load_tokenizer(tmp_path)
    tokenizer.add_tokens([AddedToken(token, special=True), AddedToken("<think>")])
    own = renderer_for("decoder", tokenizer, frozenset({257}), 512)
    own.prompt([{"role": "user", "content": "a <think> b"}])
    with pytest.raises(ValueError, match="one of the model's reserved tokens"):
        own.prompt([{"role": "user", "content": f"a {token} b"}])


@pytest.mark.parametrize("kind", ["Llama", "T5", "BERT"])
def test_a_token_that_was_added_to_the_tokenizer_alone_is_refused(
    kind: str, model: Builder, tmp_path: Path
) -> None:
    tokenizer = models.load_tokenizer(model(kind))
    size = models.vocabulary(model(kind))
    tokenizer.add_tokens([f"extra{number}" for number in range(size + 1 - len(tokenizer))])
    own = renderer_for(
        models.family(model(kind)), tokenizer, frozenset({1, 257}), 99, vocabulary=size
    )
    own.prompt([{"role": "user", "content": "the cat"}])
    tokenizer.add_tokens(["beyond"])
    with pytest.raises(ValueError, match="does not know 'beyond', a token of its tokenizer"):
        own.prompt([{"role": "user", "content": "the beyond"}])
    (tmp_path / "config.json").write_text('{"vocab_size": "9", "text_config": {}}', "utf-8")
    assert models.vocabulary(tmp_path) == families.UNBOUNDED


def test_arguments_without_end_are_no_message() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[" * 100_000}}
    message = ChatMessage(role="assistant", tool_calls=(call,))
    with pytest.raises(ValueError, match="not of the wire's form"):
        templates.template_messages((message,))


@pytest.mark.parametrize(
    ("named", "known"),
    [
        ({}, None),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}, None),
        ({"id2label": {"1": "LABEL_B", "0": "LABEL_A"}}, ("LABEL_A", "LABEL_B")),
    ],
)
def test_answers_without_names_of_their_own_are_none(
    named: dict[str, Any], known: tuple[str, ...] | None, tmp_path: Path
) -> None:
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], **named}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    labels = Labels(tmp_path, dtype="float32", device="cpu")
    if known:
        assert labels._labels(None) == known
    else:
        with pytest.raises(ModelError, match="without answers of its own"):
            labels._labels(None)

"""Answers of a form: whatever a model would rather write, what ends is JSON of the schema."""

from __future__ import annotations

import faulthandler
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftjobs.backends.local import models
from ftjobs.backends.local.answers import vocabulary
from ftjobs.backends.local.answers.batch import Batch
from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.answers.gathered import Answered
from ftjobs.backends.local.answers.labels import Labels
from ftjobs.backends.local.answers.seq2seq import Seq2Seq
from ftjobs.errors import ConfigError
from ftjobs.schema import Sampling
from tests import tiny
from tests.backends.local.answers.asking import Ask, alone
from tests.backends.local.families import build

ANY: dict[str, Any] = {"type": "json_object"}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "é", "日本"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def asking(response_format: dict[str, Any], text: str = "hello", **rest: Any) -> Ask:
    drawn = {"temperature": 1.5, "max_tokens": 160, "seed": 1} | rest
    return Ask(text, Sampling(response_format=response_format, **drawn))


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Engine:
    return Engine(tiny_model, dtype="float32", device="cpu")


LEAVES = st.sampled_from(
    [
        {"type": "integer", "minimum": -5, "maximum": 70},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["red", "日本", 3, None]},
        {"const": {"a": [1]}},
        {"type": "string", "maxLength": 4},
        {"type": "string", "pattern": "^[a-c]{1,3}$"},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner, "maxItems": st.integers(0, 2)}
        ),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": sorted(properties)[:1],
                "additionalProperties": False,
            }
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda each: {"anyOf": each}),
    ),
    max_leaves=4,
)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(SCHEMAS, st.integers(0, 2**31), st.sampled_from([0, 1, 2]))
def test_what_ends_is_json_of_the_schema(
    engine: Engine, schema: dict[str, Any], seed: int, temperature: float
) -> None:
    answered = alone(engine, asking(form(schema), seed=seed, temperature=temperature))
    if answered.reasons == ("stop",):
        assert jsonschema_rs.is_valid(schema, json.loads(answered.texts[0]))
    else:
        assert answered.usage.completion_tokens == 160


def test_an_object_is_an_object(engine: Engine) -> None:
    ended = 0
    for seed in range(5):
        (text,), (reason,) = _told(alone(engine, asking(ANY, seed=seed)))
        ended += reason == "stop"
        assert reason == "length" or isinstance(json.loads(text), dict)
    assert ended > 1


def _told(answered: Answered) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return answered.texts, answered.reasons


def test_a_batch_holds_each_row_to_its_own_form(engine: Engine) -> None:
    asks = [
        asking(form(PERSON), "a", n=2),
        Ask("no form"),
        asking(form({"enum": ["yes", "no"]}), "b", temperature=0),
        asking(ANY, "c", max_tokens=9, presence_penalty=1),
    ]
    questions = [(number, each.question(engine)) for number, each in enumerate(asks)]
    found = dict(Batch(engine, questions).run())
    assert [found[number] for number in range(4)] == [alone(engine, each) for each in asks]
    people, _, word, _ = (found[number] for number in range(4))
    assert isinstance(people, Answered)
    assert isinstance(word, Answered)
    assert all(jsonschema_rs.is_valid(PERSON, json.loads(text)) for text in people.texts)
    assert people.texts[0] != people.texts[1]
    assert json.loads(word.texts[0]) in ("yes", "no")
    assert word.reasons == ("stop",)


def test_the_least_length_does_not_make_it_longer_than_it_can_be(engine: Engine) -> None:
    short = form({"const": 7})
    answered = alone(engine, asking(short, min_tokens=50))
    assert (answered.texts, answered.reasons) == (("7",), ("stop",))


def test_tokens_cannot_end_it_within_a_value(engine: Engine) -> None:
    """The stop token's own text is no part of a string."""
    text = form({"type": "string", "minLength": 5, "maxLength": 6})
    for seed in range(5):
        (said,), _ = _told(alone(engine, asking(text, seed=seed)))
        assert 5 <= len(json.loads(said)) <= 6


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"not": {"type": "string"}}, 'Unimplemented keys: ["not"]'),
        ({"type": "nope"}, "Invalid type: nope"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "string", "pattern": "("}, "unclosed group"),
        ({"$ref": "http://127.0.0.1:9/x"}, "does not fetch"),
        ({"$ref": "file:///etc/passwd"}, "does not fetch"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "Unsatisfiable"),
        ({"not": {}, "x-guidance": {"lenient": True}}, "Unimplemented"),
    ],
)
def test_what_cannot_be_promised_is_refused(
    engine: Engine, schema: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=r"json_schema\.schema") as caught:
        asking(form(schema)).question(engine)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schema_cannot_change_how_it_is_written(engine: Engine) -> None:
    sly = {**PERSON, "x-guidance": {"item_separator": ";", "key_separator": "="}}
    (text,), _ = _told(alone(engine, asking(form(sly))))
    assert jsonschema_rs.is_valid(PERSON, json.loads(text))


def test_a_token_that_may_not_come_is_an_error(engine: Engine) -> None:
    question = asking(form({"enum": ["a"]})).question(engine)
    assert question.guide is not None
    assert question.vocabulary is not None
    (first,) = question.guide.allowed(264)[0].nonzero().flatten().tolist()
    assert question.vocabulary.bytes(first) == b'"'
    with pytest.raises(ValueError, match="its tokens cannot write"):
        question.guide.allowed(first)
    with pytest.raises(ValueError, match="response_format"):
        question.guide.copy().take(first + 1)
    question.guide.take(first)


def test_white_space_has_an_end(engine: Engine) -> None:
    for seed in range(2):
        (text,), _ = _told(alone(engine, asking(form(PERSON), seed=seed)))
        assert max(map(len, "".join(" " if c.isspace() else "x" for c in text).split("x"))) <= 20


def test_it_is_said_what_is_not_installed(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary._known.cache_clear()
    monkeypatch.setitem(sys.modules, "llguidance", None)
    fresh = Engine(tiny_model, dtype="float32", device="cpu")
    with pytest.raises(ConfigError, match="need llguidance"):
        asking(ANY).question(fresh)


def test_a_tokenizer_that_cannot_be_read_is_refused(
    engine: Engine, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Engine(tiny_model, dtype="float32", device="cpu")
    monkeypatch.setattr(vocabulary, "_known", lambda *_: None)
    with pytest.raises(ValueError, match="no response_format can guide"):
        asking(ANY).question(fresh)
    scored = Ask("x", Sampling(logprobs=True, max_tokens=5, temperature=0))
    tokens = alone(fresh, scored).logprobs[0]["content"]
    assert [token["logprob"] for token in tokens] == [
        token["logprob"] for token in alone(engine, scored).logprobs[0]["content"]
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("families")
    makers: dict[str, Callable[[Path], Path]] = {
        "T5": build.save_t5, "BERT": build.save_bert, "japanese": build.save_japanese,
    }  # fmt: skip

    def make(kind: str) -> Path:
        with models.quietly():
            return makers[kind](folder / kind)

    return make


def test_encoder_decoders_are_held_to_it_too(
    built: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those whose tokens can be read: sentencepiece's often cannot."""
    folder = built("T5")
    with pytest.raises(ValueError, match="no response_format can guide"):
        asking(ANY).question(Seq2Seq(folder, dtype="float32", device="cpu"))
    tiny.save_tokenizer(folder)
    engine = Seq2Seq(folder, dtype="float32", device="cpu")
    ask = asking(form({"enum": [7, 123]}), "the cat", logprobs=True)  # T5 ends with what is '"'
    answered = alone(engine, ask)
    assert json.loads(answered.texts[0]) in (7, 123)
    told = b"".join(bytes(token["bytes"]) for token in answered.logprobs[0]["content"])
    assert told.decode() == answered.texts[0]
    found = dict(engine.answers([(0, ask.question(engine))]))
    assert found[0] == answered


def test_sentencepiece_is_guided_where_it_knows_bytes(built: Callable[[str], Path]) -> None:
    folder = built("japanese")
    (folder / "chat_template.jinja").write_text(tiny.CHATML)
    engine = Engine(folder, dtype="float32", device="cpu")
    ask = asking(form(PERSON), "\u4eca\u65e5\u306f", logprobs=True)
    answered = alone(engine, ask)
    assert jsonschema_rs.is_valid(PERSON, json.loads(answered.texts[0]))
    told = b"".join(bytes(token["bytes"]) for token in answered.logprobs[0]["content"])
    assert told.decode().strip() == answered.texts[0].strip()


def test_classifiers_have_no_form(built: Callable[[str], Path]) -> None:
    labels = Labels(built("BERT"), dtype="float32", device="cpu")
    for sampling in (Sampling(response_format=ANY), Sampling(logprobs=True)):
        with pytest.raises(ValueError, match="a classifier chooses its answer"):
            labels.question([{"role": "user", "content": "x"}], sampling)


HEAVY: list[dict[str, Any]] = [
    {"allOf": [{"type": "string", "pattern": f".*a{i}.*"} for i in range(20)]},
    {
        "$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}", "pattern": f".*a{i}"} for i in range(20)}
        | {"d20": {"type": "string"}},
        "$ref": "#/$defs/d0",
    },
    {"type": "integer", "multipleOf": 4294967291},
    {"type": "number", "multipleOf": 1234.56789},
    {"type": "number", "multipleOf": 1e300},
    {"allOf": [{"type": "integer", "multipleOf": n} for n in (9973, 9967)]},
]


@pytest.mark.parametrize("schema", HEAVY)
def test_a_schema_that_takes_for_ever_to_read_is_refused(
    engine: Engine, schema: dict[str, Any]
) -> None:
    faulthandler.dump_traceback_later(60, exit=True)  # what reads it heeds no signal
    try:
        with pytest.raises(ValueError, match=r"patterns|multipleOf"):
            asking(form(schema)).question(engine)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {f"a{i}": {"type": "string", "pattern": "^a+$"} for i in range(20)}},
        {"allOf": [{"type": "integer", "multipleOf": n} for n in (60, 7)]},
        {"properties": {"a": {"multipleOf": 0.0001}, "b": {"multipleOf": 1_000_000}}},
    ],
)
def test_a_schema_that_is_long_but_light_is_read(engine: Engine, schema: dict[str, Any]) -> None:
    assert asking(form(schema)).question(engine).guide

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.graders.base import Item
from ftjobs.evals.judges.templates import Missing, Template
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer
from ftjobs.schema import ChatMessage
from tests.evals.judges.scripted import TUNED

CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
ASKED = Prompt(
    messages=(
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content="2+2?"),
    ),
    expected='{"sum": 4, "名前": "四"}',
    tags=("sums", "easy"),
    line=7,
    cluster="sums",
    calls=(CALL,),
    item={"label": 1.0, "meta": {"a b": [10, {"c": None}]}, "flag": True},
)
GIVEN = Item(
    ASKED,
    Answer(text='{"sum": 4, "steps": ["add"]}', tool_calls=(CALL,), finish_reason="stop"),
    TUNED,
)


def render(text: str, item: Item = GIVEN) -> str:
    return Template.read(text, "input").render(item)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("no place { } }}", "no place { } }}"),
        ("{{sample.output_text}}", '{"sum": 4, "steps": ["add"]}'),
        ("[{{ sample.output_json.sum }}]", "[4]"),
        ("{{ sample.output_json['steps'][0] }}", "add"),
        ("{{ sample.output_json }}", '{"sum": 4, "steps": ["add"]}'),
        ("{{ sample.output_tools[0].function.name }}", "add"),
        ("{{ sample.output_tools[0].function.arguments }}", '{"a": 2}'),
        ("{{ sample.choices[0].message.content }}", '{"sum": 4, "steps": ["add"]}'),
        ("{{ sample.choices[0].message.tool_calls[0].id }}", "call_1"),
        ("{{ sample.choices[0].finish_reason }}", "stop"),
        ("{{ item.expected }}", '{"sum": 4, "名前": "四"}'),
        ("{{ item.reference_answer }}", '{"sum": 4, "名前": "四"}'),
        ("{{ item.answer }}|{{ item.ideal }}", '{"sum": 4, "名前": "四"}|{"sum": 4, "名前": "四"}'),
        ("{{ item.reference_answer.sum }}", "4"),
        ("{{ item.reference_answer.名前 }}", "四"),
        ("{{ item.question }}/{{ item.input }}", "2+2?/2+2?"),
        ("{{ item.messages[0].content }}", "Be brief."),
        ("{{ item.tags }}", '["sums", "easy"]'),
        ("{{ item.tags[1] }}", "easy"),
        ("{{ item.line }} {{ item.cluster }}", "7 sums"),
        ("{{ item.calls[0].function.name }}", "add"),
        ("{{ item.label }}", "1.0"),
        ("{{ item.flag }}", "true"),
        ('{{ item.meta["a b"][0] }}', "10"),
        ("{{ item.meta['a b'][1].c }}", "null"),
        ("{{\n item.label\n}}", "1.0"),
        ("{{item.label}}{{item.label}}", "1.01.0"),
        ("{{{ item.label }}}", "{1.0}"),
    ],
)
def test_places_are_filled(text: str, rendered: str) -> None:
    assert render(text) == rendered


@pytest.mark.parametrize(
    "text",
    ["{{ item.label", "{{item.label }", "{{ item['a}'] }}", "{{ item.label }}, {{ sample.output"],
)
def test_a_place_that_does_not_end_is_refused(text: str) -> None:
    """A model would be asked to judge the words "{{ item.label", and would."""
    with pytest.raises(ConfigError, match=r"^reference: .* begins a place that does not end"):
        Template.read(text, "reference")


@pytest.mark.parametrize(
    "text",
    [
        "{{ }}",
        "{{ item }}",
        "{{ item. }}",
        "{{ item.a. }}",
        "{{ item..a }}",
        "{{ item.a b }}",
        "{{ item[a] }}",
        "{{ item.a[-1] }}",
        "{{ item.a[0 }}",
        "{{ items.a }}",
        "{{ itemized }}",
        "{{ prompt.a }}",
        "{{ 1 + 1 }}",
        "{{ item.a | upper }}",
        "{{ item.a[" + "9" * 5000 + "] }}",
    ],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^reference: \{\{ .* is no path"):
        Template.read(text, "reference")


@pytest.mark.parametrize("path", ["sample.output_audio", "sample.text", "sample[0]"])
def test_what_no_answer_has_is_refused(path: str) -> None:
    with pytest.raises(ConfigError) as found:
        Template.read(f"{{{{ {path} }}}}", "input")
    assert f"there is no {path}" in str(found.value)
    assert "output_text" in found.value.hint


@pytest.mark.parametrize(
    "path",
    [
        "item.none",
        "item.reference_answer.product",
        "item.tags[2]",
        "item.tags.first",
        "item.label.more",
        "item.tools",
        "item.messages[0][0]",
        "item.question.text",
    ],
)
def test_what_the_prompt_lacks_is_missing(path: str) -> None:
    with pytest.raises(Missing, match="the prompt has no item") as found:
        render(f"{{{{ {path} }}}}")
    assert path in str(found.value)
    assert not found.value.of_answer


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"b": 1}', "[" * 100_000, "9" * 5000])
def test_what_the_answer_lacks_is_missing(text: str) -> None:
    item = Item(ASKED, Answer(text=text), TUNED)
    for path in ("sample.output_json.a", "sample.output_tools[0].function.name"):
        with pytest.raises(Missing, match="the answer has no sample") as found:
            render(f"{{{{ {path} }}}}", item)
        assert found.value.of_answer


def test_a_row_without_expected_answer_has_none() -> None:
    bare = Item(Prompt(ASKED.messages), Answer(), TUNED)
    for name in ("expected", "reference_answer", "answer", "line", "cluster", "calls"):
        with pytest.raises(Missing):
            render(f"{{{{ item.{name} }}}}", bare)
    own = Item(Prompt(ASKED.messages, "4", item={"reference_answer": {"a": 5}}), Answer(), TUNED)
    assert render("{{ item.reference_answer.a }} {{ item.expected }}", own) == "5 4"


def test_what_is_put_in_is_not_looked_at_again() -> None:
    attack = "{{ item.reference_answer }}"
    item = Item(Prompt(ASKED.messages, "secret"), Answer(text=attack), TUNED)
    assert render("{{ sample.output_text }}", item) == attack


@given(st.text())
def test_an_answer_is_put_in_as_it_is(text: str) -> None:
    item = Item(ASKED, Answer(text=text), TUNED)
    assert render("<{{ sample.output_text }}>", item) == f"<{text}>"


@given(st.text(alphabet="{} itemsaple.output_x[]0'\""))
def test_any_text_is_a_template_or_an_error_of_ours(text: str) -> None:
    try:
        template = Template.read(text, "input")
    except ConfigError:
        return
    try:
        rendered = template.render(GIVEN)
    except Missing:
        return
    assert template.places or rendered == text


@given(
    st.dictionaries(st.text(alphabet="abc_é名", min_size=1), st.integers() | st.text(), min_size=1)
)
def test_any_field_of_the_row_can_be_named(fields: dict[str, object]) -> None:
    item = Item(Prompt(ASKED.messages, item=fields), Answer(), TUNED)
    for name, value in fields.items():
        wanted = value if isinstance(value, str) else json.dumps(value)
        assert render(f"{{{{ item.{name} }}}}", item) == wanted

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ConfigError, UnsupportedError
from ftjobs.evals.arms import Question
from ftjobs.evals.graders.base import Biased, Grader, Item
from ftjobs.evals.judges import JUDGING, JudgeModel, load_openai, read_grader, read_graders
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer, Mark
from ftjobs.schema import ChatMessage, Sampling
from tests.evals.judges.scripted import TUNED, ask, item, judge, prompt

CHECK = {
    "type": "string_check",
    "name": "city",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference_answer }}",
    "operation": "eq",
}
ALIKE = {
    "type": "text_similarity",
    "name": "alike",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference_answer }}",
    "evaluation_metric": "fuzzy_match",
}
SCORE = {
    "type": "score_model",
    "name": "style",
    "model": "gpt-4o-2024-08-06",
    "input": [
        {"role": "system", "content": "Grade the style."},
        {"role": "user", "content": "Answer: {{ sample.output_text }}"},
    ],
}
STATEMENT = {"type": "output_text", "text": "{{sample.output_text}}"}
LABEL = {
    "type": "label_model",
    "name": "tone",
    "model": "gpt-4o-2024-08-06",
    "input": [{"role": "developer", "content": {"type": "input_text", "text": "Tone of:"}},
              {"role": "user", "content": [STATEMENT]}],
    "labels": ["warm", "cold", "冷たい"],
    "passing_labels": ["warm"],
}  # fmt: skip


def marks(
    grader: Mapping[str, Any], *texts: str, who: JudgeModel | None = None, expected: str = "Paris"
) -> list[Mark]:
    asked = prompt("Capital of France?", expected)
    return read_grader(grader, who).grade([item(text, asked) for text in texts], ask)


def scores(
    grader: Mapping[str, Any], *texts: str, who: JudgeModel | None = None, expected: str = "Paris"
) -> list[float | None]:
    return [mark.score for mark in marks(grader, *texts, who=who, expected=expected)]


# --- string_check -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        ("eq", [1, 0, 0, 0]),
        ("ne", [0, 1, 1, 1]),
        ("neq", [0, 1, 1, 1]),
        ("like", [1, 0, 1, 0]),
        ("ilike", [1, 1, 1, 0]),
    ],
)
def test_string_check(operation: str, wanted: list[float]) -> None:
    grader = {**CHECK, "operation": operation}
    assert scores(grader, "Paris", "paris", "It is Paris.", "Rome") == wanted


def test_an_imported_grader_is_a_grader() -> None:
    grader = read_grader(CHECK)
    assert isinstance(grader, Grader)
    assert isinstance(grader, Biased)
    assert (grader.name, grader.kind) == ("city", "binary")
    assert grader.about == "{{ sample.output_text }} eq {{ item.reference_answer }}"
    assert grader.judge_models == ()
    assert grader.biases([], []) == ()
    assert read_grader({k: v for k, v in CHECK.items() if k != "name"}).name == "string_check"


def test_an_answer_that_lacks_what_is_checked_scores_0_and_a_prompt_gives_no_score() -> None:
    grader = {**CHECK, "input": "{{ sample.output_json.city }}", "operation": "ne"}
    found = marks(grader, '{"city": "Rome"}', "Rome")
    assert found == [Mark(score=1), Mark(score=0, note="the answer has no sample.output_json.city")]
    two = [item("Paris", prompt("q", "Paris")), item("Paris", prompt("q"))]
    assert read_grader(CHECK).grade(two, ask) == [
        Mark(score=1),
        Mark(score=None, note="the prompt has no item.reference_answer"),
    ]


def test_a_field_that_no_prompt_has_is_an_error_that_names_it() -> None:
    grader = read_grader({**CHECK, "reference": "{{ item.lable }}"})
    with pytest.raises(ConfigError) as found:
        grader.grade([item("Paris", prompt("q", "Paris"))], ask)
    assert "the grader city names item.lable, which no prompt has" in str(found.value)
    assert "expected" in found.value.hint
    assert "Paris" not in str(found.value)
    assert grader.grade([], ask) == []


def test_function_calls_are_checked_as_openais_guide_shows() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    grader = {
        "type": "multi",
        "graders": {
            "function_name": {
                "name": "function_name",
                "type": "string_check",
                "input": "add",
                "reference": "{{sample.output_tools[0].function.name}}",
                "operation": "eq",
            },
            "arguments": {
                "name": "arguments",
                "type": "string_check",
                "input": '{"a": {{item.number}}}',
                "reference": "{{sample.output_tools[0].function.arguments}}",
                "operation": "eq",
            },
        },
        "calculate_output": "0.5 * function_name + 0.5 * arguments",
    }
    asked = (ChatMessage(role="user", content="q"),)
    items = [
        Item(Prompt(asked, item={"number": number}), Answer(tool_calls=calls), TUNED)
        for number, calls in ((2, (call,)), (3, (call,)), (2, ()))
    ]
    assert [mark.score for mark in read_grader(grader).grade(items, ask)] == [1.0, 0.5, 0.0]


# --- text_similarity --------------------------------------------------------------------------


METRICS = ["fuzzy_match", "bleu", "gleu", "rouge_l", *(f"rouge_{n}" for n in range(1, 6))]


@pytest.mark.parametrize("metric", METRICS)
def test_text_similarity(metric: str) -> None:
    text = "the cat sat on the mat today"
    near = "the cat sat on the mat now"
    same, close, far = scores(
        {**ALIKE, "evaluation_metric": metric}, text, near, "quite another", expected=text
    )
    assert same is not None
    assert close is not None
    assert far is not None
    assert same == pytest.approx(1)
    assert 0 <= far < close < 1


def test_a_threshold_makes_it_pass_or_fail() -> None:
    grader = {**ALIKE, "pass_threshold": 0.8}
    passed, failed = marks(grader, "Pariss", "Rome")
    assert (passed.score, failed.score) == (1, 0)
    assert "of 0.8 to pass." in passed.note
    assert read_grader(grader).kind == "binary"
    assert read_grader(grader).about.endswith("; 0.8 passes")
    assert read_grader(ALIKE).kind == "continuous"


@pytest.mark.parametrize("metric", ["meteor", "cosine"])
def test_metrics_that_need_a_download_are_refused(metric: str) -> None:
    with pytest.raises(UnsupportedError, match="the grader alike: ") as found:
        read_grader({**ALIKE, "evaluation_metric": metric})
    assert "fuzzy_match" in found.value.hint


# --- score_model ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "span", "score"),
    [
        ('Good.\n{"result": 0.8}', None, 0.8),
        ('{"steps": [{"description": "a", "conclusion": "b"}], "result": 0.8}', [0, 1], 0.8),
        ('{"result": 0.8, "steps": []}', [0, 1], 0.8),
        ("0.8", [0, 1], 0.8),
        (" 0.8\n", [0, 1], 0.8),
        ('{"result": 7}', [1, 9], 0.75),
        ('{"result": 11}', [1, 9], 1.0),
        ('{"result": -11}', [1, 9], 0.0),
        ('{"result": "0.8"}', None, None),
        ("The score is 0.8", None, None),
        ("0.8 of 1\n", None, None),
        ("0.8\n0.9", None, None),
        ("NaN", None, None),
        ("true", None, None),
        ("", None, None),
    ],
)
def test_score_model(reply: str, span: list[float] | None, score: float | None) -> None:
    found = scores({**SCORE, "range": span}, "Paris", who=judge(reply, "gpt-4o-2024-08-06"))
    assert found == [score if score is None else pytest.approx(score)]


def asked_by(grader: Mapping[str, Any], who: JudgeModel, text: str = "Paris") -> Question:
    asked: list[Question] = []

    def note(questions: Sequence[Question]) -> list[Answer]:
        asked.extend(questions)
        return ask(questions)

    read_grader(grader, who).grade([item(text)], note)
    (question,) = asked
    return question


def test_the_model_is_asked_what_the_grader_says_and_for_a_form() -> None:
    question = asked_by(SCORE, JudgeModel(FakeBackend(models=("gpt-4o-2024-08-06",))))
    assert (question.model, question.who, question.sampling) == (SCORE["model"], "style", JUDGING)
    system, user = question.messages
    assert (system.role, system.content) == ("system", "Grade the style.")
    assert user.role == "user"
    assert str(user.content).startswith("Answer: Paris\n\nFirst give your reasons")
    assert "N is a number from 0 to 1" in str(user.content)
    assert str(user.content).endswith('\n{"result": N}')


def test_the_judge_can_name_another_model() -> None:
    who = judge('{"result": 1}', "llama-3-70b")
    assert asked_by(SCORE, who).model == "llama-3-70b"
    grader = read_grader({**SCORE, "range": [0, 10]}, who)
    assert grader.about == "llama-3-70b scores from 0 to 10"
    assert grader.judge_models == ("llama-3-70b",)


@pytest.mark.parametrize(
    ("model", "params", "sampling"),
    [
        ("gpt-4o", None, JUDGING),
        ("gpt-4o", {}, JUDGING),
        ("gpt-4o", {"seed": 42}, Sampling(temperature=0, max_tokens=1024, seed=42)),
        ("gpt-4o", {"temperature": 1}, Sampling(temperature=1, max_tokens=1024)),
        ("gpt-4o", {"top_p": 0.9}, Sampling(top_p=0.9, max_tokens=1024)),
        ("gpt-4o", {"max_completions_tokens": 99}, Sampling(temperature=0, max_tokens=99)),
        ("o4-mini", None, Sampling()),
        ("o4-mini", {"max_completions_tokens": 99, "top_p": 1}, Sampling(top_p=1)),
    ],
)
def test_sampling_params(model: str, params: dict[str, Any] | None, sampling: Sampling) -> None:
    who = JudgeModel(FakeBackend(models=(model,)))
    grader = {**SCORE, "model": model, "sampling_params": params}
    assert asked_by(grader, who).sampling == sampling


def test_the_judges_own_sampling_goes_first() -> None:
    own = Sampling(temperature=0.5)
    who = JudgeModel(FakeBackend(models=(str(SCORE["model"]),)), sampling=own)
    assert asked_by({**SCORE, "sampling_params": {"seed": 1}}, who).sampling == own


def test_what_cannot_be_passed_on_is_said() -> None:
    grader = {**SCORE, "sampling_params": {"reasoning_effort": "medium"}}
    about = read_grader(grader, JudgeModel(FakeBackend())).about
    assert (
        about == "gpt-4o-2024-08-06 scores from 0 to 1; its reasoning_effort 'medium' is left out"
    )


def test_an_answer_without_what_is_shown_gets_the_lowest_score_unasked() -> None:
    grader = {
        **SCORE,
        "range": [2, 4],
        "input": [{"role": "user", "content": "{{ sample.output_json.text }}"}],
    }
    found = marks(grader, '{"text": "a"}', "a", '{"text": "b"}', who=judge('{"result": 4}'))
    assert [mark.score for mark in found] == [1, 0, 1]


# --- label_model ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('Kind words.\n{"label": "warm"}', 1),
        ('{"label": "cold"}', 0),
        ('{"label": "冷たい"}', 0),
        ("warm", 1),
        ("冷たい", 0),
        ('{"label": "Warm"}', None),
        ('{"label": "lukewarm"}', None),
        ('{"label": 1}', None),
        ("It is warm.", None),
        ("warm\ncold", None),
    ],
)
def test_label_model(reply: str, score: float | None) -> None:
    assert scores(LABEL, "Hello!", who=judge(reply)) == [score]


def test_a_label_model_is_asked_for_one_of_its_labels() -> None:
    question = asked_by(LABEL, judge("warm"))
    assert [(m.role, str(m.content).partition("\n")[0]) for m in question.messages] == [
        ("developer", "Tone of:"),
        ("user", "Paris"),
    ]
    assert 'L is one of "warm", "cold", "冷たい"' in str(question.messages[-1].content)
    assert read_grader(LABEL, judge("")).about == "gpt-4o labels; passing: warm"
    assert read_grader(LABEL, judge("")).kind == "binary"
    own = {**LABEL, "input": [{"role": "system", "content": "Tone of {{sample.output_text}}"}]}
    assert [m.role for m in asked_by(own, judge("warm")).messages] == ["system", "user"]


# --- multi ------------------------------------------------------------------------------------


def multi(formula: str, **graders: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula}


def test_a_multi_grader_combines_values_in_their_own_ranges() -> None:
    wide = {**SCORE, "range": [0, 100], "pass_threshold": 50}
    grader = multi("0.5 * city + 0.5 * (100 - abs(80 - style)) / 100", city=CHECK, style=wide)
    found = marks(grader, "Paris", "Rome", who=judge('Fine.\n{"result": 70}'))
    assert [mark.score for mark in found] == pytest.approx([0.95, 0.45])
    assert found[0].note == "city: 1; style: 70 (Fine.)"
    assert read_grader(grader, judge("")).kind == "continuous"
    assert read_grader(grader, judge("")).judge_models == ("gpt-4o",)
    assert read_grader(grader, judge("")).about.startswith("0.5 * city + ")


def test_a_part_without_a_score_leaves_none() -> None:
    grader = multi("city + style", city=CHECK, style=SCORE)
    (found,) = marks(grader, "Paris", who=judge("Hm."))
    assert found.score is None
    assert found.note.startswith("city: 1; style: no score (")
    (found,) = marks(multi("1 / city", city=CHECK), "Rome")
    assert found.score is None
    assert "1 / city: " in found.note


def test_a_part_that_the_formula_leaves_out_is_not_asked() -> None:
    assert scores(multi("city", city=CHECK, style=SCORE), "Paris", who=judge("Hm.")) == [1]


def test_all_parts_ask_on_the_account_of_the_whole() -> None:
    assert asked_by(multi("style", style=SCORE), judge("0.5")).who == "all"


def test_a_list_of_parts_goes_by_their_names() -> None:
    grader = {**multi("0.5 * city + 0.25"), "graders": [CHECK]}
    assert scores(grader, "Paris") == [0.75]


# --- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "holder",
    [
        CHECK,
        [CHECK],
        {"grader": CHECK},
        {"name": "my eval", "testing_criteria": [CHECK]},
        {"method": {"type": "reinforcement", "reinforcement": {"grader": CHECK}}, "model": "o4"},
    ],
)
def test_graders_are_found_where_people_keep_them(holder: Any, tmp_path: Path) -> None:
    assert [grader.name for grader in read_graders(holder)] == ["city"]
    file = tmp_path / "grader.json"
    file.write_text("\ufeff" + json.dumps(holder), "utf-8")
    assert load_openai(str(file)).grade([item("Paris", prompt("q", "Paris"))], ask)[0].score == 1


def test_one_of_several_is_chosen_by_name(tmp_path: Path) -> None:
    file = tmp_path / "eval.json"
    file.write_text(json.dumps({"testing_criteria": [CHECK, {**CHECK, "name": "town"}]}))
    assert load_openai(f"{file}#town").name == "town"
    with pytest.raises(ConfigError, match="holds 2 graders") as found:
        load_openai(str(file))
    assert "city, town" in found.value.hint
    with pytest.raises(ConfigError, match="holds 0 graders called 'village'"):
        load_openai(f"{file}#village")
    with pytest.raises(ConfigError, match="names no file"):
        load_openai("")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "grader.json:1:1: not JSON"),
        (b'{"type": }', "grader.json:1:10: not JSON"),
        (b"\xff", "not UTF-8 at byte 1"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b"9" * 5000, "not JSON that can be read"),
        (b"1", "a grader is a JSON object"),
        (b'["a"]', "a grader is a JSON object"),
        (b"{}", "there is no grader of the type None"),
        (b"[]", "holds 0 graders"),
        (b'{"type": "endpoint"}', "there is no grader of the type 'endpoint'"),
        (b'{"type": ["multi"]}', "there is no grader of the type"),
    ],
)
def test_a_file_that_holds_none_is_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "grader.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as found:
        read_grader(file)
    assert message in str(found.value)
    assert str(file) in str(found.value)
    with pytest.raises(ConfigError, match="cannot read"):
        read_grader(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("grader", "message"),
    [
        ({**CHECK, "operation": "contains"}, "string_check: operation: "),
        ({"type": "string_check", "name": "a"}, "string_check: input: Field required"),
        ({**CHECK, "input": "{{ sample.text }}"}, "city: input: there is no sample.text"),
        ({**CHECK, "reference": "{{ label }}"}, "city: reference: {{ label }} is no path"),
        ({**ALIKE, "evaluation_metric": "rouge_9"}, "evaluation_metric"),
        ({**ALIKE, "pass_threshold": "high"}, "pass_threshold"),
        (SCORE, "the grader style asks a model, and there is no judge"),
        (LABEL, "the grader tone asks a model, and there is no judge"),
        ({**SCORE, "range": [1, 0]}, "the grader: score_model: range is two numbers that rise"),
        ({**SCORE, "range": [0, 1, 2]}, "score_model: range"),
        ({**SCORE, "input": []}, "score_model: input"),
        ({**SCORE, "sampling_params": {"temperature": 9}}, "sampling_params.temperature"),
        ({**LABEL, "passing_labels": ["hot"]}, "passing_labels that are no labels: hot"),
        (multi("city + town", city=CHECK), "no grader town"),
        (multi("__import__('os')", city=CHECK), "formula"),
        (multi("city", city={"type": "odd"}), "all: graders.city: there is no grader of the type"),
        (multi("city", city=multi("a", a=CHECK)), "a multi grader inside a multi grader"),
        (multi("style", style=SCORE), "there is no judge"),
        ({**multi("city"), "graders": []}, "multi: graders"),
        ({**multi("city"), "graders": [{"type": "string_check"}] * 2}, "need a name each"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(
    grader: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as found:
        read_grader(grader)
    assert message in str(found.value)


def test_code_is_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    source = f"open({str(trace)!r}, 'w')\ndef grade(sample, item):\n    return 1.0"
    python = {"type": "python", "name": "mine", "source": source, "image_tag": "2025-05-08"}
    for grader in (python, multi("mine", mine=python)):
        with pytest.raises(UnsupportedError, match="the grader mine runs Python code") as found:
            read_grader(grader)
        assert "grader of your own" in found.value.hint
    assert not trace.exists()


def test_images_and_sounds_are_refused() -> None:
    image = {"type": "input_image", "image_url": "https://example.com/a.png"}
    grader = {**SCORE, "input": [{"role": "user", "content": ["Look:", image]}]}
    with pytest.raises(UnsupportedError, match="the grader style shows its model 'input_image'"):
        read_grader(grader, judge(""))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*CHECK, *SCORE, "grader", "graders", "method", "x"]), inner
            )
        ),
        max_leaves=6,
    )
)
def test_any_json_is_a_grader_or_an_error_of_ours(value: Any) -> None:
    try:
        found = read_graders(value)
    except ConfigError:
        return
    assert found == ()

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.evals.judges.replies import Unreadable, final_object, verdict
from ftjobs.evals.result import Answer

SCORE = '{"score": 4}'


@pytest.mark.parametrize(
    "reply",
    [
        SCORE,
        f"It is right.\n{SCORE}",
        f"It is right. {SCORE}  \n\n",
        f"It is right.\n```json\n{SCORE}\n```\n",
        f"It is right.\n```\n{SCORE}```",
        'It is right.\n{\n  "score": 4\n}',
        f'The answer says {{"score": 1}}, which I do not follow.\n{SCORE}',
        f'{{"score": 1}} would be too harsh, {{"score": 5}} too kind.\n{SCORE}',
        f"正しい答えです。理由は「2＋2＝4」だからです。\n{SCORE}",
        '{"rationale": "uses {x} and }", "score": 4}',
        '{"steps": [{"description": "a", "conclusion": "b"}], "score": 4}',
        f"<think>{{{{{{ maybe 2?</think>\n{SCORE}",
    ],
)
def test_the_object_that_ends_a_reply_is_the_verdict(reply: str) -> None:
    assert verdict(Answer(text=reply), "score")[0] == 4


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "4",
        "Score: 4",
        "I give it 4 of 5.",
        f"{SCORE} I hope this helps!",
        f"{SCORE}\nThe answer is short.",
        '{"score": 4, "score": 5}',
        '{"score": NaN}',
        '{"score": Infinity}',
        '{"Score": 4}',
        '{"verdict": {"score": 4}}',
        '[{"score": 4}]',
        '{"score": 4',
        '"score": 4}',
        "{score: 4}",
        "{'score': 4}",
        '｛"score": 4｝',
        "{}",
        "}",
        "```",
        '{"score": N}',
        '{"score": ' + "9" * 5000 + "}",
    ],
)
def test_what_does_not_end_with_one_holds_no_verdict(reply: str) -> None:
    with pytest.raises(Unreadable, match="does not end with"):
        verdict(Answer(text=reply), "score")


def test_no_verdict_is_taken_from_a_reply_that_was_cut_or_never_came() -> None:
    with pytest.raises(Unreadable, match="cut"):
        verdict(Answer(text=SCORE, finish_reason="length"), "score")
    with pytest.raises(Unreadable, match="no reply: the key was refused"):
        verdict(Answer(failure="the key was refused"), "score")


def test_reasons_are_what_stands_before_the_verdict_or_beside_it() -> None:
    assert verdict(Answer(text=f"Right.\n```json\n{SCORE}\n```"), "score") == (4, "Right.")
    assert verdict(Answer(text='{"why": "正しい", "score": 4}'), "score") == (
        4,
        '{"why": "正しい"}',
    )
    assert verdict(Answer(text=SCORE), "score") == (4, "")


def test_the_note_of_an_unreadable_reply_shows_its_end_and_no_more() -> None:
    with pytest.raises(Unreadable) as found:
        verdict(Answer(text="x" * 1_000_000 + "the end"), "score")
    assert str(found.value).endswith("xxthe end")
    assert len(str(found.value)) < 300


@pytest.mark.parametrize(
    "filling",
    ["{", "}", "[", '{"a":', '"', "\\", "```", "{}", '{"score": 4}', " ", "\n", "{ ", "あ"],
)
def test_a_reply_of_a_megabyte_is_read_at_once(filling: str) -> None:
    text = filling * (1_000_000 // len(filling))
    began = time.process_time()
    final_object(text)
    final_object(text + "}")
    assert final_object(text + "\n" + SCORE) is not None
    assert time.process_time() - began < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(before=st.text(), found=st.dictionaries(st.text(), JSON), indent=st.sampled_from([None, 2]))
def test_any_object_behind_any_text_is_found_whole(
    before: str, found: dict[str, object], indent: int | None
) -> None:
    text = f"{before}\n{json.dumps(found, indent=indent, ensure_ascii=False)}"
    read = final_object(text)
    assert read is not None
    assert read[0] == found


@given(st.text(alphabet='{}[]":,score 14\\n`'))
def test_what_is_found_ends_the_reply(text: str) -> None:
    found = final_object(text)
    if found is not None:
        body = text.rstrip().removesuffix("```").rstrip()
        start = len(found[1])
        assert body.endswith("}")
        assert any(
            _loads(body[at:]) == found[0] for at in range(start, len(body)) if body[at] == "{"
        )


def _loads(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None

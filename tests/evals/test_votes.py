"""Votes: their file, who sits where, and what they are votes on."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.result import Answer, ArmSummary, Comparison, Mark, Row
from ftjobs.evals.votes import (
    Vote,
    VoteFile,
    ballot,
    comparison_id,
    equal_answers,
    read_votes,
    seats,
    standing,
)

ARMS = (ArmSummary(name="base", model="m"), ArmSummary(name="tuned", model="t"))


def row(number: int, base: str = "x", tuned: str = "y", **more: Any) -> Row:
    return Row.model_validate(
        {
            "number": number,
            "messages": [{"role": "user", "content": f"question {number}"}],
            "answers": {"base": [{"text": base}], "tuned": [{"text": tuned}]},
            **more,
        }
    )


def comparison(*rows: Row, arms: tuple[ArmSummary, ...] = ARMS) -> Comparison:
    return Comparison(created=1, arms=arms, rows=rows)


texts = st.text(st.characters(exclude_categories=()), max_size=20)  # halves of pairs, too
votes = st.builds(
    Vote,
    comparison=texts,
    row=st.integers(1, 10**6),
    arm=texts,
    baseline=texts,
    winner=st.sampled_from(["arm", "baseline", "tie"]),
    voter=st.text(min_size=1, max_size=20),
    at=st.integers(0, 2**40),
)


def vote(number: int, winner: str = "arm", voter: str = "mika", **more: object) -> Vote:
    given = {"comparison": "c", "arm": "tuned", "baseline": "base", "at": 1, **more}
    return Vote.model_validate({"row": number, "winner": winner, "voter": voter, **given})


# --- what they are votes on ------------------------------------------------------------------


def test_a_comparison_is_named_by_what_was_asked_and_said() -> None:
    one = comparison(row(1), row(2))
    name = comparison_id(one)
    assert name == comparison_id(Comparison.model_validate_json(one.model_dump_json()))
    marked = row(2).model_copy(update={"marks": {"exact": {"base": (Mark(score=1.0),)}}})
    regraded = one.model_copy(update={"rows": (row(1), marked), "seed": 5, "created": 9})
    assert name == comparison_id(regraded)
    for other in (
        comparison(row(1)),
        comparison(row(2), row(1, tuned="z")),
        comparison(row(1), row(2, base="X")),
        comparison(row(1), row(2, messages=[{"role": "user", "content": "other"}])),
    ):
        assert comparison_id(other) != name


def test_a_name_that_votes_in_old_files_have_stays() -> None:
    name = comparison_id(comparison(row(1), row(2, tuned="学習率")))
    assert name == "13cc169557161078"
    firsts = ("arm" if seats(name, number, 0) else "baseline" for number in range(1, 9))
    assert list(firsts) == ["arm", "arm", "baseline", "arm", "arm", "baseline", "arm", "arm"]


@given(texts)
def test_any_answer_can_be_named(text: str) -> None:
    one = comparison(row(1).model_copy(update={"answers": {"base": (Answer(text=text),)}}))
    assert len(comparison_id(one)) == 16


@given(st.from_regex("[0-9a-f]{16}", fullmatch=True), st.integers())
def test_seats_are_balanced_and_stay(name: str, seed: int) -> None:
    drawn = [seats(name, number, seed) for number in range(1, 401)]
    assert drawn == [seats(name, number, seed) for number in range(1, 401)]
    assert 140 <= sum(drawn) <= 260  # 6 standard deviations
    changes = sum(one != two for one, two in pairwise(drawn))
    assert 139 <= changes <= 260  # nor do they alternate


def test_a_ballot_holds_what_both_answered_in_an_order_of_its_own() -> None:
    failed = row(41, answers={"base": [{"text": "x"}], "tuned": [{"failure": "no"}]})
    lacking = row(42, answers={"base": [{"text": "x"}]})
    one = comparison(*map(row, range(1, 41)), failed, lacking, row(43, set="general"))
    numbers = [each.number for each in ballot(one, "tuned")]
    assert sorted(numbers) == list(range(1, 41))
    assert numbers != sorted(numbers)
    assert numbers == [each.number for each in ballot(one, "tuned")]
    reseeded = one.model_copy(update={"seed": 1})
    assert numbers != [each.number for each in ballot(reseeded, "tuned")]
    assert [each.number for each in ballot(one, "tuned", of="general")] == [43]


@pytest.mark.parametrize(
    ("arm", "of", "words"),
    [("base", "", "There is: tuned."), ("x", "", "no arm 'x'"), ("tuned", "s", "in the set 's'")],
)
def test_a_ballot_that_cannot_be(arm: str, of: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ballot(comparison(row(1)), arm, of=of)
    assert words in str(caught.value)


def test_equal_answers_say_and_call_the_same() -> None:
    def calls(name: str) -> list[dict[str, object]]:
        return [{"tool_calls": [{"function": {"name": name}}]}]

    one = comparison(
        row(1, "x", "x"),
        row(2, "x", "x "),
        row(3, answers={"base": calls("f"), "tuned": calls("g")}),
        row(4, answers={"base": calls("f"), "tuned": calls("f")}),
        row(5, "x", "x", set="general"),
    )
    assert sorted(each.number for each in ballot(one, "tuned")) == [2, 3]
    assert equal_answers(one, "tuned") == 2
    with pytest.raises(ConfigError, match="in the set 'general' has answers of 'base' and 'tuned'"):
        ballot(one, "tuned", of="general")


# --- the file --------------------------------------------------------------------------------


@settings(max_examples=50)  # each vote waits for the disk
@given(st.lists(votes, max_size=5), st.lists(votes, max_size=3), st.data())
def test_votes_come_back_even_behind_a_torn_line(
    before: list[Vote], after: list[Vote], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "votes.jsonl")
        with VoteFile.opened(path) as file:
            for each in before:
                file.add(each)
        whole = path.read_bytes()
        torn = vote(1).line()
        path.write_bytes(whole + torn[: data.draw(st.integers(0, len(torn) - 2))])
        kept = read_votes(path)
        with VoteFile.opened(path) as file:
            assert file.votes == kept
            assert path.read_bytes() == whole
            for each in after:
                file.add(each)
        written = [Vote.model_validate_json(each.line()) for each in (*before, *after)]
        assert read_votes(path) == written


def test_a_whole_last_line_without_its_end_is_a_vote(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_bytes(b"\n" + vote(1).line() + vote(2).line().rstrip())  # as a page may save it
    with VoteFile.opened(path) as file:
        file.add(vote(3))
    assert [each.row for each in read_votes(path)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"object":"vote"}\n', ":2: not a vote: comparison: Field required"),
        (b"[]\n", ":2: not a vote: "),
        (b"secret words\n", ":2: not a vote: Invalid JSON"),
        (b"secret words", ":2: not a vote: Invalid JSON"),
        (vote(1).line().replace(b'"at"', b'"on"'), ":2: not a vote: at: Field required"),
        (vote(1).line().replace(b'"arm",', b'"me",').replace(b"1", b"0"), ":2: not a vote: row:"),
        (b'{"object":"vote",' + b" " * (1 << 16) + b"}", ":2: not a vote"),
        (b"\xff\n", ":2: not a vote"),
    ],
)
def test_what_is_no_vote_is_named_by_its_line(tmp_path: Path, line: bytes, words: str) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_bytes(vote(1).line() + line)
    for reads in (lambda: read_votes(path), lambda: VoteFile.opened(path).__enter__()):
        with pytest.raises(ConfigError) as caught:
            reads()
        assert f"votes.jsonl{words}" in str(caught.value)
        assert "secret" not in str(caught.value)
    assert path.read_bytes() == vote(1).line() + line
    assert list(tmp_path.iterdir()) == [path]  # nothing lies beside what is no such file


def test_a_file_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.jsonl"):
        read_votes(tmp_path / "none.jsonl")
    for path in (tmp_path, tmp_path / "no/votes.jsonl"):
        with pytest.raises(ConfigError), VoteFile.opened(path):
            pass


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    with VoteFile.opened(path), pytest.raises(ConfigError, match="another process"):
        VoteFile.opened(path).__enter__()


def test_a_vote_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    with VoteFile.opened(path) as file:
        for number in (1, 2, 3):
            file.add(vote(number))
        assert [file.take_back().row, file.take_back().row] == [3, 2]
        assert [each.row for each in read_votes(path)] == [1]
        file.add(vote(4))
    assert [each.row for each in read_votes(path)] == [1, 4]


def test_the_last_vote_of_a_voter_on_a_row_counts() -> None:
    cast = [vote(1, "arm"), vote(1, "baseline", "ken"), vote(2), vote(1, "tie")]
    others = [vote(1, "baseline", comparison="d"), vote(1, "baseline", arm="rag")]
    counted = standing([*cast, *others], "c", "tuned")
    assert {voter: {n: v.winner for n, v in own.items()} for voter, own in counted.items()} == {
        "mika": {1: "tie", 2: "arm"},
        "ken": {1: "baseline"},
    }


def test_a_vote_scores_for_its_winner() -> None:
    assert [vote(1, winner).score for winner in ("arm", "tie", "baseline")] == [1, 0.5, 0]

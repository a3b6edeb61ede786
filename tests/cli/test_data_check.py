"""`ftjobs data check` and `ftjobs explain`, from the command line to the exit code."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.failures import failures
from ftjobs.backends.fake import FakeBackend
from ftjobs.data import RULES
from ftjobs.data.baseline import Baseline
from ftjobs.errors import ServiceError
from tests.cli.conftest import DATASETS, TRAIN, Result, Run

BROKEN = DATASETS / "broken/line-7.jsonl"
EVERY = DATASETS / "broken/every-mistake.jsonl"
Write = Callable[..., Path]


def row(question: str, answer: str = "Yes, it is.", **keys: Any) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns, **keys}, ensure_ascii=False)


ROWS = [row(f"Is lamp {number} of this long list still in stock today?") for number in range(12)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*lines: str, name: str = "train.jsonl") -> Path:
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
        return Path(name)

    return write


@pytest.fixture
def terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, on what says that it is a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def run_there(*args: str) -> Result:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        return run(*args)

    return run_there


# --- formats -----------------------------------------------------------------------------------


def test_off_a_terminal_it_prints_one_line_an_issue(run: Run, write: Write) -> None:
    result = run("data", "check", str(write(*ROWS, "", "{")))
    assert result.code == 3
    assert [re.sub("FT.*", "", line) for line in result.out.splitlines()] == [
        "train.jsonl:13: ",
        "train.jsonl:14:2: ",
    ]
    assert "not usable: 12 examples in 14 lines, 1 error, 1 warning" in result.err


def test_on_a_terminal_it_groups_by_code_in_colour(terminal: Run) -> None:
    out = terminal("data", "check", str(BROKEN)).out
    assert out.startswith("\x1b[1;31merror\x1b[0m \x1b[1mFT204\x1b[0m line ends too early (1 time)")
    assert RULES["FT204"].fix in out


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("CI", "true"), ("TERM", "dumb")])
def test_colour_can_be_refused(
    terminal: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    out = terminal("data", "check", str(BROKEN)).out
    assert "FT204" in out
    assert "\x1b" not in out


def test_an_empty_no_color_says_nothing(terminal: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert "\x1b" in terminal("data", "check", str(BROKEN)).out


@pytest.mark.parametrize("columns", ["40", "200"])
def test_text_fits_the_terminal(
    terminal: Run, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    lines = terminal("data", "check", str(EVERY)).out.splitlines()
    assert max(len(line) for line in lines if "every-mistake" not in line) <= int(columns)


def test_no_format_repeats_the_text_of_an_example(terminal: Run) -> None:
    for form in ("text", "plain", "json", "sarif", "github", "html"):
        result = terminal("data", "check", str(EVERY), "--format", form)
        assert result.code == 3
        said = (result.out + result.err).replace("data-charge", "")
        assert not re.search("kumo|lamp|shelf|hours|stock", said, re.IGNORECASE), form


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("r.sarif", '{\n "$schema"'),
        ("r.sarif.json", '{\n "$schema"'),
        ("R.HTML", "<!DOCTYPE html>"),
        ("r.jsonl", '{"code":"FT204"'),
        ("r.json", '{"code":"FT204"'),
        ("r.txt", str(BROKEN)),
    ],
)
def test_the_name_of_the_output_says_the_format(
    terminal: Run, tmp_path: Path, name: str, start: str
) -> None:
    result = terminal("data", "check", str(BROKEN), "-o", name)
    assert (result.code, result.out) == (3, "")
    text = (tmp_path / name).read_text("utf-8")
    assert text.startswith(start)
    assert text.endswith("\n")
    assert "\x1b" not in text
    if "json" not in name or "sarif" in name:
        assert f"Written: {name}" in result.err


def test_a_format_that_is_said_goes_before_the_name(run: Run, tmp_path: Path) -> None:
    run("data", "check", str(BROKEN), "-o", "r.html", "--format", "github")
    assert (tmp_path / "r.html").read_text("utf-8").startswith("::error ")


def test_json_and_another_format_exclude_each_other(run: Run) -> None:
    assert run("data", "check", TRAIN, "--json", "--format", "json").code == 0
    result = run("data", "check", TRAIN, "--json", "--format", "html")
    assert result.code == 2
    assert "exclude each other" in result.err


def test_a_report_is_never_written_over_data(run: Run, write: Write, tmp_path: Path) -> None:
    path = write(*ROWS)
    (tmp_path / "link.jsonl").symlink_to(path)
    before = path.read_bytes()
    for words in (
        ["-o", "train.jsonl"],
        ["-o", "link.jsonl"],
        ["--write-baseline", "./train.jsonl"],
    ):
        result = run("data", "check", str(path), *words)
        assert result.code == 2
        assert "holds data" in result.err
    assert run("data", "check", str(path), "--fix", "new.jsonl", "-o", "new.jsonl").code == 2
    assert path.read_bytes() == before


def test_an_output_that_cannot_be_written(run: Run) -> None:
    result = run("data", "check", TRAIN, "-o", "no/such/folder.html")
    assert result.code == 2
    assert "no/such/folder.html: there is no such folder" in result.err


def test_sarif_names_files_from_the_root_of_the_repository(
    run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("{", name="データ 1.jsonl")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path.parent))
    out = run("data", "check", "データ 1.jsonl", "--format", "sarif").out
    result = json.loads(out)["runs"][0]["results"][0]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == f"{tmp_path.name}/%E3%83%87%E3%83%BC%E3%82%BF%201.jsonl"
    assert json.loads(out)["runs"][0]["invocations"][0]["exitCode"] == 3


def test_github_gets_annotations_and_a_summary(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.md"
    path.write_text("# before\n", "utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    result = run("data", "check", str(BROKEN), "--format", "github")
    assert result.out.startswith("::error file=")
    assert path.read_text("utf-8").startswith("# before\n### Dataset check\n")
    run("data", "check", str(BROKEN))
    assert path.read_text("utf-8").count("###") == 1


def test_a_summary_that_cannot_be_written_loses_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    result = run("data", "check", str(BROKEN), "--format", "github")
    assert result.code == 3
    assert result.out.startswith("::error ")
    assert "summary cannot be written" in result.err


def test_a_page_has_histograms(run: Run, tmp_path: Path) -> None:
    assert run("data", "check", TRAIN, "-o", "r.html").code == 0
    page = (tmp_path / "r.html").read_text("utf-8")
    assert 'aria-label="Messages per example: ' in page


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1])
def test_a_missing_file_hides_nothing_of_the_others(run: Run, order: int) -> None:
    names = ["nowhere.jsonl", str(BROKEN)]
    result = run("data", "check", *(names if order else reversed(names)))
    assert result.code == 2
    assert "FT204" in result.out
    assert "error: nowhere.jsonl: no such file" in result.err


def test_sarif_says_what_could_not_be_checked(run: Run, tmp_path: Path) -> None:
    result = run("data", "check", "nowhere.jsonl", str(tmp_path), "--format", "sarif")
    assert result.code == 2
    (invocation,) = json.loads(result.out)["runs"][0]["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 2)
    assert len(invocation["toolExecutionNotifications"]) == 2


def test_rows_of_two_files_are_compared(run: Run, write: Write) -> None:
    write(*ROWS)
    write(ROWS[0], name="valid.jsonl")
    result = run("data", "check", "train.jsonl", "valid.jsonl")
    assert result.code == 0
    assert re.search(r"^valid.jsonl:1: FT811 ", result.out, re.MULTILINE)


def test_near_duplicates_are_looked_for_when_asked(run: Run, write: Write) -> None:
    write(*ROWS[:3], row("A word on something else entirely, if you have a moment for it now."))
    assert "FT803" not in run("data", "check", "train.jsonl").out
    found = run("data", "check", "train.jsonl", "--near", "0.6", "--json").rows
    near = [issue["line"] for issue in found if issue.get("code") == "FT803"]
    assert near == [2, 3]
    assert found[-1]["warnings"] == len(found) - 1
    ignored = run("data", "check", "train.jsonl", "--near", "0.6", "--ignore", "FT8")
    assert "FT803" not in ignored.out
    assert run("data", "check", "train.jsonl", "--near", "7").code == 2


def test_a_model_says_what_it_would_cut(run: Run, write: Write) -> None:
    write(*ROWS, row("word " * 200_000))
    result = run("data", "check", "train.jsonl", "--model", "gpt-4o-mini")
    assert re.search(r"^train.jsonl:13(:\d+)?: FT9\d\d ", result.out, re.MULTILINE)
    assert "FT9" not in run("data", "check", "train.jsonl").out


# --- which codes -------------------------------------------------------------------------------


def codes(out: str) -> set[str]:
    return set(re.findall(r"^[^:]*(?::\d+)*: (FT\d{3}) ", out, re.MULTILINE))


def test_select_and_ignore(run: Run, write: Write) -> None:
    write(*ROWS, "", "{", row("x", wieght=1))
    everything = codes(run("data", "check", "train.jsonl").out)
    assert everything == {"FT107", "FT204", "FT304"}
    chosen = run("data", "check", "train.jsonl", "--select", "FT1, ft304")
    assert codes(chosen.out) == {"FT107", "FT304"}
    assert chosen.code == 0
    left = run("data", "check", "train.jsonl", "--ignore", "FT1", "--ignore", "FT3")
    assert codes(left.out) == {"FT204"}
    assert left.code == 3
    assert run("data", "check", "train.jsonl", "--ignore", "FT204").code == 0
    assert "no code begins with 'FTX'" in run("data", "check", TRAIN, "--select", "FTX").err


def test_an_error_that_is_ignored_still_stops_a_submission(run: Run, write: Write) -> None:
    write(*ROWS, "{")
    assert run("data", "check", "train.jsonl", "--ignore", "FT204").code == 0
    assert run("submit", "train.jsonl", "--model", "fake-base").code == 3


# --- baseline ----------------------------------------------------------------------------------


def test_accepted_warnings_stay_hidden_where_the_rows_move(run: Run, write: Write) -> None:
    odd = [row("x", wieght=1), row("y", color=1)]
    write(*ROWS, *odd)
    first = run("data", "check", "train.jsonl", "--write-baseline", "accepted.json")
    assert codes(first.out) == {"FT304"}
    assert "accepts 2 warnings" in first.err
    write(odd[1], *ROWS, odd[0], row("z", new=1))
    later = run("data", "check", "train.jsonl", "--baseline", "accepted.json", "--json")
    assert [issue["line"] for issue in later.rows[:-1]] == [15]
    assert later.rows[-1]["warnings"] == 1
    assert "2 warnings hidden" in later.err
    assert "stale" not in later.err


def test_stale_entries_are_named(run: Run, write: Write) -> None:
    write(*ROWS, row("x", wieght=1), "")
    run("data", "check", "train.jsonl", "--write-baseline", "b.json")
    write(*ROWS, "")
    result = run("data", "check", "train.jsonl", "--baseline", "b.json")
    assert re.search(r"^stale: FT304 \w+ is found 1× less often", result.err, re.MULTILINE)
    only = run("data", "check", "train.jsonl", "--baseline", "b.json", "--select", "FT1")
    assert "stale" not in only.err
    run("data", "check", "train.jsonl", "--baseline", "b.json", "--write-baseline", "b.json")
    assert [entry.code for entry in Baseline.load("b.json").accepted] == ["FT107"]


def test_what_was_not_looked_for_is_not_stale(run: Run, write: Write) -> None:
    write(*ROWS[:4])
    run("data", "check", "train.jsonl", "--near", "0.6", "--write-baseline", "b.json")
    assert "FT803" in {entry.code for entry in Baseline.load("b.json").accepted}
    assert "stale" not in run("data", "check", "train.jsonl", "--baseline", "b.json").err


def test_an_error_is_never_hidden(run: Run, write: Write) -> None:
    write(*ROWS, "{")
    assert run("data", "check", "train.jsonl", "--write-baseline", "b.json").code == 3
    result = run("data", "check", "train.jsonl", "--baseline", "b.json")
    assert result.code == 3
    assert codes(result.out) == {"FT204"}


def test_a_baseline_sees_more_than_the_limit(run: Run, write: Write) -> None:
    write(*ROWS, *[row(f"{number}", wieght=1) for number in range(5)])
    run("data", "check", "train.jsonl", "--write-baseline", "b.json", "--max-errors", "1")
    write(*ROWS, *[row(f"{number}", wieght=1) for number in range(7)])
    result = run("data", "check", "train.jsonl", "--baseline", "b.json", "--max-errors", "1")
    assert len(result.out.splitlines()) == 1
    assert "2 warnings (and more: raise --max-errors)" in result.err


def test_a_baseline_that_is_none_is_refused_before_the_check(run: Run) -> None:
    result = run("data", "check", TRAIN, "--baseline", TRAIN)
    assert result.code == 2
    assert "no baseline" in result.err
    assert result.out == ""


# --- repairs -----------------------------------------------------------------------------------


def test_a_repaired_file_is_checked_in_place_of_the_old(run: Run, write: Write) -> None:
    path = write(*ROWS, "", "{")
    before = path.read_bytes()
    result = run("data", "check", "train.jsonl", "--fix", "new.jsonl")
    assert result.code == 3
    assert codes(result.out) == {"FT204"}
    assert result.out.startswith("new.jsonl:13")
    assert "new.jsonl: 1 repair of train.jsonl (FT107 1×)" in result.err
    assert path.read_bytes() == before
    assert "exists" in run("data", "check", "train.jsonl", "--fix", "new.jsonl").err


def test_unsafe_repairs_are_told(run: Run, write: Write) -> None:
    write(*ROWS, "", "{")
    words = ("data", "check", "train.jsonl", "--unsafe-fixes", "--fix")
    result = run(*words, "new.jsonl")
    assert (result.code, result.out) == (0, "")
    assert re.search(r"^ +train.jsonl:14: FT204 ", result.err, re.MULTILINE)
    assert "1 row dropped" in result.err
    done = run(*words, "again.jsonl", "--json").rows[0]
    assert (done["object"], done["repaired"]) == ("fix", {"FT107": 1})
    assert [drop["line"] for drop in done["drops"]] == [14]


def test_how_to_repair_is_said(run: Run, write: Write) -> None:
    write(*ROWS, "", ROWS[0])
    err = run("data", "check", "train.jsonl").err
    assert "May be repaired: 1 with --fix OUT, 1 more with --unsafe-fixes." in err
    write(*ROWS, ROWS[0])
    err = run("data", "check", "train.jsonl").err
    assert "May be repaired: 1 with --fix OUT --unsafe-fixes." in err


def test_after_a_repair_none_is_promised(run: Run, write: Write) -> None:
    write(*ROWS, "", "<html>")  # FT201 has a repair, but not for this
    assert "May be repaired: 2 with" in run("data", "check", "train.jsonl").err
    result = run("data", "check", "train.jsonl", "--fix", "new.jsonl")
    assert codes(result.out) == {"FT201"}
    assert "1 repair of" in result.err
    assert "be repaired" not in result.err


@pytest.mark.parametrize(("more", "rows"), [([], 12), (["--ignore", "FT801"], 13)])
def test_what_is_left_out_is_not_repaired(
    run: Run, write: Write, tmp_path: Path, more: list[str], rows: int
) -> None:
    write(*ROWS, "", ROWS[0])
    run("data", "check", "train.jsonl", "--fix", "new.jsonl", "--unsafe-fixes", *more)
    assert len((tmp_path / "new.jsonl").read_text("utf-8").splitlines()) == rows


def test_only_what_is_selected_is_repaired(run: Run, write: Write, tmp_path: Path) -> None:
    path = write(*ROWS, "", ROWS[0])
    words = ("data", "check", "train.jsonl", "--fix", "new.jsonl", "--select")
    run(*words, "FT2")
    assert (tmp_path / "new.jsonl").read_bytes() == path.read_bytes()
    run(*words, "FT1", "--force")
    assert (tmp_path / "new.jsonl").read_text("utf-8").splitlines() == [*ROWS, ROWS[0]]


def test_a_repaired_file_is_written_over_only_by_force(
    run: Run, write: Write, tmp_path: Path
) -> None:
    write(*ROWS, "")
    (tmp_path / "new.jsonl").write_text("old")
    result = run("data", "check", "train.jsonl", "--fix", "new.jsonl")
    assert (result.code, (tmp_path / "new.jsonl").read_text()) == (2, "old")
    assert "--force" in result.err
    assert run("data", "check", "train.jsonl", "--fix", "new.jsonl", "--force").code == 0
    assert len((tmp_path / "new.jsonl").read_text("utf-8").splitlines()) == 12


@pytest.mark.parametrize("limit", ["--fix", "-o"])
def test_a_full_disk_is_no_mistake_of_the_command(
    run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write(*ROWS, "")
    monkeypatch.setattr("os.fsync", full)
    result = run("data", "check", "train.jsonl", limit, "new.jsonl")
    assert result.code == 1
    assert "new.jsonl: No space left on device" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_the_codes_to_look_up_are_named_if_it_is_one(run: Run, write: Write) -> None:
    write(*ROWS, "", "")
    assert run("data", "check", "train.jsonl").err.endswith("ftjobs explain FT107\n")
    write(*ROWS, "", ROWS[0])
    assert run("data", "check", "train.jsonl").err.endswith("ftjobs explain CODE\n")


@pytest.mark.parametrize(
    "words",
    [["--unsafe-fixes"], ["--force"], ["--fix", "new.jsonl", TRAIN], ["--fix", "train.jsonl"]],
)
def test_repairs_that_make_no_sense(run: Run, write: Write, words: list[str]) -> None:
    path = write(*ROWS)
    before = path.read_bytes()
    assert run("data", "check", "train.jsonl", *words).code == 2
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--select", "FT1"], "Only FT1 was looked for: submit"),
        (["--select", "FT1,ft3"], "Only FT1 and FT3 were looked for: submit"),
        (["--ignore", "ft204,FT204"], "FT204 was left out: submit"),
        (["--ignore", "FT107,FT204,FT3"], "FT204 and FT3 were left out: submit"),
    ],
)
def test_a_verdict_says_which_errors_it_does_not_know_of(
    run: Run, write: Write, words: list[str], said: str
) -> None:
    write(*ROWS, "{")
    result = run("data", "check", "train.jsonl", *words)
    assert result.code == 0
    assert f"\n{said} looks for every error.\n" in f"\n{result.err}"


@pytest.mark.parametrize(("target", "knows"), [("local", True), ("openai", False)])
def test_a_warning_that_is_left_out_changes_no_verdict(
    run: Run, write: Write, target: str, knows: bool
) -> None:
    """FT502 is a warning for local training, and an error for OpenAI."""
    write(*ROWS)
    words = ("--for", target, "--ignore", "FT107,FT502")
    err = run("data", "check", "train.jsonl", *words).err
    assert ("left out" not in err) is knows


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x85", "\u2028"])
def test_what_a_hint_quotes_begins_no_line(run: Run, backend: FakeBackend, end: str) -> None:
    """A line that begins with `::` is a command to GitHub's runner."""
    backend.fail_next("jobs", ServiceError("bad", hint=f"One line, {end}::warning::x\nand two."))
    lines = run("jobs", "list").err.removesuffix("\n").split("\n")
    assert [line[:3] for line in lines] == ["err", "One", "and"]


# --- submit, explain ---------------------------------------------------------------------------


def test_submit_names_errors_first_and_says_what_they_are(run: Run, write: Write) -> None:
    write(*ROWS, *[""] * 20, "{", "[]")
    err = run("submit", "train.jsonl", "--model", "fake-base").err.splitlines()
    assert err[0].startswith("train.jsonl:33:2: FT204 ")
    assert err[0].endswith(" (error)")
    assert err[1].startswith("train.jsonl:34:1: FT301 ")
    assert err[2].endswith(" (warning)")


def test_explain_says_all_that_is_known(run: Run) -> None:
    said = run("explain", "ft107").out
    rule = RULES["FT107"]
    assert said.startswith(f"FT107: {rule.title}\n")
    for words in (rule.why, rule.fix, "--fix OUT may repair it"):
        assert words in " ".join(said.split())


def test_explain_lists_all_codes(run: Run) -> None:
    datasets, _, jobs = run("explain").out.partition("\nJobs and requests: ")
    assert [line.split()[0] for line in datasets.splitlines()[3:]] == list(RULES)
    assert [line.split()[0] for line in jobs.splitlines()[3:]] == list(failures())
    rows = run("explain", "--json").rows
    assert [row["code"] for row in rows] == [*RULES, *failures()]


def test_explain_knows_what_jobs_fail_with(run: Run) -> None:
    said = " ".join(run("explain", "INVALID_n_examples").out.split())
    known = failures()["invalid_n_examples"]
    for words in (known.title, known.cause, known.remedy, known.source, known.said_by):
        assert words in said
    unknown = run("explain", "insufficient_qota")
    assert unknown.code == 2
    assert "Did you mean insufficient_quota" in unknown.err


# --- where a report may go ---------------------------------------------------------------------


def test_a_dash_is_standard_output(run: Run, write: Write, tmp_path: Path) -> None:
    result = run("data", "check", str(write(*ROWS, "")), "-o", "-")
    assert "FT107" in result.out
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("option", ["--fix", "--write-baseline"])
def test_only_the_report_goes_to_standard_output(run: Run, write: Write, option: str) -> None:
    result = run("data", "check", str(write(*ROWS)), option, "-")
    assert result.code == 2
    assert f"{option} writes a file" in result.err


def test_a_report_is_not_written_over_a_dataset_that_was_not_checked(
    run: Run, write: Write, tmp_path: Path
) -> None:
    raw, good = write(*ROWS, "", name="raw.jsonl"), write(*ROWS, name="good.jsonl")
    for option in ("-o", "--write-baseline"):  # -o as `data convert` would take it
        result = run("data", "check", str(raw), option, str(good))
        assert result.code == 2
        assert "good.jsonl holds data" in result.err
    assert (tmp_path / good).read_text("utf-8").splitlines() == ROWS


def test_a_report_is_not_written_over_the_baseline(run: Run, write: Write, tmp_path: Path) -> None:
    name = str(write(*ROWS, ""))
    assert run("data", "check", name, "--write-baseline", "b.json", "-o", "b.json").code == 2
    assert not (tmp_path / "b.json").exists()
    assert run("data", "check", name, "--write-baseline", "b.json").code == 0
    known = Baseline.load(tmp_path / "b.json")
    assert known.accepted
    assert run("data", "check", name, "--baseline", "b.json", "-o", "b.json").code == 2
    assert Baseline.load(tmp_path / "b.json") == known


@pytest.mark.parametrize("where", ["nowhere/r.html", "."])
def test_a_place_that_cannot_be_is_said_before_the_check(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr("ftjobs.cli.data.check.find", lambda *_, **__: pytest.fail("checked"))
    for option in ("-o", "--write-baseline"):
        result = run("data", "check", str(write(*ROWS)), option, where)
        assert (result.code, result.out) == (2, "")
        assert "folder" in result.err


@pytest.mark.parametrize("option", ["-o", "--write-baseline"])
def test_a_full_disk_leaves_the_old_report(
    run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "old.json").write_text("old")
    monkeypatch.setattr("os.fsync", full)
    result = run("data", "check", str(write(*ROWS, "")), option, "old.json")
    assert result.code == 1
    assert "old.json: No space left on device" in result.err
    assert (tmp_path / "old.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.json", "train.jsonl"]


def test_a_report_keeps_links_and_permissions(run: Run, write: Write, tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "real.txt").chmod(0o600)
    (tmp_path / "r.txt").symlink_to("real.txt")
    run("data", "check", str(write(*ROWS, "")), "-o", "r.txt")
    assert (tmp_path / "r.txt").is_symlink()
    assert "FT107" in (tmp_path / "real.txt").read_text()
    assert (tmp_path / "real.txt").stat().st_mode & 0o777 == 0o600

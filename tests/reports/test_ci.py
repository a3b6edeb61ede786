"""Reports of jobs for pipelines: right about the job, and closed to what its words try."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree  # type: ignore[import-untyped]
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ftjobs.jobs.budget import Estimate
from ftjobs.jobs.plan import Plan, PlannedFile
from ftjobs.jobs.preflight import Note
from ftjobs.jobs.progress import Progress
from ftjobs.reports import ci
from ftjobs.reports.markdown import code, one_line
from ftjobs.schema import IDENTITY, Event, Job, JobError, JobSpec

NOW = 1_700_000_600
WIRE = {"id": "ftjob-1", "created_at": 1_700_000_000, "model": "gpt-x", "training_file": "file-1"}
EVIL = (
    "EOF ::set-output name=a::b ##[add-mask]x @team #1 !2 [a](http://evil.example) <b>x</b> "
    "<!-- --> | ``` ` \\ www.evil.example a@b.example ]]> &amp; ${{ secrets.KEY }}"
)


def outcome(
    status: str = "running",
    events: tuple[Event, ...] = (),
    cost: Estimate | None = None,
    **given: Any,
) -> ci.Outcome:
    job = Job.model_validate(WIRE | {"status": status} | given)
    return ci.Outcome(Progress(job).seen(job, events), NOW, cost)


def event(number: int, message: str, **given: Any) -> Event:
    return Event(id=f"e{number}", created_at=1_700_000_000 + number, message=message, **given)


def metrics(step: int, loss: float) -> Event:
    data = {"step": step, "total_steps": 4, "train_loss": loss, "valid_loss": loss + 1}
    return event(step, f"Step {step}/4", type="metrics", data=data)


EVENTS = (
    metrics(1, 0.5),
    metrics(2, 0.25),
    event(3, "Checkpoint created at step 2 with Snapshot ID: ft:x:ckpt-step-2"),
)
SUCCEEDED = outcome(
    "succeeded",
    EVENTS,
    fine_tuned_model="ft:gpt-x:o::1",
    finished_at=1_700_000_192,
    metadata={IDENTITY: "ab" * 16},
    trained_tokens=12_345,
)
FAILED = outcome(
    "failed",
    id="ftjob-2",
    finished_at=1_700_000_005,
    error=JobError(code="invalid_n_examples", message="Training file has 7 example(s)"),
)
CANCELLED = outcome("cancelled", id="ftjob-3", finished_at=1_700_000_005)
RUNNING = outcome("paused", id="ftjob-4")
ALL = [SUCCEEDED, FAILED, CANCELLED, RUNNING]
HOSTILE = outcome(
    EVIL,
    (event(1, EVIL, level="error"), event(2, f"\n::error::x\r\n{EVIL}", level="warn")),
    id=EVIL,
    model=EVIL,
    suffix=EVIL,
    fine_tuned_model=EVIL,
    finished_at=3,
    error=JobError(code=EVIL, message=f"{EVIL}\n{EVIL}"),
    metadata={IDENTITY: f"{EVIL}\nEOF"},
)
WORDS = st.text(max_size=60) | st.sampled_from([EVIL, "\n", "EOF", "::error::x", "-->", "a|b`"])


@st.composite
def outcomes(draw: st.DrawFn) -> ci.Outcome:
    """A job whose every word is the service's own idea."""
    words = {name: draw(WORDS) for name in ("id", "status", "model", "fine_tuned_model", "suffix")}
    job = Job.model_validate(
        WIRE
        | words
        | {
            "created_at": draw(st.integers(-(10**30), 10**30)),
            "finished_at": draw(st.none() | st.integers(-(10**30), 10**30)),
            "error": draw(st.none() | st.builds(JobError, code=WORDS, message=WORDS)),
            "metadata": draw(st.just({}) | st.dictionaries(st.just(IDENTITY), WORDS)),
        }
    )
    name = draw(WORDS)
    events = (
        metrics(1, draw(st.floats())),
        event(2, f"Checkpoint created at step 1 with Snapshot ID: {name}"),
        event(3, draw(WORDS), level=draw(st.sampled_from(["warn", "error", "info"]))),
    )
    return ci.Outcome(Progress(job).seen(job, events), draw(st.floats(0, 1e12)))


# --- what the runner of GitHub reads -------------------------------------------------------------


def read_outputs(text: str) -> dict[str, str]:
    """GITHUB_OUTPUT as the runner reads it: NAME=VALUE, or NAME<<END and lines until END."""
    found, lines = {}, iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        name, mark, end = re.split("(=|<<)", line, maxsplit=1)
        value = [end]
        if mark == "<<":
            value = []
            while (one := next(lines)) != end:
                value.append(one)
        found[name] = "\n".join(value)
    return found


def read_command(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as the runner reads it: name, properties, data."""
    assert line.startswith("::")
    info, data = line[2:].split("::", 1)
    name, _, properties = info.partition(" ")
    pairs = dict(pair.split("=", 1) for pair in properties.split(",") if pair)
    return name, {key: _unescaped(value) for key, value in pairs.items()}, _unescaped(data)


def _unescaped(text: str) -> str:
    for token, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(token, char)
    return text


def test_outputs_name_the_job() -> None:
    assert read_outputs(ci.outputs([SUCCEEDED])) == {
        "job-id": "ftjob-1",
        "status": "succeeded",
        "fine-tuned-model": "ft:gpt-x:o::1",
        "identity": "ab" * 16,
    }


def test_outputs_of_several_jobs_have_a_line_for_each() -> None:
    read = read_outputs(ci.outputs(ALL))
    assert read["job-id"].split("\n") == ["ftjob-1", "ftjob-2", "ftjob-3", "ftjob-4"]
    assert read["fine-tuned-model"] == "ft:gpt-x:o::1\n\n\n"


def test_a_delimiter_is_never_used_twice() -> None:
    ends = re.findall("<<(.*)", ci.outputs(ALL) + ci.outputs(ALL))
    assert len(set(ends)) == len(ends) == 8
    assert all(re.fullmatch("ftjobs_[0-9a-f]{32}", end) for end in ends)


@given(st.lists(outcomes(), min_size=1, max_size=3))
def test_no_word_leaves_its_output(many: list[ci.Outcome]) -> None:
    read = read_outputs(ci.outputs(many))
    assert list(read) == ["job-id", "status", "fine-tuned-model", "identity"]
    assert read["job-id"].split("\n") == [one_line(one.job.id) for one in many]


def test_annotations_put_errors_first() -> None:
    commands = [*map(read_command, ci.workflow_commands(ALL).splitlines())]
    assert [name for name, _, _ in commands] == ["error", "warning", "warning", "notice"]
    assert commands[0][1] == {"title": "Fine-tuning job failed"}
    said = commands[0][2].split("\n")
    assert said[:2] == ["ftjob-2 after 5 s", "invalid_n_examples: Training file has 7 example(s)"]
    assert "ftjobs data stats" in said[2]
    assert commands[2][1] == {"title": "Fine-tuning job still paused"}
    assert "model ft:gpt-x:o::1" in commands[3][2]


def test_ten_annotations_and_the_rest_is_counted() -> None:
    warned = [event(number, f"careful {number}", level="warn") for number in range(30)]
    *lines, last = ci.workflow_commands([outcome("failed", tuple(warned))]).splitlines()
    assert Counter(read_command(line)[0] for line in lines) == {"error": 1, "warning": 9}
    assert last == "Not annotated: 21 more messages."


def test_an_error_is_not_told_twice() -> None:
    failed = outcome(
        "failed",
        (event(1, "too few", level="error"),),
        error=JobError(code="invalid_n_examples", message="too few"),
    )
    assert len(ci.workflow_commands([failed]).splitlines()) == 1


@given(st.lists(outcomes(), min_size=1, max_size=3))
def test_no_word_leaves_its_annotation(many: list[ci.Outcome]) -> None:
    lines = ci.workflow_commands(many).split("\n")
    assert len(lines) <= ci.MOST_ANNOTATIONS
    for line in lines:
        name, properties, _ = read_command(line)
        assert name in ("error", "warning", "notice")
        assert set(properties) == {"title"}
        assert "\r" not in line


# --- Markdown ------------------------------------------------------------------------------------

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OWN = {"strong", "em", "h3", "h4", "table", "thead", "tbody", "tr", "th", "td", "p", "ul", "li"}


def inline(text: str) -> list[Token]:
    """Everything in the lines of a Markdown text."""
    return [child for token in RENDERER.parse(text) for child in token.children or ()]


def assert_closed(text: str) -> None:
    """Nothing in it but our own markup: no link, picture, HTML, mention or reference."""
    for token in RENDERER.parse(text):
        assert token.type != "html_block" or re.fullmatch(
            r"<!-- ftjobs (job|plan) [0-9A-Za-z-]+ -->\s*", token.content
        ), token.content
        assert not token.tag or token.tag in OWN | {"code"}, token
    for token in inline(text):
        assert token.type in ("text", "code_inline", "softbreak") or token.tag in OWN, token
        if token.type == "text":
            assert not re.search(r"@\w|#\d|!\d|www\.|://", token.content), token.content


def test_a_summary_tells_of_every_job() -> None:
    text = ci.summary(ALL)
    said = [token.content for token in inline(text) if token.type == "code_inline"]
    for words in ("ftjob-1", "ft:gpt-x:o::1", "2 of 4", "0.2500", "1.2500", "3 min 12 s", "12,345"):
        assert words in said
    assert "invalid_n_examples: Training file has 7 example(s)" in said
    assert [line[:5] for line in text.splitlines() if line.startswith("### ")] == [
        "### ✅",
        "### ❌",
        "### 🚫",
        "### ⏳",
    ]
    assert "**Cause:**" in text
    assert "| 2 | 0.2500 | 1.2500 | `ft:x:ckpt-step-2` |" in text
    assert_closed(text)


@pytest.mark.parametrize(
    ("usd", "most", "said"),
    [(1.5, 2.0, "$1.50, at most $2.00"), (None, None, "unknown: no price for this model")],
)
def test_a_cost_is_shown(usd: float | None, most: float | None, said: str) -> None:
    cost = Estimate(
        model="gpt-x",
        tokens=1000,
        epochs=3,
        epochs_given=True,
        billed_tokens=3000,
        exact=True,
        usd=usd,
        most_usd=most,
        price=None,
    )
    assert said in ci.summary([outcome(cost=cost)])
    assert json.loads(ci.json([outcome(cost=cost)]))["jobs"][0]["cost"]["usd"] == usd


def test_a_comment_is_found_again_by_its_first_line() -> None:
    first = ci.comment([SUCCEEDED]).splitlines()[0]
    assert first == f"<!-- ftjobs job {'ab' * 16} -->"
    again = outcome("running", metadata={IDENTITY: "ab" * 16}, id="another")
    assert ci.comment([again]).splitlines()[0] == first
    assert ci.comment([RUNNING]).splitlines()[0] == "<!-- ftjobs job ftjob-4 -->"
    assert ci.comment([HOSTILE]).splitlines()[0] != ci.comment([RUNNING]).splitlines()[0]


def test_an_identity_in_the_suffix_is_found() -> None:
    assert outcome(suffix="support-0123456789ab").identity == "0123456789ab"
    assert outcome(suffix="support").identity == ""


def test_hostile_words_mark_nothing_up() -> None:
    assert_closed(ci.comment([HOSTILE]))
    assert_closed(ci.summary([HOSTILE, HOSTILE]))


@given(outcomes())
def test_no_words_mark_anything_up(one: ci.Outcome) -> None:
    assert_closed(ci.comment([one]))


@given(WORDS)
def test_quoted_words_are_those_words(words: str) -> None:
    """Also as a cell of a table, whose other cells stay where they are."""
    expected = one_line(words).strip().replace("|", "¦")
    cells = inline(f"| a | b |\n| --- | --- |\n| {code(words)} | last |")
    assert [token.content for token in cells if token.type == "code_inline"] == (
        [expected] if expected else []
    )
    assert cells[-1].content == "last"


@pytest.mark.parametrize("many", [1, 1_000])
def test_a_comment_fits(many: int) -> None:
    long = outcome("failed", id="灯" * 5_000, error=JobError(message="り" * 100_000))
    text = ci.comment([long] * many)
    assert len(text) <= len(text.encode()) <= ci.COMMENT_BYTES
    assert text.endswith("…\n") == (many > 1)


# --- JUnit and JSON ------------------------------------------------------------------------------

# What Jenkins' schema and the Windy Road one both take: every attribute that either requires, no
# element that either lacks, in the stricter order.
SCHEMA = etree.XMLSchema(
    etree.fromstring(
        b"""
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:simpleType name="time"><xs:restriction base="xs:decimal">
    <xs:pattern value="[0-9]+\\.[0-9]{3}"/></xs:restriction></xs:simpleType>
  <xs:simpleType name="when"><xs:restriction base="xs:dateTime">
    <xs:pattern value="[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}"/></xs:restriction></xs:simpleType>
  <xs:complexType name="failure"><xs:simpleContent><xs:extension base="xs:string">
    <xs:attribute name="message" type="xs:string" use="required"/>
    <xs:attribute name="type" type="xs:string" use="required"/>
  </xs:extension></xs:simpleContent></xs:complexType>
  <xs:complexType name="skipped"><xs:attribute name="message" type="xs:string"/></xs:complexType>
  <xs:complexType name="testcase">
    <xs:choice minOccurs="0">
      <xs:element name="skipped" type="skipped"/><xs:element name="failure" type="failure"/>
      <xs:element name="error" type="failure"/>
    </xs:choice>
    <xs:attribute name="name" type="xs:token" use="required"/>
    <xs:attribute name="classname" type="xs:token" use="required"/>
    <xs:attribute name="time" type="time" use="required"/>
  </xs:complexType>
  <xs:complexType name="testsuite">
    <xs:sequence>
      <xs:element name="properties"/>
      <xs:element name="testcase" type="testcase" minOccurs="0" maxOccurs="unbounded"/>
      <xs:element name="system-out" type="xs:string"/>
      <xs:element name="system-err" type="xs:string"/>
    </xs:sequence>
    <xs:attribute name="name" type="xs:token" use="required"/>
    <xs:attribute name="package" type="xs:token" use="required"/>
    <xs:attribute name="id" type="xs:int" use="required"/>
    <xs:attribute name="hostname" type="xs:token" use="required"/>
    <xs:attribute name="timestamp" type="when" use="required"/>
    <xs:attribute name="time" type="time" use="required"/>
    <xs:attribute name="tests" type="xs:int" use="required"/>
    <xs:attribute name="failures" type="xs:int" use="required"/>
    <xs:attribute name="errors" type="xs:int" use="required"/>
    <xs:attribute name="skipped" type="xs:int" use="required"/>
  </xs:complexType>
  <xs:element name="testsuites"><xs:complexType><xs:sequence>
    <xs:element name="testsuite" type="testsuite"/>
  </xs:sequence></xs:complexType></xs:element>
</xs:schema>"""
    )
)


def test_junit_has_a_case_for_each_job() -> None:
    root = etree.fromstring(ci.junit(ALL).encode())
    SCHEMA.assertValid(root)
    suite = root[0]
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "2",
        "errors": "0",
        "skipped": "1",
    }
    assert suite.get("timestamp") == "2023-11-14T22:13:20"
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ["ftjob-1", "ftjob-2", "ftjob-3", "ftjob-4"]
    assert cases[0].get("time") == "192.000"
    assert len(cases[0]) == 0
    assert cases[1][0].get("type") == "invalid_n_examples"
    assert cases[1][0].get("message") == "invalid_n_examples: Training file has 7 example(s)"
    assert "50 to 100 good ones" in (cases[1][0].text or "")
    assert (cases[2][0].tag, cases[2][0].get("message")) == ("failure", "cancelled")
    assert (cases[3][0].tag, cases[3][0].get("message")) == ("skipped", "still paused")


@given(st.lists(outcomes(), max_size=3))
def test_junit_is_valid_whatever_the_service_says(many: list[ci.Outcome]) -> None:
    SCHEMA.assertValid(etree.fromstring(ci.junit(many).encode()))


def test_json_holds_the_wires_job_and_what_it_means() -> None:
    first, second, *_ = json.loads(ci.json(ALL))["jobs"]
    assert Job.model_validate(first["job"]) == SUCCEEDED.job
    assert (first["verdict"], first["seconds"], first["train_loss"]) == ("succeeded", 192, 0.25)
    assert first["checkpoints"] == [
        {"step": 2, "train_loss": 0.25, "valid_loss": 1.25, "model": "ft:x:ckpt-step-2"}
    ]
    assert second["failure"]["title"] == "too few examples"
    assert second["identity"] is None


@given(outcomes())
def test_json_is_json_whatever_the_service_says(one: ci.Outcome) -> None:
    assert json.loads(ci.json([one]))["version"] == 1


def test_half_a_surrogate_pair_is_json_too() -> None:
    assert json.loads(ci.json([outcome(model="\ud83d")]))["jobs"][0]["job"]["model"] == "\ud83d"


@pytest.mark.parametrize(
    ("status", "finished_at", "verdict"),
    [
        ("succeeded", 3, "succeeded"),
        ("failed", 3, "failed"),
        ("cancelled", 3, "cancelled"),
        ("expired", 3, "failed"),
        ("compressing", None, "unfinished"),
        ("paused", None, "unfinished"),
    ],
)
def test_verdicts(status: str, finished_at: int | None, verdict: str) -> None:
    assert outcome(status, finished_at=finished_at).verdict == verdict


# --- plans ---------------------------------------------------------------------------------------


def plan(**given: Any) -> Plan:
    spec = JobSpec(model="gpt-x", training_file="train.jsonl", suffix="support")
    file = PlannedFile(path="da|ta/@x.jsonl", sha256="0" * 64, bytes=9, examples=1_234)
    made = {"created_at": 0, "backend": "openai", "spec": spec, "identity": "cd" * 16}
    return Plan.model_validate(made | {"files": {"training_file": file}} | given)


def test_a_plan_as_a_comment() -> None:
    notes = [Note(level="warning", text=f"retired soon {EVIL}", hint="Take <another>.")]
    cost = Estimate(
        model="gpt-x",
        tokens=1,
        epochs=1,
        epochs_given=True,
        billed_tokens=1,
        exact=False,
        usd=3.0,
        most_usd=4.5,
    )
    text = ci.plan_comment(plan(notes=notes, cost=cost, max_cost=5))
    assert "| training | `da¦ta/@x.jsonl` | 1,234 | to upload |" in text
    assert "`$3.00, at most $4.50`" in text
    assert "`Take <another>.`" in text
    assert_closed(text)


def test_a_plan_keeps_its_comment_while_the_data_changes() -> None:
    first, other = ci.plan_comment(plan()), ci.plan_comment(plan(identity="ef" * 16))
    assert first.splitlines()[0] == other.splitlines()[0]
    assert first != other


def test_what_a_plan_would_do() -> None:
    assert "### 📋 Applying this plan starts one fine-tuning job" in ci.plan_comment(plan())
    assert "### ♻️ Nothing new: `ftjob-9`" in ci.plan_comment(plan(adopt="ftjob-9"))
    broken = plan(notes=[Note(level="error", text="no such model")])
    assert "### ❌ This job cannot run: 1 error" in ci.plan_comment(broken)

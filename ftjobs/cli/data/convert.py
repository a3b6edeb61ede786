"""`ftjobs data convert`."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ftjobs.cli.app import Command, json_option
from ftjobs.cli.show import clean_line, emit, progress_bar, say
from ftjobs.data.convert import FORMATS, ConversionReport, Tally, convert
from ftjobs.data.rules import RULES
from ftjobs.errors import ConfigError, ExitCode
from ftjobs.reports.cells import clean

_SHOWN = 2000  # characters of a message in a preview


@click.command(cls=Command)
@click.argument("source")
@click.option("-o", "--out", metavar="OUT", help="The file to write; - for standard output.")
@click.option(
    "--from",
    "source_format",
    type=click.Choice(FORMATS),
    metavar="FORMAT",
    help=f"What SOURCE is, instead of detecting it: {', '.join(FORMATS)}.",
)
@click.option(
    "--prompt",
    "prompts",
    metavar="COLUMN",
    multiple=True,
    help="The column or key that holds the question.  One given again follows after a blank line.",
)
@click.option("--completion", metavar="COLUMN", help="The column or key that holds the answer.")
@click.option("--rejected", metavar="COLUMN", help="The one with a worse answer, for preferences.")
@click.option("--system-column", metavar="COLUMN", help="The one that holds a system message.")
@click.option("--id-column", metavar="COLUMN", help="The one that holds a turn's id.")
@click.option("--parent-column", metavar="COLUMN", help="The id of the turn before it.")
@click.option("--system", metavar="TEXT", help="A system message for examples that have none.")
@click.option("--encoding", metavar="NAME", help="Such as cp932 (Shift_JIS), euc-jp or cp1252.")
@click.option("--sheet", metavar="NAME", help="Of a workbook, instead of the first not hidden.")
@click.option(
    "--preview", type=click.IntRange(min=1), metavar="N", help="Show N examples, write nothing."
)
@click.option("--force", is_flag=True, help="Write over OUT.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    source: str,
    out: str | None,
    source_format: str | None,
    prompts: tuple[str, ...],
    completion: str | None,
    rejected: str | None,
    system_column: str | None,
    id_column: str | None,
    parent_column: str | None,
    system: str | None,
    encoding: str | None,
    sheet: str | None,
    preview: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Convert SOURCE to chat JSONL.

    ftjobs data convert faq.csv -o train.jsonl
    ftjobs data convert faq.xlsx --prompt Question --completion Answer --preview 3
    ftjobs data convert alpaca.json -o - | ftjobs data check -

    SOURCE is a table (CSV, TSV, .xlsx, Parquet), JSON or JSON Lines (prompt and completion,
    Alpaca, ShareGPT, chat, ChatGPT's conversations.json), - for standard input, or a dataset of
    the Hugging Face hub (hf:OWNER/NAME[:SPLIT]).

    Every row becomes an example or is reported with its place.  Exit code 3 if none does.
    Rows with an id and a parent_id are turns: they become conversations.
    """
    _require_target(out, preview, as_json=as_json)
    named = {
        "prompt": prompts[:1],
        "input": prompts[1:],
        "completion": completion,
        "rejected": rejected,
        "system": system_column,
        "id": id_column,
        "parent": parent_column,
    }
    with progress_bar("converting") as move:
        report = convert(
            source,
            None if preview else out,
            format=source_format,
            columns={role: column for role, column in named.items() if column},
            system=system,
            encoding=encoding,
            sheet=sheet,
            force=force,
            preview=preview or 0,
            progress=move,
        )
    _emit(report) if as_json else _show(report)
    if not report.ok:
        context.exit(ExitCode.DATASET)


def _require_target(out: str | None, preview: int | None, *, as_json: bool) -> None:
    if out is None and preview is None:
        raise ConfigError("nowhere to write to", hint="Add -o OUT, or --preview N to look first.")
    if out is not None and preview is not None:
        raise ConfigError("a preview writes nothing", hint="Leave out -o or --preview.")
    if out == "-" and as_json:
        raise ConfigError(
            "the examples and --json would both go to standard output",
            hint="Write the examples to a file.",
        )


def _emit(report: ConversionReport) -> None:
    for example in report.preview:
        emit({"object": "example", **_redacted(example)})
    emit({"object": "conversion", "ok": report.ok, **report.model_dump()})


def _redacted(value: Any) -> Any:
    """A value whose texts hold no secrets or personal data."""
    from ftjobs.data.private import redact

    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _redacted(item) for key, item in value.items()}
    return value


def _show(report: ConversionReport) -> None:
    for number, example in enumerate(report.preview, start=1):
        click.echo(f"--- example {number}")
        for line in _spoken(_redacted(example)):
            click.echo(line)
    for line in _account(report):
        say(clean_line(line))


def _spoken(example: Mapping[str, Any]) -> Iterator[str]:
    """An example as a conversation."""
    asked = example.get("input", example)
    for message in asked["messages"]:
        yield _said(message)
    for output in ("preferred_output", "non_preferred_output"):
        for message in example.get(output, ()):
            yield f"{output}: {_said(message)}"
    if tools := asked.get("tools"):
        yield f"tools: {', '.join(clean_line(tool['function']['name']) for tool in tools)}"


def _said(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    if calls := message.get("tool_calls"):
        called = [call["function"] for call in calls]
        text = ", ".join(f"{one['name']}({one['arguments']})" for one in called)
    more = f" … ({len(text) - _SHOWN:,} more characters)" if len(text) > _SHOWN else ""
    return clean(f"{message['role']}: {text[:_SHOWN]}{more}")


def _account(report: ConversionReport) -> Iterator[str]:
    yield report.detected
    rows = _many(report.read, "row")
    if not report.ok:
        yield f"nothing to write: of {rows} none becomes an example"
    elif report.out is None:
        yield f"{_many(report.written, 'example')} from {rows} would be written"
    else:
        yield f"{_many(report.written, 'example')} from {rows} written to {report.out}"
    for tally in report.dropped:
        yield f"  dropped {_counted(tally, report.unit)}"
    for tally in report.notes:
        yield f"  note: {_counted(tally, report.unit)}"
    if report.unused:
        yield f"  not used: {', '.join(report.unused)}"
    yield from _repairs(report)
    if report.out not in (None, "-"):
        yield f"Check it: ftjobs data check {report.out}"


def _repairs(report: ConversionReport) -> Iterator[str]:
    """How many of the rows that were dropped `check --fix` may repair, and how.

    What is found in rows of other shapes than chat is about the example that they became.
    """
    if report.container != "jsonl" or report.source == "-":
        return
    counts: Counter[str | None] = Counter()
    for tally in report.dropped:
        rule = RULES.get(tally.reason[:5])
        if rule is not None and (report.shape == "chat" or rule.code < "FT3"):
            counts[rule.fixable] += tally.count
    command = f"ftjobs data check {shlex.quote(report.source)} --fix OUT"
    if counts["safe"]:
        yield f"{counts['safe']:,} of these may be repaired first: {command}"
    if counts["unsafe"]:
        yield f"{counts['unsafe']:,} of these may be repaired first: {command} --unsafe-fixes"


def _counted(tally: Tally, unit: str) -> str:
    """A reason, how often, and where."""
    places = [
        f"{place.number}{f' ({place.detail})' if place.detail else ''}" for place in tally.places
    ]
    more = f" and {tally.count - len(places):,} more" if tally.count > len(places) else ""
    where = f"{unit}{'s' if tally.count > 1 else ''} {', '.join(places)}{more}"
    return (
        f"{tally.count:,}: {tally.reason}: {where}"
        if places
        else f"{tally.count:,}: {tally.reason}"
    )


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

"""Prompt files: JSON Lines, CSV or TSV → prompts with the answers expected of them.

A line is `{"messages": [...], "expected": "...", "tags": ["..."], "cluster": "..."}`, where all
but `messages` may be left out; `tools` and `calls` are about function calls.  A chat dataset can
be used as it is: its last assistant turn is what is expected, and of a preference pair the
preferred answer.  Plain texts will do as well, in columns or fields: `prompt`, `question`,
`input` or `user`, with `system`, and `expected`, `answer`, `ideal`, `output`, `completion` or
`response`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from ftjobs.data.reading import MAX_LINE_BYTES, STDIN, DamagedError, opened
from ftjobs.errors import ConfigError, DatasetError
from ftjobs.evals.promptrow import ANSWERS, ASKS, Prompt, WrongRow, is_name, prompt_of
from ftjobs.evals.result import Source
from ftjobs.schema import Issue

__all__ = ["TABLES", "Prompt", "Rows", "clustered", "read_prompts", "rows_in", "source_of"]

Rows = Iterator[tuple[int, Mapping[str, Any] | WrongRow]]
"""Rows of a file with their line numbers, and those that cannot be read."""

TABLES = (".csv", ".tsv", ".tab")
DEEPEST = 100  # levels of a row: a message of the wire has a tenth of that


def read_prompts(path: str | Path, *, cluster_by: str | None = None) -> list[Prompt]:
    """The prompts of a file in UTF-8, blank lines aside; `.gz` and `.zst` are decompressed.

    Args:
        path: JSON Lines, or a table whose name ends in .csv or .tsv.
        cluster_by: what names the cluster of a prompt: a field of the row or of its `metadata`,
            or the tags `NAME=value`.  `cluster` by default.

    Raises:
        ConfigError: the file cannot be read, or nothing in it is called `cluster_by`.
        DatasetError: lines are wrong; `issues` lists every one with its number.
    """
    path = Path(path)
    prompts, issues = [], []
    for line, row in rows_in(path):
        try:
            if isinstance(row, WrongRow):
                raise row
            prompts.append(prompt_of(row, line))
        except WrongRow as wrong:
            message, pointer = wrong.args
            issues.append(_issue(path, message, line=line, pointer=pointer))
    if not prompts and not issues:
        issues.append(_issue(path, "the file holds no prompt"))
    if issues:
        raise DatasetError(f"{path}: {len(issues)} wrong line(s)", issues=issues)
    return prompts if cluster_by is None else _clustered(path, prompts, cluster_by)


def clustered(prompts: Iterable[Prompt], name: str) -> list[Prompt]:
    """The prompts, each in the cluster that its field `name` says, or that of its `metadata`, or
    its tag `NAME=value`; in none where nothing says it.

    Raises:
        ConfigError: a field is neither a text nor a whole number.
    """
    return [replace(prompt, cluster=_cluster_of(prompt, name)) for prompt in prompts]


def _cluster_of(prompt: Prompt, name: str) -> str | None:
    metadata = prompt.item.get("metadata")
    inner = metadata.get(name) if isinstance(metadata, Mapping) else None
    start = f"{name}="
    tagged = (tag.removeprefix(start) for tag in prompt.tags if tag.startswith(start))
    own = prompt.cluster if name == "cluster" else prompt.item.get(name)
    found = next((each for each in (own, inner, *tagged) if each not in (None, "")), None)
    if found is not None and not is_name(found):
        place = "" if prompt.line is None else f"line {prompt.line}: "
        raise ConfigError(f"{place}{name!r} is neither a text nor a whole number")
    return None if found is None else str(found)


def _clustered(path: Path, prompts: Sequence[Prompt], name: str) -> list[Prompt]:
    found = clustered(prompts, name)
    if not any(prompt.cluster for prompt in found):
        raise ConfigError(
            f"{path}: nothing is called {name!r}",
            hint="Clusters are named by a field of each line, or by tags such as document=7.",
        )
    return found


def source_of(path: str | Path, prompts: int, set: str = "") -> Source:  # noqa: A002 - its name
    """Where a set of so many prompts came from.  ConfigError if the file cannot be read."""
    from ftjobs.jobs.files import sha256_of

    path = Path(path)
    digest = "" if path == STDIN else sha256_of(path)[0]
    return Source(set=set, path=str(path), sha256=digest, prompts=prompts)


def rows_in(path: Path) -> Rows:
    """The rows of a file, by its name a table or JSON Lines.

    Raises:
        ConfigError: it cannot be read, or is a folder or a pipe.
        DatasetError: it is damaged, or a table of which no column says what is asked.
    """
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    if table := next((ending for ending in endings if ending in TABLES), None):
        return _table(path, "csv" if table == ".csv" else "tsv")
    return _json_lines(path)


def _issue(path: str | Path, message: str, *, line: int | None = None, pointer: str = "") -> Issue:
    return Issue(
        code="prompt",
        severity="error",
        message=message,
        path=str(path),
        line=line,
        pointer=pointer,
        hint='A line is {"messages": [...], "expected": "...", "tags": ["..."]}.',
    )


# --- JSON Lines -------------------------------------------------------------------------------


def _json_lines(path: Path) -> Rows:
    with opened(path) as file:
        try:
            for number, line in enumerate(_lines(file, path), start=1):
                bare = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if bare.strip():
                    yield number, _row(bare)
        except DamagedError as error:
            raise DatasetError(f"{path}: {error}", hint="Get the file again.") from None


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES:
            raise DatasetError(f"{path}: a line has more than {MAX_LINE_BYTES:,} bytes")
        yield line


def _row(line: bytes) -> Mapping[str, Any] | WrongRow:
    try:
        row = _json(line)
        _require_sane(row, line)
    except WrongRow as wrong:
        return wrong
    return row


def _json(line: bytes) -> Mapping[str, Any]:
    try:
        row = json.loads(
            line.decode("utf-8"),
            parse_constant=_no_number,
            parse_float=_finite,
            object_pairs_hook=_once,
        )
    except UnicodeDecodeError as error:
        raise WrongRow(f"not UTF-8 at byte {error.start + 1}", "") from None
    except json.JSONDecodeError as error:
        raise WrongRow(f"not JSON: {error.msg} at column {error.colno}", "") from None
    except WrongRow:
        raise
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise WrongRow("not JSON that can be read: a number is too long", "") from None
    except RecursionError:
        raise WrongRow("not JSON that can be read: nested too deeply", "") from None
    if not isinstance(row, dict):
        raise WrongRow("not a JSON object", "")
    return row


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:  # which of the two is meant?
            raise WrongRow(f"the key {key[:40]!r} is given twice", "")
        found[key] = value
    return found


def _no_number(word: str) -> float:
    raise WrongRow(f"not JSON: {word} is no number of JSON", "")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # it would be written as Infinity
        raise WrongRow("not JSON that can be read: a number is too large", "")
    return number


def _require_sane(row: Mapping[str, Any], line: bytes) -> None:
    """Refuse what could not be sent: texts that UTF-8 cannot hold, and endless nesting."""
    if line.count(b"[") + line.count(b"{") > DEEPEST and _depth(row) > DEEPEST:
        raise WrongRow("not JSON that can be read: nested too deeply", "")
    if b"\\ud" in line.lower():
        for key, value in row.items():
            if key != "messages" and not _is_text({key: value}):
                raise WrongRow("half of a surrogate pair in a string", f"/{key}")


def _is_text(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level := [each for outer in level for each in _inside(outer)]:
        depth += 1
    return depth


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


# --- tables -----------------------------------------------------------------------------------


def _table(path: Path, container: str) -> Rows:
    """The records of a table, by column in small letters; empty cells are left out."""
    from ftjobs.data.convert.rows import Fault
    from ftjobs.data.convert.sources import damage_reported, open_source

    with open_source(path, container=container) as source, damage_reported(path):
        _require_columns(path, [name.lower() for name in source.columns or ()])
        for row in source.rows:
            if isinstance(row, Fault):
                yield row.place, WrongRow(f"{row.reason}: {row.detail}".removesuffix(": "), "")
            else:
                yield row.place, _cells(row.value)


def _require_columns(path: Path, columns: list[str]) -> None:
    names = f"{', '.join(ASKS[:-1])} or {ASKS[-1]}"
    if not {*columns} & {*ASKS}:
        raise DatasetError(
            f"{path}: no column says what is asked",
            issues=[_issue(path, f"no column is called {names}", line=1)],
            hint=f"Name one of them {names} in the first line.",
        )
    known = (*ASKS, *ANSWERS, "system", "tags", "cluster")
    if twice := next((name for name in known if columns.count(name) > 1), None):
        raise DatasetError(
            f"{path}: two columns are called {twice}",
            issues=[_issue(path, f"two columns are called {twice}", line=1)],
        )


def _cells(cells: Mapping[str, str]) -> Mapping[str, Any]:
    row: dict[str, Any] = {name.lower(): cell for name, cell in cells.items() if cell != ""}
    if "tags" in row:
        row["tags"] = [tag for tag in map(str.strip, row["tags"].split(";")) if tag]
    return row

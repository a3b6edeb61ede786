"""`fix`: what is repaired, that nothing else changes, and that the new file comes whole."""

from __future__ import annotations

import errno
import gzip
import io
import json
import re
import signal
import stat
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.data import RULES, check
from ftjobs.data.fix import FIXABLE, FixReport, fix
from ftjobs.data.fix import run as run_module
from ftjobs.data.fix.layout import LayoutError, Piece, lines, objects
from ftjobs.data.fix.lines import mend
from ftjobs.data.fix.report import MAX_PATCHES
from ftjobs.errors import ConfigError, DatasetError, ExitCode, FtjobsError
from tests.data import damage_rows, damage_text  # noqa: F401 - they fill KINDS
from tests.data.mutations import KINDS
from tests.data.rows import METHODS, clean_file

USER = '{"role": "user", "content": "Hi"}'
ANSWER = '{"role": "assistant", "content": "Yo"}'
BOM = "\ufeff"
SHAPELESS = {"FT501", "FT502", "FT503"}
"""What is said about a file because of what is not in it."""

SAFE_CODES = {code for code, fixable in FIXABLE.items() if fixable == "safe"}


def row(*messages: str) -> str:
    return f'{{"messages": [{", ".join(messages or (USER, ANSWER))}]}}'


ROW = row()
NUMBERED = [row(USER.replace("Hi", f"Hi {number}"), ANSWER) for number in range(12)]
CLEAN = "\n".join(NUMBERED) + "\n"


def like(old: str, new: str) -> str:
    """The row, with something else in it."""
    return ROW.replace(old, new)


def calling(arguments: str) -> str:
    function = f'{{"name": "f", "arguments": {arguments}}}'
    call = f'{{"id": "a", "type": "function", "function": {function}}}'
    return row(USER, f'{{"role": "assistant", "tool_calls": [{call}]}}')


def pair(preferred: str, other: str) -> str:
    outputs = f'"preferred_output": [{preferred}], "non_preferred_output": [{other}]'
    return f'{{"input": {row(USER)}, {outputs}}}'


class Files:
    """A folder in which files are repaired."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "train.jsonl"
        self.out = folder / "fixed.jsonl"

    def names(self) -> list[str]:
        """What is in the folder, hidden or not."""
        return [path.name for path in self.source.parent.iterdir()]

    def fix(
        self, data: str | bytes, *, unsafe: bool = False, **how: Any
    ) -> tuple[bytes, FixReport]:
        self.source.write_bytes(data.encode() if isinstance(data, str) else data)
        report = fix(self.source, self.out, unsafe=unsafe, force=True, **how)
        return self.out.read_bytes(), report


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(scope="module")
def module_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("fix"))


# --- what is repaired -------------------------------------------------------------------------

SAFE = {
    "FT101": (BOM + ROW, ROW),
    "FT102 at the start": (f"{ROW}\n{BOM}{BOM}{ROW}", f"{ROW}\n{ROW}"),
    "FT102 alone": (f"{ROW}\n \ufeff\n{ROW}\n", f"{ROW}\n{ROW}\n"),
    "FT102 inside": (f"{ROW}\n{like(': [', f':{BOM} [')}", f"{ROW}\n{ROW}"),
    "FT107": (f"\n{ROW}\n \t\r\n{ROW}\n\n", f"{ROW}\n{ROW}\n"),
    "FT201 a row": (repr(json.loads(ROW)), ROW),
    "FT201 a row with commas": (repr(json.loads(ROW)).replace("]", " , ]"), like("]", "  ]")),
    "FT201 a string": (
        '{"messages": [' + USER + ', {"role": "assistant", \'content\': \'a "b" it\\\'s\\n日\'}]}',
        row(USER, '{"role": "assistant", "content": "a \\"b\\" it\'s\\n日"}'),
    ),
    "FT201 words": (
        '{"messages": [' + USER + "," + ANSWER + '], "parallel_tool_calls": True, "tools": null}',
        '{"messages": [' + USER + "," + ANSWER + '], "parallel_tool_calls": true}',
    ),
    "FT202 inside": (like("]}", ",] , }"), like("]}", "]  }")),
    "FT202 many": (f"{ROW},, ,,\n" + ",".join([ROW, ROW]), "\n".join([ROW] * 3)),
    "FT202 after": (f"{ROW},\r\n{ROW} , \n", f"{ROW}\r\n{ROW}  \n"),
    "FT203": (f"{ROW} {ROW},{ROW}{ROW}\n", f"{ROW}\n" * 4),
    "FT203 at the end": (f"{ROW}\r\n{ROW}{ROW}", f"{ROW}\r\n{ROW}\n{ROW}"),
    "FT205": (like('"Yo"', '"Yo", "content" : "\\u0059o"'), ROW),
    "FT205 thrice": (like('"Yo"', '"Yo", "content":"Yo", "content":"Yo"'), ROW),
    "FT207": (like("Hi", "a\tb\\\\\x01\x0b\rc"), like("Hi", "a\\tb\\\\\\u0001\\u000b\\rc")),
    "FT306": (like('"user"', '" USER\\n"'), ROW),
    "FT310 null": (like('"Yo"', '"Yo", "name": null'), ROW),
    "FT310 first": (like('{"messages"', '{ "tools": [], "messages"'), "{ " + ROW[1:]),
    "FT310 many": (
        like('"Yo"', '"Yo", "name":null, "weight":null, "x": null '),
        like('"Yo"', '"Yo" '),
    ),
    "FT404": (like('"Yo"', '"Yo", "weight": true'), like('"Yo"', '"Yo", "weight": 1')),
    "FT404 float": (like('"Yo"', '"Yo", "weight": 1.0'), like('"Yo"', '"Yo", "weight": 1')),
    "FT413": (
        calling('{"x": 1.10, "y": "\\u00e9\\"", "z": 12345678901234567890}'),
        calling(
            '"{\\"x\\": 1.10, \\"y\\": \\"\\\\u00e9\\\\\\"\\", \\"z\\": 12345678901234567890}"'
        ),
    ),
    "FT413 with a comma": (calling('{"x": 1,}'), calling('"{\\"x\\": 1}"')),
}
UNSAFE = {
    "FT108": (
        like("Hi", "a\\ud83db\\ud83d\\ude00\\ude00\\\\ud83d"),
        like("Hi", "a\ufffdb\\ud83d\\ude00\ufffd\\\\ud83d"),
    ),
    "FT205": (like('"Yo"', '"No", "content": "Yo"'), ROW),
    "FT206": (like('"Yo"', '"Yo", "name": NaN, "weight": -Infinity'), ROW),
    "FT307": (
        like('"messages": [', '"messages": [{"role": "developer", "content": "x"}, '),
        like('"messages": [', '"messages": [{"role": "system", "content": "x"}, '),
    ),
    "FT307 and FT311": (
        row(
            USER,
            '{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}',
            '{"role": "function", "name": "f", "content": "1"}',
            ANSWER,
        ).replace("]}", '], "functions": [{"name": "f"}]}'),
        row(
            USER,
            '{"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": '
            '{"name": "f", "arguments": "{}"}}]}',
            '{"role": "tool", "tool_call_id": "call_1", "name": "f", "content": "1"}',
            ANSWER,
        )[:-1]
        + ', "tools": [{"type": "function", "function": {"name": "f"}}]}',
    ),
    "FT401": (row(USER, ANSWER, USER, USER), ROW),
    "FT403": (like('"Hi"', '"Hi", "weight": 0'), ROW),
    "FT409": (row(USER, ANSWER, ANSWER, ANSWER), like('"Yo"', '"Yo\\n\\nYo\\n\\nYo"')),
    "FT414": (calling('" "'), calling('"{}"')),
    "FT416": (
        row(
            USER,
            '{"role": "system", "content": "a"}',
            ANSWER,
            '{"content": "b", "role": "system"}',
            USER,
            ANSWER,
        ),
        row(
            '{"role": "system", "content": "a"}',
            '{"content": "b", "role": "system"}',
            USER,
            ANSWER,
            USER,
            ANSWER,
        ),
    ),
    "FT603": (like("Hi", "H\\u0000i\\u007f"), ROW),
    "FT604": (like("Hi", "\u200bH\\u200bi\\n"), like("Hi", "Hi\\n")),
    "FT604 in arguments": (
        calling('"{\\"x\\": \\"a\\\\u200bb\\"}"'),
        calling('"{\\"x\\": \\"ab\\"}"'),
    ),
    "FT605": (like("Hi", "\\u202eHi"), ROW),
    "FT711": (
        like("Hi", "I am jo.miller@lamps-and-more.de, or 😀mia@lamps-and-more.de"),
        like("Hi", "I am [EMAIL], or 😀[EMAIL]"),
    ),
    "FT713 in arguments": (
        calling('"{\\"card\\": 4539578763621486, \\"n\\": 1.10}"'),
        calling('"{\\"card\\": \\"[CARD]\\", \\"n\\": 1.10}"'),
    ),
    "FT801": (f"{ROW}\n{ROW}\n", f"{ROW}\n"),
    "FT801 spelt otherwise": (
        f"{ROW}\n" + json.dumps(json.loads(ROW), separators=(",", ":")),
        f"{ROW}\n",
    ),
}


def left(report: FixReport) -> set[str]:
    return {issue.code for issue in report.remaining.issues} - SHAPELESS


@pytest.mark.parametrize("name", SAFE)
def test_a_safe_repair(files: Files, name: str) -> None:
    before, after = SAFE[name]
    _, unsafe = files.fix(before, unsafe=True)
    assert left(unsafe) & set(FIXABLE) == set()
    fixed, report = files.fix(before)
    assert fixed.decode() == after
    assert report.repaired[name[:5]] >= 1
    assert left(report) & SAFE_CODES == set()
    assert report.remaining.error_count == 0
    assert report.changed
    assert report.dropped == {}
    assert files.source.read_bytes().decode() == before


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_repair_is_made_only_when_asked_for(files: Files, name: str) -> None:
    before, after = UNSAFE[name]
    fixed, report = files.fix(before)
    assert fixed.decode() == before
    assert not report.changed
    assert report.patches == ()
    assert name[:5] in left(report)
    fixed, report = files.fix(before, unsafe=True)
    assert fixed.decode() == after
    assert {**report.repaired, **report.dropped}[name[:5]] >= 1
    assert left(report) <= {"FT606"}  # U+FFFD stands where half a character was


def test_the_table_holds_the_codes_that_the_rules_call_fixable() -> None:
    assert {code: rule.fixable for code, rule in RULES.items() if rule.fixable} == FIXABLE


def test_every_code_of_the_table_is_shown_here() -> None:
    shown = {name[:5] for name in [*SAFE, *UNSAFE]}
    elsewhere = {"FT103", "FT211", "FT212", "FT311", "FT423"}
    private = {code for code in FIXABLE if code.startswith("FT7")}  # all have the same repair
    assert set(FIXABLE) == shown | elsewhere | private


@pytest.mark.parametrize(
    "line",
    [
        '{"broken": ',
        like('"Yo"', '"Yo", "content": "No"'),
        like('"user"', '"human"'),
        like('"Yo"', '"Yo", "weight": 0.5'),
        like("Hi", "\\\t"),
        like('"Yo"', "'Yo', \"weight\": null"),  # neither JSON nor Python
        like('"Yo"', '"C:\\apps"'),  # Python would make a bell of it
        f"{{1: {USER}}}".replace('"', "'"),  # Python, but no JSON has such keys
        BOM + '{"cut": [1,',
        calling('{"x": 1, "x": 2}'),
        calling("[1]"),
        '{"prompt": "a", "completion": "b"}',
    ],
)
def test_what_cannot_be_repaired_for_sure_stays_as_it_is(files: Files, line: str) -> None:
    data = f"{ROW}\n{line}\r\n{ROW}\n"
    fixed, report = files.fix(data)
    assert fixed.decode() == data
    assert not report.changed
    assert not report.remaining.ok


def test_with_unsafe_what_cannot_be_repaired_goes(files: Files) -> None:
    equal = pair(ANSWER, ANSWER)
    data = f'{ROW}\n{{"cut": \n{row(ANSWER)} {row(USER)}\n'.encode() + b"\xff\n" + equal.encode()
    fixed, report = files.fix(data, unsafe=True)
    assert fixed.decode() == f"{ROW}\n{row(ANSWER)}\n"
    assert report.dropped == {"FT104": 1, "FT204": 1, "FT401": 1, "FT423": 1}
    assert [(drop.line, drop.code) for drop in report.drops] == [
        (2, "FT204"),
        (3, "FT401"),
        (4, "FT104"),
        (5, "FT423"),
    ]


def test_with_unsafe_the_first_row_that_is_kept_decides_the_method(files: Files) -> None:
    other = pair(ANSWER, ANSWER.replace("Yo", "No"))
    fixed, report = files.fix(f'{{"input": 3}}\n{ROW}\n{other}\n', unsafe=True)
    assert fixed.decode() == f"{ROW}\n"
    assert report.drops[-1].code == "FT503"


def test_what_the_target_calls_an_error_decides_what_goes(files: Files) -> None:
    twice = row(USER, ANSWER, ANSWER.replace('"Yo"', '"Yo", "name": "b"'))
    fixed, _ = files.fix(f"{ROW}\n{twice}\n", unsafe=True, target="local")
    assert fixed.decode() == f"{ROW}\n{twice}\n"
    fixed, report = files.fix(f"{ROW}\n{twice}\n", unsafe=True, target="together")
    assert fixed.decode() == f"{ROW}\n"
    assert report.dropped == {"FT409": 1}


EMPTY_TOOLS = like("}]}", '}], "tools": []}')
DAMAGED = f"{BOM}{ROW}\n\n{like('user', 'User')}\n{EMPTY_TOOLS}\n".encode()


@pytest.mark.parametrize("code", ["FT101", "FT107", "FT306", "FT310"])
def test_codes_that_are_ignored_are_not_repaired(files: Files, code: str) -> None:
    _, whole = files.fix(DAMAGED)
    fixed, report = files.fix(DAMAGED, ignore=[code])
    assert report.repaired == {key: n for key, n in whole.repaired.items() if key != code}
    again, rest = files.fix(fixed)
    assert again.decode() == f"{ROW}\n{ROW}\n{ROW}\n"
    assert set(rest.repaired) == {code}


def test_codes_that_are_selected_are_all_that_is_repaired(files: Files) -> None:
    fixed, report = files.fix(DAMAGED, select=["FT1", "ft801"], unsafe=True)
    assert report.repaired == {"FT101": 1, "FT107": 1}
    assert fixed == DAMAGED.removeprefix(BOM.encode()).replace(b"\n\n", b"\n")
    fixed, report = files.fix(f"{ROW}\n" * 3, select=["FT801"], unsafe=True)
    assert report.dropped == {"FT801": 2}
    for data in (b"[\n" + ROW.encode() + b"]", ROW.encode("utf-16")):
        assert files.fix(data, select=["FT8"])[0] == data
    with pytest.raises(ConfigError, match="code"):
        fix(files.source, files.out, force=True, select=["XY"])


# --- how a file is laid out -------------------------------------------------------------------

ROWS = [json.loads(line) for line in NUMBERED]


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters(files: Files, encoding: str, mark: bool) -> None:
    text = CLEAN.replace("Yo", "日本語 😀")
    fixed, report = files.fix((BOM * mark + text).encode(encoding))
    assert fixed.decode() == text
    assert report.repaired == {"FT103": 1}
    assert left(report) == set()


@pytest.mark.parametrize(
    "data", [CLEAN.encode("utf-16")[:-1], b"\xff\xfe" + b"\x00\xdc" * 9, b'{\0"messages":1}\n']
)
def test_what_is_no_utf_16_stays_as_it_is(files: Files, data: bytes) -> None:
    fixed, report = files.fix(data, unsafe=True)
    assert fixed == data
    assert left(report) == {"FT103"}


@pytest.mark.parametrize(
    ("spelled", "code"),
    [
        (json.dumps(ROWS), "FT211"),
        (json.dumps(ROWS, indent=2), "FT211"),
        (json.dumps(ROWS, indent="\t").replace("\n", "\r\n"), "FT211"),
        ("\ufeff [\n" + ",\n".join(NUMBERED) + ",\n]\n", "FT211"),
        ("\n".join(json.dumps(one, indent=4) for one in ROWS), "FT212"),
        (",\n".join(json.dumps(one, indent=1) for one in ROWS), "FT212"),
        (json.dumps(ROWS[0], indent=1) + "\n" + "\n".join(NUMBERED[1:]), "FT212"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_list_or_indented_objects_become_lines(
    files: Files, spelled: str, code: str, encoding: str
) -> None:
    fixed, report = files.fix(spelled.encode(encoding))
    assert fixed.decode() == CLEAN
    assert report.repaired[code] == 1
    assert left(report) == set()


def test_objects_keep_their_numbers_and_texts() -> None:
    text = '{\n "a" : [\n 1.10,\n 12345678901234567890\n ], "b  c": "x,\\n y\n z\\\\", "d": {}\n}\n'
    (one,) = objects(io.BytesIO(text.encode()))
    assert one == Piece(
        1, b'{"a" : [1.10, 12345678901234567890], "b  c": "x,\\n y\\n z\\\\", "d": {}}\n'
    )


def test_objects_know_the_line_on_which_they_begin() -> None:
    data = b'[\n{"a":\n1},\n\n{"b": 2}, {"c":\n"\xe6\x97\xa5"}\n]'
    assert [one.number for one in objects(io.BytesIO(data))] == [2, 5, 5]


@pytest.mark.parametrize(
    "data",
    [
        b'[{"a": 1}, 2]',
        b"[[{}]]",
        b'[{"a": 1}',
        b'{"a": 1}]',
        b'["a"]',
        b'{"a": [}',
        b'{"a',
        b"{}x",
        b'{"a": "\\\n"}',
        b'{"a": "' + b"x" * 200 + b'"}',
    ],
)
def test_objects_refuse_what_is_in_doubt(data: bytes) -> None:
    with pytest.raises(LayoutError):
        list(objects(io.BytesIO(data), limit=100))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_objects_are_what_json_reads(data: st.DataObject) -> None:
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
    rows = data.draw(st.lists(st.dictionaries(st.text(), values, max_size=3), max_size=4))
    indent = data.draw(st.sampled_from([None, 0, 2, "\t"]))
    plain = data.draw(st.booleans())
    whole = json.dumps(rows, indent=indent, ensure_ascii=plain)
    whole = re.sub("[\ud800-\udfff]", "?", whole)
    pieces = [one.data for one in objects(io.BytesIO(whole.encode()))]
    assert [json.loads(one) for one in pieces] == json.loads(whole)
    assert all(one.endswith(b"\n") and one.count(b"\n") == 1 for one in pieces)


@given(st.binary(max_size=60).map(lambda data: data.replace(b"a", b"\n")), st.integers(1, 9))
def test_lines_lose_no_byte(data: bytes, limit: int) -> None:
    pieces = list(lines(io.BytesIO(data), limit=limit))
    assert b"".join(one.data for one in pieces) == data
    ends = [one.number for one in pieces if one.data.endswith(b"\n")]
    assert ends == list(range(1, data.count(b"\n") + 1))
    assert all(
        one.whole == (one.data.count(b"\n") > 0 and len(one.data) <= limit)
        for one in pieces[:-1]
        if one.whole
    )


def test_a_line_that_is_too_long_is_copied(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "__kwdefaults__", {"limit": 1000})
    data = f"{ROW}\n{'x' * 5000}\n\n{ROW},"
    fixed, report = files.fix(data)
    assert fixed.decode() == f"{ROW}\n{'x' * 5000}\n{ROW}"
    assert [patch.new_line for patch in report.patches] == [None, 3]
    fixed, report = files.fix(data, unsafe=True)
    assert report.dropped == {"FT210": 1, "FT801": 1}


# --- what does not change ---------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unsafe", [False, True])
def test_a_file_without_fixable_issues_comes_out_the_same(
    files: Files, method: str, unsafe: bool
) -> None:
    target = {"completion": "nebius", "supervised": "azure"}.get(method, "openai")
    for seed in range(3):
        data = clean_file(seed, method, 12)
        fixed, report = files.fix(data, unsafe=unsafe, target=target)
        assert fixed == data
        assert not report.changed
        assert report.remaining.manifest.bytes == len(data)


TEXT = st.text(max_size=12).map(lambda text: re.sub("[\ud800-\udfff]", "?", text))
EXACT = [
    '{"maximum": 1.10, "minimum": -0.0, "enum": [12345678901234567890123, 1e400000]}',
    '{"maximum": 1E2, "enum": [0.30000000000000004, 100000000000000000000000]}',
]


@st.composite
def supervised(draw: st.DrawFn) -> str:
    """A row that is clean but for its texts, spelt by hand."""
    plain = draw(st.booleans())
    turns = draw(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
    messages = []
    for asked, said in turns:
        for role, text in (("user", f"u {asked}"), ("assistant", f"a {said}")):
            content = json.dumps(text, ensure_ascii=plain)
            messages.append(f'{{"role": "{role}", "content": {content}}}')
    return row(*messages)


def _trailing(rng: Random, line: str) -> str:
    return f"{line[:-1]} , }}" if rng.random() < 0.5 else line + rng.choice([",", " , "])


def _python(_: Random, line: str) -> str:
    return repr(json.loads(line))


def _control(_: Random, line: str) -> str:
    for escape, raw in (("\\t", "\t"), ("\\r", "\r"), ("\\u0001", "\x01")):
        line = re.sub(rf"(?<!\\){re.escape(escape)}", raw, line)
    return line


def _capitals(rng: Random, line: str) -> str:
    return re.sub('"(user|assistant)"', lambda one: f'"{one[1].capitalize()} "', line)


def _empty(rng: Random, line: str) -> str:
    key = rng.choice(['"tools": []', '"parallel_tool_calls": null', '"other": null'])
    return f"{{{key}, {line[1:]}" if rng.random() < 0.5 else f"{line[:-1]}, {key}}}"


def _twice(rng: Random, line: str) -> str:
    return re.sub('"role": ("[a-z]+")', '"role": \\1, "role" : \\1', line, count=rng.choice([0, 1]))


def _mark(rng: Random, line: str) -> str:
    return BOM + line.replace('{"messages"', f'{{{BOM}"messages"')


DAMAGES: list[Callable[[Random, str], str]] = [
    _python,
    _control,
    _capitals,
    _empty,
    _twice,
    _trailing,
    _mark,
]


@given(
    st.lists(st.tuples(supervised(), st.sets(st.sampled_from(range(7)))), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n", "\n\n", " \n\t\n", " ", ","]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_safe_repairs_give_back_what_was_meant(
    module_files: Files, rows: list[tuple[str, set[int]]], between: str, rng: Random
) -> None:
    """Damage that keeps the meaning, any of it at once: the values are the same afterwards."""
    damaged = []
    for line, damages in rows:
        for place in [0] if 0 in damages and between not in " ," else sorted(damages - {0}):
            line = DAMAGES[place](rng, line)
        damaged.append(line)
    if between in " ,":  # a mark in the middle hides that there is more than one value
        damaged = [line.replace(BOM, "") for line in damaged]
    fixed, report = module_files.fix(between.join(damaged))
    assert [json.loads(line) for line in fixed.splitlines() if line] == [
        json.loads(line) for line, _ in rows
    ]
    assert left(report) & SAFE_CODES == set()
    assert report.remaining.ok


@pytest.mark.parametrize("exact", EXACT)
def test_numbers_keep_their_spelling(files: Files, exact: str) -> None:
    tool = f'{{"type": "function", "function": {{"name": "f", "parameters": {exact}}}}}'
    line = ROW.replace(
        '{"messages"', f'{{"parallel_tool_calls": null, "tools": [{tool},], "messages"'
    )
    fixed, _ = files.fix(line)
    assert fixed.decode() == ROW.replace('{"messages"', f'{{"tools": [{tool}], "messages"')


SOUP = st.lists(
    st.sampled_from(
        [
            *'{}[],:"\\\n\r \t\x00😀',
            *(BOM, '"a"', "'b'", "1.10", "True", "None", "NaN", "null", "\\ud83d"),
            *('"role":"User"', '"messages":[', '"weight":true', '"tools":[]'),
            *(USER, ANSWER, ROW, row(ANSWER), row(USER, ANSWER, USER)),
            *(calling("{}"), calling('{"a": NaN}')),
        ]
    ),
    max_size=14,
).map("".join)


@given(SOUP, st.booleans())
@settings(max_examples=150, deadline=None)
def test_fixing_twice_is_fixing_once(module_files: Files, text: str, unsafe: bool) -> None:
    once, _ = module_files.fix(text, unsafe=unsafe)
    twice, report = module_files.fix(once, unsafe=unsafe)
    assert twice == once
    assert not report.changed


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_damage(files: Files, name: str) -> None:
    """No crash; what is left are no codes that are always repaired; fixing again does nothing."""
    data = KINDS[name].damage(seed=len(name)).data
    for unsafe in (False, True):
        once, report = files.fix(data, unsafe=unsafe, target="azure")
        twice, again = files.fix(once, unsafe=unsafe, target="azure")
        assert twice == once
        assert not again.changed
        if unsafe and report.remaining.lines and not _kept_whole(report):
            assert {issue.code for issue in report.remaining.errors} <= SHAPELESS
            assert left(report) & set(FIXABLE) <= {"FT307", "FT311", "FT409"}


def _kept_whole(report: FixReport) -> bool:
    """Whether the file is one that is not looked at line by line."""
    return bool(left(report) & {"FT103", "FT105", "FT106", "FT211", "FT212", "FT324"})


# --- the report -------------------------------------------------------------------------------


def test_a_patch_says_where_and_repeats_no_text(files: Files) -> None:
    secret = ROW.replace("Hi", "sesame\t").replace('"Yo"', '"sesame", "weight": true, "name": null')
    _, report = files.fix(f"\n{NUMBERED[0]} {secret},\n")
    found = [(one.code, one.line, one.column, one.new_line) for one in report.patches]
    start = len(NUMBERED[0]) + 2
    assert found == [
        ("FT107", 1, None, None),
        ("FT203", 2, start, 1),
        ("FT202", 2, start + len(secret), 2),
        ("FT207", 2, start + secret.index("\t"), 2),
        ("FT310", 2, start + secret.index("null"), 2),
        ("FT404", 2, start + secret.index("true"), 2),
    ]
    assert report.patches[-1].pointer == "/messages/1/weight"
    assert "sesame" not in report.model_dump_json()
    assert FixReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize("head", ['\ufeff{"a": 1} ', "{'a': True, ", '{"a": True, '])
@pytest.mark.parametrize("unit", ['\\"', "\\'", '"', '\\"\ufeff', '\\"True '])
def test_quotes_that_none_ends_take_no_square_of_their_number(
    files: Files, head: str, unit: str
) -> None:
    start = time.monotonic()
    files.fix(f"{ROW}\n{head}{unit * 20_000}\n", unsafe=True)
    assert time.monotonic() - start < 3  # a fiftieth of it; the square takes ten


@pytest.mark.parametrize("rest", ['"', '"\ufeff True {', '"a\\" \ufeff', '"\\'])
def test_nothing_is_repaired_after_a_quote_that_none_ends(files: Files, rest: str) -> None:
    line = like("]}", f"], {rest}")
    assert files.fix(f"{ROW}\n{line}\n")[0].decode() == f"{ROW}\n{line}\n"


def test_a_place_after_a_translated_row_is_one_in_the_source(files: Files) -> None:
    line = repr(json.loads(like('"Yo"', '"Yo", "name": null')))
    _, report = files.fix(line)
    columns = {one.code: one.column for one in report.patches}
    assert columns == {"FT201": 2, "FT310": line.index("None") + 1}


def test_a_report_stays_small(files: Files) -> None:
    _, report = files.fix(f"{ROW}\n\n" * (MAX_PATCHES + 5) + "{\n" * 3, unsafe=True)
    assert report.repaired == {"FT107": MAX_PATCHES + 5}
    assert len(report.patches) == MAX_PATCHES
    assert report.dropped == {"FT801": MAX_PATCHES + 4, "FT204": 3}
    assert len(report.drops) == MAX_PATCHES


def test_memory_does_not_grow_with_the_file(files: Files) -> None:
    peaks = []
    filler = row(USER.replace("Hi", "x" * 5000), ANSWER)
    for copies in (1_050, 2_100):  # more than the patches that are listed
        files.source.write_text(f"\n{filler}\n" * copies)
        tracemalloc.start()
        fix(files.source, files.out, force=True, max_issues=10)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**19 < files.source.stat().st_size


# --- where it comes from ----------------------------------------------------------------------


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_compressed_source(files: Files, pack: Callable[[bytes], bytes]) -> None:
    fixed, report = files.fix(pack(json.dumps(ROWS, indent=1).encode("utf-16")))
    assert fixed.decode() == CLEAN
    assert report.repaired == {"FT103": 1, "FT211": 1}


def test_a_damaged_source_leaves_nothing_behind(files: Files) -> None:
    files.source.write_bytes(gzip.compress(CLEAN.encode() * 99)[:-20])
    with pytest.raises(DatasetError, match="damaged"):
        fix(files.source, files.out)
    assert files.names() == ["train.jsonl"]


def test_standard_input(files: Files) -> None:
    code = "import sys; from ftjobs.data.fix import fix; fix('-', sys.argv[1])"
    command = [sys.executable, "-c", code, str(files.out)]
    subprocess.run(command, input=f"\n{ROW},\n".encode(), check=True, timeout=60)
    assert files.out.read_text() == f"{ROW}\n"
    assert stat.S_IMODE(files.out.stat().st_mode) == 0o600


def test_a_source_that_changes_meanwhile(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:

    def while_written(*args: Any, **how: Any) -> Iterator[Any]:
        with files.source.open("a") as file:
            file.write(ROW)
        return mend(*args, **how)

    monkeypatch.setattr(run_module, "mend", while_written)
    files.source.write_text(f"{ROW},\n")
    with pytest.raises(DatasetError, match="changed while it was read"):
        fix(files.source, files.out)
    assert files.names() == ["train.jsonl"]


# --- where it goes ----------------------------------------------------------------------------


def test_the_source_is_never_written_over(files: Files) -> None:
    files.source.write_text(CLEAN)
    folder = files.source.parent
    (folder / "soft.jsonl").symlink_to(files.source)
    (folder / "hard.jsonl").hardlink_to(files.source)
    (folder / "up").mkdir()
    for name in ("train.jsonl", "up/../train.jsonl", "soft.jsonl", "hard.jsonl"):
        for force in (False, True):
            with pytest.raises(ConfigError, match="is the file to be repaired"):
                fix(files.source, folder / name, force=force)
        with pytest.raises(ConfigError, match="is the file to be repaired"):
            fix(folder / name, files.source, force=True)
    assert files.source.read_text() == CLEAN


def test_what_exists_is_replaced_only_by_force(files: Files) -> None:
    files.source.write_text(f"{ROW},\n")
    files.out.write_text("precious")
    with pytest.raises(ConfigError, match="exists already"):
        fix(files.source, files.out)
    assert files.out.read_text() == "precious"
    fix(files.source, files.out, force=True)
    assert files.out.read_text() == f"{ROW}\n"
    (files.out.parent / "dangling").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="exists already"):
        fix(files.source, files.out.parent / "dangling")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such/out.jsonl", "no such folder"),
        (".", "not a regular file"),
        ("out.jsonl.gz", "uncompressed"),
        ("out\0.jsonl", "zero byte"),
        ("x" * 300, "too long"),
    ],
)
def test_a_place_that_cannot_be_written(files: Files, name: str, message: str) -> None:
    files.source.write_text(CLEAN)
    with pytest.raises(ConfigError, match=message):
        fix(files.source, files.out.parent / name, force=True)
    assert files.names() == ["train.jsonl"]


def test_a_full_disk(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FtjobsError, match=r"fixed\.jsonl: No space left on device") as caught:
        files.fix(CLEAN)
    assert caught.value.exit_code == ExitCode.FAILED
    assert files.names() == [files.source.name]


def test_a_source_that_is_not_there(files: Files) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        fix(files.source, files.out)
    with pytest.raises(ConfigError, match="unknown target"):
        fix(files.source, files.out, target="nobody")
    assert files.names() == []


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_the_new_file_is_as_private_as_the_source(files: Files, mode: int) -> None:
    files.source.write_text(CLEAN)
    files.source.chmod(mode)
    fix(files.source, files.out)
    assert stat.S_IMODE(files.out.stat().st_mode) == mode & 0o666


def test_killed_in_the_middle_there_is_no_new_file(files: Files) -> None:
    files.source.write_text(f"{ROW}{ROW},\n" * 200_000)
    code = "import sys; from ftjobs.data.fix import fix; fix(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(files.source), str(files.out)]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 60
        while not any(one.stat().st_size for one in files.out.parent.glob(".ftjobs-*.part")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not files.out.exists()


def test_the_new_file_is_checked(files: Files) -> None:
    _, report = files.fix(f"{CLEAN}{ROW.replace('user', 'human')}\n", target="openai")
    assert report.remaining == check(files.out, target="openai", max_issues=1000)
    assert [issue.code for issue in report.remaining.errors] == ["FT306"]

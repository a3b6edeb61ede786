"""Hostile input: whatever a file holds or is, its check ends in bounded time and memory.

What only has to end is checked here, under an alarm; what could fill the memory is checked by a
process of its own, which says how much it took.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import inspect
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, NamedTuple

import pytest
import zstandard

import ftjobs.data
from ftjobs.data import Report, check
from ftjobs.data.fix import fix
from ftjobs.errors import ConfigError
from tests.data.rows import clean_file, clean_lines

SECONDS = 30
"""The longest that any check here may take, on a busy machine; most take a hundredth of it."""

MEGABYTES = 400
"""The most memory that any check here may take, Python and the libraries included (60)."""

CLEAN = clean_file(1, "supervised", 12)
ANSWER = b'{"role": "assistant", "content": "On the shelf."}'


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"no answer within {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# --- a process of its own ---------------------------------------------------------------------

CHILD = """
import json, re, sys, time
from pathlib import Path
from ftjobs.data import check
from ftjobs.errors import ConfigError
said = {"error": "", "issues": [], "lines": 0, "errors": 0, "warnings": 0}
start = time.monotonic()
try:
    report = check(sys.argv[1], max_issues=int(sys.argv[2]))
    said["issues"] = [(one.code, one.line) for one in report.issues]
    said |= {"lines": report.lines, "errors": report.error_count, "warnings": report.warning_count}
    said["longest"] = max((len(str(one)) for one in report.issues), default=0)
except ConfigError as error:
    said["error"] = str(error)
said["seconds"] = time.monotonic() - start
most = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
said["megabytes"] = int(most.group(1)) / 1024
print(json.dumps(said))
"""


class Said(NamedTuple):
    """What the check of a process of its own came to.  `issues` are codes and lines."""

    error: str
    issues: list[tuple[str, int | None]]
    lines: int
    errors: int
    warnings: int
    longest: int = 0
    seconds: float = 0
    megabytes: float = 0

    @property
    def codes(self) -> list[str]:
        """The codes that were found, each once."""
        return sorted({code for code, _ in self.issues})


def child(
    path: Path | str, *, max_issues: int = 1000, megabytes: int = MEGABYTES, **process: Any
) -> Said:
    """Check a file in a process of its own; it has to end in time and within the memory."""
    command = [sys.executable, "-c", CHILD, str(path), str(max_issues)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=True, **process
    )
    said = Said(**json.loads(done.stdout))
    assert said.megabytes < megabytes
    assert said.longest < 1000 + len(str(path)), "an issue repeats the file"
    return said._replace(issues=[(code, line) for code, line in said.issues])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hostile.jsonl"


def codes(report: Report) -> list[str]:
    return sorted({issue.code for issue in report.issues})


def checked(path: Path, data: bytes) -> list[str]:
    """The codes that a file of these bytes is reported with."""
    path.write_bytes(data)
    return codes(check(path, max_issues=1000))


# --- long lines -------------------------------------------------------------------------------


def test_a_gigabyte_on_one_line(file: Path) -> None:
    with file.open("wb") as out:
        out.write(b'{"messages": "' + b"x" * 2**17)
        out.seek(2**30)  # a hole: a gigabyte of zero bytes that takes no disk
        out.write(b'"}\n' + CLEAN)
    said = child(file)
    assert said.issues == [("FT210", 1)]
    assert said.lines == 13


def test_a_gigabyte_of_nothing(file: Path) -> None:
    with file.open("wb") as out:
        out.truncate(2**30)
    assert child(file).issues == [("FT105", None)]


def test_the_longest_line_that_is_read(file: Path) -> None:
    with file.open("wb") as out:
        out.write(b'{"messages": [{"role": "user", "content": "')
        out.write("𝄞é".encode() * (150 * 2**20 // 6))
        out.write(b'"}, ' + ANSWER + b"]}\n" + CLEAN)
    assert child(file, megabytes=1200).issues == []  # the line, its text, and what that says


@pytest.mark.parametrize(
    ("unit", "code"),
    [
        (b",", "FT201"),
        (b'"', "FT201"),
        (b"\\", "FT201"),
        (b"[", "FT209"),
        (b'{"a":', "FT209"),
        (b"]", "FT201"),
        (b":", "FT201"),
        (b" ", "FT107"),
        (b"-", "FT201"),
        (b"9", "FT208"),
        (b"0.", "FT201"),
        (b"[],", "FT202"),
        (b'"\\u0022', "FT201"),
        (b"NaN", "FT201"),
        (b"\xef\xbb\xbf", "FT102"),
        (b"\x80", "FT104"),
        (b"\xf0\x9f\x98\x80", "FT201"),
    ],
    ids=repr,
)
def test_ten_million_of_the_same(file: Path, unit: bytes, code: str) -> None:
    file.write_bytes(CLEAN.rstrip() + b"\n" + unit * (10**7 // len(unit)))
    said = child(file)
    assert (code, 13) in said.issues
    assert {line for _, line in said.issues} == {13}


WHERE = {
    "a line": b"%s",
    "a key": b'{"%s": 1}',
    "messages": b'{"messages": %s}',
    "a role": b'{"messages": [{"role": "%s", "content": "x"}, ' + ANSWER + b"]}",
    "a content": b'{"messages": [{"role": "user", "content": "%s"}, ' + ANSWER + b"]}",
    "a name": b'{"messages": [{"role": "user", "name": "%s", "content": "x"}, ' + ANSWER + b"]}",
    "an image": b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": '
    b'{"url": "%s"}}]}, ' + ANSWER + b"]}",
    "arguments": b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", '
    b'"tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "%s"}}'
    b"]}]}",
    "parameters": b'{"messages": [{"role": "user", "content": "x"}, ' + ANSWER + b'], "tools": '
    b'[{"type": "function", "function": {"name": "f", "parameters": {"default": %s}}}]}',
}


@pytest.mark.parametrize("where", ["a line", "messages", "parameters"])
@pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nested_a_hundred_thousand_deep(
    file: Path, where: str, opens: bytes, closes: bytes
) -> None:
    deep = opens * 100_000 + b"1" + closes * 100_000
    assert checked(file, CLEAN.rstrip() + b"\n" + WHERE[where] % deep) == ["FT209"]


@pytest.mark.parametrize("deep", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_arguments_nested_a_hundred_thousand_deep(file: Path, deep: bytes) -> None:
    inner = b'{\\"a\\": ' + deep + b"}"
    assert checked(file, WHERE["arguments"] % inner + b"\n" + CLEAN) == ["FT414"]


@pytest.mark.parametrize("where", ["a key", "a role", "a name", "a content", "an image"])
def test_ten_megabytes_where_a_word_should_be(file: Path, where: str) -> None:
    file.write_bytes(WHERE[where] % (b"x" * 10**7) + b"\n" + CLEAN)
    assert {line for _, line in child(file).issues} <= {1}  # and no issue repeats the word


@pytest.mark.parametrize(
    "number",
    [
        *(b"1e999999", b"-1e999999", b"1e" + b"9" * 10**6, b"-" + b"8" * 400 + b".5"),
        *(b"9" * 4301, b"9" * 10**6, b"1" + b"0" * 10**6 + b"e-9"),
    ],
    ids=len,
)
def test_huge_numbers(file: Path, number: bytes) -> None:
    assert checked(file, WHERE["parameters"] % number + b"\n" + CLEAN) == ["FT208"]


@pytest.mark.parametrize(
    "number", [b"0." + b"3" * 10**6, b"1e-" + b"9" * 10**5, b"0e" + b"9" * 5000, b"9" * 308]
)
def test_numbers_that_are_long_but_fit(file: Path, number: bytes) -> None:
    assert set(checked(file, WHERE["parameters"] % number + b"\n" + CLEAN)) <= {"FT426"}


# --- many of something ------------------------------------------------------------------------


def test_blank_lines(file: Path) -> None:
    file.write_bytes(b"\n" * 400_000 + CLEAN)
    said = child(file, max_issues=10)
    assert said.issues == [("FT107", line) for line in range(1, 11)]
    assert (said.lines, said.warnings) == (400_012, 400_000)


def test_broken_lines(file: Path) -> None:
    file.write_bytes(b"{}\n" * 100_000)
    said = child(file, max_issues=10)
    assert said.issues == [("FT303", line) for line in range(1, 11)]
    assert said.errors == 100_000


def test_a_key_three_hundred_thousand_times(file: Path) -> None:
    file.write_bytes(b"{" + b",".join([b'"a":1'] * 300_000) + b"}\n" + CLEAN)
    said = child(file)
    assert said.codes == ["FT205", "FT303"]
    assert said.errors == 300_000


def test_more_values_than_a_line_may_hold(file: Path) -> None:
    more = b"[" + b"1," * 2**20 + b"1]"
    assert checked(file, WHERE["messages"] % more + b"\n" + CLEAN) == ["FT210"]


@pytest.mark.parametrize(
    ("message", "code"), [(b"1", "FT302"), (b'{"role":"bot"}', "FT306"), (b"{}", "FT303")]
)
def test_a_hundred_thousand_mistakes_on_one_line(file: Path, message: bytes, code: str) -> None:
    many = b"[" + (message + b",") * 100_000 + ANSWER + b"]"
    file.write_bytes(WHERE["messages"] % many + b"\n" + CLEAN)
    said = child(file)
    assert said.issues == [(code, 1)] * 100
    assert said.errors == 100_000


# --- bytes that are no text -------------------------------------------------------------------


def not_utf_8() -> list[bytes]:
    """A sequence of every kind that UTF-8 forbids."""
    lone = [bytes([byte]) for byte in (*range(0x80, 0xC2), *range(0xF5, 0x100))]
    cut = [lead + b"\x80" * more for lead, more in ((b"\xc2", 0), (b"\xe1", 1), (b"\xf1", 2))]
    overlong = [b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf"]
    surrogates = [b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80"]
    beyond = [b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]
    return [*lone, *cut, *overlong, *surrogates, *beyond]


@pytest.mark.parametrize("where", ["a line", "a key", "a role", "a content", "arguments"])
def test_what_is_not_utf_8(file: Path, where: str) -> None:
    for bad in not_utf_8():
        file.write_bytes(CLEAN.rstrip() + b"\n" + WHERE[where] % bad + b"\n" + CLEAN)
        found = [(one.code, one.line) for one in check(file, ignore=["FT8"]).errors]
        assert ("FT104", 13) in found, bad
        assert {line for _, line in found} == {13}, bad


# --- compressed -------------------------------------------------------------------------------


def gzip_bomb(member: bytes, times: int) -> bytes:
    """Many gzip members, each the same: as one, it would take minutes to make."""
    return gzip.compress(member, 9) * times


ROW = b'{"messages": [{"role": "user", "content": "Hi"}, ' + ANSWER + b"]}\n"
BOMBS = {
    "gzip": lambda unit: gzip_bomb(unit * (2**26 // len(unit)), 200),  # 13 GB
    "zstd": lambda unit: zstandard.compress(unit * (2**26 // len(unit))) * 200,
}


@pytest.mark.parametrize("unit", [b" ", b"x", ROW], ids=["spaces", "letters", "rows"])
@pytest.mark.parametrize("kind", BOMBS)
def test_bombs(file: Path, kind: str, unit: bytes) -> None:
    file.write_bytes(BOMBS[kind](unit))
    said = child(file, max_issues=10)
    assert "FT109" in said.codes


def test_a_bomb_that_begins_well(file: Path) -> None:
    bomb = gzip_bomb(b" " * 2**26, 200)
    file.write_bytes(gzip.compress(CLEAN.rstrip() + b"\n") + bomb)
    said = child(file)
    assert "FT109" in said.codes
    assert {line for _, line in said.issues} <= {13, 14}


def test_packed_twice(file: Path) -> None:
    for outer in (gzip.compress, zstandard.compress):
        for inner in (gzip.compress, zstandard.compress, bz2.compress):
            assert checked(file, outer(inner(CLEAN))) == ["FT105"]


def test_a_bomb_in_a_bomb(file: Path) -> None:
    file.write_bytes(gzip.compress(gzip_bomb(b"\n" * 2**26, 2000)))
    assert child(file).codes[0] == "FT105"


def test_a_window_of_two_gigabytes(file: Path) -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    file.write_bytes(packed.compress(CLEAN * 100) + packed.flush())
    assert child(file).codes in ([], ["FT110"], ["FT801"])


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
SMALL = b"\n".join(clean_lines(Random(3), "supervised", 10))[:3000].rpartition(b"\n")[0]


@pytest.mark.parametrize("kind", PACKERS)
def test_cut_anywhere(file: Path, kind: str) -> None:
    packed = PACKERS[kind](SMALL)
    for end in range(5, len(packed), 7):
        found = checked(file, packed[:end])
        assert "FT110" in found, end


@pytest.mark.parametrize("kind", PACKERS)
def test_damaged_anywhere(file: Path, kind: str) -> None:
    packed = PACKERS[kind](SMALL)
    for at in range(10, len(packed), 7):
        damaged = bytearray(packed)
        damaged[at] ^= 0x55
        assert checked(file, bytes(damaged)) != ["FT502"], at


@pytest.mark.parametrize("kind", PACKERS)
def test_more_after_the_end(file: Path, kind: str) -> None:
    packed = PACKERS[kind](CLEAN.rstrip() + b"\n")
    assert checked(file, packed + packed) == ["FT801"]
    assert checked(file, packed + b"more") == ["FT110"]


# --- what a path may be -----------------------------------------------------------------------


def refused(path: Path | str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check(path)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/full", "/dev/tty"])
def test_devices(path: str) -> None:
    refused(path, "not a regular file")


def test_a_pipe_that_nobody_writes_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a regular file")


def test_a_pipe_that_is_never_closed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(writer, CLEAN)
    refused(tmp_path / "pipe", "not a regular file")
    os.close(writer)


def test_paths_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "file").write_bytes(CLEAN)
    refused(tmp_path / "loop", "symbolic links")
    refused(tmp_path / "nowhere", "no such file")
    refused(tmp_path / "file" / "inside", "Not a directory")
    refused(tmp_path / ("x" * 300), "too long")
    refused(tmp_path, "a folder")
    refused("", "a folder")
    refused(f"{tmp_path}/a\0b", "zero byte")
    refused("/proc/self/mem", "error")


AS_NOBODY = """
import os, sys
from ftjobs.data import check
from ftjobs.errors import ConfigError
if os.geteuid() == 0:
    check(sys.argv[1])  # loads all that it needs, which nobody may be unable to read
    os.seteuid(65534)
try:
    check(sys.argv[1])
except ConfigError as error:
    print(error)
"""


def test_a_file_that_may_not_be_read(file: Path) -> None:
    file.write_bytes(CLEAN)
    file.chmod(0)
    command = [sys.executable, "-c", AS_NOBODY, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    assert "Permission denied" in done.stdout


ODD_NAMES = ("a\nb", "\x1b[2J", "a\rb", "名前 😀", "-", "-x", "a\udcffb", "'$(x)", "\u202egpj")


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["plain", "json"])
def test_names_that_are_odd(tmp_path: Path, options: list[str]) -> None:
    paths = [tmp_path / f"{name}.jsonl" for name in ODD_NAMES]
    for path in paths:
        path.write_bytes(CLEAN.rstrip() + b"\n{}\n")
        assert [(one.path, one.line) for one in check(path).issues] == [(str(path), 13)]
    command = [sys.executable, "-m", "ftjobs", "data", "check", *options, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 3
    assert done.stdout.count(b"FT303") >= len(paths)
    assert b"Traceback" not in done.stderr
    assert not re.search(rb"[\x00-\x09\x0b-\x1f]", done.stdout + done.stderr)


# --- standard input ---------------------------------------------------------------------------


def test_standard_input_that_ends() -> None:
    said = child("-", input=(CLEAN.rstrip() + b"\n{}\n").decode())
    assert said.issues == [("FT303", 13)]


def test_standard_input_without_anything() -> None:
    assert child("-", input="").issues == [("FT501", None)]


def test_a_gigabyte_through_a_pipe(tmp_path: Path) -> None:
    script = "import sys; x = b'x' * 2**20\nfor _ in range(1024): sys.stdout.buffer.write(x)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writer:
        said = child("-", stdin=writer.stdout)
    assert said.issues[0] == ("FT210", 1)


def test_a_bomb_through_a_pipe() -> None:
    command = [sys.executable, "-c", CHILD, "-", "10"]
    bomb = gzip_bomb(b"x" * 2**26, 200)
    done = subprocess.run(command, input=bomb, capture_output=True, timeout=SECONDS, check=True)
    assert "FT109" in {code for code, _ in json.loads(done.stdout)["issues"]}


def test_standard_input_that_is_closed() -> None:
    command = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", CHILD, "-", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert json.loads(done.stdout)["error"]


# --- files that change ------------------------------------------------------------------------

MANY = b"\n".join(clean_lines(Random(5), "supervised", 2500)) + b"\n"


def appended(path: Path) -> None:
    with path.open("ab") as out:
        out.write(CLEAN)


def cut_short(path: Path) -> None:
    os.truncate(path, len(MANY) // 2)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def overwritten(path: Path) -> None:
    with path.open("r+b") as out:
        out.write(b"x" * len(MANY))


def deleted(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(b"{}\n")
    other.replace(path)


def made_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def during(path: Path, change: Callable[[Path], None], **options: Any) -> Report:
    """Check a file that changes when its first line has been looked at."""
    waiting = [change]

    def look(line: bytes) -> Iterator[Any]:
        if waiting:
            waiting.pop()(path)
        return iter(())

    return check(path, inspectors=[look], max_issues=1000, **options)


@pytest.mark.parametrize("change", [appended, cut_short, emptied, overwritten])
def test_a_file_that_changes_while_it_is_read(file: Path, change: Callable[[Path], None]) -> None:
    file.write_bytes(MANY)
    assert "FT504" in codes(during(file, change))


@pytest.mark.parametrize("change", [deleted, replaced, made_a_pipe, made_a_folder])
def test_a_path_that_changes_while_the_file_is_read(
    file: Path, change: Callable[[Path], None]
) -> None:
    file.write_bytes(MANY)
    report = during(file, change)
    assert (report.lines, set(codes(report)) - {"FT504"}) == (2500, set())


def test_a_compressed_file_that_is_cut_while_it_is_read(file: Path) -> None:
    packed = gzip.compress(MANY, 1)
    file.write_bytes(packed)
    found = codes(during(file, lambda path: os.truncate(path, 100)))
    assert "FT504" in found


def test_a_file_that_grows_faster_than_it_is_read(file: Path) -> None:
    file.write_bytes(MANY)

    def look(line: bytes) -> Iterator[Any]:
        with file.open("ab") as out:
            out.write(line * 2)
        return iter(())

    assert "FT504" in codes(check(file, inspectors=[look], max_issues=10))


FLIP = """
import os, sys, time
path, end = sys.argv[1], time.monotonic() + 3
while time.monotonic() < end:
    os.mkfifo(path + ".p"); os.replace(path + ".p", path)
    open(path + ".f", "wb").close(); os.replace(path + ".f", path)
"""


def test_a_file_that_becomes_a_pipe_before_it_is_opened(file: Path) -> None:
    file.write_bytes(b"")
    with subprocess.Popen([sys.executable, "-c", FLIP, str(file)]) as flipper:
        while flipper.poll() is None:
            with contextlib.suppress(ConfigError):
                check(file)


# --- patterns ---------------------------------------------------------------------------------

UNITS = (
    *("a", "A", "0", " ", "\t", "\n", '"', "\\", "<", ">", "|", "<|", "[", "{", "}", ".", "-", "_"),
    *("@", "a@", "a.", "@a.", "a@a.", "0-", "0 ", "(0) ", "+0", ":", "://", "a:", "a://", "/", "="),
    *("a=", "%", "-----BEGIN ", "-----BEGIN A KEY-----\n", "eyJ", "eyJa.", "sk-", "sk-a", "ghp_"),
    *("AKIA", "xoxb-", "é", "あ", "\u200b", "😀", "1.", "1,", '\\"', "\\\\", "\\u0022", "</s> "),
    *("password: ", "token=a ", "0.0.0.", "ab:", "4111 ", "GB00 ", "a,", "a;", "<a>", "x-"),
)
"""What patterns with a weak spot for repetition are weak for."""


LOOKS = ("match", "fullmatch", "search", "finditer", "findall", "sub", "subn", "split")


class Pattern(NamedTuple):
    """A compiled pattern of `ftjobs.data`, and how its module looks with it."""

    pattern: re.Pattern[Any]
    looks: tuple[str, ...]


def patterns() -> Iterator[tuple[str, Pattern]]:
    """Every pattern that a module keeps, by itself or in a table."""
    for info in pkgutil.walk_packages(ftjobs.data.__path__, "ftjobs.data."):
        module = importlib.import_module(info.name)
        source = inspect.getsource(module)
        for name, value in vars(module).items():
            if name in source.replace(f"import {name}", ""):
                used = tuple(look for look in LOOKS if re.search(rf"\b{name}\.{look}\b", source))
                for one in _patterns(value):
                    yield (
                        f"{info.name}.{name} {one.pattern[:30]!r}",
                        Pattern(one, used or LOOKS[:4]),
                    )


def _patterns(value: object, depth: int = 4) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, dict | list | tuple | set | frozenset):
        inside = [*value, *value.values()] if isinstance(value, dict) else value
        for one in inside:
            yield from _patterns(one, depth - 1)


CUT = {"sniff._HEADER": 500, "private._KEY_BEFORE": 16}
"""Patterns that only ever see so many characters of a text."""

ONCE = ("content._MAGIC", "json_rows._TOKEN")
"""Patterns of tables that are matched at the start, or of a loop that ends where they fail."""

ELSEWHERE = "ftjobs.data.fix."
"""Its patterns see what others have looked at: whole repairs are tested instead."""

PATTERNS = {
    name: one._replace(looks=("match",)) if any(f".{known} " in name for known in ONCE) else one
    for name, one in patterns()
    if not name.startswith(ELSEWHERE)
}


def looked(pattern: Pattern, text: str) -> None:
    """Look in a text in the ways that the module does, and go through all that is found."""
    given = text.encode() if isinstance(pattern.pattern.pattern, bytes) else text
    for look in pattern.looks:
        empty = (given[:0],) if look in {"sub", "subn"} else ()
        found = getattr(pattern.pattern, look)(*empty, given)
        if look == "finditer":
            sum(1 for _ in found)


def seconds(pattern: Pattern, text: str) -> float:
    """How long that takes, the machine's other work aside: the better of two."""
    took = []
    for _ in range(2):
        start = time.monotonic()
        looked(pattern, text)
        took.append(time.monotonic() - start)
        if took[-1] < QUICK:
            break
    return min(took)


QUICK = 0.25
"""Seconds for 10,000 characters: linear patterns take a hundredth, quadratic ones more."""


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_is_slow_where_texts_repeat(name: str) -> None:
    size = next((size for known, size in CUT.items() if f".{known} " in name), 10_000)
    for unit in UNITS:
        assert seconds(PATTERNS[name], unit * (size // len(unit)) + "!") < QUICK, unit


REPAIRED = {
    "mark": b'\xef\xbb\xbf{"a": 1} ',
    "Python": b"{'a': True, ",
    "comma": b'{"a": 1,} ',
    "arguments": WHERE["arguments"].partition(b"%s")[0],
}


@pytest.mark.parametrize("head", REPAIRED)
def test_repairs_of_lines_that_repeat(file: Path, head: str) -> None:
    lines = [
        REPAIRED[head] + unit * 50_000 for unit in (b'\\"', b'"', b"\\", b"'", b"{", b"[", b",")
    ]
    file.write_bytes(CLEAN.rstrip() + b"\n" + b"\n".join(lines))
    fix(file, file.with_name("fixed.jsonl"), unsafe=True)  # in time: the alarm is the assertion


def test_texts_that_repeat(file: Path) -> None:
    with file.open("wb") as out:
        for unit in UNITS:
            said = json.dumps(unit * (200_000 // len(unit)), ensure_ascii=False)
            out.write(WHERE["a content"].replace(b'"%s"', said.encode()) + b"\n")
    assert "FT104" not in child(file).codes

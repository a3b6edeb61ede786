"""Kinds of damage to bytes, to JSON and to files as a whole."""

from __future__ import annotations

import bz2
import csv
import io
import json
import lzma
import re
from random import Random

from tests.data.mutations import (
    Expected,
    Result,
    blanked,
    inside,
    on_file,
    on_line,
    place,
    put_inside,
    replaced,
)
from tests.data.rows import joined, row

Line = tuple[bytes, str]
BOM = b"\xef\xbb\xbf"

# --- bytes ------------------------------------------------------------------------------------


@on_file()
def byte_order_mark_at_the_start(rng: Random, lines: list[bytes]) -> Result:
    return BOM + joined(rng, lines), [Expected("FT101", 1, "")]


@on_file()
def files_with_byte_order_marks_joined(rng: Random, lines: list[bytes]) -> Result:
    at = rng.randrange(1, len(lines))
    lines[at] = BOM + lines[at]
    return joined(rng, lines), [Expected("FT102", at + 1, "")]


@on_line()
def byte_order_mark_between_values(rng: Random, line: str) -> Line:
    return replaced(line, place(rng, line, r"(?<=[,:] )"), BOM.decode()), "FT102"


@on_file()
def wide_characters(rng: Random, lines: list[bytes]) -> Result:
    width = rng.choice(("utf-16", "utf-32"))
    code = width + rng.choice(("", "-le", "-be"))
    return joined(rng, lines).decode().encode(code), [Expected("FT103", None, "")]


@on_line()
def one_byte_of_latin_1(rng: Random, line: str) -> Line:
    return put_inside(rng, line, "é ".encode("latin-1")), "FT104"


@on_line(also="FT201 FT202 FT203 FT204 FT207")  # its second bytes may be quotes and backslashes
def shift_jis(rng: Random, line: str) -> Line:
    at = inside(rng, line)
    said = f"{line[:at]}{rng.choice(('表示ソ', '注文の電球', 'カバン'))}{line[at:]}"
    return said.encode("shift_jis", errors="replace"), "FT104"


@on_line()
def overlong_utf_8(rng: Random, line: str) -> Line:
    bad = (b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xc0\x80")
    return put_inside(rng, line, rng.choice(bad)), "FT104"


@on_line()
def surrogates_as_utf_8(rng: Random, line: str) -> Line:
    bad = (b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80")
    return put_inside(rng, line, rng.choice(bad)), "FT104"


@on_line()
def beyond_unicode(rng: Random, line: str) -> Line:
    bad = (b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xfe", b"\xfc\x84\x80\x80\x80\x80")
    return put_inside(rng, line, rng.choice(bad)), "FT104"


@on_line()
def stray_continuation_bytes(rng: Random, line: str) -> Line:
    return put_inside(rng, line, b"x" + b"\x80" * rng.randint(1, 4)), "FT104"


@on_line()
def character_cut_in_half(rng: Random, line: str) -> Line:
    whole = rng.choice("éあ語😀").encode()
    return put_inside(rng, line, whole[: rng.randrange(1, len(whole))] + b"x"), "FT104"


@on_line()
def bad_byte_between_values(rng: Random, line: str) -> Line:
    at = place(rng, line, r"(?<=[,:{}\[\]])").start()
    return line[:at].encode() + b"\xa0" + line[at:].encode(), "FT104"


@on_file()
def many_zero_bytes(rng: Random, lines: list[bytes]) -> Result:
    data = joined(rng, lines)
    at = rng.randrange(min(len(data), 2**16))
    zeros = bytes(min(len(data), 2**16) // 500 + 9)
    return data[:at] + zeros + data[at:], [Expected("FT105", None, "")]


@on_file()
def binary_file(rng: Random, lines: list[bytes]) -> Result:
    magic = (b"PK\x03\x04", b"PAR1", b"ARROW1", b"SQLite format 3\x00", b"%PDF-1.7\n")
    return rng.choice(magic) + rng.randbytes(rng.randint(0, 500)), [Expected("FT105", None, "")]


@on_file()
def compressed_as_nobody_reads_it(rng: Random, lines: list[bytes]) -> Result:
    pack = rng.choice((bz2.compress, lzma.compress))
    return pack(joined(rng, lines)), [Expected("FT105", None, "")]


@on_file()
def blank_lines(rng: Random, lines: list[bytes]) -> Result:
    for _ in range(rng.randint(1, 3)):
        lines.insert(rng.randrange(len(lines)), rng.choice((b"", b"  ", b"\t", b" \t ")))
    blank = [at for at, line in enumerate(lines, start=1) if not line.strip()]
    return joined(rng, lines), [Expected("FT107", at, "") for at in blank]


@on_line(also="FT604")
def half_an_emoji(rng: Random, line: str) -> Line:
    halves = (b"\\ud83d", b"\\uDE00", b"\\ude00\\ud83d", b"\\ud83d\\ud83d", b"\\ud83d\\u0041")
    return put_inside(rng, line, rng.choice(halves)), "FT108"


# --- JSON -------------------------------------------------------------------------------------


@on_line()
def python_instead_of_json(rng: Random, line: str) -> Line:
    return repr(json.loads(line)).encode(), "FT201"


@on_line("supervised", forms=["weighted"])
def word_that_is_not_json(rng: Random, line: str) -> Line:
    words = ("True", "None", "undefined", "yes", "0x1", "+1", ".5", "01", "1.", "1e", "-", "'1'")
    return replaced(line, place(rng, line, r"(?<=: )[01]"), rng.choice(words)), "FT201"


@on_line()
def other_quotes(rng: Random, line: str) -> Line:
    quoted = place(rng, line, r'"_+"')
    left, right = rng.choice(("‘’", "“”", "''", "``", "«»"))
    word = line[quoted.start() + 1 : quoted.end() - 1]
    return replaced(line, quoted, f"{left}{word}{right}"), "FT201"


@on_line()
def colon_or_comma_missing(rng: Random, line: str) -> Line:
    return replaced(line, place(rng, line, r"[:,] "), " "), "FT201"


@on_line(also="FT604")
def unknown_escape(rng: Random, line: str) -> Line:
    bad = (b"\\x41", b"\\'", b"\\u12G4", b"\\a", b"\\ ", b"\\U0001F600", b"\\u{1F600}", b"\\0")
    return put_inside(rng, line, rng.choice(bad)), "FT201"


@on_line()
def words_after_the_object(rng: Random, line: str) -> Line:
    rest = rng.choice((" x", "}", "]", " // end", ";", " 1", '"', "\x00", "\u2028", "\u3000"))
    return f"{line}{rest}".encode(), "FT201"


@on_line()
def words_before_the_object(rng: Random, line: str) -> Line:
    start = rng.choice(("data: ", "// ", ",", "\u00a0", "\x0b", "\u200b", "1. ", "- ", ")]}'"))
    return f"{start}{line}".encode(), "FT201"


@on_line()
def trailing_comma(rng: Random, line: str) -> Line:
    comma = rng.choice((",", " ,", ", "))
    return replaced(line, place(rng, line, r"(?=[\]}])"), comma), "FT202"


@on_line()
def comma_after_the_object(rng: Random, line: str) -> Line:
    return f"{line}{rng.choice((',', ' ,', ',  '))}".encode(), "FT202"


@on_file()
def line_feed_lost(rng: Random, lines: list[bytes]) -> Result:
    at = rng.randrange(len(lines) - 1)
    lines[at : at + 2] = [lines[at] + rng.choice((b"", b" ", b"\t", b"\r")) + lines[at + 1]]
    few = [Expected("FT502", None, "")] if len(lines) < 10 else []
    return joined(rng, lines), [Expected("FT203", at + 1, ""), *few]


@on_line()
def cut_inside_a_text(rng: Random, line: str) -> Line:
    return line[: inside(rng, line)].encode(), "FT204"


@on_line()
def cut_between_values(rng: Random, line: str) -> Line:
    return line[: place(rng, line, r'(?<=[{\[,:"])(?!_)').start()].encode(), "FT204"


@on_file("supervised")
def raw_line_feed_in_a_text(rng: Random, lines: list[bytes]) -> Result:
    at = rng.randrange(len(lines))
    broken = json.dumps(row(rng, "supervised", -at, form="plain")).encode()
    lines[at] = broken.replace(b'"content": "', b'"content": "first\nand then ', 1)
    return joined(rng, lines), [Expected("FT204", at + 1), Expected("FT201", at + 2, "")]


@on_line(also="FT302")
def key_twice(rng: Random, line: str) -> Line:
    first = place(rng, line, r'"_+"(?=: )')
    key = line[first.start() + 1 : first.end() - 1]
    other = f"\\u{ord(key[0]):04x}{key[1:]}" if rng.random() < 0.5 else key
    return f'{line[: first.start()]}"{other}": 0, {line[first.start() :]}'.encode(), "FT205"


@on_line("supervised", forms=["weighted"], also="FT402 FT404")
def no_number(rng: Random, line: str) -> Line:
    words = ("NaN", "Infinity", "-Infinity")
    return replaced(line, place(rng, line, r"(?<=: )[01]"), rng.choice(words)), "FT206"


@on_line(also="FT306 FT604")
def raw_control_character(rng: Random, line: str) -> Line:
    char = rng.choice([code for code in range(1, 32) if chr(code) != "\n"])
    return put_inside(rng, line, bytes([char])), "FT207"


@on_line(also="FT604")
def one_zero_byte(rng: Random, line: str) -> Line:
    return put_inside(rng, line, b"x" * 1000 + b"\x00"), "FT207"


@on_line("supervised", forms=["weighted"], also="FT402 FT404")
def number_out_of_range(rng: Random, line: str) -> Line:
    numbers = ("1e999", "-1e400", "9" * 400, "1" + "0" * 5000, f"1e{'9' * 50}", "-" + "8" * 400)
    return replaced(line, place(rng, line, r"(?<=: )[01]"), rng.choice(numbers)), "FT208"


@on_file()
def one_json_list(rng: Random, lines: list[bytes]) -> Result:
    rows = [json.loads(line) for line in lines]
    one_a_line = b"[\n" + b",\n".join(lines) + b"\n]\n"
    whole = json.dumps(rows, indent=rng.choice((None, 2, 4))).encode()
    return rng.choice((whole, one_a_line)), [Expected("FT211", None, "")]


@on_file()
def objects_over_several_lines(rng: Random, lines: list[bytes]) -> Result:
    indent = rng.choice((2, 4, "\t"))
    spread = [json.dumps(json.loads(line), indent=indent).encode() for line in lines]
    return joined(rng, spread), [Expected("FT212", None, "")]


# --- the file as a whole ----------------------------------------------------------------------


@on_file()
def nothing_in_the_file(rng: Random, lines: list[bytes]) -> Result:
    return b"", [Expected("FT501", None, "")]


@on_file()
def only_blank_lines(rng: Random, lines: list[bytes]) -> Result:
    blank = [rng.choice((b"\n", b" \r\n", b"\t\n")) for _ in range(rng.randint(1, 9))]
    blanks = [Expected("FT107", at, "") for at in range(1, len(blank) + 1)]
    return b"".join(blank), [*blanks, Expected("FT501", None, "")]


@on_file()
def too_few_rows(rng: Random, lines: list[bytes]) -> Result:
    return joined(rng, lines[: rng.randint(1, 9)]), [Expected("FT502", None, "")]


@on_file("supervised")
def rows_of_another_method(rng: Random, lines: list[bytes]) -> Result:
    others = sorted(rng.sample(range(1, len(lines)), rng.randint(1, 3)))
    for at in others:
        lines[at] = json.dumps(row(rng, "dpo", -at)).encode()
    return joined(rng, lines), [Expected("FT503", at + 1, "") for at in others]


@on_file("dpo")
def supervised_row_among_preferences(rng: Random, lines: list[bytes]) -> Result:
    at = rng.randrange(1, len(lines))
    lines[at] = json.dumps(row(rng, "supervised", -at)).encode()
    return joined(rng, lines), [Expected("FT503", at + 1, "")]


@on_file()
def table(rng: Random, lines: list[bytes]) -> Result:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=rng.choice(",\t;"))
    writer.writerow(rng.choice((("instruction", "output"), ("prompt", "completion", "id"))))
    writer.writerows((re.sub(r"\W", " ", blanked(line.decode())), 1, 2) for line in lines)
    return file.getvalue().encode(), [Expected("FT324", None, "")]

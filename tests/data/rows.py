"""Clean rows of every method, as varied as real files: what the checker must never complain about.

Only the standard library, so that the benchmark can use it too.  A seed decides every byte.

    clean_file(seed=7, method="dpo", rows=12)      # the bytes of a file
    row(Random(7), "supervised", 0, form="tools")  # one row, before it is spelled
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

Row = dict[str, Any]

METHODS = ("supervised", "dpo", "reinforcement", "completion")

# --- texts ------------------------------------------------------------------------------------


def _split(text: str) -> list[str]:
    return text.split(" ")  # and not at the thin and joining characters that str.split() knows


_ENGLISH = _split(
    "lamp shelf order parcel invoice colour window garden river signal engine harbour basket "
    "letter mirror copper winter orange silver market bridge kettle anchor velvet ladder pencil "
    "carpet tunnel candle forest island meadow ribbon saddle temple valley walnut yellow zipper "
    "arrives breaks carries delivers explains finds gathers holds improves joins keeps lends "
    "measures notices opens paints quickly slowly rarely often never always beside under above "
    "between without towards because although while until unless whether heavy bright narrow "
    "quiet broken gentle sudden honest clever patient curious hollow steady frozen rusty tidy"
)
_JAPANESE = _split(
    "注文 配送 返品 電球 棚 請求書 窓 庭 橋 港 手紙 鏡 冬 市場 島 森 谷 静か 明るい 狭い 重い "
    "しばらく ときどき いつも ゆっくり 届きます 壊れました 見つけました 説明します 測ります "
    "カバン ランプ エンジン シグナル バスケット ｶﾀｶﾅ 全角ＡＢＣ １２３ 〜 「引用」 ・ ー 々"
)
_ARABIC = _split(
    "المصباح الرف الطلب الفاتورة النافذة الحديقة الجسر الميناء يصل ببطء دائما هادئ ثقيل"
)
_PERSIAN = _split(
    "می\u200cخواهم کتاب\u200cها نمی\u200cدانم خانه\u200cای می\u200cرسد پنجره نامه آهسته همیشه"
)
_HINDI = _split("नमस्ते क्ष\u200dत्र दीपक पुस्तक खिड़की बगीचा हमेशा धीरे")
_EMOJI = _split("😀 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 👍🏽 🇯🇵 1️⃣ ❤️ 🧑🏿\u200d🚀 ✅ 🫠 🏴󠁧󠁢󠁥󠁮󠁧󠁿")
_EUROPEAN = _split("Größe naïve façade Łódź žluťoučký søt ñandú Ελλάδα Привет e\u0301te\u0301 ﬁn")
_WORDS: tuple[tuple[list[str], str, str], ...] = (  # words, what joins them, what ends them
    (_ENGLISH, " ", "."),
    (_ENGLISH, " ", "?"),
    (_ENGLISH, " ", "!"),
    (_JAPANESE, "", "。"),
    (_ARABIC, " ", "؟"),
    (_PERSIAN, " ", "."),
    (_HINDI, " ", "।"),
    ([*_ENGLISH, *_EMOJI * 3], " ", " 🎉"),
    ([*_ENGLISH, *_EUROPEAN * 4], " ", "…"),
)
_SNIPPETS = (
    "```python\ndef f(x: int) -> int:\n\treturn x ** 2  # {0}\n```",
    '```json\n{{"messages": [{{"role": "user", "content": "{0}"}}], "n": null}}\n```',
    'C:\\new\\table\\{0}.txt and "quoted \\" text"',
    '<div class="row">\r\n  <p>{0} &amp; more &lt;b&gt;</p>\r\n</div><!-- end -->',
    "$\\frac{{a}}{{b}} \\le \\sum_{{i=1}}^{{n}} x_i$ where x = {0} and ∀ε>0 ∃δ: |x−y|<δ ⇒ ≤ 3.14",
    "| a | b |\n|---|:-:|\n| {0} | ~~no~~ **yes** |\n\n1. one\n2. two\n   - nested",
    "SELECT name, count(*) FROM parts WHERE id <> '{0}' AND n >= 10 GROUP BY 1; -- all",
    "On 2026-11-03 at 12:30 version 1.4.2 cost ¥1,280 (−12.5 %), about 3/4 of {0}.",
    '#include <stdio.h>\nint main(void) {{ printf("%d\\n", {0}); return 0; }}',
    "Yes: `x < y || y > z` [a](b) <|> <- -> => |> {0} :-) ;) <3 ^_^ ¯\\_(ツ)_/¯",
    "https://docs.lamps.example/guide/{0}?lang=en&page=2#top",
)


def words(rng: Random, serial: int) -> str:
    """A sentence, or a piece of code, mark-up or mathematics.

    As in most files, most rows are English; one in twelve mixes the languages of the world.
    """
    if rng.random() < 0.06:
        return rng.choice(_SNIPPETS).format(serial)
    lexicon, joint, end = rng.choice(_WORDS if serial % 12 == 3 else _WORDS[:3])
    return joint.join(rng.choices(lexicon, k=rng.randint(4, 18))) + end


def text(rng: Random, serial: int, *, share_of_long: float = 0.004) -> str:
    """What a message says: mostly a line or three, now and then pages."""
    if rng.random() < share_of_long:
        return "\n\n".join(words(rng, serial) for _ in range(rng.randint(40, 120)))
    return rng.choice(("\n", " ", "\n\n", "\r\n")).join(
        words(rng, serial) for _ in range(rng.choice((1, 1, 2, 3)))
    )


def asked(rng: Random, serial: int) -> str:
    """A prompt that no other row of the file has."""
    return f"{text(rng, serial)} ({rng.choice(_ENGLISH)} {serial})"


# --- images -----------------------------------------------------------------------------------


def _chunk(name: bytes, body: bytes) -> bytes:
    check = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)


def png(rng: Random) -> bytes:
    """A real PNG of up to 8 × 8 pixels of random colours."""
    width, height = rng.randint(1, 8), rng.randint(1, 8)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"".join(b"\0" + rng.randbytes(3 * width) for _ in range(height))
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(pixels)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg(rng: Random) -> bytes:
    """A real JPEG: one grey block, whose only coefficients are the two that code "nothing"."""
    side = rng.randint(1, 8)
    table = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([rng.randint(1, 99)]) * 64
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, side, side, 1) + b"\x01\x11\x00"
    codes = b"".join(
        b"\xff\xc4" + struct.pack(">HB", 20, kind) + b"\x01" + bytes(15) + b"\x00"
        for kind in (0x00, 0x10)
    )
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\x00\x00\x3f\x00" + b"\x3f"
    return b"\xff\xd8" + table + frame + codes + scan + b"\xff\xd9"


_WEBP = base64.b64decode("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
_FORMATS: Mapping[str, Callable[[Random], bytes]] = {
    "png": png,
    "jpeg": jpeg,
    "webp": lambda rng: _WEBP,
}


def data_url(rng: Random, kind: str) -> str:
    """A tiny real image of a kind ("png", "jpeg", "webp") as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(_FORMATS[kind](rng)).decode()}"


def image(rng: Random, serial: int) -> Row:
    """An image part: inside the row, or at an address."""
    kind = rng.choice(tuple(_FORMATS))
    address = f"https://images.lamps.example/{rng.randint(1, 999)}/{serial}.{kind}"
    inside: Row = {"url": data_url(rng, kind) if rng.random() < 0.7 else address}
    if rng.random() < 0.5:
        inside["detail"] = rng.choice(("auto", "low", "high"))
    return {"type": "image_url", "image_url": inside}


# --- messages ---------------------------------------------------------------------------------


def part(what: str) -> Row:
    """A text part."""
    return {"type": "text", "text": what}


def user(rng: Random, serial: int) -> Row:
    """A user message with a prompt of its own."""
    return {"role": "user", "content": asked(rng, serial)}


def answer(rng: Random, serial: int) -> Row:
    """An assistant message; one in eight is a single word, as labels are."""
    short = rng.random() < 0.12
    said = rng.choice(("yes", "No", "spam", "はい", "👍", "B", "42")) if short else ""
    return {"role": "assistant", "content": said or text(rng, serial)}


def _system(rng: Random, serial: int) -> Row:
    return {"role": "system", "content": f"You are a {rng.choice(_ENGLISH)} shop. Be brief."}


_STRING = {"type": "string"}
_SCHEMAS: tuple[tuple[str, Row, Callable[[Random], Row]], ...] = (
    (
        "get_weather",
        {
            "type": "object",
            "properties": {
                "city": {**_STRING, "description": "Where, in the user's language", "minLength": 1},
                "unit": {**_STRING, "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
        lambda rng: {"city": rng.choice(_JAPANESE), "unit": rng.choice(("celsius", "fahrenheit"))},
    ),
    (
        "find-order",
        {
            "type": "object",
            "properties": {
                "id": {"type": "integer", "minimum": 1, "maximum": 10**6},
                "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "maxItems": 3},
            },
            "required": ["id", "lines"],
            "$defs": {
                "line": {
                    "type": "object",
                    "properties": {"part": _STRING, "count": {"type": "integer"}},
                    "required": ["part"],
                }
            },
        },
        lambda rng: {
            "id": rng.randint(1, 10**6),
            "lines": [{"part": rng.choice(_ENGLISH), "count": 2}] * rng.randint(0, 3),
        },
    ),
    (
        "Calculate",
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "x": {"type": ["number", "null"], "exclusiveMinimum": -1e9},
                "op": {"anyOf": [{"const": "sqrt"}, {"pattern": "^[a-z]{2,8}$", **_STRING}]},
            },
            "required": ["op"],
        },
        lambda rng: {"x": rng.choice((None, 0, 1.5, -2e3)), "op": rng.choice(("sqrt", "log"))},
    ),
    ("now", {"type": "object", "properties": {}}, lambda rng: {}),
)
_ARGUMENTS = {name: make for name, _, make in _SCHEMAS}


def tools(rng: Random, *, least: int = 1) -> list[Row]:
    """At least so many declared tools, each with a JSON Schema of its parameters."""
    chosen = rng.sample(_SCHEMAS, rng.randint(least, len(_SCHEMAS)))
    declared = []
    for name, schema, _ in chosen:
        function: Row = {"name": name, "parameters": schema}
        if rng.random() < 0.7:
            function["description"] = f"Use it when the {rng.choice(_ENGLISH)} is asked for."
        if rng.random() < 0.2:
            function["strict"] = False
        declared.append({"type": "function", "function": function})
    return declared


def call(rng: Random, declared: list[Row], serial: int, place: int) -> Row:
    """A call of one of the declared tools, with arguments that match its schema."""
    name = rng.choice(declared)["function"]["name"]
    given = json.dumps(_ARGUMENTS[name](rng), ensure_ascii=rng.random() < 0.5)
    identity = f"call_{rng.choice(_ENGLISH)}_{serial}_{place}"
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": given}}


def _calling(calls: list[Row], rng: Random) -> Row:
    said: Row = {"role": "assistant", "tool_calls": calls}
    if rng.random() < 0.7:
        said["content"] = rng.choice((None, "", "One moment, I will look."))
    return said


def _result(rng: Random, given: Row) -> Row:
    said = rng.choice(('{"ok": true}', "", "14.5", "[]", "error: not found", words(rng, 1)))
    result: Row = {"role": "tool", "tool_call_id": given["id"], "content": said}
    if rng.random() < 0.3:
        result["content"] = [part(said or "nothing")]
    if rng.random() < 0.2:
        result["name"] = given["function"]["name"]
    return result


def called(rng: Random, declared: list[Row], serial: int, *, calls: int) -> list[Row]:
    """An assistant message with so many parallel calls, and their results in any order."""
    given = [call(rng, declared, serial, place) for place in range(calls)]
    results = [_result(rng, one) for one in rng.sample(given, calls)]
    return [_calling(given, rng), *results]


# --- supervised -------------------------------------------------------------------------------


def _plain(rng: Random, serial: int) -> Row:
    return {"messages": [user(rng, serial), answer(rng, serial)]}


def _opened(rng: Random, serial: int) -> Row:
    head = [_system(rng, serial) for _ in range(rng.choice((1, 1, 2)))]
    return {"messages": [*head, user(rng, serial), answer(rng, serial)]}


def _turns(rng: Random, serial: int) -> Row:
    turns = rng.choice((2, 2, 2, 3, 5))
    return {"messages": [m for _ in range(turns) for m in (user(rng, serial), answer(rng, serial))]}


def _weighted(rng: Random, serial: int) -> Row:
    made = _turns(rng, serial)
    for message in made["messages"][1:-1:2]:
        message["weight"] = rng.choice((0, 1))
    made["messages"][-1]["weight"] = 1
    return made


def _named(rng: Random, serial: int) -> Row:
    made = _opened(rng, serial)
    for message in made["messages"]:
        message["name"] = rng.choice(("Mio", "anna_2", "clerk"))
    return made


def _in_parts(rng: Random, serial: int) -> Row:
    made = rng.choice((_opened, _turns))(rng, serial)
    for message in made["messages"]:
        parts = [part(message["content"])]
        message["content"] = [*parts, part(words(rng, serial))][: rng.randint(1, 2)]
    return made


def _seeing(rng: Random, serial: int) -> Row:
    made = rng.choice((_plain, _turns))(rng, serial)
    for message in made["messages"][::2]:
        images = [image(rng, serial) for _ in range(rng.randint(1, 2))]
        parts = [*images, part(message["content"])]
        message["content"] = rng.sample(parts, len(parts))
    return made


def _calls(rng: Random, serial: int) -> Row:
    declared = tools(rng)
    messages = [user(rng, serial)]
    for place in range(rng.randint(1, 2)):
        messages += called(rng, declared, serial * 10 + place, calls=1)
    made: Row = {"messages": [*messages, answer(rng, serial)], "tools": declared}
    if rng.random() < 0.3:
        made["parallel_tool_calls"] = rng.random() < 0.5
    return made


def _parallel(rng: Random, serial: int) -> Row:
    declared = tools(rng, least=2)
    asking = called(rng, declared, serial, calls=rng.randint(2, 4))
    messages = [_system(rng, serial), user(rng, serial), *asking, answer(rng, serial)]
    return {"messages": messages, "tools": declared, "parallel_tool_calls": True}


def _ends_calling(rng: Random, serial: int) -> Row:
    declared = tools(rng)
    asking = called(rng, declared, serial, calls=1)[:1]
    return {"messages": [user(rng, serial), *asking], "tools": declared}


def _offered(rng: Random, serial: int) -> Row:
    return {**_plain(rng, serial), "tools": tools(rng)}


# --- the other methods ------------------------------------------------------------------------


def _preferring(form: Callable[[Random, int], Row]) -> Callable[[Random, int], Row]:
    def make(rng: Random, serial: int) -> Row:
        given = form(rng, serial)
        while given["messages"][-1]["role"] == "assistant":
            given["messages"].pop()
        better = {"role": "assistant", "content": text(rng, serial)}
        worse = {"role": "assistant", "content": f"{text(rng, serial)} – or so."}
        return {"input": given, "preferred_output": [better], "non_preferred_output": [worse]}

    return make


def _prefers_calls(rng: Random, serial: int) -> Row:
    declared = tools(rng)
    better = [*called(rng, declared, serial, calls=2), answer(rng, serial)]
    given: Row = {"messages": [user(rng, serial)], "tools": declared}
    worse = [{"role": "assistant", "content": text(rng, serial)}]
    return {"input": given, "preferred_output": better, "non_preferred_output": worse}


def _graded(form: Callable[[Random, int], Row]) -> Callable[[Random, int], Row]:
    def make(rng: Random, serial: int) -> Row:
        made = form(rng, serial)
        while made["messages"][-1]["role"] != "user":
            made["messages"].pop()
        for message in made["messages"]:
            message.pop("weight", None)
        made["reference_answer"] = rng.choice(("yes", 42, 1.5, True, ["a", "b"], {"x": [1, None]}))
        if rng.random() < 0.5:
            made["difficulty"] = rng.randint(1, 5)
        return made

    return make


def _completed(rng: Random, serial: int) -> Row:
    end = rng.choice(("", " ->", "\n\n###\n\n", "?"))
    return {"prompt": asked(rng, serial) + end, "completion": f" {text(rng, serial)}"}


FORMS: Mapping[str, Mapping[str, Callable[[Random, int], Row]]] = {
    "supervised": {
        "plain": _plain,
        "opened": _opened,
        "turns": _turns,
        "weighted": _weighted,
        "named": _named,
        "parts": _in_parts,
        "image": _seeing,
        "tools": _calls,
        "parallel": _parallel,
        "ends calling": _ends_calling,
        "offered": _offered,
    },
    "dpo": {
        "plain": _preferring(_plain),
        "opened": _preferring(_opened),
        "turns": _preferring(_turns),
        "offered": _preferring(_offered),
        "parts": _preferring(_in_parts),
        "tools": _prefers_calls,
    },
    "reinforcement": {
        "plain": _graded(_plain),
        "opened": _graded(_opened),
        "turns": _graded(_turns),
        "offered": _graded(_offered),
        "parts": _graded(_in_parts),
    },
    "completion": {"plain": _completed},
}
"""Method → name of a form → what makes a row of it from a source of chance and a serial number."""


def row(rng: Random, method: str, serial: int, *, form: str = "", images: bool = False) -> Row:
    """A clean row; its prompt holds `serial`.

    `form` is a key of `FORMS[method]`; "" is any, but one with images only if they are wanted.
    """
    forms = FORMS[method]
    known = [name for name in forms if images or name != "image"]
    common = [name for name in ("plain", "opened", "named") if name in forms]
    return forms[form or rng.choice(common * 3 + known)](rng, serial)


# --- spelling ---------------------------------------------------------------------------------

_SPACES = ((",", ":"), (", ", ": "), (", ", ": "), (" , ", " : "), (",\t", ":\t "))


def shuffled(rng: Random, value: Any) -> Any:
    """The same value with the keys of every object in another order."""
    if isinstance(value, dict):
        return {name: shuffled(rng, value[name]) for name in rng.sample(list(value), len(value))}
    return [shuffled(rng, one) for one in value] if isinstance(value, list) else value


def _escaped(rng: Random, line: str) -> str:
    """Other escapes of the same characters: \\/ and \\u006f, which only strings can hold here."""
    if rng.random() < 0.5:
        line = line.replace("/", "\\/")
    if rng.random() < 0.5:
        char = rng.choice("okghmwy")  # in no literal, no hexadecimal digit, no short escape
        code = f"\\u{ord(char):04{rng.choice('xX')}}"
        line = line.replace(char, code, rng.randint(1, 5))
    return line


def spelled(rng: Random, value: Any) -> bytes:
    """A row as JSON, in one of its many spellings, without a line end."""
    if rng.random() < 0.15:
        value = shuffled(rng, value)
    line = json.dumps(value, ensure_ascii=rng.random() < 0.3, separators=rng.choice(_SPACES))
    if rng.random() < 0.2:
        line = _escaped(rng, line)
    if rng.random() < 0.05:
        line = f" {line}\t "
    return line.encode()


def clean_lines(rng: Random, method: str, rows: int, *, images: bool = False) -> list[bytes]:
    """So many clean rows, no two alike, without line ends."""
    made = (row(rng, method, serial, images=images) for serial in range(1, rows + 1))
    return [spelled(rng, one) for one in made]


def joined(rng: Random, lines: list[bytes]) -> bytes:
    """The lines of a file: ended by LF or CRLF, the last one perhaps not at all."""
    end = rng.choice((b"\n", b"\n", b"\n", b"\r\n"))
    return end.join(lines) + rng.choice((end, end, end, b""))


def clean_file(seed: int, method: str, rows: int, *, images: bool = False) -> bytes:
    """The bytes of a clean file of so many rows of a method (one of `METHODS`).

    `images` lets some rows of supervised chat hold images, which not every target takes.
    """
    rng = Random(f"{method} {seed}")
    return joined(rng, clean_lines(rng, method, rows, images=images))

"""What texts and images hold: every fault is found where it is, and no script is a fault."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftjobs.data.content import image_faults, inner_faults, may_hold_faults, text_faults
from ftjobs.data.slow import explain_line
from ftjobs.data.targets import TARGETS

OPENAI = TARGETS["openai"]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
JPEG = b"\xff\xd8\xff\xe0" + bytes(40)


def codes(text: str) -> list[tuple[str, int]]:
    return [(fault.code, fault.at) for fault in text_faults(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello<|endoftext|>", [("FT601", 5)]),
        ("<|IM_START|>", [("FT601", 0)]),
        ("<|fim_suffix|><|fim_prefix|>", [("FT601", 0)]),
        ("a<|eot_id|>", [("FT602", 1)]),
        ("<|reserved_special_token_7|>", [("FT602", 0)]),
        ("<|assistant|>", [("FT602", 0)]),
        ("<｜begin▁of▁sentence｜>", [("FT602", 0)]),
        ("<<SYS>>x<</SYS>>", [("FT602", 0)]),
        ("x [/INST] y", [("FT602", 2)]),
        ("<start_of_turn>user", [("FT602", 0)]),
        (" <s>Hello", [("FT602", 1)]),
        ("Hello</s>\n", [("FT602", 5)]),
        ("<bos>Hello<eos>", [("FT602", 0)]),
        ("a\x00b", [("FT603", 1)]),
        ("\x1b[31mred", [("FT603", 0)]),
        ("a\x7f\x85", [("FT603", 1)]),
        ("zero\u200bwidth", [("FT604", 4)]),
        ("\ufeffHello", [("FT604", 0)]),
        ("auf\u200clage", [("FT604", 3)]),
        ("a\u200db", [("FT604", 1)]),
        ("x\u200e", [("FT604", 1)]),
        ("\u2068Anna\u2069", [("FT604", 0)]),
        ("hidden\U000e0041\U000e0042", [("FT604", 6)]),
        ("\u202etxt.exe", [("FT605", 0)]),
        ("שלום\u202eabc", [("FT605", 4)]),
        ("Caf\ufffd", [("FT606", 3)]),
        ("itâ€™s", [("FT607", 2)]),
        ("cafÃ© £", [("FT607", 3)]),
        ("only Â£5", [("FT607", 5)]),
        ("<|endoftext|>\u200b", [("FT601", 0), ("FT604", 13)]),
    ],
)
def test_what_is_a_fault(text: str, expected: list[tuple[str, int]]) -> None:
    assert codes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم کتاب\u200cها را بخوانم",  # Persian: the non-joiner between parts of words
        "PDF\u200cها",
        "نه\u200d و ه\u200d",
        "क्\u200dष और र्\u200dय",  # Hindi: the joiner
        "ක්\u200dරියාව",  # Sinhala
        "ശരീരമെന്ന്\u200c",  # Malayalam
        "ភាសា\u200bខ្មែរ\u200bស្អាត",  # Khmer: line breaks
        "ภาษา\u200bไทย",
        "日本語の文章です。「引用」・ー〜 ｶﾀｶﾅ　全角",
        "辻\U000e0101さん",  # a variation selector picks the glyph
        "한국어 문장입니다.",
        "שלום (abc)\u200f.",  # Hebrew: marks of direction
        "السعر \u200e10 USD\u200e \u202bنص\u202c \u2067نص\u2069",
        "👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 👩🏽\u200d🚀 🧑\u200d⚖️",
        "🏴\u200d☠️ ❤️\u200d🔥 🏃🏽\u200d➡️ 🐦\u200d⬛",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f flag of Scotland",
        "São João não comeu pão; «IRMÃ» “irmã”— RÂ®, ÂNGULO, NÃO, «irmã»…",
        "Être, naïve, “quoted” – it’s 5 € or £5, 20 °C, ©2026, ½",
        "Tiếng Việt: Âm nhạc, CÔ Ấy",
        "Mongolian: ᠮᠣᠩᠭᠣᠯ᠎ᠠ",
        "a\tb\nc\r\nd\x0ce",
        "<s>struck</s> and <s>more</s>",
        "<s>all of it</s>",
        "the tag </s> closes <s>",
        "x |> f <| y, <|x|>, a <|> b, List.map f <| xs, <|psi|>",
        "[instruction] [INSTALL] [TOOLS] if x[INST_COUNT] > 1",
        "<style> <start> <end> <script> <br/> <|",
        "f(a) < b || c > d; [/usr/bin] </section>",
    ],
)
def test_what_is_none(text: str) -> None:
    assert codes(text) == []


def test_a_fault_is_told_once_with_its_number() -> None:
    (fault,) = text_faults("a\u200bb\u200bc\u200b")
    assert fault.message == (
        "invisible character U+200B (zero width space) in the text (and 2 more like it)"
    )
    (fault,) = text_faults("\x00" * 3_000_000)  # and not a list of three million
    assert fault.message == "control character U+0000 in the text (and many more like it)"
    (fault,) = text_faults("<|a_" + "secret" * 7 + "|>")
    assert "secret" not in fault.message


ODD = st.sampled_from(
    [
        *("<|im_end|>", "</s>", "<s>", "<eos>", "[/INST]", "[TOOL_CALLS]", "<</SYS>>"),
        *("<end_of_turn>", "<｜User｜>", "\x00", "\x1b", "\x7f", "\x85", "\u200b", "\u200c"),
        *("\u200d", "\u200e", "\u202e", "\u2060", "\u2067", "\u061c", "\ufeff", "\ufffd"),
        *("\U000e0041", "â€™", "aÃ©", "Â£", "ه", "ก", "🏴", "👩", "a", "é", "<", "|", ">", "/"),
        *("\\", '"'),
    ]
)


@given(st.one_of(st.text(), st.lists(ODD).map("".join)), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=300)
@example(text="</s>", ascii_only=True, php=True)
@example(text="\\\b", ascii_only=False, php=False)
def test_the_quick_look_lets_no_fault_pass(text: str, ascii_only: bool, php: bool) -> None:
    line = json.dumps({"x": text}, ensure_ascii=ascii_only)
    if php:  # whose encoder escapes slashes, as Go's escapes angle brackets
        line = line.replace("/", "\\/").replace("<", "\\u003c").replace(">", "\\u003E")
    if text_faults(text):
        assert may_hold_faults(line.encode(errors="surrogatepass"))


@pytest.mark.parametrize(
    "text",
    ["Hello", "C:\\bin, \\beta", "a < b > c [1]", "日本語、全角。", "naïve “x” – 5 €…", "😀"],
)
def test_the_quick_look_is_worth_it(text: str) -> None:
    assert not may_hold_faults(json.dumps(text, ensure_ascii=False).encode())
    assert not may_hold_faults(json.dumps(text).encode())


def row(content: str, **keys: object) -> bytes:
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "Hi"}]
    return json.dumps({"messages": messages, **keys}).encode()


@given(st.text(), st.text(st.sampled_from('a"\\\n\té😀')))
@settings(deadline=None)
def test_the_column_is_right_whatever_stands_before(before: str, more: str) -> None:
    text = f"{before}{more}"
    line = row(f"{text}<|im_end|>")
    found = [one for one in explain_line(line).findings if one.code == "FT601"]
    assert [one.pointer for one in found] == ["/messages/0/content"]
    assert found[0].at == line.decode().index("<|im_end|>")


def test_every_text_of_a_row_is_looked_at() -> None:
    call = {"name": "f", "arguments": json.dumps({"x": "\x1b"})}
    tool = {"name": "f", "description": "<|im_end|>", "parameters": {"title": "\u200b"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "\ufffd"}]},
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "[INST]"},
        {"role": "assistant", "content": "\x00"},
    ]
    line = json.dumps({"messages": messages, "tools": [{"type": "function", "function": tool}]})
    assert [(one.code, one.pointer) for one in explain_line(line.encode()).findings] == [
        ("FT606", "/messages/0/content/0/text"),
        ("FT603", "/messages/1/tool_calls/0/function/arguments"),
        ("FT602", "/messages/2/content"),
        ("FT603", "/messages/3/content"),
        ("FT601", "/tools/0/function/description"),
        ("FT604", "/tools/0/function/parameters/title"),
    ]


def test_what_the_bytes_already_told_is_not_told_again() -> None:
    raw = row("a b").replace(b"a b", b"a\x00b")
    assert [one.code for one in explain_line(raw).findings] == ["FT207"]
    latin = row("a b").replace(b"a b", b"caf\xe9")
    assert [one.code for one in explain_line(latin).findings] == ["FT104"]


def test_arguments_are_read_once_more() -> None:
    found = inner_faults('{"x": "\\u001b", "<|im_end|>": ["\\u200b"]}')
    assert sorted(found) == ["FT601", "FT603", "FT604"]
    assert inner_faults('{"x": "\\n"}') == inner_faults("{}") == inner_faults("{\\") == {}


# --- images -----------------------------------------------------------------------------------


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://lamps.example/a.png?x=1", []),
        ("HTTPS://lamps.example/a.png", []),
        (data_url(PNG), []),
        (data_url(JPEG, "image/jpeg"), []),
        (data_url(JPEG, "IMAGE/JPG"), []),
        (data_url(b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"), []),
        (data_url(PNG, "image/png;name=a"), []),
        ("http://lamps.example/a.png", ["FT616"]),
        ("https:lamps", ["FT616"]),
        ("https://lamps.example/a b", ["FT616"]),
        ("file:///etc/passwd", ["FT616"]),
        ("javascript:alert(1)", ["FT616"]),
        ("a.png", ["FT616"]),
        ("", ["FT616"]),
        ("data:image/png,abc", ["FT615"]),
        ("data:image/png;base64", ["FT615"]),
        ("data:image/png;base64,iVBO=Rw", ["FT615"]),
        ("data:image/png;base64,iVB\nORw0K", ["FT615"]),
        ("data:image/png;base64,日本", ["FT615"]),
        ("data:image/png;base64,", ["FT615"]),
        (data_url(b"GIF89a", "image/gif"), ["FT613"]),
        (data_url(b"<svg xmlns='x'>", "image/svg+xml"), ["FT613"]),
        (data_url(PNG, "image/jpeg"), ["FT614"]),
        (data_url(PNG, ""), ["FT614"]),
        (data_url(PNG + bytes(10**7)), ["FT612"]),
    ],
)
def test_images(url: str, expected: list[str]) -> None:
    faults = image_faults(url, OPENAI)
    assert [fault.code for fault in faults] == expected
    assert not any("passwd" in fault.message for fault in faults)


@pytest.mark.parametrize(
    ("target", "images", "expected"),
    [
        ("openai", 10, []),
        ("openai", 11, [("FT611", "/messages/0/content/10/image_url/url")]),
        ("azure", 64, []),
        ("azure", 65, [("FT611", "/messages/0/content/64/image_url/url")]),
        ("local", 1, [("FT611", "/messages/0/content/0/image_url/url")]),
    ],
)
def test_the_number_of_images(target: str, images: int, expected: list[tuple[str, str]]) -> None:
    part = {"type": "image_url", "image_url": {"url": data_url(PNG)}}
    messages = [
        {"role": "user", "content": [part] * images},
        {"role": "assistant", "content": "A lamp."},
    ]
    line = json.dumps({"messages": messages}).encode()
    found = explain_line(line, target=TARGETS[target]).findings
    assert [(one.code, one.pointer) for one in found] == expected

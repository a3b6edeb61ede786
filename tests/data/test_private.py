"""Secrets and personal data: what is found, what is not, and that it takes linear time.

The secrets are put together from halves, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftjobs.data import private
from ftjobs.data.private import candidates, inspect, redact, suspicious
from ftjobs.data.rules.private import TABLE
from ftjobs.data.slow import explain_line

ALNUM = "8Kq2mVx7RtLw4Zn9PbYc3HdJf6SgAe1UoT5iQrXsB0vNkWzGhDyMpEaCjFu9t2L"
HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
PEM = (
    "-----BEGIN RSA PRIVATE" + " KEY-----\n"
    "MIIEpAIBAAKCAQEAyr9K2mPZJ8QbX0fLsWlC4n6Yd7hT1uE3vGqJzRk5aOoNcHxB\n"
    "-----END RSA PRIVATE" + " KEY-----"
)
HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
CLAIMS = base64.urlsafe_b64encode(b'{"sub":"u-71934","adm":true}').decode().rstrip("=")

FOUND = [
    ("FT701", "[PRIVATE_KEY]", PEM),
    ("FT702", "[API_KEY]", "sk-" + "proj-" + ALNUM[:48]),
    ("FT702", "[API_KEY]", "sk-" + ALNUM[:48]),
    ("FT702", "[API_KEY]", "sk-" + "ant-api03-" + ALNUM + "_-" + ALNUM[:26] + "AA"),
    ("FT702", "[API_KEY]", "sk-" + "or-v1-" + HEX),
    ("FT702", "[API_KEY]", "AKIA" + "Q4ZB7NRT2WXK5LMD"),
    ("FT702", "[API_KEY]", "gh" + "p_" + ALNUM[:36]),
    ("FT702", "[API_KEY]", "gh" + "s_" + ALNUM[:36]),
    ("FT702", "[API_KEY]", "github" + "_pat_" + ALNUM[:22] + "_" + ALNUM[:59]),
    ("FT702", "[API_KEY]", "gl" + "pat-" + ALNUM[:20]),
    ("FT702", "[API_KEY]", "xo" + "xb-4821773590-" + ALNUM[:24]),
    ("FT702", "[API_KEY]", "AI" + "za" + "Sy" + ALNUM[:33]),
    ("FT702", "[API_KEY]", "sk_" + "live_" + ALNUM[:24]),
    ("FT702", "[API_KEY]", "h" + "f_" + ALNUM[:34]),
    ("FT702", "[API_KEY]", "np" + "m_" + ALNUM[:36]),
    ("FT702", "[API_KEY]", "pypi-" + "AgEIcHlwaS5vcmc" + ALNUM),
    ("FT702", "[API_KEY]", "S" + "K" + HEX[:32]),
    ("FT702", "[API_KEY]", "S" + "G." + ALNUM[:22] + "." + ALNUM[:43]),
    ("FT702", "[API_KEY]", "hooks.slack" + ".com/services/T4K8Q2M7V/B9ZN4WLT6/" + ALNUM[:24]),
    ("FT703", "[TOKEN]", f"{HEADER}.{CLAIMS}.{ALNUM[:43]}"),
    ("FT711", "[EMAIL]", "hana.mori+lamps@mail.lampworks.co.jp"),
    ("FT711", "[EMAIL]", "k@hikari.de"),
    ("FT712", "[PHONE]", "+81 90-4821-7735"),
    ("FT712", "[PHONE]", "+819048217735"),
    ("FT712", "[PHONE]", "+1 (415) 736-2291"),
    ("FT712", "[PHONE]", "+44 20 7183 8750"),
    ("FT712", "[PHONE]", "+33 6 71 34 57 78"),
    ("FT712", "[PHONE]", "+49 (0)30 901820"),
    ("FT712", "[PHONE]", "090-4821-7735"),
    ("FT712", "[PHONE]", "09048217735"),
    ("FT712", "[PHONE]", "080 4821 7735"),
    ("FT712", "[PHONE]", "03-5472-8831"),
    ("FT712", "[PHONE]", "(03)5472-8831"),
    ("FT712", "[PHONE]", "03(5472)8831"),
    ("FT712", "[PHONE]", "0463-22-8831"),
    ("FT712", "[PHONE]", "０９０－４８２１－７７３５"),
    ("FT712", "[PHONE]", "03（5472）8831"),
    ("FT712", "[PHONE]", "090‐4821‐7735"),
    ("FT712", "[PHONE]", "(415) 736-2291"),
    ("FT712", "[PHONE]", "415-736-2291"),
    ("FT713", "[CARD]", "4539578763621486"),
    ("FT713", "[CARD]", "4539 5787 6362 1486"),
    ("FT713", "[CARD]", "4539-5787-6362-1486"),
    ("FT713", "[CARD]", "3714 963786 54397"),
    ("FT714", "[IBAN]", "DE89 3704 0044 0532 0130 00"),
    ("FT714", "[IBAN]", "NL91ABNA0417164300"),
    ("FT714", "[IBAN]", "GB29NWBK60161331926819"),
    ("FT714", "[IBAN]", "NO9386011117947"),
    ("FT715", "[SSN]", "536-22-8145"),
]

PARTS = [  # code, text, what stays of it
    (
        "FT704",
        "postgres://shop:tR7-quail-92@db.lamps.co.jp/x",
        "postgres://shop:{}@db.lamps.co.jp/x",
    ),
    ("FT704", "https://hana:mori-8842@lamps.co.jp", "https://hana:{}@lamps.co.jp"),
    ("FT704", "redis://:kT9xQ2mB7vLp4Rz8@cache:6379", "redis://:{}@cache:6379"),
    ("FT705", 'password = "kT9xQ2mB7vLp4Rz8"', 'password = "{}"'),
    ("FT705", '"api_key": "kT9xQ2mB7vLp4Rz8"', '"api_key": "{}"'),
    ("FT705", f"export DB_PASSWORD={ALNUM[:20]}", "export DB_PASSWORD={}"),
    ("FT705", f"Authorization: Bearer {ALNUM[:30]}", "Authorization: Bearer {}"),
    ("FT705", f"?api_key={ALNUM[:20]}&page=2", "?api_key={}&page=2"),
]

NOTHING = [
    "",
    "Hello! How can I help you today?",
    "order 550e8400-e29b-41d4-a716-446655440000",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "sha256 " + HEX,
    "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2",
    "Your order #402-2239921-1147 and ticket 415-736-2291",
    "order number: 536-22-8145",
    "version 1.2.3.4, 10.0.19045.3803, 2.13.0+cpu",
    "2026-11-22T04:15:00Z 20261122041500 1795320900 1795320900123",
    "from 2019-2024, 12-15-2024, 3-15-2024, 2019–2024",
    "@property\n@app.route('/x')\n@pytest.mark.parametrize\ndef f(): ...",
    "user@host:~$ ls && scp me@server.lamps.co.jp:/tmp/x .",
    'import x from "@types/node"; "lodash@4.17.21", "@angular/core@17.0.1"',
    "y = x@w.T + q@k.transpose(1, 2); h = x@self.weight; icon@2x.png",
    "git clone git@github.com:lamps/lamps.git",
    "jane@example.com, bob@test.example.org, you@yourcompany.com, a@b.test",
    "support@lamps.co.jp, no-reply@lamps.co.jp, 12345+octo@users.noreply.github.com",
    "sk-" + "x" * 48 + " sk-" + "your-api-key-goes-here " + "sk-1234567890abcdef1234567890abcdef",
    "gh" + "p_" + "x" * 36 + " AKIA" + "IOSFODNN7EXAMPLE " + "hf_" + "x" * 34,
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "<div class='sk-toggleable__content sk-container-id-1'>task-management-for-everybody-in-2024",
    "api_key = YOUR_API_KEY; api_key = os.environ['OPENAI_API_KEY']; password = 'hunter2'",
    "password: config.database.passwordFromEnvironment1; secret = self.get_secret_value(2)",
    "api_key = '<your key>'; password=${DB_PASSWORD}; token = tokenizer.encode_plus_2",
    "postgres://user:password@localhost:5432/db, postgres://postgres:postgres@db.lamps.co.jp/x",
    "http://user:pass@example.com, redis://:p4ssw0rd@127.0.0.1:6379",
    "-----BEGIN PRIVATE" + " KEY-----\n...\n-----END PRIVATE" + " KEY-----",
    "-----BEGIN PUBLIC KEY-----\n" + ALNUM,
    f"{HEADER}.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0.{ALNUM[:43]}",
    "4111 1111 1111 1111, 4242424242424242, 378282246310005, 5555-5555-5555-4444",
    "4539578763621487, 9999 8888 7777 6666",  # check digit, issuer
    "0.4539578763621486, 4539578763621486.25",
    "DE88 3704 0044 0532 0130 00",  # check digits
    "000-12-3456 666-12-3456 912-34-5678 123-45-6789 078-05-1120 536-00-8145",
    "+1 555-123-4567, +1 (415) 555-0132, 1-800-736-2291, 0120-482-773, +44 7700 900123",
    "090-1234-5678, 03-1234-5678, 000-0000-0000",
    "+100 points, UTC+0900, a+12345678, x = y +1234567890",
    "482170935265 と 1234 5678 9018",  # no My Number without its name
    "192.168.0.1, 8.8.8.8, 203.0.113.7, ::1",
    "照明の明るさは、2026年3月15日までに「設定」から変更できます。価格は１２，８００円（税込）です。",
    "郵便番号 150-0043、ロット 2024-0315-01、品番 L-200",
    "| a | b |\n|---|---|\n" + "-" * 200 + "=" * 200 + "_" * 200,
    "data:image/png;base64," + base64.b64encode(random.Random(1).randbytes(3000)).decode(),
    "3.14159265358979323846264338327950288419716939937510",
]


def line_of(text: str, **options: Any) -> str:
    row = {
        "messages": [{"role": "user", "content": "灯\t"}, {"role": "assistant", "content": text}]
    }
    return json.dumps(row, **options)


def in_arguments(text: str, **options: Any) -> str:
    called = {"name": "f", "arguments": json.dumps({"value": text}, **options)}
    row = {"messages": [{"role": "assistant", "tool_calls": [{"function": called}]}]}
    return json.dumps(row, **options)


def escaped(text: str) -> str:
    signs = re.sub(r"[@+/_.:=-]", lambda sign: f"\\u{ord(sign[0]):04X}", json.dumps(text))
    return line_of("灯").replace(json.dumps("灯"), signs)


def slashed(text: str) -> str:
    return line_of(text).replace("/", r"\/")


WRITERS: list[Callable[[str], str]] = [
    line_of,
    lambda text: line_of(text, ensure_ascii=False),
    in_arguments,
    lambda text: in_arguments(text, ensure_ascii=False),
    escaped,
    slashed,
]


def codes(line: str) -> list[str]:
    return [finding.code for finding in inspect(line.encode("utf-8", "surrogatepass"))]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("code", "label", "value"), FOUND, ids=lambda value: value[:12])
def test_it_is_found_however_it_is_written(
    code: str, label: str, value: str, write: Callable[[str], str]
) -> None:
    for text in (value, f"a\n{value}", f"これは{value}です。", f'("{value}", 1)', f"a\\n{value}"):
        assert codes(write(text)) == [code], text
    assert redact(f"これは{value}です。") == f"これは{label}です。"


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("code", "text", "stays"), PARTS)
def test_only_the_secret_part_is_replaced(
    code: str, text: str, stays: str, write: Callable[[str], str]
) -> None:
    assert codes(write(text)) == [code]
    assert redact(f"灯 {text}") == f"灯 {stays.format('[PASSWORD]')}"


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("text", NOTHING)
def test_what_only_looks_like_it_is_not(text: str, write: Callable[[str], str]) -> None:
    assert codes(write(text)) == []
    assert redact(text) == text


def test_a_secret_without_a_prefix_is_known_by_its_neighbour() -> None:
    secret, key = "tR7q/" + ALNUM[5:40], "AKIA" + "Q4ZB7NRT2WXK5LMD"
    assert codes(line_of(f"id {key}\nsecret-ish {secret}")) == ["FT702", "FT702"]
    assert codes(line_of(f"no id, {secret}")) == []
    assert redact(f"AC{HEX[:32]} and {HEX[32:]}") == f"AC{HEX[:32]} and [API_KEY]"


def test_my_numbers_need_their_name_and_their_check_digit() -> None:
    assert redact("マイナンバーは1234 5678 9018です") == "マイナンバーは[MY_NUMBER]です"
    assert redact("My Number: 123456789018") == "My Number: [MY_NUMBER]"
    assert redact("My Number: 123456789017") == "My Number: 123456789017"


def test_a_finding_says_where_and_never_what() -> None:
    value = "gh" + "p_" + ALNUM[:36]
    for write in WRITERS:
        line = write(f"灯\n{value} or hana.mori@lampworks.co.jp")
        for finding in inspect(line.encode()):
            assert finding.at is not None
            begins = line[finding.at :]
            assert begins.startswith("gh" if finding.code == "FT702" else "hana")
            assert finding.pointer.startswith("/messages/")
            assert finding.message in {"a GitHub token (ghp_…)", "an e-mail address"}
    *_, finding = inspect(line_of(value).encode())
    assert finding.pointer == "/messages/1/content"


def test_the_rules_and_their_examples() -> None:
    for rule in TABLE:
        assert (rule.severity, rule.fixable) == ("warning", "unsafe")
        assert codes(rule.example) == [rule.code]
        assert explain_line(rule.example.encode()).findings == ()
        assert codes(redact(rule.example)) == []
    assert {code for code, *_ in [*FOUND, *PARTS]} == {rule.code for rule in TABLE}


def test_overlapping_finds_are_one() -> None:
    url = "https://hana:mori-8842@lamps.co.jp"  # mori-8842@lamps.co.jp could be an address
    assert codes(line_of(url)) == ["FT704"]
    assert redact(f"password={'gh' + 'p_' + ALNUM[:36]}") == "password=[API_KEY]"


def test_a_redacted_line_is_json() -> None:
    numbers = {"card": 4539578763621486, "other": [1.5, 4111111111111111], "phone": "090-4821-7735"}
    line = in_arguments(json.dumps(numbers) + PEM)
    row = json.loads(redact(line))
    inner = json.loads(row["messages"][0]["tool_calls"][0]["function"]["arguments"])
    text = inner["value"].partition("[PRIVATE_KEY]")[0]
    assert json.loads(text) == {**numbers, "card": "[CARD]", "phone": "[PHONE]"}


VALUES = [value for _, _, value in FOUND] + [text for _, text, _ in PARTS]
SNIPPETS = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from(NOTHING),
    st.sampled_from(
        ["\\", "\\n", "\\u0040", "\n", '"', " ", "+", "-", "@", ".", "0", "８", "灯", "_"]
    ),
    st.text(max_size=6),
    st.text(string.digits + " -+()@.:/", max_size=20),
)
TEXTS = st.lists(SNIPPETS, max_size=6).map("".join)


def random_escapes(line: str, seed: int) -> str:
    """The same JSON line, with some characters of its last text written as escapes."""
    source = random.Random(seed)
    head, quote, text = line.rpartition('"content": "')
    if "\\" in text:
        return line  # which has escapes already
    made = "".join(
        f"\\u{ord(char):04x}"
        if char.isascii() and char.isalnum() and source.random() < 0.1
        else char
        for char in text.removesuffix('"}]}')
    )
    return f'{head}{quote}{made}"}}]}}'


@given(TEXTS, st.integers(0, 3), st.sampled_from(WRITERS))
@example("\\u002b81 90-4821-7735", 0, line_of)
@example("０90-4821-7735", 0, line_of)
def test_the_quick_question_never_misses(text: str, seed: int, write: Callable[[str], str]) -> None:
    for line in (text, write(text), random_escapes(write(text), seed)):
        data = line.encode("utf-8", "surrogatepass")
        if not suspicious(data):
            assert list(private._inspect(data.decode(errors="replace"))) == []


@given(TEXTS)
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    assert list(inspect(once.encode("utf-8", "surrogatepass"))) == []


@given(TEXTS, st.sampled_from(WRITERS))
def test_a_redacted_row_is_json_and_checks_clean(text: str, write: Callable[[str], str]) -> None:
    line = redact(write(text))
    json.loads(line)
    assert codes(line) == []


@given(st.lists(TEXTS.map(line_of), max_size=60), st.booleans())
def test_candidates_are_the_suspicious_lines(lines: list[str], ended: bool) -> None:
    data = [line.encode("utf-8", "surrogatepass") + b"\n" for line in lines]
    block = b"".join(data) if ended else b"".join(data).rstrip(b"\n")
    starts = [sum(map(len, data[:number])) for number in range(len(data))]
    assert candidates(block) == [
        start for start, line in zip(starts, data, strict=True) if suspicious(line)
    ]


@given(st.binary(max_size=200))
def test_any_bytes_may_come(data: bytes) -> None:
    assert isinstance(list(inspect(data)), list)
    assert isinstance(candidates(data), list)


HOSTILE = [
    *(
        "a",
        "@",
        "a@",
        "a@a.",
        ".a@b.c",
        "@b.de",
        "hana.mori@lampworks.co.jp ",
        "://a:",
        "://a:b",
        "://:@",
    ),
    *(
        "1",
        "1 ",
        "1-",
        "+1",
        "+1 ",
        "(0",
        "0-0000",
        "0 0000",
        "４",
        "－",
        "4539578763621486 ",
        "4539 ",
    ),
    *(
        "DE89 ",
        "DE89 3704 0044 0532 ",
        "A1",
        "\\",
        "\\u",
        "\\\\n",
        '"a":',
        "'",
        ";base64,",
        ";base64,a",
    ),
    *("eyJ", "eyJaaaaaaaaaaaa.", "sk-", "sk-a", "AKIA", "AC0", "gh" + "p_", "S" + "G."),
    *("-----BEGIN PRIVATE KEY-----", "-----BEGIN A ", "password", "password=", "password "),
    *("password='", "Bearer ", "api_key=a1B2c3D4e5F6"),
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    size = 2**19
    text = "@x.y +0000000 eyJ password 0 0000" + unit * (size // len(unit))
    started = time.process_time()
    redact(text)
    assert time.process_time() - started < 5  # square time would take minutes


def test_an_image_is_passed_over() -> None:
    image = base64.b64encode(random.Random(1).randbytes(7 * 2**20)).decode()
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    row = {
        "messages": [{"role": "user", "content": [url, {"type": "text", "text": "k@hikari.de"}]}]
    }
    line = json.dumps(row).encode()
    started = time.process_time()
    (finding,) = inspect(line)
    assert time.process_time() - started < 1
    assert finding.code == "FT711"
    assert finding.pointer == "/messages/0/content/1/text"
    assert finding.at == line.index(b"k@hikari")


def test_ordinary_datasets_have_none() -> None:
    root = Path(__file__).parents[2]
    for path in [*root.glob("datasets/*/*.jsonl"), *root.glob("ftjobs/**/*.py")]:
        if path.is_relative_to(root / "ftjobs/data/rules"):
            continue
        text = path.read_text("utf-8", errors="replace")
        assert private._spans(text) == [], path


@pytest.mark.parametrize("key", ["AKIAB5DXJDGHTAIJQKE5", "AKIAPORVPOAACFYOPP3O"])
def test_a_key_of_capitals_needs_few_digits(key: str) -> None:
    line = json.dumps({"messages": [{"role": "user", "content": f"Note this: {key} please."}]})
    assert [finding.code for finding in inspect(line.encode())] == ["FT702"]

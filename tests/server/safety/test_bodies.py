"""Bodies that no library would write, on every route: refused in words, and never with 5xx."""

from __future__ import annotations

import sys
from itertools import product

import httpx2

from tests.server.conftest import Serve, Served
from tests.server.safety.description import operations

DEEP = 100_000
HORRORS: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \r\n\t ",
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"model":' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b'{"messages":' + b"[" * DEEP,
    "deep metadata": b'{"model":"m","training_file":"f","metadata":' + b'{"a":' * DEEP,
    "a huge integer": b'{"seed":' + b"9" * (sys.get_int_max_str_digits() + 1) + b"}",
    "a huge float": b'{"temperature":1' + b"0" * 5000 + b".5}",
    "a huge exponent": b'{"temperature":1e999999999}',
    "no number": b'{"temperature":NaN,"top_p":-Infinity}',
    "twice": b'{"model":"fake-base","model":"other","training_file":"x"}',
    "a name twice in another spelling": b'{"model":"a","\\u006dodel":"b"}',
    "no UTF-8": b'{"model":"\xff\xfe"}',
    "UTF-16": '{"model":"m"}'.encode("utf-16"),
    "an overlong slash": b'{"model":"\xc0\xaf"}',
    "an encoded surrogate": b'{"model":"\xed\xa0\x80"}',
    "half a character": b'{"model":"\\ud800","training_file":"\\udfff","filename":"\\ud800"}',
    "NUL": b'{"model":"\\u0000","training_file":"\\u0000","filename":"a\\u0000b"}',
    "a mark of order": b"\xef\xbb\xbf{}",
    "two values": b"{}{}",
    "a comma too many": b'{"model":"m",}',
    "single quotes": b"{'model': 'm'}",
    "a list": b"[]",
    "a string": b'"model"',
    "null": b"null",
    "a number": b"1",
    "a prototype": b'{"__proto__":{"admin":true},"constructor":{"prototype":{}},"__class__":1}',
    "half": b'{"model":"m"',
    "many fields": b'{"a":1' + b"".join(b',"a%d":1' % n for n in range(50_000)) + b"}",
    "many items": b'{"messages":[' + b"0," * 100_000 + b'0],"model":"m"}',
    "a wall of quotes": b'"' * 100_001,
    "backslashes": b'{"model":"' + b"\\" * 100_001 + b'"}',
}
KINDS = ("text/plain", "application/x-www-form-urlencoded", "a/b", "",
         "multipart/form-data", "multipart/form-data; boundary=", "application/json; charset=utf-7",
         "multipart/form-data; boundary=" + "x" * 500)  # fmt: skip


CONTENTS = (b"--x\r\n\r\n--x--", b"a=b", b"\0" * 1000)
QUERIES = ("limit=" + "9" * 5000, "limit=1e9", "limit=%00", "limit=-1", "limit=1&limit=2",
           "after=%ff%fe", "after=%00", "order=%0d%0a", "metadata[%ff]=%ff", "metadata[[]]=x",
           "metadata=%7B%7D", "&" * 1000, "a=" + "b" * 20_000, "%", "%zz", "limit=١")  # fmt: skip


def expected(answer: httpx2.Response, where: str) -> None:
    """A refusal in the wire's words, which does not say the question again."""
    assert 400 <= answer.status_code < 500, where
    assert len(answer.content) < 2000, where
    assert answer.json()["error"]["message"], where


def test_no_json_breaks_a_route(served: Served) -> None:
    root = served.url.removesuffix("/v1")
    taking = [each for each in operations(served) if each.takes]
    assert len(taking) >= 7
    with served.as_("a") as http:
        for (horror, body), operation in product(HORRORS.items(), taking):
            answer = http.request(
                operation.method,
                root + operation.at(*["x"] * len(operation.ids)),
                content=body,
                headers={"content-type": "application/json"},
            )
            expected(answer, f"{operation}: {horror}")
        assert http.get("/models").status_code == 200


def test_no_kind_of_body_breaks_a_route(served: Served) -> None:
    root = served.url.removesuffix("/v1")
    taking = [each for each in operations(served) if each.takes]
    with served.as_("a") as http:
        for kind, operation, content in product(KINDS, taking, CONTENTS):
            answer = http.request(
                operation.method,
                root + operation.at(*["x"] * len(operation.ids)),
                content=content,
                headers={"content-type": kind},
            )
            expected(answer, f"{operation}: {kind}")


def test_no_query_breaks_a_list(served: Served) -> None:
    root = served.url.removesuffix("/v1")
    lists = [each for each in operations(served) if each.method == "GET" and not each.ids]
    with served.as_("a") as http:
        for query, operation in product(QUERIES, lists):
            answer = http.get(f"{root}{operation.path}?{query}")
            assert answer.status_code < 500, f"{operation}?{query[:50]}"
            if answer.status_code != 200:
                expected(answer, f"{operation}?{query[:50]}")


def test_a_body_in_other_clothes_is_not_unpacked(served: Served) -> None:
    """What says it is compressed is read as it is: a bomb does not go off."""
    for coding in ("gzip", "deflate", "br", "zstd"):
        answer = served.http.post(
            "/chat/completions",
            content=b"\x1f\x8b\x08\x00" + b"\0" * 100,
            headers={"content-encoding": coding, "content-type": "application/json"},
        )
        assert answer.status_code in (400, 415)


def test_a_body_larger_than_the_limit_is_refused_on_every_route(serve: Serve) -> None:
    with serve(max_body_bytes=1000, max_file_bytes=1000) as served, served.as_("a") as http:
        root = served.url.removesuffix("/v1")
        for operation in operations(served):
            path = operation.at(*["x"] * len(operation.ids))
            answer = http.request(operation.method, root + path, content=b" " * 65 * 2**20
                                  if path.endswith("/parts") else b" " * 100_000,
                                  headers={"content-type": "application/json"})  # fmt: skip
            assert answer.status_code == 413, operation

"""Secrets and personal data: found in one to two nanoseconds a byte, named, and never repeated.

What is made up (test cards, example.com, "your-key-here") and what firms publish (support@,
toll-free numbers) is no finding.  Everything takes time linear in the text.

`quick` asks whether there could be anything, `keys`, `people` and `numbers` look closely at
`plain` text, and this module says where it stood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from ftjobs.data.private import keys, numbers, people
from ftjobs.data.private.plain import Plain
from ftjobs.data.private.quick import Topic, candidates, suspicious, topics
from ftjobs.data.private.spans import Span
from ftjobs.data.scan import Finding, Node, scan

__all__ = ["candidates", "inspect", "redact", "suspicious"]

_FINDERS: Sequence[tuple[Topic, Callable[[str], Iterator[Span]]]] = (
    ("keys", keys.private_keys),  # of two that overlap, the first counts
    ("keys", keys.signed_tokens),
    ("keys", keys.keys),
    ("keys", keys.escorted_keys),
    ("addresses", keys.url_passwords),
    ("names", keys.assigned_secrets),
    ("addresses", people.emails),
    ("numbers", numbers.accounts),
    ("numbers", numbers.numbers),
)


def inspect(line: bytes) -> Iterator[Finding]:
    """The secrets and personal data of a JSON line, from left to right.

    `at` is an offset in characters of the line.  No message repeats what was found, only the
    prefix that all keys of a service share.
    """
    if suspicious(line):
        yield from _inspect(line.rstrip(b"\r\n").decode(errors="replace"))


def _inspect(text: str) -> Iterator[Finding]:
    spans = _spans(text)
    root = scan(text)[0] if spans else None
    for span in spans:
        begins = f" ({span.hint}…)" if span.hint else ""
        pointer = _around(root, span.start).pointer if root else ""
        yield Finding(span.kind.code, f"{span.kind.name}{begins}", span.start, pointer)


def _around(node: Node, at: int) -> Node:
    """The innermost value that stands around the character `at`."""
    children = [child for child in (*node.keys.values(), *node.items) if child.start <= at]
    return _around(children[-1], at) if children else node


def redact(text: str) -> str:
    """`text` with every secret and personal datum replaced by its kind, such as `[EMAIL]`.

    It may be prose, code or a JSON line, which stays JSON.  Redacting twice changes nothing more.
    """
    while suspicious(_encoded(text)) and (spans := _spans(text)):
        parts: list[str] = []
        at = 0
        for span in spans:
            parts += text[at : span.start], _mask(text, span)
            at = span.end
        text = "".join([*parts, text[at:]])
    return text


_KEY_BEFORE = re.compile(r'(\\*")[ \t]*:[ \t]*$')
_VALUE_ENDS = re.compile(r"[ \t]*[,}]")


def _mask(text: str, span: Span) -> str:
    """What stands in for `span`: quoted like its key where it was a JSON number."""
    key = _KEY_BEFORE.search(text[max(0, span.start - 16) : span.start])
    quote = key[1] if key and _VALUE_ENDS.match(text, span.end) else ""
    return f"{quote}[{span.kind.label}]{quote}"


def _spans(text: str) -> list[Span]:
    """Everything private in `text`, from left to right, without overlaps."""
    plain = Plain(text)
    likely = topics(_encoded(plain.text))
    found = [
        (span.start, rank, span)
        for rank, (topic, find) in enumerate(_FINDERS)
        if topic in likely
        for span in find(plain.text)
    ]
    kept: list[tuple[int, Span]] = []
    for start, rank, span in sorted(found):
        if not kept or start >= kept[-1][1].end:
            kept.append((rank, span))
        elif rank < kept[-1][0]:
            kept[-1] = (rank, span)
    return [
        span._replace(start=plain.original(span.start), end=plain.original(span.end))
        for _, span in kept
    ]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

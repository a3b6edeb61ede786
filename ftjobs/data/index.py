"""Which rows and which prompts a file holds, as 16 bytes a line: FT801, FT802, FT811, FT812.

Rows are compared by 64-bit hashes of what they say, however their JSON is spelt.  Two different
ones among ten million share a hash with a probability of 3 in a million.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from ftjobs.data.scan import Finding

_PART = 2**20
"""Hashes looked at together, as a set of about 70 MB."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode
_SETTINGS = ("tools", "parallel_tool_calls")
_PLAIN = {"role", "content", "weight"}


class Index:
    """The hashes of a file's rows: one entry a line, 0 for a line without an example."""

    def __init__(self) -> None:
        self.prompts = array("Q")
        self.rows = array("Q")

    def add(self, texts: Sequence[bytes | msgspec.Raw]) -> None:
        """A row given as what it says, the answer last; one that says nothing is skipped."""
        if not texts:
            self.skip()
            return
        prompt = xxh3_64_intdigest(b"\0".join(texts[:-1]))
        self.prompts.append(prompt)
        self.rows.append(xxh3_64_intdigest(texts[-1], prompt))

    def add_line(self, line: bytes, method: str | None) -> None:
        """A row of any method, given as its line; None for a line that is compared with none."""
        try:
            self.add(texts_of(line, method) if method else [])
        except (ValueError, RecursionError):  # its errors are codes that do not count
            self.skip()

    def skip(self) -> None:
        """A line that is no example."""
        self.prompts.append(0)
        self.rows.append(0)

    def extend(self, other: Index) -> None:
        """The lines of the part of the file that follows."""
        self.prompts.extend(other.prompts)
        self.rows.extend(other.rows)


def overlap_within(index: Index, *, contradictions: bool) -> Iterator[tuple[int, Finding]]:
    """FT801 and FT802 by line; contradictions only where a prompt should have one answer."""
    rows = _repeated(index.rows)
    prompts = _repeated(index.prompts) if contradictions else set()
    first_row: dict[int, int] = {}
    first_prompt: dict[int, tuple[int, int] | None] = {}
    if not rows and not prompts:
        return
    for line, (prompt, row) in enumerate(zip(index.prompts, index.rows, strict=True), start=1):
        if row in rows:
            first = first_row.setdefault(row, line)
            if first != line:
                yield line, Finding("FT801", f"the row is the same as line {first}")
        if prompt in prompts:
            known = first_prompt.setdefault(prompt, (line, row))
            if known is not None and known[1] != row:
                message = f"the prompt of line {known[0]} has another answer here"
                yield line, Finding("FT802", message)
                first_prompt[prompt] = None  # said once a prompt


def overlap_between(
    index: Index, others: Sequence[tuple[str, Index]]
) -> Iterator[tuple[int, Finding]]:
    """FT811 and FT812 by line: what is also in another file, by its name."""
    for name, other in others:
        rows = dict(_first_lines(other.rows, _shared(index.rows, other.rows)))
        prompts = dict(_first_lines(other.prompts, _shared(index.prompts, other.prompts)))
        if not rows and not prompts:
            continue
        for line, (prompt, row) in enumerate(zip(index.prompts, index.rows, strict=True), start=1):
            if row in rows:
                yield line, Finding("FT811", f"the row is also {name}:{rows[row]}")
            elif prompt in prompts:
                yield line, Finding("FT812", f"the prompt is also that of {name}:{prompts[prompt]}")


def _repeated(values: Sequence[int]) -> set[int]:
    again: set[int] = set()
    for part in _parts(values):
        if len(set(part)) < len(part):
            counts = Counter(part)
            again.update(value for value, count in counts.items() if count > 1)
    again.discard(0)
    return again


def _shared(left: Sequence[int], right: Sequence[int]) -> set[int]:
    both: set[int] = set()
    parts = max(len(left), len(right)) // _PART + 1
    for mine, theirs in zip(_parts(left, parts), _parts(right, parts), strict=True):
        both |= set(mine).intersection(theirs)
    both.discard(0)
    return both


def _parts(values: Sequence[int], parts: int | None = None) -> Iterator[Sequence[int]]:
    """The values in parts that fit in memory as a set; equal values in the same part."""
    parts = parts or len(values) // _PART + 1
    if parts == 1:
        yield values
        return
    for part in range(parts):
        yield [value for value in values if value % parts == part]


def _first_lines(values: Sequence[int], wanted: set[int]) -> Iterator[tuple[int, int]]:
    """(value, line) of the first line of each value."""
    told: set[int] = set()
    for line, value in enumerate(values, start=1):
        if value in wanted and value not in told:
            told.add(value)
            yield value, line


# --- what a row says -----------------------------------------------------------------------------


def texts_of(line: bytes, method: str | None) -> list[bytes]:
    """The parts of a row that are compared, however it is spelt; the last is the answer.

    Raises:
        ValueError: the row has not the shape of its method.
    """
    row = _decode(line)
    try:
        return list(_parts_of(row, method))
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError("not a row of this method") from error


def _parts_of(row: Any, method: str | None) -> Iterator[bytes]:
    if method == "completion":
        yield from (_encode(row["prompt"]), _encode(row["completion"]))
        return
    asked = row["input"] if method == "dpo" else row
    yield from (_encode(asked[key]) for key in _SETTINGS if asked.get(key) not in (None, []))
    yield "".join(message["role"][0] for message in asked["messages"]).encode()
    yield from map(_said, asked["messages"])
    if method == "dpo":
        yield _encode([row["preferred_output"], row["non_preferred_output"]])
    elif method == "reinforcement":
        known = (*_SETTINGS, "messages")
        yield _encode({key: value for key, value in row.items() if key not in known})


def _said(message: dict[str, Any]) -> bytes:
    """A message; of a plain one the text alone, as the faster tiers give it."""
    content = message.get("content")
    return _encode(content if message.keys() <= _PLAIN and type(content) is str else message)

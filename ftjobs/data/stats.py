"""What a file holds, in numbers: one pass, and a memory that does not grow with the file."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate, islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ftjobs.data.dataset import Dataset
from ftjobs.data.reading import DamagedError, lines_of, opened
from ftjobs.data.sniff import BOM
from ftjobs.data.tokens import Row, TokenCounter, images, is_trained, row_of, texts
from ftjobs.errors import DatasetError, TrainingError

MOST_LABELS = 50
"""Different answers that still count as labels."""

LONGEST_LABEL = 64
"""Characters of an answer that still counts as a label."""

_FINE = 7
"""An octave has 2**7 bins while counting: a percentile is at most 1/128 off."""

_MOST_BINS = 16
"""Bins that a finished histogram has at most."""


class Histogram(BaseModel):
    """How whole numbers from 0 are spread.

    `counts[i]` is how many values v have `edges[i] <= v < edges[i + 1]`, so there is one edge
    more than counts.  The bins grow with the values: the octave from 2**n to 2**(n + 1) has 1,
    2, 4, … bins of equal width, as many as keep the whole at 16 bins, or 1.

    `p5`, `p50` and `p95` are percentiles by nearest rank: the smallest value that at least
    5 %, 50 %, 95 % of the values do not exceed.  They are exact below 256 and otherwise at most
    1/128 too high; everything else is exact.  `total` is the sum of all values, `mean` is
    `total` divided by their number, `sum(counts)`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: tuple[int, ...]
    counts: tuple[int, ...]
    minimum: int
    p5: int
    p50: int
    p95: int
    maximum: int
    mean: float
    total: int


class Statistics(BaseModel):
    """What a file of training examples holds.

    `rows` are the lines that are not blank, `examples` those of them that could be read as an
    example; all other numbers are about the examples.  `messages` counts messages by their
    role, `turns` is the number of messages per example, `characters` that of all texts, calls
    included.

    `labels` is how often each answer occurs, most frequent first, if the answers are short
    labels: at most 50 different ones of at most 64 characters, each twice on average.

    Token numbers are None without a counter.  `counter` names it and `exact` says whether it is
    the model's own tokenizer or an estimate.  `tokens` are those of each row, `answer_tokens`
    the trained ones.  Rows longer than `context` tokens (None: not known) are counted in `cut`,
    their tokens beyond it in `cut_tokens`, and in `answers_cut` those rows that lose trained
    tokens.  `uncounted` rows are in no token number: the model cannot be shown them.  The two
    examples of a preference are one row: the prompt once, and both outputs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    examples: int
    method: str | None = None
    messages: Mapping[str, int]
    turns: Histogram | None = None
    tool_calls: int = 0
    images: int = 0
    characters: int = 0
    labels: Mapping[str, int] | None = None
    counter: str | None = None
    exact: bool = False
    context: int | None = None
    tokens: Histogram | None = None
    answer_tokens: Histogram | None = None
    cut: int = 0
    cut_tokens: int = 0
    answers_cut: int = 0
    uncounted: int = 0


def statistics(
    source: str | os.PathLike[str] | Dataset, counter: TokenCounter | None = None
) -> Statistics:
    """Count what a file holds, in one pass.

    The file need not be valid: lines that are no example are counted as rows, and passed over.

    Raises:
        ConfigError: the file cannot be opened or read.
        DatasetError: its compressed data is damaged.
    """
    survey = _Survey(counter)
    for number, line in lines_in(source.path if isinstance(source, Dataset) else Path(source)):
        survey.line(line, number)
    return survey.statistics()


def lines_in(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers from 1.

    A line that is too long to be read is handed out empty.

    Raises:
        ConfigError: the file cannot be opened or read.
        DatasetError: its compressed data is damaged.
    """
    try:
        with opened(path) as file:
            for number, line in enumerate(lines_of(file), start=1):
                if line is None:
                    yield number, b""
                elif text := line.removeprefix(BOM if number == 1 else b"").strip():
                    yield number, text
    except DamagedError as error:
        raise DatasetError(f"{path}: {error}", hint="Copy or compress it again.") from None


class _Survey:
    """The state of one pass."""

    def __init__(self, counter: TokenCounter | None) -> None:
        self.rows = 0
        self._counter = counter
        self._method: str | None = None
        self._messages: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._turns, self._tokens, self._answers = Tally(), Tally(), Tally()
        self._labels: Counter[str] | None = Counter()

    def line(self, line: bytes, number: int) -> None:
        """Count one line that is not blank."""
        self.rows += 1
        row = row_of(line, number)
        if row is None:
            return
        self._method = self._method or row.method
        self._sums["examples"] += 1
        self._contents(row)
        self._label(row)
        if self._counter is not None:
            self._lengths(row, self._counter)

    def _contents(self, row: Row) -> None:
        self._turns.add(len(row.messages))
        for message in row.messages:
            self._messages[message.role] += 1
            self._sums["tool_calls"] += len(message.tool_calls or ())
            self._sums["images"] += images(message)
            self._sums["characters"] += sum(map(len, texts(message)))

    def _label(self, row: Row) -> None:
        """Count the answer, until there is one that is no label."""
        if self._labels is None:
            return
        last = row.messages[-1] if row.messages else None
        answer = last.content if last and is_trained(last) and not last.tool_calls else None
        if isinstance(answer, str) and row.method == "supervised" and len(answer) <= LONGEST_LABEL:
            self._labels[answer] += 1
        if self._labels.total() < self._sums["examples"] or len(self._labels) > MOST_LABELS:
            self._labels = None

    def _lengths(self, row: Row, counter: TokenCounter) -> None:
        try:
            first, *others = [counter.count(example) for example in row.examples]
        except TrainingError:
            self._sums["uncounted"] += 1
            return
        counts = (first, *others)
        self._tokens.add(first.total + sum(count.answer for count in others))
        self._answers.add(sum(count.answer for count in counts))
        self._sums["cut"] += any(count.cut for count in counts)
        self._sums["cut_tokens"] += sum(count.cut for count in counts)
        self._sums["answers_cut"] += any(count.answer_cut for count in counts)

    def statistics(self) -> Statistics:
        """What has been counted."""
        counter = self._counter
        return Statistics(
            rows=self.rows,
            method=self._method,
            messages=dict(self._messages.most_common()),
            turns=self._turns.histogram(),
            labels=self._found_labels(),
            counter=counter.name if counter else None,
            exact=counter.exact if counter else False,
            context=counter.context if counter else None,
            tokens=self._tokens.histogram(),
            answer_tokens=self._answers.histogram(),
            **{"examples": 0, **self._sums},
        )

    def _found_labels(self) -> Mapping[str, int] | None:
        labels = self._labels
        if not labels or labels.total() < 2 * len(labels):
            return None
        return dict(labels.most_common())


class Tally:
    """A histogram while it is counted.  Tallies of parts add up to that of the whole."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._least: int | None = None
        self._most = 0
        self._total = 0

    def add(self, value: int) -> None:
        """Count one value, 0 or more."""
        self._bins[_floor(value, _FINE)] += 1
        self._least = value if self._least is None else min(value, self._least)
        self._most = max(value, self._most)
        self._total += value

    def merge(self, other: Tally) -> None:
        """Count all that `other` has counted."""
        self._bins += other._bins
        if other._least is not None:
            self._least = other._least if self._least is None else min(self._least, other._least)
        self._most = max(self._most, other._most)
        self._total += other._total

    def histogram(self) -> Histogram | None:
        """What has been counted; None if that is nothing."""
        if self._least is None:
            return None
        edges, counts = self._coarse(self._least)
        p5, p50, p95 = (self._percentile(percent) for percent in (5, 50, 95))
        return Histogram(
            edges=edges,
            counts=counts,
            minimum=self._least,
            p5=p5,
            p50=p50,
            p95=p95,
            maximum=self._most,
            mean=self._total / self._bins.total(),
            total=self._total,
        )

    def _coarse(self, least: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Edges and counts, in bins as fine as the largest number of them allows."""
        finest_first = range(_FINE, 0, -1)
        bits = next((b for b in finest_first if _bins(least, self._most, b) <= _MOST_BINS), 0)
        edges = list(_edges(least, self._most, bits))
        counts = [0] * (len(edges) - 1)
        places = {edge: place for place, edge in enumerate(edges)}
        for start, count in self._bins.items():
            counts[places[_floor(start, bits)]] += count
        return tuple(edges), tuple(counts)

    def _percentile(self, percent: int) -> int:
        rank = math.ceil(self._bins.total() * percent / 100)
        starts = sorted(self._bins)
        reached = accumulate(self._bins[start] for start in starts)
        start = next(one for one, many in zip(starts, reached, strict=True) if many >= rank)
        return max(self._least or 0, min(self._most, _next(start, _FINE) - 1))


def _width(start: int, bits: int) -> int:
    """How wide the bin at `start` is if every octave has 2**bits bins; a bin is 1 at least."""
    return 1 << max(0, start.bit_length() - 1 - bits)


def _floor(value: int, bits: int) -> int:
    """Where the bin of `value` starts."""
    return value - value % _width(value, bits)


def _next(start: int, bits: int) -> int:
    """Where the bin after the one at `start` starts."""
    return start + _width(start, bits)


def _edges(least: int, most: int, bits: int) -> Iterator[int]:
    """The bins' edges from the least value to beyond the most."""
    edge = _floor(least, bits)
    yield edge
    while edge <= most:
        edge = _next(edge, bits)
        yield edge


def _bins(least: int, most: int, bits: int) -> int:
    """How many bins it takes, or one more than is allowed."""
    return sum(1 for _ in islice(_edges(least, most, bits), _MOST_BINS + 2)) - 1

"""Many requests answered together over one base model, each as if it were alone.

A step of the model costs nearly as much for one row as for many, so rows are kept full: as soon
as several answers have ended, the next prompts are read and take their places.  Rows of the base
and of its adapters stand side by side.  Every row draws from a source of its own, so an answer
does not depend on its neighbours.  In float32 greedy answers are those of one request at a time;
sums round a little differently in a batch, which bfloat16 shows where two tokens are as likely.

Memory is bounded: rows × columns of the cache stay within a budget of tokens.  A row for which
there is no room any more waits, and is read again with what it has written.  Who came first comes
in first: what does not fit yet is passed by nobody, so that a long prompt's turn comes too.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence

import torch

from ftjobs.backends.local.answers.asked import Asked, Row, queue
from ftjobs.backends.local.answers.draw import NO_NUMBERS
from ftjobs.backends.local.answers.engine import MAX_ADAPTERS, Engine, Question
from ftjobs.backends.local.answers.feed import feed, token_bytes
from ftjobs.backends.local.answers.gathered import Answered
from ftjobs.backends.local.answers.rows import SPARE, RowCache

MAX_ROWS = 64
SHARE = 4
"""Prompts are read once a quarter of the rows is free, since to read one costs a whole step.

Measured with 96 ragged answers in 32 rows, seconds of CPU: 21.7 when every free row is filled at
once, 20.5 at an eighth, 19.0 at a quarter, 23.8 at a half, 31.6 when the whole batch must end.
"""
READ_TOKENS = 2048
"""Tokens of prompts, with their padding, that are read in one step."""
CACHE_BYTES = 2**30
"""For keys and values on a CPU; on a GPU they may take half of what is free."""

Found = tuple[int, Answered | Exception]
"""The number of a question, and its answer or the error that it alone has met."""
Ended = tuple[Asked, Exception | None]
"""A request that has its answers, or the error that it alone has met."""


def answers(engine: Engine, questions: Sequence[tuple[int, Question]]) -> Iterator[Found]:
    """Answer numbered questions, in a batch where model and sampling allow it; see `Batch.run`.

    Those that are searched with beams come last, one after another.
    """
    alone = [each for each in questions if not engine.joins(each[1])]
    numbers = {number for number, _ in alone}
    together = [each for each in questions if each[0] not in numbers]
    if together:
        yield from Batch(engine, together).run()
    for number, question in alone:
        try:
            yield number, _alone(engine, Asked(number, question))
        except ValueError as error:  # ModelError is one
            yield number, error


def _alone(engine: Engine, asked: Asked) -> Answered:
    asked.say(engine.answer(asked.question, asked.writers))
    return asked.answered()


class Batch:
    """Answers questions of one engine: those it begins with, and those that are added.

    At most `max_rows` answers are written at a time, and at most `budget` tokens are kept in the
    cache, padding included; a single answer may be longer.  Prompts are read once one in `share`
    rows is free, or as many as wait.
    """

    def __init__(
        self,
        engine: Engine,
        questions: Sequence[tuple[int, Question]] = (),
        *,
        max_rows: int = MAX_ROWS,
        budget: int | None = None,
        share: int = SHARE,
    ) -> None:
        self.engine, self.max_rows, self.share = engine, max_rows, share
        self.budget = budget or _budget(engine)
        self.waiting: deque[Row] = deque()
        self.rows: list[Row] = []
        self.cache = RowCache(engine.layers, 0)
        self._places = itertools.count()
        self._held: Counter[str] = Counter()
        self._done: list[Ended] = []
        self.add(queue(questions))

    def run(self) -> Iterator[Found]:
        """Answers as they end.  Closing the iterator ends the work.

        Errors are ValueError (NaN in the weights) and ModelError (an adapter that is damaged).
        """
        try:
            while self.waiting or self.rows:
                for asked, error in self.turn():
                    yield asked.number, error or asked.answered()
        finally:
            self.close()

    def add(self, rows: Iterable[Row]) -> None:
        """Let more rows wait, behind those that do."""
        for row in rows:
            row.place = next(self._places)
            self.waiting.append(row)

    def turn(self) -> list[Ended]:
        """Let in who fits, and write one more token for everybody; who has ended."""
        self._admit()
        self._step()
        done, self._done = self._done, []
        return done

    @torch.inference_mode()
    def drop(self, asked: Asked) -> None:
        """Take out the rows of a request, wherever they are."""
        self.waiting = deque(row for row in self.waiting if row.asked is not asked)
        for position in reversed(range(len(self.rows))):
            if self.rows[position].asked is asked:
                self._release(self.rows[position].name)
                self._leave(position)

    def close(self) -> None:
        """Let go of the adapters.  To be called at the end."""
        for name in list(self._held.elements()):
            self._release(name)

    # --- who comes in ------------------------------------------------------------------------

    def _admit(self) -> None:
        free = self.max_rows - len(self.rows)
        if self.rows and free < min(self.max_rows // self.share, len(self.waiting)):
            return
        while group := self._next_group():
            self._read(group)

    def _next_group(self) -> list[Row]:
        """Rows that wait and can be read in one step, with their adapters in memory."""
        group: list[Row] = []
        while self.waiting and self._fits(group, self.waiting[0]):
            row = self.waiting.popleft()
            if not row.asked.failed and self._hold(row):
                group.append(row)
        return sorted(group, key=lambda row: row.name)  # neighbours are added to without a copy

    def _fits(self, group: Sequence[Row], row: Row) -> bool:
        inside = [*self.rows, *group, row]
        longest = max(len(each.ids) for each in inside)
        to_read = max(len(each.ids) for each in [*group, row]) * (len(group) + 1)
        return len(inside) == 1 or (
            len(inside) <= self.max_rows
            and len(inside) * (longest + SPARE) <= self.budget
            and (not group or to_read <= READ_TOKENS)
            and len({each.adapter for each in inside} - {None}) <= MAX_ADAPTERS
        )

    @torch.inference_mode()
    def _read(self, group: Sequence[Row]) -> None:
        """Read prompts, each once however many answers it gets, and draw the first tokens."""
        places: dict[tuple[str, tuple[int, ...]], int] = {}
        picks = [places.setdefault((row.name, tuple(row.ids)), len(places)) for row in group]
        names, texts = zip(*places, strict=True)
        cache = RowCache(self.engine.layers, len(places))
        try:
            logits = feed(self.engine, cache, texts, [len(ids) for ids in texts], names)[:, -1]
        except RuntimeError as error:  # there is no memory for these; the others may go on
            for row in group:
                self._fail(row, error)
                self._release(row.name)
            return
        going = self._draw(group, logits[picks])
        kept = [picks[position] for position in going]
        if self.rows:
            self.cache.join(cache, kept)
        else:
            self.cache = cache.select(kept)
        self.rows += [group[position] for position in going]

    # --- what they do ------------------------------------------------------------------------

    @torch.inference_mode()
    def _step(self) -> None:
        """One more token for every row."""
        self._keep_within_budget()
        if not self.rows:
            return
        lengths = [len(row.ids) for row in self.rows]
        self.cache.narrow(max(lengths) - 1)
        last = [row.ids[-1:] for row in self.rows]
        names = [row.name for row in self.rows]
        logits = feed(self.engine, self.cache, last, lengths, names)[:, -1]
        going = set(self._draw(self.rows, logits))
        for position in reversed(range(len(self.rows))):
            if position not in going:
                self._leave(position)

    def _draw(self, rows: Sequence[Row], logits: torch.Tensor) -> list[int]:
        """Give every row its next token; the positions of those that go on."""
        peaks, likeliest = (values.tolist() for values in logits.max(dim=-1))
        for position, row in enumerate(rows):
            try:
                if math.isnan(peaks[position]):
                    raise ValueError(NO_NUMBERS)
                if row.draw.likeliest:
                    row.take(likeliest[position])
                else:
                    row.take(row.draw.next(logits[position : position + 1]))
            except Exception as error:  # noqa: BLE001 - it is this request's, and no other's
                self._fail(row, error)
            if row.asked.finished and not row.asked.failed:
                self._done.append((row.asked, None))
        ended = [row.writer.finished or row.asked.failed for row in rows]
        for row in itertools.compress(rows, ended):
            self._release(row.name)
        return [position for position, end in enumerate(ended) if not end]

    def _fail(self, row: Row, error: Exception) -> None:
        if not row.asked.failed:
            row.asked.failed = True
            self._done.append((row.asked, error))

    def _leave(self, position: int) -> None:
        """Take a row out; the last one moves to its place."""
        self.cache.drop(position)
        last = self.rows.pop()
        if position < len(self.rows):
            self.rows[position] = last

    def _keep_within_budget(self) -> None:
        """Send rows back to wait, the newest first, until a step fits in."""
        while len(self.rows) > 1 and self._needed() > self.budget:
            position = max(range(len(self.rows)), key=lambda at: self.rows[at].place)
            row = self.rows[position]
            self._leave(position)
            self._release(row.name)
            self.waiting.appendleft(row)

    def _needed(self) -> int:
        return len(self.rows) * max(len(row.ids) for row in self.rows)

    def _hold(self, row: Row) -> bool:
        try:
            row.name = self.engine.hold(row.adapter)
        except Exception as error:  # noqa: BLE001 - as in `_draw`
            self._fail(row, error)
            return False
        self._held[row.name] += 1
        return True

    def _release(self, name: str) -> None:
        self._held[name] -= 1
        self.engine.release(name)


def _budget(engine: Engine) -> int:
    """Tokens of cache, padding included, that may be kept."""
    free = torch.cuda.mem_get_info()[0] // 2 if engine.device == "cuda" else CACHE_BYTES
    return max(1, free // token_bytes(engine))

"""What a batch is asked, and the answers as they grow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftjobs.backends.local.answers.draw import Draw
from ftjobs.backends.local.answers.engine import MAX_ADAPTERS, Question
from ftjobs.backends.local.answers.gathered import Answered, Gathered
from ftjobs.backends.local.answers.writer import Writer
from ftjobs.schema import Delta


class Asked:
    """A request by its number, with the parts of its answers.  `failed` once it has an error.

    With `whole`, each answer is said in one piece.
    """

    def __init__(self, number: int, question: Question, *, whole: bool = True) -> None:
        self.number, self.question = number, question
        self.writers = question.writers(whole=whole)
        self.failed = False
        self._gathered = Gathered(question.sampling)

    def say(self, deltas: Iterable[Delta]) -> None:
        """Take the next pieces of any of the answers."""
        self._gathered.take(deltas)

    @property
    def finished(self) -> bool:
        """True if every answer has ended."""
        return all(writer.finished for writer in self.writers)

    def answered(self) -> Answered:
        """The answers, once they are finished."""
        return self._gathered.answered(self.question.usage(self.writers))

    def rows(self) -> list[Row]:
        """One for each of its answers."""
        return [
            Row(self, writer, draw, list(self.question.prompt))
            for writer, draw in zip(self.writers, self.question.draws(), strict=True)
        ]


@dataclass(eq=False)
class Row:
    """One answer: `ids` are its prompt and what it has written; `name` is its adapter's.

    `place` says how early it came, among the rows of a batch.
    """

    asked: Asked
    writer: Writer
    draw: Draw
    ids: list[int]
    name: str = ""
    place: int = 0

    @property
    def adapter(self) -> Path | None:
        """Where the adapter is, None for the base."""
        return self.asked.question.adapter

    def take(self, token: int) -> None:
        """Write one more token; the limit ends the answer."""
        self.ids.append(token)
        self.asked.say(self.writer.write(token, self.draw.scored))
        if not self.writer.finished and self.writer.read >= self.asked.question.limit:
            self.asked.say(self.writer.finish("length"))


def queue(questions: Sequence[tuple[int, Question]]) -> list[Row]:
    """Rows in the order in which they are read.

    At most MAX_ADAPTERS adapters at a time; among those the longest prompts first, so that
    memory is short at the beginning or never, and little is padded.
    """
    blocks: dict[Path | None, int] = {}
    rows = []
    for number, question in questions:
        block = blocks.setdefault(question.adapter, len(blocks)) // MAX_ADAPTERS
        rows += [(block, -len(question.prompt), row) for row in Asked(number, question).rows()]
    return [row for *_, row in sorted(rows, key=lambda item: item[:2])]

"""Retrieval: passages of a user's own documents, put before the question.

    Arm("rag", "smollm2-135m", backend, documents=Documents.read("handbook/", passages=4))

It is what a fine-tuned model has to beat: the same base model, shown what it was not trained on.
Passages are found with BM25 (Robertson and Zaragoza 2009, "The Probabilistic Relevance
Framework"; in Lucene's variant, k1 = 1.5, b = 0.75, as `bm25s` implements it: Lù 2024).  Words
are compared without regard to case and width; scripts that are written without spaces, such as
Japanese, by their pairs of characters.

What a document says goes to the model as it is: a sentence in it can steer the answer.  The
passages stand in the user's message, not in the system message, so that they carry no more
weight than a question does.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from ftjobs.errors import ConfigError
from ftjobs.evals.answers import prompt_id
from ftjobs.evals.passages import Passage, read_passages
from ftjobs.evals.promptrow import text_in, without_system
from ftjobs.schema import ChatMessage

__all__ = ["Documents", "tokens"]

PREFACE = "Passages that may help to answer:"
RULE = "---"

MOST_PASSAGES = 100


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """Documents that can be searched; see `read`.

    Attributes:
        files: how many there are.
        passages: how many passages a question gets at most.
    """

    files: int
    passages: int
    _all: Sequence[Passage] = field(repr=False)
    _words: Mapping[str, int] = field(repr=False)
    _index: Any = field(repr=False)

    @classmethod
    def read(
        cls, place: str | Path, *, passages: int = 4, leave_out: Iterable[Path] = ()
    ) -> Documents:
        """The documents of a folder or a file; see `ftjobs.evals.passages` for what is read.

        `leave_out` are files in the folder that are none, such as the prompts to be answered.

        Raises:
            ConfigError: `bm25s` is not installed, there is no text, or it is too much; or
                `passages` is not from 1 to 100.
            DatasetError: a line of a .jsonl file is no document.
        """
        if not 1 <= passages <= MOST_PASSAGES:
            raise ConfigError(f"passages is {passages}: from 1 to {MOST_PASSAGES} can be shown")
        found, files = read_passages(place, leave_out=leave_out)
        words: dict[str, int] = {}
        ids = [[words.setdefault(t, len(words)) for t in tokens(each.text)] for each in found]
        return cls(files, passages, found, words, _indexed(ids, words, place))

    def about(self) -> str:
        """What there is, in words."""
        several = "" if self.files == 1 else "s"
        shown = f"{self.passages} passage{'' if self.passages == 1 else 's'}"
        return f"BM25 over {self.files:,} document{several}, {shown}"

    def found(self, question: str, *, asked: str = "") -> list[Passage]:
        """The passages that fit a question, the best first; of equals, the first in the folder.

        A chat example that answers `asked`, a `prompt_id`, is none of them.
        """
        import numpy as np

        known = [self._words[token] for token in tokens(question) if token in self._words]
        if not known:
            return []
        scores = self._index.get_scores_from_ids(known)
        order = np.argsort(-scores, kind="stable")
        fit = (self._all[int(at)] for at in order if scores[at] > 0)
        return list(islice((each for each in fit if each.asked != asked), self.passages))

    def shown(self, messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
        """A conversation with the passages before the last question of its user.

        Nothing is changed where nothing fits.  A document that is this very conversation, with the
        answer to it, is not shown: it may be a copy of the prompts.
        """
        places = [at for at, message in enumerate(messages) if message.role == "user"]
        own = prompt_id(without_system(messages))
        found = self.found(text_in(messages[places[-1]]), asked=own) if places else []
        if not found:
            return tuple(messages)
        asked = messages[places[-1]]
        content = _before(_written(found), asked.content)
        update = asked.model_copy(update={"content": content})
        return (*messages[: places[-1]], update, *messages[places[-1] + 1 :])


def _written(passages: Sequence[Passage]) -> str:
    numbered = [f"[{n}] {each.name}\n{each.text}" for n, each in enumerate(passages, start=1)]
    return "\n\n".join([PREFACE, *numbered, f"{RULE}\n\n"])


def _before(text: str, content: object) -> object:
    if isinstance(content, tuple):
        return ({"type": "text", "text": text}, *content)
    return f"{text}{content}"


def _indexed(ids: list[list[int]], words: dict[str, int], place: str | Path) -> Any:
    try:
        import bm25s
    except ImportError:
        raise ConfigError(
            "searching documents needs the library bm25s", hint="pip install 'ftjobs[evals]'"
        ) from None
    if not words:
        raise ConfigError(f"{place}: no words in the documents")
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene", backend="numpy", csc_backend="numpy")
    index.index((ids, words), show_progress=False)
    return index


# --- words ------------------------------------------------------------------------------------

_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3031-\u3035\u3040-\u30ff\u31f0-\u31ff"  # kana and their marks
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7af"  # Hangul: spaced, but the endings grow onto the words
)


@cache
def _pattern() -> re.Pattern[str]:
    marks = "".join(
        chr(code) for code in range(0x300, 0xE00) if unicodedata.category(chr(code))[0] == "M"
    )
    return re.compile(f"([{_UNSPACED}]+)|((?:[^\\W_{_UNSPACED}]|[{marks}])+)")


def tokens(text: str) -> Iterator[str]:
    """The words of a text, and the pairs of characters of scripts without spaces, in order.

    NFKC first, so that ｶﾞｽ is ガス; a character that stands alone is a token of its own.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    for run, word in _pattern().findall(plain):
        if word or len(run) == 1:
            yield word or run
        else:
            yield from map("".join, pairwise(run))

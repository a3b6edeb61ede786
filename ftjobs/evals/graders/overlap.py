"""Graders of how much of the expected text an answer shares, from 0 (nothing) to 1 (all of it).

All of them read the first `READ` characters of a text, so that an answer without end takes half a
second at most.  An answer that is the expected text scores 1, an empty text against another 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain
from typing import Protocol

from ftjobs.errors import ConfigError
from ftjobs.evals.graders.base import Function, of_texts
from ftjobs.evals.graders.normal import is_spaceless, nfc, words

__all__ = ["READ", "TOKENIZERS", "bleu", "chrf", "fuzzy", "gleu", "lcs", "rouge_l", "rouge_n"]

READ = 50_000
"""Characters of each text that are compared."""


TOKENIZERS = ("13a", "char", "intl", "ja-mecab", "ko-mecab", "none", "zh")
"""Those of sacrebleu that download nothing."""


class _Metric(Protocol):
    """A metric of sacrebleu."""

    def sentence_score(self, hypothesis: str, references: Sequence[str]) -> _Score: ...

    def get_signature(self) -> object: ...


class _Score(Protocol):
    score: float


def chrf() -> Function:
    """chrF2: F-score of character 1- to 6-grams, recall weighted twice.

    Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", as sacrebleu
    computes it (which prints it times 100).  It suits languages without spaces.

    Raises:
        ConfigError: sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise _needs_sacrebleu("chrf") from None
    metric = CHRF()
    about = f"character n-gram F-score (chrF2), {_signature(metric)}"
    return _overlap("chrf", _percent(metric), about)


def bleu(tokenize: str = "auto") -> Function:
    """Sentence BLEU: precision of word 1- to 4-grams, with a penalty for short answers.

    Papineni et al. 2002, with the exponential smoothing of Chen & Cherry 2014 and only the orders
    that the texts have, as sacrebleu's `sentence_bleu` computes it (which prints it times 100).
    It is rough for single sentences, and a mean of it is not corpus BLEU.

    Args:
        tokenize: one of `TOKENIZERS`, such as "13a", "char" or "ja-mecab", which needs
            `pip install 'sacrebleu[ja]'`.  "auto" takes "char" where the expected text is in a
            script without spaces, such as Japanese, and "13a" otherwise.  The two are on
            different scales: of characters, more is right by chance.

    Raises:
        ConfigError: sacrebleu or the tokenizer is missing, or there is no such tokenizer.
    """
    metric = _bleu("13a" if tokenize == "auto" else tokenize)
    about = f"sentence BLEU, {_signature(metric)}"
    if tokenize != "auto":
        return _overlap(f"bleu:{tokenize}", _percent(metric), about)
    spaced, spaceless = _percent(metric), _percent(_bleu("char"))

    def score(answer: str, expected: str) -> float:
        return (spaceless if is_spaceless(expected) else spaced)(answer, expected)

    return _overlap("bleu", score, f"{about}; tok:char in scripts without spaces")


def gleu() -> Function:
    """GLEU: the smaller of precision and recall of word 1- to 4-grams together.

    Wu et al. 2016, "Google's Neural Machine Translation System", section 4.3.  Unlike BLEU it was
    made for single sentences.  Words are those of `rouge_l`.
    """

    def score(answer: str, expected: str) -> float:
        shared, said, wanted = _shared(words(answer), words(expected), range(1, 5))
        return shared / max(said, wanted, 1)

    return _overlap("gleu", score, "the smaller of precision and recall of 1- to 4-grams")


def rouge_n(n: int) -> Function:
    """ROUGE-N: F1 of the word n-grams that answer and expected text share.

    Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".  Words are those of
    `rouge_l`; a text of fewer than n words shares nothing.

    Raises:
        ConfigError: n is not from 1 to 9.
    """
    if not 1 <= n <= 9:
        raise ConfigError(f"rouge_n of {n}: n-grams are of 1 to 9 words")

    def score(answer: str, expected: str) -> float:
        return _f1(*_shared(words(answer), words(expected), [n]))

    return _overlap(f"rouge-{n}", score, f"F1 of word {n}-grams (ROUGE-{n})")


def rouge_l() -> Function:
    """ROUGE-L: F1 of the longest common subsequence of words.

    Lin 2004, as above, on the text as one sentence.  Words are compared in lower case, without
    punctuation or stemming; each character of a script without spaces is a word.
    """

    def score(answer: str, expected: str) -> float:
        said, wanted = words(answer), words(expected)
        return _f1(lcs(said, wanted), len(said), len(wanted))

    return _overlap("rouge-l", score, "F1 of the longest common subsequence of words (ROUGE-L)")


def fuzzy() -> Function:
    """How few characters have to be inserted and deleted: 1 - (their number) / (both lengths).

    This is `fuzz.ratio` of rapidfuzz (there times 100): case and punctuation count.
    """

    def score(answer: str, expected: str) -> float:
        return _f1(lcs(answer, expected), len(answer), len(expected))

    return _overlap("fuzzy", score, "similarity by insertions and deletions of characters")


def lcs(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence.

    Hyyrö 2004, "Bit-parallel LCS-length computation revisited": a row of the table is one whole
    number, whose zeros mark where the length grows.  Memory is linear in the shorter sequence.
    """
    long, short = (one, other) if len(one) > len(other) else (other, one)
    places: dict[Hashable, int] = {}
    for place, each in enumerate(short):
        places[each] = places.get(each, 0) | 1 << place
    every = row = (1 << len(short)) - 1
    for each in long:
        if here := places.get(each):
            met = row & here
            row = (row + met | row - met) & every
    return len(short) - row.bit_count()


# --- between ----------------------------------------------------------------------------------


def _overlap(name: str, score: Callable[[str, str], float], about: str) -> Function:
    def within(answer: str, expected: str) -> float:
        answer, expected = nfc(answer[:READ]), nfc(expected[:READ])
        return 1.0 if answer == expected else min(score(answer, expected), 1.0)

    return of_texts(name, within, about=about)


def _percent(metric: _Metric) -> Callable[[str, str], float]:
    return lambda answer, expected: metric.sentence_score(answer, [expected]).score / 100


def _signature(metric: _Metric) -> object:
    """How sacrebleu computes it, and which version, in the words that papers quote."""
    metric.sentence_score("", [""])  # before, it does not know the number of references
    return metric.get_signature()


def _bleu(tokenize: str) -> _Metric:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise _needs_sacrebleu("bleu") from None
    if tokenize not in TOKENIZERS:
        raise ConfigError(
            f"the bleu grader knows no tokenizer {tokenize!r}",
            hint=f"There are: auto, {', '.join(TOKENIZERS)}.",
        )
    try:
        metric: _Metric = BLEU(tokenize=tokenize, effective_order=True)
    except (ImportError, RuntimeError):
        raise ConfigError(
            f"sacrebleu's tokenizer {tokenize!r} needs a package that is not installed",
            hint=f"pip install 'sacrebleu[{tokenize[:2]}]'",
        ) from None
    return metric


def _needs_sacrebleu(name: str) -> ConfigError:
    return ConfigError(f"the {name} grader needs sacrebleu", hint="pip install 'ftjobs[evals]'")


def _shared(
    said: Sequence[str], wanted: Sequence[str], orders: Iterable[int]
) -> tuple[int, int, int]:
    """How many n-grams of these orders both have, the one has, and the other has."""
    orders = list(orders)
    mine, theirs = (Counter(chain(*(_grams(s, n) for n in orders))) for s in (said, wanted))
    return (mine & theirs).total(), mine.total(), theirs.total()


def _grams(tokens: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def _f1(shared: int, said: int, wanted: int) -> float:
    """The harmonic mean of precision and recall."""
    return 2 * shared / (said + wanted) if shared else 0.0

"""How many tokens an example has, how many of them are trained, and how many are cut away.

    counter = counter_for("gpt-4o-mini")          # exact if tiktoken's table is on this machine
    counter.count(example).answer_cut             # trained tokens beyond the context
    check("train.jsonl", inspectors=[inspector(counter)])

Nothing here asks the network.  Counters of local base models are in `backends.local.tokens`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from ftjobs.data.estimate import MARGIN, estimate
from ftjobs.data.scan import Finding
from ftjobs.errors import TrainingError
from ftjobs.schema import ChatMessage, Example, Preference

if TYPE_CHECKING:
    import tiktoken

NEAR = 0.9
"""An example longer than this share of the context is close to it."""

PER_MESSAGE = 3
"""Tokens around every message, and once around all of them."""

PER_NAME = 1
"""Tokens around a message's name."""


class Count(NamedTuple):
    """The tokens of an example: all, the trained ones, and those beyond the context.

    `cut` counts all tokens beyond the context and `answer_cut` the trained ones among them.
    """

    total: int
    answer: int
    cut: int = 0
    answer_cut: int = 0


class TokenCounter(Protocol):
    """Counts tokens as one base model does."""

    @property
    def name(self) -> str:
        """By what is counted: "o200k_base", "smollm2-135m", "estimate"."""

    @property
    def exact(self) -> bool:
        """Whether that is the model's own tokenizer."""

    @property
    def context(self) -> int | None:
        """The longest example in tokens; None where it is not known."""

    @property
    def refuses(self) -> bool:
        """Whether a longer example fails the job; otherwise its end is cut."""

    @property
    def note(self) -> str:
        """What there is to know about the numbers, such as why they are an estimate."""

    def count(self, example: Example) -> Count:
        """The tokens of one example.  TrainingError if the model cannot be shown it."""
        ...


# --- what is known of hosted models -----------------------------------------------------------


class HostedModel(NamedTuple):
    """A hosted base model: its encoding, and the tokens of an example after which it is cut."""

    encoding: str
    context: int | None


_O200K = HostedModel("o200k_base", 65_536)  # OpenAI and Azure: "training example context length"
_CL100K = HostedModel("cl100k_base", 16_385)

HOSTED: Mapping[str, HostedModel] = MappingProxyType(
    {
        "gpt-4.1": _O200K,
        "gpt-4.1-mini": _O200K,
        "gpt-4.1-nano": _O200K,
        "gpt-4o": _O200K,
        "gpt-4o-mini": _O200K,
        "o4-mini": HostedModel("o200k_base", None),
        "gpt-3.5-turbo": _CL100K,
        "gpt-35-turbo": _CL100K,  # Azure's name of it
        "babbage-002": HostedModel("cl100k_base", None),
        "davinci-002": HostedModel("cl100k_base", None),
    }
)
"""Hosted base models by their undated name."""


def family(model: str) -> str:
    """A model's undated name: of ft:gpt-4o-mini-2024-07-18:org::id it is gpt-4o-mini."""
    base = model.removeprefix("ft:").partition(":")[0]
    return re.sub(r"-(\d{4}-\d{2}-\d{2}|\d{4})$", "", base)


def counter_for(model: str | None, *, context: int | None = None) -> TextCounter:
    """The best counter for a hosted model; an estimate for one that is not known, or for None.

    Never asks the network: tiktoken is used only if its table is in its cache already.
    `context` replaces the model's own context length.
    """
    known = HOSTED.get(family(model or ""))
    if known is None:
        what = f"the tokenizer of {model} is not known" if model else "no model is given"
        return EstimatedCounter(context=context, note=what)
    context = known.context if context is None else context
    table = _table(known.encoding)
    if isinstance(table, str):
        return EstimatedCounter(known.encoding, context=context, note=table)
    return TiktokenCounter(table, context=context)


# --- counting ---------------------------------------------------------------------------------


class TextCounter(ABC):
    """Counts an example as the pieces of text that a service puts together.

    Every message costs `PER_MESSAGE` tokens and its role, content and name, and the whole
    `PER_MESSAGE` more (OpenAI cookbook, "How to count tokens with tiktoken").  How services
    write tools is not public: a tool counts as its JSON, a call as its name and arguments, and
    an image as nothing.
    """

    refuses = False

    def __init__(self, name: str, *, exact: bool, context: int | None, note: str) -> None:
        self.name = name
        self.exact = exact
        self.context = context
        self.note = note

    def count(self, example: Example) -> Count:
        """The tokens of one example."""
        return measure(self._spans(example), self.context)

    @abstractmethod
    def _tokens(self, text: str) -> float: ...

    def sizes(self, example: Example) -> Iterator[float]:
        """Tokens of what stands before the messages, and then of each message."""
        yield self._head(example)
        for message in example.messages:
            yield self._cost(message) + sum(map(self._tokens, texts(message)))

    def _spans(self, example: Example) -> Iterator[tuple[float, bool]]:
        """Tokens in their order, and whether they are trained."""
        yield self._head(example), False
        for message in example.messages:
            yield self._cost(message), False
            trained = is_trained(message)
            for text in texts(message):
                yield self._tokens(text), trained

    def _head(self, example: Example) -> float:
        if not example.tools:
            return PER_MESSAGE
        return PER_MESSAGE + self._tokens(json.dumps(example.tools, separators=(",", ":")))

    def _cost(self, message: ChatMessage) -> float:
        """Tokens of a message beside what it says."""
        name = PER_NAME + self._tokens(message.name) if message.name else 0
        return PER_MESSAGE + self._tokens(message.role) + name


class TiktokenCounter(TextCounter):
    """Counts with a table of tiktoken."""

    def __init__(self, encoding: tiktoken.Encoding, *, context: int | None = None) -> None:
        note = "tools are counted as their JSON, images not at all"
        super().__init__(encoding.name, exact=True, context=context, note=note)
        self._encoding = encoding

    def _tokens(self, text: str) -> int:
        return sum(len(self._encoding.encode_ordinary(part)) for part in _parts(text))


class EstimatedCounter(TextCounter):
    """Counts from the characters alone; see `ftjobs.data.estimate` for how far off that is."""

    def __init__(
        self, encoding: str = "o200k_base", *, context: int | None = None, note: str = ""
    ) -> None:
        super().__init__("estimate", exact=False, context=context, note=note)
        self._encoding = encoding

    def _tokens(self, text: str) -> float:
        return estimate(text, self._encoding)


def measure(spans: Iterable[tuple[float, bool]], context: int | None) -> Count:
    """The count of tokens that follow each other, each span trained or not."""
    end = answer = answer_kept = 0.0
    for size, trained in spans:
        if trained:
            answer += size
            answer_kept += size if context is None else max(0.0, min(size, context - end))
        end += size
    total = round(end)
    cut = 0 if context is None else max(0, total - context)
    return Count(total, round(answer), cut, round(answer) - round(answer_kept) if cut else 0)


def is_trained(message: ChatMessage) -> bool:
    """Whether the message is an answer that is trained."""
    return message.role == "assistant" and message.weight != 0


def texts(message: ChatMessage) -> Iterator[str]:
    """What a message says: its texts, and the names and arguments of its calls."""
    if isinstance(message.content, str):
        yield message.content
    else:
        yield from (text for part in message.content or () if (text := _string(part, "text")))
    for call in message.tool_calls or ():
        function = call.get("function")
        if isinstance(function, Mapping):
            yield _string(function, "name")
            yield _string(function, "arguments")


def images(message: ChatMessage) -> int:
    """How many images a message shows."""
    parts = message.content if isinstance(message.content, tuple) else ()
    return sum(part.get("type") == "image_url" for part in parts)


def _string(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return value if isinstance(value, str) else ""


_LONG_SPACE = re.compile(r"\s{5000}")
_PART = re.compile(r"\S+|\s{1,5000}")


def _parts(text: str) -> Iterable[str]:
    """The text, in parts if it holds white space so long that tiktoken's patterns overflow."""
    return _PART.findall(text) if _LONG_SPACE.search(text) else (text,)


# --- tiktoken's tables ------------------------------------------------------------------------

_TABLES = {
    "o200k_base": (
        "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}


def _table(name: str) -> tiktoken.Encoding | str:
    """The encoding if it can be had without the network, else why it cannot."""
    try:
        import tiktoken
    except ImportError:
        return "tiktoken is not installed: pip install 'ftjobs[data]'"
    if not _is_cached(name):
        fetch = f"python -c \"import tiktoken; tiktoken.get_encoding('{name}')\""
        return f"tiktoken's table {name} is not on this machine; with a network, once: {fetch}"
    return tiktoken.get_encoding(name)


def _is_cached(name: str) -> bool:
    """Whether tiktoken will find its table, whole, where it looks before it downloads."""
    url, digest = _TABLES[name]
    place = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if place == "":  # tiktoken's word for "no cache": it would download every time
        return False
    folder = Path(place or Path(tempfile.gettempdir()) / "data-gym-cache")
    try:
        data = (folder / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()).read_bytes()
    except (OSError, ValueError):
        return False
    return hashlib.sha256(data).hexdigest() == digest


# --- rows and rules ---------------------------------------------------------------------------

_decoder = msgspec.json.Decoder(dict[str, Any])


class Row(NamedTuple):
    """A line of a dataset: what is trained on it, and each of its messages once.

    A preference (DPO) has two examples, the prompt with either output.
    """

    method: str
    examples: tuple[Example, ...]
    messages: tuple[ChatMessage, ...]


def row_of(line: bytes, number: int | None = None) -> Row | None:
    """A raw line without a byte order mark as a row; None if it is no example."""
    try:
        row = _decoder.decode(line)
        if "messages" in row:
            example = _example(row, row["messages"], number)
            answered = example.messages and example.messages[-1].role == "assistant"
            method = "supervised" if answered else "reinforcement"
            return Row(method, (example,), example.messages)
        if "input" in row:
            return _preference(row, number)
    except (ValueError, TypeError, KeyError, RecursionError):  # whatever else the line holds
        return None
    return None


def _example(row: Mapping[str, Any], messages: Any, number: int | None) -> Example:
    return Example.model_validate({"messages": messages, "tools": row.get("tools"), "line": number})


def _preference(row: Mapping[str, Any], number: int | None) -> Row:
    pair = Preference.model_validate({**row, "line": number})
    examples = (pair.preferred, pair.non_preferred)
    return Row("dpo", examples, (*examples[0].messages, *pair.non_preferred_output))


def inspector(counter: TokenCounter) -> Callable[[bytes], Iterable[Finding]]:
    """The rules on length, FT9xx, as a check of one raw line.

    Where the counter knows no context, only FT906 can be found.
    """

    def inspect(line: bytes) -> Iterator[Finding]:
        row = row_of(line)
        if row is not None:
            found = (_finding(counter, example) for example in row.examples)
            yield from dict.fromkeys(one for one in found if one is not None)

    return inspect


def _finding(counter: TokenCounter, example: Example) -> Finding | None:
    try:
        count = counter.count(example)
    except TrainingError as error:
        return Finding("FT906", error.message.partition(": ")[2] or error.message)
    if counter.context is None:
        return None
    if not counter.exact:
        return _estimated(count.total, counter.context)
    return _exact(count, counter.context, refuses=counter.refuses)


def _estimated(total: int, limit: int) -> Finding | None:
    if total <= limit * MARGIN:
        return None
    message = f"estimated at {total:,} tokens, and the context is {limit:,}"
    return Finding("FT904", message)


def _exact(count: Count, limit: int, *, refuses: bool) -> Finding | None:
    has = f"the example has {count.total:,} tokens, and the context is {limit:,}"
    if count.cut and refuses:
        return Finding("FT903", has)
    lost = f"{count.answer_cut:,} of {count.answer:,} trained tokens are lost"
    if count.answer_cut and count.answer_cut == count.answer:
        return Finding("FT901", f"{has}: {lost}")
    if count.cut:
        return Finding("FT902", f"{has}: {lost}")
    return Finding("FT905", has) if count.total > limit * NEAR else None

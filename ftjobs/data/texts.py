"""What a row says, for comparing rows with one another: read leniently, whatever its method.

    row = parse(line)            # None if the line is no row; `check` says why
    prompt_of(row)               # what the model is given
    answer_of(row)               # what it shall answer
    said_in(row)                 # the user's and the assistant's words

| Method | Prompt | Answer |
|---|---|---|
| supervised | the messages before the last of the assistant | that message |
| dpo | `input` | the preferred output |
| reinforcement | all messages | none: it is graded |
| completion | `prompt` | `completion` |
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import msgspec
from msgspec import Struct

_FIELD, _MESSAGE = "\x1f", "\x1e"  # separators that normalised text cannot hold: they are spaces


class _Image(Struct, gc=False):
    url: str = ""


class _Part(Struct, gc=False):
    text: str = ""
    image_url: _Image | str | None = None


class _Function(Struct, gc=False):
    name: str = ""
    arguments: str = ""


class _Call(Struct, gc=False):
    function: _Function


class Turn(Struct, gc=False):
    """A message."""

    role: str = ""
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


class _Asked(Struct, gc=False):
    messages: list[Turn] = []


class Row(Struct, gc=False):
    """A row of any method, without what cannot be compared."""

    messages: list[Turn] | None = None
    input: _Asked | None = None
    preferred_output: list[Turn] = []
    non_preferred_output: list[Turn] = []
    prompt: str | None = None
    completion: str = ""


_decoder = msgspec.json.Decoder(Row)


def parse(line: bytes) -> Row | None:
    """The row of a line without a byte order mark; None if there is none in it."""
    try:
        row = _decoder.decode(line)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    shapes = (row.messages, row.input, row.prompt)
    return None if all(shape is None for shape in shapes) else row


def normalised(text: str) -> str:
    """Text for comparing: NFKC, no case, every run of white space one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def prompt_of(row: Row) -> str:
    """What the model is given, normalised: the messages, whoever wrote them, and the images."""
    if row.input is not None:
        return _key(row.input.messages)
    if row.messages is not None:
        return _key(row.messages[: _answer_at(row.messages)])
    return normalised(row.prompt or "")


def answer_of(row: Row) -> str:
    """What the model shall answer, with no white space at the ends; "" where that is open."""
    if row.input is not None:
        answer = [turn for turn in row.preferred_output if turn.role == "assistant"][-1:]
    elif row.messages is not None:
        at = _answer_at(row.messages)
        answer = row.messages[at : at + 1]
    else:
        return row.completion.strip()
    return "\n".join(map(_words, answer)).strip()


def said_in(row: Row) -> str:
    """The user's and the assistant's words, normalised.

    System messages and tool results are left out: what is the same everywhere, or long and
    copied, would drown what the row itself says.
    """
    if row.input is not None:
        turns = [*row.input.messages, *row.preferred_output, *row.non_preferred_output]
    elif row.messages is not None:
        turns = row.messages
    else:
        return normalised(f"{row.prompt} {row.completion}")
    said = (_words(turn) for turn in turns if turn.role in {"user", "assistant"})
    return normalised(" ".join(said))


def images_in(row: Row) -> list[str]:
    """The URLs of the images that the model is shown."""
    turns = row.messages if row.input is None else row.input.messages
    return [url for turn in turns or () for url in _images(turn)]


def _answer_at(turns: Sequence[Turn]) -> int:
    """Where the answer stands: the last message of the assistant, unless somebody spoke after."""
    for at in range(len(turns) - 1, -1, -1):
        if turns[at].role == "assistant":
            return at
        if turns[at].role == "user":
            break
    return len(turns)


def _words(turn: Turn) -> str:
    """The text of a message, and the calls it makes."""
    content = turn.content or ""
    words = [content] if isinstance(content, str) else [part.text for part in content]
    calls = [call.function for call in turn.tool_calls or ()]
    if turn.function_call is not None:
        calls.append(turn.function_call)
    return "\n".join([*words, *(f"{call.name} {call.arguments}" for call in calls)])


def _images(turn: Turn) -> list[str]:
    parts = turn.content if isinstance(turn.content, list) else []
    images = [part.image_url for part in parts if part.image_url is not None]
    return [image if isinstance(image, str) else image.url for image in images]


def _key(turns: Sequence[Turn]) -> str:
    return _MESSAGE.join(_FIELD.join([normalised(_words(turn)), *_images(turn)]) for turn in turns)

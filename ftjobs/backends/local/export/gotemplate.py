"""Chat templates for Ollama: from Jinja to Go, where a template writes one message after another.

Ollama reads no Jinja.  Where a Modelfile has no TEMPLATE, it takes the known template that is
spelled most like the model's, and else the bare prompt (its `template/template.go`); a model that
is asked otherwise than it was trained answers worse, and nobody is told.  So the texts around the
messages are found by rendering probes, and what they make is compared with what Jinja makes, on
whole conversations.  A template that is not made of such texts is not translated.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ftjobs.backends.local.templates import render_text

Conversation = Sequence[Mapping[str, str]]
_MARKS = tuple(f"MARK{number}KRAM" for number in range(6))
_SAID = (
    "How many?",
    "Three:\n 1\n 2",
    "日本語で、お願い。",
    "はい \u00b7 yes",
    'And "two"?',
    "{ok}",
)
"""What the conversations of the proof hold: lines, quotes, braces, other scripts."""
_CHANGING = ("strftime_now", "now()")


@dataclass(frozen=True)
class Pieces:
    """A template that writes `start`, every message between the two texts of its role, and `end`.

    `system` is what it says where a conversation has no system message; "" if nothing.
    """

    start: str
    around: Mapping[str, tuple[str, str]]
    end: str
    system: str = ""

    def render(self, messages: Conversation) -> str:
        """The prompt of a conversation, up to where the assistant answers.

        Raises:
            ValueError: it holds a role that the template does not know.
        """
        if self.system and messages[0]["role"] != "system":
            messages = [_message("system", self.system), *messages]
        if unknown := {message["role"] for message in messages} - self.around.keys():
            raise ValueError(f"the chat template has no place for {', '.join(unknown)}")
        parts = (
            self.around[m["role"]][0] + m["content"] + self.around[m["role"]][1] for m in messages
        )
        return self.start + "".join(parts) + self.end

    def to_go(self) -> str:
        """The same for Ollama, which sets `.Messages`.

        Raises:
            ValueError: a text holds what Go or a Modelfile would read as its own.
        """
        texts = (self.start, self.end, self.system, *itertools.chain(*self.around.values()))
        marks = ("{{", "}}", '"""')
        # A brace right before what is put in would be read as a part of it.
        if any(text.endswith("{") or any(mark in text for mark in marks) for text in texts):
            raise ValueError("the chat template writes what is syntax elsewhere")
        if self.end.endswith('"') or self.system.endswith('"'):
            raise ValueError("the chat template ends in a quotation mark")
        branches = "{{ else }}".join(
            f'{{{{ if eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}'
            for role, (before, after) in self.around.items()
        )
        closed = "{{ end }}" * len(self.around)
        return f"{self.start}{{{{ range .Messages }}}}{branches}{closed}{{{{ end }}}}{self.end}"


def pieces_of(tokenizer: Any, *, bos: str = "") -> Pieces:
    """The pieces of a tokenizer's chat template, without `bos` where Ollama adds it itself.

    Raises:
        ValueError: it is not made of such pieces, or changes with the date.
    """
    template = str(tokenizer.chat_template)
    if any(word in template for word in _CHANGING):
        raise ValueError("the chat template changes with the date")

    def render(messages: Conversation, *, prompt: bool = True) -> str:
        text = render_text(tokenizer, [dict(message) for message in messages], prompt=prompt)
        return text.removeprefix(bos)

    pieces = _find(render)
    for messages in _proof("system" in pieces.around):
        if pieces.render(messages) != render(messages):
            raise ValueError("the chat template does not write one message after another")
    return pieces


class _Render(Protocol):
    def __call__(self, messages: Conversation, *, prompt: bool = True) -> str: ...


def _find(render: _Render) -> Pieces:
    """Pieces that fit the probes; whether they fit other conversations is for the proof."""
    first, after_user, after_answer, last = _cut(render, "user", "assistant", "user")
    closing = _closing(render, "user")
    if closing is None or not (after_user.startswith(closing) and last.startswith(closing)):
        closing = _common_start(after_user, last)
    system, after_system, default = _find_system(render, first)
    # With a default there is always a system message, so nothing else begins a conversation.
    begins = [*([] if default else [first]), *([] if system is None else [after_system])]
    user = _opening(render, after_answer, begins)
    start = "" if default else first.removesuffix(user)
    around = {} if system is None else {"system": (system, after_system.removesuffix(user))}
    around["user"] = (user, closing)
    around["assistant"] = (after_user.removeprefix(closing), after_answer.removesuffix(user))
    if system is not None:
        if not system.startswith(start):
            raise ValueError("the chat template begins otherwise with a system message")
        around["system"] = (system.removeprefix(start), around["system"][1])
    return Pieces(start, around, last.removeprefix(closing), default)


def _closing(render: _Render, *roles: str) -> str | None:
    """What a template writes after the last of these messages if nothing follows."""
    with contextlib.suppress(ValueError):
        return _cut(render, *roles, prompt=False)[-1]
    return None


def _opening(render: _Render, after_answer: str, begins: Sequence[str]) -> str:
    """What precedes a user's message: what `after_answer` and all of `begins` end with."""
    closing = _closing(render, "user", "assistant")
    if closing is not None and after_answer.startswith(closing):
        opening = after_answer.removeprefix(closing)
        if all(text.endswith(opening) for text in begins):
            return opening
    return _common_end(after_answer, *begins)


def _find_system(render: _Render, first: str) -> tuple[str | None, str, str]:
    """The texts before and after a system message, and its default; None if it is not shown.

    `first` is what begins a conversation that has none.
    """
    try:
        before, after, _ = _cut(render, "system", "user")
    except ValueError:
        return None, "", ""
    if first.startswith(before) and first.endswith(after):
        return before, after, first[len(before) : len(first) - len(after)]
    return before, after, ""


def _cut(render: _Render, *roles: str, prompt: bool = True) -> list[str]:
    """The texts between messages of these roles.  ValueError if one is not shown just once."""
    messages = [_message(role, mark) for role, mark in zip(roles, _MARKS, strict=False)]
    rest = render(messages, prompt=prompt)
    found = []
    for mark in _MARKS[: len(roles)]:
        if rest.count(mark) != 1:
            raise ValueError("the chat template does not show every message once, in order")
        before, _, rest = rest.partition(mark)
        found.append(before)
    return [*found, rest]


def _common_start(*texts: str) -> str:
    alike = itertools.takewhile(lambda letters: len({*letters}) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in alike)


def _common_end(*texts: str) -> str:
    return _common_start(*(text[::-1] for text in texts))[::-1]


def _proof(system: bool) -> list[Conversation]:
    """Conversations of one to three turns, with a system message and without."""
    roles = itertools.cycle(("user", "assistant"))
    turns = [_message(role, text) for role, text in zip(roles, _SAID[:5], strict=False)]
    plain: list[Conversation] = [turns[:1], turns[:3], turns]
    begun: list[Conversation] = [[_message("system", _SAID[5]), *messages] for messages in plain]
    return plain + begun if system else plain


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}

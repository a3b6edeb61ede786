"""Messages → text, by a chat template: a program of somebody else's, which must come to an end.

transformers runs templates in Jinja's sandbox, which keeps them from harm but lets them loop for
ever.  So each is rendered in a thread that is kept for it, and whoever waits longer than `SECONDS`
stops it: Python raises the exception it is given in the thread at the next step of the template.
What is not bounded is a single step, such as a product of huge numbers, and memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from ftjobs.schema import ChatMessage

SECONDS = 10.0
"""For one rendering, thousands of times what a real template takes."""

Messages = list[dict[str, Any]]


def render_text(tokenizer: Any, messages: Messages, *, tools: Any = None, prompt: bool) -> str:
    """The chat template's text; with `prompt`, up to where the assistant begins to answer.

    Raises:
        ValueError: the template refuses these messages, or does not come to an end.
    """

    def render() -> str:
        return str(
            tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=prompt
            )
        )

    try:
        return _bounded(render)
    except TimeoutError:
        raise ValueError(f"the chat template has not ended after {SECONDS:g} s") from None
    except Exception as error:  # noqa: BLE001 — a template may raise anything at all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ValueError(f"the chat template refuses these messages: {reason}") from None


def template_messages(messages: tuple[ChatMessage, ...]) -> Messages:
    """Messages as chat templates expect them: tool arguments parsed, text parts joined.

    Raises:
        ValueError: a part is not text (images need a model that sees), or is not of its form.
    """
    try:
        return [_template_message(message) for message in messages]
    except (KeyError, TypeError, RecursionError) as error:
        reason = str(error).strip() or type(error).__name__
        raise ValueError(f"a message is not of the wire's form: {reason}") from None


def _template_message(message: ChatMessage) -> dict[str, Any]:
    item = message.model_dump(exclude_none=True, exclude={"weight"})
    if not isinstance(message.content, str | None):
        if any(part.get("type") != "text" for part in message.content):
            raise ValueError("only text can be given to this model, no image or audio")
        item["content"] = "".join(str(part["text"]) for part in message.content)
    item.setdefault("content", "")
    for call in item.get("tool_calls", ()):
        call["function"] = {
            **call["function"],
            "arguments": json.loads(call["function"]["arguments"]),
        }
    return item


# --- a thread that can be stopped -------------------------------------------------------------


class _Stop(BaseException):
    """Raised in the thread; no `except Exception` of a template's or Jinja's catches it."""


class _Worker:
    """A thread that does one thing after another, for one caller at a time."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], str], Future[str]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="templates", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        with contextlib.suppress(_Stop):
            while True:
                task, future = self._tasks.get()
                try:
                    future.set_result(task())
                except Exception as error:  # noqa: BLE001 — the caller's to deal with
                    future.set_exception(error)

    def start(self, task: Callable[[], str]) -> Future[str]:
        future: Future[str] = Future()
        self._tasks.put((task, future))
        return future

    def stop(self) -> None:
        """End what it does, and itself."""
        number = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, ctypes.py_object(_Stop))


_idle: list[_Worker] = []
os.register_at_fork(after_in_child=_idle.clear)  # threads do not live on in a fork


def _bounded(task: Callable[[], str]) -> str:
    """The result of `task`, or its error.  TimeoutError if it takes too long."""
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    future = worker.start(task)
    try:
        wait([future], SECONDS)
    finally:  # Ctrl-C comes here too
        if future.done():
            _idle.append(worker)
        else:
            worker.stop()
    if not future.done():
        raise TimeoutError
    return future.result()

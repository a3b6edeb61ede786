"""`ftjobs` as a program whose backend answers as its question says, for tests of its end.

    python program.py ARGUMENTS

"long": a word every 20 ms, 50 of them; "endless": without end; "stuck": one word, then nothing,
and the thread cannot be stopped; anything else: at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import main
from ftjobs.client import Client
from ftjobs.schema import ChatMessage, Delta


class _Backend(FakeBackend):
    def stream(self, model: str, messages: Sequence[ChatMessage], **given: Any) -> Iterator[Delta]:
        question = messages[-1].content
        yield Delta(content="word ")
        if question == "stuck":
            threading.Event().wait()
        pause, number = threading.Event(), 1
        while question == "endless" or (question == "long" and number < 50):
            pause.wait(0.02)
            yield Delta(content="word ")
            number += 1
        yield Delta(finish_reason="stop")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], connect=lambda settings: Client(_Backend())))

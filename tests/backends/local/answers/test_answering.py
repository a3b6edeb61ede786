"""Which model is loaded when, while several are asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.local.answers import answering
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.schema import ChatMessage, Sampling
from tests import tiny

SHORT = Sampling(temperature=0, max_tokens=2)
SECONDS = 60  # that a test waits for what must come


def ask(backend: LocalBackend, model: Path) -> str:
    message = ChatMessage(role="user", content="Hello?")
    return backend.complete(str(model), [message], sampling=SHORT).model


@pytest.fixture
def asked(backend: LocalBackend) -> Iterator[LocalBackend]:
    yield backend
    backend.close()


def test_a_model_in_memory_answers_while_another_is_loaded_once_for_all_who_ask(
    asked: LocalBackend, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny.save_model(tmp_path / "other", seed=1)
    third = tiny.save_model(tmp_path / "third", seed=2)
    ask(asked, tiny_model)
    go, opening, at_once = threading.Event(), threading.Event(), threading.Semaphore(1)
    opened: list[str] = []

    def slowly(folder: Path, dtype: str, real: Any = answering._open) -> Any:
        assert at_once.acquire(blocking=False)  # transformers changes what is global as it loads
        opened.append(folder.name)
        opening.set()
        assert go.wait(SECONDS)
        engine = real(folder, dtype)
        at_once.release()
        return engine

    monkeypatch.setattr(answering, "_open", slowly)
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(ask, asked, model) for model in (other, other, third)]
        try:
            assert opening.wait(SECONDS)
            assert pool.submit(ask, asked, tiny_model).result(SECONDS / 4)
        finally:
            go.set()
        assert [each.result(SECONDS) for each in waiting] == [str(other), str(other), str(third)]
    assert sorted(opened) == ["other", "third"]

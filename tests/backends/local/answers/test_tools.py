"""Tools: shown to the model by its template, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.local import models
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.training.render import Renderer
from ftjobs.errors import InvalidRequestError
from ftjobs.schema import ChatMessage, Example, Sampling
from tests import tiny

SHOWN = "{% if tools %}{{ '<|im_start|>tools\n' + tools | tojson + '<|im_end|>\n' }}{% endif %}"
ASK = (ChatMessage(role="user", content="Where is parcel 7?"),)
TRACK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "track_parcel",
        "description": "Where a parcel is.",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
    },
}
SHORT = Sampling(temperature=0, max_tokens=4)


def test_a_model_reads_its_tools(tmp_path: Path, backend: LocalBackend) -> None:
    folder = tiny.save_model(tmp_path / "model", template=SHOWN + tiny.CHATML)
    alone = backend.complete(str(folder), ASK, sampling=SHORT).usage
    equipped = backend.complete(str(folder), ASK, sampling=SHORT, tools=(TRACK,)).usage
    assert alone
    assert equipped
    assert equipped.prompt_tokens > alone.prompt_tokens + len("track_parcel")


def test_a_model_is_asked_with_tools_as_it_was_trained_with_them(tmp_path: Path) -> None:
    tiny.save_tokenizer(tmp_path, SHOWN + tiny.CHATML)
    tokenizer = models.load_tokenizer(tmp_path)
    renderer = Renderer(tokenizer, models.stop_ids(tokenizer, tmp_path), 4096)
    answer = {"role": "assistant", "content": "At the depot."}
    messages = [message.model_dump(exclude_none=True) for message in ASK]
    trained = renderer.example(
        Example.model_validate({"messages": [*messages, answer], "tools": [TRACK]})
    )
    prompt = renderer.prompt(messages, [TRACK])
    assert list(trained.ids[: trained.supervised.index(True)]) == prompt


def test_a_template_that_hides_the_tools_is_refused(
    tiny_model: Path, backend: LocalBackend
) -> None:
    with pytest.raises(InvalidRequestError, match="does not show the model its tools"):
        backend.complete(str(tiny_model), ASK, sampling=SHORT, tools=(TRACK,))


def test_a_reserved_token_in_a_tool_is_refused(tmp_path: Path, backend: LocalBackend) -> None:
    folder = tiny.save_model(tmp_path / "model", template=SHOWN + tiny.CHATML)
    with pytest.raises(InvalidRequestError, match="reserved tokens"):
        backend.complete(str(folder), ASK, sampling=SHORT, tools=({"type": "<|im_end|>"},))

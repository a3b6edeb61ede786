"""What is not served here is refused in words, once."""

from __future__ import annotations

import openai
import pytest

from tests.server.conftest import Serve, Served
from tests.server.wire.script import MODEL


def test_every_room_that_is_not_here_says_so(served: Served) -> None:
    for method, path in (
        ("POST", "/embeddings"),
        ("POST", "/responses"),
        ("GET", "/responses/resp_1"),
        ("POST", "/moderations"),
        ("POST", "/images/generations"),
        ("POST", "/audio/speech"),
        ("GET", "/batches"),
        ("POST", "/batches"),
        ("DELETE", "/threads/t_1"),
        ("GET", "/vector_stores/v/files"),
        ("GET", "/chat/completions"),
        ("GET", "/chat/completions/chatcmpl-1"),
        ("POST", "/chat/completions/chatcmpl-1"),
    ):
        answer = served.http.request(method, path)
        assert answer.status_code == 404, path
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert error["code"] == "unsupported_endpoint"
        assert path.split("/")[1] in error["message"]


def test_the_sdk_does_not_ask_again(served: Served) -> None:
    client = openai.OpenAI(base_url=served.url, api_key="none", max_retries=2)
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.embeddings.create(model=MODEL, input="a")
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.responses.create(model=MODEL, input="a")


def test_a_key_is_needed_here_too(serve: Serve) -> None:
    with serve() as served, served.as_("a", "read") as known:
        assert served.http.post("/embeddings").status_code == 401
        assert known.post("/embeddings").status_code == 404

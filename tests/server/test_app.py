"""What the application says of itself, whatever room is asked."""

from __future__ import annotations

import pytest

from tests.server.conftest import Served


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/files", "GET, POST"),
        ("/v1/files/file-x", "DELETE, GET"),
        ("/v1/models/a/b", "DELETE, GET"),
        ("/v1/fine_tuning/jobs/x/cancel", "POST"),
        ("/login", "GET, POST"),
        ("/healthz", "GET, HEAD"),
    ],
)
def test_a_refused_method_is_told_all_that_there_are(
    served: Served, path: str, methods: str
) -> None:
    found = served.http.put(served.url.removesuffix("/v1") + path)
    assert (found.status_code, found.headers["allow"]) == (405, methods)

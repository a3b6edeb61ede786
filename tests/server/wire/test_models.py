"""`/v1/models`."""

from __future__ import annotations

from tests.server.conftest import Served


def test_base_models_are_listed_and_retrieved(served: Served) -> None:
    listed = served.http.get("/models").json()
    assert [model["id"] for model in listed["data"]] == ["fake-base"]
    assert served.http.get("/models/fake-base").json() == listed["data"][0]


def test_a_model_that_is_none(served: Served) -> None:
    answer = served.http.get("/models/none")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_a_base_model_cannot_be_deleted(served: Served) -> None:
    assert served.http.delete("/models/fake-base").status_code == 400

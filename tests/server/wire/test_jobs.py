"""`/v1/fine_tuning/jobs`: what is taken, what is refused, and how it is listed."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import DeadlineError, ServiceError, StoreError
from ftjobs.schema import Capabilities, JobError
from ftjobs.server.upkeep import recover
from tests.server.conftest import Serve, Served

from .data import create, created, error, finished, lines, send, sent

JOBS = "/fine_tuning/jobs"


def test_a_job_says_what_it_was_given(served: Served) -> None:
    train, valid = sent(served.http), sent(served.http, name="valid.jsonl")
    settings = {"n_epochs": 2, "batch_size": "auto", "beta": 0.2}
    job = create(
        served.http,
        training_file=train,
        validation_file=valid,
        method={"type": "dpo", "dpo": {"hyperparameters": settings}},
        suffix="support-v1",
        seed=7,
        metadata={"team": "otter"},
        integrations=[{"type": "wandb", "wandb": {"project": "otters", "tags": ["a"]}}],
    ).json()
    assert job["object"] == "fine_tuning.job"
    assert (job["training_file"], job["validation_file"]) == (train, valid)
    assert (job["seed"], job["user_provided_suffix"]) == (7, "support-v1")
    assert job["metadata"] == {"team": "otter"}
    assert job["integrations"] == [{"type": "wandb", "wandb": {"project": "otters", "tags": ["a"]}}]
    assert job["method"]["type"] == "dpo"
    assert job["method"]["dpo"]["hyperparameters"]["beta"] == 0.2
    assert job["hyperparameters"]["n_epochs"] == 2
    assert (job["error"], job["result_files"], job["fine_tuned_model"]) == (None, [], None)
    done = finished(served.http, job["id"])
    assert done["seed"] == 7
    assert done["fine_tuned_model"].startswith("ft:fake-base:")
    assert "support-v1" in done["fine_tuned_model"]


def test_settings_at_their_old_place_are_taken(served: Served) -> None:
    train = sent(served.http)
    job = create(served.http, training_file=train, hyperparameters={"n_epochs": 4}).json()
    assert job["hyperparameters"]["n_epochs"] == 4
    assert job["method"]["supervised"]["hyperparameters"]["n_epochs"] == 4
    both = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4}}}
    same = create(
        served.http, training_file=train, method=both, hyperparameters={"n_epochs": 4}
    )  # fmt: skip
    assert same.status_code == 200
    other = create(served.http, training_file=train, method=both, hyperparameters={"n_epochs": 5})
    assert (other.status_code, error(other)["param"]) == (400, "hyperparameters")


def test_settings_of_ftjobs_are_taken_at_the_wires_place(served: Served) -> None:
    settings = {"lora_r": 4, "lora_target_modules": ["q_proj"], "dtype": "float32"}
    method = {"type": "supervised", "supervised": {"hyperparameters": settings}}
    job = create(served.http, training_file=sent(served.http), method=method).json()
    assert job["hyperparameters"].items() >= settings.items()


def test_a_job_has_a_seed_from_the_beginning(served: Served) -> None:
    train = sent(served.http)
    seeds = {create(served.http, training_file=train).json()["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)


REFUSED: list[tuple[dict[str, Any], str | None]] = [
    ({"model": "no-such-model"}, "model"),
    ({"model": "/etc"}, "model"),
    ({"model": "../fake-base"}, "model"),
    ({"model": "ft:fake-base:x"}, "model"),
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"training_file": "file-none"}, "training_file"),
    ({"training_file": "/etc/passwd"}, "training_file"),
    ({"validation_file": "file-none"}, "validation_file"),
    ({"suffix": "x" * 65}, "suffix"),
    ({"suffix": "a\x1b[2J"}, "suffix"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**31}, "seed"),
    ({"metadata": {"k" * 65: "v"}}, "metadata." + "k" * 65),
    ({"metadata": {"k": "v" * 513}}, "metadata.k"),
    ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
    ({"metadata": {"k": 1}}, "metadata.k"),
    ({"metadata": {"ftjobs_request": "serve-mine"}}, "metadata.ftjobs_request"),
    ({"trainingtype": "x"}, "trainingtype"),
    ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
    ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
    ({"hyperparameters": {"epochs": 3}}, "hyperparameters.epochs"),
    ({"method": {"type": "magic"}}, "method.type"),
    ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo"),
    ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"rank": 8}}}},
     "method.supervised.hyperparameters.rank"),
    ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"beta": 0.1}}}}, None),
    ({"method": {"type": "reinforcement", "reinforcement": {"grader": {}}}}, "method.type"),
    ({"integrations": [{"type": "fax"}]}, "integrations"),
    ({"integrations": [{"type": "tensorboard", "tensorboard": {"log_dir": "/etc"}}]},
     "integrations.0.tensorboard.log_dir"),
    ({"integrations": [{"type": "mlflow", "mlflow": {"project": "p", "tracking_uri": "http://10.0.0.1"}}]},
     "integrations.0.mlflow.tracking_uri"),
]  # fmt: skip


def test_what_cannot_be_is_refused_by_name(served: Served) -> None:
    train = sent(served.http)
    for fields, param in REFUSED:
        refused = create(served.http, **{"training_file": train, **fields})
        assert refused.status_code == 400, fields
        assert error(refused)["param"] == param, refused.text
        assert error(refused)["type"] == "invalid_request_error"
    assert served.http.get(JOBS).json()["data"] == []


def test_a_body_that_is_none(served: Served) -> None:
    for body in (b"", b"[]", b"{", b"null", b'{"model": "\xff"}', b'{"model": "\\ud800"}'):
        kind = {"content-type": "application/json"}
        assert served.http.post(JOBS, content=body, headers=kind).status_code == 400, body


def test_a_failed_job_says_why(serve: Serve) -> None:
    with serve(FakeBackend(fail_with=JobError(code="bad_data", message="too few"))) as served:
        job = finished(served.http, created(served.http))
        assert job["error"] == {"code": "bad_data", "message": "too few", "param": None}
        level = served.http.get(f"{JOBS}/{job['id']}/events").json()["data"][0]["level"]
        assert level == "error"


# --- lists ---------------------------------------------------------------------------------------


def pages(http: httpx2.Client, path: str, **query: str) -> list[dict[str, Any]]:
    """All of a list, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        page = http.get(path, params=query).json()
        assert page["object"] == "list"
        found += page["data"]
        if not page["has_more"]:
            return found
        query["after"] = found[-1]["id"]


def test_jobs_are_listed_newest_first_and_by_metadata(served: Served) -> None:
    train = sent(served.http)
    pairs: list[dict[str, str] | None] = [None, {"a": "1"}, {"a": "1", "b": ""}, {}]
    ids = [created(served.http, training_file=train, metadata=each) for each in pairs]
    assert [job["id"] for job in pages(served.http, JOBS, limit="2")] == ids[::-1]
    for query, wanted in (
        ({"metadata[a]": "1"}, [ids[2], ids[1]]),
        ({"metadata[a]": "1", "metadata[b]": ""}, [ids[2]]),
        ({"metadata[a]": "2"}, []),
        ({"metadata": "null"}, [ids[3], ids[0]]),
    ):
        assert [job["id"] for job in pages(served.http, JOBS, limit="1", **query)] == wanted
    assert served.http.get(JOBS, params={"metadata": "x"}).status_code == 400
    assert served.http.get(JOBS, params={"metadata": "null", "metadata[a]": "1"}).status_code == 400
    assert served.http.get(JOBS, params={"after": "ftjob-none"}).status_code == 400


def test_twenty_jobs_are_a_page(served: Served) -> None:
    train = sent(served.http)
    for _ in range(21):
        created(served.http, training_file=train)
    page = served.http.get(JOBS).json()
    assert (len(page["data"]), page["has_more"]) == (20, True)


def test_events_and_checkpoints_are_newest_first(served: Served) -> None:
    job_id = finished(served.http, created(served.http, hyperparameters={"n_epochs": 3}))["id"]
    events = pages(served.http, f"{JOBS}/{job_id}/events", limit="3")
    assert events[0]["message"] == "The job has successfully completed"
    assert events[-1]["message"] == f"Created fine-tuning job: {job_id}"
    assert len({event["id"] for event in events}) == len(events) > 12
    unknown = served.http.get(f"{JOBS}/{job_id}/events", params={"after": "ftevent-none"})
    assert (unknown.status_code, error(unknown)["param"]) == (400, "after")
    metrics = [event for event in events if event["type"] == "metrics"]
    assert metrics[-1]["data"]["step"] == 1
    checkpoints = pages(served.http, f"{JOBS}/{job_id}/checkpoints", limit="2")
    assert [each["step_number"] for each in checkpoints] == [10, 6, 3]
    assert checkpoints[0]["metrics"]["train_loss"] > 0


# --- steering ------------------------------------------------------------------------------------


def test_jobs_are_paused_resumed_and_cancelled(served: Served) -> None:
    job_id = created(served.http)

    def steer(verb: str) -> httpx2.Response:
        return served.http.post(f"{JOBS}/{job_id}/{verb}")

    assert steer("pause").json()["status"] == "paused"
    assert steer("resume").json()["status"] != "paused"
    assert steer("cancel").json()["status"] == "cancelled"
    assert steer("cancel").json()["status"] == "cancelled"  # after a lost answer
    assert steer("pause").status_code == steer("resume").status_code == 400
    done = finished(served.http, created(served.http))["id"]
    refused = served.http.post(f"{JOBS}/{done}/cancel")
    assert (refused.status_code, error(refused)["code"]) == (400, "job_ended")


def test_a_job_that_is_none(served: Served) -> None:
    for answer in (
        served.http.get(f"{JOBS}/ftjob-none"),
        served.http.get(f"{JOBS}/ftjob-none/events"),
        served.http.get(f"{JOBS}/ftjob-none/checkpoints"),
        *(served.http.post(f"{JOBS}/ftjob-none/{verb}") for verb in ("cancel", "pause", "resume")),
    ):
        assert (answer.status_code, error(answer)["code"]) == (404, "fine_tune_not_found")


def test_what_the_backend_lacks_is_said(serve: Serve) -> None:
    little = Capabilities(
        pause=False, events=False, metadata=False, checkpoints=False, delete_files=False
    )
    with serve(FakeBackend(capabilities=little)) as served:
        train = sent(served.http)
        job_id = created(served.http, training_file=train)
        for answer, word in (
            (served.http.post(f"{JOBS}/{job_id}/pause"), "pause"),
            (served.http.get(f"{JOBS}/{job_id}/events"), "events"),
            (served.http.delete(f"/files/{train}"), "delete files"),
            (create(served.http, training_file=train, metadata={"a": "b"}), "metadata"),
            (create(served.http, training_file=train, hyperparameters={"lora_r": 4}), "lora_r"),
            (create(served.http, training_file=train, method={"type": "dpo"}), "dpo"),
        ):
            assert answer.status_code == 400, word
            assert word in error(answer)["message"]
        assert served.http.get(f"{JOBS}/{job_id}/checkpoints").json()["data"] == []


def test_a_project_has_so_many_jobs_at_once(serve: Serve) -> None:
    with serve(jobs_waiting=2) as served:
        train = sent(served.http)
        first = created(served.http, training_file=train)
        created(served.http, training_file=train)
        refused = create(served.http, training_file=train)
        assert (refused.status_code, error(refused)["code"]) == (429, "too_many_jobs")
        assert int(refused.headers["retry-after"]) > 0
        served.http.post(f"{JOBS}/{first}/cancel")
        assert create(served.http, training_file=train).status_code == 200


# --- a service behind the server that gives no answer --------------------------------------------


class Losing(FakeBackend):
    """Creates jobs, and then has nothing to say about it."""

    lost: Exception

    def create(self, spec: Any) -> Any:
        super().create(spec)
        raise self.lost


@pytest.mark.parametrize("lost", [DeadlineError("late"), StoreError("full"), KeyError("id")])
def test_a_job_whose_answer_was_lost_is_found(serve: Serve, lost: Exception) -> None:
    backend = Losing()
    backend.lost = lost
    with serve(backend) as served:
        answer = create(served.http, training_file=sent(served.http), metadata={"a": "b"})
        assert answer.status_code == 200
        assert answer.json()["metadata"] == {"a": "b"}
        assert len(list(backend.jobs())) == 1
        assert served.http.get(f"{JOBS}/{answer.json()['id']}").status_code == 200


def test_a_job_that_may_be_there_is_not_sent_again_blindly(serve: Serve) -> None:
    backend = FakeBackend()
    with serve(backend) as served:
        train = sent(served.http)
        backend.fail_next("create", ServiceError("broken"), ServiceError("broken"))
        plain = create(served.http, training_file=train)
        assert (plain.status_code, plain.headers["x-should-retry"]) == (502, "false")
        keyed = create(served.http, training_file=train, headers={"idempotency-key": "k"})
        assert keyed.status_code == 502
        assert "x-should-retry" not in keyed.headers
        again = create(served.http, training_file=train, headers={"idempotency-key": "k"})
        assert again.status_code == 200
        assert len(list(backend.jobs())) == 1


def _full(monkeypatch: pytest.MonkeyPatch, served: Served, method: str) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StoreError("/somewhere: the disk is full")

    monkeypatch.setattr(served.desk.rooms.owners, method, full)


def test_a_job_that_was_not_noted_is_not_made_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SDKs send a 503 again unless they are told."""
    train = sent(served.http)
    with monkeypatch.context() as patched:
        _full(patched, served, "ensure")
        plain = create(served.http, training_file=train)
        keyed = create(served.http, training_file=train, headers={"idempotency-key": "k"})
    assert (plain.status_code, plain.headers.get("x-should-retry")) == (503, "false")
    assert "somewhere" not in plain.text
    assert (keyed.status_code, keyed.headers.get("x-should-retry")) == (503, None)
    assert create(served.http, training_file=train, headers={"idempotency-key": "k"}).is_success
    assert len(list(served.desk.backend.jobs())) == 2
    recover(served.desk.rooms)
    assert len(served.http.get(JOBS).json()["data"]) == 2
    owned = served.desk.rooms.owners.of("job", "")
    assert len(owned) == 2


@pytest.mark.parametrize("count", [15, 16])
def test_a_job_may_have_all_the_metadata_of_the_wire(served: Served, count: int) -> None:
    pairs = {f"key-{number}": "x" for number in range(count - 1)} | {"ftjobs_identity": "serve-a"}
    job_id = created(served.http, metadata=pairs)
    assert served.http.get(f"{JOBS}/{job_id}").json()["metadata"] == pairs


def test_the_result_of_a_key_is_the_first_answer(served: Served) -> None:
    train = sent(served.http)
    first = create(served.http, training_file=train, headers={"idempotency-key": "k"})
    finished(served.http, first.json()["id"])
    again = create(served.http, training_file=train, headers={"idempotency-key": "k"})
    assert again.json() == first.json()
    other = create(served.http, training_file=train, seed=1, headers={"idempotency-key": "k"})
    assert (other.status_code, error(other)["code"]) == (400, "idempotency_key_reused")
    assert other.headers["x-should-retry"] == "false"
    file = send(served.http, lines(3), headers={"idempotency-key": "f"}).json()
    assert send(served.http, lines(3), headers={"idempotency-key": "f"}).json() == file
    assert send(served.http, lines(4), headers={"idempotency-key": "f"}).status_code == 400

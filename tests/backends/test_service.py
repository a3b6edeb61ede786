"""The loopback service keeps the wire: the SDK, at its strictest, reads all of its answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from tests.contract.conftest import write_dataset
from tests.multipart import TruncatedError, read_form
from tests.service import IN_MEMORY, KEY, Service, running


@pytest.fixture
def service() -> Iterator[Service]:
    with running(FakeBackend(steps=3, answers={"hi": "one two"})) as service:
        service.odd = False
        yield service


@pytest.fixture
def sdk(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key=KEY, base_url=service.url, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def test_a_jobs_life_is_read_by_the_strictest_sdk(
    service: Service, sdk: openai.OpenAI, tmp_path: Path
) -> None:
    with write_dataset(tmp_path / "train.jsonl").open("rb") as content:
        file = sdk.files.create(file=content, purpose="fine-tune")
    jobs = sdk.fine_tuning.jobs
    job = jobs.create(model="fake-base", training_file=file.id, metadata={"a": "b"}, seed=3)
    other = jobs.create(model="fake-base", training_file=file.id).id
    with pytest.raises(openai.APIResponseValidationError):
        jobs.pause(other)  # the service says "paused", a word that the SDK's type lacks
    assert jobs.resume(other).status == "validating_files"
    assert jobs.cancel(other).status == "cancelled"
    while job.finished_at is None:
        service.tick()
        job = jobs.retrieve(job.id)
    assert [each.id for each in jobs.list(metadata={"a": "b"})] == [job.id]
    assert job.status == "succeeded"
    assert len(list(jobs.list_events(job.id, limit=2))) > 4
    assert [each.step_number for each in jobs.checkpoints.list(job.id, limit=1)] == [3, 2, 1]
    assert sdk.files.content(job.result_files[0]).content.startswith(b"step,")
    assert {each.id for each in sdk.files.list(purpose="fine-tune")} == {file.id}
    assert sdk.files.delete(file.id).deleted
    assert job.fine_tuned_model is not None
    assert sdk.models.delete(job.fine_tuned_model).deleted


def test_models_have_shutdown_dates(service: Service, sdk: openai.OpenAI) -> None:
    service.shutdown_dates["fake-base"] = "2026-10-23"
    assert sdk.models.retrieve("fake-base").shutdown_date == "2026-10-23"
    assert [model.shutdown_date for model in sdk.models.list()] == ["2026-10-23"]
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gone")


def test_permissions_are_given_listed_and_taken_back(sdk: openai.OpenAI) -> None:
    permissions = sdk.fine_tuning.checkpoints.permissions
    given_ids = [each.id for each in permissions.create("ft:a:ckpt", project_ids=["p1", "p2"])]
    assert [each.id for each in permissions.list("ft:a:ckpt")] == given_ids[::-1]
    assert [each.id for each in permissions.list("ft:a:ckpt", project_id="p1")] == given_ids[:1]
    assert permissions.delete(given_ids[0], fine_tuned_model_checkpoint="ft:a:ckpt").deleted
    assert [each.id for each in permissions.list("ft:a:ckpt")] == given_ids[1:]


def test_an_answer_is_read_whole_and_in_pieces(sdk: openai.OpenAI) -> None:
    asked = {"model": "fake-base", "messages": [{"role": "user", "content": "hi"}]}
    whole = sdk.chat.completions.create(**asked)  # type: ignore[call-overload]
    assert whole.choices[0].message.content == "one two"
    pieces = sdk.chat.completions.create(**asked, stream=True)  # type: ignore[call-overload]
    words = [choice.delta.content or "" for piece in pieces for choice in piece.choices]
    assert "".join(words) == "one two"


# --- uploads in parts -----------------------------------------------------------------------------


def _begin(sdk: openai.OpenAI, content: bytes, parts: int) -> tuple[str, list[str]]:
    upload = sdk.uploads.create(
        bytes=len(content), filename="a.jsonl", mime_type="text/jsonl", purpose="fine-tune"
    )
    cuts = [len(content) * i // parts for i in range(parts + 1)]
    pieces = [content[start:end] for start, end in pairwise(cuts)]
    return upload.id, [sdk.uploads.parts.create(upload.id, data=p).id for p in pieces]


def test_parts_become_a_file_in_the_order_of_their_ids(
    service: Service, sdk: openai.OpenAI
) -> None:
    content = bytes(range(256)) * 100
    upload_id, part_ids = _begin(sdk, content, 3)
    turned = content[len(content) * 2 // 3 :] + content[: len(content) * 2 // 3]
    order = [part_ids[2], part_ids[0], part_ids[1]]
    for md5 in (hashlib.md5(content).hexdigest(), "0" * 32):
        with pytest.raises(openai.BadRequestError, match="md5"):
            sdk.uploads.complete(upload_id, part_ids=order, md5=md5)
    done = sdk.uploads.complete(upload_id, part_ids=order, md5=hashlib.md5(turned).hexdigest())
    assert done.file is not None
    assert (done.status, done.file.filename, done.file.bytes) == ("completed", "a.jsonl", 25600)
    assert [each.id for each in sdk.files.list()] == [done.file.id]
    assert sdk.files.content(done.file.id).content == turned
    with pytest.raises(openai.BadRequestError, match="completed"):
        sdk.uploads.complete(upload_id, part_ids=order)
    assert service.counts["post_complete"] == 1


def test_parts_that_do_not_fit_are_refused(sdk: openai.OpenAI) -> None:
    upload_id, part_ids = _begin(sdk, b"0123456789", 2)
    for wrong in ([], part_ids[:1], ["part_none"], [*part_ids, part_ids[0]]):
        with pytest.raises(openai.BadRequestError):
            sdk.uploads.complete(upload_id, part_ids=wrong)
    assert sdk.uploads.complete(upload_id, part_ids=part_ids).status == "completed"


def test_an_upload_that_is_over_takes_nothing_more(service: Service, sdk: openai.OpenAI) -> None:
    cancelled, _ = _begin(sdk, b"a", 1)
    assert sdk.uploads.cancel(cancelled).status == "cancelled"
    expired, _ = _begin(sdk, b"a", 1)
    later = service.now() + service.upload_life + 1
    service.now = lambda: later
    for upload_id, word in ((cancelled, "cancelled"), (expired, "expired")):
        with pytest.raises(openai.BadRequestError, match=word):
            sdk.uploads.parts.create(upload_id, data=b"b")
        with pytest.raises(openai.BadRequestError, match=word):
            sdk.uploads.cancel(upload_id)
    assert list(sdk.files.list()) == []


def test_a_large_file_stays_on_disk_and_comes_back(sdk: openai.OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_bytes(b"0123456789abcdef" * (IN_MEMORY // 16) + b"end")
    file = sdk.files.create(file=path, purpose="fine-tune")
    assert (sdk.files.retrieve(file.id).bytes, file.bytes) == (path.stat().st_size, IN_MEMORY + 3)
    assert sdk.files.content(file.id).content == path.read_bytes()
    assert sdk.files.delete(file.id).deleted
    assert list(sdk.files.list()) == []


# --- lists that lag -------------------------------------------------------------------------------


def test_lists_lag_and_single_objects_do_not(service: Service, sdk: openai.OpenAI) -> None:
    clock = [0.0]
    service.clock = lambda: clock[0]
    service.list_lag, service.events_lag = 5, 3
    first, second = (sdk.files.create(file=b"{}", purpose="fine-tune") for _ in range(2))
    assert first.id != second.id  # a file of its own for every upload
    job = sdk.fine_tuning.jobs.create(model="fake-base", training_file=first.id)
    assert sdk.fine_tuning.jobs.retrieve(job.id).id == job.id
    lists = (sdk.files.list, sdk.fine_tuning.jobs.list)
    for clock[0], lengths, events in ((2.9, [0, 0], 0), (4.9, [0, 0], 2), (5.0, [2, 1], 2)):
        assert [len(list(each())) for each in lists] == lengths
        assert len(list(sdk.fine_tuning.jobs.list_events(job.id))) == events


# --- bodies ---------------------------------------------------------------------------------------


@given(
    content=st.binary(max_size=300)
    | st.lists(st.sampled_from([b"\r\n--mark", b"\r", b"-"])).map(b"".join),
    size=st.integers(1, 40),
)
def test_a_form_is_read_from_chunks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, size: int
) -> None:
    if b"\r\n--mark-of-end" in content:
        return
    body = (
        b'--mark-of-end\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune'
        b'\r\n--mark-of-end\r\nContent-Disposition: form-data; name="file"; filename="a%20b"\r\n'
        b"\r\n" + content + b"\r\n--mark-of-end--\r\n"
    )
    folder = tmp_path_factory.mktemp("form")
    kind = "multipart/form-data; boundary=mark-of-end"
    form = read_form((body[i : i + size] for i in range(0, len(body), size)), kind, folder)
    assert form["purpose"].value == b"fine-tune"
    assert form["file"].filename == "a b"
    assert form["file"].path is not None
    assert form["file"].path.read_bytes() == content
    with pytest.raises(TruncatedError):
        read_form([body[: len(body) // 2]], kind, folder)

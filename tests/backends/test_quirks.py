"""A job's whole life at services that refuse what the real ones refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.opening import open_hosted
from ftjobs.backends.profiles import PROFILES
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.wire import WireBackend
from ftjobs.client import Client
from ftjobs.config import Settings
from ftjobs.errors import AuthError, InvalidRequestError, UnsupportedError
from ftjobs.jobs.submit import submit
from ftjobs.schema import Job, JobSpec
from tests.backends.quirks import SERVICES, Quirky, quirky
from tests.service import KEY

LINE = json.dumps(
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
)
EXTRA = {"nebius": {"learning_rate": 1e-4, "lora_r": 16}}


@dataclass
class World:
    """A quirky service, and a backend that was opened as a user opens it."""

    service: Quirky
    backend: WireBackend
    dataset: Path
    clock: list[float]

    def sleep(self, seconds: float) -> None:
        self.clock[0] += seconds
        self.service.tick()

    def now(self) -> float:
        return self.clock[0]

    def submit(self, **fields: Any) -> Job:
        settings = {"n_epochs": 2, **EXTRA.get(self.service.name, {})}
        retry = RetryPolicy(sleep=self.sleep, now=self.now)
        how = {"model": "fake-base", "hyperparameters": settings, **fields}
        return submit(self.backend, self.dataset, retry=retry, **how)

    def wait(self, job: Job) -> Job:
        return Client(self.backend).wait(job, sleep=self.sleep, now=self.now)


@contextmanager
def opened(name: str, folder: Path, key: str = KEY, **fields: Any) -> Iterator[World]:
    """The service called `name`, opened under `[profiles.NAME]` with `fields`."""
    dataset = folder / "train.jsonl"
    dataset.write_text(f"{LINE}\n" * 12)
    environ = {PROFILES[name].key_variables[0]: key, "PORTKEY_PROVIDER": "@openai-prod"}
    (folder / "service").mkdir()
    with quirky(name, FakeBackend(steps=4), folder / "service") as service:
        own = {"base_url": service.url, **fields}
        settings = Settings(home=folder, cache=folder, profiles={name: own})
        backend = open_hosted(name, settings=settings, environ=environ)
        assert isinstance(backend, WireBackend)
        with closing(backend):
            yield World(service, backend, dataset, [0.0])


@pytest.fixture(params=sorted(SERVICES))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    prompt = {"list_lag": 0.0, "events_lag": 0.0}
    with opened(request.param, tmp_path, capabilities=prompt) as world:
        yield world


def test_a_job_lives_its_whole_life(world: World) -> None:
    job = world.submit(suffix="otter", seed=7)
    assert (job.seed, job.hyperparameters["n_epochs"]) == (7, 2)
    done = world.wait(job)
    assert done.status == "succeeded"
    client, can = Client(world.backend), world.backend.capabilities
    messages = [event.message for event in client.events(job)] if can.events else []
    assert ("The job has successfully completed" in messages) == can.events
    assert bool(client.checkpoints(job) if can.checkpoints else ()) == can.checkpoints


def test_the_same_content_is_the_same_job_without_a_ledger(world: World) -> None:
    first = world.submit(suffix="otter")
    again = world.submit(suffix="otter")
    assert again.id == first.id
    assert world.service.counts["post_jobs"] == 1
    world.wait(first)
    assert world.submit(suffix="otter").id == first.id
    assert world.submit(suffix="badger").id != first.id


def test_cancel_is_idempotent(world: World) -> None:
    job = world.submit()
    assert world.backend.cancel(job.id).status == "cancelled"
    assert world.backend.cancel(job.id).status == "cancelled"


def test_what_it_cannot_do_is_refused_before_anything_is_sent(world: World) -> None:
    can, sent = world.backend.capabilities, len(world.service.requests)
    refused = [
        JobSpec(model="m", training_file="f", method="reinforcement"),
        JobSpec(model="m", training_file="f", hyperparameters={"validation_split": 0.1}),
    ]
    if not can.metadata:
        refused.append(JobSpec(model="m", training_file="f", metadata={"team": "otter"}))
    for spec in refused:
        with pytest.raises(UnsupportedError):
            world.backend.create(spec)
    if not can.pause:
        with pytest.raises(UnsupportedError):
            world.backend.pause("ftjob-1")
    assert len(world.service.requests) == sent


def test_the_key_goes_in_its_header_only(world: World) -> None:
    list(world.backend.models())
    profile = PROFILES[world.service.name]
    headers = dict(world.service.requests[-1].headers)
    if profile.key_header != "Authorization":
        headers.pop("authorization")  # put there by the service itself, for the one below it
    assert [name for name, text in headers.items() if KEY in text] == [profile.key_header.lower()]


@pytest.mark.parametrize("name", ["azure", "portkey"])
def test_a_wrong_key_is_refused_and_not_quoted(name: str, tmp_path: Path) -> None:
    wrong = "sk-wrong-0123456789"
    with opened(name, tmp_path, wrong) as world, pytest.raises(AuthError) as caught:
        list(world.backend.models())
    assert wrong not in str(caught.value)


def test_what_headers_hold_is_not_quoted_either(tmp_path: Path) -> None:
    secret = "header-secret-0123456789"
    with opened("portkey", tmp_path, headers={"x-portkey-config": secret}) as world:
        world.service.fault("GET", "/models", status=400, body=_words(secret))
        with pytest.raises(InvalidRequestError, match=r"the config \[key\] is unknown") as caught:
            list(world.backend.models())
    assert secret not in str(caught.value)


def _words(secret: str) -> bytes:
    return json.dumps({"error": {"message": f"the config {secret} is unknown"}}).encode()


def test_azure_takes_the_training_type_of_ones_own_profile(tmp_path: Path) -> None:
    with opened("azure", tmp_path, extra_body={"trainingType": "developerTier"}) as world:
        file = world.backend.upload(world.dataset)
        job = world.backend.create(JobSpec(model="fake-base", training_file=file.id))
        assert world.service.bodies[job.id]["trainingType"] == "developerTier"


def test_a_second_job_at_unsloth_is_refused_in_its_words(tmp_path: Path) -> None:
    with opened("unsloth", tmp_path) as world:
        file = world.backend.upload(world.dataset)
        spec = JobSpec(model="fake-base", training_file=file.id)
        world.backend.create(spec)
        with pytest.raises(InvalidRequestError) as caught:
            world.backend.create(spec)
    assert caught.value.code == "job_in_progress"

from collections.abc import Callable
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.client import Client, Finding, connect
from ftjobs.config import Settings
from ftjobs.errors import (
    AuthError,
    ConfigError,
    JobCancelled,
    JobFailed,
    NotFoundError,
    UnreachableError,
    UnsupportedError,
)
from ftjobs.evals import Arm, Prompt
from ftjobs.jobs.ledger import Ledger
from ftjobs.schema import Capabilities, ChatMessage, JobError, Model

TRAIN = Path(__file__).parent.parent / "datasets/support/train.jsonl"


def no_sleep(_: float) -> None:
    pass


@pytest.fixture
def client() -> Client:
    return Client(FakeBackend(steps=3, answers={"2 + 2?": "4"}))


def test_a_job_from_submission_to_answers(client: Client) -> None:
    job = client.submit(TRAIN, model="fake-base", suffix="s", n_epochs=1, seed=7)
    events = list(client.watch(job, sleep=no_sleep))
    assert events == client.events(job)
    assert events[-1].message == "The job has successfully completed"
    job = client.wait(job)
    assert job.seed == 7
    assert job.fine_tuned_model
    assert client.job(job.id) == job
    assert list(client.jobs()) == [job]
    assert [m.step for m in client.metrics(job)] == [1, 2, 3]
    assert [c.step_number for c in client.checkpoints(job)] == [3]
    assert client.result_file(job).startswith(b"step,")
    assert job.fine_tuned_model in {m.id for m in client.models()}
    client.delete_model(job.fine_tuned_model)
    with pytest.raises(NotFoundError):
        client.complete(job.fine_tuned_model, "2 + 2?")


def test_files(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n")
    file = client.upload(path)
    assert client.file(file.id) == file
    assert client.content(file.id) == b"{}\n"
    assert list(client.files()) == [file]
    client.delete_file(file.id)
    assert list(client.files()) == []


def test_wait_says_how_a_job_ended() -> None:
    client = Client(FakeBackend(fail_with=JobError(code="bad", message="it broke"), fail_at=2))
    job = client.submit(TRAIN, model="fake-base")
    with pytest.raises(JobFailed, match="bad: it broke") as failed:
        client.wait(job, sleep=no_sleep)
    assert failed.value.job.status == "failed"
    job = client.cancel(client.submit(TRAIN, model="fake-base"))
    with pytest.raises(JobCancelled):
        client.wait(job, sleep=no_sleep)


def test_pause_and_resume(client: Client) -> None:
    job = client.submit(TRAIN, model="fake-base")
    assert client.pause(job).status == "paused"
    assert client.resume(job).status != "paused"
    limited = Client(FakeBackend(capabilities=Capabilities()))
    with pytest.raises(UnsupportedError, match="cannot pause"):
        limited.pause(limited.submit(TRAIN, model="fake-base"))


def test_messages_may_be_a_text_or_plain_dictionaries(client: Client) -> None:
    assert client.complete("fake-base", "2 + 2?").text == "4"
    turns = [{"role": "user", "content": "2 + 2?"}]
    assert client.complete("fake-base", turns).text == "4"
    assert "".join(d.content for d in client.stream("fake-base", turns)) == "4"
    with pytest.raises(ConfigError, match="a message is"):
        client.complete("fake-base", [{"content": "who speaks?"}])


def test_compare_uses_the_exact_grader_and_greedy_sampling(client: Client) -> None:
    prompt = Prompt((ChatMessage(role="user", content="2 + 2?"),), "4")
    result = client.compare([prompt], base="fake-base", tuned="fake-base")
    assert [row.score("exact", "tuned") for row in result.rows] == [1.0]
    assert [arm.sampling.temperature for arm in result.arms] == [0, 0]


def test_answers_are_paid_for_once_where_there_is_a_ledger(tmp_path: Path) -> None:
    asked: list[str] = []

    def say(model: str, _messages: object) -> str:
        asked.append(model)
        return "yes"

    backend = FakeBackend(answers=say)
    prompt = Prompt((ChatMessage(role="user", content="q"),), "yes")
    for _ in range(2):
        Client(backend, ledger=Ledger(tmp_path)).compare(
            [prompt], base="fake-base", arms=[Arm("b", "fake-base", backend)], tuned="fake-base"
        )
    assert asked == ["fake-base"]


class Local(FakeBackend):
    def pull(self, model: str, *, say: Callable[[str], None] = print) -> Model:
        say("converting")
        return Model(id=model)

    def doctor(self) -> list[Finding]:
        return [("store", True, "fine")]


def test_pull_and_doctor_are_forwarded_where_the_backend_has_them(client: Client) -> None:
    lines: list[str] = []
    assert Client(Local()).pull("m", say=lines.append).id == "m"
    assert lines == ["converting"]
    assert Client(Local()).doctor() == [("store", True, "fine")]
    with pytest.raises(UnsupportedError, match="nothing to pull"):
        client.pull("m")
    assert client.doctor() == [("service", True, "fake answers; it lists 1 models")]


def test_doctor_reports_an_unreachable_service() -> None:
    backend = FakeBackend()
    backend.fail_next("models", UnreachableError("no connection"))
    assert Client(backend).doctor() == [("service", False, "no connection")]


def test_connect_takes_the_name_of_the_settings(tmp_path: Path) -> None:
    settings = Settings(backend="local", home=tmp_path / "home", cache=tmp_path / "cache")
    assert repr(connect(settings=settings)) == "Client('local')"


def test_connect_refuses_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, cache=tmp_path)
    with pytest.raises(ConfigError, match="no backend 'nowhere'"):
        connect("nowhere", settings=settings)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(AuthError, match="OPENAI_API_KEY is not set"):
        connect("openai", settings=settings)

"""What an account holds is taken along once, whole, whatever fails on the way."""

from __future__ import annotations

import json
import resource
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import (
    AuthError,
    ConfigError,
    FtjobsError,
    NotFoundError,
    ServiceError,
    UnreachableError,
)
from ftjobs.jobs.archive import Archive, FileEntry, Manifest, folder_name, safe_id, service_path
from ftjobs.jobs.jobfile import parse_job, read_job
from ftjobs.jobs.migrate import Migration, migrate
from ftjobs.jobs.portable import job_toml
from ftjobs.schema import IDENTITY, Job, JobSpec
from tests.leaving import Deadly, deadly, hosted, killed_until_done

DATASETS = Path(__file__).parents[2] / "datasets/support"
BASE = "gpt-4o-mini-2024-07-18"
STEPS = 3


@dataclass
class Account:
    """A service with two files and three jobs that have succeeded, and where it is taken to."""

    service: Deadly
    fake: FakeBackend
    folder: Path
    train: str
    jobs: list[str]

    def migrate(self, **options: Any) -> Migration:
        with hosted(self.service) as backend:
            return migrate(backend, self.folder, **options)

    def create(self, **fields: Any) -> str:
        spec = {"model": BASE, "training_file": self.train, **fields}
        return self.fake.create(JobSpec.model_validate(spec)).id

    def live(self) -> None:
        for _ in range(STEPS + 5):
            self.service.tick()

    @property
    def contents(self) -> Counter[str]:
        """How often the content of each file was asked for."""
        paths = (r.path for r in self.service.requests if r.path.endswith("/content"))
        return Counter(path.split("/")[2] for path in paths)

    def in_folder(self, job: str) -> Path:
        return self.folder / self.manifest.jobs[job].folder

    @property
    def manifest(self) -> Manifest:
        return Manifest.model_validate_json((self.folder / "manifest.json").read_bytes())


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    fake = FakeBackend(steps=STEPS, models=(BASE,))
    with deadly(fake, tmp_path / "service", seed=4) as service:
        train = fake.upload(DATASETS / "train.jsonl").id
        valid = fake.upload(DATASETS / "valid.jsonl").id
        account = Account(service, fake, tmp_path / "leaving", train, [])
        for number in range(3):
            given = {"n_epochs": 2, "learning_rate_multiplier": 1.8}
            fields = {"suffix": f"v{number}", "seed": 7, "hyperparameters": given}
            account.jobs.append(account.create(validation_file=valid, **fields))
        account.live()
        yield account


def test_everything_of_a_job_is_here(account: Account) -> None:
    done = account.migrate()
    assert (done.fetched, done.missing, done.complete) == (5, (), True)
    for job_id in account.jobs:
        folder, job = account.in_folder(job_id), account.fake.retrieve(job_id)
        assert folder.name == f"2023-11-14-{job.suffix}--{job_id}"
        told = json.loads((folder / "job.json").read_text("utf-8"))
        assert told["fine_tuned_model"] == job.fine_tuned_model
        assert told["user_provided_suffix"] == job.suffix  # also what ftjobs has no name for
        events = [json.loads(row) for row in (folder / "events.jsonl").read_text().splitlines()]
        assert [event["id"] for event in events] == [e.id for e in account.fake.events(job_id)]
        checkpoints = json.loads((folder / "checkpoints.json").read_text())
        assert [c["metrics"]["train_loss"] for c in checkpoints] == [
            c.metrics.train_loss for c in account.fake.checkpoints(job_id)
        ]
        assert (folder / "metrics.csv").read_bytes() == account.fake.result_file(job)
    content = (account.folder / service_path(account.train)).read_bytes()
    assert content == (DATASETS / "train.jsonl").read_bytes()
    assert account.folder.stat().st_mode & 0o777 == 0o700


def test_a_second_run_fetches_nothing(account: Account) -> None:
    account.migrate()
    asked = len(account.service.requests)
    done = account.migrate()
    assert (done.fetched, done.complete) == (0, True)
    assert [r.path for r in account.service.requests[asked:]] == ["/fine_tuning/jobs", "/models"]
    assert set(account.contents.values()) == {1}


def test_what_was_deleted_here_is_fetched_again(account: Account) -> None:
    account.migrate()
    (account.folder / service_path(account.train)).write_bytes(b"cut")
    events = account.in_folder(account.jobs[1]) / "events.jsonl"
    whole = events.read_bytes()
    events.unlink()
    assert account.migrate().fetched == 1
    assert events.read_bytes() == whole
    assert (account.folder / service_path(account.train)).stat().st_size > 1_000
    assert account.contents[account.train] == 2


def test_a_job_that_runs_is_brought_up_to_date_until_it_ends(account: Account) -> None:
    job = account.create(suffix="late")
    account.service.tick()
    assert not account.migrate().manifest.jobs[job].settled
    before = (account.in_folder(job) / "events.jsonl").read_text()
    account.live()
    assert account.migrate().manifest.jobs[job].settled
    assert (account.in_folder(job) / "events.jsonl").read_text().startswith(before)
    assert (account.in_folder(job) / "metrics.csv").exists()
    assert set(account.contents.values()) == {1}


def test_events_may_come_after_the_end(account: Account) -> None:
    ended = max(account.fake.retrieve(job).finished_at or 0 for job in account.jobs)
    with hosted(account.service, events_lag=5) as backend:
        early = migrate(backend, account.folder, now=lambda: float(ended + 4))
        late = migrate(backend, account.folder, now=lambda: float(ended + 60))
    assert not all(job.settled for job in early.manifest.jobs.values())
    assert all(job.settled for job in late.manifest.jobs.values())


def test_only_what_was_asked_for(account: Account) -> None:
    account.create(suffix="running")
    assert len(account.migrate(only=("succeeded",)).looked_at) == 3
    assert account.migrate(jobs=(account.jobs[1],)).looked_at == (account.jobs[1],)
    with pytest.raises(NotFoundError):
        account.migrate(jobs=("ftjob-nobody",))


# --- models and job files -----------------------------------------------------------------------


def test_a_model_dies_by_its_own_date_or_with_its_base(account: Account) -> None:
    tuned = [str(account.fake.retrieve(job).fine_tuned_model) for job in account.jobs]
    account.service.shutdown_dates |= {BASE: "2027-01-14", tuned[0]: "2026-12-01"}
    account.fake.delete_model(tuned[2])
    models = account.migrate().manifest.models
    found = [(models[m].shutdown_date, models[m].by, models[m].listed) for m in tuned]
    assert found == [
        ("2026-12-01", "model", True),
        ("2027-01-14", "base model", True),
        ("2027-01-14", "base model", False),
    ]


def test_the_job_file_is_the_same_job(account: Account) -> None:
    account.migrate()
    path = account.in_folder(account.jobs[0]) / "job.toml"
    job = read_job(path)  # which requires that its files are there
    assert (job.model, job.method, job.suffix, job.seed) == (BASE, "supervised", "v0", 7)
    given = job.hyperparameters.given()
    assert (given["n_epochs"], given["learning_rate_multiplier"]) == (2, 1.8)
    assert "learning_rate_multiplier is a factor" in path.read_text("utf-8")


def test_another_model_is_written_without_asking_anew(account: Account) -> None:
    account.migrate()
    path = account.in_folder(account.jobs[0]) / "job.toml"
    path.write_text("# mine\n" + path.read_text("utf-8"), "utf-8")
    account.migrate()
    assert path.read_text("utf-8").startswith("# mine\n")
    account.migrate(model="smollm2-135m")
    assert read_job(path).model == "smollm2-135m"
    assert f"# The model was {BASE}." in path.read_text("utf-8")
    assert set(account.contents.values()) == {1}


def test_a_method_that_no_job_file_can_say_is_a_gap() -> None:
    job = a_job(method={"type": "distillation"})
    with pytest.raises(ConfigError, match="distillation"):
        job_toml(job, {}, service="s")


# --- what goes wrong ----------------------------------------------------------------------------


def test_a_file_that_is_gone_is_said_once_and_the_rest_goes_on(account: Account) -> None:
    account.fake.delete_file(account.train)
    done = account.migrate()
    assert {(loss.what, loss.final) for loss in done.missing} == {(account.train, True)}
    assert len(done.missing) == 3
    assert (done.fetched, done.complete) == (4, True)
    text = (account.in_folder(account.jobs[0]) / "job.toml").read_text("utf-8")
    assert "# The training file is not here: " in text
    asked = account.contents[account.train]
    account.migrate()
    assert account.contents[account.train] == asked


@pytest.mark.parametrize(("status", "final"), [(400, True), (403, True), (500, False)])
def test_a_refused_file_is_a_gap(account: Account, status: int, final: bool) -> None:
    fault = account.service.fault("GET", f"{account.train}/content", status=status, times=99)
    done = account.migrate()
    assert {(loss.what, loss.final) for loss in done.missing} == {(account.train, final)}
    assert done.complete == final
    fault.times = 0
    assert account.migrate().complete
    kept = account.manifest.files[account.train].kept
    assert (kept is None) == final


def test_faults_that_pass_are_waited_out(account: Account) -> None:
    account.service.fault("GET", "/content", status=429, headers={"retry-after": "3"})
    account.service.fault("GET", "/content", lost="after")
    account.service.fault("GET", "/content", cut=100)
    account.service.fault("GET", "/events", status=503, times=2)
    account.service.fault("GET", "/checkpoints", body=b'{"data": [', times=1)
    done = account.migrate()
    assert done.missing == ()
    content = (account.folder / service_path(account.train)).read_bytes()
    assert content == (DATASETS / "train.jsonl").read_bytes()


def test_an_outage_ends_the_run_and_the_next_one_goes_on(account: Account) -> None:
    fault = account.service.fault("GET", "/(files|fine_tuning/jobs)/.+", status=503, times=10**6)
    with pytest.raises(ServiceError) as stopped:
        account.migrate()
    assert "run the same command again" in stopped.value.hint
    fault.times = 0
    assert account.migrate().complete


def test_no_service_and_a_wrong_key_end_the_run(account: Account) -> None:
    account.service.fault("GET", "/content", status=401, times=99)
    with pytest.raises(AuthError):
        account.migrate()
    account.service.url = "http://127.0.0.1:9/v1"
    with hosted(account.service) as backend, pytest.raises(UnreachableError):
        migrate(backend, account.folder.with_name("other"))


def test_a_size_that_is_not_the_announced_one_is_noted(account: Account) -> None:
    account.service.fault(
        "GET", f"/files/{account.train}", rewrite=lambda raw: raw | {"bytes": 10**6}
    )
    assert "says 1000000 bytes" in account.migrate().manifest.files[account.train].note


def test_texts_that_are_no_unicode_come_along(account: Account) -> None:
    def spoil(page: Any) -> Any:
        page["data"][0]["message"] = "half \ud83d"
        return page

    account.service.fault("GET", f"{account.jobs[0]}/events", rewrite=spoil)
    account.migrate()
    rows = (account.in_folder(account.jobs[0]) / "events.jsonl").read_text("utf-8").splitlines()
    assert "half ?" in [json.loads(row)["message"] for row in rows]


def test_names_that_are_no_unicode_do_not_end_the_next_run(tmp_path: Path) -> None:
    half = {"file-1": FileEntry(filename="half \ud83d")}
    with Archive.opened(tmp_path / "leaving", "fake") as archive:
        archive.files |= half
    with Archive.opened(tmp_path / "leaving", "fake") as archive:
        assert archive.files == half
    with pytest.raises(ConfigError, match="cannot say this job's model"):
        job_toml(a_job(model="half \ud83d"), {}, service="s")


def test_a_full_disk_is_named_and_leaves_whole_files(account: Account) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(FtjobsError, match="File too large"):
            account.migrate()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (account.folder / service_path(account.train)).exists()
    assert account.migrate().complete


def test_a_folder_of_something_else_is_left_alone(account: Account) -> None:
    account.folder.mkdir()
    (account.folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="something else"):
        account.migrate()
    assert [path.name for path in account.folder.iterdir()] == ["thesis.txt"]
    for text in ("", "[]", '{"version": 2, "backend": "hosted"}'):
        (account.folder / "manifest.json").write_text(text)
        with pytest.raises(ConfigError, match="not a manifest"):
            account.migrate()
    with pytest.raises(ConfigError, match="not a folder"):
        migrate(account.fake, account.folder / "thesis.txt")
    with pytest.raises(ConfigError, match="zero byte"):
        migrate(account.fake, Path("a\0b"))


@pytest.mark.parametrize("path", ["../thesis.txt", "/etc/passwd", "files/../../x", "a\\..\\b"])
def test_a_manifest_leads_nowhere_else(account: Account, path: str) -> None:
    account.migrate()
    manifest = json.loads((account.folder / "manifest.json").read_bytes())
    manifest["files"][account.train]["kept"]["path"] = path
    (account.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="not a manifest"):
        account.migrate()


@pytest.mark.parametrize("folder", ["", "/", "..", "jobs/../.."])
def test_no_job_is_written_elsewhere(account: Account, folder: str) -> None:
    account.migrate()
    manifest = json.loads((account.folder / "manifest.json").read_bytes())
    manifest["jobs"][account.jobs[0]]["folder"] = folder
    (account.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="not a manifest"):
        account.migrate()


def test_two_backends_and_two_processes_do_not_mix(account: Account) -> None:
    account.migrate()
    with pytest.raises(ConfigError, match="jobs of hosted, not of fake"):
        migrate(account.fake, account.folder)
    with (
        Archive.opened(account.folder, "hosted"),
        pytest.raises(ConfigError, match="another process"),
    ):
        account.migrate()


def test_a_backend_without_downloads_will_do(tmp_path: Path) -> None:
    fake = FakeBackend(steps=1)
    file = fake.upload(DATASETS / "train.jsonl")
    fake.create(JobSpec(model="fake-base", training_file=file.id))
    migrate(fake, tmp_path / "leaving")
    kept = tmp_path / "leaving" / service_path(file.id)
    assert kept.read_bytes() == (DATASETS / "train.jsonl").read_bytes()


def test_killed_anywhere_it_goes_on(account: Account, tmp_path: Path) -> None:
    """Every kill costs at most the one file that was under way."""
    kills = killed_until_done(account.service, tmp_path, 4, 9, "migrate", str(account.folder))
    assert kills >= 2
    manifest = account.manifest
    assert all(entry.kept for entry in manifest.files.values())
    assert all(job.settled and not job.missing for job in manifest.jobs.values())
    assert account.contents.total() <= len(manifest.files) + kills
    for file_id, entry in manifest.files.items():
        data = (account.folder / str(entry.kept and entry.kept.path)).read_bytes()
        if entry.purpose == "fine-tune":
            assert data == account.fake.content(file_id)
    assert not list(account.folder.rglob("*.part"))
    with hosted(account.service, account.service.url) as backend:
        again = migrate(backend, account.folder)
    assert (again.fetched, again.complete) == (0, True)


# --- names that the service chooses -------------------------------------------------------------

WORDS = st.one_of(
    st.text(max_size=300),
    st.sampled_from(
        ["", ".", "..", "../../etc/passwd", "a/b", "a\\b", "A", "a", "-rf", "con", "\0"]
    ),
)


def a_job(**fields: Any) -> Job:
    known = {"id": "ftjob-1", "created_at": 1, "status": "succeeded", "model": "m"}
    return Job.model_validate(known | {"training_file": "file-1"} | fields)


@given(WORDS, WORDS, st.integers())
def test_hostile_names_stay_in_the_folder(suffix: str, job_id: str, created: int) -> None:
    for name in (folder_name(a_job(id=job_id, suffix=suffix, created_at=created)), safe_id(job_id)):
        assert name not in ("", ".", "..")
        assert not set(name) & set('/\\\0<>:"|?*\n')
        assert name[0] not in "-."
        assert len(name.encode()) <= 240
    assert service_path(job_id).count("/") == 1


@given(WORDS, WORDS, WORDS, WORDS)
def test_two_ids_have_two_names_in_any_case(one: str, two: str, this: str, that: str) -> None:
    if one != two:
        assert safe_id(one).casefold() != safe_id(two).casefold()
        jobs = a_job(id=one, suffix=this), a_job(id=two, suffix=that)
        assert folder_name(jobs[0]).casefold() != folder_name(jobs[1]).casefold()


def test_harmless_ids_are_their_own_names() -> None:
    assert safe_id("ftjob-abc_123") == "ftjob-abc_123"
    assert safe_id("file-AbC").startswith("file-AbC~")


@given(
    suffix=st.none() | WORDS,
    model=st.text(min_size=1),
    file=WORDS,
    seed=st.none() | st.integers(),
    metadata=st.dictionaries(WORDS, WORDS, max_size=3),
    settings=st.dictionaries(
        st.sampled_from(["n_epochs", "batch_size", "learning_rate_multiplier", "x", "lora_r"]),
        st.one_of(st.integers(), st.floats(), st.text(), st.just("auto"), st.lists(st.none())),
    ),
)
def test_any_job_becomes_a_job_file_or_a_refusal(**fields: Any) -> None:
    model, settings = fields["model"], fields["settings"]
    job = a_job(
        model=model,
        training_file=fields["file"],
        suffix=fields["suffix"],
        seed=fields["seed"],
        metadata=fields["metadata"] | {IDENTITY: "0" * 32},
        hyperparameters=settings,
    )
    try:
        text = job_toml(job, {}, service="s")
    except ConfigError:
        return
    written = parse_job(text)
    assert written.model == model
    assert IDENTITY not in written.metadata
    assert written.hyperparameters.given().keys() <= settings.keys()
    assert written.suffix in (None, fields["suffix"])


def test_a_remark_stays_a_remark() -> None:
    hostile = 'x\nmodel = "evil"\r\x85\u2028[data]\ntrain = "/etc/passwd"\x00'
    text = job_toml(a_job(id=hostile, model=hostile), {}, service=hostile, model="mine")
    assert tomllib.loads(text) == {
        "model": "mine",
        "method": "supervised",
        "data": {"train": "../../files/file-1.jsonl"},
    }

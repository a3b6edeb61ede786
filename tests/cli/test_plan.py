"""`plan`, `apply` and `submit`, through the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftjobs.backends.base import Progress
from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import main
from ftjobs.client import Client
from ftjobs.config import Settings
from ftjobs.errors import AuthError, ServiceError, UnreachableError
from ftjobs.jobs.plan import plan_job
from ftjobs.jobs.planfile import read_plan, write_plan
from ftjobs.schema import File
from tests import service
from tests.cli.conftest import DATASETS, TRAIN, Result, Run

VALID = str(DATASETS / "support/valid.jsonl")
BROKEN = str(DATASETS / "broken/line-7.jsonl")
MODEL = "gpt-4o-mini"


@pytest.fixture
def backend() -> FakeBackend:
    """A service with a price, and an account that has tuned before."""
    backend = FakeBackend(steps=2, name="openai", models=(MODEL, "other"))
    Client(backend).submit(TRAIN, model="other")
    return backend


@pytest.fixture(autouse=True)
def _no_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "no tables"))


def jobs_of(backend: FakeBackend) -> list[str]:
    return [job.id for job in backend.jobs() if job.model == MODEL]


def planned(run: Run, *args: str) -> Result:
    return run("plan", TRAIN, "--model", MODEL, *args)


# --- plan -----------------------------------------------------------------------------------------


def test_a_plan_says_all_and_sends_nothing(run: Run, backend: FakeBackend) -> None:
    before = list(backend.files())
    result = planned(run, "--validation", VALID, "--suffix", "s", "--n-epochs", "2")
    assert result.code == 0
    for words in ("Plan for openai", "n_epochs 2", "78 examples", "× 2 epochs", "at most", "$3.00"):
        assert words in result.out
    assert result.out.endswith("and create a job on openai.\n")
    assert jobs_of(backend) == []
    assert list(backend.files()) == before


def test_a_plan_as_json(run: Run) -> None:
    result = planned(run, "--json", "--max-cost", "5")
    (row,) = result.rows
    assert (row["object"], row["version"], row["backend"]) == ("plan", 1, "openai")
    assert row["cost"]["usd"] < row["cost"]["most_usd"] <= row["max_cost"]
    assert (result.code, result.err) == (0, "")


def test_a_dry_run_is_a_plan(run: Run, backend: FakeBackend) -> None:
    plan = planned(run)
    dry = run("submit", TRAIN, "--model", MODEL, "--dry-run")
    assert (dry.code, dry.out) == (plan.code, plan.out)
    assert jobs_of(backend) == []


def test_a_job_that_would_be_adopted(run: Run, backend: FakeBackend) -> None:
    job = run("submit", TRAIN, "--model", MODEL).out.strip()
    result = planned(run, "--max-cost", "0")
    assert result.code == 0
    assert f"Would adopt job {job}" in result.out
    assert "Would create" in planned(run, "--again").out


def test_what_stands_in_the_way(run: Run, tmp_path: Path) -> None:
    result = run("plan", TRAIN, "--model", "gpt-4o-mimi", "-o", "plan.json")
    assert result.code == 1
    assert "error: openai lists no model gpt-4o-mimi" in result.out
    assert f"Did you mean {MODEL}?" in result.out
    assert "this job cannot run" in result.err
    applied = run("apply", "plan.json")
    assert (applied.code, applied.out) == (1, "")
    assert "lists no model" in applied.err
    assert run("submit", TRAIN, "--model", "gpt-4o-mimi").code == 1


@pytest.mark.parametrize("command", ["plan", "submit"])
@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ((TRAIN,), 2, "--model"),
        ((BROKEN, "--model", MODEL), 3, "line-7.jsonl:7"),
        ((TRAIN, "--model", MODEL, "--validation", BROKEN), 3, "line-7.jsonl:7"),
        (("nowhere.jsonl", "--model", MODEL), 2, "nowhere.jsonl"),
        (("nowhere.toml",), 2, "nowhere.toml"),
        ((TRAIN, "--model", MODEL, "--method", "dpo"), 3, "supervised examples"),
        ((TRAIN, "--model", MODEL, "--n-epochs", "99"), 2, "n_epochs"),
        ((TRAIN, "--model", MODEL, "--suffix", "x" * 65), 2, "suffix"),
        ((TRAIN, "--model", MODEL, "--max-cost", "nan"), 2, "--max-cost"),
        ((TRAIN, "--model", MODEL, "--max-cost", "inf"), 2, "--max-cost"),
        ((TRAIN, "--model", MODEL, "--max-cost", "-1"), 2, "--max-cost"),
        ((TRAIN, "--model", MODEL, "--max-cost", "0.01"), 9, "more than the $0.01"),
    ],
)
def test_what_is_refused(
    run: Run, backend: FakeBackend, command: str, args: tuple[str, ...], code: int, words: str
) -> None:
    files = list(backend.files())
    result = run(command, *args)
    assert result.code == code
    assert words in result.err
    assert jobs_of(backend) == []
    assert list(backend.files()) == files


def test_a_refused_key(run: Run, backend: FakeBackend) -> None:
    backend.fail_next("files", AuthError("no"))
    backend.fail_next("jobs", AuthError("no"))
    assert planned(run).code == 4


def test_a_check_that_the_service_does_not_answer_is_a_warning(
    run: Run, backend: FakeBackend
) -> None:
    backend.fail_next("models", ServiceError("broken on purpose"))
    result = planned(run)
    assert result.code == 0
    assert "warning: openai did not say which models it has: broken on purpose" in result.out


@pytest.mark.parametrize("place", ["nowhere/plan.json", "."])
def test_a_plan_that_could_not_be_kept_is_refused_first(run: Run, place: str) -> None:
    result = planned(run, "-o", place)
    assert (result.code, result.out) == (2, "")


@pytest.mark.parametrize("name", ["train.jsonl", "job.toml", "link.json"])
def test_a_plan_never_takes_the_place_of_what_it_is_made_from(run: Run, name: str) -> None:
    Path("train.jsonl").write_bytes(Path(TRAIN).read_bytes())
    Path("job.toml").write_text(f'model = "{MODEL}"\n[data]\ntrain = "train.jsonl"\n')
    Path("link.json").symlink_to("train.jsonl")
    before = Path(name).read_bytes()
    result = run("plan", "job.toml", "-o", name)
    assert result.code == 2
    assert f"{name} is what is read here" in result.err
    assert Path(name).read_bytes() == before


def test_a_report_never_takes_the_place_of_the_plan(run: Run, backend: FakeBackend) -> None:
    planned(run, "-o", "plan.json")
    assert run("apply", "plan.json", "-o", "plan.json").code == 2
    assert jobs_of(backend) == []
    assert read_plan("plan.json").adopt is None


# --- cost -----------------------------------------------------------------------------------------


def test_a_price_that_nobody_knows(run: Run, backend: FakeBackend) -> None:
    args = ("submit", TRAIN, "--model", "other", "--suffix", "new", "--max-cost", "5")
    refused = run(*args)
    assert (refused.code, refused.out) == (9, "")
    assert "there is no price for other at openai" in refused.err
    assert run(*args, "--allow-unknown-cost").code == 0


def test_a_users_own_price(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(
        '[[price]]\nmodel = "gpt-4o-mini"\nservice = "our contract"\n'
        'usd_per_million_tokens = 1000\ndate = 2026-11-01\nsource = "page 4"\n'
    )
    assert planned(run, "--max-cost", "1").code == 0
    monkeypatch.setenv("FTJOBS_HOME", str(tmp_path))
    result = planned(run, "--max-cost", "1")
    assert result.code == 9
    assert "our contract, $1,000.00 for a million tokens, as of 2026-11-01 (page 4)" in result.out


def test_tokens_are_not_counted_for_nothing(run: Run) -> None:
    (row,) = planned(run, "--json").rows
    assert row["cost"]["tokens"] > 0
    result = run("submit", TRAIN, "--model", MODEL, "--json")
    assert "cost" not in result.rows[0]


# --- job files ------------------------------------------------------------------------------------


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(Path(TRAIN).read_bytes())
    (folder / "valid.jsonl").write_bytes(Path(VALID).read_bytes())
    path = folder / "job.toml"
    path.write_text(
        'backend = "elsewhere"\nmodel = "other"\nsuffix = "from-file"\nseed = 1\n'
        '[data]\ntrain = "train.jsonl"\nvalidation = "valid.jsonl"\n'
        "[hyperparameters]\nn_epochs = 1\nbatch_size = 4\n"
        '[metadata]\nteam = "a"\nwhy = "file"\n'
        "[budget]\nmax_cost = 7\n"
    )
    return path


def test_a_job_file_says_it_all(run: Run, job_file: Path) -> None:
    result = run("plan", str(job_file), "--json", "--allow-unknown-cost")
    (row,) = result.rows
    spec = row["spec"]
    assert (spec["model"], spec["suffix"], spec["seed"]) == ("other", "from-file", 1)
    assert (spec["hyperparameters"]["n_epochs"], spec["hyperparameters"]["batch_size"]) == (1, 4)
    assert spec["metadata"] == {"team": "a", "why": "file"}
    assert row["files"]["validation_file"]["examples"] == 14
    assert row["max_cost"] == 7
    assert result.code == 0


def test_options_go_before_the_job_file(run: Run, job_file: Path) -> None:
    result = run(
        *("plan", str(job_file), "--json", "--model", MODEL, "--suffix", "s", "--seed", "2"),
        *("--n-epochs", "auto", "--metadata", "why=option", "--max-cost", "8"),
        *("--validation", TRAIN),
    )
    (row,) = result.rows
    spec = row["spec"]
    assert (spec["model"], spec["suffix"], spec["seed"]) == (MODEL, "s", 2)
    assert spec["hyperparameters"]["n_epochs"] == "auto"
    assert spec["hyperparameters"]["batch_size"] == 4
    assert spec["metadata"] == {"team": "a", "why": "option"}
    assert row["files"]["validation_file"]["path"] == TRAIN
    assert row["max_cost"] == 8


def test_which_backend(
    backend: FakeBackend, job_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag goes before the job file, and the job file before the environment."""
    asked: list[str] = []

    def connect(settings: Settings) -> Client:
        asked.append(settings.backend)
        return Client(backend)

    monkeypatch.setenv("FTJOBS_BACKEND", "from-environment")
    plan = ("plan", str(job_file), "--allow-unknown-cost", "-o", "plan.json")
    assert main(plan, connect=connect) == 0
    assert main(("--backend", "from-flag", *plan), connect=connect) == 0
    assert main(("plan", TRAIN, "--model", MODEL), connect=connect) == 0
    assert main(("apply", "plan.json"), connect=connect) == 0
    assert asked == ["elsewhere", "from-flag", "from-environment", "openai"]


def test_a_mistake_in_a_job_file_names_file_and_key(run: Run, job_file: Path) -> None:
    job_file.write_text(job_file.read_text().replace("n_epochs", "epochs"))
    result = run("submit", str(job_file))
    assert result.code == 2
    assert "job.toml: unknown key 'hyperparameters.epochs'" in result.err
    assert "Did you mean hyperparameters.n_epochs?" in result.err


# --- apply ----------------------------------------------------------------------------------------


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(Path(TRAIN).read_bytes())
    return path


def test_a_plan_is_applied_once(run: Run, backend: FakeBackend, train: Path) -> None:
    kept = run("plan", str(train), "--model", MODEL, "--max-cost", "5", "-o", "plan.json")
    assert kept.err == "Carry it out: ftjobs apply plan.json\n"
    first = run("apply", "plan.json")
    (job,) = jobs_of(backend)
    assert (first.code, first.out) == (0, f"{job}\n")
    second = run("apply", "plan.json")
    assert (second.code, second.out) == (0, f"{job}\n")
    assert jobs_of(backend) == [job]


def test_a_plan_is_applied_and_watched(run: Run, backend: FakeBackend) -> None:
    planned(run, "-o", "plan.json")
    result = run("apply", "plan.json", "--watch", "--json")
    assert result.code == 0
    assert result.rows[0]["id"] == result.rows[-1]["id"]
    assert result.rows[-1]["status"] == "succeeded"


def test_a_stale_plan_is_refused(run: Run, backend: FakeBackend, train: Path) -> None:
    run("plan", str(train), "--model", MODEL, "-o", "plan.json")
    train.write_bytes(train.read_bytes() + train.read_bytes().splitlines(keepends=True)[0])
    result = run("apply", "plan.json")
    assert (result.code, result.out) == (10, "")
    assert f"{train}: the file has changed since the plan was made" in result.err
    assert jobs_of(backend) == []


def test_a_plan_for_another_service_is_refused(run: Run, backend: FakeBackend) -> None:
    planned(run, "-o", "plan.json")
    backend.name = "azure"
    assert run("apply", "plan.json").code == 10


def test_a_plan_that_counts_on_a_job_which_came_to_nothing(run: Run, backend: FakeBackend) -> None:
    job = run("submit", TRAIN, "--model", MODEL).out.strip()
    planned(run, "-o", "plan.json")
    backend.cancel(job)
    result = run("apply", "plan.json")
    assert (result.code, result.out) == (10, "")
    assert job in result.err


def test_an_edited_plan_is_refused(run: Run, backend: FakeBackend) -> None:
    planned(run, "-o", "plan.json")
    path = Path("plan.json")
    path.write_text(path.read_text().replace(MODEL, "other"))
    result = run("apply", "plan.json")
    assert (result.code, result.out) == (2, "")
    assert "was changed after it was made" in result.err
    path.write_text(path.read_text()[:100])
    assert "not a plan, or cut short" in run("apply", "plan.json").err


def test_a_plan_over_its_limit_is_kept_and_not_applied(run: Run, backend: FakeBackend) -> None:
    assert planned(run, "--max-cost", "0.01", "-o", "plan.json").code == 9
    assert read_plan("plan.json").max_cost == 0.01
    assert run("apply", "plan.json").code == 9
    assert jobs_of(backend) == []


# --- submit ---------------------------------------------------------------------------------------


def test_the_same_command_again_adopts(run: Run, backend: FakeBackend) -> None:
    first = run("submit", TRAIN, "--model", MODEL)
    again = run("submit", TRAIN, "--model", MODEL)
    (job,) = jobs_of(backend)
    assert (again.code, again.out) == (0, first.out)
    assert f"Job {job} with this content exists (validating_files): adopted" in again.err
    assert "adopted" not in first.err
    other = run("submit", TRAIN, "--model", MODEL, "--again")
    assert other.out != first.out
    assert len(jobs_of(backend)) == 2


def test_warnings_are_said_before_the_job_starts(run: Run, backend: FakeBackend) -> None:
    backend.fail_next("models", UnreachableError("no connection"))
    result = run("submit", TRAIN, "--model", MODEL)
    assert result.code == 0
    assert "warning: openai did not say which models it has: no connection" in result.err
    assert result.out.count("\n") == 1


class Slow(FakeBackend):
    """A service whose uploads never end by themselves."""

    interrupt: Callable[[], None] = staticmethod(lambda: None)

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        if progress is not None:
            progress(1, 10)
        self.interrupt()
        return super().upload(path, name=name, purpose=purpose, progress=progress)


def test_an_interrupted_upload_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend = Slow(models=(MODEL,))
    backend.interrupt = lambda: signal.raise_signal(signal.SIGINT)
    args = ("submit", TRAIN, "--model", MODEL)
    assert main(args, connect=lambda settings: Client(backend)) == 130
    done = capsys.readouterr()
    assert done.out == ""
    assert "Run the same command again" in done.err
    backend.interrupt = lambda: None
    assert main(args, connect=lambda settings: Client(backend)) == 0
    assert len(list(backend.jobs())) == 1


# --- over the network -----------------------------------------------------------------------------


@pytest.fixture
def shop() -> Iterator[service.Service]:
    with service.running(FakeBackend(steps=2, models=(MODEL,))) as shop:
        yield shop


def ftjobs(shop: service.Service, *args: str, key: str = service.KEY) -> subprocess.Popen[str]:
    """The program itself, against a service on loopback."""
    environ = {**os.environ, "FTJOBS_API_KEY": key, "FTJOBS_BACKEND": shop.url}
    return subprocess.Popen(
        [sys.executable, "-m", "ftjobs", *args],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_plan_apply_and_submit_again_make_one_job(shop: service.Service) -> None:
    plan = ftjobs(shop, "plan", TRAIN, "--model", MODEL, "-o", "plan.json")
    out, err = plan.communicate(timeout=30)
    assert plan.returncode == 0, err
    assert f"create a job on {shop.url}" in " ".join(out.split())
    assert not any(request.method == "POST" for request in shop.requests)
    text = Path("plan.json").read_text("utf-8")
    assert service.KEY not in text + out + err
    assert json.loads(text)["backend"] == shop.url
    ids = set()
    for args in (("apply", "plan.json"), ("submit", TRAIN, "--model", MODEL)):
        done = ftjobs(shop, *args)
        out, err = done.communicate(timeout=60)
        assert done.returncode == 0, err
        ids.add(out)
    assert len(ids) == 1
    assert shop.count("POST", "/fine_tuning/jobs") == 1
    assert shop.count("POST", "/files") == 1


def test_a_wrong_key_is_exit_code_4(shop: service.Service) -> None:
    done = ftjobs(shop, "plan", TRAIN, "--model", MODEL, key="sk-wrong-0123456789")
    out, err = done.communicate(timeout=30)
    assert (done.returncode, out) == (4, "")
    assert "sk-wrong" not in err


def test_ctrl_c_while_a_job_is_created_loses_nothing(shop: service.Service) -> None:
    """The answer of the create comes too late for the first process; the second finds the job."""
    shop.fault("POST", "/fine_tuning/jobs", delay=2.0)
    first = ftjobs(shop, "submit", TRAIN, "--model", MODEL)
    deadline = time.monotonic() + 30
    while not shop.count("POST", "/fine_tuning/jobs"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=30)
    assert (first.returncode, out) == (130, "")
    assert "Run the same command again" in err
    second = ftjobs(shop, "submit", TRAIN, "--model", MODEL)
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    (job,) = shop.backend.jobs()
    assert out == f"{job.id}\n"


@pytest.mark.parametrize("by", ["job", "plan"])
def test_a_backend_that_only_a_file_names_gets_no_key_of_the_user(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTJOBS_API_KEY", "the-users-own")
    elsewhere = "https://evil.example/v1"
    if by == "job":
        path = tmp_path / "job.toml"
        path.write_text(f'backend = "{elsewhere}"\nmodel = "m"\n[data]\ntrain = "{TRAIN}"\n')
        args = ["submit", str(path)]
    else:
        made = plan_job(FakeBackend(name=elsewhere), TRAIN, model="fake-base", priced=False)
        write_plan(made, tmp_path / "plan.json")
        args = ["apply", str(tmp_path / "plan.json")]
    assert main(args) == 4
    assert "FTJOBS_KEY_EVIL_EXAMPLE" in capsys.readouterr().err

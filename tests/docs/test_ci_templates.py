"""The templates of docs/ci: valid, and every script in them run against a loopback service.

A small runner stands for GitHub's: it fills expressions in, gives steps their files, and runs each
`run:` with the bash options that GitHub uses.  `gh` is a stand-in that keeps comments in a file and
leaves `--jq` to the real jq; `pip install ftjobs` is taken as done.  Actions of others (checkout,
setup-python, …) are not run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from ftjobs.backends.fake import FakeBackend
from ftjobs.client import Client
from ftjobs.schema import ChatMessage, JobError
from tests import service
from tests.docs.pages import ROOT
from tests.reports.test_ci import read_outputs

CI = ROOT / "docs/ci"
WORKFLOWS = sorted((CI / "github/workflows").glob("*.yml"))
ACTION = CI / "github/actions/ftjobs/action.yml"
GITLAB = CI / "gitlab/ftjobs.gitlab-ci.yml"
SHELL = CI / "fine-tune.sh"
FILES = [*WORKFLOWS, ACTION, GITLAB]
BIN = Path(sys.executable).parent
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")

GH = f"""#!{sys.executable}
import json, os, pathlib, subprocess, sys
args, store = sys.argv[2:], pathlib.Path(os.environ["COMMENTS"])
comments = json.loads(store.read_text()) if store.exists() else []
method = args[args.index("--method") + 1] if "--method" in args else "GET"
path = next(arg for arg in args if arg.startswith("repos/"))
with open(store.with_name("calls"), "a") as log:
    log.write(f"{{method}} {{path}}\\n")
if method == "GET":
    done = subprocess.run(["jq", "-r", args[args.index("--jq") + 1]],
                          input=json.dumps(comments), text=True, check=True)
    sys.exit()
name, _, value = args[args.index("--field") + 1].partition("=")
assert name == "body" and value[0] == "@", args
body = pathlib.Path(value[1:]).read_text()
if method == "POST":
    comments.append({{"id": len(comments) + 1, "user": {{"type": "Bot"}}, "body": body}})
else:
    next(c for c in comments if str(c["id"]) == path.rsplit("/", 1)[1])["body"] = body
store.write_text(json.dumps(comments))
"""


def load(path: Path) -> dict[str, Any]:
    loaded = yaml.safe_load(path.read_text("utf-8"))
    return {"on" if key is True else key: value for key, value in loaded.items()}


def scripts(node: Any) -> Iterator[str]:
    """Every script of a GitHub file."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "run" and isinstance(value, str):
                yield value
            else:
                yield from scripts(value)
    elif isinstance(node, list):
        for one in node:
            yield from scripts(one)


# --- valid ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_templates_are_what_their_schema_says(path: Path) -> None:
    kind = {ACTION: "github-actions", GITLAB: "gitlab-ci"}.get(path, "github-workflows")
    check = [str(BIN / "check-jsonschema"), "--builtin-schema", f"vendor.{kind}", str(path)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_scripts_pass_shellcheck(tmp_path: Path) -> None:
    paths = [SHELL]
    for path in [*WORKFLOWS, ACTION]:
        for number, script in enumerate(scripts(load(path))):
            paths.append(tmp_path / f"{path.stem}-{number}.bash")
            paths[-1].write_text(f"#!/bin/bash\nset -eo pipefail\n{script}")
    for name, job in load(GITLAB).items():
        if isinstance(job, dict) and "script" in job:
            paths.append(tmp_path / f"gitlab-{name}.bash")
            paths[-1].write_text("#!/bin/bash\nset -eo pipefail\n" + "\n".join(gitlab_lines(name)))
    done = subprocess.run(
        [str(BIN / "shellcheck"), *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert len(paths) > 10


@pytest.mark.parametrize("path", [*WORKFLOWS, ACTION], ids=lambda path: path.name)
def test_nothing_is_pasted_into_a_script(path: Path) -> None:
    """An expression in a script would let a branch's name or a model's be code."""
    assert [script for script in scripts(load(path)) if "${{" in script] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_ask_for_little(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow["on"]
    for job in workflow["jobs"].values():
        assert set(job.get("permissions", {})) <= {"contents", "pull-requests"}


def test_forks_get_no_secret_and_a_check_all_the_same() -> None:
    jobs = load(CI / "github/workflows/pull-request.yml")["jobs"]
    assert "secrets." not in str(jobs["data"])
    assert "if" not in jobs["data"]
    assert jobs["plan"]["if"] == (
        "github.event.pull_request.head.repo.full_name == github.repository"
    )


# --- run -----------------------------------------------------------------------------------------


@dataclass
class Runner:
    """Runs steps in a folder, with what the expressions stand for."""

    folder: Path
    environ: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    log: str = ""

    def run(self, steps: list[dict[str, Any]], given: Mapping[str, str] | None = None) -> int:
        """The exit code of the first step that fails; the steps after it run `if: always()`."""
        failed = 0
        for step in steps:
            wanted = self.fill(step.get("if", "always()" if not failed else "success()"))
            if wanted in ("", "false") or (failed and step.get("if") != "always()"):
                continue
            code = self._step(step, given or {})
            failed = failed or code
        return failed

    def _step(self, step: dict[str, Any], given: Mapping[str, str]) -> int:
        own = {key: self.fill(str(value)) for key, value in step.get("env", {}).items()}
        environ = {**self.environ, **given, **own}
        if "run" in step:
            return self._bash(step, environ)
        if step["uses"].startswith("./"):
            return self._composite(step, {**given, **own})
        assert step["uses"].startswith("actions/")
        return 0

    def _bash(self, step: dict[str, Any], environ: dict[str, str]) -> int:
        outputs = self.folder.parent / "github-output"
        outputs.write_text("")
        done = subprocess.run(
            [*BASH, "-c", step["run"]],
            cwd=self.folder,
            env={**environ, "GITHUB_OUTPUT": str(outputs)},
            capture_output=True,
            text=True,
            check=False,
        )
        self.log += done.stdout + done.stderr
        for name, value in read_outputs(outputs.read_text("utf-8")).items():
            self.values[f"steps.{step.get('id')}.outputs.{name}"] = value
        return done.returncode

    def _composite(self, step: dict[str, Any], given: Mapping[str, str]) -> int:
        action = load(ACTION)
        inner = Runner(self.folder, self.environ)
        for name, spec in action["inputs"].items():
            text = step.get("with", {}).get(name, spec["default"])
            inner.values[f"inputs.{name}"] = self.fill(
                str(text).lower() if text in (True, False) else str(text)
            )
        code = inner.run(action["runs"]["steps"], given)
        self.log += inner.log
        for name, spec in action["outputs"].items():
            self.values[f"steps.{step['id']}.outputs.{name}"] = inner.fill(spec["value"])
        return code

    def fill(self, text: str) -> str:
        """A text with its expressions filled in; a bare one, as in `if:`, is one too."""
        if "${{" not in text and re.match(r"(always|success)\(\)|[a-z]+\.[\w.-]+ [!=]=", text):
            return self._value(text)
        return re.sub(r"\$\{\{(.*?)\}\}", lambda match: self._value(match[1]), text)

    def _value(self, expression: str) -> str:
        expression = expression.strip()
        if " || " in expression:
            return next(filter(None, map(self._value, expression.split(" || "))), "")
        for sign in ("!=", "=="):
            if sign in expression:
                left, right = (self._value(side) for side in expression.split(sign))
                return str((left == right) == (sign == "==")).lower()
        if expression.startswith("'"):
            return expression[1:-1]
        if expression in ("always()", "success()"):
            return "true"
        return self.values.get(expression, "")


@dataclass
class There:
    """A service whose jobs live a step in each moment, while `living` is set."""

    url: str
    backend: FakeBackend
    living: threading.Event


@pytest.fixture
def there() -> Iterator[There]:
    with service.running(FakeBackend(steps=3)) as started:
        living, stop = threading.Event(), threading.Event()
        living.set()

        def live() -> None:
            while not stop.wait(0.05):
                if living.is_set():
                    started.tick()

        thread = threading.Thread(target=live)
        thread.start()
        yield There(started.url, started.backend, living)
        stop.set()
        thread.join()


@pytest.fixture
def runner(there: There, tmp_path: Path) -> Runner:
    """A checked-out repository with a job file, and a home whose settings know the service."""
    repository, home = tmp_path / "repository", tmp_path / "home"
    for folder in (repository / "datasets", home / "config/ftjobs", tmp_path / "bin"):
        folder.mkdir(parents=True)
    data = (ROOT / "datasets/support/train.jsonl").read_text("utf-8")
    (repository / "datasets/train.jsonl").write_text(data, "utf-8")
    (repository / "job.toml").write_text(
        'backend = "loop"\nmodel = "fake-base"\n[data]\ntrain = "datasets/train.jsonl"\n'
    )
    (home / "config/ftjobs/config.toml").write_text(
        f'[profiles.loop]\nbase_url = "{there.url}"\nkey_variables = ["OPENAI_API_KEY"]\n'
        "[profiles.loop.capabilities]\nlist_lag = 0.0\nevents_lag = 0.0\n"
    )
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    for name, text in {"gh": GH, "python": PYTHON}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    summary = tmp_path / "summary"
    summary.touch()
    return Runner(
        repository,
        {
            "PATH": f"{tmp_path / 'bin'}:{BIN}:{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "FTJOBS_HOME": str(home / "ftjobs"),
            "COMMENTS": str(tmp_path / "comments.json"),
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "owner/name",
            "GITHUB_STEP_SUMMARY": str(summary),
        },
        {"secrets.OPENAI_API_KEY": service.KEY, "secrets.api-key": service.KEY},
    )


PYTHON = f"""#!/bin/sh
# Installing was done before the test.
case "$1 $2 $3 $4" in
    "-m pip install ftjobs"*) ;;
    *) exec {sys.executable} "$@" ;;
esac
"""


def jobs_of(there: There) -> list[str]:
    return [job.id for job in there.backend.jobs()]


def called(runner: Runner, workflow: str) -> tuple[int, dict[str, str]]:
    """Run the job of a workflow that calls fine-tune.yml: exit code and the workflow's outputs."""
    fine_tune = load(CI / "github/workflows/fine-tune.yml")
    caller = next(iter(load(CI / f"github/workflows/{workflow}.yml")["jobs"].values()))
    assert caller["uses"] == "./.github/workflows/fine-tune.yml"
    given = caller.get("with", {}) | runner.chosen
    for name, spec in fine_tune["on"]["workflow_call"]["inputs"].items():
        value = given.get(name, spec["default"])
        runner.values[f"inputs.{name}"] = (
            str(value).lower() if value in (True, False) else str(value)
        )
    job = fine_tune["jobs"]["fine-tune"]
    code = runner.run(job["steps"])
    return code, {name: runner.fill(text) for name, text in job["outputs"].items()}


def test_a_job_that_outlasts_its_runner_is_taken_up(runner: Runner, there: There) -> None:
    """A merge starts it; time is up; a run on a schedule, at home nowhere, sees it to its end."""
    there.living.clear()
    runner.chosen["watch-seconds"] = 0.1
    code, outputs = called(runner, "train")
    assert code == 0, runner.log
    assert outputs["status"] == "validating_files"
    assert [outputs["job-id"]] == jobs_of(there)
    assert len(outputs["identity"]) == 32
    reports = runner.folder / "ftjobs-reports"
    assert "<skipped" in (reports / "job.xml").read_text("utf-8")
    there.living.set()
    empty = str(runner.folder.parent / "empty")
    elsewhere = Runner(runner.folder, {**runner.environ, "FTJOBS_HOME": empty}, runner.values)
    code, later = called(elsewhere, "attach")
    assert code == 0, elsewhere.log
    assert later == outputs | {
        "status": "succeeded",
        "fine-tuned-model": "ft:fake-base:fake::fake0001",
    }
    assert jobs_of(there) == [outputs["job-id"]]
    assert {path.name for path in reports.iterdir()} == {
        "plan.json",
        "job.xml",
        "job.md",
        "job.json",
    }
    assert "### ✅" in Path(runner.environ["GITHUB_STEP_SUMMARY"]).read_text("utf-8")
    assert service.KEY not in runner.log + elsewhere.log


def test_a_schedule_never_pays_for_a_job_that_failed(runner: Runner, there: There) -> None:
    backend = there.backend
    backend._fail_with, backend._fail_at = JobError(code="server_error"), 1
    job = Client(backend).submit(runner.folder / "datasets/train.jsonl", model="fake-base")
    while not backend.retrieve(job.id).ended:
        pass
    code, outputs = called(runner, "attach")
    assert code == 5, runner.log
    assert (outputs["job-id"], outputs["status"]) == (job.id, "failed")
    assert jobs_of(there) == [job.id]


def test_a_pull_request_is_checked_and_has_one_comment(runner: Runner, there: There) -> None:
    jobs = load(CI / "github/workflows/pull-request.yml")["jobs"]
    assert runner.run(jobs["data"]["steps"], {"OPENAI_API_KEY": ""}) == 0, runner.log
    runner.values["github.event.pull_request.number"] = "7"
    assert runner.run(jobs["plan"]["steps"]) == 0, runner.log
    (runner.folder / "job.toml").write_text(
        (runner.folder / "job.toml").read_text() + "[hyperparameters]\nn_epochs = 2\n"
    )
    assert runner.run(jobs["plan"]["steps"][-2:]) == 0, runner.log
    [comment] = json.loads(Path(runner.environ["COMMENTS"]).read_text())
    assert "`n_epochs 2`" in comment["body"]
    calls = Path(runner.environ["COMMENTS"]).with_name("calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["GET", "POST", "GET", "PATCH"]
    assert calls[-1] == "PATCH repos/owner/name/issues/comments/1"
    assert jobs_of(there) == []


def test_a_merge_waits_for_a_model_that_is_better(runner: Runner, there: There) -> None:
    steps = load(CI / "github/workflows/compare.yml")["jobs"]["compare"]["steps"]
    runner.values["github.event.pull_request.number"] = "7"
    rows = (
        {"messages": [{"role": "user", "content": f"q{n}"}], "expected": f"Q{n}"} for n in range(40)
    )
    (runner.folder / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job_file = runner.folder / "job.toml"
    job_file.write_text(f'{job_file.read_text()}[evaluation]\nprompts = "eval.jsonl"\n')
    assert runner.run(steps) == 2
    assert "no job of this file was found" in runner.log
    assert called(runner, "train")[0] == 0, runner.log
    codes = []
    for knows in ("ft:", "fake-base", "nobody"):
        there.backend._answers = partial(answered, knows)
        empty = str(runner.folder.parent / knows.strip(":"))
        fresh = Runner(runner.folder, {**runner.environ, "FTJOBS_HOME": empty}, runner.values)
        codes.append(fresh.run(steps))
    assert codes == [0, 6, 7]
    [comment] = json.loads(Path(runner.environ["COMMENTS"]).read_text())
    assert "It is open whether tuned beats base" in comment["body"]


def answered(knows: str, model: str, messages: Sequence[ChatMessage]) -> str:
    return str(messages[-1].content).upper() if model.startswith(knows) else "no idea"


def test_bad_data_fails_a_pull_request(runner: Runner) -> None:
    (runner.folder / "datasets/train.jsonl").write_text('{"messages": []}\n')
    jobs = load(CI / "github/workflows/pull-request.yml")["jobs"]
    assert runner.run(jobs["data"]["steps"]) == 3
    assert "::error file=datasets/train.jsonl,line=1" in runner.log


# --- elsewhere -----------------------------------------------------------------------------------


def gitlab_lines(name: str) -> list[str]:
    """The lines that GitLab's runner would hand to bash."""
    file = load(GITLAB)
    job = file[name]
    return [*file[job["extends"]]["before_script"], *job["script"]]


def bash(runner: Runner, script: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in runner.environ.items() if "GITHUB" not in key}
    return subprocess.run(
        [*BASH, "-c", script],
        cwd=runner.folder,
        env={**environ, "OPENAI_API_KEY": service.KEY},
        capture_output=True,
        text=True,
        check=False,
    )


def test_gitlab(runner: Runner, there: There) -> None:
    for name, files in (
        ("data", set()),
        ("plan", {"plan.json", "plan.md"}),
        ("train", {"job.xml", "job.md", "job.json"}),
        ("take-up", {"job.xml", "job.md", "job.json"}),
    ):
        for file in runner.folder.glob("job.[!t]*"):
            file.unlink()
        done = bash(runner, "\n".join(gitlab_lines(name)))
        assert done.returncode == 0, done.stderr
        assert files <= {path.name for path in runner.folder.iterdir()}
    assert len(jobs_of(there)) == 1


def test_the_shell_script(runner: Runner, there: There) -> None:
    first = bash(runner, shlex.join(["sh", str(SHELL), "job.toml", "60"]))
    assert first.returncode == 0, first.stderr
    assert (runner.folder / "ftjobs-reports/job.xml").exists()
    assert len(jobs_of(there)) == 1

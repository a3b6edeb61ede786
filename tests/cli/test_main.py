import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import COMMANDS, main, root
from ftjobs.client import Client
from ftjobs.config import Settings
from ftjobs.errors import (
    AuthError,
    ConfigError,
    FtjobsError,
    ServiceError,
    StoreError,
    UnreachableError,
)
from tests.cli.conftest import TRAIN, Run


def python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    show = "print(*sys.modules, file=sys.stderr)"  # help itself names some of them
    code = f"import sys; from ftjobs.cli import main; main(['--help']); {show}"
    loaded = set(python("-c", code).stderr.split())
    assert "click" in loaded
    assert loaded.isdisjoint(["torch", "transformers", "openai", "pydantic", "rich", "msgspec"])


def test_help_takes_less_than_150_ms() -> None:
    def seconds(*args: str) -> float:
        start = time.perf_counter()
        assert python(*args).returncode == 0
        return time.perf_counter() - start

    bare = min(seconds("-c", "pass") for _ in range(5))
    assert min(seconds("-m", "ftjobs", "--help") for _ in range(5)) - bare < 0.15


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: ftjobs {name}")


def test_groups_are_summed_up_as_in_their_own_help() -> None:
    for name in ("data", "jobs", "files", "models"):
        command = root.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert (command.help or "").startswith(COMMANDS[name].rstrip("."))


def test_version(run: Run) -> None:
    assert run("--version").out == "ftjobs, version 0.1.0\n"


@pytest.mark.parametrize("args", [["nonsense"], ["jobs", "show"], ["watch", "--timeout", "x"]])
def test_usage_errors_are_2(run: Run, args: list[str]) -> None:
    result = run(*args)
    assert (result.code, result.out) == (2, "")
    assert "Error:" in result.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServiceError("broken"), 1),
        (UnreachableError("no connection"), 1),
        (StoreError("disk full"), 1),
        (ConfigError("bad"), 2),
        (AuthError("no key", hint="set it"), 4),
    ],
)
def test_errors_are_a_line_and_an_exit_code(
    run: Run, backend: FakeBackend, error: FtjobsError, code: int
) -> None:
    backend.fail_next("jobs", error)
    result = run("jobs", "list")
    assert result.code == code
    assert result.err == f"error: {error.message}\n" + (f"{error.hint}\n" if error.hint else "")


def test_what_a_service_says_cannot_steer_the_terminal(run: Run, backend: FakeBackend) -> None:
    backend.fail_next("jobs", ServiceError("\x1b[2Jgone\nnext", hint="\x1b]0;t\x07ok"))
    assert run("jobs", "list").err == "error: gone next\nok\n"


def test_an_unexpected_error_is_two_lines_without_debug(run: Run, backend: FakeBackend) -> None:
    backend.fail_next("jobs", RuntimeError("surprise"))
    result = run("jobs", "list")
    assert result.code == 1
    assert result.err.splitlines()[0] == "unexpected RuntimeError: surprise"
    assert "--debug" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("args", [["--debug", "jobs", "list"], ["jobs", "list", "--debug"]])
def test_debug_shows_the_traceback(run: Run, backend: FakeBackend, args: list[str]) -> None:
    backend.fail_next("jobs", RuntimeError("surprise"))
    assert "Traceback" in run(*args).err


def test_ctrl_c_is_130(run: Run, backend: FakeBackend) -> None:
    backend.fail_next("jobs", KeyboardInterrupt())  # type: ignore[arg-type]
    assert run("jobs", "list").code == 130


@pytest.mark.parametrize(
    "args",
    [["--backend", "http://x/v1", "jobs", "list"], ["jobs", "list", "--backend", "http://x/v1"]],
)
def test_the_backend_may_be_named_before_or_after(args: list[str]) -> None:
    seen: list[Settings] = []

    def connect(settings: Settings) -> Client:
        seen.append(settings)
        return Client(FakeBackend())

    assert main(args, connect=connect) == 0
    assert seen[0].backend == "http://x/v1"


def test_no_such_backend_and_no_key() -> None:
    for name, code in (("nowhere", 2), ("openai", 4)):
        done = python("-m", "ftjobs", "--backend", name, "jobs", "list")
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith("error: ")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("not json\n" * 20_000, "utf-8")
    command = f"{sys.executable} -m ftjobs data check {broken} --json | head -1"
    done = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_terminal_without_japanese_gets_question_marks() -> None:
    code = "from ftjobs.cli import main; print(main(['explain', 'FT101']), '日本語')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )
    assert done.stdout.endswith(b"0 ???\n")


def test_importing_the_package_as_a_program() -> None:
    done = python("-m", "ftjobs", "data", "check", TRAIN)
    assert (done.returncode, done.stdout) == (0, "")

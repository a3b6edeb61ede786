"""`ftjobs serve` up to where it serves, which tests/server/test_running.py does, and its keys."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ftjobs.server.desk import Desk
from tests.cli.conftest import Result, Run

CREATE = ("serve", "keys", "create", "--project", "a", "--scope", "train")


def test_a_key_is_alone_on_standard_output(run: Run) -> None:
    made = run(*CREATE)
    assert made.code == 0
    assert made.out.startswith("ftj-")
    assert made.out.count("\n") == 1
    assert made.out.strip() not in made.err
    assert "the first" in made.err
    assert "the first" not in run(*CREATE).err


def test_keys_are_listed_and_revoked_as_json(run: Run) -> None:
    [made] = run(*CREATE, "--json").rows
    assert made["key"].startswith(f"ftj-{made['id']}-")
    [listed] = run("serve", "keys", "list", "--json").rows
    assert listed == {"id": made["id"], "project": "a", "scope": "train",
                      "created_at": made["created_at"], "revoked_at": None}  # fmt: skip
    assert run("serve", "keys", "revoke", made["id"], "--json").rows == [
        {"id": made["id"], "revoked": True}
    ]
    [listed] = run("serve", "keys", "list", "--json").rows
    assert listed["revoked_at"] >= made["created_at"]
    assert made["key"] not in run("serve", "keys", "list").out


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [(("keys", "revoke", "nobody"), 1, "no key 'nobody'"),
     (("keys", "create", "--project", "A", "--scope", "read"), 2, "'A' is no name of a project"),
     (("keys", "create", "--project", "a", "--scope", "all"), 2, "'all' is not one of"),
     (("--tls-key", "key.pem"), 2, "tls_key is given, and no tls_cert"),
     (("--tls-cert", "none.pem"), 2, "cannot read none.pem"),
     (("--host", "0.0.0.0"), 2, "there is no API key"),
     (("--port", "70000"), 2, "70000 is not in the range"),
     (("--model", "x"), 2, "'x' is not NAME=MODEL"),
     (("nonsense",), 2, "No such command")],
)  # fmt: skip
def test_what_is_wrong_is_said(run: Run, args: tuple[str, ...], code: int, said: str) -> None:
    result = run("serve", *args)
    assert (result.code, result.out) == (code, "")
    assert said in result.err


def test_a_setting_that_is_not_known_is_named(run: Run) -> None:
    Path("ftjobs.toml").write_text("[serve]\nprot = 1\n")
    result = run("serve")
    assert result.code == 2
    assert "unknown setting 'prot'" in result.err
    Path("ftjobs.toml").write_text("serve = 8000\n")
    assert "[serve]" in run("serve").err


@pytest.mark.parametrize("name", ["uvicorn", "prometheus_client"])
def test_libraries_that_are_missing_are_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    result = run("serve")
    assert result.code == 2
    assert name in result.err
    assert "pip install 'ftjobs[server]'" in result.err


@pytest.fixture
def served(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Desk, Result]]:
    """Runs `ftjobs serve` up to where it listens: the desk, and what was said."""

    def serve(*args: str) -> tuple[Desk, Result]:
        desks: list[Desk] = []

        def listen(desk: Desk, *, started: Callable[[str], None], **_: object) -> None:
            desks.append(desk)
            started("http://127.0.0.1:1")

        monkeypatch.setattr("ftjobs.server.running.serve", listen)
        result = run("serve", *args)
        assert result.code == 0, result.err
        return desks[0], result

    return serve


def test_flags_go_before_the_projects_table_and_that_before_the_users(
    served: Callable[..., tuple[Desk, Result]], tmp_path: Path
) -> None:
    user = tmp_path / "XDG_CONFIG_HOME" / "ftjobs" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("[serve]\nport = 1\nchats = 2\nuploads = 3\n")
    Path("ftjobs.toml").write_text(
        '[serve]\nchats = 20\nuploads = 30\nmodels = {"here" = "./m", "there" = "x"}\n'
    )
    desk, _ = served("--port", "9", "--model", "more=y=z")
    options = desk.options
    assert (options.port, options.chats, options.uploads) == (9, 20, 30)
    assert options.models == {"here": str(tmp_path / "m"), "there": "x", "more": "y=z"}


def test_it_says_how_many_keys_there_are(
    served: Callable[..., tuple[Desk, Result]], run: Run
) -> None:
    assert "none needed" in served()[1].err
    run(*CREATE)
    Path("ftjobs.toml").write_text('[serve]\nallowed_hosts = ["gpu.example"]\n')
    said = served()[1].err
    assert "every request needs one; there are 1" in said
    assert "gpu.example" in said
    assert 'base_url="http://127.0.0.1:1/v1"' in said

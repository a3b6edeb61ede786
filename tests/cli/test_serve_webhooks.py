"""`ftjobs serve webhooks`."""

from __future__ import annotations

import re

from tests.cli.conftest import Run

URL = "https://host.example/hook"


def test_create_list_delete(run: Run) -> None:
    made = run("serve", "webhooks", "create", "--url", URL, "--event", "failed")
    assert made.code == 0, made.err
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/=]{44}\n", made.out)  # alone, for a pipe
    listed = run("serve", "webhooks", "list")
    assert URL in listed.out
    assert made.out.strip() not in listed.out
    [row] = run("serve", "webhooks", "list", "--json").rows
    assert (row["url"], row["project"], row["events"]) == (URL, None, ["failed"])
    assert (row["delivered"], row["waiting"], row["given_up"], row["failure"]) == (0, 0, 0, None)
    assert row["id"] in made.err
    assert run("serve", "webhooks", "delete", row["id"]).code == 0
    assert "Nobody is told" in run("serve", "webhooks", "list").err
    assert run("serve", "webhooks", "delete", row["id"]).code == 1


def test_a_project_without_a_key_is_noted(run: Run) -> None:
    create = ("serve", "webhooks", "create", "--url", URL, "--project", "support", "--json")
    first = run(*create)
    assert "no API key is of the project support" in first.err
    assert set(first.rows[0]) == {"object", "id", "url", "project", "events", "secret"}
    run("serve", "keys", "create", "--project", "support", "--scope", "train")
    assert run(*create).err == ""


def test_what_is_refused(run: Run) -> None:
    for words, said in (
        (["--url", "http://host.example"], "--insecure"),
        (["--url", "nothing"], "not a URL"),
        (["--url", URL, "--event", "running"], "running"),
        ([], "--url"),
    ):
        result = run("serve", "webhooks", "create", *words)
        assert (result.code, said in result.err) == (2, True), result.err

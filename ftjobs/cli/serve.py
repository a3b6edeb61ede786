"""`ftjobs serve`: the fine-tuning API on your own machine, and its keys."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftjobs.cli.app import App, Group, json_option, pass_app
from ftjobs.cli.serve_webhooks import webhooks
from ftjobs.cli.show import clean_line, emit, say, show_table, when
from ftjobs.errors import ConfigError
from ftjobs.server.caller import SCOPES, Scope
from ftjobs.server.options import Options

if TYPE_CHECKING:
    from ftjobs.server.desk import Desk
    from ftjobs.server.keys import Keys

PORTS = click.IntRange(0, 65535)


@click.group(cls=Group, invoke_without_command=True)
@click.option("--host", metavar="ADDRESS", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=PORTS, metavar="N", help="0 takes a free one.  [default: 8000]")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key, PEM.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=MODEL",
    help="Let clients train a folder or a model of the backend by this name; repeatable.",
)
@pass_app
@click.pass_context
def command(
    context: click.Context,
    app: App,
    host: str | None,
    port: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    models: tuple[str, ...],
) -> None:
    """Serve the fine-tuning API of OpenAI from this machine.

    ftjobs serve
    ftjobs serve --port 9000 --model support-base=./models/support
    ftjobs --backend together serve
    ftjobs serve keys create --project support --scope train

    Only this machine can connect, and needs no key.  For others, make keys first; then every
    request needs one.  Limits are set in the table [serve] of ftjobs.toml.  Ctrl-C ends it; jobs go
    on, or do when it is started again.
    """
    if context.invoked_subcommand is not None:
        return
    table = app.settings.serve
    options = Options.load(
        table,
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        models={**_table_of(table.get("models")), **_named(models)} if models else None,
    )
    _require_libraries()
    from ftjobs.server.database import Database
    from ftjobs.server.desk import Desk
    from ftjobs.server.running import serve

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    database = Database(app.settings.home)
    try:
        desk = Desk(app.client.backend, options, database)
        serve(
            desk,
            started=lambda url: _introduce(desk, url),
            ending=lambda: say(f"Ending. Answers under way have {options.shutdown:g} s."),
        )
    finally:
        database.close()


def _named(models: Sequence[str]) -> dict[str, str]:
    named = {}
    for each in models:
        name, _, model = each.partition("=")
        if not name or not model:
            raise click.BadParameter(f"{each!r} is not NAME=MODEL.", param_hint="--model")
        named[name] = model
    return named


def _table_of(value: object) -> dict[str, str]:
    return dict(value) if isinstance(value, dict) else {}


def _require_libraries() -> None:
    for name in ("fastapi", "jinja2", "prometheus_client", "python_multipart", "uvicorn"):
        try:
            import_module(name)
        except ImportError:
            raise ConfigError(
                f"ftjobs serve needs {name}, which is not installed",
                hint="pip install 'ftjobs[server]'",
            ) from None


def _introduce(desk: Desk, url: str) -> None:
    options = desk.options
    has_keys = desk.keys.any()
    say(f"Serving {clean_line(desk.backend.name)} at {url}")
    if has_keys:
        count = sum(key.revoked_at is None for key in desk.keys.all())
        say(f"Keys         every request needs one; there are {count}")
    else:
        say("Keys         none needed: only this machine can connect")
    key = "ftj-…" if has_keys else "none"
    say(f'In your code OpenAI(base_url="{url}/v1", api_key="{key}")')
    say(f"Page         {url}/")
    if options.allowed_hosts:
        say(f"Also called  {clean_line(', '.join(options.allowed_hosts))}")
    say("Ctrl-C ends it.")


@command.group("keys", cls=Group)
def keys() -> None:
    """Make, list and revoke API keys, beside a running server too.

    ftjobs serve keys create --project support --scope train
    ftjobs serve keys list
    ftjobs serve keys revoke 1a2b3c4d5e6f
    """


@keys.command("create")
@click.option("--project", required=True, metavar="NAME", help="Whose files and jobs it opens.")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    required=True,
    help="read: look, and ask models; train: also upload, start, stop and delete; admin: see every "
    "project, and the metrics.",
)
@json_option
@pass_app
def create(app: App, project: str, scope: Scope, as_json: bool) -> None:
    """Make a key.  It is printed once, and cannot be shown again.

    ftjobs serve keys create --project support --scope train
    """
    with _keys(app) as opened:
        is_first = not opened.any()
        key, text = opened.create(project, scope)
    if as_json:
        emit({"id": key.id, "key": text, "project": project, "scope": scope,
              "created_at": key.created_at})  # fmt: skip
        return
    click.echo(text)
    say(f"This is the key {key.id} of the project {project}, with the scope {scope}.")
    say("Keep it now: only a hash of it is stored.")
    if is_first:
        say("It is the first: from now on every request needs a key.  What was made before belongs")
        say("to nobody: keys with the scope admin see it.")


@keys.command("list")
@json_option
@pass_app
def list_keys(app: App, as_json: bool) -> None:
    """Keys, oldest first.

    ftjobs serve keys list
    """
    with _keys(app) as opened:
        found = opened.all()
    if as_json:
        for key in found:
            emit({"id": key.id, "project": key.project, "scope": key.scope,
                  "created_at": key.created_at, "revoked_at": key.revoked_at})  # fmt: skip
        return
    rows = [(k.id, k.project, k.scope, when(k.created_at), when(k.revoked_at)) for k in found]
    show_table(("ID", "PROJECT", "SCOPE", "CREATED", "REVOKED"), rows, nothing="There is no key.")


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@json_option
@pass_app
def revoke(app: App, key_id: str, as_json: bool) -> None:
    """Let a key open nothing any more, at once.

    ftjobs serve keys revoke 1a2b3c4d5e6f
    """
    with _keys(app) as opened:
        opened.revoke(key_id)
    emit({"id": key_id, "revoked": True}) if as_json else say(f"Revoked {clean_line(key_id)}.")


command.add_command(webhooks)


@contextmanager
def _keys(app: App) -> Iterator[Keys]:
    from ftjobs.server.database import Database
    from ftjobs.server.keys import Keys

    database = Database(app.settings.home)
    try:
        yield Keys(database)
    finally:
        database.close()

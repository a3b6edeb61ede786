"""`ftjobs serve webhooks`: who is told of jobs that end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from ftjobs.cli.app import App, Group, json_option, pass_app
from ftjobs.cli.show import clean_line, emit, say, show_table, when
from ftjobs.schema import ENDED

if TYPE_CHECKING:
    from ftjobs.server.database import Database


@click.group("webhooks", cls=Group)
def webhooks() -> None:
    """Choose who is told of jobs that end.  A running server takes changes over by itself.

    ftjobs serve webhooks create --url https://host.example/hook --project a
    ftjobs serve webhooks list
    """


@webhooks.command("create")
@click.option(
    "--url", required=True, help="Where to send: https, or http on this machine.", metavar="URL"
)
@click.option("--project", metavar="NAME", help="Whose jobs.  Default: everybody's.")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(sorted(ENDED)),
    help="Which ends.  May be given again.  Default: all.",
)
@click.option("--insecure", is_flag=True, help="Let the URL be http on another machine.")
@json_option
@pass_app
def create_webhook(
    app: App, url: str, project: str | None, events: tuple[str, ...], insecure: bool, as_json: bool
) -> None:
    """Tell a URL of each job that ends from now on.  Its secret is shown once.

    ftjobs serve webhooks create --url https://host.example/hook --project a
    ftjobs serve webhooks create --url http://127.0.0.1:8787/hook --event failed

    Payload and signature are those of OpenAI's webhooks: fine_tuning.job.succeeded, failed or
    cancelled, checked by `client.webhooks.unwrap` or `ftjobs watch --webhook HOST:PORT`.  What is
    not taken is sent again for about a day.  To sign, the server keeps the secret readable in
    server.db, which only its owner can read.
    """
    from ftjobs.server.keys import Keys
    from ftjobs.server.webhooks.endpoints import Endpoints

    with _database(app) as database:
        made = Endpoints(database).create(url, project=project, events=events, insecure=insecure)
        is_known = project is None or project in {key.project for key in Keys(database).all()}
    if not is_known:
        say(f"note: no API key is of the project {clean_line(str(project))} yet.")
    if as_json:
        emit({"object": "webhook", "id": made.id, "url": made.url, "project": made.project,
              "events": made.events, "secret": made.secret})  # fmt: skip
        return
    say(f"{made.id} is told of jobs that end.  Its secret, which is not shown again:")
    click.echo(made.secret)


@webhooks.command("list")
@json_option
@pass_app
def list_webhooks(app: App, as_json: bool) -> None:
    """Who is told, and how that goes.

    ftjobs serve webhooks list
    """
    from ftjobs.server.webhooks.endpoints import Endpoints
    from ftjobs.server.webhooks.outbox import Outbox, Tally

    with _database(app) as database:
        endpoints, tallies = Endpoints(database).all(), Outbox(database).tallies()
    rows = []
    for each in endpoints:
        tally = tallies.get(each.id, Tally())
        if as_json:
            emit({"object": "webhook", "id": each.id, "url": each.url, "project": each.project,
                  "events": each.events, "created_at": int(each.created_at),
                  "delivered": tally.delivered, "waiting": tally.waiting,
                  "given_up": tally.given_up, "failure": tally.failure or None})  # fmt: skip
        rows.append(
            (each.id, when(int(each.created_at)), each.project or "(all)", " ".join(each.events),
             str(tally.delivered), str(tally.waiting), str(tally.given_up), tally.failure, each.url)
        )  # fmt: skip
    if not as_json:
        head = (
            "ID", "CREATED", "PROJECT", "EVENTS", "DELIVERED", "WAITING", "GIVEN UP", "FAILURE",
            "URL",
        )  # fmt: skip
        show_table(head, rows, nothing="Nobody is told of jobs that end.")


@webhooks.command("delete")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@json_option
@pass_app
def delete_webhooks(app: App, ids: tuple[str, ...], as_json: bool) -> None:
    """Tell these nothing more, what waits included.

    ftjobs serve webhooks delete we_0123456789abcdef
    """
    from ftjobs.server.webhooks.endpoints import Endpoints

    with _database(app) as database:
        for id_ in ids:
            Endpoints(database).delete(id_)
            emit({"id": id_, "deleted": True}) if as_json else say(f"Deleted {clean_line(id_)}.")


@contextmanager
def _database(app: App) -> Iterator[Database]:
    from ftjobs.server.database import Database

    with closing(Database(app.settings.home)) as database:
        yield database

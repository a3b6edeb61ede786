"""`ftjobs models`."""

from __future__ import annotations

import click

from ftjobs.cli.app import App, Group, json_option, pass_app
from ftjobs.cli.show import clean_line, emit, say, show_table, when


@click.group(cls=Group)
def command() -> None:
    """List, prepare and delete models.

    ftjobs models list
    ftjobs models pull smollm2-135m
    """


@command.command("list")
@json_option
@pass_app
def list_models(app: App, as_json: bool) -> None:
    """Models that can be trained or asked.

    ftjobs --backend openai models list
    """
    found = list(app.client.models())
    if as_json:
        for model in found:
            emit(model)
        return
    rows = [(m.id, when(m.created or None), m.owned_by, m.shutdown_date or "") for m in found]
    show_table(("ID", "CREATED", "OWNER", "SHUTDOWN"), rows, nothing="There is no model.")


@command.command("pull")
@click.argument("model")
@json_option
@pass_app
def pull_model(app: App, model: str, as_json: bool) -> None:
    """Prepare a base model for its first use.

    ftjobs models pull smollm2-135m

    It is downloaded where it must be, checked, and converted.
    """
    found = app.client.pull(model, say=lambda line: say(clean_line(line)))
    emit(found) if as_json else say(f"Model {clean_line(found.id)} is ready.")


@command.command("delete")
@click.argument("models", nargs=-1, required=True)
@json_option
@pass_app
def delete_models(app: App, models: tuple[str, ...], as_json: bool) -> None:
    """Delete fine-tuned MODELS with their checkpoints.

    ftjobs models delete ft:smollm2-135m:local:support:a1b2c3d4
    """
    for model in models:
        app.client.delete_model(model)
        emit({"id": model, "deleted": True}) if as_json else say(f"Deleted {clean_line(model)}.")

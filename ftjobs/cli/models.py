"""`ftjobs models`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ftjobs.backends.base import FORMS, Exported, Form
from ftjobs.cli.app import App, Group, json_option, pass_app
from ftjobs.cli.show import clean_line, emit, say, show_pairs, show_table, size, when
from ftjobs.errors import ConfigError

_HELP = {
    "adapter": "LoRA alone, for PEFT and vLLM.",
    "merged": "A model of its own, for transformers and vLLM.",
    "gguf": "A file for llama.cpp.",
    "ollama": "A folder for ollama create.",
}
"""What each form of an export is for."""


@click.group(cls=Group)
def command() -> None:
    """List, prepare, export and delete models.

    ftjobs models list
    ftjobs models pull smollm2-135m
    ftjobs models export ft:smollm2-135m:local:support:a1b2c3d4 --merged -o out
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


@command.command("export")
@click.argument("model")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    required=True,
    help="The folder to write: a new or an empty one.",
)
@click.option("--adapter", is_flag=True, help=_HELP["adapter"])
@click.option("--merged", is_flag=True, help=_HELP["merged"])
@click.option("--gguf", is_flag=True, help=_HELP["gguf"])
@click.option("--ollama", is_flag=True, help=_HELP["ollama"])
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="How merged weights are stored; as the base's if not given.",
)
@click.option(
    "--outtype",
    type=click.Choice(["f32", "f16", "bf16", "q8_0"]),
    help="How weights are stored in GGUF; bf16 or f16 if not given.",
)
@click.option(
    "--llama-cpp",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A checkout of llama.cpp, whose converter writes GGUF.",
)
@click.option("--force", is_flag=True, help="Take the place of an earlier export.")
@json_option
@pass_app
def export_model(
    app: App,
    /,
    model: str,
    folder: Path,
    force: bool,
    as_json: bool,
    dtype: str | None,
    outtype: str | None,
    llama_cpp: Path | None,
    **chosen: Any,
) -> None:
    """Write MODEL into a folder for other programs, whole or not at all.

    ftjobs models export ft:smollm2-135m:local:support:a1b2c3d4 --merged -o out

    MODEL is a fine-tuned model or a checkpoint; but for an adapter, also a base model.  What is
    written is compared with what was trained first.  A model card (README.md) goes with it.
    """
    with _ended_like_ctrl_c():
        done = app.client.export(
            model,
            folder,
            form=_form(chosen),
            dtype=dtype,
            outtype=outtype,
            llama_cpp=llama_cpp,
            force=force,
            say=lambda line: say(clean_line(line)),
        )
    _emit(done) if as_json else _show(done)


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does, so that nothing half is left behind."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _form(chosen: dict[str, Any]) -> Form:
    given = [form for form in FORMS if chosen[form]]
    if len(given) != 1:
        raise ConfigError(
            "a model is exported in one form", hint=f"One of: {', '.join(f'--{f}' for f in FORMS)}"
        )
    return given[0]


def _emit(done: Exported) -> None:
    emit(
        {
            "object": "export",
            "model": done.model,
            "form": done.form,
            "folder": str(done.folder),
            "files": dict(done.files),
            "notes": dict(done.notes),
        }
    )


def _show(done: Exported) -> None:
    show_pairs([*done.notes.items(), *((name, size(count)) for name, count in done.files.items())])
    say(f"{clean_line(done.model)} is in {clean_line(str(done.folder))}; README.md says more.")

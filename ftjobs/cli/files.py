"""`ftjobs files`: what was uploaded."""

from __future__ import annotations

import sys

import click

from ftjobs.cli.app import App, Group, json_option, pass_app
from ftjobs.cli.show import clean_line, emit, say, show_pairs, show_table, size, when


@click.group(cls=Group)
def command() -> None:
    """List, show and delete uploaded files.

    ftjobs files list
    ftjobs files show file-a1b2c3d4 --content
    """


@command.command("list")
@json_option
@pass_app
def list_files(app: App, as_json: bool) -> None:
    """Files, newest first.

    ftjobs --backend openai files list
    """
    found = list(app.client.files())
    if as_json:
        for file in found:
            emit(file)
        return
    rows = [(f.id, when(f.created_at), size(f.bytes), f.purpose, f.filename) for f in found]
    show_table(("ID", "CREATED", "SIZE", "PURPOSE", "NAME"), rows, nothing="There is no file.")


@command.command("show")
@click.argument("file")
@click.option("--content", is_flag=True, help="Print the file itself.")
@json_option
@pass_app
def show_file(app: App, file: str, content: bool, as_json: bool) -> None:
    """One file's record, or its bytes.

    ftjobs files show file-a1b2c3d4 --content > train.jsonl
    """
    if content:
        sys.stdout.buffer.write(app.client.content(file))
        return
    found = app.client.file(file)
    if as_json:
        emit(found)
        return
    show_pairs(
        [
            ("id", found.id),
            ("name", found.filename),
            ("size", f"{found.bytes} bytes"),
            ("purpose", found.purpose),
            ("status", found.status),
            ("details", found.status_details),
            ("created", when(found.created_at)),
            ("expires", when(found.expires_at)),
            ("sha256", found.sha256),
        ]
    )


@command.command("delete")
@click.argument("files", nargs=-1, required=True)
@json_option
@pass_app
def delete_files(app: App, files: tuple[str, ...], as_json: bool) -> None:
    """Delete FILES, by id.

    ftjobs files delete file-a1b2c3d4 file-e5f6a7b8
    """
    for file in files:
        app.client.delete_file(file)
        emit({"id": file, "deleted": True}) if as_json else say(f"Deleted {clean_line(file)}.")

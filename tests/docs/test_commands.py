"""Every `ftjobs …` line of the documentation is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import nullcontext, suppress

import click
import pytest

from ftjobs.cli import root
from ftjobs.cli.app import App, connect
from tests.docs.pages import COMMAND, PAGES

SHOWN = [
    pytest.param(words, whole, id=f"{page.name}: {words}")
    for page in PAGES
    for words, whole in page.command_lines()
]
ENDS = {"|", "||", "&&", ";", ">", ">>", "2>", "&"}


def split(line: str) -> list[str]:
    """The arguments of one command, up to a pipe, a redirection or a remark."""
    line = line.partition("   (")[0]  # a remark in the help
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in ENDS or set(word) <= set("()"):
            break
        words.append(word)
    return words


def parse(words: list[str]) -> None:
    """Let click read `ftjobs WORDS`, running nothing.  UsageError where it refuses."""
    command: click.Command = root
    name, context = "ftjobs", None
    while True:
        context = command.make_context(name, words, context, obj=App(connect))
        if not isinstance(command, click.Group):
            return
        words = [*context._protected_args, *context.args]
        if command.invoke_without_command and not words:
            return
        found, inner, words = command.resolve_command(context, words)
        assert inner is not None
        name, command = str(found), inner


@pytest.mark.parametrize(("line", "whole"), SHOWN)
def test_shown_commands_are_understood(line: str, whole: bool) -> None:
    named_only = (click.MissingParameter, click.exceptions.NoArgsIsHelpError)
    with nullcontext() if whole else suppress(*named_only):
        parse(split(line))


@pytest.mark.parametrize(
    "wrong",
    ["jobs lits", "watch --tiemout 3", "submit", "data check x --for nobody", "chat a b c", "jobs"],
)
def test_what_does_not_exist_is_noticed(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        parse(split(wrong))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("$ ftjobs doctor", ["doctor"]),
        ('job=$(ftjobs jobs list --json | jq -r ".id")', ["jobs", "list", "--json"]),
        ("FTJOBS_DISPLAY=plain ftjobs watch latest  # a remark", ["watch", "latest"]),
        ("cat question.txt | ftjobs chat m", ["chat", "m"]),
        ('ftjobs chat m "あ い" > answer.txt', ["chat", "m", "あ い"]),
    ],
)
def test_command_lines_are_found(line: str, words: list[str]) -> None:
    match = COMMAND.match(line)
    assert match is not None
    assert split(match[1]) == words


def helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """The help of a command and of all below it, in a terminal of 80 columns."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from helps(
                below, click.Context(below, context, name, terminal_width=80, max_content_width=80)
            )


@pytest.mark.parametrize(
    ("path", "text"),
    [*helps(root, click.Context(root, info_name="ftjobs", terminal_width=80))],
    ids=lambda text: text if text.startswith("ftjobs") else "",
)
def test_help_starts_with_examples_and_fits_a_terminal(path: str, text: str) -> None:
    _, says, first, *_ = text.split("\n\n")
    assert len(says.splitlines()) <= 2
    assert re.match(r"  (ftjobs|cat) ", first)
    assert max(map(len, text.splitlines())) <= 80


def test_enough_is_shown() -> None:
    assert len(SHOWN) > 40

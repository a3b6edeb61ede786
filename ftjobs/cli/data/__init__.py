"""`ftjobs data`: datasets on disk; no backend is asked.  One file a verb."""

from __future__ import annotations

import click

from ftjobs.cli.app import LazyGroup

COMMANDS = {
    "check": "Say everything that is wrong with files, and repair it.",
    "stats": "Say what files hold, and what training on them costs.",
    "preview": "Show examples as the model will read them.",
    "convert": "Turn other formats into chat JSONL.",
    "split": "Split a file for training, validation and test, without leaks.",
    "sample": "Draw some rows of a file.",
}
"""Commands in the order of help; `ftjobs.cli.data.NAME` holds `command`."""


@click.group(cls=LazyGroup, commands_in=__name__, summaries=COMMANDS)
def command() -> None:
    """Check, count, convert and split datasets.

    ftjobs data check train.jsonl
    ftjobs data stats train.jsonl --model gpt-4o-mini
    """

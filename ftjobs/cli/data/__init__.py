"""`ftjobs data`: datasets on disk; no backend is asked.  One file a verb."""

from __future__ import annotations

import click

from ftjobs.cli.app import LazyGroup

COMMANDS = {
    "check": "Say everything that is wrong with files.",
}
"""Commands in the order of help; `ftjobs.cli.data.NAME` holds `command`."""


@click.group(cls=LazyGroup, commands_in=__name__, summaries=COMMANDS)
def command() -> None:
    """Check datasets."""

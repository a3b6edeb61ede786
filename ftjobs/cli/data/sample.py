"""`ftjobs data sample`."""

from __future__ import annotations

from pathlib import Path

import click

from ftjobs.cli.app import Command
from ftjobs.cli.data.places import is_same
from ftjobs.cli.show import clean_line, say
from ftjobs.data.convert.output import new_file, standard_output
from ftjobs.data.reading import STDIN
from ftjobs.data.sample import sample
from ftjobs.errors import ConfigError


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="How many rows.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another gives other rows.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, allow_dash=True),
    default="-",
    metavar="OUT",
    help="The file to write, if not standard output.",
)
@click.option("--force", is_flag=True, help="Write over OUT.")
def command(file: Path, count: int, seed: int, out: Path, force: bool) -> None:
    """Draw rows of FILE at random, byte for byte and in its order.

    ftjobs data sample train.jsonl -n 100 -o some.jsonl
    ftjobs data sample train.jsonl -n 20 | ftjobs data check -

    The rows need not be valid.  The same seed draws the same rows, and a larger sample holds the
    smaller one.  FILE may be - for standard input.
    """
    if out != STDIN and is_same(file, out):
        raise ConfigError(f"{out}: is the source itself", hint="Give the output another name.")
    drawn = sample(file, count, seed=seed)
    place = standard_output() if out == STDIN else new_file(out, force=force)
    with place as sink:
        for line in drawn.lines:
            sink.write(line)
    to = "" if out == STDIN else f" written to {clean_line(str(out))}"
    say(f"{len(drawn.lines):,} of {drawn.rows:,} rows{to}")

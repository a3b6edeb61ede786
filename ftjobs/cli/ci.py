"""What a pipeline gets of jobs: report files, and on GitHub Actions summary, outputs, annotations.

    @ci.output_option
    def command(…, outputs: Sequence[Path]) -> None:
        with ci.Reporter(outputs) as reporter:
            for tick in ticks:
                progress = progress.seen(tick.job, tick.events)
                reporter.seen(progress)

The reports are written at the end of the block, however it ends: at success, at a time-out, at
Ctrl-C.  Every text is made in `ftjobs.reports.ci`; here it is only put where it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ftjobs.cli.show import clean_line

ENDINGS = (".xml", ".md", ".json")


def _places(
    context: click.Context, parameter: click.Parameter, paths: Sequence[Path]
) -> tuple[Path, ...]:
    """Refuse a report that could not be written while there is nothing to lose yet."""
    for path in paths:
        shown = clean_line(str(path))
        if path.suffix.lower() not in ENDINGS:
            raise click.BadParameter(
                f"{shown}: reports end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}",
                context,
                parameter,
            )
        if not path.parent.is_dir():
            raise click.BadParameter(f"{shown}: there is no such folder", context, parameter)
    return tuple(paths)


output_option = click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    multiple=True,
    metavar="FILE",
    callback=_places,
    help="Write a report: .xml for JUnit, .md for a comment, .json.  May be given again.",
)
"""`-o FILE`, as often as wanted; the command gets `outputs`, a tuple of paths."""

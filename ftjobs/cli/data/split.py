"""`ftjobs data split`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ftjobs.cli.app import Command, json_option
from ftjobs.cli.show import clean_line, emit, say, show_table
from ftjobs.data.split import Split, split
from ftjobs.data.targets import TARGETS


class _Size(click.ParamType[float]):
    """A share (0.1 or 10%), or a number of rows (200); 0 for none."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # the default
        try:
            return int(value)
        except ValueError:
            pass
        try:
            return float(value[:-1]) / 100 if value.endswith("%") else float(value)
        except ValueError:
            self.fail("give a share, such as 0.1 or 10%, or a number of rows", param, ctx)


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--valid",
    type=_Size(),
    default=0.1,
    show_default=True,
    metavar="SIZE",
    help="For validation: a share (0.1, 10%) or a number of rows (200); 0 for none.",
)
@click.option("--test", type=_Size(), default=0, metavar="SIZE", help="The same, for a test.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another gives other sides.")
@click.option(
    "--near",
    type=float,
    metavar="SIMILARITY",
    help="Keep rows that are so similar together too: 0.5 to 1, such as 0.8.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to write, if not beside FILE.",
)
@click.option(
    "--for",
    "target",
    type=click.Choice(list(TARGETS)),
    default="local",
    show_default=True,
    help="Whose rules the rows have to keep.",
)
@click.option("--force", is_flag=True, help="Write over files that exist.")
@json_option
def command(
    file: Path,
    valid: float,
    test: float,
    seed: int,
    near: float | None,
    out: Path | None,
    target: str,
    force: bool,
    as_json: bool,
) -> None:
    """Split FILE into training, validation and test rows.

    ftjobs data split all.jsonl
    ftjobs data split all.jsonl --valid 200 --test 200 --near 0.8
    ftjobs data split all.jsonl --valid 10% --seed 7 -o parts

    Rows with the same prompt stay on one side, short labels are balanced, and every line is
    kept byte for byte.  The same seed gives the same files.

    Writes FILE.train.jsonl, FILE.valid.jsonl and FILE.test.jsonl.  Exit code 3 if FILE has errors.
    """
    done = split(
        file,
        valid=valid,
        test=test,
        seed=seed,
        near=near,
        folder=out,
        force=force,
        target=target,
    )
    _emit(done) if as_json else _show(done)
    for left in _left_over(done):
        say(f"{clean_line(str(left))} is of another split: its rows may be in these files too.")


def _left_over(done: Split) -> list[Path]:
    """Files of sides that this split has not, from one that had them."""
    train = done.sides[0].path
    stem = train.name.removesuffix(f".{done.sides[0].name}.jsonl")
    missing = {"valid", "test"} - {side.name for side in done.sides}
    paths = (train.with_name(f"{stem}.{name}.jsonl") for name in sorted(missing))
    return [path for path in paths if path.exists()]


def _emit(done: Split) -> None:
    for side in done.sides:
        emit(
            {
                "object": "side",
                "name": side.name,
                "path": str(side.path),
                "rows": side.rows,
                "wanted": side.wanted,
                "labels": {_shown(label): count for label, count in side.labels.items()},
            }
        )


def _show(done: Split) -> None:
    rows = [(clean_line(str(side.path)), f"{side.rows:,}") for side in done.sides]
    show_table(("FILE", "ROWS"), rows, nothing="")
    if done.sides[0].labels:
        click.echo()
        names = [side.name.upper() for side in done.sides]
        show_table(("LABEL", *names), _balance(done), nothing="")
    total = sum(side.rows for side in done.sides)
    groups = f"{done.groups:,} groups of one prompt; the largest group has {done.largest:,}"
    say(f"{total:,} rows in {groups}.")
    for side in done.sides:
        if side.rows != side.wanted:
            says = f"{side.name} has {side.rows:,} rows instead of {side.wanted:,}"
            say(f"{says}: those with one prompt stay together.")


def _balance(done: Split) -> list[tuple[str, ...]]:
    """A line a label: its rows in every side, and what share of the side that is."""
    return [
        (
            _shown(label),
            *(
                f"{side.labels[label]:,} ({side.labels[label] / side.rows:.0%})"
                for side in done.sides
            ),
        )
        for label in done.sides[0].labels
    ]


def _shown(label: str) -> str:
    from ftjobs.data.private import redact

    return clean_line(redact(label))

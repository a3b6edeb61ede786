"""`ftjobs vote`."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

import click
from pydantic import ValidationError

from ftjobs.cli.app import Command, json_option
from ftjobs.cli.show import clean_line, emit, say
from ftjobs.disk import blocks_of
from ftjobs.errors import ConfigError
from ftjobs.evals.agreement import Agreement, Tally, tally
from ftjobs.evals.result import Comparison
from ftjobs.evals.votes import VoteFile, ballot, comparison_id, read_votes, standing
from ftjobs.reports.cells import table
from ftjobs.reports.words import many

LONGEST_NAME = 200


@click.command(cls=Command)
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--votes",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where votes are kept; beside RESULT by default.",
)
@click.option(
    "--arm", metavar="NAME", help="Who is held against the baseline.  [default: the second]"
)
@click.option("--set", "of", default="", metavar="NAME", help="Vote on another set of prompts.")
@click.option("--voter", metavar="NAME", help="Who votes.  [default: your login name]")
@json_option
def command(
    result: Path, path: Path | None, arm: str | None, of: str, voter: str | None, as_json: bool
) -> None:
    """Choose between two arms' answers blind, and see how far each judge agrees with people.

    ftjobs vote result.json
    ftjobs vote result.json --votes exported.jsonl --json

    RESULT is a report of compare, result.json.  Press a or b for the better answer, t for a tie, ?
    for the other keys.  Who sits left is drawn anew for every row, and each choice is kept at
    once: leave when you like, and run it again to go on.

    Off a terminal, or with --json, nothing is asked: the votes there are get counted.
    """
    comparison = read_comparison(result)
    arm = _second(comparison) if arm is None else arm
    path = result.with_suffix(".votes.jsonl") if path is None else path
    if sys.stdin.isatty() and sys.stdout.isatty() and not as_json:
        _vote(comparison, arm, of, path, _name(voter))
    elif not path.exists():
        raise ConfigError(
            f"{path}: there are no votes yet",
            hint="Run it in a terminal to vote, or name the file of votes with --votes.",
        )
    votes = read_votes(path)
    others = sum(vote.comparison != comparison_id(comparison) for vote in votes)
    if others:
        say(f"Left out: {many(others, 'vote')} on other answers than those of {result}.")
    counted = tally(comparison, votes, arm, of=of)
    if as_json:
        emit(counted)
    else:
        click.echo(told(counted))


def read_comparison(path: Path) -> Comparison:
    """The comparison that `ftjobs compare -o` wrote.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        return Comparison.model_validate_json(b"".join(blocks_of(path)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = "/".join(map(str, first["loc"]))
        raise ConfigError(
            f"{path}: not a comparison: {where and f'{where}: '}{first['msg']}",
            hint="Name a .json file that ftjobs compare -o wrote.",
        ) from None


def told(counted: Tally) -> str:
    """A tally in words."""
    interval = f"{counted.confidence * 100:g}% interval"
    lines = [clean_line(f"{counted.arm} against {counted.baseline}, by the votes of people")]
    voters = (f"{voter} {count:,}" for voter, count in counted.voters.items())
    of = f" ({', '.join(voters)})" if counted.voters else ""
    lines.append(clean_line(f"rows      {counted.rows:,} of {counted.of:,}{of}"))
    if counted.win_rate is not None and counted.low is not None and counted.high is not None:
        bounds = f"{interval} {counted.low:.1%} to {counted.high:.1%}"
        lines.append(f"win rate  {counted.win_rate:.1%}, {bounds}, ties count half")
        sides = f"{counted.wins:,} won, {counted.ties:,} tied, {counted.losses:,} lost"
        lines.append(f"          {sides}")
    if counted.equal:
        lines.append(f"left out  {many(counted.equal, 'row')} with equal answers")
    if counted.agreements:
        head = ("voter", "and", "rows", "agreement", "kappa", interval)
        lines += ["", table(head, [_row(each) for each in counted.agreements])]
    return "\n".join(lines)


def _row(found: Agreement) -> tuple[str, ...]:
    raw = "" if found.agreement is None else f"{found.agreement:.1%}"
    if found.kappa is None or found.low is None or found.high is None:
        return clean_line(found.voter), clean_line(found.other), str(found.n), raw, "", ""
    bounds = f"{found.low:.2f} to {found.high:.2f}"
    kappa = f"{found.kappa:.2f}"
    return clean_line(found.voter), clean_line(found.other), str(found.n), raw, kappa, bounds


def _vote(comparison: Comparison, arm: str, of: str, path: Path, voter: str) -> None:
    from ftjobs.cli.ballot import Booth

    rows = ballot(comparison, arm, of=of)
    with VoteFile.opened(path) as votes:
        mine = standing(votes.votes, comparison_id(comparison), arm).get(voter, {})
        left = [row for row in rows if row.number not in mine]
        try:
            Booth(comparison, arm, left, votes, voter).run()
        except KeyboardInterrupt:
            say(f"\nAll choices are kept in {clean_line(str(path))}; run it again to go on.")
            raise


def _second(comparison: Comparison) -> str:
    if len(comparison.arms) < 2:
        raise ConfigError("the comparison has one arm: there is nothing to choose between")
    return comparison.arms[1].name


def _name(voter: str | None) -> str:
    """A name that a file can hold."""
    if voter is None:
        try:
            voter = getpass.getuser()
        except (OSError, KeyError):  # a container may know no user
            voter = "voter"
    voter = voter.encode(errors="replace").decode().strip()
    if not voter or len(voter) > LONGEST_NAME:
        raise click.UsageError(f"--voter: a name has 1 to {LONGEST_NAME} characters.")
    return voter

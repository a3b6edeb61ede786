"""`ftjobs data stats`."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.data.counting import find_counter, is_local
from ftjobs.cli.show import clean_line, emit, say
from ftjobs.data.cost import Cost, Price, dollars, estimate_cost, load_prices
from ftjobs.data.stats import Histogram, Statistics, statistics
from ftjobs.data.tokens import TokenCounter
from ftjobs.reports._histogram import bar, histogram, quantiles
from ftjobs.reports.cells import pad, width

_LABELS = 10  # shown, the most frequent


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", help="Count as this base model does, and say what training costs.")
@click.option("--epochs", type=click.IntRange(1, 50), help="Passes over the file, for the cost.")
@click.option(
    "--prices",
    type=click.Path(path_type=Path),
    help="A file of prices that go before those that ship with ftjobs.",
)
@json_option
@pass_app
def command(
    app: App,
    files: tuple[Path, ...],
    model: str | None,
    epochs: int | None,
    prices: Path | None,
    as_json: bool,
) -> None:
    """Say what FILES hold: rows, roles, lengths, tokens, what is cut, and what training costs.

    ftjobs data stats train.jsonl
    ftjobs data stats train.jsonl --model gpt-4o-mini --epochs 3
    ftjobs data stats train.jsonl valid.jsonl --model smollm2-135m --json

    Tokens are counted with the model's own tokenizer if it is on this machine, otherwise they
    are estimated, and the page says so.  The network is never asked.
    """
    if model is None and (epochs is not None or prices is not None):
        raise click.UsageError("--epochs and --prices are about the cost: add --model.")
    known = load_prices(_price_files(app, prices))
    counter = find_counter(app, model)
    for number, path in enumerate(files):
        found = statistics(path, counter)
        cost = _cost(app, found, model, epochs, known)
        if as_json:
            _emit(path, found, cost, counter)
        else:
            click.echo("\n" * bool(number) + "\n".join(_page(path, found, cost, counter)))
            _warn(path, found)


def _price_files(app: App, given: Path | None) -> list[Path]:
    """Files of prices, the strongest last."""
    own = app.settings.home / "prices.toml"
    return [*([own] if own.is_file() else []), *([given] if given else [])]


def _cost(
    app: App, found: Statistics, model: str | None, epochs: int | None, known: dict[str, Price]
) -> Cost | None:
    if model is None:
        return None
    local = is_local(app, model)
    if local and epochs is None:
        from ftjobs.backends.local.training.tokens import auto_epochs

        cost = estimate_cost(
            found, model, epochs=auto_epochs(max(1, found.examples)), prices=known, local=True
        )
        return cost.model_copy(update={"epochs_given": False})
    return estimate_cost(found, model, epochs=epochs, prices=known, local=local)


def _emit(path: Path, found: Statistics, cost: Cost | None, counter: TokenCounter) -> None:
    emit(
        {
            "object": "statistics",
            "path": str(path),
            **found.model_dump(),
            "messages": _redacted(found.messages),
            "labels": None if found.labels is None else _redacted(found.labels),
            "note": counter.note,
            "cost": cost,
        }
    )


def _warn(path: Path, found: Statistics) -> None:
    if other := found.rows - found.examples:
        say(
            f"{other:,} rows are no examples and are in no number: "
            f"ftjobs data check {clean_line(str(path))}"
        )
    if found.uncounted:
        say(f"{found.uncounted:,} examples cannot be shown to the model: FT906")


# --- the page ---------------------------------------------------------------------------------


def _page(path: Path, found: Statistics, cost: Cost | None, counter: TokenCounter) -> Iterator[str]:
    yield clean_line(str(path))
    yield from _contents(found)
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    if found.labels:
        yield from _class_balance(found, plain=plain)
    how = "counted" if found.exact else "estimated"
    for title, values in (
        (f"tokens per example, {how}", found.tokens),
        (f"trained tokens per example, {how}", found.answer_tokens),
    ):
        yield from _spread(title, values, plain=plain)
    yield from _lengths(found, counter)
    if cost is not None:
        yield from _bill(cost)


def _contents(found: Statistics) -> Iterator[str]:
    rows = [
        ("rows", f"{found.rows:,}"),
        ("examples", f"{found.examples:,} {found.method or ''}".rstrip()),
        (
            "messages",
            ", ".join(f"{role} {many:,}" for role, many in _redacted(found.messages).items()),
        ),
        ("turns", quantiles(found.turns) if found.turns else ""),
        ("tool calls", f"{found.tool_calls:,}" if found.tool_calls else ""),
        ("images", f"{found.images:,} (not in the tokens)" if found.images else ""),
        ("characters", f"{found.characters:,}"),
    ]
    yield from _pairs(rows)


def _pairs(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    given = [(name, value) for name, value in rows if value]
    longest = max(len(name) for name, _ in given)
    for name, value in given:
        yield f"  {name:<{longest}}  {value}"


def _redacted(counts: Mapping[str, int]) -> dict[str, int]:
    """How often words of the file occur, without secrets and escape sequences."""
    from ftjobs.data.private import redact

    safe: Counter[str] = Counter()
    for word, many in counts.items():
        safe[redact(clean_line(word))] += many  # cleaned first: escapes may hide a key
    return dict(safe)


def _class_balance(found: Statistics, *, plain: bool) -> Iterator[str]:
    labels = _redacted(found.labels or {})
    yield from ("", f"  answers: {len(labels)} labels")
    shown = dict(itertools.islice(labels.items(), _LABELS))
    longest, most = max(map(width, shown)), max(shown.values())
    for label, many in shown.items():
        drawn = bar(many / most, min(30, _room()), ascii_only=plain)
        yield f"    {pad(label, longest)}  {drawn} {many:,} ({many / found.examples:.0%})"
    if more := len(labels) - len(shown):
        yield f"    and {more} more"


def _spread(title: str, values: Histogram | None, *, plain: bool) -> Iterator[str]:
    if values is None:
        return
    yield from ("", f"  {title}")
    drawn = histogram(values, columns=min(40, _room()), ascii_only=plain)
    yield from (f"    {line}" for line in drawn)
    yield f"    {quantiles(values)}"


def _room() -> int:
    """Columns that a bar may have, beside its range and count."""
    return max(8, shutil.get_terminal_size((100, 24)).columns - 24)


def _lengths(found: Statistics, counter: TokenCounter) -> Iterator[str]:
    how = f"{found.counter}, exact" if found.exact else "estimated from the characters"
    context = f"{found.context:,} tokens" if found.context else "not known"
    verb = "too long" if counter.refuses else "cut"
    lost = f"{found.cut:,} {verb}"
    if found.cut and not counter.refuses:
        lost += f", {found.answers_cut:,} of them in the answer; {found.cut_tokens:,} tokens lost"
    yield ""
    yield from _pairs(
        [
            ("tokens", clean_line(how)),
            ("", clean_line(counter.note)),
            ("context", context),
            ("examples", lost if found.context else ""),
        ]
    )


def _bill(cost: Cost) -> Iterator[str]:
    rule = "" if cost.epochs_given else " (automatic)"
    epochs = f"{cost.epochs} epoch{'' if cost.epochs == 1 else 's'}{rule}"
    sign = "" if cost.exact else "about "
    yield ""
    yield from _pairs(
        [
            ("training", f"{cost.tokens:,} tokens × {epochs} = {sign}{cost.billed_tokens:,}"),
            ("cost", _amount(cost, sign)),
            ("price", _price(cost.price)),
        ]
    )


def _amount(cost: Cost, sign: str) -> str:
    if cost.local:
        return "no money: it runs on this machine"
    if cost.usd is None:
        return f"not known: there is no price for {clean_line(cost.model)}; give one with --prices"
    return f"{sign}{dollars(cost.usd)}"


def _price(price: Price | None) -> str:
    if price is None:
        return ""
    note = f"; {price.note}" if price.note else ""
    return clean_line(
        f"{price.service}, {dollars(price.usd_per_million_tokens)} for a million tokens, as of "
        f"{price.date} ({price.source}{note})"
    )

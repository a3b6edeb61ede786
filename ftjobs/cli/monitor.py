"""The full display: a picture of one job, or a table of many, redrawn and left at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.text import Text

from ftjobs.cli.chart import MARK, draw
from ftjobs.cli.display import Names, counts, trouble
from ftjobs.cli.show import clean_line, span, when
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watch import Tick
from ftjobs.reports.cells import pad
from ftjobs.reports.cells import width as cell_len
from ftjobs.schema import Event, Job

STYLES = {
    "succeeded": "bold green",
    "failed": "bold red",
    "cancelled": "bold yellow",
    "paused": "bold yellow",
    "running": "bold cyan",
}
CELLS = {"line": "cyan", "mark": "bold magenta", "": ""}
CHART_ROWS = 10
CHECKPOINTS = 3
TAIL = 8
QUIET = 5  # seconds without an event that are worth a word
IDLE = 30  # where many jobs share the requests


class _Live:
    """Draws on the terminal with rich, again and again, so that clocks tick between looks."""

    per_second = 4.0

    def __init__(self, console: Console | None = None) -> None:
        self.console = Console(highlight=False) if console is None else console
        self.live = Live(
            console=self.console,
            refresh_per_second=self.per_second,
            get_renderable=self.picture,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.live.stop()

    def picture(self) -> RenderableType:
        """What to draw."""
        raise NotImplementedError


class Full(_Live):
    """One job."""

    def __init__(self, console: Console | None = None) -> None:
        self.frame: Frame | None = None
        super().__init__(console)

    def picture(self) -> RenderableType:
        """The newest state."""
        return self.frame or Text("")

    def show(self, tick: Tick, progress: Progress) -> None:
        """Draw the newest state."""
        self.frame = Frame(tick, progress)
        self.live.refresh()


class Board(_Live):
    """Many jobs, one line each."""

    per_second = 1.0

    def __init__(self, console: Console | None = None) -> None:
        self.names = Names()
        self.ticks: dict[str, Tick] = {}
        self.progress: dict[str, Progress] = {}
        super().__init__(console)

    def picture(self) -> RenderableType:
        """The newest states."""
        return Table(list(self.ticks.values()), self.progress, self.names)

    def show(self, tick: Tick, progress: Progress) -> None:
        """Keep the newest state; it is drawn with the next picture, for many come at once."""
        self.progress[tick.job.id] = progress  # first: the drawing thread may come in between
        self.ticks[tick.job.id] = tick


class Table:
    """A line for each job, as many as the terminal has rows: those first that need to be seen.

    Columns that do not fit are left out, from the right.  Rows that are left over show what
    happened last.
    """

    def __init__(
        self,
        ticks: Sequence[Tick],
        progress: Mapping[str, Progress],
        names: Names,
        now: float | None = None,
    ) -> None:
        self.ticks = ticks
        self.progress = progress
        self.names = names
        self.now = now

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Lay the lines out."""
        width, height = options.max_width, console.size.height - 1
        head = [Text(counts([tick.job for tick in self.ticks]), "bold"), *self._trouble()]
        room = height - len(head) - 1
        table = self._table(width, room)
        tail = self._tail(room - len(table))
        for line in [*head, *table, *tail][:height]:
            line.no_wrap, line.overflow = True, "ellipsis"
            line.truncate(width, overflow="ellipsis")
            yield line

    def _trouble(self) -> list[Text]:
        problems = [tick.problem for tick in self.ticks if tick.problem is not None]
        return [Text(clean_line(trouble(problems[0])), "yellow")] if problems else []

    def _table(self, width: int, room: int) -> list[Text]:
        ranked = sorted((tick.job for tick in self.ticks), key=_urgency)
        shown = ranked if len(ranked) <= room else ranked[: max(0, room - 1)]
        now = time.time() if self.now is None else self.now
        rows = [_row(self.names.of(job), self.progress[job.id], now) for job in shown]
        columns = _fitting([COLUMNS, *rows], width)
        lines = [Text(_joined(COLUMNS, columns), "dim")]
        for job, row in zip(shown, rows, strict=True):
            line = Text(_joined(row, columns))
            start = columns[0] + len(GAP)
            line.stylize(STYLES.get(job.status, ""), start, start + len(row[1]))
            lines.append(line)
        hidden = len(ranked) - len(shown)
        return [*lines, Text(f"and {hidden} more", "dim")] if hidden else lines

    def _tail(self, rows: int) -> list[Text]:
        """The last events of all, after an empty line."""
        jobs = [tick.job for tick in self.ticks]
        events = [(event, job) for job in jobs for event in self.progress[job.id].tail[-TAIL:]]
        last = sorted(events, key=lambda pair: pair[0].created_at)[-min(TAIL, rows - 1) :]
        if rows < 2 or not last:
            return []
        lines = [_event(event, self.names.of(job) + "  ") for event, job in last]
        return [Text(""), *lines]


COLUMNS = ("JOB", "STATUS", "STEP", "TRAIN", "ETA", "VALID", "IDLE", "MODEL")
GAP = "  "


def _urgency(job: Job) -> int:
    """Failures first, then what runs, what waits, and what is done."""
    order = {"failed": 0, "cancelled": 1, "queued": 3, "paused": 3, "succeeded": 4}
    return order.get(job.status, 2)


def _row(name: str, progress: Progress, now: float) -> tuple[str, ...]:
    job, eta, idle = progress.job, progress.eta(now), progress.idle(now)
    is_quiet = not job.ended and idle is not None and idle >= IDLE
    return (
        name,
        clean_line(job.status),
        "" if progress.step is None else f"{progress.step}/{progress.total or '?'}",
        f"{progress.train[-1][1]:.4f}" if progress.train else "",
        "" if eta is None else span(eta),
        f"{progress.valid[-1][1]:.4f}" if progress.valid else "",
        span(idle) if idle is not None and is_quiet else "",
        clean_line(job.fine_tuned_model or ""),
    )


def _fitting(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The widths of the columns that fit, from the left; the last of all may be cut."""
    widths = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    used = 0
    fitting: list[int] = []
    for place, columns in enumerate(widths):
        is_last = place == len(widths) - 1
        if fitting and used + (min(columns, 20) if is_last else columns) > width:
            break
        fitting.append(columns)
        used += columns + len(GAP)
    return fitting


def _joined(row: Sequence[str], columns: Sequence[int]) -> str:
    return GAP.join(map(pad, row, columns)).rstrip()


class Frame:
    """One picture, fitted to whatever size the terminal has when it is drawn.

    The head always stays; where rows are short, the chart shrinks first, then the event tail.
    """

    def __init__(self, tick: Tick, progress: Progress, now: float | None = None) -> None:
        self.tick = tick
        self.progress = progress
        self.now = now

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Lay the parts out."""
        width, height = options.max_width, console.size.height - 1
        now = time.time() if self.now is None else self.now
        head = [*_head(self.progress, width, now), *_trouble(self.tick)]
        checkpoints = _checkpoints(self.progress)
        room = height - len(head) - len(checkpoints)
        tail_rows = min(TAIL, len(self.progress.tail), max(3, room - CHART_ROWS - 3))
        chart = _chart(self.progress, width, min(CHART_ROWS, room - tail_rows - 3))
        tail = _tail(self.progress, min(tail_rows, room - len(chart)))
        for line in [*head, *chart, *checkpoints, *tail][:height]:
            line.no_wrap, line.overflow = True, "ellipsis"
            line.truncate(width, overflow="ellipsis")
            yield line


def _head(progress: Progress, width: int, now: float) -> Iterator[Text]:
    job = progress.job
    status = clean_line(job.status)
    yield Text.assemble(
        (clean_line(job.id), "bold"),
        "  ",
        (status, STYLES.get(job.status, "bold")),
        "  ",
        clean_line(job.model),
    )
    if job.fine_tuned_model:
        yield Text.assemble("→ ", (clean_line(job.fine_tuned_model), "green"))
    yield _bar(progress, width)
    yield Text("  ".join(_facts(progress, now)))


def _bar(progress: Progress, width: int) -> Text:
    step = "-" if progress.step is None else str(progress.step)
    count = f" step {step}/{progress.total or '?'}"
    fraction = progress.fraction or 0.0
    percent = "" if progress.fraction is None else f" {fraction:4.0%}"
    columns = max(10, width - len(count) - len(percent))
    full = int(columns * fraction)
    return Text.assemble(
        ("━" * full, "cyan"), ("╌" * (columns - full), "dim"), (count, "bold"), percent
    )


def _facts(progress: Progress, now: float) -> Iterator[str]:
    if progress.train:
        yield f"train {progress.train[-1][1]:.4f}"
    if progress.valid:
        yield f"valid {progress.valid[-1][1]:.4f}"
    if progress.tokens_per_second is not None:
        yield f"{progress.tokens_per_second:,.0f} tokens/s"
    job = progress.job
    if job.ended:
        if job.finished_at is not None:
            yield f"took {span(job.finished_at - job.created_at)}"
        return
    if (eta := progress.eta(now)) is not None:
        yield f"est. {span(eta)} left"
    if (idle := progress.idle(now)) is not None and idle >= QUIET:
        yield f"idle {span(idle)}"


def _trouble(tick: Tick) -> Iterator[Text]:
    if tick.problem is not None:
        yield Text(clean_line(trouble(tick.problem)), "yellow")
    error = tick.job.error
    if error is not None:
        words = ": ".join(filter(None, (error.code, error.message)))
        yield Text(clean_line(words), "bold red")


def _chart(progress: Progress, width: int, rows: int) -> list[Text]:
    if rows < 3 or not (progress.train or progress.valid):
        return []
    columns = max(10, width - 9)
    grid, low, high = draw(
        progress.train, progress.valid, columns=columns, rows=rows, last=progress.total
    )
    labels = {0: f"{high:7.4g}", rows - 1: f"{low:7.4g}"}
    lines = [
        Text.assemble("loss  ", ("⠒ train", CELLS["line"]), "  ", (f"{MARK} valid", CELLS["mark"]))
    ]
    for index, row in enumerate(grid):
        line = Text(f"{labels.get(index, ''):>7} │", "dim")
        for cell in row:
            line.append(cell.char, CELLS[cell.of])
        lines.append(line)
    return [*lines, Text(f"{'':7} └{'─' * (columns - 1)}", "dim")]


def _checkpoints(progress: Progress) -> list[Text]:
    shown = progress.checkpoints[-CHECKPOINTS:]
    hidden = len(progress.checkpoints) - len(shown)
    more = [Text(f"  and {hidden} before", "dim")] if hidden else []
    return [*(Text(f"◆ step {step}  {clean_line(name)}") for step, name in shown), *more]


def _tail(progress: Progress, rows: int) -> list[Text]:
    return [_event(event) for event in progress.tail[-rows:]] if rows > 0 else []


def _event(event: Event, name: str = "") -> Text:
    style = {"warn": "yellow", "warning": "yellow", "error": "red"}.get(event.level, "")
    clock = when(event.created_at)[11:19]
    return Text.assemble((clock, "dim"), "  ", (name, "bold"), (clean_line(event.message), style))

"""The full display: one picture of a job, redrawn in place, left on screen at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.text import Text

from ftjobs.cli.chart import MARK, draw
from ftjobs.cli.show import clean_line, span, when
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watch import Tick
from ftjobs.schema import Event

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


class Full:
    """Draws on the terminal with rich, four times a second, so that clocks tick between looks."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = Console(highlight=False) if console is None else console
        self.frame: Frame | None = None
        self.live = Live(
            console=self.console,
            refresh_per_second=4,
            get_renderable=lambda: self.frame or Text(""),
            vertical_overflow="crop",
        )

    def __enter__(self) -> Full:
        self.live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.live.stop()

    def show(self, tick: Tick, progress: Progress) -> None:
        """Draw the newest state."""
        self.frame = Frame(tick, progress)
        self.live.refresh()


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
        yield Text(f"no answer, trying on: {clean_line(tick.problem.message)}", "yellow")
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


def _event(event: Event) -> Text:
    style = {"warn": "yellow", "warning": "yellow", "error": "red"}.get(event.level, "")
    clock = when(event.created_at)[11:19]
    return Text.assemble((clock, "dim"), "  ", (clean_line(event.message), style))

import io
import math
import re

import pytest
from rich.console import Console

from ftjobs.cli.display import Names
from ftjobs.cli.monitor import COLUMNS, Board, Frame, Table
from ftjobs.errors import UnreachableError
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watch import Tick
from ftjobs.reports.cells import width
from ftjobs.schema import Event, Job, JobError

JOB = Job(
    id="ftjob-1",
    created_at=0,
    status="running",
    model="smollm2-135m",
    training_file="f",
)


def progress_of(steps: int, total: int, job: Job = JOB) -> Progress:
    events = [
        Event(
            id=str(step),
            created_at=10 * step,
            message=f"Step {step}/{total}",
            type="metrics",
            data={
                "step": step,
                "total_steps": total,
                "train_loss": 3 * math.exp(-step / 20),
                "tokens_per_second": 1234.5,
                **({"full_valid_loss": 2.0} if step % 10 == 0 else {}),
            },
        )
        for step in range(1, steps + 1)
    ]
    saved = [
        Event(
            id=f"c{step}",
            created_at=10 * step,
            message=f"Checkpoint created at step {step} with Snapshot ID: ft:m:x:ckpt-step-{step}",
        )
        for step in range(10, steps + 1, 10)
    ]
    return Progress(job).seen(job, [*events, *saved])


def drawn(
    progress: Progress, *, columns: int = 100, rows: int = 40, tick: Tick | None = None
) -> str:
    out = io.StringIO()
    console = Console(file=out, width=columns, height=rows, highlight=False)
    console.print(Frame(tick or Tick(progress.job), progress, now=10 * (progress.step or 0) + 7))
    return out.getvalue()


def test_everything_is_there() -> None:
    picture = drawn(progress_of(50, 100))
    for part in (
        "ftjob-1  running  smollm2-135m",
        "step 50/100  50%",
        "train 0.2463",
        "valid 2.0000",
        "1,234 tokens/s",
        "est. 8 min 13 s left",
        "idle 7 s",
        "loss  ⠒ train  ◆ valid",
        "  2.854 │",
        "◆ step 50  ft:m:x:ckpt-step-50",
        "and 2 before",
        "Checkpoint created at step 40",
    ):
        assert part in picture


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
@pytest.mark.parametrize("rows", [5, 8, 12, 20, 24, 60])
@pytest.mark.parametrize("steps", [0, 1, 50])
def test_it_fits_every_terminal(columns: int, rows: int, steps: int) -> None:
    job = JOB.model_copy(update={"fine_tuned_model": "ft:" + "日本" * 60})
    lines = drawn(progress_of(steps, 100, job), columns=columns, rows=rows).splitlines()
    assert len(lines) <= rows - 1
    assert max(map(width, lines)) <= columns
    assert lines[0].startswith("ftjob-1")


def test_a_wide_and_high_terminal_gets_a_ten_row_chart() -> None:
    assert drawn(progress_of(50, 100)).count("│") == 10
    assert drawn(progress_of(50, 100), rows=20).count("│") >= 3


def test_trouble_and_failure_are_shown_and_cleaned() -> None:
    error = JobError(code="bad", message="\x1b[2Jevil [bold]text[/]")
    job = JOB.model_copy(update={"status": "failed", "error": error, "finished_at": 75})
    tick = Tick(job, problem=UnreachableError("no route"))
    picture = drawn(Progress(job), tick=tick)
    assert "bad: evil [bold]text[/]" in picture
    assert "no answer, trying on: no route" in picture
    assert "took 1 min 15 s" in picture
    assert "\x1b" not in picture


# --- many jobs -----------------------------------------------------------------------------------


def fleet(count: int) -> list[Progress]:
    statuses = ["running", "queued", "succeeded", "failed", "\x1b[2Jodd"]
    found = []
    for number in range(count):
        job = JOB.model_copy(
            update={
                "id": f"ftjob-{number:08d}",
                "status": statuses[number % 5],
                "fine_tuned_model": "ft:日本" * 9 if number % 5 == 2 else None,
            }
        )
        found.append(progress_of(number % 30, 100, job))
    return found


def table(found: list[Progress], *, columns: int = 100, rows: int = 24, **tick: object) -> str:
    ticks = [Tick(progress.job, **tick) for progress in found]  # type: ignore[arg-type]
    out = io.StringIO()
    console = Console(file=out, width=columns, height=rows, highlight=False)
    console.print(Table(ticks, {p.job.id: p for p in found}, Names(), now=300))
    return out.getvalue()


def test_a_table_names_what_needs_to_be_seen_first() -> None:
    lines = table(fleet(10)).splitlines()
    assert lines[0] == "10 jobs: 2 running, 2 queued, 2 succeeded, 2 failed, 2 odd"
    assert lines[1].split() == [*COLUMNS]
    statuses = [line.split()[1] for line in lines[2:12]]
    assert statuses == ["failed"] * 2 + ["running", "odd"] * 2 + ["queued"] * 2 + ["succeeded"] * 2
    assert lines[4].split() == ["00000000", "running"]
    assert re.sub(" +", " ", lines[6]) == "00000005 running 5/100 2.3364 11 min 40 s 4 min 10 s"
    assert "1  Checkpoint created at step 10 with" in table([progress_of(12, 100)])


def test_a_table_says_how_many_it_has_no_room_for() -> None:
    lines = table(fleet(200)).splitlines()
    assert len(lines) == 23
    assert lines[-1] == "and 180 more"


def test_trouble_is_shown_above_the_table() -> None:
    problem = UnreachableError("no \x1b[2Jroute")
    picture = table(fleet(3), problem=problem)
    assert picture.count("no answer, trying on: no route") == 1
    assert "\x1b" not in picture


@pytest.mark.parametrize("columns", [10, 30, 40, 80, 120, 200])
@pytest.mark.parametrize("rows", [3, 5, 12, 24, 60])
@pytest.mark.parametrize("count", [0, 1, 7, 200])
def test_a_table_fits_every_terminal(columns: int, rows: int, count: int) -> None:
    lines = table(fleet(count), columns=columns, rows=rows).splitlines()
    assert len(lines) <= rows - 1
    assert max(map(width, lines)) <= columns


def test_a_board_draws_what_it_was_shown() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system=None)
    with Board(console) as board:
        for progress in fleet(3):
            board.show(Tick(progress.job), progress)
    assert "3 jobs: 1 running, 1 queued, 1 succeeded" in out.getvalue()

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.jobs.progress import TAIL, Progress
from ftjobs.schema import Event, Job, Metrics

JOB = Job(id="j", created_at=0, status="running", model="m", training_file="f")


def metrics(at: int, **data: Any) -> Event:
    return Event(id=f"{at}-{data}", created_at=at, message="Step", type="metrics", data=data)


def message(at: int, text: str) -> Event:
    return Event(id=f"{at}-{text}", created_at=at, message=text)


CHECKPOINT = "Checkpoint created at step 80 with Snapshot ID: ft:m:local:s:a1:ckpt-step-80"

numbers = st.none() | st.floats() | st.integers(-5, 200) | st.text(max_size=3)
datas = st.dictionaries(
    st.sampled_from(["step", "total_steps", "train_loss", "valid_loss", "tokens_per_second"]),
    numbers,
)
events = st.lists(
    st.builds(metrics, st.integers(0, 10**9)).flatmap(
        lambda e: datas.map(lambda data: e.model_copy(update={"data": data}))
    )
    | st.builds(message, st.integers(0, 10**9), st.text() | st.just(CHECKPOINT))
)


@given(events, st.integers(0, 30))
def test_how_events_are_batched_does_not_matter(found: list[Event], cut: int) -> None:
    at_once = Progress(JOB).seen(JOB, found)
    in_two = Progress(JOB).seen(JOB, found[:cut]).seen(JOB, found[cut:])
    assert repr(in_two.train) == repr(at_once.train)
    assert in_two.step == at_once.step
    assert in_two.total == at_once.total
    assert in_two.checkpoints == at_once.checkpoints
    assert in_two.tail == at_once.tail
    assert in_two.pulse == at_once.pulse


@given(events, st.floats(0, 2e9))
def test_no_event_breaks_it(found: list[Event], now: float) -> None:
    progress = Progress(JOB).seen(JOB, found)
    steps = [step for step, _ in progress.train]
    assert steps == sorted(set(steps))
    assert len(progress.tail) <= TAIL
    assert progress.fraction is None or 0 <= progress.fraction <= 1
    for seconds in (progress.eta(now), progress.idle(now)):
        assert seconds is None or seconds >= 0


def test_accuracies_are_kept_as_losses_are() -> None:
    both = {"valid_mean_token_accuracy": 0.5, "full_valid_mean_token_accuracy": 0.75}
    found = [
        metrics(110, step=1, train_mean_token_accuracy=0.25),
        metrics(120, step=2, train_mean_token_accuracy=0.5, **both),
    ]
    progress = Progress(JOB).seen(JOB, found)
    assert progress.train_accuracy == ((1, 0.25), (2, 0.5))
    assert progress.valid_accuracy == ((2, 0.75),)


def test_what_a_run_looks_like() -> None:
    found = [
        message(100, "Fine-tuning job started"),
        metrics(110, step=1, total_steps=4, train_loss=2.0, tokens_per_second=50),
        metrics(120, step=2, total_steps=4, train_loss=1.0, valid_loss=1.5, full_valid_loss=1.25),
        message(120, CHECKPOINT),
    ]
    progress = Progress(JOB).seen(JOB, found)
    assert (progress.step, progress.total, progress.fraction) == (2, 4, 0.5)
    assert progress.train == ((1, 2.0), (2, 1.0))
    assert progress.valid == ((2, 1.25),)
    assert progress.tokens_per_second == 50
    assert progress.checkpoints == ((80, "ft:m:local:s:a1:ckpt-step-80"),)
    assert [event.message for event in progress.tail] == [found[0].message, CHECKPOINT]
    assert progress.eta(120) == 20
    assert progress.eta(125) == 15
    assert progress.eta(140) == 0
    assert progress.eta(141) is None
    assert progress.idle(125) == 5


def test_a_job_that_went_back_to_a_checkpoint_starts_its_rate_anew() -> None:
    found = [metrics(0, step=1, total_steps=9), metrics(10, step=5, total_steps=9)]
    progress = Progress(JOB).seen(JOB, found).seen(JOB, [metrics(500, step=3, train_loss=1.0)])
    assert progress.pulse == ((500, 3),)
    assert progress.eta(500) is None
    assert progress.step == 3


def test_without_steps_the_service_estimates() -> None:
    job = JOB.model_copy(update={"estimated_finish": 1000})
    assert Progress(job).eta(400) == 600
    assert Progress(job).eta(1001) is None
    assert Progress(job.model_copy(update={"status": "succeeded"})).eta(400) is None
    assert Progress(job.model_copy(update={"status": "paused"})).eta(400) is None


@pytest.mark.parametrize("data", [{"step": "x"}, {"train_loss": "N/A"}])
def test_numbers_that_are_none_are_left_out(data: dict[str, Any]) -> None:
    assert metrics(1, **data).metrics == Metrics()
    assert Progress(JOB).seen(JOB, [metrics(1, **data)]).train == ()


def test_a_loss_that_is_not_finite_is_kept_for_the_eye() -> None:
    progress = Progress(JOB).seen(JOB, [metrics(1, step=1, train_loss=math.nan)])
    assert math.isnan(progress.train[0][1])


def test_numbers_that_no_machine_holds_are_not_measured() -> None:
    huge = 10**400
    event = metrics(1, step=huge, total_steps=1e308, train_loss=huge, tokens_per_second=huge)
    progress = Progress(JOB).seen(JOB, [event, metrics(9**15, step=2, total_steps=1e308)])
    assert (progress.step, progress.total, progress.train) == (2, None, ())
    assert progress.tokens_per_second is None
    assert progress.eta(0.0) is None


def test_a_checkpoint_whose_step_is_no_step_is_none() -> None:
    said = CHECKPOINT.replace("80", "9" * 5000)
    assert Progress(JOB).seen(JOB, [message(1, said)]).checkpoints == ()


def test_what_comes_late_says_nothing_of_now() -> None:
    now = [metrics(100, step=10), message(101, "saved"), metrics(110, step=20)]
    late = [message(90, "before"), metrics(95, step=5, train_loss=2), metrics(110, step=19)]
    progress = Progress(JOB).seen(JOB, now).seen(JOB, late)
    assert (progress.step, progress.heard) == (20, 110)
    assert progress.pulse == ((100, 10), (110, 20))
    assert [event.message for event in progress.tail] == ["before", "saved"]
    assert progress.train == ((5, 2.0),)
    resumed = progress.seen(JOB, [metrics(120, step=15)])
    assert (resumed.step, resumed.pulse) == (15, ((120, 15),))

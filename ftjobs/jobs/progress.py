"""How far a job is: a pure fold of what was seen of it.  No I/O, no clock.

progress = Progress(job)
for tick in client.follow(job):
    progress = progress.seen(tick.job, tick.events)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ftjobs.schema import Event, Job, Metrics

Series = tuple[tuple[int, float], ...]
"""(step, value), by rising step."""

TAIL = 50  # events kept for display
WINDOW = 60  # metrics that the step rate is taken over

_CHECKPOINT = re.compile(r"Checkpoint created at step (\d{1,18}) with Snapshot ID: (\S+)")


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known of a job.

    Attributes:
        job: its last state.
        step: the last step reported; one that is reported late is not the last.
        total: steps in all, where the backend says so.
        train: training loss by step, in nats a token.
        valid: validation loss by step: of the whole validation set where it was measured.
        train_accuracy, valid_accuracy: the same of token accuracies, fractions from 0 to 1.
        tokens_per_second: training speed, where the backend reports it.
        checkpoints: (step, model name), in order of appearance.
        tail: the last events that are more than numbers, oldest first.
        heard: when the last event of any kind was created, in Unix seconds.
        pulse: (Unix second, step) of the last metrics since the job last (re)started.
    """

    job: Job
    step: int | None = None
    total: int | None = None
    train: Series = ()
    valid: Series = ()
    train_accuracy: Series = ()
    valid_accuracy: Series = ()
    tokens_per_second: float | None = None
    checkpoints: tuple[tuple[int, str], ...] = ()
    tail: tuple[Event, ...] = ()
    heard: int | None = None
    pulse: tuple[tuple[int, int], ...] = ()

    def seen(self, job: Job, events: Sequence[Event] = ()) -> Progress:
        """The progress after one more look at the job."""
        known = [(event, m) for event in events if (m := event.metrics)]
        steps = [(event, m) for event, m in known if m.step is not None]
        pulse = _pulse(self.pulse, steps)
        told = [*self.tail, *(e for e in events if e.type != "metrics")]
        speeds = [speed for event in events if (speed := _speed(event)) is not None]
        return replace(
            self,
            job=job,
            step=pulse[-1][1] if pulse else self.step,
            total=next((m.total_steps for _, m in reversed(known) if m.total_steps), self.total),
            train=_merged(self.train, ((m.step, m.train_loss) for _, m in steps)),
            valid=_merged(self.valid, ((m.step, valid_loss(m)) for _, m in steps)),
            train_accuracy=_merged(
                self.train_accuracy, ((m.step, m.train_mean_token_accuracy) for _, m in steps)
            ),
            valid_accuracy=_merged(
                self.valid_accuracy, ((m.step, valid_accuracy(m)) for _, m in steps)
            ),
            tokens_per_second=speeds[-1] if speeds else self.tokens_per_second,
            checkpoints=_unique((*self.checkpoints, *_checkpoints(events))),
            tail=tuple(sorted(told, key=lambda event: event.created_at)[-TAIL:]),
            heard=_latest(self.heard, events),
            pulse=pulse,
        )

    @property
    def fraction(self) -> float | None:
        """Steps done of all steps, 0 to 1; None while either is unknown."""
        if self.step is None or not self.total:
            return None
        return min(max(self.step / self.total, 0.0), 1.0)

    def eta(self, now: float) -> float | None:
        """Seconds left, an estimate; None where there is nothing to judge by, or it has ended.

        It is the steps left over the recent step rate, or else the backend's own estimate.  Once
        that time is over, and the job is not, it was wrong.  `now` is in Unix seconds.
        """
        if self.job.ended or self.job.status == "paused":
            return None
        if self.step is not None and self.total and len(self.pulse) > 1:
            (start, first), (end, last) = self.pulse[0], self.pulse[-1]
            if end > start and last > first:
                left = max(0, self.total - self.step) * (end - start) / (last - first)
                quiet = max(0.0, now - end)
                return left - quiet if quiet <= left else None
        finish = self.job.estimated_finish
        return None if finish is None or finish < now else finish - now

    def idle(self, now: float) -> float | None:
        """Seconds since the last event; None before the first.  It tells slow from stuck."""
        return None if self.heard is None else max(0.0, now - self.heard)


def valid_loss(metrics: Metrics) -> float | None:
    """The validation loss: of the whole validation set where it was measured."""
    return metrics.valid_loss if metrics.full_valid_loss is None else metrics.full_valid_loss


def valid_accuracy(metrics: Metrics) -> float | None:
    """The validation accuracy: of the whole validation set where it was measured."""
    whole = metrics.full_valid_mean_token_accuracy
    return metrics.valid_mean_token_accuracy if whole is None else whole


def _speed(event: Event) -> float | None:
    speed = event.data.get("tokens_per_second")
    if not isinstance(speed, int | float):
        return None
    return float(speed) if 0 <= speed <= sys.float_info.max else None


def _latest(heard: int | None, events: Sequence[Event]) -> int | None:
    made = [event.created_at for event in events]
    return max(made if heard is None else [heard, *made], default=None)


def _merged(series: Series, points: Iterable[tuple[int | None, float | None]]) -> Series:
    """`series` with `points`; of one step the last value counts (a resumed job repeats steps)."""
    fresh = {step: value for step, value in points if step is not None and value is not None}
    if not fresh:
        return series
    if not series or min(fresh) > series[-1][0]:  # as nearly always: no need to look at the old
        return (*series, *sorted(fresh.items()))
    return tuple(sorted({**dict(series), **fresh}.items()))


def _pulse(
    pulse: tuple[tuple[int, int], ...], steps: Sequence[tuple[Event, Metrics]]
) -> tuple[tuple[int, int], ...]:
    for event, metrics in steps:
        step, at = metrics.step or 0, event.created_at
        if pulse and (at < pulse[-1][0] or (at == pulse[-1][0] and step < pulse[-1][1])):
            continue  # it came late: it says nothing of now
        if pulse and step <= pulse[-1][1]:
            pulse = ()  # the job went back to a checkpoint: the old rate spans a gap
        pulse = (*pulse, (at, step))[-WINDOW:]
    return pulse


def _checkpoints(events: Iterable[Event]) -> Iterable[tuple[int, str]]:
    for event in events:
        if match := _CHECKPOINT.search(event.message):
            yield int(match[1]), match[2]


def _unique(pairs: Iterable[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    return tuple(dict.fromkeys(pairs))

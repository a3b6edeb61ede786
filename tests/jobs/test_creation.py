"""One intent, one job: under lost answers, lagging lists, kills and two machines."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.errors import (
    AuthError,
    BackendError,
    DeadlineError,
    InvalidRequestError,
    QuotaError,
    RateLimitError,
    ServiceError,
    UnreachableError,
)
from ftjobs.jobs.creation import AGAIN
from ftjobs.jobs.ledger import Ledger
from ftjobs.jobs.plan import apply, plan_job
from ftjobs.jobs.submit import submit
from ftjobs.schema import Job, JobSpec
from tests.jobs.lagging import LAG, Clock, Killed, Trouble, Troubled, lost

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    path.write_text(
        "".join(
            json.dumps({"messages": [{"role": "user", "content": f"q{n}"}, TURNS[1]]}) + "\n"
            for n in range(12)
        ),
        "utf-8",
    )
    return path


def run(backend: Troubled, train: Path, ledger: Ledger | None = None, **how: object) -> Job:
    how = {"model": "fake-base", "retry": backend.clock.retry()} | how
    return submit(backend, train, ledger=ledger, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [UnreachableError("reset"), ServiceError("500"), DeadlineError("slow")],
    ids=["reset", "500", "timeout"],
)
@pytest.mark.parametrize("lag", [0.0, 1.0, LAG - 1])
def test_a_job_whose_answer_was_lost_is_found(train: Path, error: BackendError, lag: float) -> None:
    backend = Troubled(Clock(), lag, {"create": [lost(error)]})
    job = run(backend, train)
    assert [job.id] == [each.id for each in backend.truth]
    assert backend.posts == 1


def test_a_post_that_never_arrived_is_sent_again(train: Path) -> None:
    never = lost(UnreachableError("reset"), acted=False)
    backend = Troubled(Clock(), 1.0, {"create": [never, never]})
    job = run(backend, train)
    assert [job.id] == [each.id for each in backend.truth]
    assert backend.posts == 3


def test_what_was_certainly_not_done_costs_no_look(train: Path) -> None:
    refused = UnreachableError("connection refused", acted=False)
    limited = RateLimitError("429", retry_after=7)
    troubles = [lost(refused, acted=False), lost(limited, acted=False)]
    backend = Troubled(Clock(), 0.0, {"create": list(troubles)})
    said: list[str] = []
    submit(backend, train, model="fake-base", say=said.append, retry=backend.clock.retry())
    assert said == []
    assert backend.clock.at >= 7


@pytest.mark.parametrize("error", [InvalidRequestError("no"), QuotaError("broke")])
def test_a_refusal_is_final_and_forgotten(train: Path, error: BackendError, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    backend = Troubled(Clock(), 0.0, {"create": [lost(error, acted=False)]})
    with pytest.raises(type(error)):
        run(backend, train, ledger)
    assert backend.posts == 1
    before = backend.clock.at
    run(backend, train, ledger)
    assert backend.clock.at == before  # nothing was in doubt, so nothing was looked for


def test_a_job_that_shows_up_later_than_lists_may_lag_ends_as_a_cancelled_double(
    train: Path,
) -> None:
    backend = Troubled(Clock(), 3 * LAG, {"create": [lost(UnreachableError("reset"))]})
    job = run(backend, train)
    assert len(backend.truth) == 2  # nobody could know
    backend.clock.sleep(4 * LAG)
    assert run(backend, train).id == backend.truth[-1].id
    assert [job.id for job in backend.paid] == [backend.truth[-1].id]
    assert job.id in {each.id for each in backend.truth}


def test_an_outage_that_outlasts_patience_says_that_running_again_is_safe(train: Path) -> None:
    endless: list[Trouble | None] = [lost(UnreachableError("reset"))]
    endless += [lost(UnreachableError("reset"), acted=False) for _ in range(400)]
    backend = Troubled(Clock(), 0.0, {"create": endless})
    backend.then["jobs"] = [*endless[1:]]
    with pytest.raises(UnreachableError) as caught:
        run(backend, train)
    assert "again" in caught.value.hint
    backend.troubles.clear()
    job = run(backend, train)
    assert [job.id] == [each.id for each in backend.truth]


def test_a_key_that_is_taken_back_after_a_lost_answer_leaves_a_way_out(
    train: Path, tmp_path: Path
) -> None:
    backend, ledger = Troubled(Clock(), LAG - 1), Ledger(tmp_path)
    backend.then = {
        "create": [lost(UnreachableError("reset"))],
        "jobs": [lost(ServiceError("500"), acted=False), lost(AuthError("401", hint="Set KEY."))],
    }
    said: list[str] = []
    with pytest.raises(AuthError) as caught:
        run(backend, train, ledger, say=said.append)
    assert caught.value.hint == f"Set KEY.\n{AGAIN}"
    assert len(said) == 1
    assert [run(backend, train, ledger).id] == [job.id for job in backend.truth]


@pytest.mark.parametrize("with_ledger", [True, False])
@pytest.mark.parametrize("acted", [True, False])
def test_killed_at_the_post_and_run_again(
    train: Path, tmp_path: Path, *, with_ledger: bool, acted: bool
) -> None:
    ledger = Ledger(tmp_path) if with_ledger else None
    backend = Troubled(Clock(), 1.0, {"create": [Trouble(Killed(), acted)]})
    with pytest.raises(Killed):
        run(backend, train, ledger)
    job = run(backend, train, ledger)
    assert [job.id] == [each.id for each in backend.paid]
    if with_ledger:
        assert len(backend.truth) == 1  # it knew that something was sent, and looked


@pytest.mark.parametrize(
    "troubles",
    [
        {"create": [Trouble(Killed(), False)]},
        {"create": [Trouble(Killed(), True)]},
        {"create": [lost(UnreachableError("reset"), acted=False), Trouble(Killed(), True)]},
        {"jobs": [Trouble(Killed(), False)]},
    ],
    ids=["before", "after", "second post", "look for doubles"],
)
def test_another_that_was_interrupted_is_not_made_twice(
    train: Path, tmp_path: Path, troubles: dict[str, list[Trouble | None]]
) -> None:
    ledger, backend = Ledger(tmp_path), Troubled(Clock(), 1.0)
    first = run(backend, train, ledger)
    backend.then = troubles
    with pytest.raises(Killed):
        run(backend, train, ledger, again=True)
    said: list[str] = []
    second = run(backend, train, ledger, again=True, say=said.append)
    assert {job.id for job in backend.truth} == {first.id, second.id}
    assert not any("--again" in sentence for sentence in said)
    third = run(backend, train, ledger, again=True)
    assert len({first.id, second.id, third.id}) == 3


def test_two_machines_at_the_same_moment_end_with_the_older_job(train: Path) -> None:
    clock = Clock()
    backend = Troubled(clock, lag=2.0)
    plan = plan_job(backend, train, model="fake-base")
    rival: list[Job] = []
    real = Troubled._create

    def create(self: Troubled, spec: object) -> Job:
        if not rival:  # another machine is a moment quicker
            rival.append(real(self, spec))  # type: ignore[arg-type]
        return real(self, spec)  # type: ignore[arg-type]

    backend._create = create.__get__(backend)  # type: ignore[method-assign]
    said: list[str] = []
    job = apply(backend, plan, retry=clock.retry(), say=said.append)
    assert job.id == rival[0].id
    assert [each.id for each in backend.paid] == [job.id]
    assert any("double" in sentence for sentence in said)


def test_a_double_that_cannot_be_cancelled_is_named(train: Path) -> None:
    clock = Clock()
    backend = Troubled(clock, 3 * LAG, {"create": [lost(UnreachableError("reset"))]})
    run(backend, train)
    clock.sleep(4 * LAG)
    backend.troubles["cancel"] = [lost(ServiceError("500"), acted=False)]
    with pytest.raises(ServiceError) as caught:
        run(backend, train)
    assert f"ftjobs jobs cancel {backend.truth[0].id}" in caught.value.hint


def test_an_answer_is_kept_though_doubles_cannot_be_looked_for(train: Path) -> None:
    backend = Troubled(Clock())
    backend.then["jobs"] = [lost(ServiceError("500"), acted=False)]
    said: list[str] = []
    job = submit(backend, train, model="fake-base", say=said.append, retry=backend.clock.retry())
    assert job.id == backend.truth[0].id
    assert any("doubles" in sentence for sentence in said)


def test_an_answer_is_kept_though_the_ledger_cannot_be_written(train: Path, tmp_path: Path) -> None:
    class Full(Troubled):
        def _create(self, spec: JobSpec) -> Job:
            (tmp_path / "ledger.sqlite").write_bytes(b"broken" * 1000)
            return super()._create(spec)

    backend = Full(Clock())
    said: list[str] = []
    job = run(backend, train, Ledger(tmp_path), say=said.append)
    assert [job.id] == [each.id for each in backend.truth]
    assert any("not remembered" in sentence for sentence in said)


def test_a_service_that_drops_the_identity_is_told_of(train: Path) -> None:
    class Forgetful(Troubled):
        def _create(self, spec: JobSpec) -> Job:
            return super()._create(spec.model_copy(update={"metadata": {}}))

    backend = Forgetful(Clock())
    said: list[str] = []
    job = run(backend, train, say=said.append)
    assert any(f"job {job.id} by its identity" in sentence for sentence in said)


PASSING = st.sampled_from([UnreachableError, ServiceError, DeadlineError])
CREATES = st.builds(
    Trouble,
    st.one_of(
        PASSING.map(lambda cls: cls("broken")),
        st.builds(RateLimitError, st.just("429"), retry_after=st.floats(0.1, 20)),
        st.just(Killed()),
    ),
    st.booleans(),
)


def _possible(trouble: Trouble) -> Trouble:
    """A 429 was never acted on."""
    return Trouble(trouble.error, trouble.acted and not isinstance(trouble.error, RateLimitError))


@settings(max_examples=300, deadline=None)
@given(
    lag=st.floats(0, LAG - 0.5),
    creates=st.lists(CREATES.map(_possible), max_size=5),
    reads=st.lists(st.none() | PASSING.map(lambda cls: Trouble(cls("broken"), False)), max_size=12),
    with_ledger=st.booleans(),
    forgets=st.booleans(),
)
def test_whatever_happens_there_is_one_job(
    train: Path,
    tmp_path_factory: pytest.TempPathFactory,
    lag: float,
    creates: list[Trouble],
    reads: list[Trouble | None],
    *,
    with_ledger: bool,
    forgets: bool,
) -> None:
    backend = Troubled(Clock(), lag, {"create": list(creates), "jobs": list(reads)})
    home = tmp_path_factory.mktemp("home")
    job = None
    for attempt in range(30):
        ledger = Ledger(home / (str(attempt) if forgets else "")) if with_ledger else None
        with suppress(Killed, BackendError):
            job = run(backend, train, ledger)
            break
        backend.clock.sleep(1.0)
    assert job is not None
    backend.troubles.clear()
    backend.clock.sleep(LAG)
    settled = run(backend, train)  # a later look, say from CI: it sees all, and cancels a double
    assert [each.id for each in backend.paid] == [settled.id]
    if with_ledger and not forgets:
        assert settled.id == job.id
        assert len(backend.truth) == 1

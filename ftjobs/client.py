"""The client: holds a backend and forwards.  What it does is written in `jobs` and `evals`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ftjobs.backends.base import Backend, Exported, Exports, Form, Progress
from ftjobs.backends.opening import open_backend
from ftjobs.config import Settings
from ftjobs.errors import ConfigError, FtjobsError, UnsupportedError
from ftjobs.jobs import watch as watching
from ftjobs.jobs.fleet import follow_all
from ftjobs.jobs.ledger import Ledger
from ftjobs.schema import (
    ChatMessage,
    Checkpoint,
    Completion,
    Delta,
    Event,
    File,
    Job,
    JobSpec,
    Metrics,
    Model,
    Sampling,
)

if TYPE_CHECKING:  # these take a fifth of a second, and most commands neither check nor compare
    from ftjobs.data.cost import Price
    from ftjobs.evals import Arm, Comparison, Prompt
    from ftjobs.evals.asking import Asker
    from ftjobs.evals.asking import Progress as Asking
    from ftjobs.evals.graders.base import Grader, PairGrader
    from ftjobs.jobs.plan import Plan, Say, Source

Finding = tuple[str, bool | None, str]
"""What `doctor` found: a name, whether it is well (None: it does not matter), and the text."""

Messages = str | Sequence[ChatMessage | Mapping[str, Any]]
"""A conversation, or one user message."""

DEFAULT_SAMPLING = Sampling()


@runtime_checkable
class Pulls(Protocol):
    """A backend that can prepare a base model ahead of its first use."""

    def pull(self, model: str, *, say: Callable[[str], None] = ...) -> Model:
        """Download, check and convert `model`."""
        ...


@runtime_checkable
class Examines(Protocol):
    """A backend that can examine itself."""

    def doctor(self) -> list[Finding]:
        """What is well and what is not."""
        ...


def connect(backend: str | None = None, *, settings: Settings | None = None) -> Client:
    """A client of the backend called "local", "openai", a profile's name, or a base URL.

    Args:
        backend: its name; None takes the one of the settings (`FTJOBS_BACKEND`, "local").
        settings: where local things are kept; loaded from files and environment by default.

    Raises:
        ConfigError: no such backend, or its key or libraries are missing.
        StoreError: the local store cannot be opened.
    """
    settings = Settings.load() if settings is None else settings
    name = settings.backend if backend is None else backend
    return Client(open_backend(name, settings), ledger=Ledger(settings.home))


class Client:
    """Jobs, files, models and answers of one backend.

    Every method may raise `BackendError` (the backend said no, or could not be reached) or
    `StoreError` (the local store cannot be used).  A job may be given as a `Job` or its id.

    Args:
        backend: where jobs run.
        ledger: what this machine has sent before; submitting is safe without it, and slower.
    """

    def __init__(self, backend: Backend, *, ledger: Ledger | None = None) -> None:
        self.backend = backend
        self.ledger = ledger

    def __repr__(self) -> str:
        return f"Client({self.backend.name!r})"

    # --- jobs ---------------------------------------------------------------------------------

    def submit(
        self,
        train: Source,
        *,
        model: str,
        validation: Source | None = None,
        method: str = "supervised",
        suffix: str | None = None,
        seed: int | None = None,
        metadata: Mapping[str, str] | None = None,
        preset: str | Path | None = None,
        max_cost: float | None = None,
        allow_unknown_cost: bool = False,
        again: bool = False,
        progress: Progress | None = None,
        say: Say = lambda _sentence: None,
        **hyperparameters: Any,
    ) -> Job:
        """Check, upload, and start a job; returns at once.

        A job with this content that runs already, or has succeeded, is returned instead of a
        second one, whichever machine started it: the call may be killed anywhere and repeated.

        Args:
            train: training examples: a `Dataset`, or a path that is checked first.
            model: the base model.
            validation: examples for the validation loss.
            method: "supervised", "dpo" or "reinforcement".
            suffix: 1 to 64 characters that go into the tuned model's name.
            seed: 0 to 2**31 - 1; the same seed trains the same model where the backend can.
            metadata: pairs kept with the job, 15 at most.
            preset: hyperparameters by a name, such as "h2o-tutorial", or of a TOML file.
            max_cost: the most that the job may cost, in US dollars.
            allow_unknown_cost: let a job of unknown price start under `max_cost`.
            again: start another job even where this one exists.
            progress: called with (bytes sent, bytes in all) of each file in turn.
            say: told in a sentence what was found and what takes time.
            hyperparameters: fields of `ftjobs.Hyperparameters`, such as n_epochs=3; they win over
                the preset's.

        Raises:
            ConfigError: an unknown or impossible setting, or there is no such preset.
            UnsupportedError: this backend cannot do what was asked.
            DatasetError: a file has errors; `issues` lists every one.
            CostError: the job could cost more than `max_cost`.
        """
        from ftjobs.jobs.submit import submit

        return submit(
            self.backend,
            train,
            ledger=self.ledger,
            prices=self._prices(),
            progress=progress,
            say=say,
            validation=validation,
            preset=preset,
            hyperparameters=hyperparameters,
            max_cost=max_cost,
            allow_unknown_cost=allow_unknown_cost,
            again=again,
            model=model,
            method=method,
            suffix=suffix,
            seed=seed,
            metadata=metadata,
        )

    def plan(self, train: Source, *, model: str, **how: Any) -> Plan:
        """What `submit` would do, and what it would cost; nothing is sent.

        `how` are the other keywords of `submit` but `progress` and `say`; the same is raised,
        but that a plan may cost more than `max_cost`.
        """
        from ftjobs.jobs.plan import plan_job

        own = {*signature(plan_job).parameters, *JobSpec.model_fields}
        known = {name: how.pop(name) for name in [*how] if name in own}
        return plan_job(
            self.backend,
            train,
            ledger=self.ledger,
            prices=self._prices(),
            model=model,
            hyperparameters=how,
            **known,
        )

    def apply(
        self,
        plan: Plan,
        *,
        progress: Progress | None = None,
        say: Say = lambda _sentence: None,
    ) -> Job:
        """Carry a plan out; the same plan always ends in the same job.

        Raises:
            StalePlanError: data, job or service have moved since it was made.
            CostError: the job could cost more than the plan allows.
        """
        from ftjobs.jobs.plan import apply

        return apply(self.backend, plan, ledger=self.ledger, progress=progress, say=say)

    def follow(
        self,
        job: Job | str,
        *,
        timeout: float | None = None,
        after: str | None = None,
        doorbell: watching.Doorbell | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> Iterator[watching.Tick]:
        """Look at a job until it ends: its state and new events, or what went wrong, each time.

        `watch` and `wait` are made of this; see `ftjobs.jobs.watch.follow`.
        """
        return watching.follow(
            self.backend,
            job,
            timeout=timeout,
            after=after,
            doorbell=doorbell,
            sleep=sleep,
            now=now,
        )

    def follow_all(
        self,
        jobs: Iterable[Job | str] = (),
        *,
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
        doorbell: watching.Doorbell | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> Iterator[watching.Tick]:
        """Like `follow`, of many jobs at the cost of few requests; `tick.job` says whose it is.

        See `ftjobs.jobs.fleet.follow_all`.
        """
        return follow_all(
            self.backend,
            jobs,
            metadata=metadata,
            timeout=timeout,
            doorbell=doorbell,
            sleep=sleep,
            now=now,
        )

    def watch(
        self,
        job: Job | str,
        *,
        timeout: float | None = None,
        after: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> Iterator[Event]:
        """Events of a job as they happen: each once, oldest first, until the job ends.

        Faults that can pass (no connection, an overloaded service) are waited out.  To stop
        listening does nothing to the job; `after` takes up again after an event id.

        Raises:
            WatchTimeout: `timeout` seconds are over and the job has not ended.
        """
        return watching.events_of(
            self.follow(job, timeout=timeout, after=after, sleep=sleep, now=now)
        )

    def wait(
        self,
        job: Job | str,
        timeout: float | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> Job:
        """The job once it has succeeded.

        Raises:
            JobFailed: it failed; `error.job.error` says why.
            JobCancelled: it was cancelled.
            WatchTimeout: `timeout` seconds are over and it has not ended.
        """
        return watching.outcome(self.follow(job, timeout=timeout, sleep=sleep, now=now))

    def job(self, job: Job | str) -> Job:
        """A job's present state.  NotFoundError if there is none."""
        return self.backend.retrieve(_id(job))

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Every job, newest first; with `metadata`, those that carry all of its pairs."""
        return self.backend.jobs(metadata=metadata)

    def cancel(self, job: Job | str) -> Job:
        """End a job.  One that has ended is returned as it is."""
        return self.backend.cancel(_id(job))

    def pause(self, job: Job | str) -> Job:
        """Stop a job so that it can go on later.  UnsupportedError where that is unknown."""
        self._require_pause()
        return self.backend.pause(_id(job))

    def resume(self, job: Job | str) -> Job:
        """Let a paused job go on.  UnsupportedError where that is unknown."""
        self._require_pause()
        return self.backend.resume(_id(job))

    def events(self, job: Job | str, *, after: str | None = None) -> list[Event]:
        """Events so far, oldest first; with `after`, those strictly after that event id."""
        return list(self.backend.events(_id(job), after=after))

    def checkpoints(self, job: Job | str) -> list[Checkpoint]:
        """Checkpoints still kept, oldest first."""
        return list(self.backend.checkpoints(_id(job)))

    def metrics(self, job: Job | str) -> list[Metrics]:
        """The numbers of each step so far, oldest first."""
        return [metrics for event in self.events(job) if (metrics := event.metrics)]

    def result_file(self, job: Job | str) -> bytes:
        """The metrics CSV of an ended job.  NotFoundError if there is none."""
        return self.backend.result_file(self.job(job))

    # --- files --------------------------------------------------------------------------------

    def upload(
        self, path: str | Path, *, purpose: str = "fine-tune", progress: Progress | None = None
    ) -> File:
        """Send a file as it is, unchecked."""
        return self.backend.upload(Path(path), purpose=purpose, progress=progress)

    def files(self) -> Iterator[File]:
        """Every file, newest first."""
        return self.backend.files()

    def file(self, file_id: str) -> File:
        """One file's record.  NotFoundError if there is none."""
        return self.backend.file(file_id)

    def content(self, file_id: str) -> bytes:
        """A file's bytes.  NotFoundError if there is none."""
        return self.backend.content(file_id)

    def delete_file(self, file_id: str) -> None:
        """Delete a file.  NotFoundError if there is none; refused while a job needs it."""
        self.backend.delete_file(file_id)

    # --- models and answers -------------------------------------------------------------------

    def models(self) -> Iterator[Model]:
        """Models that can be trained or asked."""
        return self.backend.models()

    def pull(self, model: str, *, say: Callable[[str], None] = lambda _line: None) -> Model:
        """Prepare a base model ahead of its first use; `say` gets lines about how it goes.

        Raises:
            UnsupportedError: this backend holds its models itself.
            ModelError: there is no such model, or it cannot be loaded safely.
        """
        if not isinstance(self.backend, Pulls):
            raise UnsupportedError(
                f"{self.backend.name} has nothing to pull: its models are on its side",
                hint="Only local models are pulled: ftjobs --backend local models pull MODEL",
            )
        return self.backend.pull(model, say=say)

    def delete_model(self, model: str) -> None:
        """Delete a fine-tuned model with its checkpoints.  NotFoundError if there is none."""
        self.backend.delete_model(model)

    def export(
        self,
        model: str,
        folder: str | Path,
        *,
        form: Form,
        dtype: str | None = None,
        outtype: str | None = None,
        llama_cpp: str | Path | None = None,
        force: bool = False,
        say: Callable[[str], None] = lambda _line: None,
    ) -> Exported:
        """Write a model into a folder for other programs, whole or not at all.

        What is written is compared with what was trained before the folder gets its name.

        Args:
            model: a fine-tuned model or a checkpoint; but for an adapter, also a base model.
            folder: where to; it must not exist, or be empty.
            form: "adapter" (PEFT, vLLM), "merged" (transformers, vLLM), "gguf" (llama.cpp) or
                "ollama".
            dtype: how merged weights are stored: "float32", "bfloat16" or "float16"; by default
                as the base's are.
            outtype: how weights are stored in GGUF: "f32", "f16", "bf16" or "q8_0"; by default
                "bf16" where the base's are bfloat16, else "f16".
            llama_cpp: a checkout of llama.cpp, whose converter writes GGUF; by default it is looked
                for on the PATH.
            force: take the place of an earlier export.
            say: told in a line what is being done.

        Raises:
            UnsupportedError: this backend has no weights, or the model cannot take this form.
            NotFoundError: there is no such model.
            ModelError: its files are damaged, or what was written computes something else.
            ConfigError: the folder is taken, or the converter is not installed.
            FtjobsError: the disk has no room.
        """
        if not isinstance(self.backend, Exports):
            raise UnsupportedError(
                f"{self.backend.name} keeps the weights of its models, so none can be exported",
                hint="Store its answers instead: ftjobs rescue MODEL PROMPTS -o FILE",
            )
        return self.backend.export(
            model,
            Path(folder),
            form=form,
            dtype=dtype,
            outtype=outtype,
            llama_cpp=None if llama_cpp is None else Path(llama_cpp),
            force=force,
            say=say,
        )

    def complete(
        self, model: str, messages: Messages, *, sampling: Sampling = DEFAULT_SAMPLING
    ) -> Completion:
        """A model's answer to a conversation.

        Args:
            model: a base model, a fine-tuned model or a checkpoint.
            messages: the conversation, or one user message as a text.
            sampling: how the answer is drawn.

        Raises:
            NotFoundError: there is no such model.
            ConfigError: a message is none.
        """
        return self.backend.complete(model, _conversation(messages), sampling=sampling)

    def stream(
        self, model: str, messages: Messages, *, sampling: Sampling = DEFAULT_SAMPLING
    ) -> Iterator[Delta]:
        """Like `complete`, piece by piece.  A cut stream raises ServiceError."""
        return self.backend.stream(model, _conversation(messages), sampling=sampling)

    def compare(
        self,
        prompts: Iterable[Prompt],
        *,
        base: str | None = None,
        tuned: str | None = None,
        arms: Sequence[Arm] = (),
        graders: Sequence[Grader | PairGrader] | None = None,
        sampling: Sampling | None = None,
        ask: Asker | None = None,
        progress: Asking = lambda _done, _total, _usd: None,
        **how: Any,
    ) -> Comparison:
        """Ask models the same prompts, grade the answers, and say whether the difference is real.

        Args:
            prompts: what is asked.
            base: the baseline, a model of this backend; without it, `arms` are all there are.
            tuned: the candidate; None, which a job has before it succeeds, is an error.
            arms: more arms, on this backend or others.
            graders: scores; `ftjobs.graders.exact()` by default.
            sampling: how `base` and `tuned` draw answers; greedily, 512 tokens, by default.
            ask: how models are asked; `asker()` by default.
            progress: called with (answers so far, answers in all, US dollars so far).
            how: what `ftjobs.evals.compare` takes, such as sets=, samples=, gate= and seed=.

        Raises:
            ConfigError: what was asked for cannot be compared.
            BackendError: a model cannot be asked at all.
            CostError: the budget is spent.
        """
        from ftjobs.evals import Arm, compare
        from ftjobs.evals.arms import GREEDY

        if base is not None:
            if tuned is None:
                raise ConfigError("there is no tuned model: its job has not succeeded")
            drawn = GREEDY if sampling is None else sampling
            pair = (("base", base), ("tuned", tuned))
            arms = (*(Arm(name, model, self.backend, drawn) for name, model in pair), *arms)
        ask = self.asker(progress=progress) if ask is None else ask
        return compare(prompts, arms, graders=graders, ask=ask, **how)

    def asker(
        self,
        *,
        fresh: bool = False,
        threads: int | None = None,
        max_cost: float | None = None,
        progress: Asking = lambda _done, _total, _usd: None,
    ) -> Asker:
        """How models are asked; where this client has a ledger, every answer is paid for once.

        See `ftjobs.evals.asking.Asker`.
        """
        from ftjobs.evals.asking import Asker
        from ftjobs.evals.cache import AnswerCache

        home = None if self.ledger is None else self.ledger.home
        return Asker(
            cache=None if home is None else AnswerCache(home / "answers.sqlite"),
            fresh=fresh,
            threads=threads,
            max_cost=max_cost,
            progress=progress,
        )

    def doctor(self) -> list[Finding]:
        """What is well with the backend and what is not: (name, well or None, text)."""
        if isinstance(self.backend, Examines):
            return self.backend.doctor()
        try:
            found = sum(1 for _ in self.models())
        except FtjobsError as error:
            return [("service", False, str(error))]
        return [("service", True, f"{self.backend.name} answers; it lists {found} models")]

    def _prices(self) -> Mapping[str, Price] | None:
        """The prices that the user of this machine goes by."""
        from ftjobs.data.cost import load_prices

        own = None if self.ledger is None else self.ledger.home / "prices.toml"
        return load_prices([own]) if own is not None and own.is_file() else None

    def _require_pause(self) -> None:
        if not self.backend.capabilities.pause:
            raise UnsupportedError(f"{self.backend.name} cannot pause jobs")


def _id(job: Job | str) -> str:
    return job if isinstance(job, str) else job.id


def _conversation(messages: Messages) -> tuple[ChatMessage, ...]:
    if isinstance(messages, str):
        messages = (ChatMessage(role="user", content=messages),)
    try:
        conversation = tuple(ChatMessage.model_validate(message) for message in messages)
        for message in conversation:
            message.model_dump_json()  # raises for half a surrogate pair, which cannot be sent
    except ValueError:
        raise ConfigError('a message is {"role": "user", "content": "..."} in UTF-8') from None
    return conversation

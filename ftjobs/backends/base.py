"""The seam: what every backend can do.  Only schema types and plain values cross it.

A backend normalises its service's order, paging and oddities, and raises only errors of
`ftjobs.errors`.  Every backend passes the one suite in `tests/contract`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, get_args, runtime_checkable

from pydantic import BaseModel, ConfigDict

from ftjobs.backends.profiles import Profile
from ftjobs.errors import BackendError, ConfigError, UnsupportedError
from ftjobs.schema import (
    IDENTITY,
    Capabilities,
    ChatMessage,
    Checkpoint,
    Completion,
    Delta,
    Event,
    File,
    Hyperparameters,
    Job,
    JobSpec,
    Model,
    Sampling,
)

if TYPE_CHECKING:
    from ftjobs.data.stats import Statistics

Tools = Sequence[Mapping[str, Any]]
"""Functions that a model may call, as the wire's `tools` describes them."""

Progress = Callable[[int, int], None]
"""Called with (done, total), in bytes for transfers; total is 0 while it is unknown."""


def silent(done: int, total: int) -> None:
    """Progress that nobody follows."""


@runtime_checkable
class Trainer(Protocol):
    """Files, jobs and models.  Every method may raise `BackendError` or `StoreError`."""

    @property
    def name(self) -> str:
        """What the user called this backend: "local", "openai", a profile, a base URL."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        ...

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        """Send a file, under `name` or its own.

        Sending the same bytes under the same name again may return the first.
        """
        ...

    def file(self, file_id: str) -> File:
        """One file's record.  NotFoundError if there is none."""
        ...

    def files(self) -> Iterator[File]:
        """Every file, newest first."""
        ...

    def content(self, file_id: str) -> bytes:
        """A file's bytes.  NotFoundError if there is none."""
        ...

    def delete_file(self, file_id: str) -> None:
        """Delete a file.  NotFoundError if there is none; refused while a job needs it."""
        ...

    def create(self, spec: JobSpec) -> Job:
        """Create a job.  Sent once, never repeated here: a repeat could be a second paid job."""
        ...

    def retrieve(self, job_id: str) -> Job:
        """A job's present state.  NotFoundError if there is none."""
        ...

    def cancel(self, job_id: str) -> Job:
        """End a job.  Idempotent: a job that has ended is returned as it is."""
        ...

    def pause(self, job_id: str) -> Job:
        """Stop a job so that it can go on later.  Idempotent; refused once it has ended."""
        ...

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on.  Idempotent; refused once it has ended."""
        ...

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Every job, newest first; with `metadata`, those that carry all of its pairs."""
        ...

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events oldest first, strictly after the event id `after`; all of them without it."""
        ...

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints still kept, oldest first."""
        ...

    def result_file(self, job: Job) -> bytes:
        """The metrics CSV of an ended job, decoded.  NotFoundError if there is none."""
        ...

    def models(self) -> Iterator[Model]:
        """Models that can be trained or asked."""
        ...

    def delete_model(self, model: str) -> None:
        """Delete a fine-tuned model with its checkpoints.  NotFoundError if there is none."""
        ...


@runtime_checkable
class Completer(Protocol):
    """Chat answers from base models, fine-tuned models and checkpoints.  Thread-safe."""

    def complete(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = ...,
        tools: Tools = (),
    ) -> Completion:
        """The whole answer.  NotFoundError for an unknown model."""
        ...

    def stream(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = ...,
        tools: Tools = (),
    ) -> Iterator[Delta]:
        """The answer piece by piece.  A cut stream raises ServiceError, never ends quietly."""
        ...


@runtime_checkable
class Backend(Trainer, Completer, Protocol):
    """Both halves, which every backend of ftjobs has."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call of `Completer.complete`."""

    model: str
    messages: tuple[ChatMessage, ...]
    sampling: Sampling
    tools: tuple[Mapping[str, Any], ...] = ()


@runtime_checkable
class Batches(Protocol):
    """A backend that answers many requests together faster than one after another.

    They may be of several models: a base and its tuned models share one batch.
    """

    def complete_many(
        self, requests: Sequence[Request]
    ) -> Iterator[tuple[int, Completion | BackendError | ConfigError]]:
        """The number of each request, from 0, with its answer, as the answers come.

        What one request meets ends no other.  Closing the iterator ends the work.
        """
        ...


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How a model foresaw an answer, teacher-forced.

    `loss` is the cross-entropy of its `tokens` in nats, added up; `correct` counts those that
    were the likeliest.  The end of the answer is one of them.
    """

    loss: float
    tokens: int
    correct: int


@runtime_checkable
class Foresees(Protocol):
    """A backend that can say how likely an answer is under a model."""

    def likelihoods(
        self, model: str, conversations: Sequence[Sequence[ChatMessage]]
    ) -> Iterator[Likelihood | BackendError | ConfigError]:
        """For each conversation, how the model foresaw its last turn, the assistant's."""
        ...


@runtime_checkable
class Downloads(Protocol):
    """A backend that can give large files in constant memory.  Others have `content` alone."""

    def download(self, file_id: str, target: BinaryIO, *, progress: Progress | None = None) -> None:
        """Write a file to `target`, which holds all bytes before its position already.

        Where the service cannot go on from there, it is begun anew.  After an error, `target`
        holds what came, and can be given again.  NotFoundError if there is no such file.
        """
        ...


class Permission(BaseModel):
    """A project's right to use a checkpoint of another project.  `created_at` is Unix seconds."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    project_id: str = ""
    created_at: int = 0


@runtime_checkable
class Permits(Protocol):
    """A backend whose checkpoints can be shared with other projects.

    OpenAI wants an admin key for all of these.
    """

    def permissions(self, checkpoint: str) -> Sequence[Permission]:
        """Which projects may use a checkpoint, newest first.  NotFoundError if there is none."""
        ...

    def permit(self, checkpoint: str, projects: Sequence[str]) -> Sequence[Permission]:
        """Let projects use a checkpoint.  Sent again after a lost answer: that grants no more."""
        ...

    def forbid(self, checkpoint: str, permission_id: str) -> None:
        """Take a permission back.  NotFoundError if there is none."""
        ...


@runtime_checkable
class Describes(Protocol):
    """A backend that can be asked for one model, without reading the list of all."""

    def model(self, model: str) -> Model:
        """A model, with the day on which it is shut down.  NotFoundError if there is none."""
        ...


@runtime_checkable
class Stamps(Protocol):
    """A backend where a name may come to mean another model, such as a folder that is written."""

    def stamp(self, model: str) -> str:
        """A text that is another one when the model is; "" where the name says it all."""
        ...


@runtime_checkable
class Rewinds(Protocol):
    """A backend that gives the latest events of a job without reading all of them."""

    def rewind(self, job_id: str, *, start: str | None = None) -> Iterator[Event]:
        """Events newest first, from `start` on and with it; none if the job has no such event.

        NotFoundError, from the first step, for an unknown job.
        """
        ...


@runtime_checkable
class Closes(Protocol):
    """A backend that may be writing answers when nobody wants them any more."""

    def close(self) -> None:
        """End them; those who wait get a ServiceError."""
        ...


Form = Literal["adapter", "merged", "gguf", "ollama"]
"""What a model can be exported as."""

FORMS: tuple[Form, ...] = get_args(Form)


@dataclass(frozen=True, slots=True)
class Exported:
    """A model in a folder of its own.

    `files` are the sizes of its files in bytes, by name; `notes` say what was found out about it,
    such as how far its logits are from those of training.
    """

    model: str
    form: Form
    folder: Path
    files: Mapping[str, int]
    notes: Mapping[str, str]


@runtime_checkable
class Exports(Protocol):
    """A backend that has the weights of its models, and can write them for other programs."""

    def export(
        self,
        model: str,
        folder: Path,
        *,
        form: Form,
        dtype: str | None = None,
        outtype: str | None = None,
        llama_cpp: Path | None = None,
        force: bool = False,
        say: Callable[[str], None] = ...,
    ) -> Exported:
        """Write a model into `folder`, whole or not at all; see `Client.export`."""
        ...


@runtime_checkable
class Hosted(Protocol):
    """A backend of a service that is described by a profile."""

    @property
    def profile(self) -> Profile:
        """What is particular to the service."""
        ...


FULL = 0.85
"""The share of the free memory up to which a job surely fits, as far off as a forecast may be."""


class Fit(BaseModel):
    """The memory and time that a job is foretold to take on a device.

    Attributes:
        device: where it would run, such as "2 cores".
        dtype: of the frozen weights.
        bytes: of memory at the peak, of which `parts` names the parts.
        free_bytes: what programs can have now; None where it is not known.
        total_bytes: all that there is.
        longest: tokens of the longest example.
        tokens_at_once: the most that are computed at once.
        tokens: that are read in all epochs.
        tokens_per_second: how fast; None where nothing says it.
        source: what says it.
        seconds: that the job takes, without waiting for others.
        advice: changes, each of which would make a job fit that hardly does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    dtype: str
    bytes: int
    parts: Mapping[str, int]
    free_bytes: int | None = None
    total_bytes: int | None = None
    longest: int
    tokens_at_once: int
    tokens: int
    tokens_per_second: float | None = None
    source: str = ""
    seconds: float | None = None
    advice: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Of the free memory; 0 where that is not known."""
        return self.bytes / max(1, self.free_bytes) if self.free_bytes is not None else 0.0


@runtime_checkable
class Foretells(Protocol):
    """A backend that runs jobs on a machine which it can look at."""

    def foretell(
        self, spec: JobSpec, train: Statistics, valid: Statistics | None = None
    ) -> Fit | None:
        """Memory and time of a job; None where the base model is not there to be looked at.

        The statistics are those of its files, made with a counter.  Raises ModelError where the
        base model's files cannot be read, TrainingError where the settings leave nothing to do.
        """
        ...


@runtime_checkable
class Prices(Protocol):
    """A backend whose service says what a job will cost, before it is created."""

    def price(self, spec: JobSpec) -> float | None:
        """US dollars for `spec`, which names uploaded files; None where the service cannot say."""
        ...


_OTHER_RATES = frozenset({"adadelta", "rmsprop", "sgd"})
"""Optimisers that want another learning rate than Adam and its kin, by orders of magnitude."""


def _require_one_rate(settings: Hyperparameters) -> None:
    # A job shows the rate that it took with a multiplier of 1, and may be sent again as it is.
    if (
        settings.learning_rate is not None
        and settings.given().get("learning_rate_multiplier", 1) != 1
    ):
        raise ConfigError(
            "learning_rate and learning_rate_multiplier contradict each other",
            hint="One replaces the backend's own rate, the other multiplies it: give one of them.",
        )
    if settings.optimizer in _OTHER_RATES and settings.learning_rate is None:
        raise ConfigError(
            f"optimizer {settings.optimizer} needs a learning_rate",
            hint="The automatic one is for AdamW.",
        )


def check_supported(spec: JobSpec, capabilities: Capabilities, name: str) -> None:
    """Refuse what a backend cannot do, before anything is sent.  UnsupportedError says what."""
    if spec.method not in capabilities.methods:
        known = ", ".join(sorted(capabilities.methods))
        raise UnsupportedError(f"{name} has no method {spec.method!r}", hint=f"It has: {known}.")
    if unknown := sorted(set(spec.hyperparameters.given()) - capabilities.hyperparameters):
        known = ", ".join(sorted(capabilities.hyperparameters))
        raise UnsupportedError(
            f"{name} has no hyperparameter {', '.join(unknown)}", hint=f"It has: {known}."
        )
    if spec.method != "dpo" and "beta" in spec.hyperparameters.given():
        raise UnsupportedError(
            "beta is a hyperparameter of dpo", hint="Choose this method, or leave it out."
        )
    _require_one_rate(spec.hyperparameters)
    if spec.seed is not None and not capabilities.seed:
        raise UnsupportedError(f"{name} takes no seed", hint="Leave it out.")
    if len(spec.suffix or "") > capabilities.longest_suffix:
        raise UnsupportedError(
            f"{name}: a suffix has at most {capabilities.longest_suffix} characters"
        )
    if unknown := sorted({each["type"] for each in spec.integrations} - capabilities.integrations):
        known = ", ".join(sorted(capabilities.integrations))
        raise UnsupportedError(
            f"{name} has no integration {', '.join(unknown)}",
            hint=f"It has: {known}." if known else "It has none: leave it out.",
        )
    own = {key for key in spec.metadata if key != IDENTITY}
    if own and not capabilities.metadata:
        raise UnsupportedError(f"{name} keeps no metadata", hint="Leave metadata out.")

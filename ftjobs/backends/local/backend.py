"""The local backend: the seam's methods over store, worker and models.

Nothing here imports torch until an answer is asked for, so that submitting and watching stay
fast.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ftjobs import data
from ftjobs.backends.base import (
    Exported,
    Fit,
    Form,
    Likelihood,
    Progress,
    Request,
    Tools,
    check_supported,
)
from ftjobs.backends.local import checkpoints, models, worker
from ftjobs.backends.local.answers.answering import Answering
from ftjobs.backends.local.families import refusal
from ftjobs.backends.local.store import News, Store
from ftjobs.backends.local.tracking.needs import require
from ftjobs.config import Settings
from ftjobs.errors import (
    BackendError,
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    StoreError,
    UnsupportedError,
)
from ftjobs.integrations import TYPES, located
from ftjobs.schema import (
    Capabilities,
    ChatMessage,
    Checkpoint,
    Completion,
    Delta,
    Event,
    File,
    Hyperparameters,
    Job,
    JobError,
    JobSpec,
    Model,
    Sampling,
)

if TYPE_CHECKING:
    from ftjobs.data.stats import Statistics

_NEEDS = ("torch", "transformers", "peft", "safetensors")
_VALIDATING = (
    "evaluation_epochs", "evaluate_before_training", "evaluation_metric", "save_best_checkpoint",
    "early_stopping_patience",
)  # fmt: skip
"""What has no meaning without validation data."""
_SUPERVISED_ONLY = frozenset({"train_on_inputs", "token_mask_probability", "evaluation_metric"})
_DEFAULTS = Sampling()
_UNFINISHED = frozenset({"queued", "running", "pausing"})


class LocalBackend:
    """Jobs on this machine, in the store of `settings.home`."""

    name = "local"
    # Those who ask at once share their steps.
    capabilities = Capabilities(
        methods=frozenset({"supervised", "dpo"}),
        hyperparameters=frozenset(Hyperparameters.model_fields),
        sampling=frozenset(Sampling.model_fields),
        integrations=TYPES,
        pause=True,
        min_examples=1,
        requests_at_once=16,
    )

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.home)
        self._answering = Answering(self.store, settings.cache)
        self._looked_at = -10.0

    def close(self) -> None:
        """End the answers that are being written; those who wait for them get a ServiceError."""
        self._answering.close()

    # --- files -------------------------------------------------------------------------------

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        """Copy a file into the store; the same name and bytes give the same file again."""
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        return self.store.add_file(path, filename=name, purpose=purpose, progress=progress)

    def file(self, file_id: str) -> File:
        """One file's record."""
        return self.store.file(file_id)

    def files(self) -> Iterator[File]:
        """Every file, newest first."""
        return iter(self.store.files())

    def content(self, file_id: str) -> bytes:
        """A file's bytes."""
        self.store.file(file_id)
        try:
            return self.store.file_path(file_id).read_bytes()
        except OSError as error:
            raise StoreError(f"{file_id} cannot be read: {error.strerror}") from None

    def download(self, file_id: str, target: BinaryIO, *, progress: Progress | None = None) -> None:
        """Write a file's bytes to `target`, from its position on; see `Downloads`."""
        size = self.store.file(file_id).bytes
        try:
            with self.store.file_path(file_id).open("rb") as source:
                source.seek(target.tell())
                while block := source.read(1 << 20):
                    target.write(block)
                    if progress:
                        progress(target.tell(), size)
        except FileNotFoundError as error:
            raise StoreError(f"{file_id} cannot be read: {error.strerror}") from None

    def delete_file(self, file_id: str) -> None:
        """Delete a file that no unfinished job needs."""
        self.store.delete_file(file_id)

    # --- jobs --------------------------------------------------------------------------------

    def create(self, spec: JobSpec) -> Job:
        """Check the job's files and queue it.

        The job fails at once, with the wire's error codes, if its files do not pass.

        Raises:
            ModelError: the base model is unknown or could not be loaded safely.
            UnsupportedError: a method or hyperparameter that is not local.
            InvalidRequestError: a setting needs validation data, and there is none.
            ConfigError: the libraries for training are not installed.
        """
        _require_libraries()
        check_supported(spec, self.capabilities, self.name)
        _check_method(spec)
        _check_optimizer(spec)
        _check_validation(spec)
        require(spec.integrations)
        for file_id in filter(None, (spec.training_file, spec.validation_file)):
            self.store.file(file_id)
        if spec.model.startswith("ft:"):
            raise UnsupportedError("a fine-tuned model cannot be trained further yet")
        models.require(spec.model)
        _require_family(spec)
        integrations = located(spec.integrations, Path.cwd())
        update = {"model": _absolute(spec.model), "integrations": integrations}
        spec = spec.model_copy(update=update)
        news, error = self._check(spec)
        job = self.store.create_job(spec, news=news, error=error)
        if not job.ended:
            with contextlib.suppress(StoreError):  # the job stands: failing now would double it
                self._ensure_worker()
        return job

    def _check(self, spec: JobSpec) -> tuple[list[News], JobError | None]:
        """Validate both files; the events that say so, and the error if they do not pass."""
        news = []
        for param in ("training_file", "validation_file"):
            file_id = getattr(spec, param)
            if not file_id:
                continue
            kind = param.partition("_")[0]
            news.append(News(f"validating:{param}", f"Validating {kind} file: {file_id}"))
            report = data.check(self.store.file_path(file_id), target="local")
            name = self.store.file(file_id).filename
            if report.errors:
                first, count = report.errors[0], len(report.errors) + report.truncated
                more = f" (and {count - 1} more)" if count > 1 else ""
                message = f"{name}:{first.line or 1}: {first.message}{more}"
                return news, JobError(code=f"invalid_{param}", message=message, param=param)
            if report.manifest.method != spec.method:
                message = f"{name} holds {report.manifest.method} examples, not {spec.method} ones"
                return news, JobError(code=f"invalid_{param}", message=message, param=param)
            if param == "training_file" and report.examples < 10:
                message = f"{name} has {report.examples} examples; hosted services want at least 10"
                news.append(News("few", message, level="warn"))
        split = spec.hyperparameters.validation_split
        if split and not spec.validation_file and report.examples < 2:
            message = "a validation split needs at least two examples"
            return news, JobError(code="invalid_n_examples", message=message, param="training_file")
        news.append(News("validated", "Files validated, moving job to queued state"))
        return news, None

    def retrieve(self, job_id: str) -> Job:
        """A job's present state; a job whose worker has died gets another one."""
        job = self.store.job(job_id)
        if job.status in _UNFINISHED:
            self._look_after_worker()
        return job

    def _look_after_worker(self) -> None:
        now = time.monotonic()
        if now - self._looked_at > worker.HEARTBEAT:  # not at every poll
            self._looked_at = now
            self._ensure_worker()

    def _ensure_worker(self) -> None:
        worker.ensure(self.store, self.settings.cache, self.settings.processes)

    def cancel(self, job_id: str) -> Job:
        """End a job; its worker stops within a step."""
        idle = self.store.job(job_id).status in ("queued", "paused")
        job = self.store.cancel(job_id)
        if idle:  # else its worker removes what it would have gone on from
            checkpoints.prune_states(self.store.job_folder(job_id), keep=0)
        return job

    def pause(self, job_id: str) -> Job:
        """Ask for a pause, honoured after the present step; until then it is "pausing"."""
        job = self.store.pause(job_id)
        if job.status == "pausing":
            self._ensure_worker()
        return job

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again; it goes on after its last step."""
        job = self.store.resume(job_id)
        if job.status in _UNFINISHED:
            self._ensure_worker()
        return job

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        """Every job, newest first."""
        return iter(self.store.jobs(metadata))

    def events(self, job_id: str, *, after: str | None = None) -> Sequence[Event]:
        """Events oldest first, strictly after `after`."""
        return self.store.events(job_id, after)

    def rewind(self, job_id: str, *, start: str | None = None) -> Iterator[Event]:
        """Events newest first, from `start` on and with it."""
        return self.store.rewind(job_id, start)

    def checkpoints(self, job_id: str) -> Sequence[Checkpoint]:
        """Checkpoints still kept, oldest first: the newest three, and the best if it is wanted."""
        return self.store.checkpoints(job_id)

    def result_file(self, job: Job) -> bytes:
        """The metrics CSV of a job that succeeded."""
        files = self.store.job(job.id).result_files
        if not files:
            raise NotFoundError(f"job {job.id} has no result file; it is {job.status}")
        return self.content(files[0])

    # --- models ------------------------------------------------------------------------------

    def models(self) -> Iterator[Model]:
        """Base models (the default and those of the jobs), then tuned ones, newest job first."""
        for base in dict.fromkeys([models.DEFAULT_MODEL, *(job.model for job in self.jobs())]):
            yield Model(id=base, owned_by="base")
        for name, job in self.store.tuned_models():
            yield Model(id=name, created=job.finished_at or job.created_at, owned_by="local")

    def delete_model(self, model: str) -> None:
        """Delete a fine-tuned model with its checkpoints, or one checkpoint."""
        if models.is_name(model):
            raise InvalidRequestError(f"{model} is a base model, which ftjobs does not delete")
        self.store.delete_model(model)

    def pull(self, model: str, *, say: Callable[[str], None] = lambda _line: None) -> Model:
        """Download or convert a base model ahead of the first job.  `say` gets lines of progress.

        Raises:
            ModelError: no such model, or it cannot be had here.
        """
        models.prepare(model, self.settings.cache, say)
        return Model(id=model, owned_by="local")

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
        say: Callable[[str], None] = lambda _line: None,
    ) -> Exported:
        """Write a model for other programs; see `Client.export`."""
        _require_libraries()
        from ftjobs.backends.local.export.exporting import export

        return export(
            self.store,
            self.settings.cache,
            model,
            folder,
            form=form,
            dtype=dtype,
            outtype=outtype,
            llama_cpp=llama_cpp,
            force=force,
            say=say,
        )

    def stamp(self, model: str) -> str:
        """The sizes and times of a folder's files; "" for models that never change."""
        folder = None if model == models.DEFAULT_MODEL else models.as_folder(model)
        if folder is None:
            return ""
        files = sorted(folder.iterdir())
        return " ".join(f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files)

    # --- answers -----------------------------------------------------------------------------

    def complete(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = _DEFAULTS,
        tools: Tools = (),
    ) -> Completion:
        """The whole answer: the stream's pieces put together.

        `tools` are shown to the model by its chat template; a call that it writes stays text.

        Raises:
            InvalidRequestError: the template has no place for tools.  Else as `stream`.
        """
        return self._answering.complete(Request(model, tuple(messages), sampling, tuple(tools)))

    def complete_many(
        self, requests: Sequence[Request]
    ) -> Iterator[tuple[int, Completion | BackendError | ConfigError]]:
        """The number of each request with its answer, as the answers come.

        Requests of one base model are answered in batches, those of its fine-tuned models among
        them; one base model comes after another.
        """
        return self._answering.complete_many(requests)

    def stream(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = _DEFAULTS,
        tools: Tools = (),
    ) -> Iterator[Delta]:
        """The answer piece by piece; `tools` as in `complete`.

        Raises:
            NotFoundError: no such fine-tuned model or checkpoint.
            ModelError: no such base model.
            InvalidRequestError: the prompt cannot be rendered or is too long, the template has no
                place for tools, or no answer has the form that is asked for.
            ServiceError: the model stopped: there is no memory, for one.
        """
        return self._answering.stream(Request(model, tuple(messages), sampling, tuple(tools)))

    def likelihoods(
        self, model: str, conversations: Sequence[Sequence[ChatMessage]]
    ) -> Iterator[Likelihood | BackendError | ConfigError]:
        """For each conversation, in order, how the model foresees its last turn.

        The tokens that count are those of training: the answer and its stop token.

        Raises:
            NotFoundError: no such fine-tuned model or checkpoint.
            ModelError: no such base model, or a checkpoint that is damaged.
        """
        return self._answering.likelihoods(model, conversations)

    # --- health ------------------------------------------------------------------------------

    def foretell(
        self, spec: JobSpec, train: Statistics, valid: Statistics | None = None
    ) -> Fit | None:
        """The memory and time that a job would take here; see `base.Foretells`."""
        from ftjobs.backends.local.fit.forecast import foretell

        return foretell(self.settings, self.store, spec, train, valid)

    def doctor(self) -> list[tuple[str, bool | None, str]]:
        """What was looked at, whether it is well (None: nothing wrong, nothing there), and how."""
        missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
        info = self.store.worker()
        age = time.time() - info.heartbeat_at if info else -1.0
        alive = 0 <= age < 3 * worker.HEARTBEAT
        ready = not missing and models.is_ready(models.DEFAULT_MODEL, self.settings.cache)
        return [
            ("store", True, str(self.store.home)),
            (
                "libraries",
                not missing,
                f"missing: {', '.join(missing)}" if missing else "installed",
            ),
            ("device", None if missing else True, "" if missing else models.device_line()),
            *([] if missing else self._room()),
            (
                "worker",
                alive or None,
                f"process {info.pid} on {info.host}" if info and alive else "none is running",
            ),
            (
                "default model",
                ready or None,
                f"{models.DEFAULT_MODEL} is ready"
                if ready
                else f"not prepared yet: ftjobs models pull {models.DEFAULT_MODEL}",
            ),
        ]

    def _room(self) -> list[tuple[str, bool | None, str]]:
        """What the device has for jobs; measures it if it was not yet."""
        from ftjobs.backends.local.fit.size import survey

        return [(name, True, text) for name, text in survey(self.settings, self.store)]


def _check_method(spec: JobSpec) -> None:
    """Refuse what means nothing for pairs, rather than leave it without effect."""
    given = spec.hyperparameters.given()
    settings = [name for name in sorted(_SUPERVISED_ONLY & given.keys()) if given[name] != "loss"]
    if spec.method == "dpo" and settings:
        raise UnsupportedError(
            f"a dpo job has no {', '.join(settings)}", hint="It is for supervised jobs."
        )


def _check_optimizer(spec: JobSpec) -> None:
    wanted = spec.hyperparameters.optimizer == "adamw_8bit"
    if wanted and importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "optimizer adamw_8bit needs bitsandbytes", hint="pip install 'ftjobs[bitsandbytes]'"
        )


def _require_libraries() -> None:
    if missing := [name for name in _NEEDS if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"local models need {', '.join(missing)}", hint="pip install 'ftjobs[local]'"
        )


def _check_validation(spec: JobSpec) -> None:
    """Refuse what has to be validated without data for it, or measured without its library."""
    given = spec.hyperparameters.given()
    settings = [name for name in _VALIDATING if given.get(name) and given[name] != "loss"]
    if settings and not spec.validation_file and not given.get("validation_split"):
        raise InvalidRequestError(
            f"{', '.join(settings)}: there is no validation data",
            hint="Give a validation file, or hold some examples out: validation_split 0.1.",
        )
    if given.get("evaluation_metric") == "bleu" and importlib.util.find_spec("sacrebleu") is None:
        raise ConfigError(
            "evaluation_metric bleu needs sacrebleu", hint="pip install 'ftjobs[evals]'"
        )


def _absolute(model: str) -> str:
    """A folder's full path, since the worker runs elsewhere; any other name as it is."""
    folder = None if model == models.DEFAULT_MODEL else models.as_folder(model)
    return str(folder) if folder else model


def _require_family(spec: JobSpec) -> None:
    """Refuse a method that a folder's model cannot learn by; the worker looks at any other."""
    folder = None if spec.model == models.DEFAULT_MODEL else models.as_folder(spec.model)
    if folder and (reason := refusal(models.family(folder), spec.method, spec.model)):
        raise UnsupportedError(reason, hint="Choose a decoder as base model.")

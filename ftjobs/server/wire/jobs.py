"""`/v1/fine_tuning/jobs`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ftjobs.integrations import Integration, checked
from ftjobs.schema import Hyperparameters, Job, JobSpec
from ftjobs.server.desk import Reads, Trains
from ftjobs.server.project import Project, Verb
from ftjobs.server.refusals import Refusal
from ftjobs.server.wire.nouns import (
    Key,
    WireCheckpoint,
    WireEvent,
    WireJob,
    wire_checkpoint,
    wire_event,
    wire_job,
)
from ftjobs.server.wire.paging import After, Page, page

router = APIRouter(tags=["fine-tuning"], prefix="/fine_tuning/jobs")

Limit = Annotated[int, Query(ge=1, le=1000)]
_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_PLACES = {"tensorboard": "log_dir", "mlflow": "tracking_uri"}
"""Settings of integrations that name a place on the server, or one that it would call."""

Settings = Annotated[
    Hyperparameters, Field(description="The wire's, and those that this backend has beside them.")
]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MethodSettings(_Closed):
    """How a method is carried out."""

    hyperparameters: Settings | None = None


class Method(_Closed):
    """How to train."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: MethodSettings | None = None
    dpo: MethodSettings | None = None
    reinforcement: dict[str, Any] | None = Field(None, description="Not served.")


class CreateJob(_Closed):
    """What a job is to do."""

    model: Annotated[str, Field(min_length=1, max_length=4096)]
    training_file: Annotated[str, Field(min_length=1)]
    validation_file: str | None = None
    method: Method | None = None
    hyperparameters: Settings | None = Field(
        None,
        description="Use `method`, which has them too.",
        json_schema_extra={"deprecated": True},
    )
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: (
        Annotated[
            dict[
                Annotated[str, Field(max_length=64)],
                Annotated[str, Field(max_length=512)],
            ],
            Field(max_length=16),
        ]
        | None
    ) = None
    integrations: (
        Annotated[
            tuple[Integration, ...],
            BeforeValidator(lambda given: () if given is None else checked(given)),
        ]
        | None
    ) = None

    def spec(self) -> JobSpec:
        """The same as ftjobs has it.

        Raises:
            Refusal: 400, ftjobs does not have the method, two fields contradict each other, or one
                names a place on the server.
        """
        method = self.method or Method(type="supervised")
        if method.type == "reinforcement":
            raise Refusal(
                400,
                "reinforcement fine-tuning is not served: this server has supervised and dpo",
                param="method.type",
            )
        if self.suffix is not None and not self.suffix.isprintable():
            raise Refusal(400, "suffix: printable characters only", param="suffix")
        self._require_no_place()
        return JobSpec(
            model=self.model,
            training_file=self.training_file,
            validation_file=self.validation_file or None,
            method=method.type,
            hyperparameters=self._settings(method),
            suffix=self.suffix,
            seed=self.seed,
            metadata=self.metadata or {},
            integrations=self.integrations or (),
        )

    def _settings(self, method: Method) -> Hyperparameters:
        for other in {"supervised", "dpo", "reinforcement"} - {method.type}:
            if getattr(method, other) is not None:
                raise Refusal(
                    400,
                    f"method.{other}: the method is {method.type}",
                    param=f"method.{other}",
                )
        inner: MethodSettings | None = getattr(method, method.type)
        given = [each for each in (inner and inner.hyperparameters, self.hyperparameters) if each]
        if len(given) == 2 and given[0] != given[1]:
            raise Refusal(
                400,
                "hyperparameters: they are in method already, and other ones",
                param="hyperparameters",
            )
        return given[0] if given else Hyperparameters()

    def _require_no_place(self) -> None:
        for number, each in enumerate(self.integrations or ()):
            setting = _PLACES.get(each["type"])
            if setting and each[each["type"]].get(setting) is not None:
                place = f"integrations.{number}.{each['type']}.{setting}"
                raise Refusal(400, f"{place}: only the server can choose it", param=place)


@router.post("")
def create_job(body: CreateJob, project: Trains, idempotency_key: Key = None) -> WireJob:
    """Create a job, which is queued at once."""
    return wire_job(project.create(body.spec(), key=idempotency_key))


@router.get("")
def list_jobs(
    request: Request, project: Reads, limit: Limit = 20, after: After = None
) -> Page[WireJob]:
    """Jobs, newest first; with `metadata[key]=value`, those that have all of these pairs.

    `metadata=null` gives those that have none.
    """
    rows, more = page(_wanted(request, project), after=after, limit=limit)
    return Page(data=[wire_job(job) for job in rows], has_more=more, **_ends(rows))


def _wanted(request: Request, project: Project) -> Iterator[Job]:
    pairs: dict[str, str] = {}
    for name, text in request.query_params.multi_items():
        if match := _FILTER.fullmatch(name):
            pairs[match[1]] = text
    plain = request.query_params.get("metadata")
    if plain is None or (plain == "" and not pairs):
        return project.jobs(metadata=pairs or None)
    if plain != "null" or pairs:
        raise Refusal(400, "metadata: either metadata[key]=value, or metadata=null",
                      param="metadata")  # fmt: skip
    return (job for job in project.jobs() if not job.metadata)


@router.get("/{job_id}")
def retrieve_job(job_id: str, project: Reads) -> WireJob:
    """A job's present state."""
    return wire_job(project.retrieve(job_id))


@router.post("/{job_id}/cancel")
def cancel_job(job_id: str, project: Trains, idempotency_key: Key = None) -> WireJob:
    """End a job; one that is cancelled already stays so."""
    return _steered(project, "cancel", job_id, idempotency_key)


@router.post("/{job_id}/pause")
def pause_job(job_id: str, project: Trains, idempotency_key: Key = None) -> WireJob:
    """Stop a job so that it can go on later."""
    return _steered(project, "pause", job_id, idempotency_key)


@router.post("/{job_id}/resume")
def resume_job(job_id: str, project: Trains, idempotency_key: Key = None) -> WireJob:
    """Let a paused job go on."""
    return _steered(project, "resume", job_id, idempotency_key)


def _steered(project: Project, verb: Verb, job_id: str, key: str | None) -> WireJob:
    answer = project.once(
        key, f"jobs.{verb}", job_id, lambda: project.steer(job_id, verb).model_dump(mode="json")
    )
    return wire_job(Job.model_validate(answer))


@router.get("/{job_id}/events")
def list_events(
    job_id: str, project: Reads, limit: Limit = 20, after: After = None
) -> Page[WireEvent]:
    """What has happened in a job, newest first; `after` goes on to what was before."""
    rows, more = page(project.rewind(job_id, start=after), after=after, limit=limit)
    return Page(data=[wire_event(event) for event in rows], has_more=more, **_ends(rows))


@router.get("/{job_id}/checkpoints")
def list_checkpoints(
    job_id: str, project: Reads, limit: Limit = 10, after: After = None
) -> Page[WireCheckpoint]:
    """The checkpoints that are kept, newest first."""
    rows, more = page(reversed(project.checkpoints(job_id)), after=after, limit=limit)
    return Page(data=[wire_checkpoint(each) for each in rows], has_more=more, **_ends(rows))


def _ends(rows: list[Any]) -> dict[str, str]:
    return {"first_id": rows[0].id, "last_id": rows[-1].id} if rows else {}

"""Loopback services that refuse what the real ones refuse.

The rules are written from the services' own descriptions, not from ftjobs' profiles: Nebius's
OpenAPI description of 2026-07-04 (github.com/nebius/tokenfactory-rl), LiteLLM 1.109's
`litellm/proxy/fine_tuning_endpoints`, third parties' accounts of Unsloth Studio, Portkey's and
Azure's documentation.  Each `*_refusal` returns why a body of `create` is refused, or "".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from openai.types.fine_tuning.job_create_params import JobCreateParams
from pydantic import BaseModel, ConfigDict, Field, StrictInt, TypeAdapter, ValidationError

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import AuthError, InvalidRequestError, NotFoundError
from ftjobs.schema import Job, JobSpec
from tests.service import KEY, Json, Request, Service, serving

Body = Mapping[str, Any]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NebiusSettings(_Strict):
    batch_size: Annotated[int, Field(ge=1, le=64)] = 8
    learning_rate: Annotated[float, Field(ge=0)] = 1e-5
    n_epochs: Annotated[int, Field(ge=1, le=20)] = 3
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0
    packing: bool = True
    max_grad_norm: Annotated[float, Field(gt=0)] = 1
    context_length: Annotated[int, Field(ge=8192, le=131072)] = 8192
    lora: bool = False
    lora_r: Annotated[int, Field(ge=8, le=128)] = 8
    lora_alpha: Annotated[StrictInt, Field(ge=8)] = 8
    lora_dropout: Annotated[float, Field(ge=0, le=1)] = 0


class NebiusCreate(_Strict):
    model: str
    training_file: str
    validation_file: str | None = None
    hyperparameters: NebiusSettings | None = None
    seed: int | None = None
    suffix: Annotated[str, Field(max_length=64)] | None = None
    tags: list[str] | None = None


class LiteLLMSettings(_Strict):
    batch_size: int | None = None
    learning_rate_multiplier: Number | None = None
    n_epochs: int | None = None


class LiteLLMCreate(_Strict):
    model: str
    training_file: str
    validation_file: str | None = None
    hyperparameters: LiteLLMSettings | None = None
    suffix: str | None = None
    seed: int | None = None
    custom_llm_provider: Literal["openai", "azure", "vertex_ai"]


def _refusal(kind: Any, body: Body) -> str:
    try:
        TypeAdapter(kind).validate_python(body)
    except ValidationError as error:
        return str(error.errors()[0])
    return ""


def nebius_refusal(body: Body) -> str:
    settings = body.get("hyperparameters") or {}
    if any(name.startswith("lora_") for name in settings) and not settings.get("lora"):
        return "lora_* without lora trains all weights: not what was asked for"
    return _refusal(NebiusCreate, body)


def litellm_refusal(body: Body) -> str:
    return _refusal(LiteLLMCreate, body)


def openai_refusal(body: Body) -> str:
    """By the SDK's own types, and nothing beyond them."""
    if unknown := body.keys() - JobCreateParams.__annotations__.keys():
        return f"unknown: {unknown}"
    return _refusal(JobCreateParams, body)


def azure_refusal(body: Body) -> str:
    return openai_refusal({k: v for k, v in body.items() if k != "trainingType"})


def unsloth_refusal(body: Body) -> str:
    if "metadata" in body:
        return "metadata is dropped"
    if body.get("method", {}).get("type") != "supervised":
        return "supervised only"
    return openai_refusal(body)


def ftjobs_refusal(body: Body) -> str:
    """The server reads a job's settings where the wire has them, and knows more of them."""
    plain = dict(body)
    method = plain.pop("method")
    try:
        JobSpec(**plain, method=method["type"], **method[method["type"]])
    except ValidationError as error:
        return str(error.errors()[0])
    return ""


REFUSALS: Mapping[str, Callable[[Body], str]] = {
    "openai": openai_refusal,
    "azure": azure_refusal,
    "portkey": openai_refusal,
    "nebius": nebius_refusal,
    "litellm": litellm_refusal,
    "unsloth": unsloth_refusal,
    "ftjobs": ftjobs_refusal,
}


class Quirky(Service):
    """A service that checks every body of `create` by its own rules.  `log` holds the bodies."""

    name = "openai"

    def __init__(self, backend: FakeBackend, folder: Path) -> None:
        super().__init__(backend, folder)
        self.bodies: dict[str, Json] = {}

    def post_jobs(self, request: Request) -> Any:
        body = request.json
        if why := REFUSALS[self.name](body):
            raise InvalidRequestError(why)
        method = body.get("method") or {"type": "supervised", "supervised": {}}
        settings = body.get("hyperparameters") or method[method["type"]].get("hyperparameters", {})
        known = {"model", "training_file", "validation_file", "suffix", "seed", "metadata"}
        job = self.backend.create(
            JobSpec(
                **{name: body[name] for name in known & body.keys()},
                method=method["type"],
                hyperparameters={k: v for k, v in settings.items() if k not in ("lora", "packing")},
            )
        )
        self.bodies[job.id] = body
        return self.wire_job(job)


class Nebius(Quirky):
    """Hyperparameters on top, no metadata, no tuned model's name; its list has no filter."""

    name = "nebius"

    def get_jobs(self, request: Request) -> Any:
        if any(name.startswith("metadata") for name in request.query):
            raise InvalidRequestError("unknown parameter metadata")
        return super().get_jobs(request)

    def wire_job(self, job: Job) -> Json:
        raw = super().wire_job(job)
        body = self.bodies.get(job.id, {})
        for name in ("metadata", "fine_tuned_model", "user_provided_suffix"):
            raw.pop(name)
        settings = NebiusSettings.model_validate(body.get("hyperparameters") or {})
        raw |= {"suffix": job.suffix, "method": None, "trained_steps": 4, "total_steps": 4}
        return raw | {"hyperparameters": settings.model_dump()}

    def post_verb(self, request: Request, job_id: str, verb: str) -> Any:
        if verb != "cancel":
            raise NotFoundError(f"no route {verb}")
        return super().post_verb(request, job_id, verb)


class LiteLLM(Quirky):
    """Wants to know the provider with every request; no events, no checkpoints."""

    name = "litellm"

    def arrived(self, request: Request) -> None:
        super().arrived(request)
        if request.query.get("custom_llm_provider") not in ("openai", "azure"):
            raise InvalidRequestError("custom_llm_provider: field required")

    def get_events(self, request: Request, job_id: str) -> Any:
        raise NotFoundError("no route events")

    get_checkpoints = get_events

    def wire_job(self, job: Job) -> Json:
        raw = super().wire_job(job)
        raw.pop("metadata")
        return raw | {"hyperparameters": dict(job.hyperparameters), "method": None}


class Unsloth(Quirky):
    """One job at a time; forgets metadata; no result files; files cannot be read or deleted."""

    name = "unsloth"

    def post_jobs(self, request: Request) -> Any:
        if any(not job.ended for job in self.backend.jobs()):
            raise InvalidRequestError("a job is running", code="job_in_progress")
        return super().post_jobs(request)

    def wire_job(self, job: Job) -> Json:
        return super().wire_job(job) | {"metadata": None, "result_files": []}

    def get_content(self, request: Request, file_id: str) -> Any:
        raise NotFoundError("no route content")

    def post_verb(self, request: Request, job_id: str, verb: str) -> Any:
        if verb != "cancel":
            raise InvalidRequestError(f"{verb} is not supported")
        return super().post_verb(request, job_id, verb)


class Azure(Quirky):
    """The key in `api-key`, and no bearer token."""

    name = "azure"
    headers: Mapping[str, str] = {"api-key": KEY}

    def arrived(self, request: Request) -> None:
        super().arrived(request)
        wrong = [name for name, text in self.headers.items() if request.headers.get(name) != text]
        if wrong or "authorization" in request.headers:
            raise AuthError(f"wrong headers: {wrong}", status=401)
        request.headers["authorization"] = f"Bearer {KEY}"  # type: ignore[index]


class Portkey(Azure):
    """Its own key header, the provider's slug, and no bearer token, which were the provider's."""

    name = "portkey"
    headers: Mapping[str, str] = {"x-portkey-api-key": KEY, "x-portkey-provider": "@openai-prod"}


SERVICES: Mapping[str, type[Quirky]] = {
    cls.name: cls for cls in (Quirky, Nebius, LiteLLM, Unsloth, Azure, Portkey)
}


@contextmanager
def quirky(name: str, backend: FakeBackend, folder: Path) -> Iterator[Quirky]:
    """The service called `name` on a free loopback port, until the end of the block."""
    with serving(SERVICES[name](backend, folder)) as service:
        yield service

"""A loopback Fireworks, as strict as its REST reference and the types of its SDK 1.2.30.

The control plane answers like a gateway of gRPC: names of resources, camel case, times of nine
digits, errors of `code` and `message`, lists that leave empty fields out and order by name.
Time stands still until `tick()`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from ftjobs.backends.fake import FakeBackend
from tests.native import Chat, Json, Loopback, Refused, Request, Storage, Strict, answered
from tests.native import serving as _serving

ACCOUNT = "otter"
HOME = f"/v1/accounts/{ACCOUNT}"
BASE = "accounts/fireworks/models/otter-8b"
STEPS = 3  # of an epoch
ID = re.compile(r"[a-z][a-z0-9-]{0,61}[a-z0-9]")
ENDED = {"JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}
GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8}
LIVES = (
    "JOB_STATE_CREATING",
    "JOB_STATE_VALIDATING",
    "JOB_STATE_PENDING",
    "JOB_STATE_RUNNING",
    "JOB_STATE_WRITING_RESULTS",
    "JOB_STATE_COMPLETED",
)

Count = Annotated[int, Field(ge=1)]


class Uploaded(Strict):
    displayName: str | None = None  # noqa: N815 - the service's name
    exampleCount: str  # noqa: N815
    userUploaded: dict[str, JsonValue]  # noqa: N815
    format: Literal["CHAT", "COMPLETION", "RL"] | None = None


class CreateDataset(Strict):
    datasetId: str  # noqa: N815
    dataset: Uploaded


class Endpoint(Strict):
    filenameToSize: dict[str, str]  # noqa: N815


class Nothing(Strict):
    pass


class Settings(Strict):
    baseModel: str | None = None  # noqa: N815
    warmStartFrom: str | None = None  # noqa: N815
    outputModel: str | None = None  # noqa: N815
    epochs: Count | None = None
    batchSize: Count | None = None  # noqa: N815
    batchSizeSamples: Count | None = None  # noqa: N815
    learningRate: float | None = None  # noqa: N815
    learningRateWarmupSteps: int | None = None  # noqa: N815
    loraRank: Count | None = None  # noqa: N815
    maxContextLength: Count | None = None  # noqa: N815
    gradientAccumulationSteps: Count | None = None  # noqa: N815
    optimizerWeightDecay: float | None = None  # noqa: N815
    jinjaTemplate: str | None = None  # noqa: N815
    region: str | None = None
    samplerCheckpointSaveIntervalSteps: int | None = None  # noqa: N815


class CreateSupervised(Settings):
    dataset: str
    displayName: str | None = None  # noqa: N815
    evaluationDataset: str | None = None  # noqa: N815
    earlyStop: bool | None = None  # noqa: N815
    evalAutoCarveout: bool | None = None  # noqa: N815
    isTurbo: bool | None = None  # noqa: N815
    wandbConfig: Json | None = None  # noqa: N815
    useReservation: bool | None = None  # noqa: N815


class DpoSettings(Strict):
    beta: Annotated[float, Field(gt=0, lt=0.5)] | None = None


class Loss(Strict):
    method: Literal["GRPO", "DAPO", "DPO", "ORPO", "GSPO_TOKEN"]
    klBeta: float | None = None  # noqa: N815
    dpo: DpoSettings | None = None


class CreateDpo(Strict):
    dataset: str
    displayName: str | None = None  # noqa: N815
    lossConfig: Loss | None = None  # noqa: N815
    trainingConfig: Settings | None = None  # noqa: N815
    wandbConfig: Json | None = None  # noqa: N815


@dataclass
class Run:
    """A job with all that grows while it runs.  `said` is what its creator sent."""

    name: str
    said: Json
    created: float
    state: str = LIVES[0]
    step: int = 0
    updated: float = 0.0
    completed: float | None = None
    status: Json = field(default_factory=dict)
    rows: list[Json] = field(default_factory=list)

    @property
    def settings(self) -> Json:
        return {**self.said, **self.said.get("trainingConfig", {})}

    @property
    def total(self) -> int:
        return STEPS * int(self.settings.get("epochs", 1))

    @property
    def output(self) -> str:
        own = self.settings.get("outputModel") or self.name.rpartition("/")[2]
        return f"accounts/{ACCOUNT}/models/{own}"


class FireworksService(Loopback):
    """The service and its state."""

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        super().__init__()
        self.storage = Storage()
        self.accounts = [ACCOUNT]
        self.datasets: dict[str, Json] = {}
        self.runs: dict[str, Run] = {}
        self.models: dict[str, Json] = {BASE: {"name": BASE, "tunable": True}}
        self.speaker = FakeBackend(answers=answers or {})
        self.encryption = ""
        self.now = 1_700_000_000.0
        self.fail_with = ""
        self.page = 2

    def refusal(self, error: Refused) -> Json:
        return {"code": GRPC.get(error.status, 2), "message": error.message, "details": []}

    def tick(self) -> None:
        """Let every job live one step."""
        with self.lock:
            for run in self.runs.values():
                if run.state not in ENDED:
                    self._live(run)

    def get_accounts(self, request: Request) -> Json:
        return {"accounts": [{"name": f"accounts/{name}"} for name in self.accounts]}

    # --- datasets -------------------------------------------------------------------------------

    def post_datasets(self, request: Request) -> Json:
        asked = request.read(CreateDataset)
        _check_id(asked.datasetId)
        name = f"accounts/{ACCOUNT}/datasets/{asked.datasetId}"
        if name in self.datasets:
            raise Refused(409, f"dataset {name} already exists")
        self.datasets[name] = asked.dataset.model_dump(exclude_none=True) | {
            "name": name,
            "state": "UPLOADING",
            "createTime": _text(self._time()),
            "encryptionState": self.encryption,
        }
        return self.datasets[name]

    def get_datasets(self, request: Request) -> Json:
        return self._page("datasets", list(self.datasets.values()), request)

    def get_dataset(self, request: Request, dataset_id: str) -> Json:
        return self._dataset(dataset_id)

    def delete_dataset(self, request: Request, dataset_id: str) -> Json:
        del self.datasets[self._dataset(dataset_id)["name"]]
        return {}

    def post_upload_endpoint(self, request: Request, dataset_id: str) -> Json:
        asked, dataset = request.read(Endpoint), self._dataset(dataset_id)
        if dataset["state"] != "UPLOADING":
            raise Refused(400, "the dataset has its files")
        dataset["files"] = asked.filenameToSize
        urls = {
            name: self.storage.place(
                f"{dataset_id}/{name}",
                **{
                    "content-type": "application/octet-stream",
                    "x-goog-content-length-range": f"{size},{size}",
                },
            )
            for name, size in asked.filenameToSize.items()
        }
        return {"filenameToSignedUrls": urls}

    def post_validate(self, request: Request, dataset_id: str) -> Json:
        request.read(Nothing)
        dataset = self._dataset(dataset_id)
        for name, size in dataset.get("files", {}).items():
            data = self.storage.objects.get(f"{dataset_id}/{name}", b"")
            if len(data) != int(size):
                raise Refused(400, f"{name} is not whole")
            if data.count(b"\n") + (data[-1:] != b"\n") != int(dataset["exampleCount"]):
                raise Refused(400, "exampleCount is another one")
        dataset["state"] = "READY"
        return {}

    def get_download_endpoint(self, request: Request, dataset_id: str) -> Json:
        files = self._dataset(dataset_id).get("files", {})
        for name in files:
            self.storage.needed.pop(f"{dataset_id}/{name}", None)
        return {
            "filenameToSignedUrls": {
                name: self.storage.place(f"{dataset_id}/{name}") for name in files
            }
        }

    def _dataset(self, dataset_id: str) -> Json:
        name = f"accounts/{ACCOUNT}/datasets/{dataset_id}"
        if name not in self.datasets:
            raise Refused(404, f"dataset {name} not found")
        return self.datasets[name]

    # --- jobs -----------------------------------------------------------------------------------

    def post_supervised(self, request: Request) -> Json:
        said = request.read(CreateSupervised).model_dump(exclude_none=True)
        return self._create("supervisedFineTuningJobs", "supervisedFineTuningJobId", said, request)

    def post_dpo(self, request: Request) -> Json:
        said = request.read(CreateDpo).model_dump(exclude_none=True)
        return self._create("dpoJobs", "dpoJobId", said, request)

    def _create(self, collection: str, id_field: str, said: Json, request: Request) -> Json:
        job_id = request.query.get(id_field, f"generated-{len(self.runs)}")
        _check_id(job_id)
        name = f"accounts/{ACCOUNT}/{collection}/{job_id}"
        if name in self.runs:
            raise Refused(409, f"job {name} already exists")
        for dataset in filter(None, (said["dataset"], said.get("evaluationDataset"))):
            if self.datasets.get(dataset, {}).get("state") != "READY":
                raise Refused(400, f"dataset {dataset} is not ready")
        run = Run(name, said, self._time())
        if run.settings.get("baseModel") not in self.models:
            raise Refused(400, f"no model {run.settings.get('baseModel')}")
        if own := run.settings.get("outputModel"):
            _check_id(own)
            if run.output in self.models:
                raise Refused(409, f"model {run.output} already exists")
        self.runs[name] = run
        return self._shown(run)

    def get_jobs(self, request: Request, collection: str) -> Json:
        runs = [run for name, run in self.runs.items() if f"/{collection}/" in name]
        return self._page(collection, [self._shown(run) for run in runs], request)

    def get_job(self, request: Request, collection: str, job_id: str) -> Json:
        return self._shown(self._run(collection, job_id))

    def post_cancel(self, request: Request, collection: str, job_id: str) -> Json:
        request.read(Nothing)
        run = self._run(collection, job_id)
        if run.state in ENDED:
            raise Refused(400, f"job {job_id} is {run.state}")
        self._move(run, "JOB_STATE_CANCELLING")
        return {}

    def get_metrics(self, request: Request, job_id: str) -> Json:
        run = self._run("dpoJobs", job_id)
        if run.state != "JOB_STATE_COMPLETED":
            raise Refused(400, "the metrics file is not ready")
        return {"signedUrl": self.storage.place(f"metrics/{job_id}")}

    def _run(self, collection: str, job_id: str) -> Run:
        name = f"accounts/{ACCOUNT}/{collection}/{job_id}"
        if name not in self.runs:
            raise Refused(404, f"job {name} not found")
        return self.runs[name]

    def _shown(self, run: Run) -> Json:
        times = {"createTime": run.created, "completedTime": run.completed}
        shown = {
            **run.said,
            **{name: _text(time) for name, time in times.items() if time is not None},
            "name": run.name,
            "state": run.state,
            "status": run.status or {"code": "OK"},
            "createdBy": "otter@example.com",
            "wandbConfig": {"apiKey": "secret-of-wandb"},
        }
        if "/dpoJobs/" in run.name:
            return shown
        done, within = divmod(run.step, STEPS)
        progress = {"percent": 100 * within // STEPS or 100 * bool(run.step), "epoch": done}
        if run.step and not within:
            progress["epoch"] = done - 1
        shown |= {
            "updateTime": _text(run.updated or run.created),
            "jobProgress": progress,
            "estimatedCost": {"currencyCode": "USD", "units": "1", "nanos": 250_000_000},
        }
        if run.state == "JOB_STATE_COMPLETED":
            job_id = run.name.rpartition("/")[2]
            shown["metricsFileSignedUrl"] = self.storage.place(f"metrics/{job_id}")
        return shown

    # --- models and answers ---------------------------------------------------------------------

    def get_models(self, request: Request, account: str) -> Json:
        own = [raw for name, raw in self.models.items() if name.startswith(f"accounts/{account}/")]
        return self._page("models", own, request)

    def delete_model(self, request: Request, model: str) -> Json:
        if self.models.pop(f"accounts/{ACCOUNT}/models/{model}", None) is None:
            raise Refused(404, f"model {model} not found")
        return {}

    def post_chat(self, request: Request) -> Any:
        chat = request.read(Chat)
        if chat.model not in self.models:
            raise Refused(404, f"Model not found, inaccessible, and/or not deployed: {chat.model}")
        return answered(self.speaker, chat)

    _JOBS = "(supervisedFineTuningJobs|dpoJobs)"
    routes = (
        ("GET", "/v1/accounts", get_accounts),
        ("POST", f"{HOME}/datasets", post_datasets),
        ("GET", f"{HOME}/datasets", get_datasets),
        ("GET", f"{HOME}/datasets/([^/:]+)", get_dataset),
        ("DELETE", f"{HOME}/datasets/([^/:]+)", delete_dataset),
        ("POST", f"{HOME}/datasets/([^/:]+):getUploadEndpoint", post_upload_endpoint),
        ("POST", f"{HOME}/datasets/([^/:]+):validateUpload", post_validate),
        ("GET", f"{HOME}/datasets/([^/:]+):getDownloadEndpoint", get_download_endpoint),
        ("POST", f"{HOME}/supervisedFineTuningJobs", post_supervised),
        ("POST", f"{HOME}/dpoJobs", post_dpo),
        ("GET", f"{HOME}/{_JOBS}", get_jobs),
        ("GET", f"{HOME}/dpoJobs/([^/:]+):getMetricsFileEndpoint", get_metrics),
        ("GET", f"{HOME}/{_JOBS}/([^/:]+)", get_job),
        ("POST", f"{HOME}/{_JOBS}/([^/:]+):cancel", post_cancel),
        ("GET", "/v1/accounts/([^/]+)/models", get_models),
        ("DELETE", f"{HOME}/models/([^/:]+)", delete_model),
        ("POST", "/inference/v1/chat/completions", post_chat),
    )

    # --- a job's life ---------------------------------------------------------------------------

    def _live(self, run: Run) -> None:
        if run.state == "JOB_STATE_CANCELLING":
            self._move(run, "JOB_STATE_CANCELLED")
        elif self.fail_with and run.state == "JOB_STATE_RUNNING":
            run.status = {"code": "INVALID_ARGUMENT", "message": self.fail_with}
            self._move(run, "JOB_STATE_FAILED")
        elif run.state == "JOB_STATE_RUNNING" and run.step < run.total:
            run.step += 1
            run.rows.append({"step": run.step, "train/loss": round(2 * 0.8**run.step, 4)})
            self._move(run, run.state)
        else:
            self._move(run, LIVES[LIVES.index(run.state) + 1])

    def _move(self, run: Run, state: str) -> None:
        run.state, run.updated = state, self._time()
        if state in ENDED:
            run.completed = run.updated
        if state == "JOB_STATE_COMPLETED":
            lines = "".join(json.dumps(row) + "\n" for row in run.rows)
            job_id = run.name.rpartition("/")[2]
            self.storage.objects[f"metrics/{job_id}"] = lines.encode()
            self.models[run.output] = {"name": run.output, "kind": "HF_PEFT_ADDON"}

    def _page(self, name: str, found: list[Json], request: Request) -> Json:
        """A page of at most `page` rows, whatever was asked for."""
        unknown = set(request.query) - {"pageSize", "pageToken", "orderBy", "filter", "readMask"}
        if unknown or int(request.query.get("pageSize", 50)) > 200:
            raise Refused(400, f"cannot list by {unknown or 'that pageSize'}")
        ordered = sorted(found, key=lambda raw: str(raw["name"]))
        if request.query.get("orderBy") == "create_time desc":
            ordered = sorted(found, key=lambda raw: str(raw["createTime"]), reverse=True)
        start = int(request.query.get("pageToken", "0"))
        end = start + self.page
        rows = {name: ordered[start:end]} if ordered[start:end] else {}
        return rows | ({"nextPageToken": str(end)} if end < len(ordered) else {})

    def _time(self) -> float:
        self.now += 1.25
        return self.now


def _check_id(resource_id: str) -> None:
    if not ID.fullmatch(resource_id):
        raise Refused(400, f"invalid id {resource_id!r}")


def _text(seconds: float) -> str:
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S.%f}000Z"


@contextmanager
def running(answers: Mapping[str, str] | None = None) -> Iterator[FireworksService]:
    """The service and its storage on free loopback ports."""
    service = FireworksService(dict(answers or {}))
    with _serving(service), _serving(service.storage):
        yield service

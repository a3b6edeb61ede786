"""A loopback Together, as strict as its REST reference and the types of its SDK 3.1.1.

Answers have the documented fields of their place: lists and answers to POST are "truncated",
and only they tell the suffix and the seed.  Time stands still until `tick()`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from ftjobs.backends.fake import FakeBackend
from tests.native import Answer, Chat, Json, Loopback, Refused, Request, Storage, Strict, answered
from tests.native import serving as _serving

BASE = "meta-llama/Otter-8B-Reference"
STEPS = 3  # of an epoch
TRUNCATED_ONLY = {"suffix", "packing", "random_seed", "max_seq_length"}
ENDED = {"cancelled", "error", "user_error", "completed"}
LIVES = ("pending", "queued", "running", "compressing", "uploading", "completed")


class Sft(Strict):
    method: Literal["sft"]
    train_on_inputs: bool | Literal["auto"]


class Dpo(Strict):
    method: Literal["dpo"]
    dpo_beta: float | None = None
    dpo_normalize_logratios_by_length: bool | None = None
    dpo_reference_free: bool | None = None
    rpo_alpha: float | None = None
    simpo_gamma: float | None = None


class Full(Strict):
    type: Literal["Full"]


class Lora(Strict):
    type: Literal["Lora"]
    lora_r: Annotated[int, Field(ge=1, le=64)]
    lora_alpha: int
    lora_dropout: float | None = None
    lora_trainable_modules: str | None = None


class Estimate(Strict):
    training_file: str
    model: str
    validation_file: str | None = None
    from_checkpoint: str | None = None
    n_epochs: int | None = None
    n_evals: int | None = None
    training_method: Annotated[Sft | Dpo, Field(discriminator="method")] | None = None
    training_type: Annotated[Full | Lora, Field(discriminator="type")] | None = None


class Create(Estimate):
    n_epochs: Annotated[int, Field(ge=1, le=20)] = 1
    n_checkpoints: Annotated[int, Field(ge=1)] = 1
    n_evals: Annotated[int, Field(ge=0, le=100)] = 0
    packing: bool = True
    max_seq_length: int | None = None
    batch_size: int | Literal["max"] = "max"
    gradient_accumulation_steps: int | None = None
    learning_rate: float = 0.00001
    lr_scheduler: Json | None = None
    warmup_ratio: float = 0.0
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    random_seed: int | None = None
    suffix: Annotated[str, Field(max_length=40)] | None = None
    wandb_api_key: str | None = None
    wandb_base_url: str | None = None
    wandb_project_name: str | None = None
    wandb_name: str | None = None
    wandb_entity: str | None = None
    from_hf_model: str | None = None
    hf_model_revision: str | None = None
    hf_api_token: str | None = None
    hf_output_repo_name: str | None = None


class Form(Strict):
    purpose: Literal["fine-tune", "calibration", "eval", "batch-api"]
    file_name: str
    file_type: Literal["jsonl", "csv", "parquet"]
    checksum: str


@dataclass
class Run:
    """A job with all that grows while it runs."""

    id: str
    asked: Create
    created: float
    status: str = "pending"
    step: int = 0
    updated: float = 0.0
    events: list[Json] = field(default_factory=list)
    metrics: list[Json] = field(default_factory=list)
    checkpoints: list[Json] = field(default_factory=list)

    @property
    def total(self) -> int:
        return STEPS * self.asked.n_epochs

    @property
    def output(self) -> str:
        parts = [self.asked.model.rpartition("/")[2], self.asked.suffix, self.id[3:11]]
        return f"otter/{'-'.join(part for part in parts if part)}"


class TogetherService(Loopback):
    """The service and its state."""

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        super().__init__()
        self.storage = Storage()
        self.files: dict[str, Json] = {}
        self.announced: dict[str, Json] = {}
        self.runs: dict[str, Run] = {}
        self.speaker = FakeBackend(answers=answers or {})
        self.file_status = "COMPLETED"
        self.now = 1_700_000_000.0
        self.fail_with = ""

    def refusal(self, error: Refused) -> Json:
        if error.status == 409:
            return {"file_id": error.message}
        kind = "invalid_request_error"
        return {
            "error": {"message": error.message, "type": kind, "param": None, "code": error.code}
        }

    def tick(self) -> None:
        """Let every job live one step."""
        with self.lock:
            for run in self.runs.values():
                if run.status not in ENDED:
                    self._live(run)

    # --- files ----------------------------------------------------------------------------------

    def post_files(self, request: Request) -> Answer:
        form = Form.model_validate(request.form())
        if not form.file_name.endswith(f".{form.file_type}"):
            raise Refused(400, "file_type does not match")
        for file_id, record in self.files.items():
            if record["checksum"] == form.checksum:
                raise Refused(409, file_id)
        file_id = f"file-{len(self.files) + len(self.announced) + 1:08d}"
        self.announced[file_id] = form.model_dump()
        place = self.storage.place(file_id)
        return Answer(b"", 302, {"Location": place, "X-Together-File-Id": file_id})

    def post_preprocess(self, request: Request, file_id: str) -> Json:
        form, data = self.announced.get(file_id), self.storage.objects.get(file_id)
        if form is None or data is None:
            raise Refused(404, f"no file {file_id}")
        if hashlib.sha256(data).hexdigest() != form["checksum"]:
            raise Refused(400, "the checksum is another one")
        del self.announced[file_id]
        self.files[file_id] = {
            "id": file_id,
            "object": "file",
            "bytes": len(data),
            "created_at": int(self._time()),
            "filename": form["file_name"],
            "purpose": form["purpose"],
            "FileType": form["file_type"],
            "checksum": form["checksum"],
        }
        return self._file(file_id)

    def get_files(self, request: Request) -> Json:
        return {"data": [self._file(file_id) for file_id in self.files]}

    def get_file(self, request: Request, file_id: str) -> Json:
        return self._file(file_id)

    def get_content(self, request: Request, file_id: str) -> bytes:
        self._file(file_id)
        return self.storage.objects[file_id]

    def delete_file(self, request: Request, file_id: str) -> Json:
        self._file(file_id)
        del self.files[file_id]
        return {"id": file_id, "deleted": True}

    def _file(self, file_id: str) -> Json:
        if file_id not in self.files:
            raise Refused(404, f"no file {file_id}")
        shown = {k: v for k, v in self.files[file_id].items() if k != "checksum"}
        return shown | {"processing_status": self.file_status}

    # --- jobs -----------------------------------------------------------------------------------

    def post_jobs(self, request: Request) -> Json:
        asked = request.read(Create)
        for file_id in filter(None, (asked.training_file, asked.validation_file)):
            if file_id not in self.files:
                raise Refused(400, f"no file {file_id}", "invalid_file")
        if asked.model != BASE:
            raise Refused(400, f"no model {asked.model}", "invalid_model")
        if asked.n_checkpoints > asked.n_epochs:
            raise Refused(400, "n_checkpoints is at most n_epochs")
        digest = hashlib.sha256(str(len(self.runs)).encode()).hexdigest()
        run = Run(f"ft-{digest[:8]}-{digest[8:12]}", asked, self._time())
        self.runs[run.id] = run
        self._say(run, "job_pending", "Fine tune request created")
        return self._truncated(run)

    def post_price(self, request: Request) -> Json:
        asked = request.read(Estimate)
        if self.file_status != "COMPLETED":
            reason = "train_file_not_validated"
            return {"estimation_available": False, "unavailable_reason": reason}
        tokens = len(self.storage.objects[asked.training_file]) * (asked.n_epochs or 1)
        return {
            "estimation_available": True,
            "allowed_to_proceed": True,
            "estimated_total_price": 0.25,
            "estimated_train_token_count": tokens,
            "user_limit": 100.0,
        }

    def get_limits(self, request: Request) -> Json:
        if request.query.get("model_name") != BASE:
            raise Refused(404, "the model is not available for fine-tuning")
        lora = {"default_rank": 8, "max_rank": 64, "min_batch_size": 1, "max_batch_size": 96}
        return {"model_name": BASE, "lora_training": lora} | {
            "max_num_checkpoints": 20,
            "max_num_evals": 100,
            "max_num_epochs": 20,
        }

    def get_supported(self, request: Request) -> Json:
        return {"models": [BASE]}

    def get_jobs(self, request: Request) -> Json:
        return {"data": [self._truncated(run) for run in self.runs.values()]}

    def get_job(self, request: Request, job_id: str) -> Json:
        run = self._run(job_id)
        whole = self._truncated(run) | {"events": run.events, "job_id": run.id}
        return {name: value for name, value in whole.items() if name not in TRUNCATED_ONLY}

    def post_cancel(self, request: Request, job_id: str) -> Json:
        run = self._run(job_id)
        if run.status in ENDED:
            raise Refused(400, f"job {job_id} is {run.status}", "invalid_status")
        run.status = "cancel_requested"
        self._say(run, "cancel_requested", "Job cancel requested")
        return self._truncated(run)

    def get_events(self, request: Request, job_id: str) -> Json:
        return {"data": self._run(job_id).events}

    def get_metrics(self, request: Request, job_id: str) -> Json:
        return {"metrics": self._run(job_id).metrics}

    def get_checkpoints(self, request: Request, job_id: str) -> Json:
        return {"data": self._run(job_id).checkpoints}

    # --- models and answers ---------------------------------------------------------------------

    def get_models(self, request: Request) -> list[Json]:
        return [
            {"id": BASE, "object": "model", "created": 1, "type": "chat", "organization": "Otter"}
        ]

    def post_chat(self, request: Request) -> Any:
        chat = request.read(Chat)
        known = {BASE}
        for run in self.runs.values():
            if run.status == "completed":
                known |= {run.output, *(each["object_name"] for each in run.checkpoints)}
        if chat.model not in known:
            raise Refused(404, f"Unable to access model {chat.model}", "model_not_available")
        return answered(self.speaker, chat)

    routes = (
        ("POST", "/v1/files", post_files),
        ("GET", "/v1/files", get_files),
        ("GET", "/v1/files/([^/]+)", get_file),
        ("DELETE", "/v1/files/([^/]+)", delete_file),
        ("GET", "/v1/files/([^/]+)/content", get_content),
        ("POST", "/v1/files/([^/]+)/preprocess", post_preprocess),
        ("POST", "/v1/fine-tunes", post_jobs),
        ("GET", "/v1/fine-tunes", get_jobs),
        ("POST", "/v1/fine-tunes/estimate-price", post_price),
        ("GET", "/v1/fine-tunes/models/limits", get_limits),
        ("GET", "/v1/fine-tunes/models/supported", get_supported),
        ("GET", "/v1/fine-tunes/([^/]+)", get_job),
        ("POST", "/v1/fine-tunes/([^/]+)/cancel", post_cancel),
        ("GET", "/v1/fine-tunes/([^/]+)/events", get_events),
        ("GET", "/v1/fine-tunes/([^/]+)/metrics", get_metrics),
        ("GET", "/v1/fine-tunes/([^/]+)/checkpoints", get_checkpoints),
        ("GET", "/v1/models", get_models),
        ("POST", "/v1/chat/completions", post_chat),
    )

    # --- a job's life ---------------------------------------------------------------------------

    def _live(self, run: Run) -> None:
        if run.status == "cancel_requested":
            run.status = "cancelled"
            self._say(run, "job_stopped", "Job cancelled")
        elif self.fail_with and run.status == "running":
            run.status = "user_error"
            self._say(run, "job_error", self.fail_with, level="error")
        elif run.status == "running" and run.step < run.total:
            self._step(run)
        else:
            run.status = LIVES[LIVES.index(run.status) + 1]
            self._say(run, *{
                "queued": ("job_start", "Job started"),
                "running": ("training_start", f"Training started for model {run.asked.model}"),
                "compressing": ("training_complete", "Training completed"),
                "uploading": ("model_uploading", "Uploading output model"),
                "completed": ("job_complete", "Job finished"),
            }[run.status], total_steps=run.total)  # fmt: skip

    def _step(self, run: Run) -> None:
        run.step += 1
        loss = round(2 * 0.8**run.step, 4)
        run.metrics.append({"train/loss": loss, "train/global_step": run.step})
        epoch, within = divmod(run.step, STEPS)
        if within:
            return
        if run.asked.n_evals >= epoch:
            run.metrics[-1]["eval/loss"] = loss
        self._say(run, "epoch_complete", f"Epoch completed, at step {run.step}", step=run.step)
        if epoch > run.asked.n_epochs - run.asked.n_checkpoints:
            self._checkpoint(run)

    def _checkpoint(self, run: Run) -> None:
        path = f"/checkpoints/{run.id}/{run.step}"
        self._say(
            run, "checkpoint_save", f"Saved at {run.step}", step=run.step, checkpoint_path=path
        )
        run.checkpoints.append(
            {
                "checkpoint_type": "Intermediate (adapter)",
                "created_at": _text(self._time()),
                "path": path,
                "step": run.step,
                "checkpoint": "adapter",
                "object_name": f"{run.output}-adapter-{run.step}",
            }
        )

    def _say(self, run: Run, kind: str, message: str, **more: Any) -> None:
        run.updated = self._time()
        event = {"object": "fine-tune-event", "created_at": _text(run.updated), "level": "info"}
        run.events.append(event | {"type": kind, "message": message} | more)

    def _run(self, job_id: str) -> Run:
        if job_id not in self.runs:
            raise Refused(404, f"no job {job_id}", "not_found")
        return self.runs[job_id]

    def _truncated(self, run: Run) -> Json:
        asked = run.asked.model_dump(exclude_none=True)
        own = {"wandb_api_key", "hf_api_token", "gradient_accumulation_steps"}
        return {name: value for name, value in asked.items() if name not in own} | {
            "id": run.id,
            "status": run.status,
            "created_at": _text(run.created),
            "updated_at": _text(run.updated),
            "user_id": "user-1",
            "model_output_name": run.output,
            "token_count": 850 * run.asked.n_epochs,
            "total_price": 1500,
            "training_type": asked.get(
                "training_type", {"type": "Lora", "lora_r": 8, "lora_alpha": 16}
            ),
            "events": [],
        }

    def _time(self) -> float:
        self.now += 1.25
        return self.now


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@contextmanager
def running(answers: dict[str, str] | None = None) -> Iterator[TogetherService]:
    """The service and its storage on free loopback ports."""
    service = TogetherService(answers)
    with _serving(service), _serving(service.storage):
        yield service

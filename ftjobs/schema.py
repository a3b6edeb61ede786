"""The nouns of ftjobs: frozen pydantic models with the wire's field names.  No I/O.

Field names, units and words follow the OpenAI fine-tuning wire (`/v1/files`,
`/v1/fine_tuning/jobs`, `/v1/chat/completions`), so that one object describes a hosted job and a
local one.  A service's words are an open set: statuses, event types and error codes are plain
strings, and fields that are not listed here pass through as extra attributes.

Times are Unix seconds.  Losses are mean cross-entropy per supervised token, in nats; token
accuracies are fractions from 0 to 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from ftjobs.integrations import Integration, checked

__all__ = [
    "Capabilities",
    "ChatMessage",
    "Checkpoint",
    "Choice",
    "Completion",
    "Delta",
    "Event",
    "Example",
    "File",
    "Hyperparameters",
    "Issue",
    "Job",
    "JobError",
    "JobSpec",
    "Metrics",
    "Model",
    "Preference",
    "PreferenceInput",
    "Sampling",
    "Usage",
]

ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
"""The statuses after which a job never changes.  Any other word, known or not, is not an end."""

IDENTITY = "ftjobs_identity"
"""The metadata key under which a job carries the identity of its content (`ftjobs.jobs.identity`).
Adapters of services without metadata keep it where they can, and give it back here."""

Auto = Literal["auto"]


class _Noun(BaseModel):
    """Frozen, picklable, and open to fields the wire grows later."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class _Closed(BaseModel):
    """Frozen, for what a user writes: an unknown field is a typing mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what a user asks for ---------------------------------------------------------------------


class Hyperparameters(_Closed):
    """The settings of a job.  None or "auto" leaves the choice to the backend.

    The first four are the wire's; the others are understood by backends whose
    `Capabilities.hyperparameters` lists them, under the names other open services use.
    """

    n_epochs: Annotated[int, Field(ge=1, le=50)] | Auto | None = Field(
        None, description="Passes over the training file, 1 to 50."
    )
    batch_size: Annotated[int, Field(ge=1, le=256)] | Auto | None = Field(
        None, description="Examples per optimiser step, 1 to 256."
    )
    learning_rate_multiplier: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Auto | None = (
        Field(None, description="Factor on the backend's own learning rate, above 0.")
    )
    beta: Annotated[float, Field(gt=0, le=2)] | Auto | None = Field(
        None, description="DPO only: weight of the penalty towards the reference, above 0 to 2."
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Absolute peak learning rate, instead of the backend's own."
    )
    lora_r: Annotated[int, Field(ge=1, le=512)] | None = Field(
        None, description="Rank of the LoRA adapter."
    )
    lora_alpha: Annotated[float, Field(gt=0, le=4096)] | None = Field(
        None, description="LoRA alpha; the update is scaled by alpha / r."
    )
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Dropout on the adapter's input, 0 to below 1."
    )
    context_length: Annotated[int, Field(ge=8)] | None = Field(
        None, description="Longest example in tokens; a longer one is an error, never cut."
    )
    validation_split: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Fraction of the training file held out when no validation file is given."
    )

    train_on_inputs: bool | None = Field(
        None,
        description="Learn the prompts too; answers of weight 0 stay out. Default: answers only.",
    )
    max_prompt_length: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Longest text before a trained answer, in tokens; a longer one is an error.",
    )
    max_completion_length: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Longest trained answer in tokens, with stop token; a longer one is an error.",
    )
    token_mask_probability: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="Share of inputs hidden at random while learning, 0 to below 1; labels stay.",
    )
    chat_template: Annotated[str, Field(min_length=1, max_length=100_000)] | None = Field(
        None, description="Jinja template, for a base model that has none or another than its own."
    )
    dtype: Literal["float32", "bfloat16", "float16", "int8", "int4"] | Auto | None = Field(
        None,
        description="Type of the frozen weights; int8 and int4 need bitsandbytes. Default auto.",
    )
    gradient_checkpointing: bool | None = Field(
        None, description="Compute activations twice instead of keeping them: slower, less memory."
    )
    torch_compile: bool | None = Field(
        None, description="Compile the model first: minutes, then faster steps."
    )
    optimizer: Literal["adamw", "adamw_8bit", "adam", "adadelta", "rmsprop", "sgd"] | None = Field(
        None, description="Default adamw. sgd, rmsprop and adadelta need a learning_rate."
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant"] | None = Field(
        None, description="How the learning rate falls after its rise. Default linear."
    )
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="Share of the steps in which the rate rises. Default 5 %, 10 steps at most.",
    )
    weight_decay: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Decay of the adapter's weights. Default 0."
    )
    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Gradients are clipped at this norm. Default 1."
    )
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Batches per optimiser step, as one batch that is so much larger. Default 1.",
    )
    drop_last_batch: bool | None = Field(
        None,
        description="Leave out an epoch's last step where it has fewer examples. Default false.",
    )
    lora_target_modules: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        None, description="Layers to adapt, by the end of their names. Default: every linear layer."
    )
    use_rslora: bool | None = Field(
        None, description="Scale by alpha / sqrt(r) instead of alpha / r. Default false."
    )
    use_dora: bool | None = Field(
        None,
        description="Learn the weights' magnitudes apart from their directions. Default false.",
    )
    evaluation_epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Epochs from one full validation to the next. Default 1."
    )
    evaluate_before_training: bool | None = Field(
        None, description="Validate the base model before the first step. Default false."
    )
    evaluation_metric: Literal["loss", "perplexity", "bleu"] | None = Field(
        None, description="What decides the best checkpoint; bleu writes answers. Default loss."
    )
    save_best_checkpoint: bool | None = Field(
        None, description="The tuned model is the checkpoint that validated best, not the last."
    )
    early_stopping_patience: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Stop after this many full validations without improvement."
    )

    @field_validator("lora_target_modules", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        # A list in TOML and JSON; "q_proj,v_proj" on a command line and in other tools.
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str) for t in texts):
            return value
        return tuple(name.strip() for text in texts for name in text.split(","))

    def given(self) -> dict[str, Any]:
        """The settings that were really chosen: neither None nor "auto"."""
        return {k: v for k, v in self.model_dump().items() if v is not None and v != "auto"}


class JobSpec(_Closed):
    """Everything that decides what a job does.  `training_file` and `validation_file` are ids."""

    model: Annotated[str, Field(min_length=1)]
    training_file: Annotated[str, Field(min_length=1)]
    validation_file: str | None = None
    method: Literal["supervised", "dpo", "reinforcement"] = "supervised"
    hyperparameters: Hyperparameters = Hyperparameters()
    suffix: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: Annotated[Mapping[str, str], Field(max_length=16)] = Field(default_factory=dict)
    integrations: Annotated[tuple[Integration, ...], BeforeValidator(checked)] = ()

    @field_validator("metadata")
    @classmethod
    def _wire_limits(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for key, text in value.items():
            if any("\ud800" <= char <= "\udfff" for char in key + text):
                raise ValueError("metadata is text that UTF-8 can hold")
            if len(key) > 64 or len(text) > 512:
                raise ValueError(
                    f"metadata {key[:64]!r}: keys have at most 64 characters, values at most 512"
                )
        return value


class Sampling(_Closed):
    """How an answer is drawn.  None leaves a parameter to the backend (the wire's defaults).

    `seed` makes local answers reproducible; hosted services treat it as best effort.  `top_k` and
    those below it but `n` are no part of OpenAI's wire: `Capabilities.sampling` says who knows
    them.  Beam search is deterministic, so it goes with no temperature above 0; nor does it go
    with `logprobs` and `response_format`.

    `response_format` is the wire's: `{"type": "json_object"}`, or `{"type": "json_schema",
    "json_schema": {"name": …, "schema": …}}`.
    """

    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        None, description="0 takes the likeliest token every time; up to 2. Default 1."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Draw from the smallest set of tokens with this probability. Default 1."
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Longest answer in tokens."
    )
    stop: tuple[str, ...] = Field((), max_length=4, description="End the answer before this text.")
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        None, description="Seed of the draw."
    )
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        None, description="Lowers tokens by how often the answer has used them, -2 to 2."
    )
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = Field(
        None, description="Lowers tokens that the answer has used at all, -2 to 2."
    )
    logprobs: bool | None = Field(
        None, description="Say how likely each token of the answer was to the model."
    )
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="With logprobs: say it of so many of the likeliest tokens too, 0 to 20."
    )
    response_format: Mapping[str, Any] | None = Field(
        None, description="Answer in JSON, of a JSON Schema if it has one."
    )
    top_k: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Draw from this many of the likeliest tokens; 0 for all. Default 0."
    )
    repetition_penalty: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Above 1, lowers tokens that the prompt or the answer has. Default 1."
    )
    min_tokens: Annotated[int, Field(ge=0)] | None = Field(
        None, description="No stop token before the answer has so many tokens. Default 0."
    )
    n: Annotated[int, Field(ge=1, le=128)] = Field(1, description="Answers per prompt.")
    num_beams: Annotated[int, Field(ge=1, le=64)] | None = Field(
        None, description="Search with so many beams instead of drawing. Default 1: no search."
    )

    @property
    def beams(self) -> int:
        """How many beams are searched with; 1 where answers are drawn."""
        return self.num_beams or 1

    @field_validator("min_tokens")
    @classmethod
    def _within_the_longest(cls, value: int | None, info: ValidationInfo) -> int | None:
        longest = info.data.get("max_tokens")
        if value is not None and longest is not None and value > longest:
            raise ValueError(f"an answer has at most max_tokens = {longest} tokens")
        return value

    @field_validator("num_beams")
    @classmethod
    def _searched_not_drawn(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None or value == 1:
            return value
        if info.data.get("temperature"):
            raise ValueError("beams are searched, not drawn: temperature must be 0 or left out")
        if info.data.get("n", 1) > value:
            raise ValueError(f"{value} beams give at most {value} answers: n is too many")
        for name in ("logprobs", "response_format"):
            if info.data.get(name):
                raise ValueError(f"beams do not go with {name}")
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _beside_the_token(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and not info.data.get("logprobs"):
            raise ValueError("it needs logprobs: true")
        return value

    @field_validator("response_format")
    @classmethod
    def _of_the_wire(cls, value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if value is None or value == {"type": "text"}:  # as if it were not there
            return None
        kind, own = value.get("type"), value.get("json_schema")
        if kind == "json_object" and len(value) == 1:
            return value
        if kind != "json_schema" or not isinstance(own, Mapping) or len(value) > 2:
            raise ValueError(
                'must be {"type": "json_object"}, or {"type": "json_schema", "json_schema": …}'
            )
        name, schema = own.get("name"), own.get("schema")
        if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)):
            raise ValueError("json_schema.name must be 1 to 64 letters, digits, - and _")
        if isinstance(schema, Mapping):
            return value
        raise ValueError("json_schema.schema must be a JSON Schema, as an object")

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("a stop text cannot be empty")
        return value


FOR_PROGRAMS = frozenset({"logprobs", "top_logprobs", "response_format"})
"""The fields of `Sampling` that are for programs: command lines and comparisons have them not."""


# --- what a backend answers -------------------------------------------------------------------


def _within_64_bits(value: object) -> object:
    # A clock that is wrong may say anything; neither a float nor a database holds any integer.
    return min(max(value, -(2**63)), 2**63 - 1) if isinstance(value, int) else value


_Time = Annotated[int, BeforeValidator(_within_64_bits)]
"""Unix seconds."""


class File(_Noun):
    """An uploaded file.  `bytes` is its size; `sha256` is known for local files."""

    id: str
    object: str = "file"
    bytes: int
    created_at: _Time
    filename: str
    purpose: str
    status: str = "processed"
    status_details: str | None = None
    expires_at: _Time | None = None
    sha256: str | None = None


class JobError(_Noun):
    """Why a job failed.  `code` is the service's own word."""

    code: str | None = None
    message: str | None = None
    param: str | None = None


def _real_error(value: object) -> object:
    # Services send `{}` or all-null errors on healthy jobs; only a code or a message is an error.
    if isinstance(value, Mapping) and not (value.get("code") or value.get("message")):
        return None
    return value


def _tables(value: object) -> object:
    # A service may answer null, or a list of its own making.
    tables = value if isinstance(value, list | tuple) else ()
    return tuple(table for table in tables if isinstance(table, Mapping))


class Job(_Noun):
    """A fine-tuning job.

    `status` is an open word; `ended` says whether it is final.  `hyperparameters` are those in
    force, with "auto" where the service has not decided yet.  `trained_tokens` counts every
    token of the training file once per epoch.
    """

    id: str
    object: str = "fine_tuning.job"
    created_at: _Time
    status: str
    model: str
    training_file: str
    validation_file: str | None = None
    fine_tuned_model: str | None = None
    finished_at: _Time | None = None
    estimated_finish: _Time | None = None
    error: Annotated[JobError | None, BeforeValidator(_real_error)] = None
    hyperparameters: Mapping[str, Any] = Field(default_factory=dict)
    method: Mapping[str, Any] | None = None
    metadata: Mapping[str, str] = Field(default_factory=dict)
    organization_id: str = ""
    result_files: tuple[str, ...] = ()
    seed: int | None = None
    suffix: str | None = None
    trained_tokens: int | None = None
    integrations: Annotated[tuple[Integration, ...], BeforeValidator(_tables)] = ()

    @field_validator("hyperparameters", "metadata", "result_files", mode="before")
    @classmethod
    def _null_is_empty(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return () if info.field_name == "result_files" else {}
        return value

    @property
    def ended(self) -> bool:
        """True once the job can no longer change."""
        return self.status in ENDED


def _real(value: Any) -> float | None:
    # Services write "N/A" and "" where they measured nothing.
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _count(value: Any) -> int | None:
    number = _real(value)
    return int(number) if number is not None and abs(number) < 2**63 else None


_Real = Annotated[float | None, BeforeValidator(_real)]
_Count = Annotated[int | None, BeforeValidator(_count)]


class Metrics(_Noun):
    """The numbers of one step.  A field is None where it was not measured."""

    step: _Count = None
    total_steps: _Count = None
    train_loss: _Real = None
    train_mean_token_accuracy: _Real = None
    valid_loss: _Real = None
    valid_mean_token_accuracy: _Real = None
    full_valid_loss: _Real = None
    full_valid_mean_token_accuracy: _Real = None


class Event(_Noun):
    """Something that happened in a job.  `type` is "message", "metrics", or any later word."""

    id: str
    object: str = "fine_tuning.job.event"
    created_at: _Time
    level: str = "info"
    message: str
    type: str | None = "message"
    data: Mapping[str, Any] = Field(default_factory=dict)

    @field_validator("data", mode="before")
    @classmethod
    def _only_mappings(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping) else {}

    @property
    def metrics(self) -> Metrics | None:
        """The step's numbers if this is a metrics event, else None."""
        return Metrics.model_validate(self.data) if self.type == "metrics" else None


class Checkpoint(_Noun):
    """A model saved during the job; `fine_tuned_model_checkpoint` can be asked like any model."""

    id: str
    object: str = "fine_tuning.job.checkpoint"
    created_at: _Time
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: Metrics = Metrics()


class Model(_Noun):
    """A model that can be trained or asked.  `shutdown_date` is YYYY-MM-DD where known."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = ""
    shutdown_date: str | None = None


class Capabilities(_Closed):
    """What a backend can do.  Code asks here instead of asking which backend it has."""

    methods: frozenset[str] = Field(
        frozenset({"supervised"}), description="Of supervised, dpo, reinforcement."
    )
    hyperparameters: frozenset[str] = Field(
        frozenset({"n_epochs", "batch_size", "learning_rate_multiplier"}),
        description="Those that a job may be given.",
    )
    sampling: frozenset[str] = Field(
        frozenset(
            {"temperature", "top_p", "max_tokens", "stop", "seed", "n"}
            | {"frequency_penalty", "presence_penalty"}
            | {"logprobs", "top_logprobs", "response_format"}
        ),
        description="The fields of `Sampling` that a chat request may be given.",
    )
    pause: bool = Field(False, description="Jobs can be paused and resumed.")
    metadata: bool = Field(True, description="Jobs keep metadata.")
    events: bool = Field(True, description="Jobs have a list of events.")
    checkpoints: bool = Field(True, description="Jobs have checkpoints.")
    delete_files: bool = Field(True, description="Files can be deleted.")
    delete_models: bool = Field(True, description="Tuned models can be deleted.")
    min_examples: int = Field(10, description="Fewer training examples than this fail the job.")
    requests_at_once: int = Field(
        100, description="Most chat requests that it pays to send at once."
    )
    identity: Literal["metadata", "suffix"] = Field(
        "metadata", description="Where a job keeps the identity of its content."
    )
    list_lag: float = Field(
        0.0, description="Seconds by which lists may lag behind what was created."
    )
    events_lag: float = Field(
        0.0, description="Seconds after a job's end in which its last events may still come."
    )
    seed: bool = Field(True, description="A job may be given a seed.")
    integrations: frozenset[str] = Field(
        frozenset(), description="Of wandb, tensorboard, mlflow, trackio: where metrics may go too."
    )
    longest_suffix: int = Field(64, description="Characters that a suffix may have.")
    max_file_bytes: int | None = Field(None, description="Largest file it takes.")


# --- chat -------------------------------------------------------------------------------------


class ChatMessage(_Noun):
    """One message of a conversation.  `weight` 0 keeps an assistant turn out of the loss."""

    role: str
    content: str | tuple[Mapping[str, Any], ...] | None = None
    name: str | None = None
    weight: int | None = None
    tool_calls: tuple[Mapping[str, Any], ...] | None = None
    tool_call_id: str | None = None


def _only_a_mapping(value: object) -> object:
    # Of log-probabilities, some services have shapes of their own.
    return value if isinstance(value, Mapping) else None


_Logprobs = Annotated[Mapping[str, Any] | None, BeforeValidator(_only_a_mapping)]
"""As the wire has it: `content` is a list with `token`, `logprob` (in nats), `bytes` and
`top_logprobs` of each token."""


class Choice(_Noun):
    """One answer.  `finish_reason` is "stop", "length", or a service's own word.

    `logprobs` is there if it was asked for.
    """

    index: int = 0
    message: ChatMessage
    finish_reason: str | None = None
    logprobs: _Logprobs = None


class Usage(_Noun):
    """Tokens read and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Completion(_Noun):
    """The answers of a model to one prompt."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The first answer's text; "" if it has none."""
        content = self.choices[0].message.content if self.choices else None
        return content if isinstance(content, str) else ""


class Delta(_Noun):
    """A piece of a streamed answer.  The last one of each index carries `finish_reason`.

    `tool_calls` are pieces too, as the wire has them: those of one `index` belong together, and
    their `arguments` are to be put one after another.  `logprobs` are those of the piece's tokens.
    """

    index: int = 0
    content: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs = None
    usage: Usage | None = None


# --- datasets ---------------------------------------------------------------------------------


class Example(_Noun):
    """One line of a supervised chat dataset; `line` is its number in the file, from 1.

    Valid by construction when it comes from `ftjobs.read`: the last message is the assistant's
    and at least one assistant turn has a weight other than 0.
    """

    messages: tuple[ChatMessage, ...]
    tools: tuple[Mapping[str, Any], ...] | None = None
    parallel_tool_calls: bool | None = None
    line: int | None = None


class PreferenceInput(_Noun):
    """The `input` of a preference: what both outputs answer."""

    messages: tuple[ChatMessage, ...]
    tools: tuple[Mapping[str, Any], ...] | None = None
    parallel_tool_calls: bool | None = None


class Preference(_Noun):
    """One line of a preference dataset (DPO); `line` is its number in the file, from 1.

    Each output holds at least one assistant message, and the results of its tool calls.
    """

    input: PreferenceInput
    preferred_output: tuple[ChatMessage, ...]
    non_preferred_output: tuple[ChatMessage, ...]
    line: int | None = None

    @property
    def preferred(self) -> Example:
        """The prompt with the output that should become likelier."""
        return self._answered(self.preferred_output)

    @property
    def non_preferred(self) -> Example:
        """The prompt with the output that should become less likely."""
        return self._answered(self.non_preferred_output)

    def _answered(self, output: tuple[ChatMessage, ...]) -> Example:
        # The outputs alone are compared: earlier answers are a part of the question.
        asked = tuple(
            message.model_copy(update={"weight": 0}) if message.role == "assistant" else message
            for message in self.input.messages
        )
        return Example(
            messages=(*asked, *output),
            tools=self.input.tools,
            parallel_tool_calls=self.input.parallel_tool_calls,
            line=self.line,
        )


class Issue(_Closed):
    """One finding in a dataset.

    `line` and `column` count from 1 (column in characters; None where a line as a whole is
    meant, line None where the file as a whole is).  `pointer` is the JSON Pointer (RFC 6901) of
    the value inside the line.  `fingerprint` stays the same as long as the line does, wherever it
    moves: baselines know an issue by it.  `fixable` says whether `data check --fix` may repair it.
    """

    code: str
    severity: Literal["error", "warning", "info"]
    message: str
    path: str = ""
    line: int | None = None
    column: int | None = None
    pointer: str = ""
    hint: str = ""
    fingerprint: str = ""
    fixable: Literal["safe", "unsafe"] | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part)
        return f"{place}: {self.code} {self.message}" if place else f"{self.code} {self.message}"

"""What the two ways to ask a model have in common: settings of the draw, and what is ignored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ftjobs.schema import Capabilities, Sampling
from ftjobs.server.refusals import Refusal

__all__ = ["Asking", "StreamOptions", "sampling_of"]

Penalty = Annotated[float, Field(ge=-2, le=2)]

NEUTRAL: Mapping[str, object] = {
    "temperature": 1,
    "top_p": 1,
    "n": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": False,
    "top_k": 0,
    "repetition_penalty": 1,
    "min_tokens": 0,
    "num_beams": 1,
}
"""Values that change nothing: many clients send them always, also to backends without the field."""

SEEDS = 2**63
LEAST_TOP_P = 1e-6
DEEPEST = 64


class StreamOptions(BaseModel):
    """What a stream tells beside the answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(None, description="Ignored: nothing is added.")


class Asking(BaseModel):
    """Fields of chat and of legacy completions.  Those that no wire knows are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, Field(ge=-SEEDS, lt=SEEDS)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = Field(None, description="None but {} can be followed.")
    user: str | None = Field(None, description="Ignored.")

    top_k: Annotated[int, Field(ge=0)] | None = Field(None, description="Extension.")
    repetition_penalty: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Extension."
    )
    min_tokens: Annotated[int, Field(ge=0)] | None = Field(None, description="Extension.")
    num_beams: Annotated[int, Field(ge=1, le=64)] | None = Field(None, description="Extension.")

    @property
    def answers(self) -> int:
        """How many answers are wanted."""
        return self.n or 1

    @property
    def tells_usage(self) -> bool:
        """Whether a stream ends with the tokens used."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def settings(self) -> dict[str, Any]:
        """The fields that are those of `Sampling`, as given.

        Raises:
            Refusal: 400 for what nobody here can do.
        """
        _refuse_unwritable(self.model_dump(exclude_none=True), "")
        if self.stream_options is not None and not self.stream:
            raise Refusal(400, "stream_options goes with stream: true", param="stream_options")
        if self.logit_bias:
            raise Refusal(400, "logit_bias cannot be followed here", param="logit_bias",
                          code="unsupported_parameter")  # fmt: skip
        given = {name: getattr(self, name) for name in Sampling.model_fields if hasattr(self, name)}
        given["stop"] = self.stop or None
        if self.seed is not None:
            given["seed"] = self.seed % SEEDS
        if self.top_p is not None:
            given["top_p"] = max(self.top_p, LEAST_TOP_P)
        return {name: value for name, value in given.items() if value is not None}


def sampling_of(given: Mapping[str, Any], capabilities: Capabilities) -> Sampling:
    """How the answers are drawn.

    Raises:
        Refusal: 400, the param is the field that the backend does not know, or that is wrong.
    """
    known = {
        name: value
        for name, value in given.items()
        if name in capabilities.sampling or value != NEUTRAL.get(name)
    }
    for name in known:
        if name not in capabilities.sampling:
            raise Refusal(400, f"{name} is not known to what answers here", param=name,
                          code="unsupported_parameter")  # fmt: skip
    try:
        return Sampling(**known)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        param = str(first["loc"][0]) if first["loc"] else None
        words = str(first["msg"]).removeprefix("Value error, ")
        raise Refusal(400, f"{param}: {words}", param=param) from None


def _refuse_unwritable(value: object, place: str, room: int = DEEPEST) -> None:
    """Refuse JSON that nobody could write again: nested too deeply, or what is no text or number.

    Raises:
        Refusal: 400, the param is the place.
    """
    param = place or None
    if not room:
        raise Refusal(400, f"{place}: nested too deeply", param=param)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refusal(400, f"{place}: half a character", param=param) from None
    elif isinstance(value, Mapping):
        for key, each in value.items():
            _refuse_unwritable(key, place, room)
            _refuse_unwritable(each, f"{place}.{key}" if place else str(key), room - 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            _refuse_unwritable(each, f"{place}.{number}", room - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Refusal(400, f"{place}: no finite number", param=param)

"""The shapes of OpenAI's grader JSON.  Fields that are not listed do not change a score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ftjobs.errors import ConfigError, UnsupportedError

__all__ = [
    "SHAPES",
    "LabelModel",
    "Message",
    "Multi",
    "Python",
    "SamplingParams",
    "ScoreModel",
    "Shape",
    "StringCheck",
    "TextSimilarity",
    "shape_of",
]

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StringCheck(_Shape):
    """Two texts that are equal, or not, or of which one holds the other."""

    type: Literal["string_check"]
    name: str = ""
    input: str
    reference: str
    operation: Literal["eq", "ne", "neq", "like", "ilike"]


class TextSimilarity(_Shape):
    """How much two texts are alike, from 0 to 1."""

    type: Literal["text_similarity"]
    name: str = ""
    input: str
    reference: str
    evaluation_metric: Literal[
        "fuzzy_match",
        "bleu",
        "gleu",
        "meteor",
        "cosine",
        "rouge_1",
        "rouge_2",
        "rouge_3",
        "rouge_4",
        "rouge_5",
        "rouge_l",
    ]
    pass_threshold: Finite | None = None


class Message(_Shape):
    """A message to a model: a text, or parts with texts."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Mapping[str, Any] | list[str | Mapping[str, Any]]

    def text(self, name: str) -> str:
        """Its text.  UnsupportedError where the grader `name` shows an image or a sound."""
        parts = self.content if isinstance(self.content, list) else [self.content]
        return "\n".join(part if isinstance(part, str) else _text(part, name) for part in parts)


def _text(part: Mapping[str, Any], name: str) -> str:
    if not isinstance(part.get("text"), str):
        raise UnsupportedError(
            f"the grader {name} shows its model {part.get('type', 'something')!r}",
            hint="Only texts can be shown.",
        )
    return str(part["text"])


class SamplingParams(_Shape):
    """How a model's reply is drawn, under the graders' own names."""

    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_completions_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning_effort: str | None = None

    def given(self) -> dict[str, Any]:
        """Those that were chosen, under the names of `Sampling`."""
        found = {
            "seed": self.seed,
            "top_p": self.top_p,
            "temperature": self.temperature,
            "max_tokens": self.max_completions_tokens or self.max_tokens,
        }
        return {key: value for key, value in found.items() if value is not None}


class ScoreModel(_Shape):
    """A model that gives a number."""

    type: Literal["score_model"]
    name: str = ""
    model: Annotated[str, Field(min_length=1)]
    input: Annotated[list[Message], Field(min_length=1)]
    range: tuple[Finite, Finite] | None = None
    sampling_params: SamplingParams = SamplingParams()
    pass_threshold: Finite | None = None

    @field_validator("sampling_params", mode="before")
    @classmethod
    def _none_given(cls, value: object) -> object:
        return {} if value is None else value

    @model_validator(mode="after")
    def _rises(self) -> ScoreModel:
        if self.span[0] >= self.span[1]:
            raise ValueError("range is two numbers that rise")
        return self

    @property
    def span(self) -> tuple[float, float]:
        """The range; 0 to 1 where none is given."""
        return self.range or (0.0, 1.0)


class LabelModel(_Shape):
    """A model that gives a label."""

    type: Literal["label_model"]
    name: str = ""
    model: Annotated[str, Field(min_length=1)]
    input: Annotated[list[Message], Field(min_length=1)]
    labels: Annotated[list[str], Field(min_length=1)]
    passing_labels: list[str]

    @model_validator(mode="after")
    def _known(self) -> LabelModel:
        if unknown := set(self.passing_labels) - set(self.labels):
            raise ValueError(f"passing_labels that are no labels: {', '.join(sorted(unknown))}")
        return self


class Multi(_Shape):
    """Several graders, by the name that a formula gives them."""

    type: Literal["multi"]
    name: str = ""
    graders: Annotated[dict[str, Mapping[str, Any]], Field(min_length=1)]
    calculate_output: str

    @field_validator("graders", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        """A list, which some documents show, by each one's own name."""
        if not isinstance(value, list):
            return value
        named = {each.get("name"): each for each in value if isinstance(each, dict)}
        if len(named) < len(value):
            raise ValueError("graders in a list need a name each")
        return named


class Python(_Shape):
    """Code, which is not run here."""

    type: Literal["python"]
    name: str = ""


Shape = StringCheck | TextSimilarity | ScoreModel | LabelModel | Multi | Python

SHAPES: dict[str, type[Shape]] = {
    "string_check": StringCheck,
    "text_similarity": TextSimilarity,
    "score_model": ScoreModel,
    "label_model": LabelModel,
    "multi": Multi,
    "python": Python,
}


def shape_of(value: Mapping[str, Any], where: str) -> Shape:
    """The shape that a JSON object has.  ConfigError, which begins with `where`, if it has none."""
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in SHAPES:
        raise ConfigError(
            f"{where}: there is no grader of the type {kind!r}", hint=f"Known: {', '.join(SHAPES)}."
        )
    try:
        return SHAPES[kind].model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(": ".join(filter(None, (where, kind, place, message)))) from None

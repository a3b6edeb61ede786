"""Options made from the fields of a model of `ftjobs.schema`, so that none is spelled twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ftjobs.schema import FOR_PROGRAMS

F = TypeVar("F", bound=Callable[..., Any])

SECTIONS: Mapping[str, Sequence[str]] = {
    "Hyperparameters of every service": (
        "n_epochs",
        "batch_size",
        "learning_rate_multiplier",
        "beta",
    ),
    "Local training, optimiser": (
        "learning_rate",
        "lr_scheduler_type",
        "warmup_ratio",
        "optimizer",
        "weight_decay",
        "max_grad_norm",
        "gradient_accumulation_steps",
        "drop_last_batch",
    ),
    "Local training, adapter": (
        "lora_r",
        "lora_alpha",
        "lora_dropout",
        "lora_target_modules",
        "use_rslora",
        "use_dora",
    ),
    "Local training, examples": (
        "context_length",
        "max_prompt_length",
        "max_completion_length",
        "train_on_inputs",
        "token_mask_probability",
        "chat_template",
    ),
    "Local training, validation": (
        "validation_split",
        "evaluation_epochs",
        "evaluate_before_training",
        "evaluation_metric",
        "save_best_checkpoint",
        "early_stopping_patience",
    ),
    "Local training, memory and speed": ("dtype", "gradient_checkpointing", "torch_compile"),
}
"""The fields of `Hyperparameters` under the headings of help."""

NAMES = {int: "INTEGER", float: "FLOAT", str: "TEXT", bool: "true|false"}


def options(model: type[BaseModel], *, leave_out: Iterable[str] = ()) -> Callable[[F], F]:
    """A decorator that adds `--field-name` for every field of `model`.

    The command gets a keyword for each, None (or an empty tuple) where it was not given, and a
    text otherwise: `ftjobs.jobs.fields.build` turns texts into values and says what is wrong.
    """

    def decorate(command: F) -> F:
        for name, field in reversed(model.model_fields.items()):
            if name not in {*leave_out, *FOR_PROGRAMS}:
                command = _option(name, field)(command)
        return command

    return decorate


def given(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Take the fields of `model` that were given out of a command's keywords."""
    taken = {name: values.pop(name) for name in model.model_fields if name in values}
    return {name: value for name, value in taken.items() if value not in (None, ())}


def pairs(
    context: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str] | None:
    """A callback: KEY=VALUE texts as a mapping, None if there is none."""
    for text in texts:
        if "=" not in text:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", context, param)
    return dict(text.split("=", 1) for text in texts) or None


def integrations(
    context: click.Context, param: click.Parameter, texts: tuple[str, ...]
) -> list[dict[str, Any]] | None:
    """A callback: texts such as wandb:project=support,tags=a,tags=b as the wire's tables."""
    tables = []
    for text in texts:
        kind, _, rest = text.partition(":")
        parts = [part.partition("=") for part in rest.split(",") if part]
        if any(not sign for _, sign, _ in parts):
            raise click.BadParameter(f"after {kind}: comes KEY=VALUE,KEY=VALUE", context, param)
        settings: dict[str, Any] = {key: value for key, _, value in parts if key != "tags"}
        tags = [value for key, _, value in parts if key == "tags"]
        tables.append({"type": kind, kind: {**settings, **({"tags": tags} if tags else {})}})
    return tables or None


def _option(name: str, field: FieldInfo) -> Callable[[F], F]:
    parts = list(_parts(field.annotation))
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        metavar="|".join(dict.fromkeys(parts)),
        multiple=_is_many(field.annotation),
        help=field.description,
    )


def _parts(annotation: Any) -> Iterator[str]:
    """The words that describe a field's type: INTEGER, FLOAT, TEXT, or a literal itself."""
    origin = get_origin(annotation)
    if annotation in NAMES:
        yield NAMES[annotation]
    elif origin is Literal:
        yield from map(str, get_args(annotation))
    elif origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif annotation not in (NoneType, Ellipsis):
        for part in get_args(annotation):
            yield from _parts(part)


def _is_many(annotation: Any) -> bool:
    parts = (annotation, *get_args(annotation))  # the field itself, or one that may be None
    return any(get_origin(part) is tuple for part in parts)

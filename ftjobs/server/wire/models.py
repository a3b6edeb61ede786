"""`/v1/models`."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from ftjobs.schema import Model
from ftjobs.server.desk import Reads, Trains

router = APIRouter(tags=["models"])


class WireModel(BaseModel):
    """A model as the wire has it."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[WireModel]


class DeletedModel(BaseModel):
    """What is no more."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


@router.get("/models")
def list_models(project: Reads) -> ModelList:
    """Base models, and the tuned ones of your project."""
    return ModelList(data=[_wire(model) for model in project.models()])


@router.get("/models/{model:path}")
def retrieve_model(model: str, project: Reads) -> WireModel:
    """One model, or a checkpoint."""
    return _wire(project.model(model))


@router.delete("/models/{model:path}")
def delete_model(model: str, project: Trains) -> DeletedModel:
    """Delete a tuned model with its checkpoints, or one checkpoint."""
    project.delete_model(model)
    return DeletedModel(id=model)


def _wire(model: Model) -> WireModel:
    return WireModel.model_validate(model.model_dump(exclude_none=True))

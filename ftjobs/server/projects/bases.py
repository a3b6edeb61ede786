"""Base models, by the names that clients know."""

from __future__ import annotations

from ftjobs.errors import NotFoundError
from ftjobs.server.projects.view import Rooms
from ftjobs.server.words import is_name

__all__ = ["base_model", "no_model", "tuned_names"]


def base_model(rooms: Rooms, name: str) -> str:
    """The backend's name of a base model.  NotFoundError if there is none of this name."""
    if name in rooms.options.models:
        return rooms.options.models[name]
    if rooms.names.is_base(name):
        return name
    if is_name(name) and not name.startswith("ft:"):
        is_there = any(model.id == name for model in rooms.backend.models())
        if is_there and name not in tuned_names(rooms):
            rooms.names.learn_base(name)
            return name
    raise no_model(name)


def tuned_names(rooms: Rooms) -> set[str]:
    """The models that any project's jobs have made."""
    return {job.fine_tuned_model for job in rooms.backend.jobs() if job.fine_tuned_model}


def no_model(name: str) -> NotFoundError:
    """There is no such model for this project."""
    return NotFoundError(
        f"The model '{name[:200]}' does not exist", code="model_not_found", param="model"
    )

"""The playground: one prompt, two models side by side.

The page asks `/v1/chat/completions` as any client does, so it shows what clients get.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from ftjobs.server.desk import Reads
from ftjobs.server.pages.room import show

router = APIRouter()

MODELS = 500
"""Models to choose from, of each kind."""

Name = Annotated[str, Query(max_length=500)]


@router.get("/playground")
def playground(request: Request, project: Reads, left: Name = "", right: Name = "") -> Response:
    """Two models to be asked; `left` and `right` choose them, and may be checkpoints."""
    names = [model.id for model in project.models()]
    tuned_names = [job.fine_tuned_model for job in project.jobs() if job.fine_tuned_model]
    tuned = [name for name in tuned_names if name in names]
    base = [name for name in names if name not in tuned]
    groups = {"Tuned, newest first": tuned[:MODELS], "Base": base[:MODELS]}
    chosen = left or (base or [""])[0], right or (tuned or base or [""])[0]
    others = [name for name in dict.fromkeys(chosen) if name and name not in names]
    if others:
        groups["Checkpoints"] = others
    return show(request, "playground.html", groups=groups, chosen=chosen)

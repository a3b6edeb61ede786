"""What OpenAI serves and this server does not: refused in words, and not asked for again.

The status is 404, which no client sends again, as they do with 501.
"""

from __future__ import annotations

from typing import NoReturn

from fastapi import APIRouter

from ftjobs.server.refusals import Refusal

router = APIRouter(include_in_schema=False)

METHODS = ["GET", "POST", "DELETE"]
ROOMS = (
    *("assistants", "audio", "batches", "containers", "conversations", "embeddings", "evals"),
    *("images", "moderations", "realtime", "responses", "threads", "vector_stores", "videos"),
)
"""First words of paths below /v1."""


SERVED = "ftjobs serves files, uploads, fine_tuning, models, chat/completions and completions"


def _refuse(name: str, words: str) -> NoReturn:
    raise Refusal(
        404, f"/v1/{name} is not served here: {words}", code="unsupported_endpoint",
        should_retry=False,
    )  # fmt: skip


def _refused(room: str) -> None:
    @router.api_route(f"/{room}", methods=METHODS)
    @router.api_route(f"/{room}/{{rest:path}}", methods=METHODS)
    def refuse() -> None:
        _refuse(room, SERVED)


for room in ROOMS:
    _refused(room)


@router.get("/chat/completions")
@router.api_route("/chat/completions/{rest:path}", methods=METHODS)
def refuse_stored() -> None:
    """Answers are not kept."""
    _refuse("chat/completions (stored)", "no answer is kept")

"""What no generator of requests can guess: models and ids that are there, and a plain question.

schemathesis loads this module (SCHEMATHESIS_HOOKS); FTJOBS_FUZZ_KNOWN holds a JSON object of
values by the names of fields and parameters.  Half of the valid requests are given them.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import zlib
from typing import Any

import schemathesis

Case = schemathesis.Case[Any]
KNOWN: dict[str, Any] = json.loads(os.environ.get("FTJOBS_FUZZ_KNOWN", "{}"))
KEY = "Idempotency-Key"
FIELDS = 3
"""Other fields that stay in such a body: with more of them, most would contradict each other."""

_numbers = itertools.count()


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: Case) -> Case:
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    draw = zlib.crc32(repr((case.path_parameters, case.body)).encode(errors="replace"))
    if is_valid and case.headers.get(KEY):  # used again, it would give what may be deleted by now
        case.headers[KEY] = f"{next(_numbers)}-{case.headers[KEY]}"[:255]
    if is_valid and draw % 2:
        case.path_parameters = _informed(case.path_parameters)
        if isinstance(case.body, dict) and "model" in case.body:
            case.body = _informed(_shorter(case.body, draw))
    return case


def _informed(value: Any) -> Any:
    return value | {name: KNOWN[name] for name in value.keys() & KNOWN.keys()}


def _shorter(body: dict[str, Any], draw: int) -> dict[str, Any]:
    first = draw % max(1, len(body))
    kept = {*KNOWN, *sorted(body)[first : first + FIELDS]}
    return {name: value for name, value in body.items() if name in kept}


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Case, response: Any) -> bool:
    """Leave out what is no fault.

    `/v1/chat/completions` refuses other methods than POST in words, with 404.  A field of a form
    that is too much and has no value is not sent, so the form that comes is right.
    """
    if case.path.endswith("/chat/completions") and response.request.method != "POST":
        return False
    kind = type(failure).__name__
    return not (kind == "AcceptedNegativeData" and _is_right_form(case, response.request.body))


def _is_right_form(case: Case, sent: Any) -> bool:
    if case.media_type != "multipart/form-data" or not isinstance(sent, bytes):
        return False
    known = {"file", "purpose", "expires_after[anchor]", "expires_after[seconds]", "data"}
    return known.issuperset(re.findall(r'[; ]name="([^"]*)"', sent.decode("latin-1")))

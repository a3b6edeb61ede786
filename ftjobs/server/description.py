"""`/docs`: what can be asked, as a page without a script.  `/openapi.json` is its source."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from ftjobs.server.desk import Reads

router = APIRouter(include_in_schema=False)

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;"
    "padding:.2rem .8rem .2rem 0}code{font-size:.9em}:root{color-scheme:light dark}"
)
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
}


@router.get("/docs")
def describe(_project: Reads, request: Request) -> HTMLResponse:
    """Every operation, by its tag."""
    return HTMLResponse("\n".join(_page(request.app.openapi())), headers=HEADERS)


def _page(spec: Mapping[str, Any]) -> Iterator[str]:
    info = spec["info"]
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield '<meta name=viewport content="width=device-width,initial-scale=1">'
    yield f"<title>{escape(info['title'])}</title><style>{STYLE}</style>"
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
    yield f"<p>{escape(info['summary'])} As OpenAPI: <a href=/openapi.json>openapi.json</a>.</p>"
    tag = None
    for path, method, operation in _operations(spec):
        if operation.get("tags", ["other"])[0] != tag:
            tag = operation.get("tags", ["other"])[0]
            yield f"<h2>{escape(tag)}</h2>"
        yield f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
        yield f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>"
        yield from _table(operation, spec)


def _operations(spec: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    found = [(path, method, each) for path, item in spec["paths"].items()
             for method, each in item.items()]  # fmt: skip
    return sorted(found, key=lambda row: (row[2].get("tags", ["other"])[0], row[0]))


def _table(operation: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    rows = [(each["name"], f"in {each['in']}", each) for each in operation.get("parameters", ())]
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(body.get("schema", {}), spec)
        rows += [(name, kind, each) for name, each in schema.get("properties", {}).items()]
    if rows:
        yield "<table>"
        for name, place, each in rows:
            text = each.get("description") or each.get("schema", {}).get("description", "")
            yield (f"<tr><td><code>{escape(name)}</code><td>{escape(place)}<td>{escape(text)}")
        yield "</table>"


def _resolved(schema: Mapping[str, Any], spec: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref", "")
    found: Mapping[str, Any] = spec.get("components", {}).get("schemas", {})
    return found.get(reference.rpartition("/")[2], schema) if reference else schema

"""`/docs`: what can be asked, as a page without a script.  `/openapi.json` is its source."""

from __future__ import annotations

import base64
import hashlib
import json
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
    "padding:.2rem .8rem .2rem 0;overflow-wrap:anywhere}td:first-child{min-width:7rem}"
    "h3{overflow-wrap:anywhere}code{font-size:.9em}:root{color-scheme:light dark}"
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
        yield f"<p>{_prose(operation.get('description') or operation.get('summary', ''))}</p>"
        yield from _table(operation, spec)


def _operations(spec: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    found = [(path, method, each) for path, item in spec["paths"].items()
             for method, each in item.items()]  # fmt: skip
    return sorted(found, key=lambda row: (row[2].get("tags", ["other"])[0], row[0]))


def _table(operation: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (each["name"], f"{each['in']}, ", each.get("required", False), each.get("schema", {}), each)
        for each in operation.get("parameters", ())
    ]
    for body in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolved(body.get("schema", {}), spec)
        required = schema.get("required", ())
        rows += [
            (name, "", name in required, each, each)
            for name, each in schema.get("properties", {}).items()
        ]
    if rows:
        yield "<table>"
        for name, place, must, schema, told in rows:
            kind = f"{place}{_kind(schema, spec)}{', required' if must else ''}"
            text = told.get("description") or schema.get("description", "")
            yield f"<tr><td><code>{escape(name)}</code><td>{escape(kind)}<td>{_prose(text)}"
        yield "</table>"


def _kind(schema: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """What a value is, in a few words."""
    schema = _resolved(schema, spec)
    if "const" in schema or "enum" in schema:
        return " or ".join(json.dumps(each) for each in schema.get("enum", [schema.get("const")]))
    if ways := schema.get("anyOf") or schema.get("oneOf"):
        kinds = dict.fromkeys(_kind(each, spec) for each in ways if each.get("type") != "null")
        return " or ".join(kinds)
    kind = str(schema.get("type", "any"))
    if kind == "null":
        return "refused"
    return f"array of {_kind(schema.get('items', {}), spec)}" if kind == "array" else kind


def _prose(text: str) -> str:
    """What stands between backticks is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{each}</code>" if odd % 2 else each for odd, each in enumerate(parts))


def _resolved(schema: Mapping[str, Any], spec: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref", "")
    found: Mapping[str, Any] = spec.get("components", {}).get("schemas", {})
    return found.get(reference.rpartition("/")[2], schema) if reference else schema

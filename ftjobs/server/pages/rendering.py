"""From templates to answers: every text that is put into a page is escaped and made visible here.

No template can forget it: whatever it puts out goes through `safe`, unless it is HTML of ours.
Pages run no script and no style but those of `/static`, and load nothing from elsewhere
(Content Security Policy Level 3, https://www.w3.org/TR/CSP3/).
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ftjobs.reports.page import BASE, bdi, safe
from ftjobs.server.pages.views import brief

__all__ = ["asset", "page", "static"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {  # beside those that the door gives every answer
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",  # "no-referrer" would take the Origin from our own forms
    "cross-origin-opener-policy": "same-origin",
}

KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def _shown(value: object) -> Markup:
    if isinstance(value, Markup):
        return value
    return Markup("" if value is None else safe(str(value)))  # noqa: S704 - `safe` escapes it


def own(text: object) -> Markup:
    """Untrusted text within a sentence of ours, whose direction it does not touch."""
    return Markup(bdi(str(text)))  # noqa: S704 - `bdi` escapes it


def code(text: str) -> Markup:
    """A sentence of ours in which `backticks` stand around code."""
    parts = enumerate(text.split("`"))
    html = (f"<code>{safe(part)}</code>" if odd % 2 else safe(part) for odd, part in parts)
    return Markup("".join(html))  # noqa: S704 - `safe` escapes it


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"own": own, "code": code, "brief": brief}
    made.globals["asset"] = asset
    return made


def page(name: str, status: int = 200, **values: Any) -> Response:
    """The answer that a template makes of `values`, under the pages' policy."""
    html = _templates().get_template(name).render(values)
    return HTMLResponse(html, status, headers=HEADERS)


class _Asset(NamedTuple):
    data: bytes
    digest: str
    kind: str


@cache
def _assets() -> dict[str, _Asset]:
    """The files of `/static`, by name, read once."""
    found = {}
    for file in files(__package__).joinpath("static").iterdir():
        text = file.read_text("utf-8")
        data = (BASE + text if file.name == "app.css" else text).encode()
        kind = KINDS[file.name.rpartition(".")[2]]
        found[file.name] = _Asset(data, hashlib.sha256(data).hexdigest()[:16], kind)
    return found


def asset(name: str) -> str:
    """The address of a file of `/static`, which changes when the file does."""
    return f"/static/{name}?v={_assets()[name].digest}"


def static(name: str, version: str) -> Response | None:
    """A file of `/static`; None if there is none.  Kept for a year under its own version."""
    if (found := _assets().get(name)) is None:
        return None
    keep = "public, max-age=31536000, immutable" if version == found.digest else "no-cache"
    return Response(
        found.data, media_type=f"{found.kind}; charset=utf-8", headers={"cache-control": keep}
    )

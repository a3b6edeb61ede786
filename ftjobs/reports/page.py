"""One self-contained HTML page: what all of ours share, and how untrusted text gets into it.

A page may load nothing and run nothing but its own style and script, which its content policy
names by their hashes (Content Security Policy Level 3, https://www.w3.org/TR/CSP3/).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

__all__ = ["BASE", "bdi", "document", "inert", "language", "safe", "table"]

BASE = """
:root { color-scheme: light dark; --ink: #1c1e21; --faint: #5b6168; --paper: #ffffff;
  --card: #f4f5f7; --line: #d5d9de; --error: #b3261e; --warning: #8a5a00; --info: #1a5fb4;
  --ok: #1b6e3c; --bar: #3b6fb6; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --faint: #a2a9b2;
  --paper: #16181b; --card: #202327; --line: #3a3f46; --error: #ff8a80; --warning: #f0b95a;
  --info: #8ab8ff; --ok: #7bd69b; --bar: #7aa8e6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; }
.error { color: var(--error); } .warning { color: var(--warning); } .info { color: var(--info); }
.ok { color: var(--ok); } .faint { color: var(--faint); }
summary { cursor: pointer; }
@media print { :root { color-scheme: light; } body { max-width: none; padding: 0; }
  details::details-content { content-visibility: visible; display: block; } }
"""
"""Colours of light and dark, with a contrast of 4.5 or more; text; and paper, where all that is
folded is open."""


def _visible() -> Iterator[tuple[int, str]]:
    """What has no shape of its own, moves text about, or cannot be in a page, made visible."""
    yield from ((code, chr(0x2400 + code)) for code in range(0x20) if chr(code) not in "\n\t")
    yield 0x7F, "␡"
    hidden = (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    yield from ((code, f"[U+{code:04X}]") for code in hidden)
    yield from ((code, "\ufffd") for code in (*range(0xD800, 0xE000), 0xFFFE, 0xFFFF))


_VISIBLE = dict(_visible())
_KANA = re.compile("[\u3040-\u30ff\uff66-\uff9f]")
_HANGUL = re.compile("[\uac00-\ud7a3]")


def safe(text: str) -> str:
    """Untrusted text for an element or a quoted attribute.

    Control characters, escape sequences and bidirectional overrides are seen instead of obeyed:
    ESC is "␛", U+202E is "[U+202E]", half of a surrogate pair is U+FFFD.
    """
    return escape(text.replace("\r\n", "\n").translate(_VISIBLE))


def bdi(text: str) -> str:
    """Untrusted text within a sentence of ours, whose direction it does not touch."""
    return f"<bdi{language(text)}>{safe(text)}</bdi>"


def language(text: str) -> str:
    """The attribute that gets Japanese and Korean their own shapes of characters; "" for others.

    A browser would else draw them as its user's language has them, such as Chinese.
    """
    if _KANA.search(text):
        return ' lang="ja"'
    return ' lang="ko"' if _HANGUL.search(text) else ""


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = ""
) -> Iterator[str]:
    """The lines of a table whose cells are HTML already; a row's first cell heads it.

    Args:
        caption: what the table tells, as text; it is shown above.
        head: titles of the columns.
        rows: cells.
        right: a character for each column; "r" sets it to the right.
    """
    sides = [' class="right"' if side == "r" else "" for side in right.ljust(len(head), "l")]
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{safe(caption)}">'
    yield f"<table><caption>{safe(caption)}</caption>"
    titles = (f'<th scope="col"{side}>{cell}</th>' for cell, side in zip(head, sides, strict=True))
    yield f"<thead><tr>{''.join(titles)}</tr></thead><tbody>"
    for first, *rest in rows:
        cells = (f"<td{side}>{cell}</td>" for cell, side in zip(rest, sides[1:], strict=True))
        yield f'<tr><th scope="row"{sides[0]}>{first}</th>{"".join(cells)}</tr>'
    yield "</tbody></table></div>"


def document(
    title: str,
    body: Iterable[str],
    *,
    style: str,
    script: str = "",
    data: Mapping[str, str] | None = None,
) -> str:
    """The whole page, with a content policy that lets nothing else in, and nothing out.

    Args:
        title: as text.
        body: lines of HTML.
        style: the style sheet, after `BASE`.
        script: JavaScript, run once the body is there; without it the page must read as well.
        data: JSON to embed, by the id of its element.
    """
    style = BASE + style
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{safe(title)}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        *body,
        *(_embedded(name, text) for name, text in (data or {}).items()),
        *([f"<script>{script}</script>"] if script else []),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines)


def _policy(style: str, script: str) -> str:
    allowed = f"style-src {_hash(style)}" + (f"; script-src {_hash(script)}" if script else "")
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _embedded(name: str, json: str) -> str:
    return f'<script type="application/json" id="{name}">{inert(json)}</script>'


def inert(json: str) -> str:
    """JSON with the same meaning in which nothing can end its element, or open a comment."""
    return json.replace("<", "\\u003c")

"""Times and numbers in words."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["many", "span", "when"]


def when(seconds: int | None) -> str:
    """A Unix time as ISO 8601 in UTC; "" for none."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def span(seconds: float) -> str:
    """A length of time in words: 45 s, 3 min 12 s, 2 h 5 min, 3 d 4 h."""
    whole = round(seconds)
    for size, unit, smaller, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def many(count: int, noun: str) -> str:
    """A number and its noun, in the plural where that is due."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

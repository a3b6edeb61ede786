"""Results → text for people.  Pure: nothing here prints, reads or knows a terminal."""

from ftjobs.reports._text import text

__all__ = ["text"]

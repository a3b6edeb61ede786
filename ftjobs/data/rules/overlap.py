"""Rows against rows and file against file: FT8xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = ()

"""What the texts and images of a row hold: FT6xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = ()

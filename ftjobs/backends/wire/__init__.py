"""Any service that speaks the OpenAI wire; the only importer of openai."""

from ftjobs.backends.wire.backend import WireBackend

__all__ = ["WireBackend"]

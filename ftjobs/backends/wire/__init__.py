"""Any service that speaks the OpenAI wire."""

from ftjobs.backends.wire.backend import WireBackend
from ftjobs.backends.wire.webhooks import verify_webhook

__all__ = ["WireBackend", "verify_webhook"]

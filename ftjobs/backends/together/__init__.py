"""Together by its own wire."""

from ftjobs.backends.together.backend import TogetherBackend

__all__ = ["TogetherBackend"]

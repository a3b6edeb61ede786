"""Fireworks by its own wire."""

from ftjobs.backends.fireworks.backend import FireworksBackend

__all__ = ["FireworksBackend"]

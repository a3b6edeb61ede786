"""A backend's name → the backend: local, a profile, or a base URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ftjobs.backends.keys import find_key
from ftjobs.backends.profiles import Profile, check_url, choose

if TYPE_CHECKING:
    from pathlib import Path

    from ftjobs.backends.base import Backend
    from ftjobs.config import Settings

__all__ = ["open_backend", "open_hosted"]


def open_backend(name: str, settings: Settings) -> Backend:
    """The backend called `name`.

    Raises:
        ConfigError: no such backend, its URL cannot be used, or libraries are missing.
        AuthError: no key was found; the message names the variable.
        StoreError: the local store cannot be opened.
    """
    if name == "local":
        from ftjobs.backends.local.backend import LocalBackend

        return LocalBackend(settings)
    return open_hosted(name, settings=settings)


def open_hosted(
    name: str, *, settings: Settings | None = None, environ: Mapping[str, str] | None = None
) -> Backend:
    """The hosted backend of a profile's name or a base URL.

    Args:
        name: a shipped profile, one of the settings, or a base URL.
        settings: profiles of one's own, and where unfinished uploads are noted.
        environ: where keys and variables are looked up; the process's environment by default.

    Raises:
        ConfigError: no such profile, a variable that it needs is not set, or the URL cannot
            be used.
        AuthError: neither the environment nor the keyring holds a key.
    """
    environ = os.environ if environ is None else environ
    own = () if settings is None else settings.profiles
    trusted = settings is None or settings.trusts(name)
    choice = choose(name, own, trusted=trusted)
    choice = replace(choice, profile=choice.profile.filled(environ))
    check_url(choice.profile.base_url)  # before it can be quoted: it might hold a password
    key = find_key(name, choice, environ)
    return _speak(name, choice.profile, key, settings.home / "uploads" if settings else None)


def _speak(name: str, profile: Profile, key: str, journal: Path | None) -> Backend:
    if profile.adapter == "together":
        from ftjobs.backends.together import TogetherBackend

        return TogetherBackend(name, profile, key)
    if profile.adapter == "fireworks":
        from ftjobs.backends.fireworks import FireworksBackend

        return FireworksBackend(name, profile, key)
    from ftjobs.backends.wire import WireBackend

    return WireBackend(name, profile, key, journal=journal)

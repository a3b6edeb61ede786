"""A backend's name → the backend: local, a profile, or a base URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftjobs.backends.profiles import ANY_URL, PROFILES, Profile, check_url
from ftjobs.errors import AuthError, ConfigError

if TYPE_CHECKING:
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
    return open_hosted(name)


def open_hosted(name: str, *, environ: Mapping[str, str] | None = None) -> Backend:
    """The hosted backend of a profile's name or a base URL.

    Raises:
        ConfigError: no such profile, or the URL cannot be used.
        AuthError: the environment holds no key; the message names the variable.
    """
    profile = _profile(name)
    check_url(profile.base_url)  # before it can be quoted: it might hold a password
    from ftjobs.backends.wire import WireBackend

    key = _key(name, profile, os.environ if environ is None else environ)
    return WireBackend(name, profile, key)


def _profile(name: str) -> Profile:
    if name in PROFILES:
        return PROFILES[name]
    if "://" in name:
        return ANY_URL.at(name)
    raise ConfigError(
        f"no backend {name!r}",
        hint=f"Known: local, {', '.join(PROFILES)}, or a base URL such as https://host/v1.",
    )


def _key(name: str, profile: Profile, environ: Mapping[str, str]) -> str:
    for variable in profile.key_variables:
        if key := environ.get(variable, "").strip():
            return key
    variable = profile.key_variables[0]
    raise AuthError(f"{variable} is not set", hint=f"Set {variable} to your key for {name}.")

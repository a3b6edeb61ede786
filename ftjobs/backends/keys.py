"""Where keys come from: the environment first, then the system's keyring; never a flag or a file.

A key is bound to a host by its name: `FTJOBS_KEY_LLM_EXAMPLE_COM` (dots become `_`, hyphens
`__`, as in Terraform's TF_TOKEN_…), or in the keyring by the host as user name.  Such keys go to
that host and nowhere else, so they are the only ones that a service named by a project's
`ftjobs.toml` gets, and only by TLS; a cloned repository cannot redirect `OPENAI_API_KEY`.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from ftjobs.backends.profiles import ANY_URL, Choice, is_loopback
from ftjobs.errors import AuthError

__all__ = ["SERVICE", "find_key", "host_variable"]

SERVICE = "ftjobs"
"""The service under which the keyring holds keys; user names are profiles and hosts."""

PATIENCE = 60.0
"""Seconds for a keyring to answer: it may ask its user to unlock it, where nobody sits."""

_HOSTNAME = re.compile(r"(?!-)[a-z0-9-]+(?<!-)(\.(?!-)[a-z0-9-]+(?<!-))*")


def find_key(name: str, choice: Choice, environ: Mapping[str, str]) -> str:
    """The key for a service.

    Args:
        name: the profile's name, or the base URL.
        choice: the profile with its place filled in, and whether that place is trusted.
        environ: the environment.

    Raises:
        AuthError: there is none; the message says which variable, and what to type.
    """
    place = urlsplit(choice.profile.base_url)
    host = place.hostname or ""
    if not choice.trusted and place.scheme != "https" and not is_loopback(host):
        raise AuthError(
            f"no key goes to {name}: only a file names it, and all on the way could read the key",
            hint=f"Use https://, or where you trust it: --backend {choice.profile.base_url}",
        )
    variables = _variables(choice, host)
    for variable in variables:
        if key := environ.get(variable, "").strip():
            return key
    users = [name, host] if choice.trusted and "://" not in name else [host]
    why = "the keyring has none"
    try:
        for user in users:
            if key := _from_keyring(user).strip():
                return key
    except _NoKeyring as error:
        why = str(error)
    raise _missing(name, choice, variables, users[0], why)


def host_variable(host: str) -> str | None:
    """The variable that binds a key to `host`; None where its name would not be its own."""
    if not _HOSTNAME.fullmatch(host):
        return None  # an IPv6 address, or letters that would fall together
    return "FTJOBS_KEY_" + host.replace("-", "__").replace(".", "_").upper()


def _variables(choice: Choice, host: str) -> list[str]:
    """The variables to look in.  Where the place is not trusted, only one bound to it will do."""
    bound = [variable] if (variable := host_variable(host)) else []
    if choice.trusted:
        return [*bound, *choice.profile.key_variables]
    return [*bound, *(ANY_URL.key_variables if is_loopback(host) else ())]


class _NoKeyring(Exception):
    """Why the keyring could not be read."""


def _from_keyring(user: str) -> str:
    """A thread asks, so that a keyring that waits for its user for ever does not hold us."""
    answers: queue.SimpleQueue[str | _NoKeyring] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_asked(user))
        except _NoKeyring as why:
            answers.put(why)

    threading.Thread(target=ask, name="ftjobs-keyring", daemon=True).start()
    try:
        answer = answers.get(timeout=PATIENCE)
    except queue.Empty:
        raise _NoKeyring(f"the keyring did not answer in {PATIENCE:g} s") from None
    if isinstance(answer, _NoKeyring):
        raise answer
    return answer


def _asked(user: str) -> str:
    try:
        import keyring
        import keyring.errors
    except ImportError:
        raise _NoKeyring("the keyring needs: pip install 'ftjobs[keyring]'") from None
    try:
        return keyring.get_password(SERVICE, user) or ""
    except keyring.errors.NoKeyringError:
        raise _NoKeyring("this machine has no keyring") from None
    except Exception as error:  # noqa: BLE001 - each system's keyring raises errors of its own
        raise _NoKeyring(f"the keyring cannot be read: {type(error).__name__}") from None


def _missing(name: str, choice: Choice, variables: list[str], user: str, why: str) -> AuthError:
    named = [*choice.profile.key_variables] if choice.trusted else variables
    unset = f"{' and '.join(named)} {'is' if len(named) == 1 else 'are'} not set, and " * bool(
        named
    )
    ways = [*(f"set {variable}" for variable in named[:1]), f"keyring set {SERVICE} {user}"]
    if named and is_loopback(urlsplit(choice.profile.base_url).hostname or ""):
        ways.append("set it to none for a server that wants no key, as ftjobs serve may")
    if not choice.trusted:
        ways.append(f"where you trust it: --backend {choice.profile.base_url}")
    return AuthError(f"no key for {name}: {unset}{why}", hint=f"Do one of: {'; '.join(ways)}")

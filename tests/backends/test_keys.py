"""Keys: the environment, then a real keyring backend in this process; nothing else, and no leak."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import keyring
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, NoKeyringError

from ftjobs.backends.keys import find_key, host_variable
from ftjobs.backends.profiles import ANY_URL, PROFILES, Choice, Profile
from ftjobs.errors import AuthError

SECRET = "sk-secret-0123456789"
OPENAI = Choice(PROFILES["openai"], trusted=True)


class MemoryKeyring(KeyringBackend):
    """A keyring in memory; `broken` is what reading it raises."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.passwords: dict[tuple[str, str], str] = {}
        self.broken: Exception | None = None
        self.asked: list[str] = []

    def get_password(self, service: str, username: str) -> str | None:
        self.asked.append(username)
        if self.broken is not None:
            raise self.broken
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.passwords[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.passwords[service, username]


@pytest.fixture(autouse=True)
def ring() -> Iterator[MemoryKeyring]:
    before, memory = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(memory)
    yield memory
    keyring.set_keyring(before)


def at(url: str, *, trusted: bool = True, **fields: object) -> Choice:
    return Choice(ANY_URL.at(url).model_copy(update=fields), trusted)


# --- where a key is found -----------------------------------------------------------------------


def test_the_environment_goes_first(ring: MemoryKeyring) -> None:
    keyring.set_password("ftjobs", "openai", "sk-ring")
    assert find_key("openai", OPENAI, {"OPENAI_API_KEY": f" {SECRET}\n"}) == SECRET
    assert ring.asked == []


def test_the_keyring_has_it_by_profile_or_by_host() -> None:
    keyring.set_password("ftjobs", "api.openai.com", "sk-host")
    assert find_key("openai", OPENAI, {"OPENAI_API_KEY": " "}) == "sk-host"
    keyring.set_password("ftjobs", "openai", "sk-name")
    assert find_key("openai", OPENAI, {}) == "sk-name"


def test_a_url_has_it_by_host() -> None:
    keyring.set_password("ftjobs", "llm.example", "sk-host")
    choice = at("https://llm.example/v1")
    assert find_key("https://llm.example/v1", choice, {}) == "sk-host"


def test_a_key_bound_to_the_host_beats_a_general_one() -> None:
    environ = {"FTJOBS_KEY_LLM_EXAMPLE": "sk-host", "FTJOBS_API_KEY": "sk-general"}
    choice = at("https://llm.example/v1")
    assert find_key("lab", choice, environ) == "sk-host"
    del environ["FTJOBS_KEY_LLM_EXAMPLE"]
    assert find_key("lab", choice, environ) == "sk-general"


def test_variables_are_tried_in_order() -> None:
    profile = ANY_URL.at("https://h/v1").model_copy(update={"key_variables": ("A", "B")})
    assert find_key("x", Choice(profile, trusted=True), {"B": "b"}) == "b"
    assert find_key("x", Choice(profile, trusted=True), {"A": "a", "B": "b"}) == "a"


# --- where a key is not sent --------------------------------------------------------------------

EVERY_KEY = {
    variable: SECRET for profile in PROFILES.values() for variable in profile.key_variables
} | {"FTJOBS_API_KEY": SECRET, "GITHUB_TOKEN": SECRET}


def test_a_place_that_is_not_trusted_gets_only_keys_bound_to_it(ring: MemoryKeyring) -> None:
    for name in (*PROFILES, "lab"):
        keyring.set_password("ftjobs", name, SECRET)
    choice = at("https://evil.example/v1", trusted=False, key_variables=("OPENAI_API_KEY",))
    for name in ("lab", "openai", "https://evil.example/v1"):
        with pytest.raises(AuthError, match="FTJOBS_KEY_EVIL_EXAMPLE") as caught:
            find_key(name, choice, EVERY_KEY)
        assert "where you trust it: --backend https://evil.example/v1" in caught.value.hint
    assert ring.asked == ["evil.example"] * 3
    keyring.set_password("ftjobs", "evil.example", "sk-bound")
    assert find_key("lab", choice, EVERY_KEY) == "sk-bound"
    bound = EVERY_KEY | {"FTJOBS_KEY_EVIL_EXAMPLE": "sk-variable"}
    assert find_key("lab", choice, bound) == "sk-variable"


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.8.8.8:1", "[::1]:80"])
def test_this_machine_gets_the_general_key(host: str) -> None:
    choice = at(f"http://{host}/v1", trusted=False)
    assert find_key("lab", choice, {"FTJOBS_API_KEY": SECRET}) == SECRET


@pytest.mark.parametrize("host", ["localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"])
def test_what_only_looks_like_this_machine_does_not(host: str) -> None:
    with pytest.raises(AuthError):
        find_key("lab", at(f"http://{host}/v1", trusted=False), EVERY_KEY)


def test_no_key_goes_in_the_clear_to_a_place_that_is_not_trusted() -> None:
    bound = {"FTJOBS_KEY_LLM_EXAMPLE": SECRET}
    with pytest.raises(AuthError, match="on the way") as caught:
        find_key("lab", at("HTTP://llm.example/v1", trusted=False), bound)
    assert "--backend" in caught.value.hint
    assert find_key("lab", at("https://llm.example/v1", trusted=False), bound) == SECRET
    assert find_key("lab", at("http://llm.example/v1"), bound) == SECRET


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
HOST = st.lists(LABEL, min_size=1, max_size=4).map(".".join)


@given(HOST, HOST)
def test_two_hosts_never_share_a_variable(one: str, other: str) -> None:
    assert (host_variable(one) == host_variable(other)) == (one == other)


@given(st.text(max_size=12))
def test_odd_hosts_have_no_variable_or_a_plain_one(host: str) -> None:
    variable = host_variable(host)
    assert variable is None or variable.replace("_", "").isalnum()


@pytest.mark.parametrize("host", ["::1", "a_b.example", "-a.example", "a-.example", "münchen", ""])
def test_hosts_that_could_be_mistaken_have_none(host: str) -> None:
    assert host_variable(host) is None


# --- when there is none -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_the_error_says_the_variable_and_the_command(name: str) -> None:
    profile = PROFILES[name]
    with pytest.raises(AuthError) as caught:
        find_key(name, Choice(profile.at("https://h.example/v1"), trusted=True), {})
    text = str(caught.value)
    assert profile.key_variables[0] in text
    assert f"keyring set ftjobs {name}" in text
    assert int(caught.value.exit_code) == 4


def test_a_keyring_that_waits_for_its_user_holds_nobody(
    ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr("ftjobs.backends.keys.PATIENCE", 0.1)
    monkeypatch.setattr(ring, "get_password", lambda *_who: released.wait(10) and None)
    with pytest.raises(AuthError, match=r"did not answer in 0\.1 s"):
        find_key("openai", OPENAI, {})
    released.set()


def test_a_locked_keyring_is_no_crash(ring: MemoryKeyring) -> None:
    for broken in (KeyringLocked("no"), OSError(f"dbus {SECRET}"), RuntimeError(SECRET)):
        ring.broken = broken
        with pytest.raises(AuthError, match=type(broken).__name__) as caught:
            find_key("openai", OPENAI, {})
        assert SECRET not in str(caught.value)
        assert "OPENAI_API_KEY" in str(caught.value)
    assert find_key("openai", OPENAI, {"OPENAI_API_KEY": SECRET}) == SECRET


def test_a_machine_without_a_keyring_is_said_to_have_none(ring: MemoryKeyring) -> None:
    ring.broken = NoKeyringError("none")
    with pytest.raises(AuthError) as caught:
        find_key("openai", OPENAI, {})
    assert str(caught.value) == (
        "no key for openai: OPENAI_API_KEY is not set, and this machine has no keyring\n"
        "Do one of: set OPENAI_API_KEY; keyring set ftjobs openai"
    )


def test_without_the_library_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(AuthError, match=r"pip install 'ftjobs\[keyring\]'"):
        find_key("openai", OPENAI, {})


def test_a_key_in_the_environment_loads_no_keyring() -> None:
    code = (
        "import sys; from ftjobs.backends.opening import open_hosted;"
        "open_hosted('openai', environ={'OPENAI_API_KEY': 'k'});"
        "sys.exit(bool({'keyring', 'openai'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_profiles_are_printed_without_what_headers_hold() -> None:
    profile = Profile(
        base_url="https://h/v1", headers={"x-key": SECRET}, capabilities=ANY_URL.capabilities
    )
    assert SECRET not in repr(profile)
    assert SECRET not in repr(Choice(profile, trusted=True))
    assert profile.secrets("k") == ("k", SECRET)

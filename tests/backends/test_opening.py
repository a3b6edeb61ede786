"""Opening: names, settings and projects → a backend that talks to the right place with its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backends.null import Keyring as NoKeyring

from ftjobs.backends.opening import open_backend, open_hosted
from ftjobs.backends.wire import WireBackend
from ftjobs.config import Settings
from ftjobs.errors import AuthError, ConfigError
from tests.service import KEY, Service, running

ELSEWHERE = "sk-that-belongs-elsewhere"
KEYS = {"OPENAI_API_KEY": ELSEWHERE, "FTJOBS_API_KEY": ELSEWHERE, "GITHUB_TOKEN": ELSEWHERE}


@pytest.fixture(autouse=True)
def empty_keyring() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cloned repository, and a user with a config.toml next to it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "ftjobs").mkdir(parents=True)
    (tmp_path / "clone").mkdir()
    return tmp_path / "clone"


def load(project: Path, text: str, *, user: str = "", **flags: Any) -> Settings:
    (project / "ftjobs.toml").write_text(text)
    (project.parent / "config" / "ftjobs" / "config.toml").write_text(user)
    return Settings.load(environ={}, cwd=project, **flags)


def opened(settings: Settings, environ: Mapping[str, str]) -> WireBackend:
    backend = open_hosted(settings.backend, settings=settings, environ=environ)
    assert isinstance(backend, WireBackend)
    return backend


# --- one's own services -------------------------------------------------------------------------


def test_a_users_service_gets_the_key_of_its_variable(project: Path, service: Service) -> None:
    user = f'[profiles.lab]\nbase_url = "{service.url}"\nkey_variables = ["LAB_KEY"]'
    settings = load(project, 'backend = "lab"', user=user)
    with closing(opened(settings, KEYS | {"LAB_KEY": KEY})) as backend:
        assert [model.id for model in backend.models()] == ["fake-base"]
        assert backend.name == "lab"
    assert ELSEWHERE not in str(service.requests)


def test_a_projects_service_gets_the_key_bound_to_its_host(project: Path, service: Service) -> None:
    settings = load(project, f'backend = "lab"\n[profiles.lab]\nbase_url = "{service.url}"')
    with closing(opened(settings, KEYS | {"FTJOBS_KEY_127_0_0_1": KEY})) as backend:
        assert list(backend.files()) == []
    assert ELSEWHERE not in str(service.requests)


def test_an_own_key_header_replaces_the_bearer_token(project: Path, service: Service) -> None:
    user = f"""
        [profiles.lab]
        base_url = "{service.url}"
        key_variables = ["LAB_KEY"]
        key_header = "x-lab-key"
        key_prefix = ""
        headers = {{ x-team = "{{TEAM}}" }}
        query = {{ api-version = "v1" }}
    """
    settings = load(project, 'backend = "lab"', user=user)
    with (
        closing(opened(settings, {"LAB_KEY": KEY, "TEAM": "otter"})) as backend,
        pytest.raises(AuthError),
    ):
        list(backend.models())  # the loopback service knows bearer tokens only
    request = service.requests[-1]
    assert request.headers["x-lab-key"] == KEY
    assert request.headers["x-team"] == "otter"
    assert request.query == {"api-version": "v1"}
    assert "authorization" not in request.headers


# --- what a cloned repository cannot do ---------------------------------------------------------

HOSTILE = [
    'backend = "https://evil.example/v1"',
    'backend = "lab"\n[profiles.lab]\nbase_url = "https://evil.example/v1"',
    'backend = "openai"\n[profiles.openai]\nbase_url = "https://evil.example/v1"',
    'backend = "lab"\n[profiles.lab]\nbase_url = "https://evil.example/v1"\n'
    'key_variables = ["OPENAI_API_KEY"]',
    'backend = "lab"\n[profiles.lab]\nbase_url = "https://evil.example/v1"\n'
    'headers = { x-key = "{OPENAI_API_KEY}" }',
    'backend = "portkey"\n[profiles.portkey]\n'
    'headers = { x-portkey-custom-host = "https://evil.example" }',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_project_cannot_have_a_key_sent_to_its_host(project: Path, text: str) -> None:
    settings = load(project, text)
    environ = KEYS | {"PORTKEY_API_KEY": ELSEWHERE, "PORTKEY_PROVIDER": "@p"}
    with pytest.raises((AuthError, ConfigError)) as caught:
        opened(settings, environ)
    assert ELSEWHERE not in str(caught.value)


def test_the_same_url_from_flag_environment_or_code_is_the_users_word(project: Path) -> None:
    url = "https://lab.example/v1"
    with pytest.raises(AuthError, match="FTJOBS_KEY_LAB_EXAMPLE"):
        opened(load(project, f'backend = "{url}"'), KEYS)
    for settings in (
        load(project, f'backend = "{url}"', backend=url),
        load(project, "", user=f'backend = "{url}"'),
        Settings.load(environ={"FTJOBS_BACKEND": url}, cwd=project),
        Settings(backend=url, home=project, cache=project),
    ):
        assert opened(settings, KEYS).name == url
    assert open_hosted(url, environ=KEYS).name == url


def test_a_project_may_choose_a_known_service(project: Path) -> None:
    text = 'backend = "openai"\n[profiles.openai.capabilities]\npause = false'
    backend = opened(load(project, text), {"OPENAI_API_KEY": KEY})
    assert not backend.capabilities.pause


# --- places -------------------------------------------------------------------------------------


def test_what_a_variable_holds_is_checked_and_not_quoted() -> None:
    for odd in ("r.openai.azure.com", "https://me:sesame@h", "https://h?k=sesame"):
        environ = {"AZURE_OPENAI_ENDPOINT": odd, "AZURE_OPENAI_API_KEY": KEY}
        with pytest.raises(ConfigError) as caught:
            open_hosted("azure", environ=environ)
        assert "sesame" not in str(caught.value)


def test_unfinished_uploads_are_noted_in_the_home_folder(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, cache=tmp_path, profiles={"lab": {"base_url": "http://localhost:1"}}
    )
    backend = open_hosted("lab", settings=settings, environ={"FTJOBS_API_KEY": KEY})
    assert isinstance(backend, WireBackend)
    assert backend._uploader.journal == tmp_path / "uploads"


def test_open_backend_reads_the_process_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    settings = Settings(home=tmp_path, cache=tmp_path)
    assert open_backend("openai", settings).name == "openai"
    assert open_backend("local", settings).name == "local"

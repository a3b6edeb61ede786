"""Settings: flag over environment over project over user over default."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftjobs.config import Settings
from ftjobs.errors import ConfigError


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "config" / "ftjobs"
    folder.mkdir(parents=True)
    return folder


def test_precedence(tmp_path: Path, user_folder: Path) -> None:
    project = tmp_path / "project" / "deep"
    project.mkdir(parents=True)
    assert Settings.load(environ={}, cwd=project).backend == "local"
    (user_folder / "config.toml").write_text('backend = "user"\ndisplay = "plain"\n')
    assert Settings.load(environ={}, cwd=project).backend == "user"
    (tmp_path / "project" / "ftjobs.toml").write_text('backend = "project"\n')
    settings = Settings.load(environ={}, cwd=project)
    assert (settings.backend, settings.display) == ("project", "plain")
    environ = {"FTJOBS_BACKEND": "environment"}
    assert Settings.load(environ=environ, cwd=project).backend == "environment"
    assert Settings.load(environ=environ, cwd=project, backend="flag").backend == "flag"
    assert Settings.load(environ=environ, cwd=project, backend=None).backend == "environment"


def test_folders_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "ftjobs.toml").write_text('home = "store"\n')
    (tmp_path / "sub").mkdir()
    assert Settings.load(environ={}, cwd=tmp_path / "sub").home == tmp_path / "store"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("backend = ", "ftjobs.toml"),
        ('colour = "red"', "unknown setting 'colour'"),
        ('display = "loud"', "setting 'display'"),
        ("backend = 3", "setting 'backend'"),
        ("home = 3", "setting 'home'"),
        ("\xff", "ftjobs.toml"),
        ("a = " + "[" * 100_000, "ftjobs.toml"),
        ("a = " + "9" * 5000, "ftjobs.toml"),
        ('home = "a\\u0000b"', "setting 'home'"),
        ('cache = "~nosuchuser/x"', "setting 'cache'"),
        ("profiles = 3", "each is a table"),
        ("profiles = [{}]", "each is a table"),
        ("[profiles]\nlab = 3", "profiles.lab: it is a table"),
        ("[profiles.local]", "local is taken"),
        ("[profiles.Lab]", "'Lab' cannot be the name"),
        ('[profiles."https://h"]', "cannot be the name"),
        ('from_project = ["x"]', "unknown setting 'from_project'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "ftjobs.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=reason):
        Settings.load(environ={}, cwd=tmp_path)


def test_empty_variables_are_not_set(tmp_path: Path) -> None:
    assert Settings.load(environ={"FTJOBS_BACKEND": ""}, cwd=tmp_path).backend == "local"


def test_a_user_without_a_home_folder_must_name_the_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*args: object, **options: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    for name in ("user_data_path", "user_cache_path", "user_config_path"):
        monkeypatch.setattr(f"platformdirs.{name}", nowhere)
    with pytest.raises(ConfigError, match="setting 'home'"):
        Settings.load(environ={}, cwd=tmp_path)
    environ = {"FTJOBS_HOME": str(tmp_path), "FTJOBS_CACHE": str(tmp_path)}
    assert Settings.load(environ=environ, cwd=tmp_path).home == tmp_path


def test_a_working_folder_that_is_gone_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert Settings.load(environ={}).backend == "local"
    with pytest.raises(ConfigError, match="setting 'home'"):
        Settings.load(environ={"FTJOBS_HOME": "store"})


def test_profiles_come_from_both_files_the_projects_last(tmp_path: Path, user_folder: Path) -> None:
    text = '[profiles.lab]\nbase_url = "https://{}.example/v1"\n'
    (user_folder / "config.toml").write_text(text.format("user"))
    (tmp_path / "ftjobs.toml").write_text(text.format("project"))
    settings = Settings.load(environ={"FTJOBS_PROFILES": "x"}, cwd=tmp_path)
    assert [(table.name, table.from_project) for table in settings.profiles] == [
        ("lab", False),
        ("lab", True),
    ]
    assert [Path(table.source).name for table in settings.profiles] == [
        "config.toml",
        "ftjobs.toml",
    ]
    assert settings.profiles[1].fields == {"base_url": "https://project.example/v1"}


def test_profiles_may_be_given_in_python(tmp_path: Path) -> None:
    profiles = {"lab": {"base_url": "https://lab.example/v1"}}
    settings = Settings(home=tmp_path, cache=tmp_path, profiles=profiles)
    assert [table.name for table in settings.profiles] == ["lab"]
    assert not settings.profiles[0].from_project
    with pytest.raises(ValueError, match="local is taken"):
        Settings(home=tmp_path, cache=tmp_path, profiles={"local": {}})


def test_what_a_project_chose_is_not_the_users_word(tmp_path: Path, user_folder: Path) -> None:
    (user_folder / "config.toml").write_text('backend = "there"\n')
    assert Settings.load(environ={}, cwd=tmp_path).trusts("there")
    (tmp_path / "ftjobs.toml").write_text('display = "plain"\n')
    assert Settings.load(environ={}, cwd=tmp_path).trusts("there")
    (tmp_path / "ftjobs.toml").write_text('backend = "there"\n')
    chosen = Settings.load(environ={"FTJOBS_DISPLAY": "json", "FTJOBS_BACKEND": ""}, cwd=tmp_path)
    assert not chosen.trusts("there")
    assert not chosen.model_copy(update={"display": "plain"}).trusts("there")
    assert chosen.trusts("elsewhere")
    assert Settings.load(environ={}, cwd=tmp_path, backend="there").trusts("there")
    assert Settings.load(environ={"FTJOBS_BACKEND": "there"}, cwd=tmp_path).trusts("there")
    planned = Settings.load(environ={}, cwd=tmp_path, backend="there", untrusted={"backend"})
    assert not planned.trusts("there")


def test_settings_are_printed_without_what_profiles_hold(tmp_path: Path) -> None:
    profiles = {"lab": {"headers": {"x-key": "sk-secret"}}}
    assert "sk-secret" not in repr(Settings(home=tmp_path, cache=tmp_path, profiles=profiles))

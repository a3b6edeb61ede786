"""What is particular to each hosted service: data, so that it is easy to correct.

The shipped profiles are in `profiles.toml`; users add theirs, or replace single fields of a
shipped one, under `[profiles.NAME]` of `config.toml` or `ftjobs.toml`.

A project's `ftjobs.toml` may come with a cloned repository, so it is not trusted with keys.  It
may name a service of its own, and say what a known service can do; it cannot say where a known
service is, what is sent there, or which variable is read.  Keys for a service of its own must be
bound to the host (`ftjobs.backends.keys`).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ftjobs.config import OwnProfile
from ftjobs.errors import ConfigError
from ftjobs.schema import Capabilities, Hyperparameters, Sampling

__all__ = ["ANY_URL", "PROFILES", "Choice", "Note", "Profile", "check_url", "choose", "is_loopback"]

SETTINGS = frozenset(Hyperparameters.model_fields)
BODY = frozenset(
    {
        "model",
        "training_file",
        "validation_file",
        "method",
        "hyperparameters",
        "suffix",
        "seed",
        "metadata",
        "tags",
        "integrations",
    }
)
"""The fields of `create` that a job decides, and no profile."""

HARMLESS = frozenset(
    {"capabilities", "limits", "whole", "settings", "statuses", "closes", "closed_to_new_since"}
    | {"checked", "source", "notes"}
)
"""What a project may say about a service that is known without it."""

FILLED = ("base_url", "account", "headers", "query", "extra_body")
"""The fields that may hold `{NAME}` or `{NAME:-text}`, filled from the environment."""

_HOLE = re.compile(r"\{([A-Z][A-Z0-9_]*)(?::-([^{}]*))?\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_LONGEST_PUBLIC = 7  # a header's value of more characters might be a secret

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class _Closed(BaseModel):
    """Frozen, and an unknown field is a typing mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Note(_Closed):
    """Something to know about a service.

    `mark` says how it is known: V run or read in the released source, D the vendor's
    documentation, T a third party, I inferred.  `source` is empty where the profile's is meant.
    """

    text: str
    mark: Literal["V", "D", "T", "I"] = "I"
    source: str = ""


class Profile(_Closed):
    """One service.

    Attributes:
        adapter: who speaks to it.
        base_url: where its paths start, usually ending in `/v1`.
        account: the account in the paths of services that want one.
        key_variables: environment variables that may hold the key, the first one that is set.
        key_header: the header that carries the key.
        key_prefix: what stands before the key in that header.
        headers: further headers of every request.
        query: query parameters of every request.
        capabilities: what it can do; more is refused before anything is sent.
        settings_in: where `create` takes hyperparameters.
        metadata_in: the field of a job that keeps metadata; tags are texts "key=value".
        renamed: our name of a hyperparameter → the service's.
        limits: the least and the most of a hyperparameter.
        whole: hyperparameters that must be whole numbers here.
        settings: hyperparameters by the service's names that every job gets unless it says else.
        lora_switch: the hyperparameter that becomes true where a `lora_*` setting is given.
        extra_body: further fields of `create`.
        parts: whether files may be uploaded in parts (`/uploads`).
        statuses: the service's word for a status → ours.
        closes: the day from which nobody can create jobs.
        closed_to_new_since: the day from which new customers cannot.
        checked: when all this was last compared with its source.
        source: where it is from.
        notes: what else to know.
    """

    adapter: Literal["wire", "together", "fireworks"] = "wire"
    base_url: str = ""
    account: str = ""
    key_variables: tuple[Variable, ...] = ("FTJOBS_API_KEY",)
    key_header: str = "Authorization"
    key_prefix: Annotated[str, Field(pattern=r"^[ -~]*$")] = "Bearer "
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    query: Mapping[str, str] = Field(default_factory=dict)
    capabilities: Capabilities
    settings_in: Literal["method", "hyperparameters"] = "method"
    metadata_in: Literal["metadata", "tags", "none"] = "metadata"
    renamed: Mapping[str, str] = Field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = Field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = Field(default_factory=dict)
    lora_switch: str = ""
    extra_body: Mapping[str, Any] = Field(default_factory=dict)
    parts: bool = False
    statuses: Mapping[str, str] = Field(default_factory=dict)
    closes: dt.date | None = None
    closed_to_new_since: dt.date | None = None
    checked: dt.date | None = None
    source: str = ""
    notes: tuple[Note, ...] = ()

    @field_validator("key_header", "headers")
    @classmethod
    def _header_names(cls, value: str | Mapping[str, str]) -> str | Mapping[str, str]:
        for name in [value] if isinstance(value, str) else value:
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a header")
            if name.lower() == "host":  # a front with many hosts would hand the key to another
                raise ValueError("base_url decides the header Host")
        return value

    @field_validator("renamed", "limits", "whole")
    @classmethod
    def _known_settings(cls, value: Iterable[str]) -> Iterable[str]:
        _only(value, SETTINGS, "hyperparameter")
        return value

    @field_validator("renamed")
    @classmethod
    def _one_to_one(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if len({*value.values(), *(SETTINGS - value.keys())}) < len(SETTINGS):
            raise ValueError("two hyperparameters have one name")
        return value

    @field_validator("limits")
    @classmethod
    def _low_to_high(
        cls, value: Mapping[str, tuple[float, float]]
    ) -> Mapping[str, tuple[float, float]]:
        for name, (low, high) in value.items():
            if not low <= high:
                raise ValueError(f"{name}: the least comes before the most")
        return value

    @field_validator("capabilities")
    @classmethod
    def _known_capabilities(cls, value: Capabilities) -> Capabilities:
        _only(value.hyperparameters, SETTINGS, "hyperparameter")
        _only(value.sampling, Sampling.model_fields, "sampling setting")
        return value

    @field_validator("extra_body")
    @classmethod
    def _not_the_job(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if taken := BODY & value.keys():
            raise ValueError(f"{min(taken)} is decided by the job")
        return value

    @model_validator(mode="after")
    def _agrees(self) -> Profile:
        can = self.capabilities
        if self.adapter != "wire":
            return self
        if self.settings_in == "hyperparameters" and can.methods - {"supervised"}:
            raise ValueError(
                'settings_in = "hyperparameters" names no method: '
                'capabilities.methods can be ["supervised"] only'
            )
        if self.metadata_in == "none" and (can.metadata or can.identity == "metadata"):
            raise ValueError(
                'metadata_in = "none" needs capabilities.metadata = false and '
                'capabilities.identity = "suffix"'
            )
        return self

    def at(self, url: str) -> Profile:
        """The same wire at another place."""
        return self.model_copy(update={"base_url": url})

    def auth(self, key: str) -> dict[str, str]:
        """The headers of every request, with `key` in its place."""
        return {**self.headers, self.key_header: f"{self.key_prefix}{key}"}

    def secrets(self, key: str) -> tuple[str, ...]:
        """The texts that no message may quote: the key, and what headers hold."""
        return key, *(text for text in self.headers.values() if len(text) > _LONGEST_PUBLIC)

    def variables(self) -> frozenset[str]:
        """The environment variables that its texts name, the key's aside."""
        return frozenset(name for name, _ in _HOLE.findall(str([*self._texts().values()])))

    def filled(self, environ: Mapping[str, str]) -> Profile:
        """The profile with its variables' values.

        Raises:
            ConfigError: a variable without a fallback is not set, or a header cannot carry it.
        """
        texts = {field: _fill(value, environ) for field, value in self._texts().items()}
        if texts["base_url"] != self.base_url:  # "https://host/" + "/v1"
            texts["base_url"] = re.sub(r"(?<!:)//+", "/", texts["base_url"])
        for name, text in texts["headers"].items():
            if not re.fullmatch(r"[ -~]*", text):
                raise ConfigError(f"the header {name} cannot carry what its variable holds")
        return self.model_copy(update=texts)

    def _texts(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in FILLED}


def _only(names: Iterable[str], known: Iterable[str], what: str) -> None:
    if unknown := sorted({*names} - {*known}):
        raise ValueError(f"unknown {what} {unknown[0]!r}; known: {', '.join(sorted(known))}")


def _fill(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _HOLE.sub(lambda hole: _value(hole, environ), value)
    if isinstance(value, Mapping):
        return {key: _fill(each, environ) for key, each in value.items()}
    return [_fill(each, environ) for each in value] if isinstance(value, list) else value


def _value(hole: re.Match[str], environ: Mapping[str, str]) -> str:
    name, fallback = hole.groups()
    value = environ.get(name, "").strip() or fallback
    if value is None:
        raise ConfigError(
            f"{name} is not set", hint="This service needs it: set it in the environment."
        )
    return value


# --- the shipped ones ---------------------------------------------------------------------------


def _tables() -> dict[str, dict[str, Any]]:
    text = resources.files("ftjobs.backends").joinpath("profiles.toml").read_text("utf-8")
    return tomllib.loads(text)


_SHIPPED = _tables()
PROFILES: Mapping[str, Profile] = {
    name: Profile.model_validate(table) for name, table in _SHIPPED.items()
}
"""The profiles that ship with ftjobs, by name."""

ANY_URL = Profile(
    capabilities=PROFILES["openai"].capabilities.model_copy(update={"max_file_bytes": None})
)
"""A service that is only known by its base URL: the OpenAI wire, as documented."""


# --- one's own ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """A profile, and whether its place was chosen by someone who may spend the user's keys."""

    profile: Profile
    trusted: bool


def choose(name: str, own: Iterable[OwnProfile] = (), *, trusted: bool = True) -> Choice:
    """The profile called `name`, or the wire at a base URL.

    Args:
        name: a shipped profile, one of `own`, or a base URL.
        own: the profiles of the settings files, the strongest last.
        trusted: whether `name` is the user's word; a URL in a project's file, a job or a plan
            is not.

    Raises:
        ConfigError: there is no such profile, or a settings file says what it cannot.
    """
    if "://" in name:
        return Choice(ANY_URL.at(name), trusted)
    tables = [table for table in own if table.name == name]
    if name not in _SHIPPED and not tables:
        known = ", ".join(["local", *{**_SHIPPED, **{table.name: {} for table in own}}])
        raise ConfigError(
            f"no backend {name!r}", hint=f"Known: {known}, or a base URL such as https://host/v1."
        )
    shipped = _SHIPPED.get(name)
    bound = shipped is None and tables[0].from_project
    fields: Mapping[str, Any] = shipped or {"capabilities": ANY_URL.capabilities.model_dump()}
    profile = PROFILES.get(name, ANY_URL)
    for number, table in enumerate(tables):
        if table.from_project:
            _check_project(table, known=bool(shipped or number))
        fields = _merged(fields, table.fields)
        profile = _validated(fields, table)
    return Choice(profile, not bound)


def _check_project(table: OwnProfile, *, known: bool) -> None:
    """Refuse what would let a cloned repository redirect a key.  ConfigError names the field."""
    for field, value in table.fields.items():
        if known and field not in HARMLESS:
            raise _mistake(
                table,
                field,
                "a project's file cannot change this of a service it did not make",
                "Put it into your own config.toml, or give the project's service another name. "
                f"A project may set: {', '.join(sorted(HARMLESS))}.",
            )
        if field == "key_variables" or _HOLE.search(str(value)):
            raise _mistake(
                table,
                field,
                "a project's file cannot name environment variables",
                "They might hold your keys. Put it into your own config.toml.",
            )


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `change`; tables are merged, all else is replaced."""
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merged(old, value)
        merged[key] = value
    return merged


def _validated(fields: Mapping[str, Any], table: OwnProfile) -> Profile:
    try:
        profile = Profile.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise _from_pydantic(table, first) from None
    if not profile.base_url:
        raise _mistake(table, "base_url", "is missing", "It looks like https://host/v1.")
    if not profile.variables():
        check_url(profile.base_url)
    return profile


def _from_pydantic(table: OwnProfile, error: Any) -> ConfigError:
    place = [str(part) for part in error["loc"]]
    field = ".".join(place)
    if error["type"] != "extra_forbidden":
        return _mistake(table, field, str(error["msg"]).removeprefix("Value error, "))
    inner: Mapping[str, type[BaseModel]] = {"capabilities": Capabilities, "notes": Note}
    cls = inner.get(place[0], Profile) if place[1:] else Profile
    known = ", ".join(sorted(cls.model_fields))
    return _mistake(table, field, "is no field of a profile", f"Known: {known}.")


def _mistake(table: OwnProfile, field: str, what: str, hint: str = "") -> ConfigError:
    place = f"[profiles.{table.name}]{f' {field}' if field else ''}"
    return ConfigError(f"{table.source}: {place}: {what}", hint=hint)


# --- URLs ---------------------------------------------------------------------------------------


def check_url(url: str) -> None:
    """Make sure that `url` can be a base URL and holds no secret.  ConfigError otherwise."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and not re.search(r"[\s\x00-\x1f\x7f]", url)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("not a base URL", hint="It looks like https://host/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            f"the base URL of {parts.hostname} holds more than a place",
            hint="Leave out user, password, ? and #; keys come from the environment.",
        )


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

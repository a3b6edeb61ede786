"""What is particular to each hosted service: data, so that it is easy to correct.

The shipped profiles are in `profiles.toml`; users add theirs, or replace single fields of a
shipped one, under `[profiles.NAME]` of `ftjobs.toml` or `config.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from ftjobs.errors import ConfigError
from ftjobs.schema import Capabilities

__all__ = ["ANY_URL", "PROFILES", "Profile", "check_url"]


class Profile(BaseModel):
    """One service.

    Attributes:
        adapter: who speaks to it.
        base_url: where its paths start, usually ending in `/v1`.
        key_variables: environment variables that may hold the key, the first one that is set.
        key_header: the header that carries the key.
        key_prefix: what stands before the key in that header.
        headers: further headers of every request.
        query: query parameters of every request.
        capabilities: what it can do; more is refused before anything is sent.
        settings_in: where `create` takes hyperparameters.
        metadata_in: the field of a job that keeps metadata; None where there is none.
        renamed: our name of a hyperparameter → the service's.
        extra_body: further fields of `create`.
        parts: whether files may be uploaded in parts (`/uploads`).
        statuses: the service's word for a status → ours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: Literal["wire", "together", "fireworks"] = "wire"
    base_url: str = ""
    key_variables: tuple[str, ...] = ("FTJOBS_API_KEY",)
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    query: Mapping[str, str] = Field(default_factory=dict)
    capabilities: Capabilities
    settings_in: Literal["method", "hyperparameters"] = "method"
    metadata_in: Literal["metadata", "tags"] | None = "metadata"
    renamed: Mapping[str, str] = Field(default_factory=dict)
    extra_body: Mapping[str, Any] = Field(default_factory=dict)
    parts: bool = False
    statuses: Mapping[str, str] = Field(default_factory=dict)

    def at(self, url: str) -> Profile:
        """The same wire at another place."""
        return self.model_copy(update={"base_url": url})

    def auth(self, key: str) -> dict[str, str]:
        """The headers of every request, with `key` in its place."""
        return {**self.headers, self.key_header: f"{self.key_prefix}{key}"}


# Reinforcement fine-tuning needs a grader, which a JobSpec cannot say.
WIRE = Capabilities(
    methods=frozenset({"supervised", "dpo"}),
    hyperparameters=frozenset({"n_epochs", "batch_size", "learning_rate_multiplier", "beta"}),
    pause=True,
    list_lag=10.0,
    events_lag=5.0,
)
PROFILES: Mapping[str, Profile] = {
    "openai": Profile(
        base_url="https://api.openai.com/v1",
        key_variables=("OPENAI_API_KEY",),
        parts=True,
        capabilities=WIRE,
    ),
}
ANY_URL = Profile(capabilities=WIRE)


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

"""What whoever runs a server can set: the table `[serve]` of the settings, and the flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ftjobs.errors import ConfigError

Bytes = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
FilePath = Annotated[Path, AfterValidator(Path.expanduser)]

MiB, GiB = 2**20, 2**30


class Options(BaseModel):
    """How a server listens and what it bears.

    `models` names base models that clients may train and ask beside those which the backend lists:
    `{"support-base": "/srv/models/support"}`.  A client's own word is never taken for a path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Where to listen.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0 takes a free one.")
    tls_cert: FilePath | None = Field(None, description="Certificate chain, PEM.")
    tls_key: FilePath | None = Field(None, description="Its private key, PEM.")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Names that clients may call this server by, beside its address."
    )
    models: Mapping[str, str] = Field(
        default_factory=dict, description="Base models by the names that clients use."
    )
    max_file_bytes: Bytes = Field(512 * MiB, description="Largest file.")
    max_upload_bytes: Bytes = Field(8 * GiB, description="Largest file sent in parts.")
    quota_bytes: Bytes = Field(50 * GiB, description="Files of one project together.")
    max_body_bytes: Bytes = Field(8 * MiB, description="Largest request that is no file.")
    requests_per_minute: Count = Field(
        1200, description="Of one key, or of an address without one; more get 429."
    )
    connections: Count = Field(512, description="Open at once; more get 503.")
    connections_per_address: Count = Field(
        256, description="Of one address, such as a proxy's; more get 503."
    )
    uploads: Count = Field(16, description="Files that come at once; more get 429.")
    chats: Count = Field(64, description="Answered at once.")
    chats_waiting: Count = Field(256, description="That wait for their turn; more get 429.")
    jobs_waiting: Count = Field(100, description="Unfinished jobs of one project; more get 429.")
    integrations: tuple[str, ...] = Field(
        ("tensorboard",),
        description="Trackers that jobs may report to: those elsewhere take them for whoever runs "
        "the server. An `admin` key, and a server without keys, may use any.",
    )
    patience: Seconds = Field(
        20.0,
        description="Seconds for the head of a request, for the next piece of its body, and for "
        "the client to take some of an answer.",
    )
    shutdown: Seconds = Field(20.0, description="Seconds for answers under way when it is ended.")

    @classmethod
    def load(cls, table: Mapping[str, Any], **flags: Any) -> Options:
        """The options of the table `[serve]`; a flag that is not None goes before it.

        Raises:
            ConfigError: a setting is not known, or its value cannot be used.
        """
        given = {name: value for name, value in flags.items() if value is not None}
        try:
            options = cls.model_validate({**table, **given})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            name = str(first["loc"][0])
            if first["type"] == "extra_forbidden":
                known = ", ".join(sorted(cls.model_fields))
                raise ConfigError(
                    f"[serve]: unknown setting {name!r}", hint=f"Known: {known}."
                ) from None
            raise ConfigError(f"[serve]: {name}: {first['msg']}") from None
        if options.tls_key is not None and options.tls_cert is None:
            raise ConfigError("tls_key is given, and no tls_cert", hint="Give both, or neither.")
        return options

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftjobs.errors import ConfigError
from ftjobs.server.options import Options


def test_a_flag_goes_before_the_table_and_none_is_no_flag() -> None:
    options = Options.load({"port": 1, "host": "::1"}, port=2, host=None)
    assert (options.port, options.host) == (2, "::1")


@pytest.mark.parametrize(
    ("table", "said"),
    [({"prot": 1}, "unknown setting 'prot'"), ({"port": 70000}, "port"), ({"port": "x"}, "port"),
     ({"patience": float("inf")}, "patience"), ({"chats": 0}, "chats"),
     ({"models": ["x"]}, "models"), ({"tls_key": "key.pem"}, "no tls_cert")],
)  # fmt: skip
def test_what_cannot_be_used_is_named(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Options.load(table)


def test_a_path_may_begin_at_home() -> None:
    options = Options.load({"tls_cert": "~/cert.pem"})
    assert options.tls_cert == Path("~/cert.pem").expanduser()

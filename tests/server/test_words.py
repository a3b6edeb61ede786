"""Names in place of folders, in whatever text leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftjobs.server.words import Words

WORDS = Words(
    {"support": "/srv/support", "other": "/srv/support-v2", "near": "./models/near"},
    Path("/srv/home"),
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("/srv/support: no such model", "support: no such model"),
        ("no model in '/srv/support'.", "no model in 'support'."),
        ("no model in /srv/support.", "no model in support."),
        ("/srv/support/config.json", "support/config.json"),
        ("./models/near is empty", "near is empty"),
        ("/srv/support-v2/x of /srv/home/files", "other/x of …/files"),
        ("/srv/home", "…"),
    ],
)
def test_a_folder_of_ours_is_its_name(text: str, plain: str) -> None:
    assert WORDS.plain(text) == plain


@pytest.mark.parametrize(
    "text",
    ["/srv/support-v2-secret/x", "/srv/homestead", "/srv/support.old/x", "/srv/support_2",
     "/data/srv/home/x"],
)  # fmt: skip
def test_another_folder_is_not_called_by_the_name_that_it_begins_with(text: str) -> None:
    assert WORDS.plain(text) == text

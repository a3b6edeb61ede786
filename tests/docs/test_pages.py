"""The reference is fresh, links lead somewhere, and every page can be reached."""

from __future__ import annotations

import re
import runpy
from urllib.parse import unquote

import pytest
from pydantic import BaseModel

from ftjobs.backends.profiles import PROFILES, Profile
from ftjobs.cli.watch import SECRETS
from ftjobs.config import Settings
from ftjobs.data.rules import RULES
from ftjobs.schema import Capabilities, Hyperparameters, Sampling
from tests.docs.pages import PAGES, ROOT, Page

REFERENCE = ROOT / "docs/reference"


def test_the_reference_is_what_the_program_says_now() -> None:
    fresh = runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]()
    committed = {
        path.relative_to(REFERENCE).as_posix(): path.read_text("utf-8")
        for path in REFERENCE.rglob("*")
        if path.is_file()
    }
    assert committed == fresh, "run: make docs"


def test_every_code_and_setting_is_in_the_reference() -> None:
    codes = (REFERENCE / "codes.md").read_text("utf-8")
    assert re.findall(r"^\| \[(FT\d+)\]\(codes/\1\.md\)", codes, re.MULTILINE) == list(RULES)
    for code, rule in RULES.items():
        page = (REFERENCE / f"codes/{code}.md").read_text("utf-8")
        assert f"# {code}: {rule.title}\n" in page
    settings = (REFERENCE / "settings.md").read_text("utf-8")
    models: list[type[BaseModel]] = [Settings, Hyperparameters, Sampling, Profile, Capabilities]
    names = [name for model in models for name in model.model_fields]
    assert [
        name for name in names if not re.search(rf"^\| `{name}` *\| .*\w", settings, re.MULTILINE)
    ] == []
    variables = {
        "FTJOBS_NOTIFY",
        *SECRETS,
        *(name for profile in PROFILES.values() for name in profile.key_variables),
    }
    assert [name for name in variables if f"`{name}`" not in settings] == []


def test_both_readmes_show_the_same_code() -> None:
    english, japanese = (shown(Page(ROOT / name)) for name in ("README.md", "README.ja.md"))
    assert japanese == english


def shown(page: Page) -> list[str]:
    """Its code, without the remarks, which are translated."""
    code = [block.text for block in page.blocks if block.language in ("sh", "python")]
    return [re.sub(r" +# .*$", "", text, flags=re.MULTILINE) for text in code]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links():
        path, _, anchor = unquote(link).partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors(), link


def test_every_page_is_in_the_menu() -> None:
    """Or, for the pages of the codes, in their list: a menu of all codes would hide the rest."""
    menu = re.findall(
        r"^ +- (?:[^:]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE
    )
    menu += [f"reference/codes/{code}.md" for code in RULES]
    written = [page.name.removeprefix("docs/") for page in PAGES if page.name.startswith("docs/")]
    assert sorted(menu) == sorted(written)

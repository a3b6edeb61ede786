"""What the tests of the GPU share: nothing of them has a meaning on a CPU, so there they skip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from tests import tiny
from tests.backends.local.conftest import stop_worker


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def backends(tmp_path: Path) -> Iterator[list[LocalBackend]]:
    """One whose jobs one process trains, and one whose jobs two train."""
    made = [
        LocalBackend(Settings(home=tmp_path / str(n), cache=tmp_path, processes=n)) for n in (1, 2)
    ]
    yield made
    for each in made:
        stop_worker(each)

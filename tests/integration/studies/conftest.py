from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.registry.database import Registry, open_registry


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def registry(database: Path) -> Iterator[Registry]:
    with open_registry(f"sqlite:///{database}") as opened:
        yield opened

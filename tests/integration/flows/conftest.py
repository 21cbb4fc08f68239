"""Trainings of tiny entry points, through the flows, without a Prefect server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.domain.specs import TrainingSpec
from tests.processes import processes_of

MakeSpec = Callable[..., TrainingSpec]


@pytest.fixture
def make_spec(home: Path, tmp_path: Path) -> MakeSpec:
    """Settings of a training whose entry point is the given source."""

    def make(source: str, name: str = "t", **settings: Any) -> TrainingSpec:
        code = tmp_path / f"code-{name}"
        code.mkdir()
        (code / "train.py").write_text(source)
        settings.setdefault("output", f"file://{tmp_path}/out-{name}")
        return TrainingSpec.model_validate(
            {"name": name, "algorithm": f"file://{code}", "entry_point": "train.py", **settings}
        )

    return make


@pytest.fixture(autouse=True)
def _nothing_left(home: Path) -> Iterator[None]:
    yield
    assert processes_of(home) == [], "a test left processes behind"

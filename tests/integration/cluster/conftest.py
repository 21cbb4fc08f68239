"""What the tests of one machine's cluster stand on: a run's directory, and proof that nothing of it is left."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.cluster import cgroups
from blocks.cluster.layout import RunLayout
from blocks.cluster.processes import end_processes, find_processes


def make_run(home: Path, run_id: str = "run-1", *, vcpus: float = 1, created_us: int = 1, **more: object) -> RunLayout:
    """A run's directory as `launch` leaves it, without an agent."""
    layout = RunLayout(home, run_id)
    layout.directory.mkdir(parents=True)
    layout.lock.touch()
    summary = {"run_id": run_id, "created_us": created_us, "labels": {}, "workers": 1, "vcpus": vcpus}
    layout.summary.write_text(json.dumps({**summary, "memory_mib": 64, "gpus": 0, "limit_mib": 1, **more}))
    return layout


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunLayout]:
    """A run whose processes, if the test leaves any, are ended and reported."""
    layout = make_run(tmp_path / "home")
    yield layout
    left = find_processes(layout.directory)
    end_processes(layout.directory, 0)
    cgroups.remove_groups(layout.directory)
    assert not left, f"processes {left} were left behind"

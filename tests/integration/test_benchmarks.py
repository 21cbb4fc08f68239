"""The short forms of the benchmarks that no test of their own runs: each ends well and says what it measured."""

import subprocess
import sys
from pathlib import Path

import pytest

SAID = {
    "cli": "makerflow training list",
    "environment": "the same environment again",
    "front_door": "requests/s",
    "metrics": "MB/s",
    "monitoring": "the registry of these",
    "registry": "of the driver's",
    "training": "overhead",
}


@pytest.mark.parametrize("name", SAID)
def test_a_benchmark_runs_in_its_short_form(home: Path, name: str) -> None:
    command = [sys.executable, "-m", f"tests.benchmarks.bench_{name}", "--short"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert ended.returncode == 0, ended
    assert SAID[name] in ended.stdout

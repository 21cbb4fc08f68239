"""`makerflow tuning dashboard`, where the platform does not run; where it does, the browser tests open it."""

import subprocess
import sys
from pathlib import Path

import pytest

from blocks.domain.errors import InvalidInputError, NotFoundError
from blocks.registry.database import open_registry
from deployments.cli.tuning_dashboard import dashboard
from tests.doubles.tunings import make_tuning

HEAVY = """
import sys, deployments.cli.tuning_dashboard
print(sorted({'optuna', 'sqlalchemy', 'prefect'} & set(sys.modules)))
"""


@pytest.mark.req("TUN-13")
def test_without_the_platform_the_command_says_how_to_start_it_or_to_look_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKERFLOW_HOME", str(tmp_path))
    with open_registry(f"sqlite:///{tmp_path / 'registry.db'}") as registry:
        make_tuning(registry, "digits-tuning")
    with pytest.raises(InvalidInputError, match=r"makerflow up --detach.*makerflow tuning trials digits-tuning"):
        dashboard("digits-tuning", open_it=False)
    with pytest.raises(NotFoundError):
        dashboard("nobody", open_it=False)


def test_the_command_line_waits_for_none_of_what_the_dashboard_needs() -> None:
    told = subprocess.run([sys.executable, "-c", HEAVY], check=True, capture_output=True, text=True)
    assert told.stdout == "[]\n"

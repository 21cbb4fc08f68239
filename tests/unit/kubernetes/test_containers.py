"""What the containers of the platform's pod find and do before they are the parts of `makerflow up`."""

import os
import shutil
import time
from pathlib import Path

import pytest

from blocks.connections.settings import own_api, read_settings
from blocks.domain.errors import InvalidInputError
from deployments.kubernetes.part import part_environment
from deployments.kubernetes.prepare import OUTPUT, prepare
from deployments.kubernetes.probe import is_fresh, main
from deployments.up.layout import Layout

EVERYWHERE = "0.0.0.0"  # noqa: S104 - within the pod
DATABASE = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://makerflow@database/prefect"}


@pytest.fixture
def layout(home: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """What a prepared pod has."""
    monkeypatch.setenv("MAKERFLOW_ACCESS_STRING", "me:a-password")
    prepare(EVERYWHERE, 4200)
    return Layout(home)


def test_a_pod_that_asks_nobody_who_they_are_does_not_start(home: Path) -> None:
    with pytest.raises(InvalidInputError, match="no access string is required"):
        prepare(EVERYWHERE, 4200)


def test_who_has_signed_in_stays_so_when_the_pod_is_another(layout: Layout) -> None:
    token = (layout.directory / "token").read_text()
    shutil.rmtree(layout.directory)
    prepare(EVERYWHERE, 4200)
    assert (layout.directory / "token").read_text() == token
    assert own_api(read_settings()) == "http://127.0.0.1:4200/api"


def test_what_flow_runs_print_is_the_container_s_output(layout: Layout) -> None:
    assert os.readlink(layout.log("flow-runs")) == OUTPUT


def test_a_part_keeps_what_its_container_says_of_prefect_and_never_sees_the_access_string(layout: Layout) -> None:
    given = {**DATABASE, "MAKERFLOW_ACCESS_STRING": "me:a-password", "PGPASSWORD": "x"}
    found = part_environment(read_settings(), layout, given)
    assert found.items() >= {**DATABASE, "PGPASSWORD": "x"}.items()
    assert found["PREFECT_API_AUTH_STRING"] == f"makerflow:{(layout.directory / 'token').read_text()}"
    assert found["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert "me:a-password" not in found.values()


def test_a_part_without_a_database_of_its_own_has_that_of_the_home(layout: Layout) -> None:
    found = part_environment(read_settings(), layout, {})
    assert found["PREFECT_SERVER_DATABASE_CONNECTION_URL"].startswith("sqlite")


def test_a_pulse_that_has_stopped_is_told_by_the_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "pulse"
    assert main("fresh", str(file), "inf") == 1
    file.touch()
    assert main("fresh", str(file), "60") == 0
    long_ago = time.time() - 61
    os.utime(file, (long_ago, long_ago))
    assert not is_fresh(file, 60)
    assert main("fresh", str(file), "inf") == 0


def test_a_part_that_does_not_answer_is_told_by_the_exit_code(tmp_path: Path) -> None:
    assert main("answers", str(tmp_path / "no.sock"), "/health") == 1

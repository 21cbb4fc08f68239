"""What the product uses of Prefect beyond its documented interface: checked against Prefect 3.8.8.

When one of these fails, look at `deployments/runner.py`, `deployments/flow_processes.py` and `deployments/schedules.py`
before anything else.
"""

import inspect
from datetime import UTC, datetime
from importlib.metadata import version

import pytest
from prefect import engine
from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.runner._control_channel import ControlChannel
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._scheduled_run_poller import ScheduledRunPoller

SERIES = ("3.8.", "3.9.")
"""What `pyproject.toml` lets in."""


def test_prefect_is_of_a_series_that_the_product_allows() -> None:
    assert version("prefect").startswith(SERIES)


@pytest.mark.parametrize("name", ["_client", "_control_channel", "_scheduled_run_poller"])
def test_the_runner_has_the_parts_that_are_replaced_or_handed_on(name: str) -> None:
    assert f"self.{name}" in inspect.getsource(Runner)


def test_the_poller_asks_for_whoever_starts_a_flow_run() -> None:
    assert "resolve_starter" in inspect.signature(ScheduledRunPoller.__init__).parameters
    assert "self._resolve_starter(flow_run)" in inspect.getsource(ScheduledRunPoller)


def test_the_poller_starts_what_it_gets_by_a_method_of_its_own() -> None:
    assert "await self._get_scheduled_flow_runs()" in inspect.getsource(ScheduledRunPoller)


def test_the_control_channel_gives_a_port_and_a_token_for_a_flow_run() -> None:
    assert list(inspect.signature(ControlChannel.register).parameters) == ["self", "flow_run_id"]
    assert list(inspect.signature(ControlChannel.unregister).parameters) == ["self", "flow_run_id"]


def test_a_process_is_told_by_its_pid_and_exit_code() -> None:
    class Process:
        pid, exitcode = 7, 0

    handle = ProcessHandle(Process())  # type: ignore[arg-type] # the point
    assert (handle.pid, handle.returncode) == (7, 0)


def test_a_deployment_has_a_form_and_the_engine_can_be_run_as_a_program() -> None:
    assert "_parameter_openapi_schema" in RunnerDeployment.__private_attributes__
    assert 'if __name__ == "__main__"' in inspect.getsource(engine)


def test_the_reader_of_rules_gives_their_times_until_there_are_none() -> None:
    times = croniter("0 3 1 1 * 0 2030", datetime(2029, 1, 1, tzinfo=UTC), ret_type=datetime)  # type: ignore[no-untyped-call]
    assert next(times) == datetime(2030, 1, 1, 3, tzinfo=UTC)
    with pytest.raises(CroniterBadDateError):
        next(times)

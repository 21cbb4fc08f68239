"""A flow run that is asked for in two steps, where the server is busy or its answers get lost."""

import logging
from collections.abc import Iterator

import pytest
from prefect import flow
from prefect.states import Running

from blocks.connections.settings import read_settings
from tasks import triggering
from tasks.triggering import DEPLOYMENT, handed_over
from tests.doubles.fault_proxy import Fault, FaultProxy, Request, fault_proxy
from tests.integration.deployments.conftest import Workflows

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("deployments"), pytest.mark.req("COM-04")]

BUSY = Fault(answer=(503, {}, b'{"exception_message": "Service Unavailable"}'))
"""What Prefect's server answers where its database is locked."""


@flow(name="begun-by-hand")
def begun_by_hand() -> None:
    """A flow whose runs no runner begins."""


@pytest.fixture
def proxy(workflows: Workflows) -> Iterator[FaultProxy]:
    """Before the server of the platform that runs on this home."""
    client = workflows.client
    deployment = client.create_deployment(client.create_flow_from_name(begun_by_hand.name), DEPLOYMENT)
    with fault_proxy(str(client.api_url)) as found, workflows.platform_runs():
        read_settings().server_file.write_text(f"{found.url}/api")
        yield found
    for run in workflows.runs_of(begun_by_hand):
        client.delete_flow_run(run.id)
    client.delete_deployment(deployment)


def hang_up() -> None:
    raise ConnectionResetError


def is_deletion(request: Request) -> bool:
    return request.method == "DELETE"


def is_start(request: Request) -> bool:
    return request.path.endswith("/set_state")


def hand_over_without_success() -> None:
    with handed_over(begun_by_hand):
        raise ZeroDivisionError


@pytest.mark.parametrize("fault", [BUSY, Fault(before=hang_up)], ids=["busy", "hangs up"])
def test_nothing_is_left_of_a_hand_over_that_fails_while_the_server_is_busy(
    workflows: Workflows, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.fail(fault, when=is_deletion, times=2)
    with pytest.raises(ZeroDivisionError):
        hand_over_without_success()
    assert workflows.runs_of(begun_by_hand) == []


def test_a_flow_run_that_cannot_be_withdrawn_is_told_of_beside_what_went_wrong(
    workflows: Workflows, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(triggering, "PATIENCE_SECONDS", 0.2)
    proxy.fail(BUSY, when=is_deletion, times=100)
    with caplog.at_level(logging.WARNING, "makerflow"), pytest.raises(ZeroDivisionError):
        hand_over_without_success()
    [run] = workflows.runs_of(begun_by_hand)
    assert f"The flow run {run.id} could not be withdrawn" in caplog.text


def test_a_flow_run_that_began_is_not_begun_once_more_where_the_answer_was_lost(
    workflows: Workflows, proxy: FaultProxy
) -> None:
    def begin() -> None:
        [run] = workflows.runs_of(begun_by_hand)
        workflows.client.set_flow_run_state(run.id, Running(), force=True)
        hang_up()

    proxy.fail(Fault(before=begin), when=is_start)
    with handed_over(begun_by_hand):
        pass
    [run] = workflows.runs_of(begun_by_hand)
    assert run.state_name == "Running"


def test_a_hand_over_succeeds_also_where_the_flow_run_is_left_to_start_by_itself(
    workflows: Workflows, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggering, "PATIENCE_SECONDS", 0.2)
    proxy.fail(BUSY, when=is_start, times=100)
    with handed_over(begun_by_hand) as key:
        pass
    assert [str(run.id) for run in workflows.runs_of(begun_by_hand)] == [key]

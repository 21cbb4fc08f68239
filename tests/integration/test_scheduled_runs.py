"""What schedules have asked for and has not begun, on a real server."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending, Running, Scheduled

from blocks.connections.server import prefect_server
from blocks.connections.settings import Settings
from deployments.cli import main
from deployments.scheduled_runs import schedule_of
from tasks.triggering import DEPLOYMENT

pytestmark = [pytest.mark.timeout(300), pytest.mark.req("COM-04", "TRN-14")]


class Server:
    """A server with the deployment that schedules of trainings are of."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self.client = client
        self.deployment = client.create_deployment(client.create_flow_from_name("create-training"), DEPLOYMENT)

    def schedule(self, name: str, every: timedelta) -> UUID:
        wanted = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=every), slug=name)
        return self.client.create_deployment_schedules(self.deployment, [wanted])[0].id

    def planned(self, schedule: UUID, count: int) -> list[FlowRun]:
        """So many runs at least, as the server plans them in its own time; the soonest first."""
        self.client.request(
            "POST",
            "/deployments/{id}/schedule",
            path_params={"id": self.deployment},
            json={"min_runs": count, "max_runs": count},
        )
        runs = [run for run in self.client.read_flow_runs() if schedule_of(run) == schedule]
        return sorted(runs, key=lambda run: str(run.expected_start_time))

    def kept(self, *runs: FlowRun) -> list[FlowRun]:
        """Which of them are still there."""
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in runs]))
        ids = {run.id for run in self.client.read_flow_runs(flow_run_filter=wanted)}
        return [run for run in runs if run.id in ids]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with (
        pytest.MonkeyPatch.context() as patch,
        prefect_server(Settings(home=tmp_path_factory.mktemp("prefect"))) as api,
        temporary_settings(updates={PREFECT_API_URL: api}),
        get_client(sync_client=True) as client,
    ):
        patch.setenv("MAKERFLOW_PREFECT_API_URL", api)
        yield Server(client)


def test_what_has_not_begun_ends_with_its_schedule_and_is_counted(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    other = server.planned(server.schedule("other", timedelta(days=1)), 1)[0]
    late, pending, running, *later = server.planned(server.schedule("nightly", timedelta(days=1)), 4)
    for run, state in ((late, Scheduled()), (pending, Pending()), (running, Running()), (other, Pending())):
        server.client.set_flow_run_state(run.id, state, force=True)

    assert main.run(["training", "unschedule", "nightly"]) == 0

    assert "had not begun: 2 flow runs." in capsys.readouterr().out
    assert server.kept(late, pending, running, other, *later) == [running, other]

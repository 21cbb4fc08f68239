"""What the workflow server keeps of flow runs that are over."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, LogCreate
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow as run_prefect_flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed, Running

from blocks.connections import server
from blocks.connections.settings import Settings, prefect_environment
from blocks.upkeep.findings import Finding, Kind, UpkeepReport
from flows.upkeep import upkeep_flow
from tasks import flow_run_retention
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

OLD = datetime.now(UTC) - flow_run_retention.KEPT - timedelta(hours=1)
ANCIENT = datetime.now(UTC) - timedelta(days=91)


class Server:
    """A server whose flow runs can be made older than they are."""

    def __init__(self, client: SyncPrefectClient, database: Path) -> None:
        self.client, self._database = client, database
        self.deployments = {name: self._deployment(name) for name in ("upkeep", "create-training")}

    def run(self, deployment: str, state: State[None], ended: datetime | None = None) -> UUID:
        """A flow run with a log line and an artifact."""
        id = self.client.create_flow_run_from_deployment(self.deployments[deployment]).id
        self.client.create_logs(
            [LogCreate(name="l", level=30, message="m", timestamp=datetime.now(UTC), flow_run_id=id)]
        )
        self.client.create_artifact(ArtifactCreate(key=deployment, type="markdown", data=str(id), flow_run_id=id))
        self.client.set_flow_run_state(id, state, force=True)
        if ended:
            with sqlite3.connect(self._database, timeout=30) as database:
                moment = ended.strftime("%Y-%m-%d %H:%M:%S.%f")
                database.execute("UPDATE flow_run SET end_time = ? WHERE id = ?", (moment, str(id)))
            database.close()
        return id

    def upkeep(self) -> UpkeepReport:
        """What a schedule asks for."""
        asked = self.client.create_flow_run_from_deployment(self.deployments["upkeep"])
        report = run_prefect_flow(upkeep_flow, flow_run=self.client.read_flow_run(asked.id))
        assert isinstance(report, UpkeepReport)
        return report

    def kept(self) -> set[UUID]:
        return {run.id for run in self.client.read_flow_runs()}

    def rows_of(self, *runs: UUID) -> dict[str, int]:
        """What there is of these runs beside themselves."""
        ids = ", ".join(f"'{run}'" for run in runs)
        with sqlite3.connect(self._database, timeout=30) as database:
            found = {
                table: database.execute(f"SELECT count(*) FROM {table} WHERE flow_run_id IN ({ids})").fetchone()[0]  # noqa: S608
                for table in ("log", "artifact", "task_run", "flow_run_state")
            }
        database.close()
        return found

    def _deployment(self, flow: str) -> UUID:
        return self.client.create_deployment(self.client.create_flow_from_name(flow), "makerflow")


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = Settings(home=tmp_path_factory.mktemp("prefect"))
    with pytest.MonkeyPatch.context() as patch:
        quick = prefect_environment(settings) | {
            "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "1",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ORPHAN_CLEANUP_LOOP_SECONDS": "1",
        }
        patch.setattr(server, "prefect_environment", lambda _: quick)
        with (
            server.prefect_server(settings) as api,
            temporary_settings(updates={PREFECT_API_URL: api}),
            get_client(sync_client=True) as client,
        ):
            yield Server(client, settings.prefect_database)


NOTHING = {"log": 0, "artifact": 0, "task_run": 0, "flow_run_state": 0}


@pytest.mark.req("COM-04")
def test_the_server_removes_flow_runs_that_were_over_long_ago_and_no_other(workflows: Server, home: Path) -> None:
    gone = [workflows.run("create-training", state, ANCIENT) for state in (Completed(), Failed())]
    kept = {
        workflows.run("create-training", Running(), ANCIENT),
        workflows.run("create-training", Completed(), datetime.now(UTC) - timedelta(days=89)),
    }
    wait_until(lambda: workflows.kept() & {*gone, *kept} == kept and workflows.rows_of(*gone) == NOTHING)


@pytest.mark.req("COM-04")
def test_upkeep_removes_its_own_completed_flow_runs_and_keeps_failures(
    workflows: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_run_retention, "MOST", 2)
    gone = {workflows.run("upkeep", Completed(), OLD) for _ in range(3)}
    kept = {
        workflows.run("upkeep", Failed(), OLD),
        workflows.run("upkeep", Completed()),
        workflows.run("create-training", Completed(), OLD),
    }
    workflows.upkeep()
    assert len(workflows.kept() & gone) == 1, "as many as one upkeep may remove"
    workflows.upkeep()
    assert workflows.kept() & (gone | kept) == kept
    wait_until(lambda: workflows.rows_of(*gone) == NOTHING)  # logs are removed a little later


def test_upkeep_shows_a_report_only_where_it_says_something_new(
    workflows: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Finding] = []
    monkeypatch.setattr("flows.upkeep.end_runs", lambda dry_run: tuple(found))

    def reports() -> int:
        body = {"artifacts": {"key": {"any_": ["upkeep"]}}}
        return int(workflows.client._client.post("/artifacts/count", json=body).raise_for_status().json())

    before = reports()
    workflows.upkeep()
    assert reports() == before, "nothing was found"
    found += [Finding(kind=Kind.RUN, id="trn-1", found="It lives.", done="It cannot be ended.", failed=True)]
    for _ in range(2):
        workflows.upkeep()
        assert reports() == before + 1
    found += [Finding(kind=Kind.RUN, id="trn-2", found="It lives.", done="removed")]
    workflows.upkeep()
    assert reports() == before + 2

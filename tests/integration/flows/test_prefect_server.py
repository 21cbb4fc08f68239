"""Flows under a real Prefect server: seen in its UI, cancelled from it, retried by it, and exported to it later."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import Flow, flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.flow_engine import run_flow as run_prefect_flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelled, Cancelling, Pending, Running

from blocks.connections.platform import open_platform
from blocks.connections.s3 import delete_connection, list_connections, set_connection
from blocks.connections.s3 import test_connection as check_connection
from blocks.connections.server import prefect_server
from blocks.connections.settings import Settings
from blocks.domain.errors import NotFoundError, RunFailedError, WorkflowServerUnavailableError
from blocks.domain.lifecycle import TrainingStatus, TrialStatus
from blocks.domain.specs import ExperimentSpec
from blocks.registry.records import FlowRunRecord, Training
from deployments.catalogue import catalogue
from flows.experiment import create_experiment_flow
from flows.training import create_training, resume_training, stop_training
from flows.upkeep import upkeep
from tasks.dead_flow_runs import MOST_STARTS
from tasks.engine import step
from tasks.export import export_earlier_runs, export_journal
from tasks.liveness import lease_of
from tasks.publishing import publish_report
from tasks.training import register_training
from tasks.triggering import DEPLOYMENT, handed_over, trigger
from tests.doubles.fault_proxy import Fault, fault_proxy
from tests.flow_process import another_process
from tests.integration.flows.conftest import MakeSpec
from tests.integration.flows.test_training import PRINTS_METRICS, SLEEPS, is_running
from tests.integration.flows.test_upkeep import launched
from tests.servers import S3Server
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("prefect server")]  # which takes 15 s to start


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over a home of its own; its address is what a user's would be."""
    with prefect_server(Settings(home=tmp_path_factory.mktemp("prefect"))) as address:
        yield address


@pytest.fixture
def client(api: str) -> Iterator[SyncPrefectClient]:
    with temporary_settings(updates={PREFECT_API_URL: api}), get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def online(api: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MAKERFLOW_PREFECT_API_URL", api)
    return api


def flow_run(client: SyncPrefectClient, name: str) -> FlowRun:
    [run] = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
    return run


@pytest.mark.req("COM-04")
def test_a_training_is_a_flow_run_of_retryable_tasks_with_a_report(
    online: str, client: SyncPrefectClient, make_spec: MakeSpec
) -> None:
    with temporary_settings(updates={PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        EventsWorker.instance()  # as a process has that used a server which has gone
    training = create_training(make_spec(PRINTS_METRICS, "seen"))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE
    run = flow_run(client, "seen")
    assert run.state is not None
    assert run.state.is_completed()
    steps = {task.name.rsplit("-", 1)[0] for task in _task_runs(client, run, 6)}
    assert {"register", "check access", "plan", "launch workers", "follow workers"} <= steps
    [report] = _artifacts(client, run)
    assert report["key"] == f"training-{training.id}"
    assert "| loss |" in str(report["data"])
    assert "data:image/svg+xml" in str(report["data"])


@pytest.mark.req("TRN-13", "COM-04")
def test_cancelling_in_the_ui_ends_the_workers_and_the_training_is_stopped(
    online: str, client: SyncPrefectClient, make_spec: MakeSpec
) -> None:
    results: list[object] = []
    follower = threading.Thread(target=lambda: results.append(create_training(make_spec(SLEEPS, "cancelled"))))
    follower.start()
    wait_until(lambda: bool(open_platform().registry.trainings.page().items) and is_running("cancelled"))
    client.set_flow_run_state(flow_run(client, "cancelled").id, Cancelling())
    follower.join(60)
    [training] = results
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.STOPPED
    wait_until(lambda: (state := flow_run(client, "cancelled").state) is not None and state.is_cancelled())


@pytest.mark.req("COM-04", "COM-11")
def test_runs_without_a_server_are_seen_in_its_ui_later_once(
    api: str, client: SyncPrefectClient, make_spec: MakeSpec
) -> None:
    create_training(make_spec(PRINTS_METRICS, "offline"))
    create_training(make_spec("raise SystemExit(3)", "offline-failed"))
    assert export_journal(api) == 2
    assert export_journal(api) == 0
    run = flow_run(client, "offline")
    assert run.state is not None
    assert run.state.is_completed()
    assert {task.name for task in _task_runs(client, run, 6)} >= {"register", "launch workers"}
    assert "| loss |" in str(_artifacts(client, run)[0]["data"])
    failed = flow_run(client, "offline-failed").state
    assert failed is not None
    assert failed.is_failed()


def journal(name: str, **parameters: object) -> None:
    """A flow run that no server saw."""
    now = datetime.now(UTC)
    open_platform().registry.flow_runs.record(
        FlowRunRecord(
            id=str(uuid4()),
            flow_name="create-training",
            name=name,
            parameters=parameters,
            state="COMPLETED",
            message="",
            started=now,
            ended=now,
        )
    )


@pytest.mark.req("COM-11")
def test_an_earlier_run_that_the_server_refuses_keeps_no_other_from_its_ui(
    api: str, client: SyncPrefectClient, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal("too-large", spec="x" * (1 << 20))
    journal("after-it")
    assert export_journal(api) == 1
    assert flow_run(client, "after-it").name == "after-it"
    assert "refuses the earlier run of too-large" in caplog.text
    caplog.clear()
    assert export_journal(api) == 0
    assert "too-large" not in caplog.text


@pytest.mark.req("COM-11")
def test_earlier_runs_wait_for_a_server_that_refuses_everything(
    api: str, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal("waits")
    with fault_proxy(api) as guarded:  # one that asks for an access string
        guarded.fail(Fault(answer=(401, {}, b'{"exception_message": "Unauthorized"}')), times=100)
        assert export_earlier_runs(f"{guarded.url}/api") == 0
    assert "will be later" in caplog.text
    assert [run.name for run in open_platform().registry.flow_runs.pending()] == ["waits"]


def test_a_flow_run_that_another_process_goes_on_with_keeps_its_one_report(api: str, client: SyncPrefectClient) -> None:
    @flow(name="reports")
    def reports() -> None:
        publish_report("one-page", "A page", "first")

    with temporary_settings(updates={PREFECT_API_URL: api}):
        run = client.create_flow_run(reports, name="reported")
        run_prefect_flow(reports, flow_run=run)
        program = (
            "from prefect.context import FlowRunContext; from prefect.client.orchestration import get_client\n"
            "from tasks.publishing import publish_report\n"
            "client = get_client(sync_client=True)\n"
            f"run = client.read_flow_run('{run.id}')\n"
            "with FlowRunContext.model_construct(flow_run=run):\n"
            "    publish_report('one-page', 'A page', 'second')\n"
        )
        environment = {**os.environ, "PREFECT_API_URL": api}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, cwd=Path(__file__).parents[3])
    assert [report["data"] for report in _artifacts(client, run)] == ["second"]


@step("makes something")
def makes_something() -> object:
    return RunFailedError("trial", "t/1", TrialStatus.FAILED, "")  # as one that failed raises


@pytest.mark.req("TUN-14")
def test_a_flow_run_keeps_nothing_of_its_steps_that_are_over(api: str) -> None:
    """Prefect keeps the state of each, and so the process of a tuning of 5,000 trials would grow with them."""
    kept: list[int] = []

    @flow(name="many")
    def many() -> None:
        context = FlowRunContext.get()
        assert context is not None
        for number in range(10):
            makes_something.named(f"trial {number}")
            kept.append(len(context.run_results) + len(context.task_run_assets))

    with temporary_settings(updates={PREFECT_API_URL: api}):
        many()
    assert kept == [0] * 10


def test_a_server_that_does_not_answer_is_done_without(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MAKERFLOW_PREFECT_API_URL", "http://127.0.0.1:9/api")
    training = create_training(make_spec("pass"))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.COMPLETE
    assert "does not answer" in caplog.text


def test_a_port_in_use_is_said(api: str, home: Path) -> None:
    port = int(api.rsplit(":", 1)[1].partition("/")[0])
    with pytest.raises(WorkflowServerUnavailableError, match="in use"), prefect_server(Settings(), port):
        pass


def _task_runs(client: SyncPrefectClient, run: FlowRun, at_least: int) -> list[object]:
    found: list[object] = []
    deadline = time.monotonic() + 60
    while len(found) < at_least and time.monotonic() < deadline:  # the server records task runs from events
        found = list(client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [run.id]}})))
        time.sleep(0.1)
    return found


def _artifacts(client: SyncPrefectClient, run: FlowRun) -> list[dict[str, object]]:
    body = {"artifacts": {"flow_run_id": {"any_": [str(run.id)]}}}
    response = client._client.post("/artifacts/filter", json=body)
    return list(response.raise_for_status().json())


@pytest.fixture(autouse=True)
def _no_server_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "MAKERFLOW_PREFECT_API_URL" not in os.environ


@pytest.mark.req("COM-04")
def test_what_goes_wrong_while_a_flow_run_is_handed_over_is_told_soon_also_when_the_server_has_gone(
    api: str, client: SyncPrefectClient, home: Path
) -> None:
    client.create_deployment(client.create_flow_from_name("create-experiment"), DEPLOYMENT)
    server_file = open_platform().settings.server_file
    server_file.parent.mkdir(parents=True)
    with ExitStack() as stack:
        proxy = stack.enter_context(fault_proxy(api))
        server_file.write_text(f"{proxy.url}/api")

        def goes() -> None:
            proxy.fail(Fault(before=hang_up), times=100)
            stack.close()

        began = time.monotonic()
        with pytest.raises(ZeroDivisionError):
            hand_over_without_success(meanwhile=goes)
    assert time.monotonic() - began < 30, "it asks no second time"


def hang_up() -> None:
    raise ConnectionResetError


@pytest.mark.req("COM-04")
def test_a_flow_run_is_asked_for_once_also_where_the_answer_was_lost(
    api: str, client: SyncPrefectClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_deployment(client.create_flow_from_name("create-experiment"), DEPLOYMENT)
    with fault_proxy(api) as proxy:
        monkeypatch.setenv("MAKERFLOW_PREFECT_API_URL", f"{proxy.url}/api")
        proxy.fail(Fault(then="reset"), when=lambda asked: asked.path.endswith("/create_flow_run"))
        run = trigger(create_experiment_flow, ExperimentSpec(name="asked-for-once"))
    asked_for = [one for one in client.read_flow_runs() if "asked-for-once" in str(one.parameters)]
    assert [one.id for one in asked_for] == [run]


def hand_over_without_success(meanwhile: Callable[[], None]) -> None:
    with handed_over(create_experiment_flow, ExperimentSpec(name="e")) as key:
        assert key
        meanwhile()
        raise ZeroDivisionError


@pytest.mark.req("COM-05", "COM-06", "COM-09")
def test_a_connection_opens_its_endpoint_for_a_training_and_tells_whose_rights_it_uses(
    online: str, make_spec: MakeSpec, s3_server: S3Server, tmp_path: Path
) -> None:
    bucket = s3_server.make_bucket()
    with s3_server.client() as s3:
        s3.put_object(Bucket=bucket, Key="code/train.py", Body=PRINTS_METRICS.encode())
    obs = f"obs://{s3_server.address}/{bucket}"
    spec = make_spec("pass", "obs").changed(algorithm=f"{obs}/code", output=f"{obs}/out")
    unknown = create_training(spec)
    assert isinstance(unknown, Training)
    assert unknown.status is TrainingStatus.CREATE_FAILED
    assert f"makerflow connection set {s3_server.address}" in unknown.reason

    secret = "not-to-be-found-in-clear"
    entry = set_connection(s3_server.endpoint_url, access_key_id="AKIAEXAMPLE", secret_access_key=secret)
    assert entry in list_connections()
    assert check_connection(entry.name)["access_key_id"] == "AKIAEXAMPLE"
    training = resume_training("obs")
    assert training.status is TrainingStatus.COMPLETE
    with s3_server.client() as s3:
        assert s3.get_object(Bucket=bucket, Key="out/model.txt")["Body"].read() == b"model"
    home = open_platform().settings.home
    assert not [file for file in home.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
    delete_connection(entry.name)
    assert list_connections() == []
    with pytest.raises(NotFoundError):
        delete_connection(entry.name)


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_upkeep_sets_a_flow_run_that_a_signal_ended_crashed_and_touches_none_that_lives(
    online: str, client: SyncPrefectClient, make_spec: MakeSpec, number: signal.Signals
) -> None:
    ended, lives = f"ended-by-{number.value}", f"living-beside-{number.value}"
    living = threading.Thread(target=create_training, args=(make_spec(SLEEPS, lives),))
    living.start()
    with another_process(create_training, make_spec(SLEEPS, ended)) as process:
        names = {ended, lives}
        wait_until(lambda: {row.name for row in open_platform().registry.trainings.page().items} == names)
        wait_until(lambda: all(map(is_running, names)))
        os.kill(process.pid or 0, number)
    assert upkeep(dry_run=True).counts["flow run"] == 1
    found = upkeep().findings  # what is known to have no follower is not waited for
    assert [(one.kind, one.name) for one in found] == [("flow run", ended), ("training", ended)]
    states = [client.read_flow_run(flow_run(client, name).id).state for name in (ended, lives)]
    assert [state.type for state in states if state] == ["CRASHED", "RUNNING"]
    assert upkeep().findings == ()
    for name in names:
        assert stop_training(name, grace_seconds=1).status is TrainingStatus.STOPPED
    living.join()
    wait_until(lambda: not open_platform().registry.flow_runs.unended())


@pytest.mark.req("COM-04", "TRN-13")
def test_upkeep_closes_flow_runs_of_this_home_that_died_before_they_could_say_that_they_live(
    api: str, client: SyncPrefectClient, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.dead_flow_runs.STARTING", timedelta(0))
    registry = open_platform().registry
    training = register_training.task.fn(make_spec("pass", "cancelled-alone"), "key")
    server_file = open_platform().settings.server_file
    server_file.parent.mkdir()
    server_file.write_text(api)
    deployment = client.create_deployment(client.create_flow_from_name("resume-training"), "makerflow")

    def asked_for(*states: State[Any]) -> UUID:
        parameters = {"key": training}
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters, tags=["makerflow"])
        for state in states:
            client.set_flow_run_state(run.id, state, force=True)
        return run.id

    runs = [asked_for(Running()), asked_for(Pending()), asked_for(Running(), Cancelling()), asked_for(Running())]
    with registry.lease(lease_of(str(runs[-1]))):
        report = upkeep()
    states = [client.read_flow_run(run).state for run in runs]
    assert [state.name for state in states if state] == ["Crashed", "AwaitingRetry", "Cancelled", "Running"]
    assert report.counts["flow run"] == 3
    assert registry.trainings.get(training).status is TrainingStatus.STOPPED


@pytest.mark.req("COM-04", "TRN-13")
def test_upkeep_ends_what_a_cancelled_flow_run_was_about_where_that_had_failed_and_nobody_goes_on_with_it(
    online: str, client: SyncPrefectClient, make_spec: MakeSpec
) -> None:
    registry, flow_id = open_platform().registry, client.create_flow_from_name("resume-training")
    deployment = client.create_deployment(flow_id, "cancelled")

    def cancelled(name: str, *, gone_on_with: bool = False) -> str:
        """A training, and a dead flow run of it that Prefect's runner has set cancelled."""
        training = launched(make_spec(SLEEPS, name))
        run = client.create_flow_run_from_deployment(deployment, parameters={"key": training}, name=name)
        registry.flow_runs.begin(
            FlowRunRecord(
                id=str(run.id), flow_name="", name=name, parameters={}, state="RUNNING", message="",
                started=datetime.now(UTC), ended=None,
            )
        )  # fmt: skip
        if not gone_on_with:
            registry.trainings.move(training, TrainingStatus.RUNNING)
        for state in (Running(), Cancelled()):
            client.set_flow_run_state(run.id, state, force=True)
        if gone_on_with:
            registry.trainings.move(training, TrainingStatus.RUNNING)
        return training

    goes_on, resumed = cancelled("goes-on"), cancelled("resumed", gone_on_with=True)
    stop_training(cancelled("stopped"), grace_seconds=0)
    followed = cancelled("followed")
    with registry.lease(followed):
        would = upkeep(dry_run=True, patience_seconds=3600).findings
        assert [(one.kind, one.name, one.done) for one in would] == [("flow run", "goes-on", "would be ended")]
        found = upkeep(patience_seconds=3600).findings
    assert [(one.kind, one.name, one.done) for one in found] == [("flow run", "goes-on", "ended")]
    assert registry.trainings.get(goes_on).status is TrainingStatus.STOPPED
    assert {registry.trainings.get(id).status for id in (resumed, followed)} == {TrainingStatus.RUNNING}
    assert registry.flow_runs.unended() == []
    for id in (resumed, followed):
        stop_training(id, grace_seconds=0)


@pytest.mark.req("COM-04", "TRN-13")
def test_upkeep_stops_for_a_cancelled_flow_run_what_its_flow_says_and_never_what_only_has_the_same_name(
    api: str, client: SyncPrefectClient, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.dead_flow_runs.STARTING", timedelta(0))
    settings = open_platform().settings
    settings.server_file.parent.mkdir(parents=True)
    settings.server_file.write_text(api)
    flows = [entry.flow for entry in catalogue()]

    def cancelled(flow: Flow[..., Any]) -> UUID:
        """A run of it that is dead, with the name of a training as that of what it is about."""
        name = flow.name
        parameters = {"key": name} if "key" in flow.parameters.properties else {"spec": {"name": name}}
        deployment = client.create_deployment(client.create_flow_from_name(name), f"makerflow-{name}")
        run = client.create_flow_run_from_deployment(deployment, parameters=parameters, tags=["makerflow"]).id
        is_known_by_its_run = flow.on_cancellation_hooks and "key" not in parameters
        register_training.task.fn(make_spec("pass", name), str(run) if is_known_by_its_run else name)
        for state in (Running(), Cancelling()):
            client.set_flow_run_state(run, state, force=True)
        return run

    runs = [cancelled(flow) for flow in flows]
    report = upkeep(patience_seconds=3600)
    assert report.failed == ()
    states = [client.read_flow_run(run).state for run in runs]
    assert {state.name for state in states if state} == {"Cancelled"}
    rows = open_platform().registry.trainings.page().items
    assert {row.name for row in rows if row.status is TrainingStatus.STOPPED} == {
        "create-training",
        "create-training-from-template",
        "copy-training",
        "resume-training",
    }


@pytest.mark.req("COM-04", "COM-10")
def test_a_flow_run_that_never_comes_to_begin_is_given_up_and_its_training_can_be_resumed(
    api: str, client: SyncPrefectClient, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.dead_flow_runs.STARTING", timedelta(0))
    settings = open_platform().settings
    settings.server_file.parent.mkdir(parents=True)
    settings.server_file.write_text(api)
    deployment = client.create_deployment(client.create_flow_from_name("create-training"), "makerflow")
    run = client.create_flow_run_from_deployment(deployment, tags=["makerflow"]).id
    training = register_training.task.fn(make_spec(PRINTS_METRICS, "never-began"), str(run))

    def dies_before_it_begins() -> str:
        client.set_flow_run_state(run, Pending(), force=True)
        upkeep(patience_seconds=3600)
        state = client.read_flow_run(run).state
        assert state is not None
        return state.name

    again = ["AwaitingRetry"] * MOST_STARTS
    assert [dies_before_it_begins() for _ in range(MOST_STARTS + 1)] == [*again, "Crashed"]
    state = client.read_flow_run(run).state
    assert state is not None
    assert "Retry starts it again" in str(state.message)
    client.set_flow_run_state(run, AwaitingRetry(), force=True)  # as Retry does
    assert dies_before_it_begins() == "AwaitingRetry", "it is counted anew"
    assert open_platform().registry.trainings.get(training).status is TrainingStatus.CREATE_REQUESTED
    assert resume_training("never-began").status is TrainingStatus.COMPLETE

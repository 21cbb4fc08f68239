"""What is asked for in the workflow UI: run, cancelled, retried, deleted and killed, by a real server and runner."""

import signal
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.states import AwaitingRetry, Cancelling, Scheduled

from blocks.connections.platform import open_platform
from blocks.domain.errors import AlreadyExistsError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.specs import ExperimentSpec
from deployments.flow_processes import process_name
from deployments.schedules import schedule_training, training_schedules, unschedule_training
from flows.experiment import change_experiment_flow, create_experiment_flow
from flows.following import TrainingHandle
from flows.training import create_training, create_training_flow
from tasks.training import training_id_of
from tasks.triggering import deployment_id, trigger
from tests.integration.deployments.conftest import Workflows, wait_until
from tests.processes import processes_of

pytestmark = pytest.mark.timeout(300)

SLEEPS = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"


def waits(go: Path) -> str:
    """An entry point that goes on when there is such a file; `started` is reported each time that it starts."""
    return (
        "import pathlib, time\n"
        "print('started=1', flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists():\n"
        "    time.sleep(0.05)\n"
    )


def process_of(workflows: Workflows, run: UUID) -> psutil.Process:
    children = psutil.Process(workflows.runner.process.pid).children(recursive=True)
    [found] = [process for process in children if process.name() == process_name(str(run))]
    return found


def starts_of(name: str) -> int:
    registry = open_platform().registry
    return registry.metrics.names(registry.trainings.get(name).id)[0].count


@pytest.mark.req("COM-04", "TRN-13")
def test_cancelling_in_the_ui_stops_the_training_and_leaves_no_worker(workflows: Workflows) -> None:
    run = workflows.train("cancelled", SLEEPS)
    workflows.await_status("cancelled", TrainingStatus.RUNNING)
    workflows.client.set_flow_run_state(run, Cancelling())
    workflows.await_status("cancelled", TrainingStatus.STOPPED)
    workflows.await_state(run, StateType.CANCELLED)
    assert processes_of(workflows.home) == []


@pytest.mark.req("COM-04")
def test_a_killed_flow_run_is_crashed_and_its_retry_goes_on_with_the_same_workers(
    workflows: Workflows, tmp_path: Path
) -> None:
    run = workflows.train("killed", waits(tmp_path / "go"))
    workflows.await_status("killed", TrainingStatus.RUNNING)
    process_of(workflows, run).kill()
    workflows.await_state(run, StateType.CRASHED)
    workflows.client.set_flow_run_state(run, AwaitingRetry())
    workflows.await_state(run, StateType.RUNNING)
    (tmp_path / "go").touch()
    workflows.await_state(run, StateType.COMPLETED)
    workflows.await_status("killed", TrainingStatus.COMPLETE)
    assert starts_of("killed") == 1


@pytest.mark.req("COM-04")
def test_a_training_whose_flow_run_is_deleted_goes_on_to_its_end(workflows: Workflows, tmp_path: Path) -> None:
    run = workflows.train("deleted", waits(tmp_path / "go"))
    workflows.await_status("deleted", TrainingStatus.RUNNING)
    workflows.client.delete_flow_run(run)
    (tmp_path / "go").touch()
    workflows.await_status("deleted", TrainingStatus.COMPLETE)
    assert starts_of("deleted") == 1


@pytest.mark.req("COM-04", "TRN-13")
def test_without_its_runner_a_flow_run_goes_on_and_can_be_cancelled(workflows: Workflows, tmp_path: Path) -> None:
    cancelled = workflows.train("unguarded", SLEEPS)
    finished = workflows.train("undisturbed", waits(tmp_path / "go"))
    for name in ("unguarded", "undisturbed"):
        workflows.await_status(name, TrainingStatus.RUNNING)
    workflows.runner.end(signal.SIGKILL)
    workflows.client.set_flow_run_state(cancelled, Cancelling())
    workflows.await_status("unguarded", TrainingStatus.STOPPED)
    workflows.await_state(cancelled, StateType.CANCELLED)
    workflows.runner.start()
    (tmp_path / "go").touch()
    workflows.await_state(finished, StateType.COMPLETED)
    workflows.await_status("undisturbed", TrainingStatus.COMPLETE)


@pytest.mark.req("COM-04")
def test_a_runner_that_starts_again_keeps_schedules_pauses_and_what_runs(workflows: Workflows, tmp_path: Path) -> None:
    run = workflows.train("kept", waits(tmp_path / "go"))
    workflows.await_status("kept", TrainingStatus.RUNNING)
    client, deployment = workflows.client, deployment_id(workflows.client, create_experiment_flow)
    client.create_deployment_schedules(deployment, [(IntervalSchedule(interval=86400), True)])
    client.pause_deployment(deployment)
    schedule_training("kept", cron="0 3 * * *", timezone="Asia/Tokyo")
    before = [client.read_deployment_schedules(deployment), training_schedules()]
    assert workflows.runner.end() < 2
    registered = client.read_deployment(deployment).updated
    workflows.runner.start()
    wait_until(lambda: client.read_deployment(deployment).updated != registered, "the deployment to be registered")
    assert [client.read_deployment_schedules(deployment), training_schedules()] == before
    assert client.read_deployment(deployment).paused
    (tmp_path / "go").touch()
    workflows.await_state(run, StateType.COMPLETED)
    unschedule_training("kept")
    assert training_schedules() == []


@pytest.mark.req("COM-04", "TRN-14")
def test_what_a_schedule_and_a_copy_create_has_a_name_of_its_own(workflows: Workflows) -> None:
    workflows.await_state(workflows.train("nightly", "print('loss=1')"), StateType.COMPLETED)
    schedule_training("nightly", every_seconds=86400)
    planned = scheduled_run(workflows)
    workflows.client.set_flow_run_state(planned, Scheduled(), force=True)
    workflows.await_state(planned, StateType.COMPLETED)
    unschedule_training("nightly")
    copied = workflows.ask(
        "copy-training",
        original="nightly",
        hyperparameters=[{"name": "lr", "value": "0.3"}],
        settings=[{"name": "max_minutes", "value": "7"}, {"name": "tags", "value": '{"team": "night"}'}],
    )
    workflows.await_state(copied, StateType.COMPLETED)
    trainings = open_platform().registry.trainings
    assert trainings.get("nightly-2").id == training_id_of(str(planned))
    copy = trainings.get("nightly-3")
    assert (copy.id, copy.tags, copy.spec.limits.max_minutes) == (training_id_of(str(copied)), {"team": "night"}, 7)


def scheduled_run(workflows: Workflows) -> UUID:
    """The next run that the server has planned for a schedule of trainings."""
    found: list[FlowRun] = []

    def planned() -> bool:
        runs = workflows.runs_of(create_training_flow)
        found[:] = [run for run in runs if run.auto_scheduled and run.state and run.state.is_scheduled()]
        return bool(found)

    wait_until(planned, "the server to plan a run")
    return found[0].id


@pytest.mark.req("COM-04")
def test_flows_are_triggered_from_python_with_checked_parameters(workflows: Workflows) -> None:
    workflows.await_state(trigger(create_experiment_flow, ExperimentSpec(name="triggered")), StateType.COMPLETED)
    workflows.await_state(trigger(change_experiment_flow, "triggered", description="new"), StateType.COMPLETED)
    assert open_platform().registry.experiments.get("triggered").description == "new"
    with pytest.raises(TypeError):
        trigger(create_experiment_flow, ExperimentSpec(name="triggered"), 3)  # type: ignore[call-arg] # the point


@pytest.mark.req("COM-04", "TRN-13")
def test_a_detached_training_is_a_flow_run_of_the_platform_that_runs_on_this_home(workflows: Workflows) -> None:
    spec = workflows.spec("detached", SLEEPS)
    with workflows.platform_runs():
        handle = create_training(spec, wait=False)
        assert isinstance(handle, TrainingHandle)
        with pytest.raises(AlreadyExistsError):
            create_training({**spec, "experiment": "another"}, wait=False)
    runs = workflows.runs_of(create_training_flow)
    [run] = [run for run in runs if run.parameters["spec"]["name"] == "detached"]
    assert training_id_of(str(run.id)) == handle.id
    workflows.await_state(run.id, StateType.RUNNING)
    workflows.client.set_flow_run_state(run.id, Cancelling())
    workflows.await_status("detached", TrainingStatus.STOPPED)
    workflows.await_state(run.id, StateType.CANCELLED)

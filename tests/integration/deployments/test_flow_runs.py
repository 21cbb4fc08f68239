"""What is asked for in the workflow UI: run, cancelled, retried, deleted and killed, by a real server and runner."""

import signal
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import LogSort
from prefect.states import AwaitingRetry, Cancelling, Completed, Running, Scheduled

from blocks.cluster.base import Selector
from blocks.connections.platform import open_platform
from blocks.connections.settings import own_api
from blocks.domain.errors import AlreadyExistsError, InvalidInputError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.plan import ExitCause, Exited, ExitRecord
from blocks.domain.specs import ExperimentSpec
from deployments.cli import main
from deployments.flow_processes import process_name
from deployments.scheduled_runs import schedule_of
from deployments.schedules import schedule_training, training_schedules, unschedule_training
from flows.experiment import change_experiment_flow, create_experiment_flow
from flows.following import TrainingHandle
from flows.training import create_training, create_training_flow, resume_training_flow
from flows.upkeep import upkeep
from tasks.training import training_id_of
from tasks.triggering import deployment_id, handed_over, trigger
from tests.integration.deployments.conftest import SECONDS, Workflows
from tests.processes import processes_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("deployments")]

SECONDS_TO_SEE = 12
"""Of a schedule of every second; more than the ten that Prefect's runner looks ahead."""

SLEEPS = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready=1')\n" + SLEEPS

HEARD = timedelta(seconds=20)
"""So soon a cancellation is heard of, also on a busy machine: who follows asks every two seconds."""
MARGIN = timedelta(seconds=5)
"""So long ending a worker and removing its run may take beside the grace, on a busy machine."""


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


@pytest.mark.req("COM-04", "TRN-13")
def test_cancelling_in_the_ui_ends_a_worker_that_ignores_it_once_its_grace_is_over(workflows: Workflows) -> None:
    run = workflows.train("stubborn", STUBBORN)
    workflows.await_status("stubborn", TrainingStatus.RUNNING)
    registry = open_platform().registry
    training = registry.trainings.get("stubborn")
    assert training.plan is not None
    wait_until(lambda: bool(registry.metrics.names(training.id)), "the worker to ignore SIGTERM")
    cancelled = datetime.now(UTC)
    workflows.client.set_flow_run_state(run, Cancelling())
    record = exit_of(training.id)
    workflows.await_status("stubborn", TrainingStatus.STOPPED)
    workflows.await_state(run, StateType.CANCELLED)
    moves = {move.target: move.at for move in registry.trainings.history(training.id)}
    asked, stopped = moves[TrainingStatus.STOP_IN_PROGRESS], moves[TrainingStatus.STOPPED]
    grace = timedelta(seconds=training.plan.stop_grace_seconds)
    assert (record.cause, record.signal) == (ExitCause.STOPPED, signal.SIGKILL)
    assert asked - cancelled < HEARD
    assert grace < record.ended - asked < grace + MARGIN
    assert stopped - record.ended < MARGIN
    assert processes_of(workflows.home) == []


def exit_of(training_id: str) -> ExitRecord:
    """How its only worker ended, as soon as it has."""
    events = open_platform().cluster.watch(Selector(run_id=training_id), idle_seconds=SECONDS)
    return next(event.record for event in takewhile(bool, events) if isinstance(event, Exited))


@pytest.mark.req("COM-04")
def test_the_logs_of_a_run_s_page_tell_its_life_in_a_handful_of_lines(workflows: Workflows) -> None:
    prints = "print('what the code prints')\n" + "\n".join(f"print('step={n} loss={1 / n}')" for n in range(1, 200))
    run = workflows.train("told", prints)
    workflows.await_state(run, StateType.COMPLETED)
    found: list[str] = []

    def is_told() -> bool:
        logs = workflows.client.read_logs(
            LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), sort=LogSort.TIMESTAMP_ASC
        )
        found[:] = [log.message for log in logs]
        return any(line.startswith("COMPLETE:") for line in found)

    wait_until(is_told, "the end to be told", seconds=20)
    last = "step 199: loss=0.005025125628140704"
    texts = ("CREATE REQUESTED", "placed on", "attempt 1 started", "RUNNING", "the run ended", last, "COMPLETE:")
    assert not [text for text in texts if not any(line.startswith(text) for line in found)], found
    assert "worker 0 ended (ok)" in found
    assert len(found) < 20, found
    assert not [line for line in found if "what the code prints" in line]


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


@pytest.mark.req("COM-04", "COM-10")
def test_a_training_is_followed_again_at_once_however_often_its_flow_run_is_asked_to_end(
    workflows: Workflows, tmp_path: Path
) -> None:
    run = workflows.train("restarted", waits(tmp_path / "go"))
    workflows.await_status("restarted", TrainingStatus.RUNNING)
    registry = open_platform().registry
    training = registry.trainings.get("restarted").id
    for count in (1, 2):
        process_of(workflows, run).terminate()
        workflows.await_state(run, StateType.CRASHED)
        with workflows.platform_runs():
            upkeep()
        again = [run for run in workflows.runs_of(resume_training_flow) if run.parameters["key"] == "restarted"]
        assert len(again) == count
        run = max(again, key=lambda run: str(run.created)).id
        wait_until(lambda: registry.is_leased(training), "the training to be followed again")
    [row] = [row for row in registry.overview.under_way(datetime.fromtimestamp(0, UTC)) if row.id == training]
    assert row.attempts == 0
    (tmp_path / "go").touch()
    workflows.await_state(run, StateType.COMPLETED)
    assert starts_of("restarted") == 1


@pytest.mark.req("COM-04", "TRN-13")
def test_a_killed_runner_takes_nothing_with_it_and_the_next_one_keeps_schedules_and_pauses(
    workflows: Workflows, tmp_path: Path
) -> None:
    cancelled = workflows.train("unguarded", SLEEPS)
    finished = workflows.train("undisturbed", waits(tmp_path / "go"))
    for name in ("unguarded", "undisturbed"):
        workflows.await_status(name, TrainingStatus.RUNNING)
    client, deployment = workflows.client, deployment_id(workflows.client, create_experiment_flow)
    client.create_deployment_schedules(deployment, [(IntervalSchedule(interval=timedelta(days=1)), True)])
    client.pause_deployment(deployment)
    schedule_training("undisturbed", cron="0 3 * * *", timezone="Asia/Tokyo")
    kept = [client.read_deployment_schedules(deployment), training_schedules()]
    registered = client.read_deployment(deployment).updated

    workflows.runner.end(signal.SIGKILL)
    client.set_flow_run_state(cancelled, Cancelling())
    workflows.await_status("unguarded", TrainingStatus.STOPPED)
    workflows.await_state(cancelled, StateType.CANCELLED)

    workflows.runner.start()
    (tmp_path / "go").touch()
    workflows.await_state(finished, StateType.COMPLETED)
    workflows.await_status("undisturbed", TrainingStatus.COMPLETE)
    wait_until(lambda: client.read_deployment(deployment).updated != registered, "the deployment to be registered")
    assert [client.read_deployment_schedules(deployment), training_schedules()] == kept
    assert client.read_deployment(deployment).paused
    client.resume_deployment(deployment)
    unschedule_training("undisturbed")
    assert training_schedules() == []


@pytest.mark.req("COM-04", "TRN-14")
def test_what_a_schedule_and_a_copy_create_has_a_name_of_its_own(workflows: Workflows) -> None:
    workflows.await_state(workflows.train("nightly", "print('loss=1')"), StateType.COMPLETED)
    schedule_training("nightly", cron="0 3 * * *", timezone="UTC")
    schedule_training("nightly", every_seconds=86400)
    assert planned_runs(workflows), "those of the changed schedule are planned at once"
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


def left_in(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern))


@pytest.mark.req("COM-04")
def test_a_killed_fork_server_ends_no_flow_run_and_the_next_run_gets_another(
    workflows: Workflows, tmp_path: Path
) -> None:
    run = workflows.train("unforked", waits(tmp_path / "go"))
    workflows.await_status("unforked", TrainingStatus.RUNNING)
    [server] = [one for one in psutil.Process(workflows.runner.process.pid).children() if "forkserver" in cmdline(one)]
    server.kill()
    workflows.await_state(workflows.train("forked-anew", "print('loss=1')"), StateType.COMPLETED)
    assert workflows.is_in(run, StateType.RUNNING)
    (tmp_path / "go").touch()
    workflows.await_state(run, StateType.COMPLETED)
    assert starts_of("unforked") == 1


def cmdline(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


@pytest.mark.req("COM-04", "TRN-14")
def test_a_schedule_of_the_shell_and_those_of_the_ui_do_not_touch_each_other(
    workflows: Workflows, capfd: pytest.CaptureFixture[str]
) -> None:
    workflows.await_state(workflows.train("weekly", "print('loss=1')"), StateType.COMPLETED)
    client, deployment = workflows.client, deployment_id(workflows.client, create_training_flow)
    parameters = {"spec": open_platform().registry.trainings.get("weekly").current_spec.model_dump(mode="json")}
    wanted = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(days=7)), parameters=parameters)
    of_the_ui = [str(one.id) for one in client.create_deployment_schedules(deployment, [wanted, wanted])]
    made = schedule_training("weekly", every_seconds=86400)
    again = schedule_training("weekly", cron="0 3 * * *", timezone="Asia/Tokyo")
    assert (again.id, again.cron, again.every_seconds, again.active) == (made.id, "0 3 * * *", 0, True)
    assert again in training_schedules()
    assert {one.id for one in training_schedules()} == {made.id, *of_the_ui}
    unschedule_training("weekly")
    assert {one.id for one in training_schedules()} == set(of_the_ui)
    with pytest.raises(InvalidInputError, match=of_the_ui[0]):
        unschedule_training("weekly")
    assert main.run(["training", "schedules"]) == 0
    listed = capfd.readouterr().out
    assert all(id in listed for id in of_the_ui)
    unschedule_training(of_the_ui[0])
    unschedule_training("weekly")
    assert training_schedules() == []


@pytest.mark.req("COM-04", "TRN-14")
def test_a_schedule_of_every_second_starts_one_flow_run_a_minute_and_keeps_out_no_others(workflows: Workflows) -> None:
    client, deployment = workflows.client, deployment_id(workflows.client, create_experiment_flow)
    parameters = {"spec": {"name": "every-second"}}
    wanted = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=1)), parameters=parameters)
    [schedule] = client.create_deployment_schedules(deployment, [wanted])

    def runs(*, begun: bool) -> list[FlowRun]:
        found = [run for run in workflows.runs_of(create_experiment_flow) if schedule_of(run) == schedule.id]
        found.sort(key=lambda run: str(run.expected_start_time))
        return [run for run in found if run.state and run.state.is_scheduled() is not begun]

    plan_runs(workflows, deployment, 3 * SECONDS_TO_SEE)
    wait_until(lambda: len(runs(begun=False)) > SECONDS_TO_SEE, "the server to plan runs")
    last = runs(begun=False)[SECONDS_TO_SEE].id
    wait_until(lambda: last not in [run.id for run in runs(begun=False)], "the soonest to be started or dropped")
    wait_until(lambda: bool(runs(begun=True)), "one to have begun")
    minutes = [run.expected_start_time and run.expected_start_time.replace(second=0) for run in runs(begun=True)]
    workflows.await_state(trigger(create_experiment_flow, ExperimentSpec(name="not-kept-out")), StateType.COMPLETED)
    client.delete_deployment_schedule(deployment, schedule.id)
    assert len(minutes) == len(set(minutes)) >= 1


@pytest.mark.req("COM-04", "TRN-14")
def test_of_the_nights_in_which_the_platform_was_down_a_schedule_makes_up_for_the_last_one(
    workflows: Workflows,
) -> None:
    client, deployment = workflows.client, deployment_id(workflows.client, create_experiment_flow)
    parameters = {"spec": {"name": "made-up-for"}}
    wanted = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(days=1)), parameters=parameters)
    [schedule] = client.create_deployment_schedules(deployment, [wanted])

    def runs() -> list[FlowRun]:
        return [run for run in workflows.runs_of(create_experiment_flow) if schedule_of(run) == schedule.id]

    workflows.runner.end()
    plan_runs(workflows, deployment, count=3)
    wait_until(lambda: len(runs()) >= 3, "the server to plan runs")
    *missed, last = runs()[:3]
    for nights, run in enumerate((last, *missed), start=1):
        time = datetime.now(UTC) - timedelta(days=nights)
        client.set_flow_run_state(run.id, Scheduled(scheduled_time=time), force=True)
    workflows.runner.start()
    workflows.await_state(last.id, StateType.COMPLETED)
    client.delete_deployment_schedule(deployment, schedule.id)
    assert not {run.id for run in missed} & {run.id for run in runs()}


@pytest.mark.req("COM-04")
def test_a_hand_over_that_takes_long_leaves_a_flow_run_that_has_begun_as_it_is(workflows: Workflows) -> None:
    spec = ExperimentSpec(name="slowly-handed-over")
    with workflows.platform_runs(), handed_over(create_experiment_flow, spec) as key:
        workflows.client.set_flow_run_state(UUID(key), Running(), force=True)
    assert workflows.is_in(UUID(key), StateType.RUNNING)
    workflows.client.set_flow_run_state(UUID(key), Completed(), force=True)


def plan_runs(workflows: Workflows, deployment: UUID, count: int) -> None:
    """What the server's scheduler does in its own time."""
    workflows.client.request(
        "POST",
        "/deployments/{id}/schedule",
        path_params={"id": deployment},
        json={"min_runs": count, "max_runs": count},
    )


def planned_runs(workflows: Workflows) -> list[FlowRun]:
    runs = workflows.runs_of(create_training_flow)
    return [run for run in runs if run.auto_scheduled and run.state and run.state.is_scheduled()]


def scheduled_run(workflows: Workflows) -> UUID:
    """The next run that the server has planned for a schedule of trainings."""
    plan_runs(workflows, deployment_id(workflows.client, create_training_flow), count=1)
    found: list[FlowRun] = []

    def planned() -> bool:
        found[:] = planned_runs(workflows)
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


def test_what_a_test_leaves_is_not_there_in_the_next(workflows: Workflows) -> None:
    client, deployment = workflows.client, deployment_id(workflows.client, create_training_flow)
    parameters = {"spec": workflows.spec("left-behind", SLEEPS)}
    with pytest.raises(ZeroDivisionError), workflows.platform_runs():
        raise ZeroDivisionError
    run = workflows.train("left-behind", SLEEPS)
    workflows.await_status("left-behind", TrainingStatus.RUNNING)
    client.create_deployment_schedules(deployment, [(IntervalSchedule(interval=timedelta(days=1)), True)])
    client.pause_deployment(deployment)
    later: State[Any] = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1))
    client.create_flow_run_from_deployment(deployment, parameters=parameters, state=later)
    workflows.clear()
    assert processes_of(workflows.home) == []
    assert not own_api(open_platform().settings)
    assert [one.id for one in workflows.runs_of(create_training_flow) if one.state and not one.state.is_final()] == []
    assert workflows.is_in(run, StateType.CANCELLED)
    assert client.read_deployment_schedules(deployment) == []
    assert not client.read_deployment(deployment).paused


@pytest.mark.req("COM-04")
def test_a_runner_ends_at_once_when_it_is_asked_to_and_what_it_started_goes_on(
    workflows: Workflows, tmp_path: Path
) -> None:
    run = workflows.train("left-alone", waits(tmp_path / "go"))
    workflows.await_status("left-alone", TrainingStatus.RUNNING)
    assert workflows.runner.end() < 2
    assert left_in(workflows.temporary, "pymp-*") == []
    assert left_in(workflows.temporary, "runner_storage/*") == [], "what a killed one leaves is below the home"
    (tmp_path / "go").touch()
    workflows.await_state(run, StateType.COMPLETED)
    workflows.await_status("left-alone", TrainingStatus.COMPLETE)

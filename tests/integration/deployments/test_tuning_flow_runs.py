"""Tunings asked for in the workflow UI: what their pages show, and what comes of cancelling, killing and deleting."""

from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import StateType, TaskRun
from prefect.client.schemas.sorting import LogSort
from prefect.states import AwaitingRetry, Cancelling

from blocks.connections.platform import open_platform
from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.registry.records import Trial, Tuning
from flows.tuning import resume_tuning_flow
from flows.upkeep import upkeep
from tests.integration.deployments.conftest import SECONDS, Workflows
from tests.integration.deployments.test_flow_runs import process_of
from tests.processes import processes_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("deployments"), pytest.mark.req("TUN-14", "COM-04")]

R, T = TrialStatus, TuningStatus
OF_EVERY_KIND = """
import os, sys
kind = os.environ["EM_HP_K"]
for step in range(1, 20):
    print(f"step={step} loss={int(kind) + 1 / step}" if kind != "3" else "nothing")
sys.exit(kind == "2")
"""


def waits(go: Path) -> str:
    """The first trial ends at once, the others when there is such a file; each start leaves a file beside that."""
    return (
        "import os, pathlib, time\n"
        f"go, k = pathlib.Path({str(go)!r}), os.environ['EM_HP_K']\n"
        "go.with_name(f'{k}-{os.getpid()}').touch()\n"
        "print(f'loss={k}', flush=True)\n"
        "while k != '1' and not go.exists():\n"
        "    time.sleep(0.05)\n"
    )


def starts_beside(go: Path) -> list[str]:
    """Which trials were started, one entry a start."""
    return sorted(file.name.partition("-")[0] for file in go.parent.glob("[0-9]-*"))


def tune(workflows: Workflows, name: str, source: str, **trainings: Any) -> UUID:
    """Ask for a tuning of four trials, as the form does; the id of its flow run."""
    points = {"name": "k", "type": "INT", "min": "1", "max": "4"}
    settings = {"search": {"parameters": [points], "strategy": "GRID"}, "objective": {"metric": "loss"}}
    spec = workflows.spec(name, source, **settings, trainings={"parallel_trainings": 2, **trainings})
    return workflows.ask("create-tuning", spec=spec)


def tuning_of(name: str) -> Tuning | None:
    try:
        return open_platform().registry.tunings.get(name)
    except NotFoundError:
        return None


def trials_of(name: str) -> list[Trial]:
    row = tuning_of(name)
    return open_platform().registry.tunings.trials(row.id) if row else []


def await_trials(name: str, *statuses: TrialStatus) -> None:
    wait_until(lambda: [trial.status for trial in trials_of(name)] == list(statuses), f"trials {statuses}", SECONDS)


def await_end(name: str, status: TuningStatus) -> None:
    wait_until(lambda: (row := tuning_of(name)) is not None and row.status is status, f"{name} {status}", SECONDS)


def task_runs_of(workflows: Workflows, run: UUID) -> list[TaskRun]:
    return workflows.client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))


def test_a_tuning_s_page_has_a_task_run_for_each_trial_its_report_and_a_few_lines(workflows: Workflows) -> None:
    run = tune(workflows, "seen", OF_EVERY_KIND)
    workflows.await_state(run, StateType.COMPLETED)

    def states() -> Counter[tuple[str, str]]:
        return Counter((one.name, one.state_name or "") for one in task_runs_of(workflows, run))

    ends = {"trial 1": "Completed", "trial 2": "Failed", "trial 3": "Failed", "trial 4": "Completed"}
    wait_until(lambda: all(states()[pair] == 1 for pair in ends.items()), "the server to know how the trials ended")
    of_trials = {pair: count for pair, count in states().items() if pair[0].startswith("trial")}
    assert of_trials == dict.fromkeys(ends.items(), 1)
    assert states().total() < 12, "no task run for a metric or a line"

    body = {"artifacts": {"flow_run_id": {"any_": [str(run)]}}}
    [report] = workflows.client._client.post("/artifacts/filter", json=body).raise_for_status().json()
    assert "4 of 4 have run" in report["data"]
    assert "data:image/svg+xml" in report["data"]

    def lines() -> list[str]:
        told = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        return [log.message for log in workflows.client.read_logs(told, sort=LogSort.TIMESTAMP_ASC, limit=200)]

    wait_until(lambda: any(line.startswith("COMPLETE") for line in lines()), "the end to be told", 20)
    for number, told in enumerate(("SUCCEEDED", "FAILED", "METRICS_UNAVAILABLE", "SUCCEEDED"), 1):
        assert any(line.startswith(f"trial {number} {told}") for line in lines()), lines()
    assert len(lines()) < 20, lines()


def test_cancelling_in_the_ui_stops_the_tuning_and_leaves_no_worker_and_its_retry_goes_on(
    workflows: Workflows, tmp_path: Path
) -> None:
    run = tune(workflows, "cancelled", waits(tmp_path / "go"))
    await_trials("cancelled", R.SUCCEEDED, R.RUNNING, R.RUNNING)
    workflows.client.set_flow_run_state(run, Cancelling())
    await_end("cancelled", T.STOPPED)
    workflows.await_state(run, StateType.CANCELLED)
    assert processes_of(workflows.home) == []
    (tmp_path / "go").touch()
    workflows.client.set_flow_run_state(run, AwaitingRetry())
    workflows.await_state(run, StateType.COMPLETED)
    await_trials("cancelled", *[R.SUCCEEDED] * 4)
    assert starts_beside(tmp_path / "go") == list("122334")


def test_a_killed_flow_run_is_crashed_and_its_retry_goes_on_with_the_trials_that_run(
    workflows: Workflows, tmp_path: Path
) -> None:
    run = tune(workflows, "killed", waits(tmp_path / "go"))
    await_trials("killed", R.SUCCEEDED, R.RUNNING, R.RUNNING)
    process_of(workflows, run).kill()
    workflows.await_state(run, StateType.CRASHED)
    workflows.client.set_flow_run_state(run, AwaitingRetry())
    workflows.await_state(run, StateType.RUNNING)
    (tmp_path / "go").touch()
    workflows.await_state(run, StateType.COMPLETED)
    await_trials("killed", *[R.SUCCEEDED] * 4)
    assert starts_beside(tmp_path / "go") == list("1234"), "each trial was started once"


def test_a_tuning_whose_flow_run_is_deleted_goes_on_to_its_end(workflows: Workflows, tmp_path: Path) -> None:
    run = tune(workflows, "deleted", waits(tmp_path / "go"))
    await_trials("deleted", R.SUCCEEDED, R.RUNNING, R.RUNNING)
    workflows.client.delete_flow_run(run)
    (tmp_path / "go").touch()
    await_end("deleted", T.COMPLETE)
    await_trials("deleted", *[R.SUCCEEDED] * 4)
    assert starts_beside(tmp_path / "go") == list("1234")


@pytest.mark.req("TUN-17")
def test_upkeep_has_the_runner_go_on_with_a_tuning_whose_flow_was_killed(workflows: Workflows, tmp_path: Path) -> None:
    run = tune(workflows, "unfollowed", waits(tmp_path / "go"))
    await_trials("unfollowed", R.SUCCEEDED, R.RUNNING, R.RUNNING)
    process_of(workflows, run).kill()
    workflows.await_state(run, StateType.CRASHED)
    with workflows.platform_runs():
        found = [one for one in upkeep(patience_seconds=0).findings if one.kind == "tuning"]
    assert [(one.name, one.done) for one in found] == [("unfollowed", "followed again, by resume-tuning/makerflow")]
    (tmp_path / "go").touch()
    await_end("unfollowed", T.COMPLETE)
    assert starts_beside(tmp_path / "go") == list("1234")
    [again] = [run for run in workflows.runs_of(resume_tuning_flow) if run.parameters["key"] == "unfollowed"]
    workflows.await_state(again.id, StateType.COMPLETED)

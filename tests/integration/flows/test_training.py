"""The life of a training through the flows, with real workers."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from pydantic import ValidationError

from blocks.cluster.base import Selector
from blocks.cluster.kubernetes.api import ApiError
from blocks.cluster.layout import RunLayout
from blocks.cluster.local import LocalCluster
from blocks.connections.platform import _platform, open_platform
from blocks.domain.errors import (
    AlreadyExistsError,
    BusyError,
    CapacityError,
    IllegalTransitionError,
    InUseError,
    InvalidInputError,
    NotFoundError,
    PlaceGoneError,
)
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.plan import Placed, RunHandle, RunPhase, RunPlan, RunState, StopReport
from blocks.domain.specs import TrainingSpec
from blocks.registry.records import Training
from flows.experiment import delete_experiment
from flows.training import (
    TrainingHandle,
    change_training,
    copy_training,
    copy_training_flow,
    create_training,
    delete_training,
    resume_training,
    stop_training,
)
from flows.training_flows import UNTIL_LAUNCHED, training_of
from tasks import following, launch_pause
from tasks.engine import run_flow
from tasks.following import CHECK_SECONDS, Follower
from tasks.report import training_report
from tasks.training import check_access, launch_workers, plan_run, register_training
from tasks.trouble import SILENT
from tests.integration.flows.conftest import MakeSpec
from tests.integration.flows.test_tuning import remove_behind_its_back
from tests.processes import processes_of
from tests.waiting import wait_until

PRINTS_METRICS = """
import os, pathlib
for step in range(1, 6):
    print(f"step={step} loss={1 / step}", flush=True)
pathlib.Path(os.environ["EM_MODEL_DIR"], "model.txt").write_text("model")
pathlib.Path(os.environ["EM_CHECKPOINT_DIR"], "last.ckpt").write_text("checkpoint")
"""
SLEEPS = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready=1')\n" + SLEEPS


def is_running(name: str) -> bool:
    rows = open_platform().registry.trainings
    return rows.get(name).status is TrainingStatus.RUNNING


def has_reported(name: str) -> bool:
    registry = open_platform().registry
    return bool(registry.metrics.names(registry.trainings.get(name).id))


@pytest.mark.req("COM-02", "TRN-01", "TRN-08", "TRN-11", "TRN-12")
def test_a_training_ends_complete_with_its_model_checkpoints_logs_and_metrics_in_place(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "checkpoints"
    training = create_training(make_spec(PRINTS_METRICS, checkpoint_output=f"file://{checkpoints}"))
    assert isinstance(training, Training)
    assert (training.status, training.training_seconds > 0) == (TrainingStatus.COMPLETE, True)
    assert (tmp_path / "out-t" / "model.txt").read_text() == "model"
    assert (checkpoints / "last.ckpt").read_text() == "checkpoint"
    assert "loss=0.2" in (tmp_path / "out-t" / "makerflow-logs" / "output.log").read_text()
    registry = open_platform().registry
    [loss] = registry.metrics.names(training.id)
    assert (loss.name, loss.count, loss.min, loss.last_step) == ("loss", 5, 0.2, 5)
    history = [move.target for move in registry.trainings.history(training.id)]
    assert history[-3:] == ["RUNNING", "COMPLETE IN PROGRESS", "COMPLETE"]
    assert list((open_platform().settings.home / "runs").iterdir()) == []


@pytest.mark.req("ENV-02", "EXP-03")
def test_metrics_are_written_as_tensorboard_scalars(make_spec: MakeSpec) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    training = create_training(make_spec(PRINTS_METRICS))
    assert isinstance(training, Training)
    events = open_platform().settings.home / "tensorboard" / training.experiment_id / "t" / "metrics"
    accumulator = EventAccumulator(str(events)).Reload()
    assert [scalar.step for scalar in accumulator.Scalars("loss")] == [1, 2, 3, 4, 5]


def test_a_failing_entry_point_fails_the_training_with_its_last_line(make_spec: MakeSpec) -> None:
    training = create_training(make_spec("raise SystemError('the disk is made of cheese')"))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.FAIL_TRAIN
    assert "the disk is made of cheese" in training.reason


@pytest.mark.req("TRN-03")
def test_a_training_that_fails_before_its_entry_point_starts_leaves_no_scratch(
    make_spec: MakeSpec, tmp_path: Path, home: Path
) -> None:
    spec = make_spec("print('never')")
    (tmp_path / "code-t" / "requirements.txt").write_text("./no-such-package.whl\n")
    training = create_training(spec)
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.FAIL_TRAIN
    assert "no-such-package.whl" in (tmp_path / "out-t" / "makerflow-logs" / "output.log").read_text()
    assert list((home / "runs").iterdir()) == []


@pytest.mark.req("COM-06", "COM-10", "TRN-02")
def test_a_missing_entry_point_fails_the_creation_and_can_be_asked_for_again(
    make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec("print('hello')").changed(entry_point="other.py")
    training = create_training(spec)
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.CREATE_FAILED
    assert "train.py" in training.reason
    (tmp_path / "code-t" / "other.py").write_text("print('hello')")
    assert resume_training("t").status is TrainingStatus.COMPLETE


@pytest.mark.req("COM-05")
def test_settings_that_cannot_work_are_refused_before_anything_is_made(make_spec: MakeSpec) -> None:
    with pytest.raises(InvalidInputError, match="c1m2"):
        create_training(make_spec("pass", flavor="enormous"))
    assert open_platform().registry.trainings.page().items == ()


@pytest.mark.req("COM-01")
def test_a_name_is_taken_once(make_spec: MakeSpec) -> None:
    spec = make_spec("pass")
    create_training(spec)
    with pytest.raises(AlreadyExistsError):
        create_training(spec)


@pytest.mark.req("TRN-13")
def test_a_running_training_is_stopped_and_its_workers_are_gone(make_spec: MakeSpec) -> None:
    results: list[object] = []
    follower = threading.Thread(target=lambda: results.append(create_training(make_spec(SLEEPS))))
    follower.start()
    wait_until(lambda: bool(open_platform().registry.trainings.page().items) and is_running("t"))
    assert stop_training("t", grace_seconds=2).status is TrainingStatus.STOPPED
    follower.join(30)
    [result] = results
    assert isinstance(result, Training)
    assert result.status is TrainingStatus.STOPPED
    assert stop_training("t").status is TrainingStatus.STOPPED


@pytest.mark.req("TRN-13")
def test_a_training_whose_run_somebody_deletes_from_the_cluster_ends_and_says_so(
    make_spec: MakeSpec, home: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(create_training, make_spec(SLEEPS))
        wait_until(lambda: bool(open_platform().registry.trainings.page().items) and is_running("t"))
        remove_behind_its_back(RunLayout(home, open_platform().registry.trainings.get("t").id))
        row = followed.result(60)
    assert row.status is TrainingStatus.FAIL_TRAIN
    assert row.reason.startswith("Somebody deleted its run from the cluster. Start it again")
    assert row.training_seconds > 0  # also when nothing had been heard of it since its start


@pytest.mark.req("TRN-13", "COM-10")
def test_a_training_whose_run_was_deleted_while_nobody_followed_it_is_not_run_anew_without_a_word(
    make_spec: MakeSpec, home: Path
) -> None:
    training_id = register_training.task.fn(make_spec(SLEEPS), "key")
    for step in UNTIL_LAUNCHED:
        step.task.fn(training_id)
    layout = RunLayout(home, training_id)
    wait_until(layout.events.exists)
    open_platform().registry.trainings.follow(training_id, event_cursor=1)  # by one who was killed
    remove_behind_its_back(layout)
    row = resume_training("t")
    assert row.status is TrainingStatus.FAIL_TRAIN
    assert row.reason.startswith("Somebody deleted its run from the cluster. Start it again")


def lose_and_refuse(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the run be lost to whoever looks, and be launched no more."""
    find = LocalCluster.find

    def lost(cluster: LocalCluster, selector: Selector) -> list[RunState]:
        return [state.model_copy(update={"phase": RunPhase.LOST}) for state in find(cluster, selector)]

    def refuse(*_: object) -> RunHandle:
        raise error

    monkeypatch.setattr(LocalCluster, "find", lost)
    monkeypatch.setattr(LocalCluster, "launch", refuse)


@pytest.mark.req("TRN-13")
@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_training_whose_namespace_somebody_deletes_ends_and_says_what_to_do(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, is_resumed: bool
) -> None:
    error = PlaceGoneError("The namespace is being terminated. Name another one by MAKERFLOW_NAMESPACE.")
    if is_resumed:
        row = launched_and_left(make_spec(SLEEPS))
        lose_and_refuse(monkeypatch, error)
        row = resume_training(row.id)
    else:
        with ThreadPoolExecutor(1) as pool:
            followed = pool.submit(create_training, make_spec(SLEEPS))
            wait_until(lambda: bool(open_platform().registry.trainings.page().items) and is_running("t"))
            lose_and_refuse(monkeypatch, error)
            row = followed.result(60)
    assert row.status is TrainingStatus.FAIL_TRAIN
    assert "Start it again as a copy" in row.reason
    assert row.reason.endswith("Name another one by MAKERFLOW_NAMESPACE.")
    delete_training("t")


@pytest.mark.req("TRN-13")
def test_a_training_whose_account_has_expired_runs_on_until_somebody_goes_on_with_it(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = launched_and_left(make_spec("import time\nprint('ready', flush=True)\ntime.sleep(4)"))
    with monkeypatch.context() as patch:
        lose_and_refuse(patch, InvalidInputError("KUBECONFIG", "Unauthorized", "Have the credentials renewed."))
        with pytest.raises(InvalidInputError, match="renewed"):
            resume_training(row.id)
    assert is_running("t")
    assert resume_training(row.id).status is TrainingStatus.COMPLETE


@pytest.mark.req("TRN-13", "COM-06")
def test_an_account_that_may_not_look_at_the_cluster_fails_the_creation_and_leaves_nothing_to_stop(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> object:
        raise ApiError(403, "Forbidden", "events is forbidden: cannot list resource")

    for method in ("find", "stop", "remove"):
        monkeypatch.setattr(LocalCluster, method, refuse)
    row = create_training(make_spec("pass"))
    assert isinstance(row, Training)
    assert row.status is TrainingStatus.CREATE_FAILED
    assert "events is forbidden" in row.reason
    assert row.reason.endswith("`makerflow doctor` says which rights are missing.")
    delete_training("t")
    assert not open_platform().registry.trainings.page().items


@pytest.mark.req("TRN-13")
def test_a_run_that_stays_lost_is_launched_less_and_less_often(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[float] = []

    def queued(_: LocalCluster, plan: RunPlan, *_others: object) -> RunHandle:
        launched.append(time.monotonic())
        return RunHandle(cluster="local", run_id=plan.run_id)

    go = tmp_path / "go"
    row = launched_and_left(
        make_spec(f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)")
    )
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        lose_and_refuse(patch, AssertionError())
        patch.setattr(LocalCluster, "launch", queued)
        patch.setattr(following, "CHECK_SECONDS", 0.1)
        patch.setattr(launch_pause, "FIRST_SECONDS", 0.1)
        followed = pool.submit(resume_training, row.id)
        wait_until(lambda: len(launched) >= 4 or followed.done())
        go.touch()
        assert followed.result(60).status is TrainingStatus.COMPLETE
    pauses = [later - sooner for sooner, later in pairwise(launched[1:])]  # the first is of the step before
    assert all(pause >= 0.1 * 2**before for before, pause in enumerate(pauses))


def launched_and_left(spec: TrainingSpec) -> Training:
    """A training that runs, whose flow has come no further."""
    training_id = register_training.task.fn(spec, "a request that died")
    for step in (check_access, plan_run, launch_workers):
        step.task.fn(training_id)
    return open_platform().registry.trainings.move(training_id, TrainingStatus.RUNNING, "1 worker started")


@pytest.mark.req("TRN-13")
def test_what_is_heard_late_of_a_training_that_is_stopped_is_not_why_it_was(make_spec: MakeSpec) -> None:
    training_id = register_training.task.fn(make_spec(SLEEPS), "key")
    check_access.task.fn(training_id)
    platform = open_platform()
    row = platform.registry.trainings.move(training_id, TrainingStatus.STOP_IN_PROGRESS, "stopped on request")
    placed = Placed(run_id=training_id, sequence=1, at=datetime.now(UTC), where="node node1")
    Follower(platform, row)._take(placed)
    assert platform.registry.trainings.get(training_id).reason == "stopped on request"


@pytest.mark.req("COM-10")
def test_a_cluster_that_is_slow_to_answer_is_told_meanwhile(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_id = register_training.task.fn(make_spec(PRINTS_METRICS), "key")
    check_access.task.fn(training_id)
    plan_run.task.fn(training_id)
    trainings, find = open_platform().registry.trainings, LocalCluster.find

    def find_late(cluster: LocalCluster, selector: Selector) -> list[RunState]:
        wait_until(lambda: trainings.get(training_id).reason == SILENT)
        return find(cluster, selector)

    monkeypatch.setattr("tasks.trouble.SILENCE_SECONDS", 0.1)
    with monkeypatch.context() as slow:
        slow.setattr(LocalCluster, "find", find_late)
        launch_workers.task.fn(training_id)
    assert trainings.get(training_id).reason == "It has answered."
    assert resume_training("t").status is TrainingStatus.COMPLETE


@pytest.mark.req("TRN-13", "COM-10")
def test_who_follows_a_training_stops_it_for_one_who_died_before_the_cluster_heard_of_the_stop(
    make_spec: MakeSpec,
) -> None:
    results: list[object] = []
    follower = threading.Thread(target=lambda: results.append(create_training(make_spec(SLEEPS))))
    follower.start()
    wait_until(lambda: bool(open_platform().registry.trainings.page().items) and is_running("t"))
    trainings = open_platform().registry.trainings
    trainings.move(trainings.get("t").id, TrainingStatus.STOP_IN_PROGRESS, "stopped on request")
    follower.join(60)
    [result] = results
    assert isinstance(result, Training)
    assert result.status is TrainingStatus.STOPPED


@pytest.mark.req("TRN-13")
def test_who_follows_a_training_does_not_shorten_the_grace_with_which_another_stops_it(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    graces: list[float] = []
    stop = LocalCluster.stop

    def noted(cluster: LocalCluster, handle: RunHandle, grace_seconds: float, *others: Any) -> StopReport:
        graces.append(grace_seconds)
        return stop(cluster, handle, grace_seconds, *others)

    monkeypatch.setattr(LocalCluster, "stop", noted)
    follower = threading.Thread(target=lambda: create_training(make_spec(STUBBORN)))
    follower.start()
    wait_until(lambda: bool(open_platform().registry.trainings.page().items) and has_reported("t"))
    stop_training("t", grace_seconds=3 * CHECK_SECONDS)
    follower.join(60)
    assert set(graces) == {3 * CHECK_SECONDS, 0}, "the second is of the removal of what has ended"


@pytest.mark.req("COM-02")
def test_what_is_complete_cannot_be_stopped(make_spec: MakeSpec) -> None:
    create_training(make_spec("pass"))
    with pytest.raises(IllegalTransitionError, match="from COMPLETE"):
        stop_training("t")


@pytest.mark.req("COM-04", "TRN-13")
@pytest.mark.usefixtures("forked_followers")
def test_a_training_that_is_followed_elsewhere_is_waited_for_and_stopped_by_its_handle(make_spec: MakeSpec) -> None:
    handle = create_training(make_spec(SLEEPS), wait=False)
    assert isinstance(handle, TrainingHandle)
    wait_until(lambda: is_running("t"))
    with pytest.raises(BusyError, match="stop"):
        delete_training("t")
    assert handle.stop().status is TrainingStatus.STOPPED
    assert handle.wait().status is TrainingStatus.STOPPED


@pytest.mark.req("TRN-09")
def test_past_its_time_limit_a_training_is_ended(make_spec: MakeSpec) -> None:
    training = create_training(make_spec(SLEEPS, max_time_seconds=1.5))
    assert isinstance(training, Training)
    assert training.status is TrainingStatus.FAIL_TRAIN
    assert "time" in training.reason


@pytest.mark.req("TRN-14", "TRN-16", "EXP-05", "COM-01", "COM-03")
def test_a_training_is_copied_with_overrides_changed_and_deleted_with_its_experiment(make_spec: MakeSpec) -> None:
    create_training(make_spec("import sys; print(sys.argv)", hyperparameters={"lr": 0.1, "n": 1}))
    copy = copy_training("t", hyperparameters={"lr": 0.5})
    assert isinstance(copy, Training)
    assert copy.status is TrainingStatus.COMPLETE
    assert {p.name: p.value for p in copy.spec.algorithm.hyperparameters} == {"lr": "0.5", "n": "1"}
    assert change_training("t", description="first", tags={"team": "vision"}).description == "first"
    with pytest.raises(ValidationError, match="1000"):
        change_training("t", description="x" * 1001)
    changed = copy_training("t", name="changed")
    assert isinstance(changed, Training)
    assert (changed.description, changed.tags) == ("first", {"team": "vision"})
    delete_training("changed")
    with pytest.raises(InUseError, match=copy.name):
        delete_experiment("default")
    delete_training("t")
    delete_training(copy.name)
    delete_experiment("default")


@pytest.mark.req("TRN-07", "TRN-06")
def test_a_training_goes_on_from_the_checkpoints_of_another(make_spec: MakeSpec, tmp_path: Path) -> None:
    reads = (
        "import os, pathlib\n"
        "print('found', pathlib.Path(os.environ['EM_CHECKPOINT_INPUT_DIR'], 'last.ckpt').read_text())\n"
        "print('data', pathlib.Path(os.environ['EM_DATASET_TRAIN'], 'a.csv').read_text())\n"
    )
    create_training(make_spec(PRINTS_METRICS, checkpoint_output=f"file://{tmp_path}/checkpoints"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1,2")
    second = create_training(
        make_spec(
            reads,
            "second",
            checkpoint_input=f"file://{tmp_path}/checkpoints",
            datasets={"train": f"file://{tmp_path}/data"},
        )
    )
    assert isinstance(second, Training)
    assert second.status is TrainingStatus.COMPLETE
    log = (tmp_path / "out-second" / "makerflow-logs" / "output.log").read_text()
    assert "found checkpoint" in log
    assert "data 1,2" in log


@pytest.mark.req("TRN-08")
def test_an_output_path_that_holds_files_already_is_never_overwritten(make_spec: MakeSpec, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    out.mkdir()
    (out / "model.txt").write_text("precious")
    training = create_training(make_spec(PRINTS_METRICS, output=f"file://{out}"))
    assert isinstance(training, Training)
    assert (out / "model.txt").read_text() == "precious"
    assert (out / training.id / "model.txt").read_text() == "model"


@pytest.mark.req("TRN-08")
def test_of_two_at_once_with_one_output_path_none_overwrites_the_other(make_spec: MakeSpec, tmp_path: Path) -> None:
    ids = [
        register_training.task.fn(make_spec(PRINTS_METRICS, name, output=f"file://{tmp_path}/out"), name)
        for name in ("one", "two")
    ]
    for step in (check_access, plan_run):
        for training_id in ids:
            step.task.fn(training_id)
    assert [resume_training(name).status for name in ("one", "two")] == [TrainingStatus.COMPLETE] * 2
    assert (tmp_path / "out" / "model.txt").read_text() == "model"
    assert (tmp_path / "out" / ids[1] / "model.txt").read_text() == "model"


@pytest.mark.req("COM-04", "COM-05")
def test_another_process_goes_on_with_a_training_whose_data_is_on_a_nas(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "a.csv").write_text("1,2")
    monkeypatch.setenv("MAKERFLOW_NAS", f'{{"n1": "{tmp_path}/mount"}}')
    training_id = register_training.task.fn(make_spec("pass", datasets={"train": "nas://n1:/"}), "key")
    check_access.task.fn(training_id)
    plan_run.task.fn(training_id)
    _platform.cache_clear()
    assert resume_training("t").status is TrainingStatus.COMPLETE


@pytest.mark.req("TRN-13")
def test_a_stop_ends_workers_that_a_flow_launched_and_died_before_it_said_so(make_spec: MakeSpec, home: Path) -> None:
    training_id = register_training.task.fn(make_spec(SLEEPS), "key")
    check_access.task.fn(training_id)
    plan_run.task.fn(training_id)
    platform = open_platform()
    plan = platform.registry.trainings.get(training_id).plan
    assert plan is not None
    platform.cluster.launch(plan)
    assert stop_training("t", grace_seconds=0).status is TrainingStatus.STOPPED
    assert processes_of(home) == []
    delete_training("t")


@pytest.mark.req("EXP-03")
def test_a_deleted_training_leaves_nothing_in_its_experiments_tensorboard(make_spec: MakeSpec, home: Path) -> None:
    create_training(make_spec(PRINTS_METRICS))
    assert len(list((home / "tensorboard").glob("*/t/metrics/*"))) == 1
    delete_training("t")
    assert list((home / "tensorboard").glob("*/t")) == []


def test_a_folder_of_the_users_that_is_called_as_ours_changes_nothing(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    handle = create_training(make_spec("pass"), wait=False)
    assert isinstance(handle, TrainingHandle)
    wait_until(lambda: handle.refresh().status is TrainingStatus.COMPLETE)


def test_what_users_print_is_never_markup_in_the_report(make_spec: MakeSpec) -> None:
    training = create_training(make_spec("pass", hyperparameters={"x": "![a](http://example.com/t.png) <b> | `c`"}))
    assert isinstance(training, Training)
    report = training_report(training, open_platform().registry)
    assert r"\!\[a\]\(http\:\/\/example\.com\/t\.png\) \<b\> \| \`c\`" in report


@pytest.mark.req("TRN-12")
@pytest.mark.usefixtures("forked_followers")
def test_trainings_wait_in_the_order_of_their_creation_and_say_what_they_wait_for(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("MAKERFLOW_CPUS", "1")
    handles = [create_training(make_spec(SLEEPS, f"q{number}"), wait=False) for number in range(3)]
    first, second, third = (handle for handle in handles if isinstance(handle, TrainingHandle))
    wait_until(lambda: is_running("q0") and all("waiting for 1 vCPU" in h.refresh().reason for h in (second, third)))
    first.stop()
    wait_until(lambda: is_running("q1"))
    assert not is_running("q2")
    for handle in (third, second):
        assert handle.stop().status is TrainingStatus.STOPPED
        assert not (home / "runs" / handle.id).exists()


@pytest.mark.req("TRN-10", "TRN-13")
def test_a_scheduled_run_without_a_training_yet_is_about_none(make_spec: MakeSpec) -> None:
    create_training(make_spec("pass", "nightly"))
    parameters = {"spec": open_platform().registry.trainings.get("nightly").current_spec.model_dump(mode="json")}
    taken_up = FlowRun(flow_id=uuid4(), parameters=parameters)
    assert training_of(taken_up).name == "nightly"
    with pytest.raises(NotFoundError):
        training_of(taken_up.model_copy(update={"auto_scheduled": True}))
    with pytest.raises(NotFoundError):
        training_of(taken_up.model_copy(update={"parameters": {"spec": {"name": "nightly"}}}))


@pytest.mark.req("COM-04", "TRN-14")
def test_a_scheduled_copy_with_a_name_gets_one_of_its_own_each_time(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_training(make_spec("pass", "original"))
    monkeypatch.setattr("flows.training_flows.is_scheduled", lambda: True)
    names = [run_flow(copy_training_flow, "original", "weekly").name for _ in range(2)]
    names.append(run_flow(copy_training_flow, "original").name)
    assert names == ["weekly", "weekly-2", "original-2"]


@pytest.mark.req("COM-04", "COM-10", "TRN-14")
def test_a_copy_that_is_retried_goes_on_with_its_training_also_when_the_original_is_gone(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_training(make_spec("pass", "original"))
    monkeypatch.setattr("flows.training_flows.run_key", lambda: "the same run")
    copy = run_flow(copy_training_flow, "original")
    delete_training("original")
    assert run_flow(copy_training_flow, "original").id == copy.id


@pytest.mark.req("TRN-14")
@pytest.mark.parametrize("wait", [True, False], ids=["followed", "detached"])
def test_two_copies_at_once_are_two_trainings_also_while_nobody_follows_the_other_yet(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, wait: bool
) -> None:
    create_training(make_spec("pass", "original"))
    trainings = open_platform().registry.trainings
    free_name, others = trainings.free_name, []

    def taken_meanwhile(base: str) -> str:
        name = free_name(base)
        if not others:
            spec = trainings.get("original").current_spec.changed(name=name)
            others.append(register_training.task.fn(spec, "another"))
        return name

    monkeypatch.setattr(trainings, "free_name", taken_meanwhile)
    copy = copy_training("original", wait=wait)
    row = copy.wait() if isinstance(copy, TrainingHandle) else copy
    assert (row.name, row.status) == ("original-3", TrainingStatus.COMPLETE)
    assert trainings.get(others[0]).status is TrainingStatus.CREATE_REQUESTED


@pytest.mark.req("COM-10")
def test_a_training_that_was_left_unfinished_is_taken_up_by_whoever_asks_for_its_name_again(
    make_spec: MakeSpec,
) -> None:
    left = register_training.task.fn(spec := make_spec("pass", "left"), "a request that died")
    with pytest.raises(AlreadyExistsError):
        create_training(spec, take_up=False)
    row = create_training(spec)
    assert isinstance(row, Training)
    assert (row.id, row.status) == (left, TrainingStatus.COMPLETE)


@pytest.mark.req("TRN-12")
def test_a_training_is_deleted_when_nobody_works_on_it_any_more(make_spec: MakeSpec) -> None:
    training = create_training(make_spec("print('loss=1')"))
    registry = open_platform().registry
    with ThreadPoolExecutor() as threads:
        with registry.lease(training.id):
            deleted = threads.submit(delete_training, "t")
            with pytest.raises(TimeoutError):
                deleted.result(timeout=1)
            assert registry.trainings.get("t").status is TrainingStatus.COMPLETE
        deleted.result(timeout=60)
    with pytest.raises(NotFoundError):
        registry.trainings.get("t")


@pytest.mark.req("TRN-08", "COM-06")
def test_an_algorithm_that_was_brought_for_a_failed_creation_does_not_move_the_output(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(PRINTS_METRICS)
    monkeypatch.setattr(LocalCluster, "reaches", lambda _, path: str(path) != spec.algorithm.path)
    with monkeypatch.context() as patch:
        full = CapacityError("The run", "2 pods", "1 pod", "Have the quota raised.")
        patch.setattr(LocalCluster, "launch", lambda *_: (_ for _ in ()).throw(full))
        row = create_training(spec)
    assert isinstance(row, Training)
    assert row.status is TrainingStatus.CREATE_FAILED
    assert resume_training("t").status is TrainingStatus.COMPLETE
    assert (tmp_path / "out-t" / "model.txt").exists()
    again = create_training(spec.changed(name="u"))
    assert isinstance(again, Training)
    assert (tmp_path / "out-t" / again.id / "model.txt").exists(), "where there is more, it stays"

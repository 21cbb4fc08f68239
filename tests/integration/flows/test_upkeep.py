"""What is left behind when processes die, and what upkeep makes of it."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from blocks.cluster.layout import write_json
from blocks.cluster.local import LocalCluster
from blocks.connections.platform import open_platform
from blocks.domain.errors import ClusterUnavailableError, InvalidInputError, MakerflowError
from blocks.domain.lifecycle import ExperimentStatus, TrainingStatus
from blocks.domain.plan import RunHandle
from blocks.domain.specs import ExperimentSpec
from blocks.logs.day_file import DayFile
from blocks.storage.cache import Cache
from blocks.upkeep.findings import Finding, Kind
from blocks.upkeep.scratch import mark_owner
from blocks.upkeep.trainings import MOST_ATTEMPTS, Remedy, unfollowed
from flows.training import TrainingHandle, create_training, delete_training, stop_training
from flows.upkeep import upkeep
from tasks import taking_up
from tasks.training import check_access, launch_workers, plan_run, register_training
from tests.flow_process import followers_of
from tests.integration.flows.conftest import MakeSpec
from tests.integration.flows.test_training import PRINTS_METRICS, SLEEPS, is_running
from tests.processes import processes_of
from tests.waiting import wait_until

T = TrainingStatus
EVER = datetime.fromtimestamp(0, UTC)

COUNTS = """
import os, pathlib, sys, time
given = pathlib.Path(os.environ.get("EM_CHECKPOINT_INPUT_DIR", "."), "step")
if os.environ["RANK"] != "0":
    given = given.parent / f"worker-{os.environ['RANK']}" / "step"
first = int(given.read_text()) + 1 if given.exists() else 1
starts = pathlib.Path(sys.argv[sys.argv.index("--starts") + 1])
(starts / f"{os.environ['RANK']}-from-{first}").write_text("")
for step in range(first, 11):
    print(f"step={step} loss={1 / step}", flush=True)
    own = pathlib.Path(os.environ["EM_CHECKPOINT_DIR"], "step")
    own.with_suffix(".new").write_text(str(step))
    own.with_suffix(".new").rename(own)
    time.sleep(0.05)
while not (starts.parent / "go").exists():
    time.sleep(0.05)
pathlib.Path(os.environ["EM_MODEL_DIR"], f"model-{os.environ['RANK']}").write_text("model")
"""


def launched(spec: object) -> str:
    """A training whose flow has come to its launch, and no further."""
    training_id = register_training.task.fn(spec, os.urandom(8).hex())
    for step in (check_access, plan_run, launch_workers):
        step.task.fn(training_id)
    return training_id


def status_of(key: str) -> TrainingStatus:
    return open_platform().registry.trainings.get(key).status


def crash_the_machine(home: Path) -> None:
    followers = followers_of(home)
    for pid in [process.pid for process in followers] + [pid for pid, _ in processes_of(home)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # A process has lost its command line before its last thread has let go of its leases.
    assert psutil.wait_procs(followers, timeout=30)[1] == []
    wait_until(lambda: not processes_of(home) and not followers_of(home))


def mended(**options: object) -> dict[Kind, list[Finding]]:
    report = upkeep(patience_seconds=0, **options)
    assert report.failed == ()
    return {kind: [finding for finding in report.findings if finding.kind is kind] for kind in Kind}


@pytest.fixture(autouse=True)
def _no_followers_left(home: Path) -> Iterator[None]:
    yield
    wait_until(lambda: not followers_of(home))


@pytest.mark.req("COM-04", "COM-10", "TRN-12")
@pytest.mark.usefixtures("forked_followers")
def test_after_a_crash_of_the_machine_every_training_is_finished_or_goes_on_from_its_checkpoint(
    make_spec: MakeSpec, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKERFLOW_CPUS", "3")
    starts = tmp_path / "starts"
    starts.mkdir()
    running = create_training(
        make_spec(COUNTS, "running", workers=2, hyperparameters={"starts": str(starts)}), wait=False
    )
    assert isinstance(running, TrainingHandle)
    finishing = launched(make_spec(PRINTS_METRICS, "finishing"))
    events = home / "events" / f"{finishing}.jsonl"
    wait_until(lambda: events.exists() and '"finished"' in events.read_text())
    step = home / "runs" / running.id / "workers" / "1" / "checkpoints" / "step"
    wait_until(lambda: is_running("running") and step.exists() and int(step.read_text()) > 3)
    launched(make_spec("import time; time.sleep(1)", "staging"))
    launched(make_spec(PRINTS_METRICS, "queued"))
    register_training.task.fn(make_spec(PRINTS_METRICS, "registered"), "asked-for")
    crash_the_machine(home)
    crashed = datetime.now(UTC)
    (tmp_path / "go").touch()

    names = {"running", "finishing", "staging", "queued", "registered"}
    down = datetime.now(UTC) - crashed
    found = mended()
    assert {finding.name for finding in found[Kind.TRAINING]} == names
    assert [finding.name for finding in found[Kind.FLOW_RUN]] == ["running"]
    assert upkeep().findings == ()

    def over() -> bool:
        return not open_platform().registry.overview.under_way(datetime.now(UTC))

    wait_until(over, seconds=120)
    ends = [(run.name, run.state) for run in open_platform().registry.flow_runs.pending()]
    assert ends.count(("running", "CRASHED")) == 1, "the killed flow run is journaled, and exported later"
    assert {name: status_of(name) for name in names} == dict.fromkeys(names, T.COMPLETE)
    row = running.refresh()
    assert row.started is not None
    assert row.ended is not None
    assert row.paused_seconds > down.total_seconds(), "while nothing of it ran is no time of training"
    assert 0 < row.training_seconds == (row.ended - row.started).total_seconds() - row.paused_seconds
    assert len(list(starts.iterdir())) == 4, "each worker was started once before and once after the crash"
    assert {path.name for path in starts.glob("*-from-1")} == {"0-from-1", "1-from-1"}
    assert sorted(path.name for path in (tmp_path / "out-running").rglob("model-*")) == ["model-0", "model-1"]
    wait_until(lambda: not followers_of(home))
    mended()
    assert mended() == {kind: [] for kind in Kind}
    assert list((home / "runs").iterdir()) == []
    assert list((home / "registry.db.leases").glob("trn-*")) == []


def without_row(training_id: str) -> None:
    """The row of a training is no more, as in a database that was restored from a backup."""
    with open_platform().registry._sessions.begin() as write:
        write.trainings._session.execute(text("DELETE FROM training WHERE id = :id"), {"id": training_id})


@pytest.mark.req("COM-04")
def test_after_the_platform_has_ended_a_training_is_followed_again_by_a_process_of_its_own(
    make_spec: MakeSpec, home: Path
) -> None:
    launched(make_spec(PRINTS_METRICS, "alone"))
    announced = open_platform().settings.server_file
    announced.parent.mkdir()
    announced.touch()  # as `makerflow down` leaves it
    assert [finding.done for finding in mended()[Kind.TRAINING]] == ["followed again, by a process of its own"]
    wait_until(lambda: status_of("alone") is T.COMPLETE)


@pytest.mark.req("COM-04")
def test_runs_of_trainings_that_are_over_or_no_more_are_ended_and_their_outputs_delivered(
    make_spec: MakeSpec, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = "import os, pathlib\npathlib.Path(os.environ['EM_CHECKPOINT_DIR'], 'last').write_text('x')\n" + SLEEPS
    checkpoints = tmp_path / "checkpoints"
    over = launched(make_spec(leaves, "over", checkpoint_output=f"file://{checkpoints}"))
    lost = launched(make_spec(SLEEPS, "lost"))
    wait_until(lambda: all(b"ready" in output(home, id) for id in (over, lost)))
    trainings = open_platform().registry.trainings
    for status in (T.RUNNING, T.STOP_IN_PROGRESS, T.STOPPED):
        trainings.move(over, status)
    without_row(lost)

    would = mended(dry_run=True)
    assert {(finding.id, finding.done) for finding in would[Kind.RUN]} == {
        (id, "would be ended") for id in (over, lost)
    }
    assert len({pid for pid, _ in processes_of(home)}) > 2, "a dry run ends nothing"
    assert {finding.id for finding in mended()[Kind.RUN]} == {over, lost}
    assert processes_of(home) == []
    assert (checkpoints / "last").read_text() == "x"
    assert mended()[Kind.RUN] == [], "their records are kept for a while"
    monkeypatch.setenv("MAKERFLOW_KEEP_RUNS_DAYS", "0")
    assert {finding.id for finding in mended()[Kind.RUN]} == {over, lost}
    assert list((home / "runs").iterdir()) == list((home / "events").iterdir()) == []
    assert mended()[Kind.RUN] == []


@pytest.mark.req("COM-04")
@pytest.mark.usefixtures("forked_followers")
def test_what_belongs_to_another_registry_is_left_alone_and_told(
    make_spec: MakeSpec, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_training(make_spec(PRINTS_METRICS, "seen"))
    others = launched(make_spec(SLEEPS, "others"))
    [experiment] = open_platform().registry.experiments.page().items
    events = home / "tensorboard" / experiment.id
    wait_until(lambda: b"ready" in output(home, others))
    first = open_platform().registry.id
    monkeypatch.setenv("MAKERFLOW_KEEP_RUNS_DAYS", "0")
    monkeypatch.setenv("MAKERFLOW_REGISTRY_URL", f"sqlite:///{tmp_path}/another.db")
    assert open_platform().registry.id != first
    ours = launched(make_spec(SLEEPS, "ours"))
    without_row(ours)
    os.utime(events, (1, 1))

    found = {finding.id: finding for finding in mended()[Kind.RUN]}
    assert set(found) == {ours, others}
    assert found[ours].done.startswith("ended")
    assert (found[others].name, first in found[others].found) == ("others", True)
    assert "Set MAKERFLOW_REGISTRY_URL" in found[others].done
    assert len(processes_of(home)) > 0
    assert (events / "seen").is_dir(), "TensorBoard's events of the other registry's experiment"

    monkeypatch.delenv("MAKERFLOW_REGISTRY_URL")
    assert stop_training("others", grace_seconds=1).status is T.STOPPED


@pytest.mark.req("COM-04")
def test_a_run_of_an_earlier_version_is_ended_only_where_its_training_is_known(make_spec: MakeSpec, home: Path) -> None:
    known, unknown = (launched(make_spec(SLEEPS, name)) for name in ("known", "unknown"))
    for training in (known, unknown):
        summary = home / "runs" / training / "run.json"
        document = json.loads(summary.read_text())
        del document["labels"]["registry"]
        write_json(summary, document)  # in one step: its agent may just be reading it
    for status in (T.STOP_IN_PROGRESS, T.STOPPED):
        open_platform().registry.trainings.move(known, status)
    without_row(unknown)
    found = {finding.id: finding.done for finding in mended()[Kind.RUN]}
    assert found[known].startswith("ended")
    assert f"remove its directory, {home}/runs/{unknown}" in found[unknown]
    [agent] = [command for _, command in processes_of(home) if "blocks.launcher" in command]
    assert unknown in agent
    open_platform().cluster.stop(RunHandle(cluster="", run_id=unknown), 0)


@pytest.mark.req("COM-04", "TRN-13")
@pytest.mark.usefixtures("forked_followers")
def test_a_stop_whose_process_died_before_the_cluster_heard_of_it_is_brought_to_its_end(
    make_spec: MakeSpec, home: Path
) -> None:
    training = launched(make_spec(SLEEPS, "stopping"))
    wait_until(lambda: b"ready" in output(home, training))
    for status in (T.RUNNING, T.STOP_IN_PROGRESS):
        open_platform().registry.trainings.move(training, status, "stopped on request")
    assert [finding.name for finding in mended()[Kind.TRAINING]] == ["stopping"]
    wait_until(lambda: status_of("stopping") is T.STOPPED)
    assert processes_of(home) == []


def output(home: Path, id: str) -> bytes:
    return b"".join(file.read_bytes() for file in (home / "runs" / id / "workers" / "0" / "output").glob("*"))


@pytest.mark.usefixtures("forked_followers")
def test_a_training_whose_followers_die_again_and_again_is_given_up_with_the_reason(
    make_spec: MakeSpec, home: Path
) -> None:
    registry = open_platform().registry
    begun = launched(make_spec(SLEEPS, "begun"))
    asked_for = register_training.task.fn(make_spec(SLEEPS, "asked-for"), "key")
    for _ in range(MOST_ATTEMPTS):
        for row in registry.overview.under_way(datetime.fromtimestamp(0, UTC)):
            assert registry.overview.take_up(row, "taken up")
    assert upkeep().findings == (), "the next attempt has to wait"
    assert {finding.name for finding in mended()[Kind.TRAINING]} == {"begun", "asked-for"}
    assert (status_of(begun), status_of(asked_for)) == (T.FAIL_TRAIN, T.CREATE_FAILED)
    assert f"its follower died {MOST_ATTEMPTS} times" in registry.trainings.get(begun).reason
    assert processes_of(home) == []
    assert mended()[Kind.TRAINING] == []


@pytest.mark.req("COM-04")
def test_a_training_whose_workers_run_is_followed_once_more_before_it_is_given_up(
    make_spec: MakeSpec, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[str] = []
    monkeypatch.setattr(taking_up, "start_follower", followed.append)
    registry = open_platform().registry
    training = launched(make_spec(SLEEPS, "healthy"))
    wait_until(lambda: b"ready" in output(home, training))
    registry.trainings.move(training, T.RUNNING)
    for _ in range(MOST_ATTEMPTS):
        [row] = registry.overview.under_way(EVER)
        assert registry.overview.take_up(row, "taken up")
    assert [one.done for one in mended()[Kind.TRAINING]] == ["followed again, by a process of its own"]
    assert (status_of(training), followed) == (T.RUNNING, [training])
    assert [one.done for one in mended()[Kind.TRAINING]] == ["given up: FAIL TRAIN"]
    assert f"its follower died {MOST_ATTEMPTS + 1} times" in registry.trainings.get(training).reason
    assert (processes_of(home), followed) == ([], [training])


@pytest.mark.req("COM-04")
@pytest.mark.parametrize(
    "error",
    [ClusterUnavailableError("no answer"), InvalidInputError("KUBECONFIG", "Unauthorized", "Have it renewed.")],
    ids=["an outage", "an account that has expired"],
)
def test_while_the_cluster_does_not_answer_no_attempt_to_follow_counts(
    make_spec: MakeSpec, home: Path, monkeypatch: pytest.MonkeyPatch, error: MakerflowError
) -> None:
    def refuse(*_: object) -> list[object]:
        raise error

    overview = open_platform().registry.overview
    training = launched(make_spec(SLEEPS, "healthy"))
    with monkeypatch.context() as patch:
        patch.setattr(LocalCluster, "find", refuse)
        for _ in range(MOST_ATTEMPTS + 1):
            [found] = [one for one in upkeep(patience_seconds=0).findings if one.kind is Kind.TRAINING]
            assert (found.name, found.failed, found.done) == ("healthy", True, str(error))
    assert [row.attempts for row in overview.under_way(EVER)] == [0]
    assert followers_of(home) == []
    assert [one.done for one in mended(dry_run=True)[Kind.TRAINING]] == ["would be followed again"]
    assert stop_training(training, grace_seconds=0).status is T.STOPPED


@pytest.mark.req("COM-04", "COM-10")
def test_a_training_whose_workers_are_seen_between_its_losses_is_never_given_up(
    make_spec: MakeSpec, home: Path
) -> None:
    registry = open_platform().registry
    training = launched(make_spec(SLEEPS, "restarted"))
    registry.trainings.move(training, T.RUNNING)
    for _ in range(MOST_ATTEMPTS + 1):
        [row] = registry.overview.under_way(EVER)
        assert registry.overview.take_up(row, "taken up")
        registry.trainings.follow(training, seen=datetime.now(UTC))
    assert [(one.name, one.done) for one in mended(dry_run=True)[Kind.TRAINING]] == [
        ("restarted", "would be followed again")
    ]
    assert stop_training("restarted", grace_seconds=0).status is T.STOPPED


@pytest.mark.req("COM-04")
def test_a_training_whose_follower_ended_in_order_is_neither_waited_for_nor_given_up(
    make_spec: MakeSpec, home: Path
) -> None:
    registry = open_platform().registry
    register_training.task.fn(make_spec(SLEEPS, "t"), "key")
    for _ in range(MOST_ATTEMPTS):
        [row] = registry.overview.under_way(EVER)
        assert registry.overview.take_up(row, "taken up")
    look = partial(unfollowed, registry, datetime.now(UTC), 3600)
    assert look(died={"t"}) == []
    for names in ({"t"}, {row.id}):
        assert [found.remedy for found in look(died={"t"}, ended=names)] == [Remedy.GO_ON]


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("source", [SLEEPS, PRINTS_METRICS], ids=["living", "ended"])
def test_a_training_that_is_only_asked_for_though_its_run_is_there_is_given_up_too(
    make_spec: MakeSpec, home: Path, source: str
) -> None:
    registry = open_platform().registry
    training = launched(make_spec(source, "restored"))
    if source == PRINTS_METRICS:
        events = home / "events" / f"{training}.jsonl"
        wait_until(lambda: events.exists() and '"finished"' in events.read_text())
    as_in_a_backup(training)
    for _ in range(MOST_ATTEMPTS):
        [row] = registry.overview.under_way(datetime.fromtimestamp(0, UTC))
        assert registry.overview.take_up(row, "taken up")
    assert [finding.name for finding in mended()[Kind.TRAINING]] == ["restored"]
    assert status_of(training) is T.FAIL_TRAIN
    assert processes_of(home) == []
    assert upkeep().findings == ()


@pytest.mark.req("COM-04")
@pytest.mark.timeout(90)
def test_upkeep_waits_for_nobody_who_began_to_work_on_a_training_after_it_had_looked(
    make_spec: MakeSpec, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = open_platform().registry
    without_row(lost := launched(make_spec(SLEEPS, "lost")))
    given_up = register_training.task.fn(make_spec(SLEEPS, "given-up"), "key")
    for _ in range(MOST_ATTEMPTS):
        [row] = registry.overview.under_way(datetime.fromtimestamp(0, UTC))
        assert registry.overview.take_up(row, "taken up")
    leased = registry.leased
    monkeypatch.setattr(registry, "leased", lambda ids: leased(ids) - {lost, given_up})
    with registry.lease(lost), registry.lease(given_up):
        assert mended() == {kind: [] for kind in Kind}
    assert {finding.id for finding in upkeep(patience_seconds=0).findings} == {lost, given_up}


def as_in_a_backup(training_id: str) -> None:
    """The row is as it was when the training was asked for."""
    with open_platform().registry._sessions.begin() as write:
        session, id = write.trainings._session, {"id": training_id}
        session.execute(text("UPDATE training SET status = 'CREATE REQUESTED' WHERE id = :id"), id)
        session.execute(text("UPDATE training_document SET plan = NULL, planned_us = NULL, handle = NULL"))


@pytest.mark.usefixtures("forked_followers")
def test_upkeep_beside_creates_stops_and_deletes_disturbs_nothing(make_spec: MakeSpec, home: Path) -> None:
    specs = {f"t{number}": make_spec(SLEEPS if number % 2 else PRINTS_METRICS, f"t{number}") for number in range(4)}
    over, reports = threading.Event(), []

    def keep_up() -> None:
        while not over.is_set():
            reports.append(upkeep())

    def live(name: str) -> None:
        if name in ("t0", "t2"):
            create_training(specs[name])
            return
        follower = threading.Thread(target=create_training, args=(specs[name],))
        follower.start()
        wait_until(lambda: exists(name) and is_running(name))
        stop_training(name, grace_seconds=1)
        follower.join()
        delete_training(name)

    keeper = threading.Thread(target=keep_up)
    lives = [threading.Thread(target=live, args=(name,)) for name in specs]
    for thread in (keeper, *lives):
        thread.start()
    for thread in lives:
        thread.join()
    over.set()
    keeper.join()
    assert len(reports) > 3
    assert [finding for report in reports for finding in report.findings] == []
    rows = open_platform().registry.trainings.page().items
    assert {row.name: row.status for row in rows} == {"t0": T.COMPLETE, "t2": T.COMPLETE}


def exists(name: str) -> bool:
    return name in {row.name for row in open_platform().registry.trainings.page().items}


def test_the_creation_of_an_experiment_that_nobody_finishes_is_finished(home: Path) -> None:
    experiments = open_platform().registry.experiments
    row = experiments.create(ExperimentSpec(name="e"))
    assert upkeep().findings == ()
    assert [finding.name for finding in mended()[Kind.EXPERIMENT]] == ["e"]
    assert experiments.get(row.id).status is ExperimentStatus.ACTIVE


def test_files_past_their_keep_time_are_removed_and_others_stay(make_spec: MakeSpec, home: Path) -> None:
    experiment = open_platform().registry.experiments.ensure(ExperimentSpec(name="default"))
    training = register_training.task.fn(make_spec("pass"), "key")
    events = home / "tensorboard" / experiment.id
    logs = home / "logs"
    kept = [logs / "flow-runs.log", logs / f"{training}.log", events / "t" / "events", home / "outputs"]
    old = [logs / "trn-gone.log", events / "gone", home / "tensorboard" / "exp-gone"]
    environment = home / "cache" / "environments" / "abc-0"
    for directory in (events / "t" / "events", events / "gone", old[2], environment, home / "outputs"):
        directory.mkdir(parents=True)
    for file in (kept[0], kept[1], old[0], environment.with_name("abc-0.lock")):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert upkeep().findings == (), "they are not old yet"
    mark_owner(old[2], open_platform().registry.id)
    for path in (*kept, *old, events, events / "t", environment.with_name("abc-0.lock")):
        os.utime(path, (1, 1))
    left = home / "registry.db.leases" / "left-by-a-killed-process"
    left.touch()
    found = upkeep().findings
    assert {Path(finding.id) for finding in found} == {*old, environment}
    assert not any(path.exists() for path in (*old, environment, left))
    assert all(path.exists() for path in kept)
    assert upkeep().findings == ()


def test_two_upkeeps_at_once_are_one(home: Path) -> None:
    with open_platform().registry.lease("upkeep"):
        assert upkeep().busy
    assert not upkeep().busy


def test_caches_past_their_bounds_are_trimmed_and_what_goes_on_arriving_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKERFLOW_PACKAGE_CACHE_GB", "0.0001")
    packages = home / "cache" / "uv" / "archive-v0" / "package.py"
    packages.parent.mkdir(parents=True)
    packages.write_bytes(bytes(200_000))
    (home / "cache" / "uv" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    objects = Cache(home / "cache" / "objects", 1 << 30)
    for address in ("abandoned", "arriving"):
        incoming = objects.claim(address)
        assert incoming is not None
        incoming.close()
    os.utime(home / "cache" / "objects" / "incoming" / "abandoned", (1, 1))
    assert upkeep(dry_run=True).counts["scratch"] == 2
    assert [finding.done for finding in upkeep().findings] == [
        "trimmed to 0.00 GiB",
        "0.00 GiB evicted, 1 downloads removed",
    ]
    assert not packages.exists()
    assert [file.name for file in (home / "cache" / "objects" / "incoming").iterdir()] == ["arriving"]
    assert upkeep().findings == ()


@pytest.mark.req("COM-04")
def test_what_cannot_be_looked_at_is_told_and_keeps_nothing_else_from_being_mended(
    make_spec: MakeSpec, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_row(lost := launched(make_spec(SLEEPS, "lost")))

    def forbidden(*_: object, **__: object) -> list[object]:
        raise PermissionError(13, "Permission denied", str(home / "logs"))

    monkeypatch.setattr("tasks.upkeep.old_logs", forbidden)
    monkeypatch.setattr("tasks.upkeep.dead_entries", forbidden)
    (home / "logs" / "store").mkdir(parents=True, exist_ok=True)
    old = home / "logs" / "store" / "2020-01-01.db"
    DayFile(old, create=True).close()
    report = upkeep()
    assert {(one.kind, one.id) for one in report.failed} == {(Kind.FLOW_RUN, "journal"), (Kind.SCRATCH, "logs")}
    assert all("Permission denied" in one.done for one in report.failed)
    assert {lost, "logs of 2020-01-01"} <= {one.id for one in report.findings if not one.failed}
    assert not old.exists()

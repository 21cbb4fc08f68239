"""What is left of a tuning when processes die, and what upkeep makes of it."""

import os
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from blocks.connections.platform import open_platform
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from blocks.registry.records import Tuning
from blocks.upkeep.findings import Kind
from blocks.upkeep.trainings import MOST_ATTEMPTS
from flows.tuning import TuningHandle, create_tuning, delete_tuning, resume_tuning
from flows.upkeep import upkeep
from tasks import taking_up
from tasks.planning import events_of_tuning
from tasks.tuning import register_tuning
from tests.flow_process import followers_of
from tests.integration.flows.test_upkeep import crash_the_machine, mended
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned
from tests.processes import processes_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.req("COM-04", "TUN-17"), pytest.mark.usefixtures("forked_followers")]

R, T = TrialStatus, TuningStatus

WAITS = """
import os, pathlib, time
print(f"loss={os.environ['EM_HP_K']}", flush=True)
while not pathlib.Path(os.environ["EM_HP_GO"]).exists():
    time.sleep(0.05)
"""
COUNTS = """
import os, pathlib, time
k, starts = os.environ["EM_HP_K"], pathlib.Path(os.environ["EM_HP_GO"]).parent / "starts"
given = pathlib.Path(os.environ.get("EM_CHECKPOINT_INPUT_DIR", "."), "step")
first = int(given.read_text()) + 1 if given.exists() else 1
(starts / f"{k}-from-{first}").touch()
for step in range(first, 11):
    print(f"step={step} loss={int(k) + 1 / step}", flush=True)
    own = pathlib.Path(os.environ["EM_CHECKPOINT_DIR"], "step")
    own.with_suffix(".new").write_text(str(step))
    own.with_suffix(".new").rename(own)
    while step == 5 and k != "1" and not pathlib.Path(os.environ["EM_HP_GO"]).exists():
        time.sleep(0.05)
"""


@pytest.fixture(autouse=True)
def _no_followers_left(home: Path) -> Iterator[None]:
    yield
    wait_until(lambda: not followers_of(home))


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    made = MakeTuning(tmp_path)
    made.settings = {  # a grid of four, two at once, that waits for a file
        "strategy": "GRID",
        "parameters": ("k=INT[1,4]",),
        "parallel_trainings": 2,
        "hyperparameters": {"go": str(tmp_path / "go")},
    }
    return made


def row_of(name: str) -> Tuning:
    return open_platform().registry.tunings.get(name)


def is_running(name: str, trials: int) -> bool:
    return statuses_of(row_of(name)).count(R.RUNNING) == trials


def begun(make: MakeTuning, source: str = WAITS, **settings: object) -> TuningHandle:
    """A tuning that a process of its own runs, with two trials under way."""
    handle = create_tuning(make(source, **settings), wait=False)
    assert isinstance(handle, TuningHandle)
    wait_until(lambda: is_running("t", 2), "two trials to run")
    return handle


def kill_the_flow(home: Path) -> None:
    followers = followers_of(home)
    assert followers
    for process in followers:
        process.kill()
    psutil.wait_procs(followers, timeout=30)  # a process loses its command line before it lets go of its leases


def test_a_tuning_that_nobody_runs_is_gone_on_with(make: MakeTuning, home: Path, tmp_path: Path) -> None:
    handle = begun(make)
    kill_the_flow(home)
    found = mended()
    assert [(one.name, one.done) for one in found[Kind.TUNING]] == [("t", "followed again, by a process of its own")]
    assert found[Kind.RUN] == found[Kind.TRAINING] == [], "its trials are its own"
    wait_until(lambda: open_platform().registry.is_leased(handle.id), "its new process")
    assert mended()[Kind.TUNING] == []
    (tmp_path / "go").touch()
    wait_until(lambda: row_of("t").status is T.COMPLETE)
    assert statuses_of(row_of("t")) == [R.SUCCEEDED] * 4
    assert [trial.runs for trial in trials_of(row_of("t"))] == [1] * 4


def test_a_tuning_that_was_only_asked_for_is_run(make: MakeTuning, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    register_tuning.task.fn(make(WAITS), None, "key")
    assert upkeep().findings == (), "somebody may just be about to"
    assert [one.name for one in mended()[Kind.TUNING]] == ["t"]
    wait_until(lambda: row_of("t").status is T.COMPLETE)


def test_a_tuning_whose_processes_die_again_and_again_is_given_up_its_trials_ended_and_can_be_resumed(
    make: MakeTuning, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(make)
    kill_the_flow(home)
    overview = open_platform().registry.overview
    for _ in range(MOST_ATTEMPTS):
        [row] = overview.tunings_under_way(datetime.fromtimestamp(0, UTC))
        assert overview.take_up(row, "taken up")
    assert [one.kind for one in upkeep().findings] == [Kind.FLOW_RUN], "the next attempt has to wait"
    with monkeypatch.context() as patch:
        patch.setattr(taking_up, "start_follower", lambda _: None)
        [found] = mended()[Kind.TUNING]
    assert found.done == "followed again, by a process of its own", "its trials run"
    [found] = mended()[Kind.TUNING]
    assert found.done == "given up: FAIL HYPERPARAMETER TUNING"
    tuning = row_of("t")
    assert (tuning.status, statuses_of(tuning)) == (T.FAIL_HYPERPARAMETER_TUNING, [R.KILLED] * 2)
    assert f"its follower died {MOST_ATTEMPTS + 1} times" in tuning.reason
    assert processes_of(home) == []
    assert mended()[Kind.TUNING] == []
    (tmp_path / "go").touch()
    done = resume_tuning("t")
    assert (done.status, statuses_of(done)) == (T.COMPLETE, [R.SUCCEEDED] * 4)
    assert [trial.runs for trial in trials_of(done)] == [2, 2, 1, 1]


def test_upkeep_beside_a_tuning_that_runs_disturbs_nothing(make: MakeTuning, tmp_path: Path) -> None:
    source = "import os, time\ntime.sleep(0.2)\nprint('loss=' + os.environ['EM_HP_K'])\n"
    tunings: list[Tuning] = []
    spec = make(source, parameters=("k=INT[1,12]",))
    thread = threading.Thread(target=lambda: tunings.append(tuned(spec)))
    thread.start()
    reports = []
    while thread.is_alive():
        reports.append(upkeep(patience_seconds=3600))
    assert len(reports) > 3
    assert [finding for report in reports for finding in report.findings] == []
    assert statuses_of(tunings[0]) == [R.SUCCEEDED] * 12


def test_what_tensorboard_shows_of_a_tuning_stays_as_long_as_the_tuning(make: MakeTuning, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    tuning = tuned(make(WAITS))
    events = events_of_tuning(open_platform(), tuning)
    assert (events / "1" / "metrics").is_dir()
    make_old(events.parent)
    assert mended()[Kind.SCRATCH] == []
    kept = tmp_path / "kept"
    shutil.copytree(events, kept)
    delete_tuning("t")
    assert not events.exists()
    shutil.copytree(kept, events)  # as a deletion leaves it that was killed
    make_old(events.parent)
    assert [Path(one.id) for one in mended()[Kind.SCRATCH]] == [events]
    assert not events.exists()


def make_old(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        os.utime(path, (1, 1))


@pytest.mark.req("COM-10")
def test_after_a_crash_of_the_machine_every_trial_is_finished_or_goes_on_from_its_checkpoint(
    make: MakeTuning, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "starts").mkdir()
    begun(make, COUNTS, checkpoint_output=f"file://{tmp_path}/checkpoints")
    wait_until(lambda: statuses_of(row_of("t")) == [R.SUCCEEDED, R.RUNNING, R.RUNNING])
    wait_until(lambda: sum(steps_of(trial.training_id) for trial in trials_of(row_of("t"))) == 20, "step 5 of both")
    crash_the_machine(home)
    (tmp_path / "go").touch()
    assert [one.name for one in mended()[Kind.TUNING]] == ["t"]
    wait_until(lambda: row_of("t").status is T.COMPLETE, seconds=120)
    tuning = row_of("t")
    assert statuses_of(tuning) == [R.SUCCEEDED] * 4
    assert [(trial.runs, steps_of(trial.training_id)) for trial in trials_of(tuning)] == [(1, 10)] * 4
    starts = sorted(file.name for file in (tmp_path / "starts").iterdir())
    assert starts == ["1-from-1", "2-from-1", "2-from-6", "3-from-1", "3-from-6", "4-from-1"]
    wait_until(lambda: not followers_of(home))
    mended()
    assert mended() == {kind: [] for kind in Kind}
    assert list((home / "runs").iterdir()) == []


def steps_of(training_id: str) -> int:
    """How many reports of the objective are known."""
    return sum(series.count for series in open_platform().registry.metrics.names(training_id))

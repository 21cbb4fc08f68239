"""What Katib's users complain of and only a running tuning can answer: each test fails on what Katib does.

Where each is from is said as in `tests/unit/domain/test_katib_complaints.py`, which has those that pure rules answer.
"""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest

from blocks.cluster.agent_process import agent_pid
from blocks.cluster.layout import RunLayout
from blocks.connections.platform import open_platform
from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TrainingStatus, TrialStatus, TuningStatus
from blocks.domain.trials import Objective
from blocks.registry.records import Trial
from blocks.registry.tunings import Followed, TrialMove
from blocks.search.sampling import SampledSearch
from blocks.studies.study import study_of
from flows.tuning import create_tuning, resume_tuning, stop_tuning
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned
from tests.processes import processes_of
from tests.waiting import wait_until

R, T = TrialStatus, TuningStatus
GRID = {"strategy": "GRID", "parameters": ("k=INT[1,4]",)}

FIRST_ENDS = """
import os, pathlib, sys, time
k = int(os.environ["EM_HP_K"])
print(f"loss={k}", flush=True)
while k > 1 and not pathlib.Path(os.environ["EM_HP_GO"]).exists():
    time.sleep(0.05)
"""


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    made = MakeTuning(tmp_path)
    made.settings = {"hyperparameters": {"go": str(tmp_path / "go")}}
    return made


@pytest.fixture
def suggesting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that each suggestion took."""
    seconds: list[float] = []
    suggest = SampledSearch.suggest

    def timed(self: SampledSearch, number: int) -> dict[str, str] | None:
        began = time.thread_time()
        try:
            return suggest(self, number)
        finally:
            seconds.append(time.thread_time() - began)

    monkeypatch.setattr(SampledSearch, "suggest", timed)
    return seconds


def trials_named(name: str) -> list[Trial]:
    try:
        return trials_of(open_platform().registry.tunings.get(name))
    except NotFoundError:
        return []


def await_statuses(name: str, *statuses: TrialStatus) -> None:
    wait_until(lambda: [trial.status for trial in trials_named(name)] == list(statuses), f"trials to be {statuses}")


@pytest.mark.req("TUN-05")
def test_katib_lets_running_trials_go_on_after_the_goal(make: MakeTuning, home: Path) -> None:
    """katib#2061, closed as stale."""
    began = time.monotonic()
    tuning = tuned(make(FIRST_ENDS, **GRID, parallel_trainings=3, goal=1))
    assert (tuning.status, statuses_of(tuning)) == (T.COMPLETE, [R.SUCCEEDED, R.KILLED, R.KILLED])
    assert processes_of(home) == []
    assert time.monotonic() - began < 60, "they wait for a file that nobody makes"


@pytest.mark.req("TUN-06")
def test_katib_lets_running_trials_go_on_after_the_failure(make: MakeTuning, home: Path) -> None:
    """Read: trials are not ended when the experiment fails either."""
    tuning = tuned(make(FIRST_ENDS + "sys.exit(1)", **GRID, parallel_trainings=3, max_failed_trainings=1))
    assert (tuning.status, statuses_of(tuning)) == (T.FAIL_HYPERPARAMETER_TUNING, [R.FAILED, R.KILLED, R.KILLED])
    assert processes_of(home) == []


@pytest.mark.req("TUN-14", "TUN-17")
@pytest.mark.usefixtures("forked_followers")
def test_katib_cannot_be_stopped_and_keep_what_it_has(make: MakeTuning, home: Path, tmp_path: Path) -> None:
    """katib#934: "delete experiment with orphan", or lower maxTrialCount."""
    create_tuning(make(FIRST_ENDS, **GRID, parallel_trainings=2), wait=False)
    await_statuses("t", R.SUCCEEDED, R.RUNNING, R.RUNNING)
    assert stop_tuning("t").status is T.STOPPED
    assert processes_of(home) == []
    [kept, *_] = trials_named("t")
    assert (kept.status, kept.objective) == (R.SUCCEEDED, 1)
    (tmp_path / "go").touch()
    done = resume_tuning("t")
    assert (done.status, statuses_of(done)) == (T.COMPLETE, [R.SUCCEEDED] * 4)
    assert trials_of(done)[0] == kept


@pytest.mark.req("TUN-17")
def test_katib_goes_on_neither_after_a_failure_nor_after_the_goal(make: MakeTuning) -> None:
    """Read: only after MaxTrialsReached, with resumePolicy LongRunning or FromVolume."""
    source = "import os, sys\nprint('loss=' + os.environ['EM_HP_K'])\nsys.exit(os.environ['EM_HP_K'] == '1')\n"
    failed = tuned(make(source, **GRID, max_failed_trainings=1))
    assert (failed.status, statuses_of(failed)) == (T.FAIL_HYPERPARAMETER_TUNING, [R.FAILED])
    goal = resume_tuning("t", max_failed_trainings=2, goal=2)
    assert (goal.status, statuses_of(goal)) == (T.COMPLETE, [R.FAILED, R.SUCCEEDED])
    done = resume_tuning("t", goal=0)
    assert (done.status, statuses_of(done)) == (T.COMPLETE, [R.FAILED] + [R.SUCCEEDED] * 3)


@pytest.mark.req("TUN-04")
def test_katib_has_no_metrics_though_the_log_shows_them(make: MakeTuning) -> None:
    """katib#1033, #1082, #2175, #2554: by far the most repeated complaint."""
    ways = {
        "Keras": "print('12/12 - 1s - accuracy: 0.9 - loss: 0.25 - 101ms/step')",
        "a tensor": "print('loss=tensor(0.25, device=cpu)')",
        "exponent": "print('loss=2.5e-01')",
        "a dict": 'print({"epoch": 1, "loss": 0.25})',
        "standard error": "print('loss=0.25', file=sys.stderr)",
        "no newline": "sys.stdout.write('loss=0.25')",
        "a progress bar": "[sys.stdout.write(f'\\r{n}%| loss={(101 - n) / 4}') for n in range(101)]",
        "buffered": "[print('step', n, 'of a long log') for n in range(9999)]; print('loss=0.25')",
        "a child": "os.system('echo loss=0.25')",
    }
    space = {"name": "way", "type": "CATEGORICAL", "values": list(ways)}
    source = f"import os, sys\nexec({ways!r}[os.environ['EM_HP_WAY']])\n"
    tuning = tuned(make(source, strategy="GRID", parameters=(space,), parallel_trainings=3))
    found = {trial.parameters["way"]: (trial.status, trial.objective) for trial in trials_of(tuning)}
    assert found == dict.fromkeys(ways, (R.SUCCEEDED, 0.25))


@pytest.mark.req("TUN-04", "TUN-13")
def test_katib_fails_trials_that_end_before_its_collector_starts(make: MakeTuning) -> None:
    """katib#2181: short trainings."""
    tuning = tuned(make("import os\nos.write(1, b'loss=0.25')\nos._exit(0)\n", max_trainings=20, parallel_trainings=4))
    assert Counter(statuses_of(tuning)) == {R.SUCCEEDED: 20}


@pytest.mark.req("TUN-04", "TUN-17")
def test_katib_s_collector_is_confused_by_retries(make: MakeTuning, home: Path, tmp_path: Path) -> None:
    """katib#849: the pod is retried, and the trial stays Running. Here each line counts once, and so does the trial."""
    source = FIRST_ENDS + "for step in range(2, 6):\n    print(f'loss={k - step}')\n"
    thread = threading.Thread(target=tuned, args=(make(source, strategy="GRID", parameters=("k=INT[9,9]",)),))
    thread.start()
    await_statuses("t", R.RUNNING)
    layout = RunLayout(home, trials_named("t")[0].training_id)
    wait_until(lambda: b"loss=9" in printed(layout), "the first line")
    pid = agent_pid(layout)
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: printed(layout).count(b"loss=9") == 2, "the worker to be started again, by another agent")
    (tmp_path / "go").touch()
    thread.join()
    tuning = open_platform().registry.tunings.get("t")
    [trial] = trials_of(tuning)
    [loss] = open_platform().registry.metrics.names(trial.training_id)
    assert (trial.status, trial.runs, trial.objective, loss.count) == (R.SUCCEEDED, 1, 4, 6)
    assert (tuning.status, tuning.completed, tuning.failed) == (T.COMPLETE, 1, 0)


def printed(layout: RunLayout) -> bytes:
    return b"".join(file.read_bytes() for file in sorted((layout.worker(0) / "output").glob("*")))


@pytest.mark.req("TUN-06", "TUN-07")
def test_katib_calls_it_a_success_when_every_trial_failed_and_starts_more_than_it_may(make: MakeTuning) -> None:
    """Read: when maxFailed is unset; and MetricsUnavailable is left out of the count before a trial is made."""
    tuning = tuned(make("import time\ntime.sleep(0.2)\nprint('nothing')\n", max_trainings=5, parallel_trainings=3))
    assert (tuning.status, tuning.failed) == (T.FAIL_HYPERPARAMETER_TUNING, 5)
    assert statuses_of(tuning) == [R.METRICS_UNAVAILABLE] * 5, "at most what the limit leaves room for"


@pytest.mark.req("TUN-13", "TRN-10")
def test_katib_shows_no_logs_of_its_trials(make: MakeTuning, tmp_path: Path) -> None:
    """katib#971, #1763, #1789: with `retain: false`, the default, they are deleted with the pod."""
    source = "import sys\nprint('to be seen')\nprint('this, too', file=sys.stderr)\nprint('loss=1')\n"
    tuning = tuned(make(source, max_trainings=1))
    [log] = (tmp_path / "out" / tuning.name / "1" / "makerflow-logs").rglob("*")
    text = log.read_text()
    assert "to be seen" in text
    assert "this, too" in text
    assert list((open_platform().settings.home / "runs").iterdir()) == [], "and yet nothing is left on the cluster"


@pytest.mark.req("TUN-08")
def test_katib_can_not_begin_with_known_results(make: MakeTuning) -> None:
    """katib#1067, #891."""
    source = "import os\nx = float(os.environ['EM_HP_X'])\nprint('loss=', (x - 3) ** 2)\n"
    space = ("x=DOUBLE[-5,5]",)
    tuned(make(source, "known", parameters=space, max_trainings=14))
    settings = {"strategy": "BAYESIAN_OPTIMIZATION", "parameters": space, "max_trainings": 3}
    warm = tuned(make(source, "warm", **settings, warm_start="known"))
    cold = tuned(make(source, "cold", **settings))
    assert len(warm.learned) == 14
    first = {name: [float(t.parameters["x"]) for t in trials_named(name)] for name in ("warm", "cold")}
    assert first["warm"] != first["cold"]
    assert warm.best_value is not None
    assert cold.best_value is not None
    assert warm.best_value < cold.best_value


@pytest.mark.req("TUN-08", "TUN-13")
def test_katib_never_tells_its_sampler_of_failed_trials(make: MakeTuning) -> None:
    """Read: they stay RUNNING in Optuna, where they count as bad points for ever."""
    source = "import os, sys\nprint('loss=' + os.environ['EM_HP_K'])\nsys.exit(os.environ['EM_HP_K'] in '13')\n"
    tuned(make(source, **GRID))
    states = [trial.state for trial in study_of(open_platform().registry, "t").trials]
    failed, done = optuna.trial.TrialState.FAIL, optuna.trial.TrialState.COMPLETE
    assert states == [failed, done, failed, done]


@pytest.mark.req("TUN-08", "TUN-17")
def test_katib_s_suggestions_take_longer_than_its_sixty_seconds(make: MakeTuning, suggesting: list[float]) -> None:
    """katib#1058, open since 2020: near a hundred trials; here the 301st, by a process that reads all from the rows."""
    settings = {"strategy": "BAYESIAN_OPTIMIZATION", "max_trainings": 1}
    tuning, tunings = tuned(make(**settings)), open_platform().registry.tunings
    ways = (TrainingStatus.COMPLETE_IN_PROGRESS, TrainingStatus.COMPLETE)
    for number in range(2, 301):
        point = {"x": f"{number / 100}", "y": f"{-number / 100}"}
        trial = tunings.add_trial(tuning, number, point, f"trn-{number:020}")
        tunings.follow(trial, Followed(), TrialMove(R.RUNNING, training=(TrainingStatus.RUNNING,)))
        reached = Objective(value=float(number), step=1)
        tunings.follow(trial, Followed(), TrialMove(R.SUCCEEDED, objective=reached, training=ways))
    suggesting.clear()
    done = resume_tuning("t", max_trainings=302)
    assert (done.completed, len(suggesting)) == (302, 2)
    assert max(suggesting) < 0.5

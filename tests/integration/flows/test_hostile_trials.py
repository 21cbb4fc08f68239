"""Entry points that do what no entry point should, as trials."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.lifecycle import TrialStatus, TuningStatus
from tasks import trial_following
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned
from tests.processes import processes_of

R, T = TrialStatus, TuningStatus

DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(3):
            os.close(number)
        time.sleep(600)
    os._exit(0)
print("loss=0.5", flush=True)
"""
IGNORES_SIGTERM = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
good = os.environ["EM_HP_KIND"] == "good"
print("loss=0" if good else "loss=5", flush=True)
if not good and os.fork() >= 0:
    time.sleep(600)
"""
WAYS_OF_PRINTING = {
    "broken UTF-8": "os.write(1, b'\\xff\\xfe\\x80 loss=0.5 \\xf0\\x28\\n\\xc3')",
    "no newline": "os.write(1, b'epoch 3: loss=0.5')",
    "no newline, and gone": "os.write(1, b'loss=0.5'); os._exit(0)",
    "standard error": "print('loss=0.5', file=sys.stderr)",
    "a bar": "os.write(2, b'\\r 10% loss=0.9\\r 50% loss=0.7\\r100% loss=0.5')",
    "buffered": "print('x' * 5000); print('loss=0.5')",
    "a child": "subprocess.run(['echo', 'loss=0.5'])",
    "colours": "print('\\x1b[32mloss\\x1b[0m=\\x1b[1m0.5\\x1b[0m')",
    "zeros": "os.write(1, b'\\0\\0\\0\\nloss=0.5\\n\\0')",
    "one line of megabytes": "print('x' * 3_000_000 + ' loss=9'); print('loss=0.5')",
}
PRINTS_AS_TOLD = "import os, subprocess, sys\nexec({ways!r}[os.environ['EM_HP_WAY']])\n"
MEMORY = """
import json, resource, sys
from flows.tuning import create_tuning
for spec in json.loads(sys.argv[1]):
    create_tuning(spec)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    return MakeTuning(tmp_path)


@pytest.mark.req("TUN-04", "TUN-13")
def test_the_objective_is_found_however_it_is_printed(make: MakeTuning) -> None:
    space = {"name": "way", "type": "CATEGORICAL", "values": list(WAYS_OF_PRINTING)}
    source = PRINTS_AS_TOLD.format(ways=WAYS_OF_PRINTING)
    tuning = tuned(make(source, strategy="GRID", parameters=(space,), parallel_trainings=4))
    found = {trial.parameters["way"]: (trial.status, trial.objective) for trial in trials_of(tuning)}
    assert found == dict.fromkeys(WAYS_OF_PRINTING, (R.SUCCEEDED, 0.5))


@pytest.mark.req("TUN-04", "TUN-06")
def test_who_exits_before_printing_has_no_metrics_and_who_is_killed_has_failed(make: MakeTuning) -> None:
    source = "import os\nif os.environ['EM_HP_K'] == '2':\n    os.kill(os.getpid(), 9)\nos._exit(0)\n"
    tuning = tuned(make(source, strategy="GRID", parameters=("k=INT[1,2]",)))
    assert statuses_of(tuning) == [R.METRICS_UNAVAILABLE, R.FAILED]
    unavailable, killed = trials_of(tuning)
    assert "it printed nothing" in unavailable.reason.lower() or "no output" in unavailable.reason.lower()
    assert "signal 9" in killed.reason or "SIGKILL" in killed.reason


@pytest.mark.req("TUN-13", "COM-04")
def test_what_a_trial_daemonises_ends_with_it(make: MakeTuning, home: Path) -> None:
    tuning = tuned(make(DAEMON, max_trainings=2, parallel_trainings=2))
    assert statuses_of(tuning) == [R.SUCCEEDED] * 2
    assert processes_of(home) == []


@pytest.mark.req("TUN-05", "TUN-13")
def test_who_ignores_sigterm_is_ended_all_the_same_with_its_children(make: MakeTuning, home: Path) -> None:
    spec = make(
        IGNORES_SIGTERM,
        strategy="GRID",
        parameters=("kind=CATEGORICAL[bad,good]",),
        parallel_trainings=2,
        goal=0,
    )
    tuning = tuned(spec)
    assert (tuning.status, tuning.best_number, statuses_of(tuning)) == (T.COMPLETE, 2, [R.KILLED, R.SUCCEEDED])
    assert processes_of(home) == []


@pytest.mark.req("TUN-09", "TUN-13")
@pytest.mark.parametrize("lines", [80_000, pytest.param(3_000_000, marks=pytest.mark.soak)])
def test_a_flood_of_objective_lines_is_read_to_its_end_and_fills_no_memory(make: MakeTuning, lines: int) -> None:
    flood = (
        "import os, sys\nsys.stdout.write(''.join(f'loss={n}\\n' for n in range(int(os.environ['EM_HP_N']), 0, -1)))\n"
    )
    settings = {"max_trainings": 1, "objective_value": "BEST_STEP", "best_step_metric": "loss"}
    specs = [
        make(flood, name, hyperparameters={"n": str(n)}, **settings).model_dump(mode="json")
        for name, n in {"few": 10, "many": lines}.items()
    ]
    done = subprocess.run([sys.executable, "-c", MEMORY, json.dumps(specs)], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before < 60_000, (before, after)
    tuning = open_platform().registry.tunings.get("many")
    assert (tuning.best_value, statuses_of(tuning)) == (1, [R.SUCCEEDED])
    [loss] = open_platform().registry.metrics.names(trials_of(tuning)[0].training_id)
    assert (loss.count, loss.last) == (lines, 1)


@pytest.mark.req("TUN-05", "TUN-13")
def test_others_have_their_turn_while_a_trial_that_has_ended_is_read_to_its_end(
    make: MakeTuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood that takes minutes to read keeps nobody from reaching the goal meanwhile."""
    monkeypatch.setattr(trial_following, "CHUNK_BYTES", 400)
    monkeypatch.setattr(trial_following, "CHUNKS_AT_ONCE", 1)
    source = """
import os, sys, time
if os.environ["EM_HP_K"] == "1":
    sys.stdout.write("".join(f"loss={n}\\n" for n in range(999, 0, -1)))
else:
    time.sleep(0.5)
    print("loss=0")
"""
    tuning = tuned(make(source, strategy="GRID", parameters=("k=INT[1,2]",), parallel_trainings=2, goal=0))
    flood, other = trials_of(tuning)
    assert (tuning.best_number, other.status, flood.status, flood.objective) == (2, R.SUCCEEDED, R.SUCCEEDED, 1)
    assert other.changed < flood.changed
    [loss] = open_platform().registry.metrics.names(flood.training_id)
    assert (loss.count, loss.last) == (999, 1)

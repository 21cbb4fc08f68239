"""When the goal of a tuning is reached by a trial that runs."""

from pathlib import Path
from typing import Any

import pytest

from blocks.domain.lifecycle import TrialStatus, TuningStatus
from tests.integration.flows.tunings import MakeTuning, statuses_of, trials_of, tuned

pytestmark = pytest.mark.req("TUN-05")

R, T = TrialStatus, TuningStatus

GOOD_IN_BETWEEN = """
import os, time
print("step=1 loss=0.1 error=5", flush=True)
time.sleep(1.5)  # long enough to be seen
end = {"1": 9, "2": 0.2, "3": 0}[os.environ["EM_HP_K"]]
print(f"step=2 loss={end} error=1", flush=True)
"""


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    return MakeTuning(tmp_path)


@pytest.mark.parametrize(
    "value", [{"objective_value": "LAST"}, {"objective_value": "BEST_STEP", "best_step_metric": "error"}]
)
def test_a_value_that_may_still_change_reaches_the_goal_at_the_end_of_its_trial_only(
    make: MakeTuning, value: dict[str, Any]
) -> None:
    spec = make(GOOD_IN_BETWEEN, strategy="GRID", parameters=("k=INT[1,3]",), goal=0.5, **value)
    tuning = tuned(spec)
    assert (tuning.status, tuning.best_number, tuning.best_value) == (T.COMPLETE, 2, 0.2)
    assert statuses_of(tuning) == [R.SUCCEEDED] * 2
    assert [trial.objective for trial in trials_of(tuning)] == [9, 0.2]
    assert tuning.reason == "The goal 0.5 was reached by trial 2: loss=0.2"

from itertools import product

import pytest

from blocks.domain.errors import IllegalTransitionError
from blocks.domain.lifecycle import (
    EXPERIMENT,
    TRAINING,
    TRIAL,
    TRIAL_FAILED,
    TRIAL_FINISHED,
    TUNING,
    TUNING_ENDINGS,
    TUNING_UNDER_WAY,
    ExperimentStatus,
    Lifecycle,
    TrainingStatus,
    TrialStatus,
    TuningStatus,
)

# Written out a second time on purpose: from each status, the words it may become.
EXPECTED = {
    "experiment": {
        "CREATE REQUESTED": "CREATE IN PROGRESS, CREATE FAILED",
        "CREATE IN PROGRESS": "ACTIVE, CREATE FAILED",
        "CREATE FAILED": "CREATE IN PROGRESS",
        "ACTIVE": "",
    },
    "training": {
        "CREATE REQUESTED": "CREATE IN PROGRESS, CREATE FAILED, STOP IN PROGRESS",
        "CREATE IN PROGRESS": "RUNNING, CREATE FAILED, FAIL TRAIN IN PROGRESS, STOP IN PROGRESS",
        "RUNNING": "COMPLETE IN PROGRESS, FAIL TRAIN IN PROGRESS, STOP IN PROGRESS",
        "STOP IN PROGRESS": "STOPPED",
        "FAIL TRAIN IN PROGRESS": "FAIL TRAIN",
        "COMPLETE IN PROGRESS": "COMPLETE, FAIL TRAIN IN PROGRESS",
        "CREATE FAILED": "CREATE IN PROGRESS",
        "STOPPED": "",
        "COMPLETE": "",
        "FAIL TRAIN": "",
    },
    "tuning": {
        "CREATE REQUESTED": "CREATE IN PROGRESS, CREATE FAILED, STOP IN PROGRESS",
        "CREATE IN PROGRESS": "RUNNING, CREATE FAILED, FAIL HYPERPARAMETER TUNING IN PROGRESS, STOP IN PROGRESS",
        "RUNNING": "COMPLETE IN PROGRESS, FAIL HYPERPARAMETER TUNING IN PROGRESS, STOP IN PROGRESS",
        "STOP IN PROGRESS": "STOPPED",
        "FAIL HYPERPARAMETER TUNING IN PROGRESS": "FAIL HYPERPARAMETER TUNING",
        "COMPLETE IN PROGRESS": "COMPLETE, FAIL HYPERPARAMETER TUNING IN PROGRESS",
        "CREATE FAILED": "CREATE IN PROGRESS",
        "STOPPED": "CREATE IN PROGRESS",
        "COMPLETE": "CREATE IN PROGRESS",
        "FAIL HYPERPARAMETER TUNING": "CREATE IN PROGRESS",
    },
    "trial": {
        "CREATED": "RUNNING, KILLED, FAILED",
        "RUNNING": "SUCCEEDED, KILLED, FAILED, METRICS_UNAVAILABLE, EARLY_STOPPED",
        "KILLED": "CREATED",
        "SUCCEEDED": "",
        "FAILED": "",
        "METRICS_UNAVAILABLE": "",
        "EARLY_STOPPED": "",
    },
}
LIFECYCLES = (
    (EXPERIMENT, ExperimentStatus),
    (TRAINING, TrainingStatus),
    (TUNING, TuningStatus),
    (TRIAL, TrialStatus),
)
PAIRS = [
    pytest.param(lifecycle, source, target, id=f"{lifecycle.kind}: {source} to {target}")
    for lifecycle, statuses in LIFECYCLES
    for source, target in product(statuses, repeat=2)
]


@pytest.mark.req("COM-02", "EXP-01", "TRN-11", "TUN-11", "TUN-13")
@pytest.mark.parametrize(("lifecycle", "source", "target"), PAIRS)
def test_each_pair_of_statuses_is_allowed_or_refused_naming_both(lifecycle, source, target):
    ways = [way for way in EXPECTED[lifecycle.kind][source.value].split(", ") if way]
    assert lifecycle.allows(source, target) == (target.value in ways)
    if target.value in ways:
        lifecycle.check("id-1", source, target)
        return
    with pytest.raises(IllegalTransitionError) as refused:
        lifecycle.check("id-1", source, target)
    for word in (lifecycle.kind, "id-1", source.value, target.value, *ways):
        assert word in str(refused.value)


@pytest.mark.req("EXP-01", "TRN-11", "TUN-11", "TUN-13")
def test_the_statuses_are_the_references_words():
    for lifecycle, statuses in LIFECYCLES:
        assert {status.value for status in statuses} == set(EXPECTED[lifecycle.kind])


@pytest.mark.parametrize("lifecycle", [lifecycle for lifecycle, _ in LIFECYCLES], ids=lambda lifecycle: lifecycle.kind)
def test_a_status_is_final_exactly_when_there_is_no_way_out(lifecycle):
    for status, targets in lifecycle.moves.items():
        assert lifecycle.is_final(status) == (not targets)


@pytest.mark.req("COM-10")
def test_every_status_but_the_final_ones_leads_to_a_final_one_and_creation_can_be_tried_again():
    for lifecycle in (EXPERIMENT, TRAINING):
        for status in lifecycle.moves:
            reached, new = {status}, {status}
            while new := {target for source in new for target in lifecycle.moves[source]} - reached:
                reached |= new
            assert any(lifecycle.is_final(target) for target in reached), status
    assert EXPERIMENT.allows(ExperimentStatus.CREATE_FAILED, ExperimentStatus.CREATE_IN_PROGRESS)
    assert TRAINING.allows(TrainingStatus.CREATE_FAILED, TrainingStatus.CREATE_IN_PROGRESS)


@pytest.mark.req("TUN-17")
def test_a_tuning_can_always_be_gone_on_with_once_it_rests_and_rests_once_it_ends():
    assert {"STOPPED", "COMPLETE", "FAIL HYPERPARAMETER TUNING"} == TUNING_ENDINGS
    assert frozenset(TuningStatus) == TUNING_ENDINGS | TUNING_UNDER_WAY | {TuningStatus.CREATE_FAILED}
    for status in TuningStatus:
        reached, new = {status}, {status}
        while new := {target for source in new for target in TUNING.moves[source]} - reached:
            reached |= new
        assert reached >= TUNING_ENDINGS | {TuningStatus.CREATE_IN_PROGRESS}
    for status in TUNING_ENDINGS:
        assert TUNING.moves[status] == {TuningStatus.CREATE_IN_PROGRESS}


@pytest.mark.req("TUN-06", "TUN-07", "TUN-13")
def test_a_trial_has_run_when_it_is_final_and_was_not_ended_with_its_tuning():
    assert {"SUCCEEDED", "FAILED", "METRICS_UNAVAILABLE", "EARLY_STOPPED"} == TRIAL_FINISHED
    assert {"FAILED", "METRICS_UNAVAILABLE"} == TRIAL_FAILED
    assert TRIAL.moves[TrialStatus.KILLED] == {TrialStatus.CREATED}


def test_a_table_that_forgets_a_status_is_no_life_cycle():
    with pytest.raises(ValueError, match="ACTIVE"):
        Lifecycle("experiment", {ExperimentStatus.CREATE_REQUESTED: set()})

from itertools import product

import pytest

from blocks.domain.errors import IllegalTransitionError
from blocks.domain.lifecycle import EXPERIMENT, TRAINING, ExperimentStatus, Lifecycle, TrainingStatus

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
}
PAIRS = [
    pytest.param(lifecycle, source, target, id=f"{lifecycle.kind}: {source} to {target}")
    for lifecycle, statuses in ((EXPERIMENT, ExperimentStatus), (TRAINING, TrainingStatus))
    for source, target in product(statuses, repeat=2)
]


@pytest.mark.req("COM-02", "EXP-01", "TRN-11")
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


@pytest.mark.req("EXP-01", "TRN-11")
def test_the_statuses_are_the_references_words():
    assert {status.value for status in ExperimentStatus} == set(EXPECTED["experiment"])
    assert {status.value for status in TrainingStatus} == set(EXPECTED["training"])


@pytest.mark.parametrize("lifecycle", [EXPERIMENT, TRAINING], ids=lambda lifecycle: lifecycle.kind)
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


def test_a_table_that_forgets_a_status_is_no_life_cycle():
    with pytest.raises(ValueError, match="ACTIVE"):
        Lifecycle("experiment", {ExperimentStatus.CREATE_REQUESTED: set()})

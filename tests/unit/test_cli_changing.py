"""What commands say of what is stopped later, or is not there."""

import pytest

from blocks.domain.errors import ClusterUnavailableError
from blocks.domain.lifecycle import TrainingStatus
from blocks.registry.records import Query
from deployments.cli.changing import stopping
from deployments.cli.listing import empty_text


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            TrainingStatus.STOP_IN_PROGRESS,
            "The cluster is not available: no answer. That t is to stop is recorded: who follows it ends it once the "
            "cluster answers, or else `makerflow upkeep` does.",
        ),
        (TrainingStatus.RUNNING, "The cluster is not available: no answer. Try again."),
    ],
)
def test_a_stop_that_is_recorded_says_so_while_the_cluster_does_not_answer(status: TrainingStatus, told: str) -> None:
    with pytest.raises(ClusterUnavailableError) as caught, stopping("t", lambda: status):
        raise ClusterUnavailableError("no answer")
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (Query(), "There are no trainings yet. Make one: makerflow train --help"),
        (Query(sort="name", limit=3), "There are no trainings yet. Make one: makerflow train --help"),
        (Query(status=("RUNNING",)), "There is no such training."),
        (Query(name="x"), "There is no such training."),
        (Query(tags={"team": None}), "There is no such training."),
        (Query(experiment="e"), "There is no such training."),
    ],
)
def test_an_empty_list_says_how_to_make_one_unless_something_was_left_out(query: Query, told: str) -> None:
    assert empty_text("training", query, "train --help") == told

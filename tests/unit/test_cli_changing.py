"""What is said of an empty list."""

import pytest

from blocks.registry.records import Query
from deployments.cli.listing import empty_text


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

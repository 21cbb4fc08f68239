"""What is told of a training while its flow gives up, and when somebody goes on with it."""

from types import SimpleNamespace
from typing import Any

import pytest

from blocks.domain.errors import ClusterUnavailableError
from blocks.domain.lifecycle import TrainingStatus
from tasks.trouble import told_when_given_up


def test_who_goes_on_with_one_that_was_given_up_finds_why_it_stands_as_it_does() -> None:
    """A stop that is carried out later is no reason of its own."""
    row = SimpleNamespace(id="trn-1", name="t", status=TrainingStatus.STOP_IN_PROGRESS, reason="stopped on request")

    def explain(_: str, reason: str) -> None:
        row.reason = reason

    moves = [SimpleNamespace(reason="2 workers started"), SimpleNamespace(reason="stopped on request")]
    trainings = SimpleNamespace(get=lambda _: row, explain=explain, history=lambda _: moves)
    platform: Any = SimpleNamespace(registry=SimpleNamespace(trainings=trainings))
    with pytest.raises(ClusterUnavailableError), told_when_given_up(platform, "trn-1"):
        raise ClusterUnavailableError("no answer")
    assert row.reason.endswith("Nobody follows it any longer; go on with it: makerflow training resume t")
    with told_when_given_up(platform, "trn-1"):
        assert row.reason == "stopped on request"

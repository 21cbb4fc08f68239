"""What commands say of what is stopped later, is refused, or is not there."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.domain.errors import ClusterUnavailableError, InvalidInputError
from blocks.domain.lifecycle import TrainingStatus
from blocks.registry.records import Query
from deployments.cli import changing
from deployments.cli.changing import stopping
from deployments.cli.listing import empty_text
from deployments.cli.root import answer


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


def test_a_stop_that_takes_long_says_whether_it_is_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(changing, "STILL_SECONDS", 0.0)
    statuses = iter([TrainingStatus.RUNNING, TrainingStatus.STOP_IN_PROGRESS])
    for told in ("", f"{changing.STILL}\n"):
        with stopping("t", lambda: next(statuses)):
            for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
                timer.join(10)
        assert capsys.readouterr().err == told


@pytest.mark.parametrize("kind", ["training", "tuning"])
def test_what_another_cluster_has_is_refused_before_anything_of_it_is_shown(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = InvalidInputError("What runs on local", "the settings choose another", "Set it, and try again.")

    def refuse(_: Any) -> None:
        raise refusal

    spec = SimpleNamespace(changed=lambda **_: None)
    rows = SimpleNamespace(
        get=lambda _: SimpleNamespace(id="x-1", name="x", plan=object(), spec=spec, status=TrainingStatus.RUNNING)
    )
    monkeypatch.setattr("deployments.cli.access.open_registry", lambda: SimpleNamespace(trainings=rows, tunings=rows))
    monkeypatch.setattr("blocks.connections.platform.open_platform", lambda: SimpleNamespace(check_cluster=refuse))
    assert answer([kind, "resume", "x"], as_json=False) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"Error: {refusal}\n")


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

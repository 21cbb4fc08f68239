"""What the command line shows of a training that runs."""

import io

from blocks.connections.platform import open_platform
from deployments.cli.observing import TrainingObserver
from deployments.cli.progress import PlainDisplay
from flows.training import create_training
from tests.integration.flows.conftest import MakeSpec

PRINTS = "for number in range(5):\n    print(f'loss={number}', flush=True)\n"


def test_all_that_a_training_printed_is_shown_also_when_its_flow_was_there_first(make_spec: MakeSpec) -> None:
    shown = io.StringIO()
    observer = TrainingObserver(
        lambda: open_platform().registry.trainings.get("t"), PlainDisplay(shown, with_output=True)
    )
    create_training(make_spec(PRINTS))
    with observer:
        pass
    printed = [line for line in shown.getvalue().splitlines() if line.startswith("loss=")]
    assert printed == [f"loss={number}" for number in range(5)]


def test_of_a_training_that_was_taken_up_only_what_is_new_is_shown(make_spec: MakeSpec) -> None:
    shown = io.StringIO()
    create_training(make_spec(PRINTS))
    with TrainingObserver(lambda: open_platform().registry.trainings.get("t"), PlainDisplay(shown, with_output=True)):
        pass
    assert "loss=" not in shown.getvalue()
    assert "COMPLETE" in shown.getvalue()

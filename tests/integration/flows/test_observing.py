"""What the command line shows of a training that runs."""

import io
import threading
from collections.abc import Callable

from blocks.connections.platform import open_platform
from blocks.registry.records import Training
from deployments.cli.observing import TrainingObserver
from deployments.cli.progress import PlainDisplay
from flows.training import create_training
from tests.integration.flows.conftest import MakeSpec

PRINTS = "for number in range(5):\n    print(f'loss={number}', flush=True)\n"


class LateObserver(TrainingObserver):
    """One whose first look comes when it is told to."""

    def __init__(self, find: Callable[[], Training | None], stream: io.StringIO) -> None:
        super().__init__(find, PlainDisplay(stream, with_output=True))
        self.may_look = threading.Event()

    def show(self) -> None:
        assert self.may_look.wait(60)
        super().show()


def current() -> Training:
    return open_platform().registry.trainings.get("t")


def output_of(stream: io.StringIO) -> list[str]:
    return [line for line in stream.getvalue().splitlines() if line.startswith("loss=")]


def test_all_that_a_training_printed_is_shown_also_when_its_flow_was_there_first(make_spec: MakeSpec) -> None:
    shown = io.StringIO()
    with LateObserver(current, shown) as observer:
        create_training(make_spec(PRINTS))
        observer.may_look.set()
    assert output_of(shown) == [f"loss={number}" for number in range(5)]


def test_of_a_training_that_is_gone_on_with_only_what_is_new_is_shown(make_spec: MakeSpec) -> None:
    create_training(make_spec(PRINTS))
    followed = current().model_copy(update={"log_cursors": {0: len("loss=0\nloss=1\n")}})
    known, shown = [followed], io.StringIO()
    with LateObserver(lambda: known[0], shown) as observer:
        known[0] = current()  # its flow has read the rest meanwhile
        observer.may_look.set()
    assert output_of(shown) == ["loss=2", "loss=3", "loss=4"]
    assert "COMPLETE" in shown.getvalue()

from datetime import UTC, datetime

import pytest

from blocks.domain.metric_hints import Diagnosis
from blocks.domain.metrics import MetricReader
from tasks.metric_watch import WARN_AFTER_SECONDS, MetricWatch

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Watched:
    """A watch over output that comes by a clock of the test's own."""

    def __init__(self, sought: str = "", *expressions: str, found: bool = False) -> None:
        self.now = 0.0
        self.watch = MetricWatch(sought, expressions, found=found, clock=lambda: self.now)
        self._reader = MetricReader(expressions)

    def prints(self, text: str, after: float = 0.0) -> Diagnosis | None:
        """What is warned of then."""
        self.now += after
        self.watch.look(text.encode(), self._reader.read(text.encode(), NOW))
        return self.watch.warning()


@pytest.mark.req("TUN-04", "TUN-13")
def test_a_minute_of_output_without_the_objective_is_warned_of_once_with_the_closest_line() -> None:
    watched = Watched("val_loss")
    assert watched.prints("step 1 val loss 0.3 train_loss=0.1\n") is None
    assert watched.prints("step 2 val loss 0.2 train_loss=0.1\n", WARN_AFTER_SECONDS - 1) is None
    warning = watched.prints("step 3\n", 1)

    assert warning is not None
    assert warning.lines[0].startswith("step 1 val loss 0.3")
    assert watched.prints("step 4 val loss 0.2\n", WARN_AFTER_SECONDS) is None
    assert watched.watch.standing == warning


def test_the_minute_begins_with_the_first_output_not_with_the_start() -> None:
    watched = Watched()
    assert watched.prints("", 10 * WARN_AFTER_SECONDS) is None
    assert watched.prints("loading\n", 10 * WARN_AFTER_SECONDS) is None
    assert watched.prints("loading\n", WARN_AFTER_SECONDS) is not None


def test_what_is_found_after_the_warning_takes_it_back() -> None:
    watched = Watched("loss")
    watched.prints("loading\n")
    assert watched.prints("loading\n", WARN_AFTER_SECONDS)
    watched.prints("loss=0.3\n")
    assert (watched.watch.found, watched.watch.standing) == (True, None)


@pytest.mark.parametrize("sought", ["loss", ""])
def test_nothing_is_warned_of_what_was_found_also_by_an_earlier_follower(sought: str) -> None:
    for watched in (Watched(sought), Watched(sought, found=True)):
        watched.prints("loss=0.3\n" if not watched.watch.found else "going on\n")
        assert watched.prints("going on\n", WARN_AFTER_SECONDS) is None


@pytest.mark.req("TUN-13")
def test_at_the_end_it_is_told_why_the_objective_is_unavailable() -> None:
    watched = Watched("loss")
    watched.prints("loss=nan\n")
    assert "never as a finite number" in watched.watch.diagnosis().message
    assert "has printed nothing" in Watched("loss").watch.diagnosis().text


@pytest.mark.req("TUN-17")
def test_who_takes_a_run_up_does_not_say_that_nothing_was_printed_before() -> None:
    diagnosis = MetricWatch("loss", earlier=True).diagnosis()
    assert diagnosis.message == '"loss" was not found in the output.'

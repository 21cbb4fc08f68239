from datetime import UTC, datetime, timedelta

import pytest

from blocks.cluster.gang import Restart, decide, decisive
from blocks.cluster.outcome import Outcome
from blocks.domain.plan import ExitCause, ExitRecord, RestartPolicy

START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = RestartPolicy(budget=2, out_of_memory=1)


def record(rank: int, cause: str, *, at: float = 0, message: str | None = None) -> ExitRecord:
    return ExitRecord(
        attempt=1,
        rank=rank,
        began=START,
        ended=START + timedelta(seconds=at),
        cause=ExitCause(cause),
        message=message if message is not None else f"{cause}." * (cause != "ok"),
    )


def decision(*records: ExitRecord, **facts: object) -> Outcome | Restart:
    return decide(records, POLICY, **{"restarts_used": 0, "out_of_memory_used": 0, **facts})


def test_when_all_end_well_the_run_ended_well():
    assert decision(record(0, "ok"), record(1, "ok")).cause == ExitCause.OK


@pytest.mark.parametrize("cause", ["lost", "out_of_memory"])
def test_a_loss_of_one_restarts_all(cause):
    assert decision(record(0, cause), record(1, "stopped")) == Restart(ExitCause(cause), f"Worker 0: {cause}.")


def test_a_traceback_of_the_users_is_not_tried_again():
    outcome = decision(record(0, "stopped"), record(1, "user_error", message="ValueError: x"))
    assert outcome == Outcome(ExitCause.USER_ERROR, "Worker 1: ValueError: x")


@pytest.mark.parametrize("cause", ["time_limit", "disk_full", "launcher_error", "environment_failed"])
def test_what_trying_again_cannot_help_ends_the_run(cause):
    assert decision(record(0, cause)) == Outcome(ExitCause(cause), f"{cause}.")


def test_a_loss_explains_the_traceback_that_it_caused_in_another_worker():
    records = [record(0, "user_error", at=1, message="Connection closed by peer"), record(1, "lost", at=1.2)]
    assert isinstance(decision(*records), Restart)


def test_of_two_tracebacks_the_first_one_explains_the_second():
    records = [record(0, "user_error", at=2, message="second"), record(1, "user_error", at=1, message="first")]
    assert decisive(records).message == "first"


def test_the_budget_bounds_all_restarts():
    assert isinstance(decision(record(0, "lost"), restarts_used=1), Restart)
    outcome = decision(record(0, "lost"), restarts_used=2)
    assert outcome == Outcome(ExitCause.LOST, "lost. It was restarted 2 times, which is all that is allowed.")


def test_running_out_of_memory_has_a_budget_of_its_own():
    assert isinstance(decision(record(0, "out_of_memory")), Restart)
    assert decision(record(0, "out_of_memory"), restarts_used=1, out_of_memory_used=1).cause == ExitCause.OUT_OF_MEMORY


def test_a_loss_after_the_time_limit_is_not_restarted():
    assert decision(record(0, "lost"), overdue=True).cause == ExitCause.TIME_LIMIT


def test_a_stop_decides_over_what_it_caused():
    assert decision(record(0, "stopped"), record(1, "lost"), stopping=True).cause == ExitCause.STOPPED


def test_a_stop_that_came_too_late_changes_nothing():
    assert decision(record(0, "ok"), stopping=True).cause == ExitCause.OK


def test_what_a_worker_has_to_say_after_a_good_end_is_kept():
    outcome = decision(record(0, "ok", message="Processes that it left running were ended."))
    assert outcome.message == "Processes that it left running were ended."

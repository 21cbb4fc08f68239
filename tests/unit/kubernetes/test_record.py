import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.cluster.kubernetes.record import MOST_PASSING, RECORD_BYTES, RunRecord
from blocks.domain.plan import ExitRecord
from tests.unit.kubernetes.plans import make_plan

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
STAGED = {"kind": "staging", "sequence": 1, "at": BEGINNING.isoformat(), "step": "inputs", "finished": True}


def record(**changes: object) -> RunRecord:
    return RunRecord.of(make_plan(**changes), 1, 2.0)


def kept(told: RunRecord) -> RunRecord:
    """As it is read again."""
    return RunRecord.model_validate_json(told.to_json())


def usage(number: int, rank: int = 0) -> dict[str, object]:
    """An event of a sidecar, as it comes."""
    values = {"cpu": 97.25, "memory": 12345.1, "disk": 1.5, "disk_read": 0.25, "disk_write": 0.125}
    return {
        "kind": "usage", "run_id": "training-7", "sequence": number,
        "at": (BEGINNING + timedelta(seconds=number)).isoformat(),
        "attempt": 1, "seconds": 10.0, "host": "a-node-of-the-cluster.example.com", "network": "worker",
        "workers": [{"rank": rank, "values": values}],
    }  # fmt: skip


def checkpoint(number: int, path: str = "obs://store.example/b/c") -> dict[str, object]:
    return {"kind": "checkpointed", "sequence": number, "at": BEGINNING.isoformat(), "path": path, "size": 5}


def exit_of(rank: int, attempt: int = 1, *, tail: str = "", message: str = "It ended.") -> dict[str, object]:
    return {
        "attempt": attempt, "rank": rank, "began": None, "ended": BEGINNING.isoformat(), "cause": "user_error",
        "message": message, "tail": tail,
    }  # fmt: skip


def test_events_are_numbered_without_gaps_in_the_order_they_are_told():
    told = record().tell("queued", reason="full").tell("placed", where="node1").take(1, 0, [usage(1), usage(2)])
    told = told.tell("finished", cause="ok")
    assert [event.sequence for event in told.events] == [1, 2, 3, 4, 5] == list(range(1, told.sequence + 1))


def test_nothing_is_told_after_the_end():
    over = record().tell("finished", cause="ok")
    assert over.tell("placed", where="node1") == over
    assert over.take(1, 0, [usage(1)]).events == over.events
    assert (over.is_over, over.outcome.cause) == (True, "ok")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(0, 2))
def test_what_a_sidecar_says_is_taken_once_however_often_it_comes(numbers, rank):
    """Its log is read again from its beginning whenever a connection breaks."""
    frames = [usage(number) for number in range(1, 31)]
    told = record(workers=3)
    for number in numbers:
        told = told.take(1, rank, frames[:number])
    assert [event.at for event in told.events] == [
        BEGINNING + timedelta(seconds=number) for number in range(1, max(numbers) + 1)
    ]


def test_each_rank_and_attempt_counts_its_own_events():
    told = record(workers=2).take(1, 0, [usage(1)]).take(1, 1, [usage(1)]).take(2, 0, [usage(1)])
    assert len(told.events) == 3
    assert told.frames == {"1/0": 1, "1/1": 1, "2/0": 1}


def test_only_what_informs_is_taken_and_staging_is_told_of_one_worker():
    forged = {"kind": "finished", "sequence": 2, "at": BEGINNING.isoformat(), "cause": "ok"}
    told = record(workers=2).take(1, 1, [STAGED]).take(1, 0, [STAGED, forged]).take(2, 0, [STAGED])
    assert [event.kind for event in told.events] == ["staging"]
    assert told.is_staged


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"kind": "usage"},
        {"kind": "usage", "sequence": "many"},
        {"kind": "usage", "sequence": 5, "at": "yesterday"},
        {"kind": "checkpointed", "sequence": 5, "path": 5, "size": -1, "colour": "red"},
        {"kind": ["usage"], "sequence": 5},
        {"kind": "usage", "sequence": 5, "seconds": 0, "record": {}, "self": 1},
        usage(5) | {"seconds": float("inf")},
        usage(5) | {"workers": [{"rank": 0, "values": {"cpu": float("nan")}}]},
        usage(5) | {"at": "2030-01-01T00:00:00"},
        usage(5) | {"host": "\udcff"},
        usage(5) | {"attempt": 10**30},
        usage(True),
        usage(5) | {"sequence": 10**400},
        checkpoint(5, "\udcff.pt"),
        checkpoint(5, "p" * 2_000_000),
        checkpoint(5) | {"size": 10**4000},
        checkpoint(5) | {"size": 1e300},
        checkpoint(5) | {"size": -1},
        checkpoint(5) | {"at": "0001-01-01T00:00:00+23:59"},
    ],
)
def test_what_is_no_event_is_left_out(frame):
    told = record().take(1, 0, [usage(1), frame, usage(6)])
    assert [event.kind for event in told.events] == ["usage", "usage"]
    assert kept(told) == told


_TEXT = st.text(st.characters(exclude_categories=()), max_size=50) | st.sampled_from(
    ["\0" * 2500, "p" * 12_000, "\ud800"]
)
_NUMBER = st.integers() | st.integers(1, 60) | st.floats() | st.sampled_from([10**30, 10**4000, True, None])
_FRAME = st.fixed_dictionaries(
    {"kind": st.sampled_from(["usage", "checkpointed", "staging", "queued", "finished"]), "sequence": _NUMBER},
    optional={
        "at": _TEXT | _NUMBER | st.datetimes().map(lambda at: at.isoformat() + "Z"),
        "path": _TEXT, "size": _NUMBER, "step": st.just("environment") | _TEXT, "finished": st.booleans(),
        "host": _TEXT, "seconds": _NUMBER, "attempt": _NUMBER, "network": st.just("worker"),
        "workers": st.lists(st.fixed_dictionaries({"rank": _NUMBER, "values": st.just({"cpu": 1.0})}), max_size=3),
    },
)  # fmt: skip


@given(st.lists(_FRAME | st.dictionaries(_TEXT, _TEXT | _NUMBER), max_size=20), st.integers(1, 80))
@settings(max_examples=30)
def test_whatever_an_entry_point_writes_where_events_are_read_the_record_is_kept_and_read_again(frames, repeats):
    told = record().take(1, 0, frames)
    for number in range(repeats):
        last = told.frames.get("1/0", 0)
        told = told.take(1, 0, [{**frame, "sequence": last + n} for n, frame in enumerate(frames, 1)])
        told = told.take(1, 0, [checkpoint(told.frames.get("1/0", 0) + 1, f"{number}/" + "\0" * 2500)])
    assert len(told.to_json().encode()) <= RECORD_BYTES
    assert kept(told).events[-1] == told.events[-1]
    assert kept(kept(told)) == kept(told)


def test_of_very_many_the_oldest_that_only_inform_are_dropped_and_nothing_else():
    told = record().tell("placed", where="node1")
    told = told.take(1, 0, [STAGED])
    for number in range(2, 3 * MOST_PASSING, 50):
        told = kept(told.take(1, 0, [usage(number + n) for n in range(50)]))
    assert [event.kind for event in told.events[:2]] == ["placed", "staging"]
    assert told.is_staged
    assert MOST_PASSING // 2 <= len(told.events) <= MOST_PASSING + 2
    assert told.events[-1].sequence == told.sequence == 3 * MOST_PASSING + 2
    numbers = [event.sequence for event in told.events[2:]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_one_that_waits_for_weeks_stays_small():
    told = record()
    for number in range(3 * MOST_PASSING):
        told = (told if number % 20 else kept(told)).tell(
            "queued", reason=f"waiting for 1 vCPU: {number} of 8 are used"
        )
    assert len(told.events) <= MOST_PASSING
    assert told.events[-1].reason.startswith(f"waiting for 1 vCPU: {3 * MOST_PASSING - 1}")


@pytest.mark.parametrize(("workers", "letter"), [(1, "\N{HANGUL SYLLABLE HAN}"), (64, "\x1b"), (200, "\udcff")])
def test_the_record_of_a_large_run_is_an_object_that_kubernetes_takes(workers, letter):
    told = record(workers=workers)
    for attempt in range(1, 5):
        if attempt > 1:
            told = told.tell("restarted", attempt=attempt, cause="It was lost.")
        told = told.tell("placed", where=", ".join(f"node{n}" for n in range(workers)))
        told = told.take(attempt, 0, [usage(number) for number in range(1, 1000)])
        told = told.take(attempt, 1, [checkpoint(number, "obs://s/" + "p" * 1000) for number in range(1, 1000)])
        for rank in range(workers):
            told = told.tell("exited", record=exit_of(rank, attempt, tail=letter * 1300, message=letter * 560))
    for _ in range(workers):
        for output in ("checkpoint", "tensorboard", "log"):
            told = told.tell("uploaded", output=output, path="obs://s/" + "p" * 1000, files=3, bytes=1)
    told = told.tell("finished", cause="lost", message=letter * 560)
    assert len(told.to_json().encode()) <= RECORD_BYTES
    assert (kept(told).is_over, len(kept(told).exits(4))) == (True, workers)
    assert [event.output for event in kept(told).told("uploaded")].count("log") == workers


def test_what_is_cut_of_an_exit_is_the_beginning_of_its_tail_and_the_end_of_its_message():
    told = record(workers=200).tell("exited", record=exit_of(0, tail="\x1b" * 2000 + "last", message="First\n" * 500))
    exit = told.exits(1)[0]
    assert exit.tail.endswith("\x1blast")
    assert exit.message.startswith("First\nFirst\n")
    assert 100 < len(json.dumps(exit.tail)) <= 202
    assert 300 < len(json.dumps(exit.message)) <= 402


@pytest.mark.parametrize("number", [10**300, -1])
def test_an_upload_of_a_number_of_files_that_there_cannot_be_is_none(number):
    with pytest.raises(ValueError, match="is nothing that is counted"):
        record().tell("uploaded", output="log", path="obs://s/log", files=number, bytes=1)


def test_the_exit_of_one_worker_keeps_its_tail_and_its_message():
    told = record().tell("exited", record=exit_of(0, tail="the last line\n", message="It said so."))
    assert told.exits(1)[0] == ExitRecord.model_validate(exit_of(0, tail="the last line\n", message="It said so."))


def test_a_record_is_read_as_it_was_written():
    told = record().tell("placed", where="node1").take(1, 0, [usage(1), checkpoint(2)])
    assert kept(told) == told


def test_events_are_asked_for_by_kind_and_attempt():
    told = record().tell("started", attempt=1, deadline=BEGINNING).tell("restarted", attempt=2, cause="lost")
    told = told.tell("started", attempt=2, deadline=BEGINNING).tell("placed", where="node1")
    assert [event.attempt for event in told.told("started")] == [1, 2]
    assert [event.attempt for event in told.told("started", 2)] == [2]
    assert len(told.told("placed", 2)) == 1

"""What is told of output that is not to be had any more, and how reading goes on behind it."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.cluster.base import OutputRead
from blocks.cluster.kubernetes import reading, streams
from blocks.cluster.kubernetes.api import ApiError
from blocks.cluster.kubernetes.frames import cursor_of
from blocks.cluster.kubernetes.names import ATTEMPT, INDEX, LIFE, RUN, run_name
from blocks.cluster.kubernetes.reading import Reading
from blocks.cluster.kubernetes.record import RunRecord
from blocks.cluster.kubernetes.settling import Settling
from blocks.cluster.kubernetes.streams import Streams
from blocks.cluster.kubernetes.view import PODS, RECORDS, View
from blocks.domain.errors import ClusterUnavailableError, NotFoundError
from blocks.domain.plan import ExitCause, RunHandle
from tests.unit.kubernetes.plans import make_plan
from tests.unit.kubernetes.sidecar_log import LINE, SidecarLog

HANDLE = RunHandle(cluster="kubernetes", run_id=make_plan().run_id)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
NOT_FOUND = ApiError(404, "NotFound", 'pods "pod" not found')
REFUSED = ClusterUnavailableError("500 InternalError: dial tcp: no route to host")
GONE = "[makerflow: the output of attempt 1 has gone with its pod; what was uploaded of it is in the log at the output]"
CUT = (
    "[makerflow: the end of the output of attempt 1 may be missing here; what was uploaded of it is in the log at the "
    "output]"
)


class Log(SidecarLog):
    """Of an API server that answers but for it, or not at all."""

    failure: Exception | None = None

    def get(self, *_: str) -> dict[str, Any] | None:
        if self.failure:
            raise self.failure
        return None


class Site:
    """One run of one worker, as a process sees it."""

    def __init__(self) -> None:
        self.log, self._version = Log(), 0
        self.view = View(self.log)  # type: ignore[arg-type]
        self.view._started, self.view._listed = True, set(self.view._kinds)
        self.streams = Streams()
        self.record = RunRecord.of(make_plan(), 1, 2.0)

    @property
    def reading(self) -> Reading:
        settling = Settling(self.log, self.view, lambda *_: None)  # type: ignore[arg-type]
        return Reading(self.log, self.view, self.streams, settling)  # type: ignore[arg-type]

    def know(self, record: RunRecord) -> None:
        self.record = record
        self._put(RECORDS, run_name(record.run_id), {}, {"data": {"record": record.model_dump_json()}}, uid="u")

    def start(self, attempt: int = 1) -> None:
        self.know(self.record.change(attempt=attempt).tell("started", attempt=attempt, deadline=NOW, at=NOW))
        self.see("Running", attempt)

    def see(self, phase: str, attempt: int = 1, conditions: Mapping[str, Any] = {}, **metadata: Any) -> None:
        sidecar = {"name": "sync", "state": {"running": {}}}
        known = [{"type": kind, **condition} for kind, condition in conditions.items()]
        status = {"phase": phase, "initContainerStatuses": [sidecar], "conditions": known}
        annotations = {LIFE: "u", INDEX: "0"}
        self._put(
            PODS, f"pod-{attempt}", {ATTEMPT: str(attempt)}, {"status": status, "spec": {}}, annotations, **metadata
        )

    def finish(self, seconds_ago: float = 0.0) -> None:
        at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
        self.know(self.record.tell("finished", at=at, cause=ExitCause.OK, message=""))

    def refuse_for(self, seconds: float) -> None:
        """Let the log have been refused for so long already."""
        self.streams.refused[run_name(HANDLE.run_id), 0, 1] = time.monotonic() - seconds

    def lose_pod(self) -> None:
        self.view.drop(PODS, "pod-1")

    def texts(self, since: int = 0) -> list[str]:
        return [line.text for line in self.reading.lines(HANDLE, 0, follow=False, since=since)]

    def _put(
        self, kind: str, name: str, labels: dict[str, str], rest: Any, annotations: Any = None, **more: Any
    ) -> None:
        self._version += 1
        metadata = {
            "name": name,
            "resourceVersion": str(self._version),
            "creationTimestamp": "2030-01-01T00:00:00Z",
            "labels": {RUN: run_name(HANDLE.run_id), **labels},
            "annotations": annotations or {},
            **more,
        }
        self.view.put(kind, {"metadata": metadata, **rest})


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(streams, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(streams, "MOST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(streams, "RETRY_SECONDS", 0.5)
    made = Site()
    yield made
    made.log.end()
    made.streams.close(run_name(HANDLE.run_id))


X = LINE[:-1].decode()


def test_what_was_read_whole_has_no_note_also_when_its_pod_is_gone(site):
    site.start()
    site.log.write(LINE * 2)
    site.log.end()
    assert site.texts() == [X, X]
    site.see("Succeeded")
    site.finish()
    site.lose_pod()
    assert site.texts(2 * len(LINE)) == []


def test_what_this_process_has_already_is_read_when_the_pod_is_gone(site):
    site.start()
    site.log.write(LINE * 5)
    site.log.end()
    first, cursor, _ = site.reading.read(HANDLE, 0, since=0, at_most=len(LINE))
    site.lose_pod()
    site.finish()
    site.log.answers.extend([NOT_FOUND] * 9)
    assert [first, site.texts(cursor)] == [LINE, [X] * 4]


@pytest.mark.parametrize("is_known", [True, False], ids=["the process saw the pod", "another process"])
@pytest.mark.parametrize(("since", "note"), [(0, GONE), (2 * len(LINE), CUT)])
def test_output_that_has_gone_with_its_pod_is_noted_wherever_reading_had_come_to(site, is_known, since, note):
    site.start()
    site.log.write(LINE * 5)
    site.log.end()
    site.finish()
    site.log.answers.extend([NOT_FOUND] * 9)
    site.lose_pod()
    if not is_known:
        site.view._departed.clear()
    lines = list(site.reading.lines(HANDLE, 0, follow=True, since=since))
    assert [(line.text, line.cursor) for line in lines] == [(note, since)], (
        "the uploaded log has the rest from there on"
    )
    found = site.reading.read(HANDLE, 0, since=since, at_most=1000)
    assert found == OutputRead(f"{note}\n".encode(), cursor_of(2, 0), cut_at=since)
    assert site.reading.read(HANDLE, 0, since=found.cursor, at_most=1000) == OutputRead(b"", found.cursor)


def test_behind_what_is_missing_the_next_attempt_is_read_and_any_cursor_goes_on(site):
    site.start()
    site.lose_pod()
    site.start(attempt=2)
    site.log.answers.append(NOT_FOUND)
    site.log.write(LINE)
    lines = list(site.reading.lines(HANDLE, 0, follow=False, since=3))
    assert [line.text for line in lines] == [CUT, X]
    assert [line.cursor for line in lines] == [cursor_of(2, 0), cursor_of(2, len(LINE))]
    assert site.texts(lines[0].cursor) == [X]


def test_that_an_attempts_end_is_missing_is_told_when_no_more_of_it_is_uploaded(site):
    """Its sidecar may live on behind a node that does not answer, until the next attempt has what it uploaded."""
    site.start()
    site.lose_pod()
    site.log.answers.extend([NOT_FOUND] * 2)
    site.know(site.record.change(attempt=2))
    assert site.reading.read(HANDLE, 0, since=3, at_most=1000) == OutputRead(b"", 3)
    site.start(attempt=2)
    assert site.reading.read(HANDLE, 0, since=3, at_most=1000).cut_at == 3


def test_where_a_later_attempt_is_cut_short_is_told_also_to_who_reads_from_an_earlier_one(site):
    site.start()
    site.log.write(LINE)
    site.log.end()
    site.see("Succeeded")
    site.start(attempt=2)
    site.finish()
    site.view.drop(PODS, "pod-2")
    site.view._departed.clear()
    found = site.reading.read(HANDLE, 0, since=len(LINE), at_most=1000)
    assert (found.cut_at, found.cursor) == (cursor_of(2, 0), cursor_of(3, 0))


def test_a_log_without_its_end_is_noted_behind_what_there_is(site):
    site.start()
    site.log.write(LINE * 2)
    site.log.end(killed=True)
    site.see("Failed")
    site.finish()
    assert site.texts() == [X, X, CUT]


def test_what_has_never_started_has_nothing_to_note(site):
    site.know(site.record)
    assert site.texts() == []
    site.finish()
    assert site.texts() == []


def test_what_a_node_has_dropped_is_a_line_behind_which_reading_goes_on(site):
    site.start()
    site.log.write(LINE * 2)
    site.log.rotate()
    site.log.write(LINE)
    lines = list(site.reading.lines(HANDLE, 0, follow=False, since=0))
    assert [line.cursor for line in lines] == [2 * len(LINE), 3 * len(LINE)]
    assert "200 bytes of output are missing" in lines[0].text
    assert site.texts(lines[0].cursor) == [X]


def test_a_finished_run_is_read_to_its_end_or_not_at_all(site):
    """Also before the watch of pods says so, and while the log is refused."""
    site.start()
    site.log.write(LINE)
    site.log.end()
    site.finish()
    site.log.answers.extend([REFUSED] * 4)
    assert site.texts() == [X]
    site.streams.close(run_name(HANDLE.run_id))
    site.log.answers.extend([REFUSED] * 1000)
    with pytest.raises(ClusterUnavailableError):
        site.texts()


@pytest.mark.parametrize(("left", "is_answered"), [(timedelta(hours=1), True), (timedelta(hours=-1), False)])
def test_nobody_waits_for_a_node_that_does_not_delete_its_pod(site, left, is_answered):
    site.start()
    site.see("Running", deletionTimestamp=(datetime.now(UTC) + left).isoformat())
    site.finish()
    site.log.answers.extend([REFUSED] * 1000)
    if is_answered:
        with pytest.raises(ClusterUnavailableError):
            site.texts()
    else:
        assert site.texts() == [GONE]


SILENT = {"Ready": {"status": "False"}, "ContainersReady": {"status": "True"}}
LOST = SILENT | {"DisruptionTarget": {"status": "True", "reason": "DeletionByTaintManager"}}


@pytest.mark.parametrize("conditions", [SILENT, LOST], ids=["marked", "given up"])
def test_who_follows_a_run_does_not_wait_for_a_node_that_is_silent(site, monkeypatch, conditions):
    monkeypatch.setattr(reading, "SILENT_NODE_SECONDS", 0.1)
    site.start()
    site.see("Running", conditions=conditions)
    site.log.write(LINE)
    site.log.is_stuck = True
    began = time.monotonic()
    assert site.reading.read(HANDLE, 0, since=0, at_most=1000) == OutputRead(b"", 0)
    if conditions is LOST:
        site.finish()
        assert site.texts() == [GONE]
    assert time.monotonic() - began < 2


def test_the_end_of_a_run_is_waited_for_while_its_node_may_come_back(site, monkeypatch):
    monkeypatch.setattr(reading, "SILENT_NODE_SECONDS", 0.1)
    site.start()
    site.see("Running", conditions=SILENT)
    site.log.seconds_until_opened = 0.4
    site.log.write(LINE)
    site.log.end()
    site.finish()
    assert site.texts() == [X]


def test_a_log_of_which_a_node_keeps_nobody_waiting_is_read_though_it_is_silent_otherwise(site):
    """Only its own way to the API server is gone."""
    site.start()
    site.see("Running", conditions=LOST)
    site.log.write(LINE)
    site.log.end()
    site.finish()
    assert site.texts() == [X]


def test_a_run_whose_log_stays_refused_long_after_its_end_is_read_without_it(site):
    """Where the API server reaches no node, or where the node has gone since."""
    site.start()
    site.see("Succeeded")
    site.finish(seconds_ago=reading.LASTING_SECONDS + 1)
    site.log.answers.extend([REFUSED] * 1000)
    with pytest.raises(ClusterUnavailableError):  # it may only just have begun
        site.texts()
    site.refuse_for(reading.LASTING_SECONDS)
    lines = list(site.reading.lines(HANDLE, 0, follow=True, since=0))
    assert [(line.text, line.cursor) for line in lines] == [(GONE, 0)]
    assert site.texts(3) == [CUT]


def test_an_api_server_that_is_away_ends_no_log(site):
    site.start()
    site.see("Succeeded")
    site.finish(seconds_ago=reading.LASTING_SECONDS + 1)
    site.log.answers.extend([REFUSED] * 1000)
    site.log.failure = ClusterUnavailableError("it restarts")
    site.refuse_for(reading.LASTING_SECONDS)
    with pytest.raises(ClusterUnavailableError, match="it restarts"):
        site.texts()


def test_of_one_worker_that_has_ended_long_before_the_others_it_is_the_same(site):
    site.start()
    site.see("Succeeded")
    site.log.over = True
    site.log.answers.extend([REFUSED] * 1000)
    with pytest.raises(ClusterUnavailableError):
        site.texts()
    site.refuse_for(reading.LASTING_SECONDS)
    with pytest.raises(ClusterUnavailableError):
        site.texts()
    ended = datetime.now(UTC) - timedelta(seconds=reading.LASTING_SECONDS + 1)
    exit = {"attempt": 1, "rank": 0, "began": None, "ended": ended, "cause": "ok", "message": ""}
    site.know(site.record.tell("exited", at=ended, record=exit))
    assert site.texts() == [GONE]


def test_a_run_that_is_not_there_has_no_output(site):
    with pytest.raises(NotFoundError):
        site.texts()


def test_a_log_that_is_read_again_was_not_refused_for_long(site):
    site.start()
    site.log.write(LINE)
    site.refuse_for(reading.LASTING_SECONDS)
    assert site.texts() == [X]
    assert site.streams.refused == {}


def test_of_an_attempt_whose_start_nobody_heard_of_it_is_told_where_its_output_may_be(site):
    """Nobody followed when it ran, and its pod has gone since."""
    site.know(site.record.change(attempt=2).tell("queued", reason="It gave back its places."))
    assert site.reading.read(HANDLE, 0, since=0, at_most=1000).cut_at is None, "nothing of it was there"
    exit = {"attempt": 1, "rank": 0, "began": None, "ended": NOW, "cause": "lost", "message": ""}
    site.know(site.record.tell("exited", record=exit).tell("restarted", attempt=2, cause="It was lost."))
    assert site.reading.read(HANDLE, 0, since=0, at_most=1000) == OutputRead(b"", 0), "it may still upload"
    site.start(attempt=2)
    site.log.write(LINE)
    found = site.reading.read(HANDLE, 0, since=0, at_most=1000)
    assert found == OutputRead(b"", cursor_of(2, 0), cut_at=0)
    assert site.texts() == [X], "there may not have been any"
    assert site.reading.read(HANDLE, 0, since=found.cursor, at_most=1000).data == LINE


def test_what_a_node_has_dropped_is_told_with_where_it_was(site):
    site.start()
    site.log.write(LINE * 2)
    site.log.rotate()
    site.log.write(LINE)
    found = site.reading.read(HANDLE, 0, since=0, at_most=1000)
    assert (found.cut_at, found.cursor) == (0, 2 * len(LINE))
    assert site.reading.read(HANDLE, 0, since=found.cursor, at_most=1000) == OutputRead(LINE, 3 * len(LINE))

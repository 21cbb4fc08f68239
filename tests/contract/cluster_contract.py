"""What every `Cluster` promises. A backend inherits `ClusterContract` and provides the fixture `site`."""

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from blocks.cluster.base import Cluster, OutputRead, Selector
from blocks.domain.errors import CapacityError, InUseError, NotFoundError
from blocks.domain.plan import ExitCause, RunEvent, RunHandle, RunPhase, RunPlan, RunState
from tests.waiting import wait_for, wait_until

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
SECONDS = 60.0
"""No promise may take longer than this here."""

QUICK = "print('first')\nprint('second')\n"
SLOW = "import time\nprint('running', flush=True)\ntime.sleep(600)\n"
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print('running', flush=True)
time.sleep(600)
"""


class ClusterSite(ABC):
    """One cluster with room for two vCPUs, as the suite needs it.

    Attributes:
        share: What a vCPU counts as there.
    """

    share = 1.0

    @abstractmethod
    def connect(self) -> Cluster:
        """A client of the cluster that knows nothing of what other clients did."""

    @abstractmethod
    def plan(self, program: str, **changes: object) -> RunPlan:
        """The plan of a run of this Python program on one worker with 1 vCPU; `changes` are fields of the plan."""

    @abstractmethod
    def kill_what_runs(self, handle: RunHandle) -> None:
        """Have what cares for the run die without a word, but not its workers."""


def until_over(cluster: Cluster, handle: RunHandle, after: int = 0) -> list[RunEvent]:
    """All events after the given number up to the last one of the run."""
    found: list[RunEvent] = []
    deadline = time.monotonic() + SECONDS
    since = {handle.run_id: after}
    for event in cluster.watch(Selector(run_id=handle.run_id), since, idle_seconds=0.5):
        said = [(each.kind, each.at) for each in found if each.kind != "usage"]
        assert time.monotonic() < deadline, f"the run is not over: {said}; {cluster.find(Selector())}"
        if event is not None:
            found.append(event)
            if event.kind == "finished":
                break
    return found


def until(cluster: Cluster, handle: RunHandle, reached: Callable[[RunState], bool]) -> RunState:
    """The run's state as soon as it is so."""

    def look() -> RunState | None:
        state = state_of(cluster, handle)
        return state if reached(state) else None

    return wait_for(look, "the run's state", SECONDS)


def until_it_prints(cluster: Cluster, handle: RunHandle) -> None:
    """Until the entry point has printed something."""
    wait_until(lambda: bool(cluster.read_output(handle, 0, since=0, at_most=1 << 16)[0]), "it to print", SECONDS)


def state_of(cluster: Cluster, handle: RunHandle) -> RunState:
    (state,) = cluster.find(Selector(run_id=handle.run_id))
    return state


def texts(cluster: Cluster, handle: RunHandle, rank: int = 0, *, follow: bool = False, since: int = 0) -> list[str]:
    return [line.text for line in cluster.logs(handle, rank, follow=follow, since=since)]


class ClusterContract:
    """The promises, as tests. They use nothing but the interface and the site."""

    @pytest.fixture
    def cluster(self, site: ClusterSite) -> Cluster:
        return site.connect()

    def test_a_run_goes_from_placed_to_finished_and_its_events_are_numbered(self, site, cluster):
        handle = cluster.launch(site.plan(QUICK))
        events = until_over(cluster, handle)
        kinds = [event.kind for event in events]
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert [k for k in kinds if k in ("placed", "started", "exited", "finished")] == [
            "placed", "started", "exited", "finished",
        ]  # fmt: skip
        assert events[-1].cause is ExitCause.OK
        state = state_of(cluster, handle)
        assert (state.phase, state.processes) == (RunPhase.FINISHED, 0)

    @pytest.mark.req("COM-08")
    def test_what_workers_use_is_told_as_events_that_a_watcher_can_go_on_from(self, site, cluster):
        plan = site.plan(SLOW, workers=2, resources={"vcpus": 0.5, "memory_mib": 128})
        handle = cluster.launch(plan)
        watch = cluster.watch(Selector(run_id=handle.run_id), idle_seconds=SECONDS)
        used = next(event for event in watch if event is None or event.kind == "usage")
        later = site.connect().watch(
            Selector(run_id=handle.run_id), {handle.run_id: used.sequence}, idle_seconds=SECONDS
        )
        usages = (event for event in later if event is None or event.kind == "usage")
        ranks = [worker.rank for worker in used.workers]  # of all together, or of each by itself
        after = next(event for event in usages if event is None or [w.rank for w in event.workers] == ranks)
        assert after.sequence > used.sequence
        assert after.at - used.at == pytest.approx(timedelta(seconds=after.seconds), abs=timedelta(seconds=1))
        for event in (used, after):
            assert event.attempt == 1
            assert event.host
            assert {worker.rank for worker in event.workers} <= {0, 1}
            assert all({"cpu", "memory"} <= worker.values.keys() for worker in event.workers)
        cluster.stop(handle, 0)

    def test_launching_many_times_at_once_is_launching_once(self, site):
        plan = site.plan(SLOW, workers=2, resources={"vcpus": 0.5, "memory_mib": 128})
        with ThreadPoolExecutor(8) as pool:
            handles = list(pool.map(lambda _: site.connect().launch(plan), range(8)))
        cluster, handle = site.connect(), handles[0]
        assert set(handles) == {handle}
        until_it_prints(cluster, handle)
        before = until(cluster, handle, lambda state: state.phase is RunPhase.RUNNING)
        assert site.connect().launch(plan) == handle
        assert state_of(cluster, handle) == before
        cluster.stop(handle, 0)
        assert [e.kind for e in until_over(cluster, handle)].count("started") == 1

    def test_a_second_plan_for_the_same_run_changes_nothing(self, site, cluster):
        handle = cluster.launch(site.plan(QUICK, run_id="run-1"))
        assert cluster.launch(site.plan("print('other')", run_id="run-1")) == handle
        until_over(cluster, handle)
        assert cluster.launch(site.plan("print('other')", run_id="run-1")) == handle
        assert texts(cluster, handle) == ["first", "second"]

    def test_a_plan_that_can_never_fit_is_refused(self, site, cluster):
        with pytest.raises(CapacityError, match=f"{64 * site.share:g} vCPU"):
            cluster.launch(site.plan(QUICK, workers=32, resources={"vcpus": 2, "memory_mib": 64}))
        assert cluster.find(Selector()) == []

    @pytest.mark.req("COM-04")
    def test_a_watch_goes_on_from_any_cursor_without_gap_or_repetition(self, site, cluster):
        handle = cluster.launch(site.plan(QUICK))
        events = until_over(cluster, handle)
        for known in range(len(events)):
            assert until_over(site.connect(), handle, after=known) == events[known:]
        watch = cluster.watch(Selector(run_id=handle.run_id), {handle.run_id: len(events)}, idle_seconds=0.05)
        assert next(watch) is None
        watch.close()

    def test_one_watch_sees_all_runs_with_its_labels_also_later_ones(self, site, cluster):
        plans = [site.plan(QUICK, labels={"experiment": name}) for name in ("a", "b", "a")]
        first = cluster.launch(plans[0])
        until_over(cluster, first)
        watch = cluster.watch(Selector(labels={"experiment": "a"}), idle_seconds=SECONDS)
        seen = list(itertools.takewhile(lambda event: event.kind != "finished", watch))
        for plan in plans[1:]:
            cluster.launch(plan)
        seen += itertools.takewhile(lambda event: event.kind != "finished", watch)
        watch.close()
        assert {event.run_id for event in seen} == {plans[0].run_id, plans[2].run_id}
        until_over(cluster, RunHandle(cluster=first.cluster, run_id=plans[1].run_id))

    def test_output_is_neither_lost_nor_doubled_over_a_reconnect(self, site, cluster):
        program = "import time\nfor n in range(40): print(f'line {n} \N{EURO SIGN}', flush=True); time.sleep(0.01)\n"
        handle = cluster.launch(site.plan(program))
        expected, found, since = [f"line {n} \N{EURO SIGN}" for n in range(40)], [], 0
        while len(found) < 40:
            for line in itertools.islice(site.connect().logs(handle, 0, follow=True, since=since), 7):
                found.append(line.text)
                since = line.cursor
        assert found == expected
        until_over(cluster, handle)
        lines = list(cluster.logs(handle, 0, follow=False))
        assert [line.text for line in lines] == expected
        assert all(texts(cluster, handle, since=line.cursor) == expected[n + 1 :] for n, line in enumerate(lines))
        printed = "".join(f"{text}\n" for text in expected).encode()
        assert cluster.position_of(lines[-1].cursor) == (1, len(printed))
        data, cursor, _ = cluster.read_output(handle, 0, since=lines[9].cursor, at_most=1 << 20)
        assert data.decode().splitlines() == expected[10:]
        assert cursor == lines[-1].cursor
        assert cluster.read_output(handle, 0, since=cursor, at_most=100) == OutputRead(b"", cursor)

    def test_bulk_reading_gives_whole_lines_of_about_the_size_that_is_asked_for(self, site, cluster):
        handle = cluster.launch(site.plan("for n in range(20_000): print(f'step={n} loss={n / 7}')"))
        until_over(cluster, handle)
        pieces, since = [], 0
        while piece := (answer := cluster.read_output(handle, 0, since=since, at_most=10_000))[0]:
            assert piece.endswith(b"\n")
            assert len(piece) <= 10_000
            pieces.append(piece)
            since = answer[1]
        assert b"".join(pieces).decode().splitlines() == [f"step={n} loss={n / 7}" for n in range(20_000)]

    def test_workers_have_their_own_output(self, site, cluster):
        program = "import os\nprint('rank', os.environ['RANK'])"
        handle = cluster.launch(site.plan(program, workers=2, resources={"vcpus": 1, "memory_mib": 64}))
        assert [texts(cluster, handle, rank, follow=True) for rank in (0, 1)] == [["rank 0"], ["rank 1"]]
        until_over(cluster, handle)

    def test_a_run_that_is_not_there_has_no_output(self, cluster):
        with pytest.raises(NotFoundError):
            texts(cluster, RunHandle(cluster="local", run_id="absent"))
        with pytest.raises(NotFoundError):
            cluster.read_output(RunHandle(cluster="local", run_id="absent"), 0, since=0, at_most=10)

    @pytest.mark.req("TRN-13")
    def test_stop_ends_a_running_run_and_another_stop_finds_nothing_to_do(self, site, cluster):
        handle = cluster.launch(site.plan(SLOW))
        until_it_prints(cluster, handle)
        assert not state_of(cluster, handle).is_stopping
        report = site.connect().stop(handle, 5)
        assert report.terminated > 0
        assert (report.killed, report.remaining) == (0, 0)
        state = state_of(cluster, handle)
        assert (state.phase, state.processes, state.is_stopping) == (RunPhase.FINISHED, 0, True)
        assert until_over(cluster, handle)[-1].cause is ExitCause.STOPPED
        assert cluster.stop(handle, 5).model_dump() == {"terminated": 0, "killed": 0, "remaining": 0}
        assert len(until_over(cluster, handle)) == len(until_over(site.connect(), handle))

    @pytest.mark.req("TRN-13")
    def test_stop_ends_those_who_ignore_it_and_those_who_hide(self, site, cluster):
        handle = cluster.launch(site.plan(STUBBORN))
        until_it_prints(cluster, handle)
        began = time.monotonic()
        report = cluster.stop(handle, 0.5)
        assert report.killed > 0
        assert report.remaining == 0
        assert time.monotonic() - began < 15
        assert until_over(cluster, handle)[-1].cause is ExitCause.STOPPED

    @pytest.mark.req("TRN-13")
    def test_stop_takes_a_run_out_of_the_queue(self, site, cluster):
        running = cluster.launch(site.plan(SLOW, resources={"vcpus": 2, "memory_mib": 64}))
        until_it_prints(cluster, running)
        waiting = cluster.launch(site.plan(SLOW))
        state = until(cluster, waiting, lambda state: bool(state.detail))
        assert state.phase is RunPhase.QUEUED
        room = f"{2 * site.share:g}"
        assert state.detail.startswith(f"waiting for {site.share:g} vCPU: {room} of {room} are used")
        assert cluster.stop(waiting, 5).remaining == 0
        events = until_over(cluster, waiting)
        assert events[-1].cause is ExitCause.STOPPED
        # What it waits for may change, and is told again; or the stop comes before anybody has told it.
        assert {event.kind for event in events[:-1]} <= {"queued"}, events
        cluster.stop(running, 0)

    def test_stop_of_what_was_never_launched_or_is_over_ends_nothing(self, site, cluster):
        nothing = {"terminated": 0, "killed": 0, "remaining": 0}
        assert cluster.stop(RunHandle(cluster="local", run_id="absent"), 5).model_dump() == nothing
        handle = cluster.launch(site.plan(QUICK))
        events = until_over(cluster, handle)
        assert cluster.stop(handle, 5).model_dump() == nothing
        assert until_over(cluster, handle) == events

    @pytest.mark.req("COM-04", "TRN-08")
    def test_a_run_that_lost_what_ran_it_is_lost_and_goes_on_when_launched_again(self, site, cluster):
        plan = site.plan(SLOW)
        handle = cluster.launch(plan)
        until_it_prints(cluster, handle)
        site.kill_what_runs(handle)
        until(cluster, handle, lambda state: state.phase is RunPhase.LOST)
        before = until_attempt(cluster, handle, 1)
        site.connect().launch(plan)
        until(cluster, handle, lambda state: state.attempt == 2 and state.phase is RunPhase.RUNNING)
        cluster.stop(handle, 0)
        events = until_over(cluster, handle)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        starts = [event for event in events if event.kind == "started"]
        assert [start.attempt for start in starts] == [1, 2]
        assert starts[0].deadline == starts[1].deadline == before.deadline

    def test_stop_of_a_lost_run_ends_what_is_left_and_tells_those_who_follow(self, site, cluster):
        handle = cluster.launch(site.plan(STUBBORN, labels={"registry": "reg-1"}))
        until_it_prints(cluster, handle)
        site.kill_what_runs(handle)
        until(cluster, handle, lambda state: state.phase is RunPhase.LOST)
        [lost] = cluster.traces()
        assert (lost.run_id, lost.phase, lost.processes > 0) == (handle.run_id, RunPhase.LOST, True)
        assert lost.labels == {"registry": "reg-1"}
        assert cluster.stop(handle, 0.2).remaining == 0
        assert until_over(cluster, handle)[-1].cause is ExitCause.STOPPED
        state = state_of(cluster, handle)
        assert (state.phase, state.processes) == (RunPhase.FINISHED, 0)
        [ended] = cluster.traces()
        assert (ended.phase, ended.processes) == (RunPhase.FINISHED, 0)
        assert abs(ended.changed - datetime.now(UTC)) < timedelta(minutes=1)
        cluster.remove(handle)
        assert cluster.traces() == []

    def test_remove_leaves_nothing_and_twice_is_fine(self, site, cluster):
        plan = site.plan(QUICK)
        handle = cluster.launch(plan)
        until_over(cluster, handle)
        for _ in range(2):
            site.connect().remove(handle)
            assert cluster.find(Selector()) == []
        with pytest.raises(NotFoundError):
            texts(cluster, handle)
        assert until_over(cluster, cluster.launch(plan))[-1].cause is ExitCause.OK

    def test_remove_refuses_a_run_that_is_not_over(self, site, cluster):
        handle = cluster.launch(site.plan(SLOW))
        until_it_prints(cluster, handle)
        with pytest.raises(InUseError, match="Stop it first"):
            cluster.remove(handle)
        site.kill_what_runs(handle)
        until(cluster, handle, lambda state: state.phase is RunPhase.LOST)
        with pytest.raises(InUseError, match="Stop it first"):
            cluster.remove(handle)
        cluster.stop(handle, 0)
        cluster.remove(handle)

    def test_find_tells_what_the_cluster_knows_oldest_first(self, site, cluster):
        labels = [{"kind": "training", "name": name} for name in ("x", "y", "x")]
        plans = [
            site.plan(SLOW, labels=label, created=BEGINNING + timedelta(days=day))
            for label, day in zip(labels, (3, 2, 1), strict=True)
        ]
        handles = [cluster.launch(plan) for plan in plans]
        fresh = site.connect()
        assert [state.handle for state in fresh.find(Selector())] == handles[::-1]
        assert [state.handle for state in fresh.find(Selector(labels={"name": "x"}))] == [handles[2], handles[0]]
        assert [state.labels for state in fresh.find(Selector(run_id=handles[1].run_id))] == [labels[1]]
        assert fresh.find(Selector(run_id=handles[1].run_id, labels={"name": "x"})) == []
        for handle in handles:
            fresh.stop(handle, 0)

    @pytest.mark.req("TRN-05")
    def test_there_are_never_more_runs_than_there_is_room_for(self, site, cluster):
        times, _ = run_behind_another(site, cluster)
        assert max(sum(a <= began < b for a, b in times.values()) for began, _ in times.values()) <= 2


def run_behind_another(site: ClusterSite, cluster: Cluster) -> tuple[dict[int, list[float]], dict[int, datetime]]:
    """Runs that were created in the order of their numbers, and wait until another one is stopped.

    Returns:
        By number: when it began and when it ended, and when it was placed.
    """
    program = "import time\nprint(time.time(), flush=True)\ntime.sleep(0.1)\nprint(time.time())"
    blocker = cluster.launch(site.plan(SLOW, resources={"vcpus": 2, "memory_mib": 64}))
    until_it_prints(cluster, blocker)
    order = [3, 0, 4, 1, 2]
    plans = {n: site.plan(program, created=BEGINNING + timedelta(minutes=n)) for n in order}
    handles = {n: cluster.launch(plans[n]) for n in order}
    for handle in handles.values():
        until(cluster, handle, lambda state: bool(state.detail))
    cluster.stop(blocker, 0)
    times = {}
    for n, handle in sorted(handles.items()):
        assert until_over(cluster, handle)[-1].cause is ExitCause.OK
        times[n] = [float(text) for text in texts(cluster, handle)]
    placed = {n: next(e.at for e in until_over(cluster, h) if e.kind == "placed") for n, h in handles.items()}
    return times, placed


def until_attempt(cluster: Cluster, handle: RunHandle, attempt: int) -> RunEvent:
    """The event that told that this attempt started."""
    events = cluster.watch(Selector(run_id=handle.run_id), idle_seconds=SECONDS)
    return next(e for e in events if e is not None and e.kind == "started" and e.attempt == attempt)

"""What becomes of a run, look after look: each looks at the objects as they are by then, and tells what is new."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.cluster.kubernetes.names import Object, job_name
from blocks.cluster.kubernetes.progress import Needs, advance, phase_of, without_job
from blocks.cluster.kubernetes.record import RunRecord
from blocks.cluster.kubernetes.view import Seen
from blocks.domain.plan import ExitCause, RestartPolicy, RunPhase
from tests.unit.kubernetes.recordings import recorded

BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)
RUN = "run"
LIMIT = 600.0
LOG = "obs://s/b/log"


def moment(second: float) -> str:
    return (BEGINNING + timedelta(seconds=second)).isoformat()


class Worker:
    """A pod of the run, and what has become of it."""

    def __init__(self, rank: int = 0, attempt: int = 1, node: str = "node1") -> None:
        self.name = f"{job_name(RUN, attempt)}-{rank}-abcde"
        self._metadata: dict[str, Any] = {
            "name": self.name,
            "creationTimestamp": moment(attempt),
            "labels": {"makerflow.io/attempt": str(attempt)},
            "annotations": {"batch.kubernetes.io/job-completion-index": str(rank)},
            "ownerReferences": [{"kind": "Job", "name": job_name(RUN, attempt)}],
        }
        self._rank, self._attempt, self._node = rank, attempt, node
        self._states: dict[str, Any] = {}
        self._status: dict[str, Any] = {"phase": "Pending", "conditions": []}

    def placed(self) -> "Worker":
        self._status["conditions"].append(
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": moment(self._attempt)}
        )
        return self

    def staging(self) -> "Worker":
        self._states["stage"] = {"running": {"startedAt": moment(2)}}
        return self

    def staged(self) -> "Worker":
        self._states["stage"] = {"terminated": {"exitCode": 0, "finishedAt": moment(3), "message": '{"cause": "ok"}'}}
        return self

    def runs(self, since: float = 5) -> "Worker":
        self.staged()._states["worker"] = {"running": {"startedAt": moment(since)}}
        self._status["phase"] = "Running"
        return self

    def ended(self, cause: str, at: float = 20, *, code: int = 1, uploads: bool = True, message: str = "") -> "Worker":
        """Its supervisor left a record; with `uploads` its sidecar has ended, too."""
        self.runs()
        record = {
            "attempt": self._attempt, "rank": self._rank, "began": moment(5), "ended": moment(at), "code": code,
            "signal": None, "cause": cause, "message": message or f"It ended: {cause}.", "tail": "",
        }  # fmt: skip
        code = 0 if cause == "ok" else code
        self._states["worker"] = {
            "terminated": {
                "exitCode": code, "startedAt": moment(5), "finishedAt": moment(at), "message": json.dumps(record)
            }
        }  # fmt: skip
        if uploads:
            self._states["sync"] = {"terminated": {"exitCode": 0, "message": json.dumps({"cause": cause})}}
            self._status["phase"] = "Succeeded" if cause == "ok" else "Failed"
        return self

    def killed(self) -> "Worker":
        """Its supervisor with it."""
        self.runs()._states["worker"] = {
            "terminated": {"exitCode": 137, "startedAt": moment(5), "finishedAt": moment(9)}
        }
        self._status["phase"] = "Failed"
        return self

    def says(self, **said: Any) -> "Worker":
        """What its sidecar says."""
        self._states["sync"] = {"terminated": {"exitCode": 0, "message": json.dumps(said)}}
        return self

    def deleted(self, reason: str = "") -> "Worker":
        self._metadata["deletionTimestamp"] = moment(100)
        if reason:
            self._status["conditions"].append({"type": "DisruptionTarget", "status": "True", "reason": reason})
        return self

    def orphaned(self) -> "Worker":
        """Its Job was deleted with `--cascade=orphan`."""
        del self._metadata["ownerReferences"]
        return self

    def pod(self) -> Object:
        return {
            "metadata": self._metadata,
            "spec": {"nodeName": self._node},
            "status": {
                **self._status,
                "initContainerStatuses": [
                    {"name": name, "state": self._states.get(name, {})} for name in ("stage", "sync")
                ],
                "containerStatuses": [{"name": "worker", "state": self._states.get("worker", {})}],
            },
        }


def job(attempt: int = 1, workers: int = 1, *, failed: str = "", because: str = "", complete: bool = False) -> Object:
    """The Job of an attempt; `failed` is Kubernetes' reason, `because` the pod that it names."""
    message = f"Container worker for pod space/{because} failed with exit code 1 matching FailJob rule at index 1"
    reasons = {"Failed": failed, "Complete": "CompletionsReached" if complete else ""}
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": message if because else "It did."}
        for kind, reason in reasons.items()
        if reason
    ]
    return {
        "metadata": {
            "name": job_name(RUN, attempt),
            "creationTimestamp": moment(attempt),
            "labels": {"makerflow.io/attempt": str(attempt)},
        },
        "spec": {"completions": workers, "suspend": False, "activeDeadlineSeconds": None},  # as the view keeps it
        "status": {"conditions": conditions},
    }


class Story:
    """A run and its record."""

    def __init__(self, workers: int = 1, **changes: Any) -> None:
        self.record = RunRecord(
            run_id=RUN, created=BEGINNING, labels={}, workers=workers, vcpus=1, time_limit_seconds=LIMIT,
            restarts=RestartPolicy(), **changes,
        )  # fmt: skip
        self.needs = Needs()

    def look(
        self,
        job: Object | None,
        *workers: Worker,
        departed: tuple[Worker, ...] = (),
        at: float = 30,
        gone: bool = False,
    ) -> list[str]:
        """What is told, and that looking again tells nothing more."""
        seen = Seen(
            jobs=(job,) if job else (),
            pods=tuple(worker.pod() for worker in workers),
            services=({"metadata": {"name": RUN}},),
            departed=tuple(worker.pod() for worker in departed),
        )
        return self.look_at(seen, at=at, gone=gone)

    def look_at(self, seen: Seen, at: float = 30, *, gone: bool = False) -> list[str]:
        told, now = len(self.record.events), BEGINNING + timedelta(seconds=at)
        self.record, self.needs = advance(self.record, seen, job_is_gone=gone, now=now)
        new = [event.kind for event in self.record.events[told:]]
        if self.record.attempt == (seen.jobs and int(seen.jobs[0]["metadata"]["labels"]["makerflow.io/attempt"])):
            again, _ = advance(self.record, seen, job_is_gone=gone, now=now)
            assert again == self.record
        return new

    @property
    def end(self) -> tuple[ExitCause, str]:
        last = self.record.events[-1]
        assert last.kind == "finished"
        return last.cause, last.message

    @property
    def exits(self) -> dict[int, str]:
        return {rank: str(exit.cause) for rank, exit in self.record.exits(self.record.attempt).items()}


@pytest.mark.req("COM-04")
def test_a_service_that_somebody_deletes_is_made_again_while_workers_may_need_it():
    pods = tuple(Worker(rank).staging().pod() for rank in (0, 1))
    for story, is_made in ((Story(workers=2), True), (Story(workers=2, stop=10.0), False)):
        story.look_at(Seen(jobs=(job(workers=2),), pods=pods))
        assert story.needs.service is is_made
    alone = Story()
    alone.look_at(Seen(jobs=(job(),), pods=pods[:1]))
    assert not alone.needs.service


def test_a_run_is_told_from_its_place_to_its_end_and_nothing_twice():
    story = Story()
    assert story.look(None) == []
    assert story.record.seen == 0
    assert story.look(job()) == []
    assert story.record.seen == 1
    assert story.look(job(), Worker()) == ["placed"]
    assert story.look(job(), Worker().staging()) == []
    assert story.look(job(), Worker().staged()) == ["staging"]
    assert story.look(job(), Worker().runs()) == ["started"]
    assert story.needs.deadline
    assert story.record.deadline == BEGINNING.timestamp() + 5 + LIMIT
    assert story.look(job(), Worker().runs()) == []
    assert story.needs.deadline  # until it is heard of
    limited = job() | {"spec": {"completions": 1, "activeDeadlineSeconds": 620}}
    assert story.look(limited, Worker().ended("ok", uploads=False)) == ["exited"]
    assert story.needs == Needs()
    assert story.look(job(complete=True), Worker().ended("ok")) == ["finished"]
    assert story.end == ("ok", "")
    assert [event.sequence for event in story.record.events] == [1, 2, 3, 4, 5]


def test_who_comes_late_is_told_the_same():
    story = Story()
    assert story.look(job(complete=True), Worker().ended("ok")) == [
        "placed",
        "staging",
        "started",
        "exited",
        "finished",
    ]


@pytest.mark.parametrize("name", ["unschedulable_cpu", "quota_cpu", "suspended"])
def test_what_waits_says_for_what_and_once(name):
    story, seen = Story(), recorded(name)
    assert story.look_at(seen) == ["queued"]
    assert story.needs == Needs()
    phase, detail = phase_of(story.record, seen)
    assert (phase, detail) == (RunPhase.QUEUED, story.record.events[-1].reason)
    assert detail.startswith("waiting for")
    assert story.look_at(seen, at=1e6) == []


@pytest.mark.parametrize(
    ("name", "cause", "patience"),
    [
        ("image_backs_off", "environment_failed", 120),
        ("image_name_is_invalid", "environment_failed", 30),
        ("limit_range", "launcher_error", 30),
        ("claim_not_found", "input_missing", 120),
    ],
)
def test_what_waits_in_vain_ends_after_some_patience(name, cause, patience):
    story, seen = Story(), recorded(name)
    objects = (*seen.jobs, *seen.pods)
    made = max(datetime.fromisoformat(each["metadata"]["creationTimestamp"]) for each in objects)
    second = (made - BEGINNING).total_seconds()
    told = story.look_at(seen, at=second + patience - 25)
    assert "queued" in told
    assert story.record.told("queued")[-1].reason == phase_of(story.record, seen)[1]
    assert story.needs.look_again_seconds == 5.0
    assert story.look_at(seen, at=second + patience + 60)[-1] == "finished"
    assert story.end[0] == cause
    assert story.needs.end_job == 1


def test_what_is_asked_to_stop_does_not_end_for_another_reason():
    story = Story(stop=5.0)
    assert "finished" not in story.look_at(recorded("image_backs_off"), at=1e9)


def test_one_that_waited_long_for_room_has_all_the_patience_for_its_image():
    story, seen = Story(), recorded("image_backs_off")
    began = datetime.fromisoformat(
        seen.pods[0]["status"]["initContainerStatuses"][0]["state"]["terminated"]["finishedAt"]
    )
    old = {**seen.pods[0], "metadata": {**seen.pods[0]["metadata"], "creationTimestamp": moment(-86400 * 3000)}}
    at = (began - BEGINNING).total_seconds() + 100
    assert "finished" not in story.look_at(Seen(jobs=seen.jobs, pods=(old,)), at=at)


def test_an_image_without_its_python_never_started():
    story = Story()
    assert story.look_at(recorded("python_missing")) == ["placed", "staging", "exited", "finished"]
    assert story.end[0] == "environment_failed"
    assert story.record.deadline is None


def test_when_one_worker_fails_the_others_are_ended_and_its_error_decides():
    story = Story(workers=2)
    story.look(job(workers=2), Worker(0).runs(), Worker(1).runs())
    assert story.look(job(workers=2), Worker(0).runs(), Worker(1).ended("user_error", uploads=False)) == ["exited"]
    assert story.needs.end_job == 1
    ends = (Worker(0).ended("stopped", at=25).deleted(), Worker(1).ended("user_error").deleted())
    assert story.look(None, *ends, gone=True) == ["exited", "finished"]
    assert story.exits == {0: "stopped", 1: "user_error"}
    assert story.end == ("user_error", "Worker 1: It ended: user_error.")


def test_that_it_ends_what_is_left_is_no_loss():
    story = Story(workers=2)
    story.look(job(workers=2), Worker(0).runs(), Worker(1).ended("user_error", uploads=False))
    left = Worker(0).runs().deleted()
    assert story.look(None, left, Worker(1).ended("user_error"), gone=True) == []
    assert phase_of(story.record, Seen(pods=(left.pod(),)))[0] is RunPhase.RUNNING


def test_a_worker_that_has_ended_alone_is_left_to_upload():
    story = Story()
    story.look(job(), Worker().ended("user_error", uploads=False))
    assert story.needs.end_job == 0


@pytest.mark.parametrize("named", [True, False])
def test_seen_at_once_the_worker_that_failed_explains_the_one_that_was_ended(named):
    """Also where the watch of the pods is ahead of that of the Jobs."""
    story = Story(workers=2)
    failed = Worker(1).ended("user_error")
    seen = job(workers=2, failed="PodFailurePolicy", because=failed.name) if named else job(workers=2)
    story.look(seen, Worker(0).ended("stopped", at=25).deleted(), failed)
    assert story.exits == {0: "stopped", 1: "user_error"}
    assert story.end[0] == "user_error"


def test_one_that_is_evicted_has_all_of_them_start_again():
    story = Story(workers=2)
    story.look(job(workers=2), Worker(0).runs(), Worker(1).runs())
    evicted = Worker(1).ended("stopped", code=143).deleted("EvictionByEvictionAPI")
    failed = job(workers=2, failed="PodFailurePolicy", because=evicted.name)
    assert story.look(failed, Worker(0).runs().deleted(), evicted) == ["exited"]
    assert story.exits == {1: "lost"}
    told = story.look(failed, Worker(0).ended("stopped", at=25).deleted(), evicted)
    assert told == ["exited", "restarted"]
    assert story.needs == Needs(job=2)
    assert (story.record.attempt, story.record.restarts_used, story.record.out_of_memory_used) == (2, 1, 0)
    assert story.record.events[-1].cause == f"Worker 1: Its pod {evicted.name} was evicted from its node."


def test_the_next_attempt_is_placed_and_started_anew_with_the_same_deadline():
    story = Story(workers=1)
    evicted = Worker().ended("stopped").deleted("EvictionByEvictionAPI")
    story.look(job(failed="PodFailurePolicy", because=evicted.name), evicted)
    deadline = story.record.deadline
    assert story.look(None) == []
    assert story.look(job(2), Worker(attempt=2).runs(200)) == ["placed", "started"]
    assert story.record.deadline == deadline
    assert story.needs.deadline
    assert [e.attempt for e in story.record.told("started")] == [1, 2]


def test_whoever_looks_late_finds_an_eviction_no_stop():
    story = Story()
    evicted = Worker().ended("stopped").deleted("EvictionByEvictionAPI")
    told = story.look(job(failed="PodFailurePolicy", because=evicted.name), evicted)
    assert told[-2:] == ["exited", "restarted"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"kueue.x-k8s.io/queue-name": "research"}, "It was preempted: Kueue gave its place in the queue research to"),
        ({}, "Somebody suspended its Job mf-run-1."),
    ],
)
def test_what_was_preempted_says_so(labels, said):
    story, suspended = Story(), job()
    suspended["spec"]["suspend"] = True
    suspended["metadata"]["labels"] |= labels
    assert story.look(suspended, Worker().ended("stopped", code=143).deleted())[-2:] == ["exited", "restarted"]
    assert story.record.exits(1)[0].message.startswith(said)


def test_a_pod_that_somebody_deleted_is_lost_though_its_job_has_failed():
    story = Story(workers=2)
    gone = Worker(0).ended("stopped", code=143).deleted()
    failed = job(workers=2, failed="PodFailurePolicy", because=gone.name)
    story.look(failed, gone, Worker(1).ended("stopped", at=25, code=143).deleted())
    assert story.record.told("restarted")
    assert [exit.cause for exit in story.record.exits(1).values()] == ["lost", "stopped"]


def test_the_budget_of_restarts_is_spent():
    story = Story(restarts_used=3)
    evicted = Worker().ended("stopped").deleted("EvictionByEvictionAPI")
    story.look(job(failed="PodFailurePolicy", because=evicted.name), evicted)
    assert story.end[0] == "lost"
    assert story.end[1].endswith("It was restarted 3 times, which is all that is allowed.")


@pytest.mark.parametrize("workers", [1, 2])
def test_pods_that_somebody_deletes_with_too_little_grace_are_lost_not_stopped(workers):
    """Nobody has asked for a stop; the sidecar only tells that it found its worker killed."""
    story = Story(workers=workers)
    killed = [Worker(rank).killed().deleted().says(cause="lost", message="It was killed.") for rank in range(workers)]
    assert story.look(job(workers=workers), *killed)[-1] == "restarted"
    assert "Somebody deleted its pod" in story.record.events[-1].cause


@pytest.mark.parametrize(("suspended", "ended"), [(False, 0), (True, 1)])
def test_where_the_pods_are_ahead_of_their_job_what_they_printed_stays(suspended, ended):
    story, over = Story(), job()
    over["spec"]["suspend"] = suspended
    assert story.look(over, Worker().ended("out_of_memory", code=137))[-1] == "restarted"
    assert story.needs == Needs(job=2, end_job=ended)


def test_past_the_deadline_there_is_no_restart():
    story = Story(deadline=BEGINNING.timestamp() + 10)
    evicted = Worker().ended("stopped").deleted("EvictionByEvictionAPI")
    story.look(job(failed="PodFailurePolicy", because=evicted.name), evicted)
    assert story.end[0] == "time_limit"


@pytest.mark.parametrize("waiting", [(), (Worker(attempt=2, node=""),), (Worker(attempt=2).placed().staging(),)])
def test_what_waits_to_start_again_waits_until_the_deadline(waiting):
    story = Story(attempt=2, seen=2, deadline=BEGINNING.timestamp() + 100)
    story.look(job(2), *waiting, at=30)
    assert story.needs.look_again_seconds == 70
    assert story.look(job(2), *waiting, at=100) == ["finished"]
    assert story.end == ("time_limit", "The time limit was reached before all workers had started again.")
    assert story.needs == Needs(end_job=2)


def test_what_may_run_at_the_deadline_is_ended_by_its_supervisor():
    story = Story(workers=2, attempt=2, seen=2, deadline=BEGINNING.timestamp() + 100)
    pair = Worker(0, attempt=2).placed().runs(), Worker(1, attempt=2, node="")
    assert "finished" not in story.look(job(2, workers=2), *pair, at=101)


def test_out_of_memory_is_tried_again_once():
    story = Story()
    killed = Worker().ended("out_of_memory", code=137)
    assert story.look(job(failed="PodFailurePolicy", because=killed.name), killed)[-1] == "restarted"
    assert story.record.out_of_memory_used == 1
    killed = Worker(attempt=2).ended("out_of_memory", code=137)
    assert story.look(job(2, failed="PodFailurePolicy", because=killed.name), killed)[-1] == "finished"
    assert story.end[0] == "out_of_memory"


def test_a_node_that_is_lost_has_its_pod_forgotten_and_all_start_again():
    story, seen = Story(workers=2), recorded("node_lost")
    assert story.look_at(seen, at=-1e8)[-1] == "exited"
    assert story.needs.force == (seen.pods[1]["metadata"]["name"],)
    assert story.needs.end_job == 1
    assert story.exits == {1: "lost"}
    here = Worker(0).ended("stopped").deleted()
    assert story.look(None, here, gone=True, at=-1e8) == ["exited", "restarted"]
    assert story.needs.job == 2


def test_a_lost_node_explains_the_traceback_that_it_has_caused_before_it_was_missed():
    story, failed = Story(workers=2), Worker(0).ended("user_error")
    story.look(job(workers=2), Worker(0).runs(), Worker(1).runs())
    assert story.look(job(workers=2), failed, Worker(1).runs()) == ["exited"]
    assert story.needs.end_job == 1
    assert story.look(None, Worker(1).runs().deleted(), departed=(failed,), gone=True) == []
    away = Worker(1).runs().deleted("DeletionByTaintManager")
    assert story.look(None, away, departed=(failed,), gone=True) == ["exited", "restarted"]
    assert story.exits == {}
    assert [exit.cause for exit in story.record.exits(1).values()] == ["user_error", "lost"]
    assert (story.needs.job, story.needs.force) == (2, (away.name,))


def test_a_job_that_somebody_deleted_is_a_clear_end_once_its_pods_are_gone():
    story = Story()
    story.look(job(), Worker().runs())
    for left in (Worker().runs(), Worker().runs().deleted(), Worker().ended("stopped", uploads=False).deleted()):
        story.look(None, left, gone=True, at=1e6)
        assert story.needs == Needs()
        assert phase_of(story.record, Seen(pods=(left.pod(),)))[0] is RunPhase.RUNNING
    assert story.look(None, departed=(Worker().ended("stopped").deleted(),), gone=True) == ["finished"]
    assert story.end[0] == "lost"
    assert story.end[1].startswith("Somebody else deleted its Job, mf-run-1, from the cluster. Start it again")


def test_a_job_that_somebody_deleted_with_a_node_away_is_no_hang():
    story = Story()
    story.look(job(), Worker().runs())
    away = Worker().runs().deleted("DeletionByTaintManager")
    assert story.look(None, away, gone=True) == ["exited", "finished"]
    assert story.end[0] == "lost"


def test_pods_that_their_job_left_behind_are_left_to_whoever_launches_or_stops_it():
    story, left = Story(), Worker().runs().orphaned()
    story.look(job(), Worker().runs())
    assert story.look(None, left, gone=True, at=1e6) == []
    assert story.needs == Needs()
    assert phase_of(story.record, Seen(pods=(left.pod(),)))[0] is RunPhase.LOST


def test_launched_again_without_its_job_all_start_again_while_the_budget_lasts():
    story = Story(workers=2, seen=1)
    story.look(None, Worker(0).ended("ok").orphaned(), Worker(1).runs().orphaned(), gone=True)
    again = without_job(story.record, BEGINNING.timestamp())
    assert (again.attempt, again.restarts_used) == (2, 1)
    assert [exit.cause for exit in again.exits(1).values()] == ["ok", "lost"]
    spent = without_job(story.record.change(restarts_used=3), BEGINNING.timestamp())
    assert spent.is_over
    assert spent.outcome.cause is ExitCause.LOST


def test_pods_that_nobody_saw_go_are_lost():
    story = Story(workers=2, seen=1)
    assert story.look(None, gone=True) == ["exited", "exited", "finished"]
    assert story.end[0] == "lost"


def test_a_complete_job_whose_pods_were_removed_went_well():
    story = Story(workers=2, seen=1)
    assert story.look(job(workers=2, complete=True)) == ["exited", "exited", "finished"]
    assert story.end == ("ok", "")


@pytest.mark.parametrize(
    ("worker", "job_is_gone", "message"),
    [
        (None, True, "It was stopped before its workers were started."),
        (Worker().staging().deleted(), True, "It was stopped before its workers were started."),
        (Worker().ended("stopped"), False, "It was stopped."),
        (Worker().ended("stopped").deleted(), True, "It was stopped."),
    ],
)
def test_a_stop_is_a_stop_in_every_phase(worker, job_is_gone, message):
    story = Story(stop=5.0, seen=1)
    story.look(None if job_is_gone else job(), *([worker] if worker else []), gone=job_is_gone)
    assert story.end == ("stopped", message)


def test_a_stop_that_comes_after_the_end_changes_nothing():
    story = Story(stop=5.0)
    story.look(job(complete=True), Worker().ended("ok"))
    assert story.end[0] == "ok"


def test_kubernetes_own_deadline_is_the_time_limit():
    story = Story()
    assert story.look_at(recorded("job_deadline"))[-2:] == ["exited", "finished"]
    assert story.end == ("time_limit", "The time limit was reached.")


def test_a_deadline_that_came_before_the_start_is_the_time_limit():
    story = Story()
    assert story.look_at(recorded("job_deadline_before_start"))[-1] == "finished"
    assert story.end == ("time_limit", "The time limit was reached.")


def test_what_was_uploaded_is_told_before_the_end_and_a_refusal_decides():
    upload = {"output": "model", "path": "obs://s/b/m", "files": 1, "bytes": 2}
    story = Story(workers=2, logs=(LOG,))
    ended = Worker(0).ended("ok").says(cause="ok", uploads=[upload])
    denied = (
        Worker(1).ended("ok").says(cause="output_denied", message="The bucket b may not be written to.", uploads=[])
    )
    told = story.look(job(workers=2, complete=True), ended, denied)
    assert told[-2:] == ["uploaded", "finished"]
    assert [(e.output, e.files) for e in story.record.told("uploaded")] == [("model", 1)]
    assert story.end == ("output_denied", "The bucket b may not be written to.")


@pytest.mark.parametrize(
    ("worker", "told"),
    [
        (Worker().ended("ok").says(cause="output_denied", message="No.", uploads=[]), []),
        (Worker().ended("ok").says(cause="ok", uploads=[{"output": "log", "path": LOG, "files": 1, "bytes": 9}]), [1]),
        (Worker().ended("ok").deleted().says(cause="output_denied", message="No.", uploads=[]), [0]),
        (None, [0]),
    ],
    ids=["readable", "uploaded", "being deleted", "gone"],
)
def test_a_log_that_only_the_cluster_has_is_not_told_as_uploaded(worker, told):
    story = Story(logs=(LOG,))
    story.look(job(complete=True), *([worker] if worker else []))
    assert story.record.is_over
    assert [e.files for e in story.record.told("uploaded") if e.output == "log"] == told


def test_logs_are_told_as_uploaded_once_those_of_all_workers_are():
    upload = {"output": "log", "path": LOG, "files": 1, "bytes": 9}
    first = Worker(0).ended("ok").says(cause="ok", uploads=[upload])
    for second, told in (
        (Worker(1).ended("ok").says(cause="output_denied", message="No."), 0),
        (Worker(1).ended("ok").says(cause="ok", uploads=[upload]), 2),
    ):
        story = Story(workers=2, logs=(LOG,))
        story.look(job(workers=2, complete=True), first, second)
        assert story.record.is_over
        assert len(story.record.told("uploaded")) == told


@pytest.mark.parametrize(
    ("worker", "phase"),
    [
        (Worker(), RunPhase.QUEUED),
        (Worker().staging(), RunPhase.STAGING),
        (Worker().staged(), RunPhase.STAGING),
        (Worker().runs(), RunPhase.RUNNING),
    ],
)
def test_where_a_run_stands(worker, phase):
    assert phase_of(Story().record, Seen(jobs=(job(),), pods=(worker.pod(),)))[0] is phase


def test_places_that_are_held_in_vain_are_given_back_and_asked_for_again():
    story, pair = Story(workers=2), (Worker(0).placed().staging(), Worker(1, node=""))
    story.look(job(workers=2), *pair, at=100)
    assert 20 < story.needs.look_again_seconds < 141
    assert story.look(job(workers=2), *pair, at=250) == ["queued"]
    assert story.needs.end_job == 1
    assert "room for 1 of its 2 workers" in story.record.events[-1].reason
    ending = Seen(jobs=(), pods=(Worker(0).placed().deleted().pod(),))
    assert story.look_at(ending, at=260) == []
    assert story.needs == Needs(look_again_seconds=10)
    assert phase_of(story.record, ending) == (RunPhase.QUEUED, story.record.events[-1].reason)
    story.look(None, at=271)
    assert story.needs == Needs(job=2)
    second = Worker(0, attempt=2).placed().runs(), Worker(1, attempt=2).placed().runs()
    assert story.look(job(2, workers=2), *second, at=280) == ["placed", "staging", "started"]
    assert (story.record.restarts_used, story.record.exits(1)) == (0, {})


def test_places_that_whoever_gave_them_back_died_over_are_given_back_by_the_next():
    story = Story(workers=2, attempt=2, released=1, not_before=BEGINNING.timestamp() + 40)
    held = Seen(jobs=(job(workers=2),), pods=(Worker(0).placed().staging().pod(),))
    story.look_at(held, at=30)
    assert story.needs == Needs(end_job=1, look_again_seconds=10)
    story.look_at(held, at=41)
    assert story.needs == Needs(end_job=1, job=2)


def test_a_run_that_gave_back_its_places_once_is_no_resting_one_when_it_starts_again_later():
    story = Story(workers=1, attempt=2, released=1, not_before=BEGINNING.timestamp())
    story.look(job(2), Worker(attempt=2).runs())
    assert story.look(job(2), Worker(attempt=2).ended("lost")) == ["exited", "restarted"]
    assert phase_of(story.record, Seen())[0] is RunPhase.LOST


def test_each_time_they_are_held_for_longer_and_those_of_a_run_that_is_to_stop_or_runs_are_no_such_thing():
    pair = (Worker(0).placed().staging(), Worker(1, node=""))
    again = Story(workers=2, released=3)
    assert again.look(job(workers=2), *pair, at=900) == []
    assert again.look(job(workers=2), *pair, at=2000) == ["queued"]
    stopping = Story(workers=2, stop=5.0)
    assert stopping.look(job(workers=2), *pair, at=2000) == []
    running = Story(workers=2)
    assert "queued" not in running.look(job(workers=2), *(Worker(n).placed().runs() for n in (0, 1)), at=2000)
    ended = Worker(0).placed().ended("ok"), Worker(1).placed().runs()
    assert running.look(job(workers=2), *ended, at=2000) == ["exited"]
    assert running.needs.end_job == 0


def test_an_over_run_is_not_looked_at_any_more():
    story = Story()
    story.look(job(complete=True), Worker().ended("ok"))
    before = story.record
    assert story.look(None, gone=True) == []
    assert (story.record, story.needs) == (before, Needs())


@pytest.mark.parametrize("named", [True, False])
def test_that_one_could_not_upload_explains_the_others_that_had_to_go_meanwhile(named):
    """They had all ended well, and the others waited to upload a model of all."""
    waits = Worker(0).ended("ok").says(cause="stopped", message="It had to go before all workers had ended.")
    denied = Worker(1).ended("ok").says(cause="output_denied", message="Writing is not allowed.")
    story = Story(workers=2)
    story.look(job(workers=2), Worker(0).runs(), Worker(1).runs())
    seen = job(workers=2, failed="PodFailurePolicy", because=denied.name) if named else job(workers=2)
    story.look(seen, waits, denied)
    assert story.end == ("output_denied", "Writing is not allowed.")

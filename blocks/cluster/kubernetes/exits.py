"""From a pod's status to how its worker ended: a pure function of what the API server tells."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from blocks.cluster.kubernetes.conditions import condition_of
from blocks.cluster.kubernetes.manifests import INSTALL, STAGE, SYNC, WORKER
from blocks.cluster.kubernetes.names import Object, attempt_of, name_of, rank_of
from blocks.cluster.outcome import STOPPED
from blocks.domain.plan import ExitCause, ExitRecord

OVER = ("Succeeded", "Failed")
KILLED = (137, 143)
_TAIL_CHARACTERS = 2000
_EPOCH = "1970-01-01T00:00:00Z"
"""What Kubernetes says of the start of a container that could not be started."""

_OUT_OF_MEMORY = (
    "The memory of its flavor ran out, and the system killed the entry point. "
    "Choose a flavor with more memory, or let it use less at a time."
)
_UNDELIVERED = (
    "The platform's own container that uploads did not end well, so outputs may be missing at their place. "
    "Start it again as a copy."
)
_NODE_REMEDY = "Have it brought back, or deleted from the cluster: until then its processes may go on."
_MORE_STORAGE = "Raise the data-storage size (--storage-gb), or use less."


@dataclass(frozen=True)
class _End:
    """How a worker ended."""

    cause: ExitCause
    message: str
    tail: str = ""


_STARTING = ("", "PodInitializing", "ContainerCreating")


def exit_of(pod: Object, *, ended_with_others: bool = False, stopping: bool = False) -> ExitRecord | None:
    """How the worker of a pod ended; None while it has not.

    Args:
        pod: As it is, or was last.
        ended_with_others: Whether it was made to end because another one had failed.
        stopping: Whether somebody asked for the end of the run.
    """
    asked = stopping or (ended_with_others and not condition_of(pod, "DisruptionTarget"))
    if (end := _end_of(pod, asked)) is None:
        return _own_record(pod, asked)
    worker = _terminated(pod, WORKER)
    return ExitRecord(
        attempt=attempt_of(pod),
        rank=rank_of(pod),
        began=_moment(worker.get("startedAt")),
        ended=_moment(worker.get("finishedAt")) or datetime.now(UTC),
        cause=end.cause,
        message=end.message,
        tail=end.tail or _words(_document(worker.get("message")).get("tail")),
    )


def lost_record(attempt: int, rank: int, message: str, cause: ExitCause = ExitCause.LOST) -> ExitRecord:
    """The record of a worker of which nothing is known but that it is not there any more."""
    return ExitRecord(attempt=attempt, rank=rank, began=None, ended=datetime.now(UTC), cause=cause, message=message)


def is_over(pod: Object) -> bool:
    """Whether nothing of it runs any more."""
    return pod["status"].get("phase") in OVER


def is_lost(pod: Object) -> bool:
    """Whether its node does not answer, and Kubernetes has given it up: nobody can tell what runs there.

    Where only the kubelet or its way to the API server is gone, the containers live on until the node is back; a later
    attempt keeps them from uploading (`blocks.launcher.pod_fence`).
    """
    evicted = condition_of(pod, "DisruptionTarget").get("reason") == "DeletionByTaintManager"
    return evicted and not is_over(pod) and condition_of(pod, "Ready").get("status") != "True"


def has_started(pod: Object) -> bool:
    """Whether its worker's container has run, or runs."""
    state = _state(pod, WORKER)
    return "running" in state or (state.get("terminated", {}).get("startedAt") or _EPOCH) != _EPOCH


def may_run(pod: Object) -> bool:
    """Whether its entry point runs, has run, or may have been started by now: a status is a second old."""
    installing = {"running", "waiting"} & _state(pod, INSTALL).keys()
    waiting = _state(pod, WORKER).get("waiting", {}).get("reason", "")
    return has_started(pod) or (is_staged(pod) and not installing and waiting in _STARTING)


def is_heard(pod: Object) -> bool:
    """Whether its sidecar tells something."""
    state = _state(pod, SYNC)
    return "running" in state or "terminated" in state


def started_at(pod: Object) -> datetime:
    """When its worker's container started."""
    state = _state(pod, WORKER)
    began = state.get("running", {}).get("startedAt") or state.get("terminated", {}).get("startedAt")
    return _moment(began) or datetime.now(UTC)


def is_staged(pod: Object) -> bool:
    """Whether its inputs are there."""
    return _terminated(pod, STAGE).get("exitCode") == 0


def staged_bytes(pod: Object) -> dict[str, Any]:
    """What the container that brings the inputs said it had brought."""
    found: dict[str, Any] = _document(_terminated(pod, STAGE).get("message")).get("bytes") or {}
    return found


def is_staging(pod: Object) -> bool:
    """Whether one of its init containers runs, or has."""
    return any("running" in s or "terminated" in s for s in (_state(pod, STAGE), _state(pod, INSTALL)))


def delivery_of(pod: Object) -> dict[str, Any]:
    """What its sidecar said when it had uploaded what there was: `cause`, `message`, `uploads`.

    One that said nothing is doubted where the worker's supervisor had waited for it in vain, too.
    """
    said, worker = _document(_terminated(pod, SYNC).get("message")), _terminated(pod, WORKER)
    words = (said.get("cause", ExitCause.OK) in tuple(ExitCause), isinstance(said.get("message", ""), str))
    if not all(words):  # it read them where the entry point can write, too
        said = {**said, "cause": ExitCause.LAUNCHER_ERROR, "message": _UNDELIVERED}
    own = _own_words(pod)
    if said or not worker.get("exitCode") or own is None or own.cause is not ExitCause.OK:
        return said
    return {"cause": ExitCause.LAUNCHER_ERROR, "message": _UNDELIVERED}


def _end_of(pod: Object, asked: bool) -> _End | None:
    """The first rule that knows decides; none when the worker's own record does, or when it goes on."""
    return next((end for rule in _RULES if (end := rule(pod, asked))), None)


def _of_node(pod: Object, asked: bool) -> _End | None:
    """Of a node that is away, or is no more."""
    node = pod["spec"].get("nodeName")
    if is_lost(pod):
        return _End(ExitCause.LOST, f"Its node {node} does not answer any more. {_NODE_REMEDY}")
    if condition_of(pod, "DisruptionTarget").get("reason") == "DeletionByPodGC" and not _terminated(pod, WORKER):
        return _End(ExitCause.LOST, f"Its node {node} is no longer part of the cluster.")
    return None


def _of_eviction(pod: Object, asked: bool) -> _End | None:
    """Of what the node itself ended because it, or the pod, used too much."""
    status = pod["status"]
    if status.get("reason") != "Evicted":
        return None
    said = status.get("message", "").strip().rstrip(".")
    own = "exceeds the" in said and ("ephemeral" in said or "EmptyDir" in said)
    if own and "memory" not in said:
        return _End(ExitCause.DISK_FULL, f"Its files took more room than it has: {said}. {_MORE_STORAGE}")
    return _End(ExitCause.LOST, f"Its node evicted it: {said}.")


def _of_deadline(pod: Object, asked: bool) -> _End | None:
    if pod["status"].get("reason") == "DeadlineExceeded":
        return _End(ExitCause.TIME_LIMIT, "The time limit was reached.")
    return None


def _of_staging(pod: Object, asked: bool) -> _End | None:
    stage = _terminated(pod, STAGE)
    if not stage.get("exitCode"):
        return None
    if document := _document(stage.get("message")):
        return _End(_cause(document.get("cause")), _words(document.get("message")))
    if stage.get("reason") == "OOMKilled":
        return _End(ExitCause.LAUNCHER_ERROR, "The platform's own container ran out of memory bringing the inputs.")
    if stage["exitCode"] in KILLED:
        return _killed(pod, asked, "while its inputs were brought")
    said = _unstarted(stage) or f"it ended with code {stage['exitCode']}"
    message = f"The platform's own container cannot run: {said}. Check MAKERFLOW_IMAGE."
    return _End(ExitCause.LAUNCHER_ERROR, message)


def _of_installation(pod: Object, asked: bool) -> _End | None:
    install = _terminated(pod, INSTALL)
    if not install.get("exitCode"):
        return None
    if install.get("reason") == "OOMKilled":
        return _End(ExitCause.OUT_OF_MEMORY, _OUT_OF_MEMORY.replace("the entry point", "the installer", 1))
    if said := _unstarted(install):
        return _no_python(said)
    if install["exitCode"] in KILLED:
        return _killed(pod, asked, "while its requirements.txt was installed")
    words = (install.get("message") or "").strip()
    errors = [line.strip() for line in words.splitlines() if line.startswith("ERROR:")]
    said = (errors or words.splitlines() or [f"code {install['exitCode']}"])[-1].removeprefix("ERROR:").strip()
    remedy = "Choose an image with pip." if "No module named pip" in said else "Correct it, or the package index."
    message = f"requirements.txt could not be installed: {said[:500].rstrip('.')}. {remedy}"
    return _End(ExitCause.ENVIRONMENT_FAILED, message, words[-_TAIL_CHARACTERS:])


def _of_silence(pod: Object, asked: bool) -> _End | None:
    """Of a worker's container that was killed with its supervisor, or could not start it."""
    worker = _terminated(pod, WORKER)
    if not worker or _own_words(pod):
        return None
    if worker.get("reason") == "OOMKilled":
        return _End(ExitCause.OUT_OF_MEMORY, _OUT_OF_MEMORY)
    if said := _unstarted(worker):
        return _no_python(said)
    if worker.get("exitCode") in KILLED:
        return _killed(pod, asked, "")
    if not worker.get("message") and not delivery_of(pod):
        return _by_code(worker.get("exitCode", 1)) if is_over(pod) else None  # its sidecar may still have its say
    said = (worker.get("message") or "").strip()[-500:] or f"it ended with code {worker.get('exitCode')}"
    return _End(ExitCause.ENVIRONMENT_FAILED, f"The image's Python could not supervise the entry point: {said}.")


def _by_code(code: int) -> _End:
    """Of a pod of which nobody has said anything, as of one on a simulated node: Kubernetes alone has a word."""
    if code == 0:
        return _End(ExitCause.OK, "")
    return _End(ExitCause.USER_ERROR, f"The entry point exited with code {code}.")


def _of_the_unstarted(pod: Object, asked: bool) -> _End | None:
    if not is_over(pod) or _terminated(pod, WORKER):
        return None
    return _killed(pod, asked, "before the entry point was started")


_RULES: tuple[Callable[[Object, bool], _End | None], ...] = (
    _of_node,
    _of_eviction,
    _of_deadline,
    _of_staging,
    _of_installation,
    _of_silence,
    _of_the_unstarted,
)


def _unstarted(container: Object) -> str:
    """Why a container could not be started; empty when it was."""
    if container.get("reason") not in ("StartError", "ContainerCannotRun") and container.get("exitCode") not in (
        126,
        127,
        128,
    ):
        return ""
    said = (container.get("message") or "").strip().rstrip(".") or f"code {container.get('exitCode')}"
    return said.split("unable to start container process: ")[-1].removesuffix(": unknown")[:400]


def _no_python(said: str) -> _End:
    remedy = "Name the interpreter as container_python of the image's entry in the catalogue."
    return _End(ExitCause.ENVIRONMENT_FAILED, f"The image's Python could not be started: {said}. {remedy}")


def _killed(pod: Object, asked: bool, when: str) -> _End:
    """Of what somebody ended from outside: that is what stopping is, and a loss when nobody meant to."""
    if asked:
        return _End(ExitCause.STOPPED, STOPPED)
    return _End(ExitCause.LOST, " ".join(f"{_fate(pod)} {when}".split()) + ".")


def _fate(pod: Object) -> str:
    disruption = condition_of(pod, "DisruptionTarget")
    if disruption.get("reason") == "EvictionByEvictionAPI":
        return f"Its pod {name_of(pod)} was evicted from its node"
    if disruption:
        said = disruption.get("message") or disruption.get("reason", "")
        return f"Its pod {name_of(pod)} had to go ({said.rstrip('.')})"
    if "deletionTimestamp" in pod["metadata"]:
        return f"Somebody deleted its pod {name_of(pod)}"
    return f"Its pod {name_of(pod)} was killed from outside"


def _own_record(pod: Object, asked: bool) -> ExitRecord | None:
    """What its supervisor left; one that was made to end from outside was lost, unless that was asked for.

    Also one that had ended well, and had to go before its model could be uploaded, as others had not yet ended.
    """
    record = _own_words(pod)
    if record is None or asked or ExitCause.STOPPED not in (record.cause, delivery_of(pod).get("cause")):
        return record
    if record.cause not in (ExitCause.OK, ExitCause.STOPPED):
        return record
    return record.model_copy(update={"cause": ExitCause.LOST, "message": f"{_fate(pod)}."})


def _own_words(pod: Object) -> ExitRecord | None:
    """What its supervisor left; an entry point can write there, too: what is no record counts as nothing."""
    document = _document(_terminated(pod, WORKER).get("message"))
    try:
        record = ExitRecord.model_validate({**document, "attempt": attempt_of(pod), "rank": rank_of(pod)})
    except ValidationError:
        return None
    return record if record.ended.tzinfo else None


def _terminated(pod: Object, container: str) -> dict[str, Any]:
    found: dict[str, Any] = _state(pod, container).get("terminated") or {}
    return found


def _state(pod: Object, container: str) -> dict[str, Any]:
    status = pod["status"]
    for each in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if each["name"] == container:
            state: dict[str, Any] = each.get("state") or {}
            return state
    return {}


def _document(text: str | None) -> dict[str, Any]:
    try:
        document = json.loads(text or "")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _words(said: object) -> str:
    """What should be text, of a document that others can write, too."""
    return said if isinstance(said, str) else ""


def _cause(said: object) -> ExitCause:
    """What should be a cause; a platform's image of another version may know more of them."""
    return next((cause for cause in ExitCause if cause == said), ExitCause.LAUNCHER_ERROR)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text and text != _EPOCH else None

"""Why a run waits, and whether waiting can help: a pure function of its objects and of Kubernetes' complaints.

What Kubernetes complains of is looked up in the tables of `complaints`; what they do not know is quoted.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from blocks.cluster.kubernetes.complaints import (
    CRASHES,
    HAS_RUN_SECONDS,
    HELPLESS,
    HOPEFUL,
    KEY,
    MOUNTS,
    OUR_IMAGE,
    PATIENCE_SECONDS,
    PULL_SECONDS,
    PULLS,
    QUOTA,
    QUOTA_FULL,
    QUOTA_NEVER,
    REFUSED,
    TOO_LARGE,
    UNITS,
    UNMENDED,
    UNMOUNTED,
    UNPULLED,
    UNSCHEDULED,
    UNUSABLE,
    USERS_IMAGE,
    Row,
)
from blocks.cluster.kubernetes.conditions import condition_of, is_job_over
from blocks.cluster.kubernetes.manifests import STAGE, SYNC
from blocks.cluster.kubernetes.names import QUEUE, Object, name_of
from blocks.domain.plan import ExitCause
from blocks.domain.quantities import quantity


@dataclass(frozen=True)
class Trouble:
    """What a run waits for.

    Attributes:
        message: One sentence, and what to do.
        cause: How the run is to end when this lasts; None for what may well pass.
        patience_seconds: For how long it may last.
        since: When it began, as far as known.
    """

    message: str
    cause: ExitCause | None = None
    patience_seconds: float = 0.0
    since: datetime | None = None

    @property
    def told(self) -> str:
        """The message and, of what ends a run unless somebody mends it, until when that is waited for."""
        if self.cause is None or self.since is None or not self.patience_seconds:
            return self.message
        return f"{self.message} {UNMENDED.format(self.since + timedelta(seconds=self.patience_seconds))}"


def diagnose(
    job: Object | None, pods: Sequence[Object], warnings: Sequence[Object], vcpus: float, *, has_run: bool = False
) -> Trouble | None:
    """What is in the way of a run's pods; None when nothing is known to be.

    Args:
        job: Of the attempt.
        pods: Of the attempt.
        warnings: Events of type Warning about the run's objects.
        vcpus: What one worker asks for.
        has_run: Whether it goes on from what it has done: more time is left then to mend what would end it.
    """
    trouble = next(_troubles(job, pods, warnings, vcpus), None)
    if trouble and trouble.patience_seconds and has_run:
        return replace(trouble, patience_seconds=max(trouble.patience_seconds, HAS_RUN_SECONDS))
    return trouble


def _troubles(
    job: Object | None, pods: Sequence[Object], warnings: Sequence[Object], vcpus: float
) -> Iterator[Trouble]:
    """The one that counts most first."""
    waiting = [pod for pod in pods if not _is_ending(pod)]
    for pod in waiting:
        yield from _of_containers(pod)
        yield from _of_sidecar(pod)
    for pod in waiting:
        yield from _of_scheduling(pod, vcpus)
    newest = sorted(warnings, key=_last_seen, reverse=True)
    if job is not None and _wants_pods(job, pods):
        refusals = [w for w in newest if w.get("reason") == "FailedCreate" and _is_about(w, job)]
        yield from _from_the_first([_of_refusal(warning) for warning in refusals])
    if job is not None and job["spec"].get("suspend"):
        yield _of_suspension(job)
    unbegun = [pod for pod in waiting if not _has_begun(pod)]
    mounts = [w for w in newest if w.get("reason") in MOUNTS and any(_is_about(w, pod) for pod in unbegun)]
    troubles = sorted((_of_mount(warning) for warning in mounts), key=lambda trouble: trouble.cause is None)
    yield from _from_the_first(troubles)


def _of_containers(pod: Object) -> Iterator[Trouble]:
    for status in _containers(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason, said = waiting.get("reason", ""), waiting.get("message", "").rstrip(". ")
        remedy = OUR_IMAGE if status["name"] in (STAGE, SYNC) else USERS_IMAGE
        image, since = status.get("image", ""), _waits_since(pod)
        if reason in UNUSABLE:
            message = f"A container of the image {image} cannot be made: {_core(said)}. {remedy}."
            yield Trouble(message, ExitCause.ENVIRONMENT_FAILED, PATIENCE_SECONDS, since)
        if reason in UNPULLED:
            why = next(words for pattern, words in PULLS.items() if re.search(pattern, said, re.IGNORECASE))
            message = f"The image {image} cannot be pulled: {why} ({_core(said)}). {remedy}{KEY}."
            yield Trouble(message, ExitCause.ENVIRONMENT_FAILED, PULL_SECONDS, since)
        if reason == "CrashLoopBackOff":
            yield _of_crashes(status)


def _of_crashes(status: Object) -> Trouble:
    return Trouble(f"waiting for its container {status['name']}, which {_ended(status)} and is started again")


def _of_sidecar(pod: Object) -> Iterator[Trouble]:
    """Before the inputs are brought a sidecar only waits: one that ends again and again cannot run at all.

    The kubelet shows no CrashLoopBackOff of it: it starts the next container where it sees it run for a moment.
    """
    containers = {status["name"]: status for status in _containers(pod)}
    sidecar, stage = containers.get(SYNC, {}), containers.get(STAGE, {})
    if "terminated" not in (sidecar.get("state") or {}) or _runs_or_has(stage):
        return
    if sidecar["restartCount"] < CRASHES:
        yield _of_crashes(sidecar)
    else:
        message = f"The platform's own container cannot run: it {_ended(sidecar)}. {OUR_IMAGE}."
        yield Trouble(message, ExitCause.LAUNCHER_ERROR)


def _ended(status: Object) -> str:
    last = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
    if last.get("reason") == "OOMKilled":
        return "ran out of memory"
    return f"ended with code {last.get('exitCode')}"


def _core(said: str) -> str:
    """What is left of a chain of complaints without those that only repeat the image's name."""
    return re.split(r'(?:failed to resolve reference|parse image name|Back-off pulling image) "[^"]*": ', said)[-1][
        :400
    ]


def _of_scheduling(pod: Object, vcpus: float) -> Iterator[Trouble]:
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        said = scheduled.get("message", "")
        found = re.match(r"0/(\d+) nodes are available: (.*?)\.(?: |$)", said)
        reasons = found[2] if found else said
        never = HELPLESS in said and HOPEFUL not in said
        trouble = _looked_up((TOO_LARGE, *UNSCHEDULED) if never else UNSCHEDULED, reasons, vcpus=vcpus)
        several = f" Of {found[1]} nodes: {reasons}." if found and ", " in reasons else ""
        yield _since(trouble, scheduled.get("lastTransitionTime"), several)


def _from_the_first(troubles: Sequence[Trouble]) -> Iterator[Trouble]:
    """The last one, which counts from the first of its kind: each is about another pod."""
    for last in troubles[:1]:
        same = [trouble.since for trouble in troubles if trouble.message == last.message and trouble.since]
        yield replace(last, since=min(same, default=None))


def _of_refusal(warning: Object) -> Trouble:
    said = warning.get("message", "").rstrip(". ")
    moment = warning.get("firstTimestamp") or warning.get("eventTime")
    return _since(quota_trouble(said) or _looked_up(REFUSED, said), moment)


def quota_trouble(said: str) -> Trouble | None:
    """What a refusal by a quota means; None when it is none.

    Args:
        said: Kubernetes' words. Of the amounts that the quota does not allow one is told, first what it never allows.
    """
    found = re.search(QUOTA, said)
    if found is None:
        return None
    asked, used, whole = map(_amounts, found.groups()[1:])
    if None in map(quantity, asked.values()):
        return None  # others' words
    never = [what for what in asked if (quantity(asked[what]) or 0.0) > _or_infinite(quantity(whole.get(what, "")))]
    what = next(iter(never or asked))
    amount = f"{_amount(what, asked[what])}{_unit(what)}"
    have, most = (_amount(what, amounts.get(what, "?")) for amounts in (used, whole))
    if never:
        return Trouble(QUOTA_NEVER.format(found[1], most, amount), ExitCause.LAUNCHER_ERROR, PATIENCE_SECONDS)
    return Trouble(QUOTA_FULL.format(found[1], amount, have, most))


def _amounts(text: str) -> dict[str, str]:
    """Name to amount, as in `cpu=2,pods=3`."""
    parts = (each.partition("=") for each in text.rstrip(". ").split(","))
    return {name: amount for name, _, amount in parts}


def _or_infinite(amount: float | None) -> float:
    return math.inf if amount is None else amount


def _unit(what: str) -> str:
    name = what.removeprefix("requests.").removeprefix("limits.").removeprefix("count/")
    return UNITS.get(name, f" {name}")


def _amount(what: str, text: str) -> str:
    milli = what.endswith("cpu") and re.fullmatch(r"(\d+)m", text)
    return f"{int(milli[1]) / 1000:g}" if milli else text


def _of_suspension(job: Object) -> Trouble:
    queue = job["metadata"].get("labels", {}).get(QUEUE)
    if queue:
        return Trouble(f"waiting for its turn in the queue {queue} of Kueue")
    return Trouble(f"waiting for its Job {name_of(job)}, which somebody has suspended, to be resumed")


def _of_mount(warning: Object) -> Trouble:
    said = " ".join(warning.get("message", "").split()).rstrip(". ")
    return _since(_looked_up(UNMOUNTED, said), warning.get("firstTimestamp") or warning.get("eventTime"))


def _looked_up(table: Sequence[Row], said: str, **more: Any) -> Trouble:
    for row in table:
        if found := re.search(row.pattern, said):
            groups = [group for group in found.groups() if group is not None]
            return Trouble(row.message.format(*groups, **more), row.cause, row.patience_seconds if row.cause else 0.0)
    return Trouble(said)


def _since(trouble: Trouble, moment: str | None, more: str = "") -> Trouble:
    since = datetime.fromisoformat(moment) if moment else None
    return replace(trouble, message=trouble.message + more, since=since)


def _waits_since(pod: Object) -> datetime:
    """When its last container ended or, before there was one, it got its node."""
    ended = [(status.get("state") or {}).get("terminated", {}).get("finishedAt") for status in _containers(pod)]
    moments = [
        pod["metadata"]["creationTimestamp"],
        condition_of(pod, "PodScheduled").get("lastTransitionTime"),
        *ended,
    ]
    return max(datetime.fromisoformat(moment) for moment in moments if moment)


def _is_ending(pod: Object) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed") or "deletionTimestamp" in pod["metadata"]


def _has_begun(pod: Object) -> bool:
    return any(map(_runs_or_has, _containers(pod)))


def _runs_or_has(status: Object) -> bool:
    return "waiting" not in (status.get("state") or {"waiting": {}})


def _wants_pods(job: Object, pods: Sequence[Object]) -> bool:
    """Whether the Job is still to make some; one that was suspended and goes on keeps a condition of that."""
    held = job["spec"].get("suspend") or is_job_over(job)
    return not held and len(pods) < (job["spec"].get("completions") or 1)


def _containers(pod: Object) -> list[dict[str, Any]]:
    status = pod["status"]
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _is_about(warning: Object, object: Object) -> bool:
    """Whether it is about this object, and not about an earlier one of the same name."""
    about = warning["involvedObject"]
    own = object["metadata"].get("uid")
    return bool(about.get("name") == name_of(object) and about.get("uid", own) == own)


def _last_seen(warning: Object) -> str:
    return str(warning.get("lastTimestamp") or warning.get("eventTime") or warning["metadata"]["creationTimestamp"])

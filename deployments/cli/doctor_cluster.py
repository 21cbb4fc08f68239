"""What the doctor says of the Kubernetes cluster of the settings: what it is, what we may do there, what it lacks.

Each check is a pure function of what the cluster has answered; `cluster` asks.
"""

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from deployments.cli.access import read_settings
from deployments.cli.cluster_rights import DANGEROUS, FOR_QUEUES, NEEDED, Right, listed
from deployments.cli.findings import Finding, fine, problem, warning

if TYPE_CHECKING:
    from blocks.connections.settings import Settings
    from deployments.cli.cluster_answers import Claim, ClusterAnswers, Place

OLDEST = (1, 29)
"""Of Kubernetes: from it on a container may stay beside the others of a Job without keeping it from ending."""

ENFORCED = "pod-security.kubernetes.io/enforce"
MANIFESTS = "deployments/kubernetes/manifests"
CLAIM, NFS = "claim:", "nfs:"
NO_ARTIFACTS = "MAKERFLOW_ARTIFACTS is not set: each training has to say itself where its model goes"


def cluster() -> Iterator[Finding]:
    """Whether trainings can run on the cluster; nothing where they run on this machine."""
    settings = read_settings()
    if settings.cluster != "kubernetes":
        return
    yield from image_findings(settings.image)
    if not settings.artifacts:
        yield warning("cluster outputs", NO_ARTIFACTS, "Set MAKERFLOW_ARTIFACTS to a folder of an object store.")
    from deployments.cli.cluster_answers import ClusterSilentError, open_answers

    try:
        with open_answers(settings) as answers:
            yield from _asked(answers, settings)
    except ClusterSilentError as error:
        remedy = "Set KUBECONFIG to a file that names a cluster you can reach (`kubectl get pods` tries it)."
        yield problem("cluster", str(error), remedy)


def image_findings(image: str) -> Iterator[Finding]:
    """Whether it is said what runs beside each worker."""
    if not image:
        remedy = "`python -m deployments.kubernetes.image` makes one; bring it to a registry and set MAKERFLOW_IMAGE."
        yield problem("cluster image", "MAKERFLOW_IMAGE is not set", remedy)
    elif image.endswith(":latest") or ":" not in image.rpartition("/")[2]:
        remedy = "Name a version, e.g. MAKERFLOW_IMAGE=registry.example.com/makerflow:1.0."
        yield warning("cluster image", f"{image} may be another image tomorrow", remedy)
    else:
        yield fine("cluster image", image)


def version_finding(place: "Place", version: str) -> Finding:
    """Whether the API server is new enough."""
    text = f"{place.name}, Kubernetes {version} at {place.server}, namespace {place.namespace}"
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) >= OLDEST:
        return fine("cluster", text)
    oldest = ".".join(map(str, OLDEST))
    return problem("cluster", f"{text}: it is too old", f"Use a cluster of Kubernetes {oldest} or later.")


def rights_finding(missing: Collection[Right], user: str, place: "Place") -> Finding:
    """Whether all that trainings need is allowed."""
    if not missing:
        return fine("cluster rights", f"{user} may do all that trainings need in {place.namespace}")
    return problem("cluster rights", f"{user} may not: {listed(missing)}", _grant(user, place.namespace))


def dangerous_finding(held: Collection[Right], user: str) -> Finding | None:
    """Whether we could do what nobody of ours should; None when not."""
    if not held:
        return None
    remedy = (
        "Have the platform use an account of its own with the Role of "
        f"{MANIFESTS}/base/rights.yaml; for a person it may be meant."
    )
    return warning("cluster rights", f"{user} may also, which trainings do not need: {listed(held)}", remedy)


def namespace_finding(place: "Place", labels: Mapping[str, str] | None, volumes: Collection[str]) -> Finding:
    """What kind of pods our namespace takes.

    Args:
        place: Ours.
        labels: The namespace's; None when we may not see them.
        volumes: What of the settings it would refuse where it takes restricted pods alone, each as it is set; baseline
            takes NFS.
    """
    name = place.namespace
    if labels is None:
        return fine("cluster namespace", f"which pods {name} takes is not ours to see")
    level = labels.get(ENFORCED, "")
    refused = [each for each in volumes if level == "restricted" or (level == "baseline" and not each.startswith(NFS))]
    if refused:
        remedy = "Use claims (claim:NAME), unset it, or have the namespace take such pods."
        return problem("cluster namespace", f"{name} takes {level} pods alone: {', '.join(refused)} is refused", remedy)
    if level == "restricted" or volumes:
        return fine("cluster namespace", f"{name} takes {level or 'any'} pods")
    remedy = f"Ours are `restricted`; hold the namespace to it: kubectl label namespace {name} {ENFORCED}=restricted"
    return warning("cluster namespace", f"{name} takes {level or 'any'} pods", remedy)


def no_namespace_finding(name: str) -> Finding:
    """That our namespace is not there."""
    remedy = f"kubectl create namespace {name}, or set MAKERFLOW_NAMESPACE to one that is there."
    return problem("cluster namespace", f"there is no namespace {name}", remedy)


def claim_finding(what: str, name: str, claim: "Claim | None") -> Finding:
    """Whether a volume can be mounted.

    Args:
        what: It is for, such as `nas://nas1:/`.
        name: Of its claim.
        claim: None when there is none.
    """
    text = f"{what} is the claim {name}"
    if claim is None:
        remedy = f"Make the PersistentVolumeClaim {name}, or correct the setting that names it."
        return problem("cluster stores", f"{text}, which is not there", remedy)
    if claim.phase == "Lost":
        remedy = f"kubectl describe pvc {name} says why; make its volume again."
        return problem("cluster stores", f"{text}, which has lost its volume", remedy)
    if not any(mode.endswith("Many") for mode in claim.modes):
        remedy = "Make it with ReadWriteMany, or run trainings that use it one at a time."
        return warning("cluster stores", f"{text}, which one node alone can mount ({', '.join(claim.modes)})", remedy)
    return fine("cluster stores", f"{text} ({claim.phase})")


def queue_finding(queue: str, version: str, *, is_there: bool | None) -> Finding:
    """Whether trainings have a queue to wait in.

    Args:
        queue: As it is set.
        version: Of Kueue's API; empty when the cluster has no Kueue.
        is_there: None when we may not see it.
    """
    if not version:
        return problem("cluster queue", "the cluster has no Kueue", "Install Kueue, or unset MAKERFLOW_QUEUE.")
    if is_there is None:
        return fine("cluster queue", f"whether {queue} is there is not ours to see")
    if not is_there:
        remedy = "Make it in the namespace of the trainings, or correct MAKERFLOW_QUEUE."
        return problem("cluster queue", f"there is no LocalQueue {queue}: trainings would wait for ever", remedy)
    return fine("cluster queue", f"trainings wait in {queue}")


def _asked(answers: "ClusterAnswers", settings: "Settings") -> Iterator[Finding]:
    place = answers.place
    yield version_finding(place, answers.version())
    user = answers.user()
    needed = (*NEEDED, *(FOR_QUEUES if settings.queue else ()))
    yield rights_finding([right for right in needed if not answers.has(right)], user, place)
    if found := dangerous_finding([right for right in DANGEROUS if answers.has(right)], user):
        yield found
    yield _namespace(answers, settings)
    for nas, volume in sorted(settings.nas_volumes.items()):
        yield _volume(answers, f"nas://{nas}:/", volume)
    if settings.node_cache.startswith(CLAIM):
        yield _volume(answers, "the node cache", settings.node_cache)
    if settings.queue:
        yield _queue(answers, settings.queue)


def _namespace(answers: "ClusterAnswers", settings: "Settings") -> Finding:
    from deployments.cli.cluster_answers import HiddenError

    cache = (f"MAKERFLOW_NODE_CACHE={settings.node_cache}",) if settings.node_cache.startswith("/") else ()
    volumes = [*cache, *(volume for volume in settings.nas_volumes.values() if volume.startswith(NFS))]
    try:
        return namespace_finding(answers.place, answers.namespace_labels(), volumes)
    except HiddenError:
        return namespace_finding(answers.place, None, volumes)
    except LookupError:
        return no_namespace_finding(answers.place.namespace)


def _volume(answers: "ClusterAnswers", what: str, volume: str) -> Finding:
    from deployments.cli.cluster_answers import HiddenError

    name = volume.removeprefix(CLAIM)
    if volume.startswith(NFS):
        return fine("cluster stores", f"{what} is {volume}, which only a node could try")
    try:
        return claim_finding(what, name, answers.claim(name))
    except HiddenError:
        return fine("cluster stores", f"{what} is the claim {name}, which is not ours to see")
    except LookupError:
        return claim_finding(what, name, None)


def _queue(answers: "ClusterAnswers", queue: str) -> Finding:
    from deployments.cli.cluster_answers import HiddenError

    version = answers.queue_version()
    try:
        if version:
            answers.find_queue(queue, version)
    except HiddenError:
        return queue_finding(queue, version, is_there=None)
    except LookupError:
        return queue_finding(queue, version, is_there=False)
    return queue_finding(queue, version, is_there=True)


def _grant(user: str, namespace: str) -> str:
    """How whoever may gives us the rights."""
    _, _, account = user.partition("system:serviceaccount:")
    subject = f"--serviceaccount={account}" if account else f"--user={shlex.quote(user)}"
    return (
        f"Whoever may: kubectl -n {namespace} apply -f {MANIFESTS}/base/rights.yaml && "
        f"kubectl -n {namespace} create rolebinding makerflow-doctor --role=makerflow {subject}"
    )

"""Rights on a Kubernetes cluster: those that trainings need, as the manifests' Role gives them, and dangerous ones.

What is needed follows from what the cluster's implementation asks for; tests hold it to the manifests.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one kind of object.

    Attributes:
        group: Kubernetes' API group; empty for the core one.
        resource: In the plural; a part of it after a slash.
        verb: Kubernetes' word.
        everywhere: In every namespace, instead of ours.
    """

    group: str
    resource: str
    verb: str
    everywhere: bool = False

    @property
    def kind(self) -> str:
        """The resource with its group, as kubectl calls it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def rights(group: str, resources: str, verbs: str) -> tuple[Right, ...]:
    """Every verb on every resource; both are words with blanks between."""
    return tuple(Right(group, resource, verb) for resource in resources.split() for verb in verbs.split())


NEEDED = (
    *rights("batch", "jobs", "get list watch create patch delete"),
    *rights("", "configmaps", "get list watch create update delete"),
    *rights("", "services", "list watch create patch"),
    *rights("", "secrets", "get create"),
    *rights("", "pods", "list watch patch delete deletecollection"),
    *rights("", "pods/log", "get"),
    *rights("", "events", "list watch"),
    *rights("", "resourcequotas", "list"),
    *rights("", "persistentvolumeclaims", "get"),
)
FOR_QUEUES = rights("kueue.x-k8s.io", "localqueues", "get")
"""Needed where a queue is set."""

DANGEROUS = (
    *rights("", "pods", "create"),
    *rights("", "pods/exec", "create"),
    *rights("rbac.authorization.k8s.io", "roles rolebindings", "create"),
    Right("", "secrets", "list", everywhere=True),
    Right("", "secrets", "get", everywhere=True),
)
"""What the platform never asks for, and whoever takes over one of its processes would."""


def listed(of: Iterable[Right]) -> str:
    """Rights for people: `create, get jobs.batch; list secrets in every namespace`."""
    groups = groupby(sorted(of, key=_by_kind), key=_by_kind)
    return "; ".join(
        f"{', '.join(right.verb for right in found)} {kind}{' in every namespace' if everywhere else ''}"
        for (kind, everywhere), found in groups
    )


def _by_kind(right: Right) -> tuple[str, bool]:
    return right.kind, right.everywhere

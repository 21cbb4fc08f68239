"""From a run's plan to the objects that Kubernetes is asked for: pure functions."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from blocks.cluster.base import Secrets
from blocks.cluster.kubernetes.names import (
    ATTEMPT,
    LIFE,
    QUEUE,
    STOP,
    Object,
    job_name,
    run_annotations,
    run_labels,
    run_name,
)
from blocks.cluster.pod_settings import (
    CACHE,
    CONFIDENTIAL,
    CONFIDENTIAL_VARIABLE,
    JOURNAL,
    PACKAGES,
    PLAN,
    PLANS,
    PROGRAMS,
    REQUESTS,
    ROOT,
    VARIABLE,
    PodSettings,
)
from blocks.domain.errors import CapacityError
from blocks.domain.paths import Scheme, StoragePath
from blocks.domain.plan import RunPlan

STAGE, INSTALL, SYNC, WORKER = "stage", "install", "sync", "worker"
"""The containers of a pod."""

CLAIM = "claim"
"""What the name of a volume begins with that is a PersistentVolumeClaim: `claim:NAME`."""

SECRET_BYTES = 900_000
"""Of one Secret, which the API server bounds at 1 MiB."""

MOST_SECRETS = 24
CONFIDENTIAL_BYTES = 120_000
"""Of what opens the stores: Linux bounds one variable of a process's environment at 128 KiB."""

UPLOAD_SECONDS = 690
"""From the end of an entry point that was asked to end to the end of its pod: for uploads to a store that is away."""

LATE_SECONDS = 20
"""Between the deadline, which the supervisors keep, and Kubernetes' own."""

LOST_SECONDS = 30
"""How long a node may not answer before its workers count as lost."""

SIDECAR = {"cpu": "10m", "memory": "64Mi"}
SIDECAR_LIMITS = {"memory": "1Gi"}
INSTALLER_VARIABLES = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_FIND_LINKS", "PIP_NO_INDEX",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
)  # fmt: skip
"""What of this process's environment the installer gets. No certificate: that is a file."""


@dataclass(frozen=True)
class Site:
    """What of a cluster's configuration manifests depend on.

    Attributes:
        image: The platform's own.
        pull_secrets: For the registries of images.
        service_account: Of the pods; empty for the namespace's default one. No pod gets its token.
        run_as_user: All containers' user id.
        queue: Kueue's, empty for none.
        node_cache: A directory of the node for staged objects, or `claim:NAME`; empty for none.
        cache_bytes: Its bound.
        nas_volumes: NAS ID to `claim:NAME` or `nfs:SERVER:/PATH`.
        region: EM_REGION.
        app_key: EM_APPKEY.
    """

    image: str
    pull_secrets: Sequence[str] = ()
    service_account: str = ""
    run_as_user: int = 1000
    queue: str = ""
    node_cache: str = ""
    cache_bytes: int = 0
    nas_volumes: Mapping[str, str] = field(default_factory=dict)
    region: str = ""
    app_key: str = ""


def record_manifest(plan: RunPlan, record: str) -> dict[str, Any]:
    """The ConfigMap that stands for the run: it owns all other objects."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(plan, run_name(plan.run_id)),
        "data": {"record": record},
    }


def secret_manifests(
    plan: RunPlan, secrets: Secrets, environment: Mapping[str, str], owner: Object
) -> list[dict[str, Any]]:
    """The Secrets with the plan and with what opens its stores; several when the plan lists very many objects.

    Args:
        plan: The run's.
        secrets: Connection name to what opens it.
        environment: Variables by which clients of stores and installers find their credentials.
        owner: The run's record.

    Raises:
        CapacityError: The inputs have more objects than Kubernetes' API can be told of, or their connections are too
            large.
    """
    connections = {name: dict(values) for name, values in secrets.items()}
    document = json.dumps({"connections": connections, "environment": dict(environment)})
    if len(document.encode()) > CONFIDENTIAL_BYTES:
        raise CapacityError(
            f"The connections of the run {plan.run_id} are too large for the environment of a pod",
            f"{len(document.encode())} bytes",
            f"{CONFIDENTIAL_BYTES}",
            "Leave the authorities that are not needed out of their certificates.",
        )
    packed = gzip.compress(plan.model_dump_json().encode(), mtime=0)
    pieces = [packed[at : at + SECRET_BYTES] for at in range(0, len(packed), SECRET_BYTES)]
    if len(pieces) > MOST_SECRETS:
        objects = sum(len(each.objects) for each in plan.inputs)
        raise CapacityError(
            f"The run {plan.run_id} has too many input objects for Kubernetes",
            f"{objects} objects, {len(packed) >> 20} MiB of plan",
            f"{MOST_SECRETS * SECRET_BYTES >> 20} MiB",
            "Pack the files of the dataset into archives.",
        )
    found = []
    for number, piece in enumerate(pieces):
        content = {f"{PLAN}.{number:02d}": base64.b64encode(piece).decode()}
        if number == 0:
            own = _for_installer(environment)
            encoded = {name: base64.b64encode(text.encode()).decode() for name, text in own.items()}
            content |= {CONFIDENTIAL: base64.b64encode(document.encode()).decode(), **encoded}
        metadata = _metadata(plan, secret_name(owner, number), owner)
        found.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "immutable": True, "data": content})
    return found


def _for_installer(environment: Mapping[str, str]) -> dict[str, str]:
    """In capitals; of a proxy that is named in both ways, clients take the one in small letters."""
    return {
        name: environment.get(name.lower(), environment.get(name, ""))
        for name in INSTALLER_VARIABLES
        if {name, name.lower()} & environment.keys()
    }


def secret_name(owner: Object, number: int) -> str:
    """The name of the Secret with one piece of the plan: never that of an earlier run of the same name."""
    metadata = owner["metadata"]
    return f"{metadata['name']}-{metadata['uid'][:8]}-{number}"


def service_manifest(plan: RunPlan, owner: Object) -> dict[str, Any]:
    """The headless service by whose names workers find each other, also before they are ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(plan, run_name(plan.run_id), owner),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"app.kubernetes.io/instance": run_name(plan.run_id)},
        },
    }


def addresses(plan: RunPlan, attempt: int) -> tuple[str, ...]:
    """Where the workers find each other, by rank; one that is alone needs no name."""
    if plan.workers == 1:
        return ("127.0.0.1",)
    job, service = job_name(plan.run_id, attempt), run_name(plan.run_id)
    return tuple(f"{job}-{rank}.{service}" for rank in range(plan.workers))


def active_seconds(deadline: float, since: float) -> int:
    """How long Kubernetes lets a Job be active that began at a time; both are seconds of the epoch."""
    return max(int(deadline - since) + LATE_SECONDS, 1)


def job_manifest(
    plan: RunPlan, site: Site, attempt: int, owner: Object, *, deadline: float | None, now: float, secrets: int
) -> dict[str, Any]:
    """The Indexed Job of one attempt.

    Any pod that fails ends it: what follows for all workers together is decided by `blocks.cluster.gang`.

    Args:
        plan: The run's.
        site: The cluster's configuration.
        attempt: From 1.
        owner: The run's record.
        deadline: Seconds of the epoch; None before the first attempt has started.
        now: Seconds of the epoch.
        secrets: How many Secrets hold the plan.
    """
    metadata = _metadata(plan, job_name(plan.run_id, attempt), owner)
    labels = metadata["labels"] | {ATTEMPT: str(attempt)}
    metadata["labels"] = labels | ({QUEUE: site.queue} if site.queue else {})
    metadata["annotations"] = run_annotations(plan.run_id, plan.labels) | {LIFE: owner["metadata"]["uid"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": plan.workers,
            "parallelism": plan.workers,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            **_limits(site, deadline, now),
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": metadata["annotations"],
                },
                "spec": _pod(plan, site, attempt, deadline, owner, secrets),
            },
        },
    }


def _limits(site: Site, deadline: float | None, now: float) -> dict[str, Any]:
    """When it begins, and until when it may wait and run; what waits for Kueue is told once it has started."""
    if site.queue:
        return {"suspend": True}  # Kueue lets it go, and Kubernetes counts its time from then
    return {} if deadline is None else {"activeDeadlineSeconds": active_seconds(deadline, now)}


def _failure_rules() -> list[dict[str, Any]]:
    """The first to fail ends the Job; the Job's condition then tells a disruption from the entry point's own doing."""
    return [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": WORKER, "operator": "NotIn", "values": [0]}},
        {"action": "FailJob", "onExitCodes": {"containerName": STAGE, "operator": "NotIn", "values": [0]}},
    ]


def _pod(plan: RunPlan, site: Site, attempt: int, deadline: float | None, owner: Object, pieces: int) -> dict[str, Any]:
    secrets = [secret_name(owner, number) for number in range(pieces)]
    settings = PodSettings(
        attempt=attempt,
        addresses=addresses(plan, attempt),
        deadline=deadline,
        cache_bytes=site.cache_bytes if site.node_cache else 0,
        region=site.region,
        app_key=site.app_key,
        token=owner["metadata"]["uid"],
    )
    ours: list[dict[str, Any]] = [{"name": VARIABLE, "value": settings.to_json()}]
    ours.append({"name": "MAKERFLOW_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}})
    confidential = {"secretKeyRef": {"name": secrets[0], "key": CONFIDENTIAL}}
    ours.append({"name": CONFIDENTIAL_VARIABLE, "valueFrom": confidential})  # no file of the sidecar's has them
    # The sidecar is first, for the kubelet looks once a second which container is next: no worker waits for it.
    sidecar = _ours(SYNC, ["blocks.launcher.pod_start"], site, plan, ours) | {"restartPolicy": "Always"}
    stage = _ours(STAGE, ["blocks.launcher.pod", STAGE], site, plan, ours)
    containers = [sidecar, stage, *_installers(plan, secrets[0])]
    shape = plan.pod
    return {
        **({"serviceAccountName": site.service_account} if site.service_account else {}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": int(plan.stop_grace_seconds) + UPLOAD_SECONDS,
        **({"subdomain": run_name(plan.run_id)} if plan.workers > 1 else {}),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": site.run_as_user,
            "runAsGroup": site.run_as_user,
            "fsGroup": site.run_as_user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"imagePullSecrets": [{"name": name} for name in site.pull_secrets]} if site.pull_secrets else {}),
        **({"nodeSelector": dict(shape.node_selector)} if shape.node_selector else {}),
        "tolerations": [*(each.model_dump(exclude_defaults=True) for each in shape.tolerations), *_tolerations()],
        **({"priorityClassName": shape.priority_class} if shape.priority_class else {}),
        "initContainers": containers,
        "containers": [_worker(plan)],
        "volumes": [*_volumes(plan, site, secrets), *_nas_volumes(plan, site)],
    }


def _ours(
    name: str, module: Sequence[str], site: Site, plan: RunPlan, environment: list[dict[str, Any]]
) -> dict[str, Any]:
    """A container of the platform's image; it has the credentials."""
    mounts = [
        {"name": "work", "mountPath": str(ROOT)},
        {"name": "plan", "mountPath": str(PLANS), "readOnly": True},
        {"name": "journal", "mountPath": str(JOURNAL)},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the pod's own
        # Not in the sidecar: what it writes below the volume that it shares an entry point may lead elsewhere.
        *([{"name": "cache", "mountPath": str(CACHE)}] if site.node_cache and name == STAGE else []),
        *_nas_mounts(plan),
    ]
    return {
        "name": name,
        "image": site.image,
        "command": ["python", "-m", *module],
        "env": environment,
        "resources": {"requests": SIDECAR, "limits": SIDECAR_LIMITS},
        "securityContext": _restricted(),
        "volumeMounts": mounts,
    }


def _installers(plan: RunPlan, secret: str) -> Iterator[dict[str, Any]]:
    """The container that installs the requirements.txt beside the entry point, where there is one."""
    if not plan.has_requirements:
        return
    folder = PurePosixPath(plan.entry_point).parent
    yield {
        "name": INSTALL,
        "image": plan.image.container,
        "command": [plan.image.container_python, "-I", f"{PROGRAMS}/pod_installer.py", str(PACKAGES)],
        "workingDir": f"{ROOT}/runs/{plan.run_id}/inputs/source/{folder}",
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - of the pod's own
            *(
                {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name, "optional": True}}}
                for name in INSTALLER_VARIABLES
            ),
        ],
        "resources": worker_resources(plan),
        "securityContext": _restricted(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "work", "mountPath": str(ROOT)},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the pod's own
        ],
    }  # fmt: skip


def _worker(plan: RunPlan) -> dict[str, Any]:
    """The container of the entry point; it has no credentials."""
    return {
        "name": WORKER,
        "image": plan.image.container,
        "command": [plan.image.container_python, "-I", "-S", f"{PROGRAMS}/pod_supervisor.py"],
        "args": [f"{ROOT}/runs/{plan.run_id}/workers/$(JOB_COMPLETION_INDEX)"],
        "resources": worker_resources(plan),
        "securityContext": _restricted(),
        "volumeMounts": [
            {"name": "work", "mountPath": str(ROOT)},
            {"name": "requests", "mountPath": str(REQUESTS), "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the pod's own
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - of the pod's own
            *_nas_mounts(plan),
        ],
    }


def worker_resources(plan: RunPlan) -> dict[str, dict[str, str]]:
    """Those of the flavor; what the sidecar asks for is part of it, so that an instance is a pod of that size."""
    needs, shape = plan.resources, plan.pod
    gpus = {shape.gpu_resource: str(needs.gpus)} if needs.gpus else {}
    limits = {"cpu": _cpu(needs.vcpus), "memory": f"{needs.memory_mib}Mi", **gpus}
    requests = {"cpu": _cpu(max(needs.vcpus - 0.01, 0.001)), "memory": f"{max(needs.memory_mib - 64, 1)}Mi", **gpus}
    return {"requests": requests | dict(shape.requests), "limits": limits | dict(shape.limits)}


def _cpu(vcpus: float) -> str:
    return f"{round(vcpus * 1000)}m"


def _restricted() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def _tolerations() -> list[dict[str, Any]]:
    """How long a node may be away."""
    return [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
        | {"tolerationSeconds": LOST_SECONDS}
        for key in ("not-ready", "unreachable")
    ]


def _volumes(plan: RunPlan, site: Site, secrets: Sequence[str]) -> list[dict[str, Any]]:
    request = {"path": "stop", "fieldRef": {"fieldPath": f"metadata.annotations['{STOP}']"}}
    pieces = [(name, f"{PLAN}.{number:02d}") for number, name in enumerate(secrets)]
    sources = [{"secret": {"name": name, "items": [{"key": key, "path": key}]}} for name, key in pieces]
    return [
        # The log of each worker, the cache of an own copy of the inputs, and some room for programs and packages.
        {"name": "work", "emptyDir": {"sizeLimit": f"{2 * plan.storage_mib + plan.logs.limit_mib + 4096}Mi"}},
        {"name": "plan", "projected": {"sources": sources, "defaultMode": 0o440}},
        {"name": "journal", "emptyDir": {}},
        {"name": "requests", "downwardAPI": {"items": [request]}},
        {"name": "tmp", "emptyDir": {"sizeLimit": f"{plan.storage_mib}Mi"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{max(plan.resources.memory_mib // 2, 64)}Mi"}},
        *([{"name": "cache", **_cache_source(site.node_cache)}] if site.node_cache else []),
    ]  # fmt: skip


def _cache_source(node_cache: str) -> dict[str, Any]:
    kind, _, claim = node_cache.partition(":")
    return _of_claim(claim) if kind == CLAIM else {"hostPath": {"path": node_cache, "type": "DirectoryOrCreate"}}


def _of_claim(name: str) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name}}


def nas_ids(plan: RunPlan) -> list[str]:
    """The NAS that the plan's paths are on."""
    texts = [each.path for each in plan.inputs] + [each.path for each in plan.outputs]
    paths = [StoragePath.parse(text) for text in texts]
    return sorted({path.authority for path in paths if path.scheme is Scheme.NAS})


def nas_directory(nas: str) -> str:
    """Where a NAS is mounted in a pod."""
    return f"/makerflow-nas/{nas}"


def _nas_mounts(plan: RunPlan) -> list[dict[str, Any]]:
    return [{"name": _volume_name(nas), "mountPath": nas_directory(nas)} for nas in nas_ids(plan)]


def _nas_volumes(plan: RunPlan, site: Site) -> Iterator[dict[str, Any]]:
    for nas in nas_ids(plan):
        kind, _, where = site.nas_volumes[nas].partition(":")
        server, _, path = where.partition(":")
        source = _of_claim(where) if kind == CLAIM else {"nfs": {"server": server, "path": path}}
        yield {"name": _volume_name(nas), **source}


def _volume_name(nas: str) -> str:
    """Its ID where that is a name, else something like it and its hash: no two may have the same."""
    like = re.sub(r"[^a-z0-9]+", "-", nas.lower()).strip("-")[:40]
    return f"nas-{nas}" if like == nas else f"nas-{like}-{hashlib.sha256(nas.encode()).hexdigest()[:8]}"


def _metadata(plan: RunPlan, name: str, owner: Object | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "labels": run_labels(plan.run_id, plan.labels),
        "annotations": run_annotations(plan.run_id, plan.labels),
    }
    if owner:
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"]}
        metadata["ownerReferences"] = [reference | {"uid": owner["metadata"]["uid"]}]
    return metadata

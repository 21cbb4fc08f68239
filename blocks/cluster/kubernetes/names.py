"""Names and labels of a run's objects."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

Object = Mapping[str, Any]
"""An object of Kubernetes, as its API says it in JSON."""

PRODUCT = "makerflow"
DOMAIN = "makerflow.io"
MANAGED = f"app.kubernetes.io/managed-by={PRODUCT}"
"""The selector of all that is ours."""

RUN = f"{DOMAIN}/run"
ATTEMPT = f"{DOMAIN}/attempt"
RUN_ID = f"{DOMAIN}/run-id"
LABELS = f"{DOMAIN}/labels"
LIFE = f"{DOMAIN}/record"
"""On Jobs and pods: which record they belong to, as a run may be removed and another one launched under its name."""

STOP = f"{DOMAIN}/stop"
INDEX = "batch.kubernetes.io/job-completion-index"
QUEUE = "kueue.x-k8s.io/queue-name"

_LENGTH = 46
"""Of a run's name at most, so that `{job}-{index}` is a host's name, of at most 63 characters, also of the 999th
attempt; and of one with a hash just this, so that it is no other run's id."""

_HASHED_FROM = 37

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def run_name(run_id: str) -> str:
    """The name of a run's objects: its id where that is a name, else as much of it as fits and its hash."""
    name = f"mf-{run_id}"
    if len(name) < _LENGTH and not name.endswith("-"):
        return name
    return f"{name[:_HASHED_FROM]}-{hashlib.sha256(run_id.encode()).hexdigest()}"[:_LENGTH]


def job_name(run_id: str, attempt: int) -> str:
    """The name of an attempt's Job."""
    return f"{run_name(run_id)}-{attempt}"


def run_labels(run_id: str, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of a run's objects: the usual ones and, as far as they are values of labels, the plan's."""
    own = {f"{DOMAIN}/{key}": value for key, value in labels.items() if _LABEL_VALUE.fullmatch(value)}
    return own | {
        "app.kubernetes.io/name": "training",
        "app.kubernetes.io/instance": run_name(run_id),
        "app.kubernetes.io/part-of": PRODUCT,
        "app.kubernetes.io/managed-by": PRODUCT,
        RUN: run_name(run_id),
    }


def run_annotations(run_id: str, labels: Mapping[str, str]) -> dict[str, str]:
    """What the labels cannot say: the run's id and the plan's labels as they are."""
    return {RUN_ID: run_id, LABELS: json.dumps(dict(labels), sort_keys=True)}


def name_of(object: Object) -> str:
    """An object's name."""
    return str(object["metadata"]["name"])


def run_of(object: Object) -> str:
    """The name of the run that an object belongs to; empty when it is none of ours."""
    return str(object["metadata"].get("labels", {}).get(RUN, ""))


def run_id_of(object: Object) -> str:
    """The id of the run that an object belongs to."""
    return str(object["metadata"].get("annotations", {}).get(RUN_ID) or run_of(object).removeprefix("mf-"))


def labels_of(object: Object) -> dict[str, str]:
    """The labels of its plan."""
    with suppress(ValueError):
        labels = json.loads(object["metadata"].get("annotations", {}).get(LABELS, "{}"))
        return labels if isinstance(labels, dict) else {}
    return {}


def of_run(run: str) -> str:
    """The selector of a run's objects."""
    return f"{RUN}={run}"


def attempt_of(object: Object) -> int:
    """The attempt that a Job or pod belongs to."""
    return int(object["metadata"].get("labels", {}).get(ATTEMPT, 0))


def rank_of(pod: Object) -> int:
    """The rank of a pod's worker."""
    return int(pod["metadata"].get("annotations", {}).get(INDEX, 0))


def is_of(object: Object, record: Object) -> bool:
    """Whether a Job or pod belongs to this record, and not to an earlier one of the same name."""
    return life_of(object) == str(record["metadata"]["uid"])


def life_of(object: Object) -> str:
    """Which record a Job or pod belongs to."""
    return str(object["metadata"].get("annotations", {}).get(LIFE, ""))


def version_of(object: Object) -> int:
    """An object's version: of two the larger one is the newer."""
    return int(object["metadata"]["resourceVersion"])

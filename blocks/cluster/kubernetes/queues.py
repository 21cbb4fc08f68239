"""Refuses a queue of Kueue in which a run would wait for ever."""

from blocks.cluster.kubernetes.api import Api, ApiError
from blocks.domain.errors import InvalidInputError

_KUEUE = "/apis/kueue.x-k8s.io"


def check_queue(api: Api, queue: str) -> None:
    """Refuse a queue that is not there; what we may not see is taken to be there.

    Raises:
        InvalidInputError: The cluster has no Kueue, or the namespace no such LocalQueue.
    """
    try:
        kueue = api.find(_KUEUE)  # its versions come and go; without it a queue is not found either
        if kueue is None:
            raise InvalidInputError("MAKERFLOW_QUEUE", "the cluster has no Kueue", "Install it, or unset the variable.")
        version = kueue["preferredVersion"]["version"]
        if api.find(f"{_KUEUE}/{version}/namespaces/{api.namespace}/localqueues/{queue}") is None:
            raise InvalidInputError(
                "MAKERFLOW_QUEUE",
                f"there is no LocalQueue {queue}: trainings would wait for ever",
                f"Make it in the namespace {api.namespace}, or correct the variable.",
            )
    except ApiError as error:
        if error.status != 403:
            raise

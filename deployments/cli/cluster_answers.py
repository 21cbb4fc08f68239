"""What a Kubernetes cluster answers to the doctor. The official client is imported late: that takes half a second."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocks.domain.errors import InvalidInputError
from deployments.cli.cluster_rights import Right

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

    from blocks.connections.settings import Settings

ANSWER_SECONDS = 10
KUEUE = "kueue.x-k8s.io"


class ClusterSilentError(Exception):
    """The cluster cannot be asked: there is none, it does not answer, or it does not know who asks."""


class HiddenError(Exception):
    """We may not see what was asked for."""


@dataclass(frozen=True)
class Place:
    """Which cluster is meant.

    Attributes:
        name: KUBECONFIG's context, or that it is the pod's own account.
        server: The API server's address.
        namespace: Where objects of trainings are made.
    """

    name: str
    server: str
    namespace: str


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim.

    Attributes:
        phase: Kubernetes' word: Pending, Bound, Lost.
        modes: Its access modes.
    """

    phase: str
    modes: tuple[str, ...]


class ClusterAnswers:
    """One cluster, asked through the official client.

    Raises:
        ClusterSilentError: From every method: it does not answer.
        LookupError: What was asked for is not there.
        HiddenError: We may not see it.
    """

    def __init__(self, client: "ApiClient", place: Place) -> None:
        self._client, self.place = client, place

    def version(self) -> str:
        """Of the API server, e.g. v1.34.4."""
        from kubernetes.client import VersionApi

        return str(_ask(lambda: VersionApi(self._client).get_code(_request_timeout=ANSWER_SECONDS)).git_version)

    def user(self) -> str:
        """Whom the API server takes us for."""
        from kubernetes.client import AuthenticationV1Api

        api = AuthenticationV1Api(self._client)
        found = _ask(lambda: api.create_self_subject_review(_body({}), _request_timeout=ANSWER_SECONDS))
        return str(found.status.user_info.username)

    def has(self, right: Right) -> bool:
        """Whether we have a right."""
        from kubernetes.client import AuthorizationV1Api

        resource, _, part = right.resource.partition("/")
        asked = {"group": right.group, "resource": resource, "subresource": part, "verb": right.verb}
        place = {} if right.everywhere else {"namespace": self.place.namespace}
        body = _body({"spec": {"resourceAttributes": asked | place}})
        api = AuthorizationV1Api(self._client)
        found = _ask(lambda: api.create_self_subject_access_review(body, _request_timeout=ANSWER_SECONDS))
        return bool(found.status.allowed)

    def namespace_labels(self) -> Mapping[str, str]:
        """Those of our namespace."""
        from kubernetes.client import CoreV1Api

        api = CoreV1Api(self._client)
        found = _ask(lambda: api.read_namespace(self.place.namespace, _request_timeout=ANSWER_SECONDS))
        return dict(found.metadata.labels or {})

    def claim(self, name: str) -> Claim:
        """A claim of our namespace."""
        from kubernetes.client import CoreV1Api

        api, place = CoreV1Api(self._client), self.place.namespace
        found = _ask(lambda: api.read_namespaced_persistent_volume_claim(name, place, _request_timeout=ANSWER_SECONDS))
        return Claim(str(found.status.phase), tuple(map(str, found.spec.access_modes or ())))

    def queue_version(self) -> str:
        """The version of Kueue's API that the cluster prefers; empty when it has none."""
        from kubernetes.client import ApisApi

        groups = _ask(lambda: ApisApi(self._client).get_api_versions(_request_timeout=ANSWER_SECONDS)).groups
        return next((str(group.preferred_version.version) for group in groups if group.name == KUEUE), "")

    def find_queue(self, name: str, version: str) -> None:
        """Look whether a LocalQueue is in our namespace."""
        from kubernetes.client import CustomObjectsApi

        api, place = CustomObjectsApi(self._client), self.place.namespace
        _ask(
            lambda: api.get_namespaced_custom_object(
                KUEUE, version, place, "localqueues", name, _request_timeout=ANSWER_SECONDS
            )
        )


@contextmanager
def open_answers(settings: "Settings") -> Iterator[ClusterAnswers]:
    """The cluster of the settings: KUBECONFIG's, else that of the pod's own account.

    Raises:
        ClusterSilentError: Neither names one that can be used.
    """
    from blocks.cluster.kubernetes.account import open_account

    try:
        account = open_account()
    except InvalidInputError as error:
        raise ClusterSilentError(f"{error.what}: {error.why}") from error
    with account.client as client:
        yield ClusterAnswers(client, Place(account.name, account.host, settings.namespace or account.namespace))


def _ask(call: Callable[[], Any]) -> Any:
    """What the API server answers."""
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return call()
    except ApiException as error:
        if error.status == 403:
            raise HiddenError from error
        if error.status == 404:
            raise LookupError from error
        unknown = "it does not know who asks; the token may have expired"
        raise ClusterSilentError(unknown if error.status == 401 else f"{error.status} {error.reason}") from error
    except (HTTPError, OSError) as error:
        raise ClusterSilentError(f"it does not answer: {error}") from error


def _body(document: Mapping[str, Any]) -> Any:
    """A request as JSON, for which the client has models of many fields."""
    return dict(document)

"""The API server, through the official client: TLS and credentials are its business, objects are JSON.

Its models are left out: they take ten times as long to make as the JSON that they are made from, and keep all of it.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import tenacity
import urllib3
from kubernetes.client.exceptions import ApiException

from blocks.cluster.kubernetes.account import open_account
from blocks.domain.errors import ClusterUnavailableError, MakerflowError, PermanentError, PlaceGoneError

FIELD_MANAGER = "makerflow"
CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0
RETRY_SECONDS = 20.0
"""How long a call insists while the API server is away, restarts or is busy."""

_TRANSIENT = {408, 429, 500, 502, 503, 504}
_RESTARTING = "RBAC:"
"""In its refusals, an API server that has just started names roles that it does not know yet."""

_BROKEN = (urllib3.exceptions.HTTPError, OSError, ApiException)

_NAMESPACE, _TERMINATING = "namespaces ", "because it is being terminated"
"""How a refusal begins where there is no such namespace, and what it holds where that is being deleted."""

Query = Mapping[str, str | int | bool]


class ApiError(PermanentError):
    """The API server refused.

    Attributes:
        status: Of HTTP.
        reason: Kubernetes' own word, such as `AlreadyExists`.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message
        super().__init__(f"Kubernetes refused: {message} ({reason or status}).{_remedy(status, message)}")


class NamespaceGoneError(ApiError, PlaceGoneError):
    """The namespace is not there, or is being deleted with all that runs in it."""


class _BusyError(Exception):
    """Trying again may help.

    Attributes:
        seconds: How long the API server wants us to wait at least.
    """

    def __init__(self, message: str, seconds: str = "") -> None:
        self.seconds = min(float(seconds), RETRY_SECONDS) if seconds.isdecimal() else 0.0
        super().__init__(message)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(_BACKOFF(state), error.seconds if isinstance(error, _BusyError) else 0.0)


_BACKOFF = tenacity.wait_random_exponential(multiplier=0.1, max=3)


class Api:
    """Calls the API server. Safe to use from several threads.

    Args:
        namespace: Empty for the one that the configuration names.
        files: Of the configuration, as KUBECONFIG names them; empty for those that the client finds.

    Attributes:
        requests: How many there were, by verb and kind: `{"PATCH jobs": 3}`.

    Raises:
        InvalidInputError: There is no configuration, or none that can be used.
    """

    def __init__(self, namespace: str = "", files: str = "") -> None:
        account = open_account(files)
        self.namespace = namespace or account.namespace
        self.host = account.host
        self._client = account.client
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """An object; None when there is none."""
        return self._call("GET", self._path(kind, name), absent=True)

    def find(self, path: str) -> dict[str, Any] | None:
        """What is at a path of the API; None when nothing is."""
        return self._call("GET", path, absent=True)

    def list(self, kind: str, query: Query) -> dict[str, Any]:
        """A list of objects as the API says it, with its version."""
        return self._call("GET", self._path(kind), query=query) or {}

    def create(self, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
        """Make an object; None when there is one of this name."""
        path = self._path(_plural(manifest))
        try:
            return self._call("POST", path, query={"fieldManager": FIELD_MANAGER}, body=manifest)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return None
            raise

    def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Have an object be as the manifest says, by server-side apply."""
        path = self._path(_plural(manifest), manifest["metadata"]["name"])
        query: Query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self._call("PATCH", path, query=query, body=manifest, media="application/apply-patch+yaml") or {}

    def replace(self, object: Mapping[str, Any]) -> dict[str, Any] | None:
        """Put an object in place of the version that it names; None when another version is there, or none."""
        path = self._path(_plural(object), object["metadata"]["name"])
        try:
            return self._call("PUT", path, query={"fieldManager": FIELD_MANAGER}, body=object, absent=True)
        except ApiError as error:
            if error.reason == "Conflict":
                return None
            raise

    def merge(self, kind: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        """Change some fields; None when there is no such object."""
        query: Query = {"fieldManager": FIELD_MANAGER}
        media = "application/merge-patch+json"
        return self._call("PATCH", self._path(kind, name), query=query, body=patch, media=media, absent=True)

    def delete(self, kind: str, name: str, *, grace_seconds: int | None = None) -> bool:
        """Delete an object and, in the background, all that it owns; False when there is none."""
        return self._call("DELETE", self._path(kind, name), body=_deletion(grace_seconds), absent=True) is not None

    def delete_all(self, kind: str, selector: str, *, grace_seconds: int | None = None) -> None:
        """Delete all that a selector selects."""
        self._call("DELETE", self._path(kind), query={"labelSelector": selector}, body=_deletion(grace_seconds))

    @contextmanager
    def stream(
        self, kind: str, name: str = "", sub: str = "", *, query: Query, idle_seconds: float
    ) -> Iterator[urllib3.HTTPResponse]:
        """What an endpoint goes on telling: a watch, or a log; it breaks where nothing has come for so long.

        Raises:
            ApiError: It refuses.
            ClusterUnavailableError: It does not answer, breaks off, or is away, restarts or is busy.
        """
        path = self._path(kind, name) + (f"/{sub}" if sub else "")
        try:
            with closing(self._request("GET", path, query, None, "", (CONNECT_SECONDS, idle_seconds))) as response:
                if response.status >= 300:
                    raise refusal(response.status, _document(response.read()))
                yield response
        except _BROKEN as error:
            raise self._unavailable(error) from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
        media: str = "application/json",
        absent: bool = False,
    ) -> dict[str, Any] | None:
        try:
            return self._insist(method, path, query or {}, body, media, absent)
        except _BusyError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> ClusterUnavailableError:
        return ClusterUnavailableError(f"the API server {self.host} does not answer: {error}")

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(_BusyError),
        stop=tenacity.stop_after_delay(RETRY_SECONDS),
        wait=_wait,
        reraise=True,
    )
    def _insist(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None, media: str, absent: bool
    ) -> dict[str, Any] | None:
        try:
            response = self._request(method, path, query, body, media, (CONNECT_SECONDS, READ_SECONDS))
            text = response.read()
            response.release_conn()
        except _BROKEN as error:
            raise _BusyError(str(error)) from error
        if response.status == 404 and absent:
            return None
        if response.status < 300:
            document: dict[str, Any] = json.loads(text)
            return document
        said = _document(text)
        if _may_pass(response.status, said["message"]):
            raise _BusyError(f"{response.status} {said['message'][:200]}", response.headers.get("Retry-After", ""))
        raise refusal(response.status, said)

    def _request(
        self,
        method: str,
        path: str,
        query: Query,
        body: Mapping[str, Any] | None,
        media: str,
        timeout: tuple[float, float],
    ) -> Any:
        headers = {"Accept": "application/json", **({"Content-Type": media} if body is not None else {})}
        asked = [(name, str(value)) for name, value in query.items()]
        _, url, headers, content, _ = self._client.param_serialize(
            method, path, query_params=asked, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        with self._lock:
            self.requests[f"{method} {_kind_of(path)}"] += 1
        return self._client.call_api(method, url, headers, content, _request_timeout=timeout).response

    def _path(self, kind: str, name: str = "") -> str:
        prefix = "/apis/batch/v1" if kind == "jobs" else "/api/v1"
        return f"{prefix}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")


def _deletion(grace_seconds: int | None) -> dict[str, Any]:
    """Of what is deleted, all that it owns is deleted in the background."""
    grace = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
    return {"propagationPolicy": "Background", **grace}


def _plural(object: Mapping[str, Any]) -> str:
    return f"{object['kind'].lower()}s"


def _kind_of(path: str) -> str:
    parts = path.split("/namespaces/")[-1].split("/")
    return parts[1] + ("/log" if parts[-1] == "log" else "")


def _remedy(status: int, message: str) -> str:
    """What to do about it, where that can be known."""
    if status == 401:
        return " Have the credentials of KUBECONFIG renewed."
    if status == 404 and message.startswith(_NAMESPACE):
        return " Create it by `kubectl create namespace`, or name another one by MAKERFLOW_NAMESPACE."
    if status == 403 and _TERMINATING in message:
        return " Name another namespace by MAKERFLOW_NAMESPACE, or create it again once it is gone."
    if status == 403 and "exceeded quota" in message:
        return " Start it when others have ended, or have the quota raised."
    if status == 403 and "cannot" in message:
        return " `makerflow doctor` says which rights are missing."
    return ""


def refusal(status: int, said: Mapping[str, Any]) -> MakerflowError:
    """The error for a status of HTTP and the `Status` that came with it."""
    reason, message = said.get("reason", ""), said.get("message", "")
    if _may_pass(status, message):
        return ClusterUnavailableError(f"the API server says {status} {reason}: {message}")
    gone = (status == 404 and message.startswith(_NAMESPACE)) or (status == 403 and _TERMINATING in message)
    return (NamespaceGoneError if gone else ApiError)(status, reason, message)


def _may_pass(status: int, message: str) -> bool:
    return status in _TRANSIENT or (status == 403 and _RESTARTING in message)


def _document(text: bytes) -> dict[str, Any]:
    """What a refusal says; a proxy before the API server has words of its own."""
    try:
        document = json.loads(text)
    except ValueError:
        document = {}
    known = document if isinstance(document, dict) else {}
    return {**known, "message": known.get("message") or text[:300].decode(errors="replace")}

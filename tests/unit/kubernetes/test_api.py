"""Where the cluster is, in a configuration that cannot be used, too; and what is said of a stream that fails."""

import json
from pathlib import Path

import pytest
import urllib3
import yaml
from kubernetes.client.exceptions import ApiException

from blocks.cluster.kubernetes.api import Api, ApiError, NamespaceGoneError
from blocks.domain.errors import ClusterUnavailableError, InvalidInputError

CONFIGURATION = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "https://cluster.example"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ours"}}],
    "current-context": "x",
    "users": [{"name": "u", "user": {}}],
}
OF_A_MISSING_FILE = {"server": "https://cluster.example", "certificate-authority": "/gone.pem"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "expected the node content"),
        ("[]", "it is no kubeconfig"),
        ("just words", "it is no kubeconfig"),
        ("contexts: 5\nclusters: 5", "it is no kubeconfig"),
        (yaml.safe_dump(CONFIGURATION | {"current-context": "y"}), "y"),
        (yaml.safe_dump(CONFIGURATION | {"clusters": [{"name": "c", "cluster": OF_A_MISSING_FILE}]}), "gone.pem"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path, content, said):
    file = Path(tmp_path, "config")
    file.write_text(content)
    with pytest.raises(InvalidInputError, match=f"{file}: it cannot be used: .*{said}"):
        Api(files=str(file))


def test_where_there_is_no_configuration_it_is_said_how_to_name_one(tmp_path):
    with pytest.raises(InvalidInputError, match=r"no cluster is configured here .* Set KUBECONFIG"):
        Api(files=f"{tmp_path}/nowhere")


def test_the_files_that_are_named_are_used_and_not_those_of_the_process(tmp_path, monkeypatch):
    Path(tmp_path, "config").write_text(yaml.safe_dump(CONFIGURATION))
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    api = Api(files=f"{tmp_path}/nowhere:{tmp_path}/config")
    assert (api.host, api.namespace) == ("https://cluster.example", "ours")
    assert Api("another", f"{tmp_path}/config").namespace == "another"


class Response:
    """What a request is answered with."""

    def __init__(self, status: int = 200, message: str = "", said: bytes = b"") -> None:
        self.status = status
        self._said = said or json.dumps({"message": message, "reason": "r"}).encode()
        self.is_closed = False

    def read(self):
        return self._said

    def close(self):
        self.is_closed = True


@pytest.fixture
def api(tmp_path):
    Path(tmp_path, "config").write_text(yaml.safe_dump(CONFIGURATION))
    return Api(files=f"{tmp_path}/config")


def open_stream(api, monkeypatch, answer):
    def call_api(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return type("Answer", (), {"response": answer})

    monkeypatch.setattr(api._client, "call_api", call_api)
    return api.stream("pods", query={}, idle_seconds=1)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_stream_that_an_api_server_is_too_busy_for_may_be_tried_again(api, monkeypatch, status):
    response = Response(status, "etcdserver: leader changed")
    with (
        pytest.raises(ClusterUnavailableError, match=f"{status} r: etcdserver"),
        open_stream(api, monkeypatch, response),
    ):
        pass
    assert response.is_closed


def test_a_stream_that_an_api_server_refuses_as_it_has_just_started_may_be_tried_again(api, monkeypatch):
    response = Response(403, 'pods is forbidden: RBAC: clusterrole "r" not found')
    with pytest.raises(ClusterUnavailableError, match="RBAC"), open_stream(api, monkeypatch, response):
        pass


@pytest.mark.parametrize(
    ("response", "kind", "said"),
    [
        (Response(403, "cannot watch pods"), ApiError, "cannot watch pods"),
        (Response(404, 'namespaces "ours" not found'), NamespaceGoneError, "not found"),
        (Response(400, said=b"<html>"), ApiError, "<html>"),
        (Response(400, said=b"[1]"), ApiError, "1"),
    ],
)
def test_a_refusal_of_a_stream_is_told_as_it_is(api, monkeypatch, response, kind, said):
    with pytest.raises(kind, match=said), open_stream(api, monkeypatch, response):
        pass


@pytest.mark.parametrize("error", [urllib3.exceptions.ProtocolError("b"), ApiException("b"), ConnectionError("b")])
def test_no_error_of_the_client_leaves_a_stream(api, monkeypatch, error):
    with (
        pytest.raises(ClusterUnavailableError, match=r"cluster\.example does not answer"),
        open_stream(api, monkeypatch, error),
    ):
        pass
    response = Response()
    with (
        pytest.raises(ClusterUnavailableError, match=r"cluster\.example does not answer"),
        open_stream(api, monkeypatch, response),
    ):
        raise error
    assert response.is_closed

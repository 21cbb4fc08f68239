"""What the caller of an API server does when that refuses or has too much to do; the server is played here."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from blocks.cluster.kubernetes.api import Api, ApiError
from blocks.domain.errors import PlaceGoneError

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


class Server(ThreadingHTTPServer):
    """Gives the answers that it was given, one after the other."""

    answers: list[tuple[int, dict[str, str], dict[str, object]]]
    asked: list[float]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(time.monotonic())
        status, headers, document = self.server.answers.pop(0)
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), _Handler) as made:
        made.answers, made.asked = [], []
        file = tmp_path / "config"
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{made.server_address[1]}"}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        config = {
            "clusters": [cluster],
            "contexts": [context],
            "current-context": "x",
            "users": [{"name": "u", "user": {}}],
        }
        file.write_text(yaml.safe_dump(config | {"apiVersion": "v1", "kind": "Config"}))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_an_api_server_that_has_too_much_to_do_is_left_alone_for_as_long_as_it_asks(server):
    server.answers = [(429, {"Retry-After": "1"}, {}), (503, {}, {}), (201, {}, CONFIG_MAP)]
    assert Api("here").create(CONFIG_MAP) == CONFIG_MAP
    assert server.asked[1] - server.asked[0] >= 1


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (404, 'namespaces "here" not found', "kubectl create namespace"),
        (403, 'User "me" cannot create resource "configmaps"', "makerflow doctor"),
        (403, "unable to create new content in namespace h because it is being terminated", "MAKERFLOW_NAMESPACE"),
        (401, "Unauthorized", "renewed"),
    ],
)
def test_a_refusal_says_what_to_do(server, status, message, remedy):
    server.answers = [(status, {}, {"message": message, "reason": "Some"})]
    with pytest.raises(ApiError, match=remedy) as refused:
        Api("here").create(CONFIG_MAP)
    assert message in str(refused.value)
    assert isinstance(refused.value, PlaceGoneError) == ("namespace" in message)
    assert len(server.asked) == 1

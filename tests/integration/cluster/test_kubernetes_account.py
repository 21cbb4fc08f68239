"""What is left of an account's private key on the machine; the API server, which asks for it, is played here."""

import base64
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.config import kube_config

from blocks.cluster.kubernetes.api import Api

ROOT = Path(__file__).parents[3]
ANSWER = b'{"gitVersion": "v1.34.4", "kind": "ConfigMap", "major": "1", "minor": "34"}'
OF_TRAININGS = """
from blocks.cluster.kubernetes.api import Api
api = Api("here", {file!r})
assert api.get("configmaps", "a")
with api.stream("configmaps", query={{}}, idle_seconds=5) as response:
    assert response.read()
"""
OF_THE_DOCTOR = """
from kubernetes.config import kube_config
from blocks.connections.settings import read_settings
from deployments.cli.cluster_answers import open_answers
kube_config.KUBE_CONFIG_DEFAULT_LOCATION = {file!r}
with open_answers(read_settings()) as answers:
    pass
answers._client.call_api("GET", answers.place.server + "/version")
"""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate, which both sides have and trust, and its key."""
    directory = tmp_path_factory.mktemp("identity")
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "certificate.pem").write_bytes(
        "# caf\u00e9\n".encode() + certificate.public_bytes(serialization.Encoding.PEM)
    )
    unencrypted = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (directory / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, unencrypted))
    return directory / "certificate.pem", directory / "key.pem"


@pytest.fixture
def address(identity: tuple[Path, Path]) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*identity)
    context.load_verify_locations(identity[0])
    context.verify_mode = ssl.CERT_REQUIRED
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def write(file: Path, address: str, identity: tuple[Path, Path], inline: str) -> str:
    """A KUBECONFIG that holds this much itself."""
    names = ("certificate-authority", "client-certificate", "client-key")
    files = dict(zip(names, (identity[0], *identity), strict=True))
    fields = {
        f"{name}-data" if name in inline else name: (
            base64.b64encode(each.read_bytes()).decode() if name in inline else str(each)
        )
        for name, each in files.items()
    }
    cluster = {name: value for name, value in fields.items() if name.startswith("certificate")}
    user = {name: value for name, value in fields.items() if name.startswith("client")}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": address, **cluster}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
        "users": [{"name": "u", "user": user}],
    }
    file.write_text(yaml.safe_dump(content))
    return str(file)


@pytest.mark.parametrize("inline", ["certificate-authority client-certificate client-key", "client-key"])
@pytest.mark.parametrize("script", [OF_TRAININGS, OF_THE_DOCTOR], ids=["trainings", "doctor"])
def test_of_a_process_that_is_killed_no_key_is_left(
    tmp_path: Path, address: str, identity: tuple[Path, Path], inline: str, script: str
) -> None:
    file = write(tmp_path / "config", address, identity, inline)
    (temporary := tmp_path / "temporary").mkdir()
    code = script.format(file=file) + "import time\nprint('connected', flush=True)\ntime.sleep(60)"
    environment = {"TMPDIR": str(temporary), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        process.send_signal(signal.SIGKILL)
    assert list(temporary.iterdir()) == []


def test_an_account_that_is_used_twice_is_read_twice(tmp_path: Path, address: str, identity: tuple[Path, Path]) -> None:
    file = write(tmp_path / "config", address, identity, "certificate-authority client-certificate client-key")
    assert all(Api("here", file).get("configmaps", "a") for _ in range(2))
    assert not any(Path(name).exists() for name in kube_config._temp_files.values())


def test_files_that_are_named_are_read_for_each_connection(
    tmp_path: Path, address: str, identity: tuple[Path, Path]
) -> None:
    for each in identity:
        (tmp_path / each.name).write_bytes(each.read_bytes())
    renewed = (tmp_path / identity[0].name, tmp_path / identity[1].name)
    api = Api("here", write(tmp_path / "config", address, renewed, ""))
    assert api.get("configmaps", "a")
    pools = api._client.rest_client.pool_manager
    assert pools.connection_pool_kw["key_file"] == str(renewed[1])
    assert pools.connection_pool_kw["ca_certs"] == str(renewed[0])

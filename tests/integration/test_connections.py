"""Connections that could never be meant are refused before a secret is kept."""

from functools import partial
from pathlib import Path

import pytest

from blocks.connections.platform import open_platform
from blocks.connections.s3 import set_connection
from blocks.domain.errors import InvalidInputError
from tests.certificates import write_certificates

connect = partial(set_connection, access_key_id="key", secret_access_key="secret")


def test_an_endpoint_has_one_connection(home: Path) -> None:
    connections = open_platform().registry.connections
    connections.put("first", "localhost:9000")
    for name in ("second", ""):
        with pytest.raises(InvalidInputError, match=r"'first' opens localhost:9000 .*--name first.*delete first"):
            connect("https://localhost:9000", name=name)
    assert [entry.name for entry in connections.list()] == ["first"]


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_cannot_be_is_refused(home: Path, port: str) -> None:
    with pytest.raises(InvalidInputError, match=r"localhost:\d+'?: there is no such port.*65535"):
        connect(f"localhost:{port}")


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("key.pem", "no certificate"),
        ("authority.pem", "private key"),
        ("nothing.pem", "no certificate"),
        ("missing.pem", "No such file"),
        ("", "directory"),
    ],
)
def test_a_file_that_is_no_authoritys_certificate_is_refused(home: Path, tmp_path: Path, file: str, why: str) -> None:
    write_certificates(tmp_path)
    (tmp_path / "nothing.pem").write_bytes(b"\xff\xfe")
    (tmp_path / "key.pem").write_text((tmp_path / "authority.pem").read_text().partition("-----BEGIN CERT")[0])
    with pytest.raises(InvalidInputError, match=f"The certificate file .*{why}"):
        connect("localhost:9000", ca_certificate_file=str(tmp_path / file))
    assert open_platform().registry.connections.list() == []

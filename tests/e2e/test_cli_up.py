import json
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pytest

from tests.servers import free_port


def first_document(stream: TextIO) -> dict[str, Any]:
    """The JSON document that a stream begins with, however many lines it takes; what follows stays unread."""
    read = ""
    for line in stream:
        read += line
        with suppress(json.JSONDecodeError):
            document = json.loads(read)
            assert isinstance(document, dict)
            return document
    raise AssertionError(f"the stream ended without a document: {read!r}")


@pytest.mark.req("COM-04")
def test_the_workflow_ui_is_served_until_it_is_asked_to_end(home: Path) -> None:
    command = [sys.executable, "-m", "deployments.cli", "up", "--port", str(free_port()), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            document = first_document(process.stdout)
            with urllib.request.urlopen(f"{document['url']}/", timeout=30) as page:  # noqa: S310 - our own server
                assert b"<html" in page.read().lower()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout.read() == ""
    assert document["api"] == f"{document['url']}/api"

import json
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import pytest

from blocks.connections.platform import open_platform
from blocks.registry.records import FlowRunRecord
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
    document, page = document_and_page_of_up()
    assert b"<html" in page.lower()
    assert document["api"] == f"{document['url']}/api"


@pytest.mark.req("COM-04", "COM-11")
def test_the_workflow_ui_is_served_also_when_earlier_runs_cannot_be_added(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    run = FlowRunRecord(
        id="r", flow_name="f", name="n", parameters={}, state="COMPLETED", message="", started=now, ended=now
    )
    open_platform().registry.flow_runs.record(run)
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "somebody:else")  # of the server alone, so its client has none
    document, page = document_and_page_of_up()
    assert b"<html" in page.lower()
    assert document["earlier_runs_added"] == 0


def document_and_page_of_up() -> tuple[dict[str, Any], bytes]:
    """What `makerflow up` prints, and what it serves before it is asked to end."""
    command = [sys.executable, "-m", "deployments.cli", "up", "--port", str(free_port()), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            document = first_document(process.stdout)
            with urllib.request.urlopen(f"{document['url']}/", timeout=30) as answer:  # noqa: S310 - our own server
                page = answer.read()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout.read() == ""
    return document, page

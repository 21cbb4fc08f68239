"""`makerflow up --detach`: the guard as a process of its own, waited for until it serves or has failed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from blocks.connections.settings import ENVIRONMENT, read_settings
from blocks.domain.errors import WorkflowServerUnavailableError
from deployments.up.layout import make_layout
from deployments.up.log_rotation import DETACHED

_SOURCE = Path(__file__).parents[2]


def start_detached(host: str, port: int) -> tuple[dict[str, Any], int]:
    """Start the guard in the background.

    Returns:
        What `makerflow up --json` prints once it serves, or when it has failed; and its exit code, 0 while it serves.

    Raises:
        WorkflowServerUnavailableError: It was ended while it started, or ended without a word.
    """
    log = make_layout(read_settings()).log(DETACHED)
    arguments = ["up", "--host", host, "--port", str(port), "--json"]
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "deployments.cli", *arguments],
            env={**ENVIRONMENT, "PYTHONPATH": str(_SOURCE)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as guard,
    ):
        try:
            document = _first_document(guard)
        except KeyboardInterrupt:
            guard.terminate()
            raise
        if document.get("status") == "UP":
            guard.returncode = 0  # it lives on: nobody is to wait for it
    if not document:
        # Who is asked to end does so in order, and has nothing to say of a platform that never served.
        asked = "`makerflow down` ended it while it started"
        why = f"it ended without a word; its log is {log}" if guard.returncode else asked
        raise WorkflowServerUnavailableError(f"{host}:{port}", why)
    return document, guard.returncode


def _first_document(guard: "subprocess.Popen[str]") -> dict[str, Any]:
    """What it prints first; empty when it ends without a word."""
    said = ""
    for line in guard.stdout or ():
        said += line
        if line == "}\n":
            break
    document: dict[str, Any] = json.loads(said) if said else {}
    return document

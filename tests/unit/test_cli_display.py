"""How progress is shown."""

import errno
import io
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.plan import ExitCause, Exited, ExitRecord, Placed, Queued, Staging, Started
from deployments.cli.live import LiveDisplay
from deployments.cli.progress import PlainDisplay, event_text
from deployments.cli.training_details import remedies

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
EVENTS = (
    Queued(run_id="r", sequence=1, at=NOW, reason="0 of 2 vCPUs are free"),
    Placed(run_id="r", sequence=2, at=NOW, where="this machine"),
    Staging(run_id="r", sequence=3, at=NOW, step="inputs", done_bytes=512, total_bytes=2048),
    Staging(run_id="r", sequence=4, at=NOW, step="inputs", done_bytes=2048, total_bytes=2048, finished=True),
    Staging(run_id="r", sequence=5, at=NOW, step="environment", finished=True),
    Started(run_id="r", sequence=6, at=NOW, attempt=1, deadline=NOW),
)


class Unwritable(io.StringIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def test_plain_lines_tell_each_step_once_and_the_output_inertly() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream, with_output=True)

    for event in EVENTS:
        display.event(event)
    display.output(["loss=0.1", "\x1b[2J[red]x"])

    assert stream.getvalue().splitlines() == [
        "[makerflow] 0 of 2 vCPUs are free",
        "[makerflow] placed on this machine",
        "[makerflow] inputs staged: 2.0 KiB",
        "[makerflow] environment ready",
        f"[makerflow] training, attempt 1, until {NOW.astimezone():%Y-%m-%d %H:%M:%S} at most",
        "loss=0.1",
        "[red]x",
    ]


def test_plain_lines_leave_the_output_out_when_it_is_not_asked_for() -> None:
    stream = io.StringIO()

    PlainDisplay(stream, with_output=False).output(["loss=0.1"])

    assert stream.getvalue() == ""


def test_why_it_waits_is_told_once() -> None:
    stream, reason = io.StringIO(), "waiting for 0.5 vCPU: no node has as many left."
    display = PlainDisplay(stream, with_output=False)

    display.status(SimpleNamespace(name="t", status=TrainingStatus.CREATE_IN_PROGRESS, reason=reason))
    display.event(Queued(run_id="r", sequence=1, at=NOW, reason=reason))

    assert stream.getvalue().splitlines() == [f"[t] CREATE IN PROGRESS: {reason}"]


@pytest.mark.parametrize(
    ("cause", "message", "tail", "text"),
    [
        ("ok", "", "", "worker 1 ended: ok"),
        ("stopped", "It was stopped.", "", "worker 1 ended: It was stopped."),
        ("user_error", "It exited with 3.", "Traceback", "worker 1 ended (user_error): It exited with 3."),
        (
            "environment_failed", "requirements.txt could not be installed.", "error: no gcc\n",
            "worker 1 ended (environment_failed): requirements.txt could not be installed.\nerror: no gcc",
        ),
        ("environment_failed", "It says:\nno gcc", "no gcc", "worker 1 ended (environment_failed): It says:\nno gcc"),
    ],
)  # fmt: skip
def test_how_a_worker_ended_is_said_once_with_what_an_installer_printed(
    cause: str, message: str, tail: str, text: str
) -> None:
    record = ExitRecord(attempt=1, rank=1, began=NOW, ended=NOW, cause=ExitCause(cause), message=message, tail=tail)

    assert event_text(Exited(run_id="r", sequence=1, at=NOW, record=record)) == text


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_reader_that_has_gone_or_a_full_disk_only_silences_the_display(error: OSError) -> None:
    display = PlainDisplay(Unwritable(error), with_output=True)

    display.output(["a", "b"])
    display.note("c")


def test_the_live_display_shows_bars_notes_and_the_last_lines_inertly() -> None:
    stream = io.StringIO()
    display = LiveDisplay(Console(file=stream, force_terminal=True, width=100), "[b]digits[/b]")

    for event in EVENTS:
        display.event(event)
    display.output([f"line {number}" for number in range(100)])
    display.output(["\x1b]0;title\x07[red]last"])
    display.note("Ctrl-C: it is stopped")
    display.close()

    picture = stream.getvalue()
    for part in ("[b]digits[/b]", "staging", "environment", "training", "2.0 KiB", "line 99", "[red]last", "Ctrl-C"):
        assert part in picture
    assert "line 50" not in picture
    assert "title" not in picture


@pytest.mark.parametrize(
    ("reason", "command"),
    [
        ("Worker 12: The entry point exited with code 1.", "makerflow training logs t --rank 12"),
        ("Worker 0: The entry point exited with code 1.", "makerflow training logs t"),
        ("The entry point exited with code 1.", "makerflow training logs t"),
    ],
)
def test_of_a_worker_that_failed_its_own_log_is_what_to_look_at(reason: str, command: str) -> None:
    row: Any = SimpleNamespace(name="t", status=TrainingStatus.FAIL_TRAIN, reason=reason, tuning_id=None)
    assert remedies(row)[0] == command

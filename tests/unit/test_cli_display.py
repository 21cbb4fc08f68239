"""How progress is shown."""

import errno
import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from blocks.domain.plan import Placed, Queued, Staging, Started
from deployments.cli.live import LiveDisplay
from deployments.cli.progress import PlainDisplay

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
        "[makerflow] waiting: 0 of 2 vCPUs are free",
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

"""What users wrote is printed as inert text."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.domain.errors import AccessDeniedError, InvalidInputError, StorageUnavailableError
from deployments.cli.failures import describe, failure_document
from deployments.cli.output import clean, clean_block, write_table


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\tb", "a\tb"),
        ("a\x08\x07\x00b\x9b31m", "ab31m"),
        ("\u202eevil", "evil"),
        ("[bold]not markup[/bold] :smile:", "[bold]not markup[/bold] :smile:"),
    ],
)
def test_a_terminal_finds_nothing_to_act_upon(printed: str, shown: str) -> None:
    assert clean(printed) == shown


@given(st.text())
def test_no_control_character_but_the_tab_survives(text: str) -> None:
    assert all(
        character == "\t" or not (ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0) for character in clean(text)
    )


def test_a_block_keeps_its_lines() -> None:
    assert clean_block("a\x1b[1m\nb\r\n") == "a\nb"


def test_a_table_for_a_pipe_is_neither_cut_nor_wrapped_nor_marked_up(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300

    write_table(("NAME", "REASON"), [["[red]a[/red]", long], ["b\x1b[2J", ":smile:"]], empty="none")

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["[red]a[/red]", long]
    assert lines[2].split() == ["b", ":smile:"]


def test_a_table_for_a_terminal_cuts_reasons_to_the_room_that_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "dumb")

    write_table(("NAME", "REASON"), [["one", "why " * 100], ["two", "because"]], empty="none")

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "why why" in lines[1]
    assert lines[1].endswith("…")
    assert len(lines[1]) == 60
    assert "because" in lines[2]


def test_a_reader_that_has_gone_is_no_error_and_no_reason_to_print_on() -> None:
    program = (
        "from deployments.cli.output import close_output, prepare_output, write, write_lines\n"
        "prepare_output()\n"
        "import itertools, sys\n"
        "write_lines('x' * 999 for _ in itertools.count())\n"
        "write('more')\n"
        "close_output()\n"
        "sys.stderr.write('done')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert process.stderr.read() == "done"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidInputError("x", "is wrong", "Mend it."), 2),
        (AccessDeniedError("bucket", "path", "read"), 1),
        (StorageUnavailableError("path", "gone"), 1),
        (KeyError("surprise"), 1),
        (PermissionError(13, "Permission denied", "/x"), 1),
    ],
)
def test_every_error_becomes_a_message_and_an_exit_code(error: Exception, code: int) -> None:
    failure = describe(error)
    document = failure_document(failure)

    assert failure.code == code
    assert document["reason"] == failure.message
    assert document["status"] == ("INVALID" if code == 2 else "FAILED")


def run_with(redirection: str, program: str) -> subprocess.CompletedProcess[str]:
    """A program whose streams a shell has redirected, with the command's modules imported."""
    head = "import sys\nfrom deployments.cli.output import *\nfrom deployments.cli.main import run\n"
    command = ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, head + program]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leads_nowhere_and_no_file_takes_its_place(redirection: str) -> None:
    ended = run_with(
        redirection,
        "prepare_output()\n"
        "with open('/dev/null') as first, reserved_stdout() as stdout:\n"
        "    print('x', file=stdout)\n"
        "    descriptor = first.fileno()\n"
        "write('y')\n"
        "write('z', error=True)\n"
        "sys.exit(0 if descriptor > 2 and not sys.stdin.read() else 'taken')\n",
    )

    assert (ended.returncode, ended.stdout) == (0, "")


def test_a_full_disk_under_stdout_is_told_in_one_line_and_fails_the_command() -> None:
    ended = run_with(">/dev/full", "sys.exit(run(['--version']))\n")

    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "Error: The operating system refused: stdout cannot be written: No space left on device."
    ]


def test_a_full_disk_under_stderr_fails_nothing() -> None:
    assert run_with("2>/dev/full", "prepare_output()\nwrite('x', error=True)\nwrite('y')\n").stdout == "y\n"

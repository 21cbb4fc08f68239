"""How bad a line is: what loggers write counts, what merely holds the word does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.domain.log_levels import LevelReader, level_of
from blocks.domain.log_records import LogLevel

ERRORS = [
    "ERROR: the disk is full",
    "ERROR the disk is full",
    "Error: Cannot find module",
    "error: linker failed",
    "[ERROR] the disk is full",
    "[error]: the disk is full",
    "<Error> the disk is full",
    "ERROR:root:the disk is full",
    "CRITICAL:train:out of memory",
    "fatal: not a git repository",
    "2026-11-23 16:00:01,123 - loader - ERROR - the disk is full",
    "2026-11-23 16:00:01,123 ERROR loader the disk is full",
    "2026-11-23T16:00:01.5Z ERROR the disk is full",
    "[2026-11-23 16:00:01] ERROR: the disk is full",
    "[2026-11-23 16:00:01,123][loader][ERROR] the disk is full",
    "16:00:01 | ERROR    | loader:12 - the disk is full",
    "2026-11-23 16:00:01.123 | CRITICAL | __main__:<module>:3 - the disk is full",
    "E1123 16:00:01.123456 4711 loader.cc:12] the disk is full",
    "F1123 16:00:01.123456 4711 loader.cc:12] the disk is full",
    '{"level": "error", "msg": "the disk is full"}',
    '{"time": "2026-11-23", "severity": "ERROR", "message": "x"}',
    '{"asctime": "x", "levelname": "CRITICAL"}',
    'time="2026-11-23T16:00:01Z" level=fatal msg="the disk is full"',
    "[rank0]: ERROR: the disk is full",
]
WARNINGS = [
    "WARNING: slow",
    "[WARN] slow",
    "W1123 16:00:01.123456 4711 loader.cc:12] slow",
    "WARNING:root:slow",
    "2026-11-23 16:00:01,123 - loader - WARNING - an error was seen",
    '{"level":"warn","msg":"an error was seen"}',
    "level=warning msg=slow",
]
OTHERS = [
    "",
    "no error was found",
    "error_rate=0.3",
    "step=3 error=0.25 loss=0.1",
    "loss=0.3 (error 0.1)",
    "INFO: 3 errors were mended",
    "2026-11-23 16:00:01,123 - loader - INFO - ERROR is a word",
    '{"level": "info", "msg": "error"}',
    "DEBUG:root:ERROR",
    "The warning light is off",
    "Traceback is a word",
    "step=1 loss=0.5",
    "validation error 0.13",
    "Epoch 3/10 - error: 0.13",
]


@pytest.mark.req("LOG-02")
@pytest.mark.parametrize("line", ERRORS)
def test_a_line_that_a_logger_marks_as_error_is_one(line: str) -> None:
    assert level_of(line) is LogLevel.ERROR


@pytest.mark.req("LOG-02")
@pytest.mark.parametrize("line", WARNINGS)
def test_a_line_that_a_logger_marks_as_warning_is_one(line: str) -> None:
    assert level_of(line) is LogLevel.WARNING


@pytest.mark.req("LOG-02")
@pytest.mark.parametrize("line", OTHERS)
def test_any_other_line_is_information(line: str) -> None:
    assert level_of(line) is LogLevel.INFO


TRACEBACK = """before
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    load()
  File "train.py", line 1, in load
    raise KeyError("x")
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "train.py", line 5, in <module>
    raise ValueError("no such thing")
ValueError: no such thing
after""".splitlines()


def levels(lines: list[str], pieces: int) -> str:
    """The first letters of the levels, read in so many pieces by a reader each."""
    state, found = "", ""
    for start in range(0, len(lines), pieces):
        reader = LevelReader(state)
        found += "".join(entry.level[0] for entry in reader.read(lines[start : start + pieces]))
        state = reader.state
    return found


@pytest.mark.parametrize("pieces", [1, 2, 3, 100])
def test_all_of_a_traceback_is_an_error_however_it_is_read(pieces: int) -> None:
    assert levels(TRACEBACK, pieces) == "IEEEEEEIEIEEEEI"


def test_a_traceback_with_the_prefix_of_a_launcher_is_one() -> None:
    lines = [f"[rank0]: {line}" for line in TRACEBACK]
    assert levels(lines, 1) == "IEEEEEEIEIEEEEI"


@given(st.lists(st.text(alphabet="Traceback(mostrecentcallast): \tERORWN[]{}-\"'=:;levl.0123456789", max_size=400)))
def test_no_line_is_too_strange(lines: list[str]) -> None:
    assert [entry.body for entry in LevelReader().read(lines)] == lines

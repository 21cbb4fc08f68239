import errno
from pathlib import Path

import pytest

from blocks.cluster.outcome import Outcome
from blocks.domain.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    CapacityError,
    EnvironmentFailedError,
    InputChangedError,
    InputMissingError,
    InvalidInputError,
    StorageUnavailableError,
)
from blocks.launcher.causes import staging_outcome, uploading_outcome
from blocks.launcher.state import AgentState
from blocks.launcher.tree import RefusedOutputError

HOME = Path("/the/home")
FULL = CapacityError("The disk of /out is full", "9 bytes", "0 bytes", "Free some space there, then try again.")
DENIED = AccessDeniedError("b", "s3://b/k", "read")


def test_a_new_agent_finds_what_the_one_before_knew(tmp_path):
    state = AgentState("running", "", 2, 1, 12.5, 1, 0, Outcome("ok", "fine"), None)
    state.save(tmp_path / "state.json")
    assert AgentState.load(tmp_path / "state.json") == state


def test_the_first_agent_begins_at_the_beginning(tmp_path):
    assert AgentState.load(tmp_path / "state.json") == AgentState()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (InputMissingError("s3://b/k"), "input_missing"),
        (InputChangedError("s3://b/k", "1", "2"), "input_changed"),
        (DENIED, "input_missing"),
        (EnvironmentFailedError("requirements.txt", "no such package"), "environment_failed"),
        (StorageUnavailableError("s3://b/k", "503"), "lost"),
        (OSError(errno.ENOSPC, "full"), "disk_full"),
        (KeyError("x"), "launcher_error"),
    ],
)
def test_each_error_of_preparing_has_its_cause(error, cause):
    assert staging_outcome(error, HOME).cause == cause


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DENIED, "output_denied"),
        (RefusedOutputError("m", "a link", "x"), "user_error"),
        (InvalidInputError("file:///out", "a file is there", "x"), "output_denied"),
        (StorageUnavailableError("s3://b/k", "503"), "lost"),
        (OSError(errno.EDQUOT, "full"), "disk_full"),
        (FULL, "disk_full"),
    ],
)
def test_each_error_of_uploading_has_its_cause(error, cause):
    assert uploading_outcome(error, HOME).cause == cause


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FULL, str(FULL)),
        (OSError(errno.ENOSPC, "full"), "The disk of /the/home is full. Free some space there, then try again."),
        (
            OSError(errno.ENOSPC, "full", "/the/file"),
            "The disk of /the/file is full. Free some space there, then try again.",
        ),
        (AlreadyExistsError("training", "t", "trn-1"), str(AlreadyExistsError("training", "t", "trn-1"))),
        (RuntimeError("It broke."), "RuntimeError: It broke. The agent's log says more."),
    ],
)
def test_a_full_disk_is_named_with_what_to_do_and_no_message_of_ours_shows_its_class(error, message):
    assert uploading_outcome(error, HOME).message == message

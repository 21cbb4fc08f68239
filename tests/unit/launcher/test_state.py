import errno

import pytest

from blocks.domain.errors import (
    AccessDeniedError,
    EnvironmentFailedError,
    InputChangedError,
    InputMissingError,
    InvalidInputError,
    StorageUnavailableError,
)
from blocks.launcher.causes import staging_outcome, uploading_outcome
from blocks.launcher.state import AgentState, Outcome
from blocks.launcher.tree import RefusedOutputError

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
    assert staging_outcome(error).cause == cause


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DENIED, "output_denied"),
        (RefusedOutputError("m", "a link", "x"), "user_error"),
        (InvalidInputError("file:///out", "a file is there", "x"), "output_denied"),
        (StorageUnavailableError("s3://b/k", "503"), "lost"),
        (OSError(errno.EDQUOT, "full"), "disk_full"),
    ],
)
def test_each_error_of_uploading_has_its_cause(error, cause):
    assert uploading_outcome(error).cause == cause

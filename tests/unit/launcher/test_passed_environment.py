"""Three lists of variables go down from the agent to what it starts; what one lets through the other must have got."""

from blocks.cluster.agent_process import _HANDED_DOWN_NAMES, _INHERITED
from blocks.cluster.processes import MARKER
from blocks.launcher.entry import PASSED_ON
from blocks.launcher.pip_settings import PASSED

PYTHON_ITSELF = {"PYTHONDONTWRITEBYTECODE"}
CONFIDENTIAL = set(_HANDED_DOWN_NAMES)


def test_an_installer_gets_what_the_agent_has_of_the_machine_and_what_it_reaches_its_index_with() -> None:
    assert (_INHERITED - PYTHON_ITSELF) | CONFIDENTIAL | {MARKER} == PASSED


def test_an_entry_point_gets_nothing_but_what_the_agent_shows_everybody() -> None:
    assert set(PASSED_ON) < _INHERITED


def test_what_may_hold_a_password_is_in_no_environment_that_an_entry_point_can_read() -> None:
    assert not CONFIDENTIAL & (_INHERITED | set(PASSED_ON))

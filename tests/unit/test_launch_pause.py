"""How often a run that is lost is launched again."""

import pytest

from tasks import launch_pause
from tasks.launch_pause import LaunchPause


@pytest.mark.req("COM-04")
def test_it_grows_until_the_run_is_there_again(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(launch_pause, "monotonic", lambda: clock[0])
    pause, waited = LaunchPause(), []
    for _ in range(7):
        began = clock[0]
        while not pause.is_over:
            clock[0] += 1
        waited.append(clock[0] - began)
        pause.begin()
    assert waited == [0, 2, 4, 8, 16, 30, 30]
    pause.end()
    assert pause.is_over

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.connections.settings import Settings
from deployments.up import log_rotation
from deployments.up.layout import make_layout
from deployments.up.log_rotation import DETACHED, FLOW_RUNS, bound_shared_logs
from tests.waiting import wait_for

SAYS = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


@pytest.mark.parametrize("name", [DETACHED, FLOW_RUNS])
def test_a_log_that_became_too_long_is_set_aside_while_others_go_on_appending_to_it(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make_layout(Settings(home=home))
    log = layout.log(name)
    command = [sys.executable, "-c", SAYS]
    with log.open("ab") as file, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, text=True) as process:
        assert process.stdin is not None
        process.stdin.write("before\n")
        process.stdin.flush()
        wait_for(lambda: log.read_text() or None, "it to be written")
        bound_shared_logs(layout)
        assert log.read_text() == "before\n", "it is short"
        monkeypatch.setattr(log_rotation, "LOG_MEGABYTES", 0)
        bound_shared_logs(layout)
        assert log.with_suffix(".log.1").read_text() == "before\n"
        process.communicate("after\n")
    assert log.read_text() == "after\n"


def test_a_long_log_for_whose_copy_no_room_is_left_is_emptied_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, aside: Path) -> None:
        aside.write_text("half of it")
        raise OSError(errno.ENOSPC, "no room")

    layout = make_layout(Settings(home=home))
    layout.log(FLOW_RUNS).write_text("too long")
    monkeypatch.setattr(log_rotation, "LOG_MEGABYTES", 0)
    monkeypatch.setattr(shutil, "copyfile", full)
    bound_shared_logs(layout)
    assert layout.log(FLOW_RUNS).read_text() == ""
    assert [file.name for file in layout.logs.iterdir()] == [layout.log(FLOW_RUNS).name]

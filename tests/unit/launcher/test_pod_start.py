"""How the sidecar begins in a pod."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.cluster.pod_settings import CONFIDENTIAL_VARIABLE

BECOMES = """
import os, sys
from pathlib import Path
from blocks.launcher import pod_start
pod_start.STAGED = Path(sys.argv[1])
shows = "import os, sys; print(sys.stdin.read(), sorted(k for k in os.environ if k.startswith('MAKERFLOW')))"
execve = os.execve
def become(program, arguments, environment):
    print(arguments[1:], flush=True)
    execve(program, [program, "-c", shows], environment)
os.execve = become
pod_start.main()
"""


def start(staged: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, CONFIDENTIAL_VARIABLE: '{"key": "ä"}', "MAKERFLOW_POD": "{}"}
    command = [sys.executable, "-c", BECOMES, str(staged)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_the_credentials_go_from_the_environment_to_the_standard_input(tmp_path):
    (tmp_path / "staged").touch()
    with start(tmp_path / "staged") as process:
        said, _ = process.communicate(timeout=30)
    assert said.splitlines()[0] == "['-m', 'blocks.launcher.pod', 'sync']"
    kept, _, names = said.splitlines()[1].rpartition("} ")
    assert kept == '{"key": "ä"'
    assert CONFIDENTIAL_VARIABLE not in names
    assert "MAKERFLOW_POD" in names


def test_the_sidecar_waits_for_the_inputs_and_ends_when_it_is_asked_to(tmp_path):
    with start(tmp_path / "staged") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        (tmp_path / "staged").touch()
        said, _ = process.communicate(timeout=30)
        assert said.startswith("['-m', 'blocks.launcher.pod', 'sync']")
    with start(tmp_path / "never") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        process.terminate()
        assert process.wait(30) == 143

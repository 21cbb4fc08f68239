"""How the sidecar begins in a pod."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.cluster.pod_settings import CONFIDENTIAL_VARIABLE
from tests.waiting import wait_until

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


def is_caught(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1)


READS = """
import os, sys
from blocks.launcher import pod, pod_start
pod_start.hand_over(b'{"connections": {"s3": {"key": "secret"}}}')
print(pod._confidential().connections["s3"]["key"], repr(open("/proc/self/fd/0").read()))
"""


def test_nothing_is_left_of_the_credentials_where_a_link_could_lead():
    said = subprocess.run([sys.executable, "-c", READS], stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert said.stdout == "secret ''\n"


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
        wait_until(lambda: is_caught(process.pid, signal.SIGTERM), "it to be ready for being ended")
        process.terminate()
        assert process.wait(30) == 143

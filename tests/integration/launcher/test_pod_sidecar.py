"""A worker's supervisor and its sidecar as they run in a pod, with user code that means no good."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.cluster.pod_settings import CONFIDENTIAL_VARIABLE, RANK, VARIABLE, PodSettings
from blocks.domain.plan import PlannedOutput
from blocks.launcher import pod_supervisor
from tests.integration.launcher.supervised import Supervised, supervise
from tests.unit.kubernetes.plans import make_plan
from tests.waiting import wait_until

SIDECAR = """
import sys
from pathlib import Path
from blocks.launcher import pod, pod_layout
place = Path(sys.argv[1])
pod.ROOT, pod.PLANS, pod.TERMINATION_LOG = place / "makerflow", place / "plans", place / "sidecar.json"
pod_layout.JOURNAL = place / "journal"
sys.exit(pod.main(["sync"]))
"""
REMOVED = "The entry point removed the directory that its run lies in, and with it its output."
OUTPUT_REMOVED = "The entry point removed or replaced files in which its output was kept, so that it is lost."


def start_sidecar(place: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        VARIABLE: PodSettings(attempt=1, addresses=("127.0.0.1",), token="token").to_json(),
        RANK: "0",
        CONFIDENTIAL_VARIABLE: json.dumps({"connections": {}, "environment": {}}),
    }
    return subprocess.Popen([sys.executable, "-c", SIDECAR, str(place)], env=environment, stdout=subprocess.PIPE)


@dataclass
class RunningPod:
    """Both containers, of which the second is ended with the first, as the kubelet does it."""

    place: Path
    worker: Supervised
    sidecar: subprocess.Popen[bytes]

    def end(self, seconds: float = 30) -> dict[str, str]:
        """Wait for the end of both; what the sidecar said."""
        self.worker.process.wait(seconds)
        self.sidecar.terminate()
        said, _ = self.sidecar.communicate(timeout=seconds)
        assert self.sidecar.returncode == 0
        assert json.loads(said.splitlines()[-1].removeprefix(b"\x1e")).keys() == {"end"}
        document: dict[str, str] = json.loads((self.place / "sidecar.json").read_bytes())
        return document


@pytest.fixture
def run_pod(tmp_path: Path) -> Iterator[Callable[[str], RunningPod]]:
    """Run a program as a worker of a pod."""
    started: list[RunningPod] = []

    def run(program: str) -> RunningPod:
        log = PlannedOutput(kind="log", path=f"file://{tmp_path}/store/log", connection="")
        model = PlannedOutput(kind="model", path=f"file://{tmp_path}/store/model", connection="")
        plan = make_plan(run_id="run-1", inputs=(), outputs=(log, model))
        for name in ("plans", "journal"):
            (tmp_path / name).mkdir()
        (tmp_path / "plans" / "plan.json.gz.00").write_bytes(gzip.compress(plan.model_dump_json().encode()))
        pod = {"argv": ["main.py"], "deadline": None, "stop_file": str(tmp_path / "stop"), "lifeline": False}
        directory = tmp_path / "makerflow" / "runs" / "run-1" / "workers" / "0"
        (directory / "model").mkdir(parents=True)
        worker = supervise(directory, sys.executable, program, supervised_by=pod_supervisor.__file__, **pod)
        started.append(RunningPod(tmp_path, worker, start_sidecar(tmp_path)))
        return started[-1]

    yield run
    for pod in started:
        for process in (pod.worker.process, pod.sidecar):
            process.kill()
            process.wait()
        for stream in (pod.worker.process.stdin, pod.sidecar.stdout):
            if stream:
                stream.close()


def test_what_it_leaves_is_uploaded(run_pod, tmp_path):
    pod = run_pod("print('done')\nopen('../model/weights', 'w').write('w')")
    assert pod.end()["cause"] == "ok"
    assert pod.worker.process.returncode == 0
    assert (tmp_path / "store" / "model" / "weights").read_text() == "w"
    assert (tmp_path / "store" / "log" / "output.log").read_text() == "done\n"


HOSTILE = """
import os, time
worker = os.path.realpath("..")
def put(name, what):
    path = os.path.join(worker, name)
    draft = path + ".new"
    if what == "pipe":
        os.mkfifo(draft)
    elif what == "link":
        os.symlink("/dev/zero", draft)
    elif what == "sparse":
        open(draft, "w").close()
        os.truncate(draft, 1 << 40)
    else:
        open(draft, "w").write(what)
    os.replace(draft, path)
for name in ("exit-1.json", "report.json", ".report.json", "stop-1.json", "delivered.json", "doubts.json",
             "open-1.json", ".open-1.json", "earlier.log", "../../state.json", "../../stop.json",
             "../../../../events", "../../agent.log", "../../../../events.jsonl"):
    if (name, {what!r}) != ("earlier.log", "sparse"):  # it would be uploaded, for hours
        put(name, {what!r})
    print(name, flush=True)
time.sleep(2.5)
print("done")
"""


@pytest.mark.req("TRN-13")
@pytest.mark.parametrize(
    "what", ["pipe", "link", "sparse", "{", "[" * 100_000], ids=["pipe", "link", "sparse", "half", "deep"]
)
def test_whatever_it_puts_where_documents_are_looked_for_its_pod_ends_as_it_does(run_pod, tmp_path, what):
    pod = run_pod(HOSTILE.format(what=what))
    said = pod.end()
    assert pod.worker.process.returncode in (0, 1)
    assert "done" in pod.worker.output().decode()
    assert said["cause"] in ("ok", "output_denied", "launcher_error", "stopped"), said


@pytest.mark.req("TRN-13")
@pytest.mark.parametrize(
    "program",
    [
        "import shutil\nshutil.rmtree(worker)",
        "import shutil\nshutil.rmtree(os.path.dirname(os.path.dirname(worker)))",
        "import shutil\nshutil.rmtree(worker)\nopen(worker, 'w')",
        "os.rename(worker, worker + '.old')\nos.symlink('/dev/shm', worker)",
    ],
)
def test_one_that_removes_or_replaces_its_directory_is_told_so(run_pod, tmp_path, program):
    pod = run_pod(f"import os\nworker = os.path.realpath('..')\n{program}")
    said = pod.end()
    assert pod.worker.process.returncode == 1
    assert (said["cause"], said["message"]) == ("user_error", REMOVED)


@pytest.mark.req("TRN-13")
@pytest.mark.parametrize(
    "program",
    [
        "import shutil\nshutil.rmtree('../output')",
        "import shutil\nshutil.rmtree('../output')\nopen('../output', 'w')",
        "for name in os.listdir('../output'): os.unlink('../output/' + name)",
        "for name in os.listdir('../output'): os.replace('main.py', '../output/' + name)",
    ],
)
def test_one_that_removes_its_output_is_told_so(run_pod, program):
    pod = run_pod(f"import os\nprint('said', flush=True)\n{program}")
    said = pod.end()
    assert said["message"].startswith(OUTPUT_REMOVED)
    assert pod.worker.process.returncode == (said["cause"] != "ok")


@pytest.mark.req("TRN-13")
def test_one_that_keeps_its_record_from_being_written_does_not_keep_its_pod(run_pod, tmp_path):
    program = "import os, time\nos.mkdir('../exit-1.json')\nwhile not os.path.exists({!r}): time.sleep(0.1)"
    pod = run_pod(program.format(f"{tmp_path}/journal/state.json"))
    pod.end()
    assert pod.worker.process.returncode == 1


def test_a_sidecar_that_was_killed_begins_again(run_pod, tmp_path):
    pod = run_pod("import time\nopen('../model/weights', 'w').write('w')\ntime.sleep(3)\nprint('done')")
    wait_until((tmp_path / "journal" / "state.json").exists, "the sidecar to begin")
    pod.sidecar.kill()
    pod.sidecar.communicate()
    pod.sidecar = start_sidecar(tmp_path)
    assert pod.end()["cause"] == "ok"
    assert pod.worker.process.returncode == 0
    assert (tmp_path / "store" / "model" / "weights").read_text() == "w"

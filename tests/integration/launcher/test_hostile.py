"""Entry points that mean no good, each with the state that its run must end in."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.cluster import cgroups
from blocks.domain.plan import InputKind, OutputKind, Resources, RestartPolicy, RunImage
from tests.integration.launcher.runs import planned, write_files
from tests.processes import processes_of
from tests.waiting import wait_until

memory_is_held = cgroups.enforcement().memory

CHECKPOINTS = """
import os
directory = os.environ["EM_CHECKPOINT_DIR"]
for number in range({count}):
    with open(f"{{directory}}/step-{{number}}", "w") as stream:
        stream.write(str(number))
"""


@pytest.mark.req("TRN-13")
def test_one_that_forks_daemonises_and_cleans_its_environment_leaves_nothing(launch, directory):
    run = launch(
        "import os, subprocess, sys\n"
        "for _ in range(3):\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True, env={})\n"
        "print('done')"
    )
    assert run.finished()["cause"] == "ok"
    assert run.records()[0]["message"] == "Processes that it left running were ended."
    assert not processes_of(directory)
    assert run.cluster.stop(run.handle, 0).remaining == 0


@pytest.mark.req("TRN-13")
def test_one_that_ignores_sigterm_is_stopped_all_the_same(launch, directory):
    run = launch(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready')\n"
        "while True: time.sleep(60)",
        workers=2,
    )
    run.wait_for_output("ready", 0)
    run.wait_for_output("ready", 1)
    began = time.monotonic()
    report = run.cluster.stop(run.handle, 0.5)
    assert time.monotonic() - began < 10
    assert (report.remaining, run.finished()["cause"]) == (0, "stopped")
    assert {record["signal"] for record in run.records().values()} == {9}
    assert not processes_of(directory)


@pytest.mark.req("TRN-09")
def test_one_that_sleeps_past_the_time_limit_is_ended(launch, directory):
    run = launch("import time\ntime.sleep(60)", workers=2, time_limit_seconds=0.5)
    finished = run.finished()
    assert finished["cause"] == "time_limit"
    assert "The time limit of 0.5 seconds was reached." in finished["message"]
    assert not processes_of(directory)


@pytest.mark.req("TRN-09")
def test_one_that_fills_its_data_storage_is_ended_and_told_why(launch):
    program = (
        "import os, time\n"
        "for n in range(100):\n"
        "    open(os.environ['EM_CHECKPOINT_DIR'] + f'/{n}', 'wb').write(bytes(1 << 20))\n"
        "print('written')\ntime.sleep(60)"
    )
    finished = launch(program, storage_mib=50).finished()
    assert finished["cause"] == "disk_full"
    assert finished["message"].startswith("The data storage of 0.0524 GB is full.")


def test_one_that_meets_a_full_disk_ends_as_such(launch):
    finished = launch("raise OSError(28, 'No space left on device')").finished()
    assert finished["cause"] == "disk_full"


@pytest.fixture
def small_disk(directory: Path) -> Iterator[int]:
    """The product's home is a disk of so many bytes."""
    size = 16 << 20
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs more rights than this machine gives")
    yield size
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_one_that_fills_the_disk_to_the_last_byte_still_gets_its_last_event(launch, small_disk):
    run = launch(
        "import os\n"
        "with open(os.environ['TMPDIR'] + '/all', 'wb', buffering=0) as stream:\n"
        "    try:\n"
        "        while stream.write(bytes(1 << 16)): pass\n"
        "    except OSError:\n"
        "        while True: stream.write(b'x')"
    )
    finished = run.finished()
    assert finished["cause"] == "disk_full"
    assert "No space left on device" in finished["message"]
    assert run.records()[0]["code"] == 1
    assert run.layout.state.exists()


@pytest.mark.req("TRN-08")
def test_one_that_leaves_nothing_is_complete_and_says_so(launch):
    finished = launch("pass").finished()
    assert finished["cause"] == "ok"
    assert finished["message"] == "The entry point left nothing in EM_MODEL_DIR, so no model was written."


def test_one_that_is_killed_by_a_signal_is_lost(launch):
    finished = launch("import os\nos.kill(os.getpid(), 15)", restarts=RestartPolicy(budget=0)).finished()
    assert finished["cause"] == "lost"
    assert "SIGTERM" in finished["message"]


@pytest.mark.skipif(not memory_is_held, reason="this machine does not let us hold memory")
def test_one_that_takes_too_much_memory_is_tried_once_more_and_then_told_why(launch):
    run = launch("x = bytearray(500 << 20)\nprint(len(x))", resources=Resources(vcpus=1, memory_mib=100))
    finished = run.finished()
    assert finished["cause"] == "out_of_memory"
    assert "100 MiB" in finished["message"]
    assert len(run.events("restarted")) == 1


@pytest.mark.req("TRN-08")
def test_thousands_of_checkpoints_all_arrive(launch):
    run = launch(CHECKPOINTS.format(count=3000))
    assert run.finished()["cause"] == "ok"
    assert run.uploaded(OutputKind.CHECKPOINT) == {f"step-{n}": str(n).encode() for n in range(3000)}
    assert len(run.events("checkpointed")) == 3000


@pytest.mark.req("TRN-08")
def test_a_checkpoint_is_uploaded_while_it_runs_but_not_before_it_is_complete(launch):
    run = launch(
        "import os, time\n"
        "directory = os.environ['EM_CHECKPOINT_DIR']\n"
        "with open(directory + '/slow', 'w', buffering=1) as stream:\n"
        "    for line in range(25):\n"
        "        stream.write('half\\n')\n"
        "        time.sleep(0.1)\n"
        "print('written', flush=True)\n"
        "time.sleep(60)"
    )
    event = run.wait_for("checkpointed")
    assert "written" in run.output()
    assert event["size"] == 125
    assert run.uploaded(OutputKind.CHECKPOINT) == {"slow": b"half\n" * 25}
    assert not run.events("exited")


@pytest.mark.req("TRN-08")
def test_a_checkpoint_that_is_written_with_long_pauses_is_not_uploaded_half(launch, directory):
    go = directory.parent / "go"
    run = launch(
        "import os, pathlib, time\n"
        "directory = os.environ['EM_CHECKPOINT_DIR']\n"
        "with open(directory + '/slow', 'w') as stream:\n"
        "    stream.write('first half, ')\n"
        "    stream.flush()\n"
        "    open(directory + '/later', 'w').close()\n"
        f"    while not os.path.exists({str(go)!r}): time.sleep(0.05)\n"
        "    stream.write('second half')\n"
        "time.sleep(60)"
    )
    run.wait_for("checkpointed")  # by then the earlier file has not changed for as long as the later one
    assert run.uploaded(OutputKind.CHECKPOINT) == {"later": b""}
    go.touch()
    run.wait_for("checkpointed", 2)
    assert run.uploaded(OutputKind.CHECKPOINT) == {"later": b"", "slow": b"first half, second half"}
    assert not run.events("exited")


@pytest.mark.req("ENV-02")
def test_a_tensorboard_file_is_seen_growing(launch, directory):
    run = launch(
        "import os, time\n"
        "with open(os.environ['EM_TENSORBOARD_LOG_DIR'] + '/events', 'w', buffering=1) as stream:\n"
        "    while True:\n"
        "        stream.write('x\\n')\n"
        "        time.sleep(0.05)"
    )
    sizes: set[int] = set()
    deadline = time.monotonic() + 30
    while len(sizes) < 3:
        assert time.monotonic() < deadline
        sizes |= {len(content) for content in run.uploaded(OutputKind.TENSORBOARD).values()}
        time.sleep(0.05)
    run.cluster.stop(run.handle, 1)
    written = (run.layout.worker(0) / "tensorboard" / "events").read_bytes()
    assert run.uploaded(OutputKind.TENSORBOARD) == {"events": written}


@pytest.mark.req("TRN-17")
def test_one_that_changes_its_input_data_spoils_it_for_nobody_else(launch, directory):
    data = write_files(directory.parent / "data", {"a.csv": "original"})
    vandal = (
        "import os\nfile = os.environ['EM_DATASET_TRAIN'] + '/a.csv'\nos.chmod(file, 0o666)\n"
        "open(file, 'w').write('spoilt')"
    )
    first = launch(vandal, inputs=(planned(InputKind.DATASET, data, "train"),))
    assert first.finished()["cause"] == "ok"
    reader = "import os\nprint(open(os.environ['EM_DATASET_TRAIN'] + '/a.csv').read())"
    second = launch(reader, inputs=(planned(InputKind.DATASET, data, "train"),))
    assert second.finished()["cause"] == "ok"
    assert second.output() == "original\n"
    assert (data / "a.csv").read_text() == "original"


@pytest.mark.req("TRN-08")
@pytest.mark.parametrize(
    "leave", ["os.symlink('/etc/passwd', directory + '/leak')", "os.rmdir(directory)\nos.symlink('/etc', directory)"]
)
def test_one_that_leaves_a_link_out_of_its_model_directory_fails_and_nothing_leaks(launch, leave):
    run = launch(f"import os\ndirectory = os.environ['EM_MODEL_DIR']\n{leave}")
    finished = run.finished()
    assert finished["cause"] == "user_error"
    assert "leak" in finished["message"] or "link" in finished["message"]
    assert not run.uploaded(OutputKind.MODEL)


def test_one_that_leaves_a_link_among_its_checkpoints_fails_and_the_others_arrive(launch):
    program = CHECKPOINTS.format(count=2) + "os.symlink('/etc/passwd', directory + '/leak')"
    run = launch(program)
    finished = run.finished()
    assert finished["cause"] == "user_error"
    assert "leak is a link to /etc/passwd" in finished["message"]
    assert set(run.uploaded(OutputKind.CHECKPOINT)) == {"step-0", "step-1"}


def test_one_that_locks_its_own_directories_can_be_restarted(launch):
    program = (
        "import os\n"
        "os.makedirs(os.environ['EM_MODEL_DIR'] + '/a/b')\n"
        "os.chmod(os.environ['EM_MODEL_DIR'] + '/a', 0)\n"
        "os.symlink('/etc', os.environ['TMPDIR'] + '/etc')\n"
        "os.kill(os.getpid(), 9)"
    )
    run = launch(program, restarts=RestartPolicy(budget=1))
    assert run.finished()["cause"] == "lost"
    assert len(run.events("started")) == 2


def test_one_that_logs_into_the_directory_of_its_output_hides_nothing_of_it(launch):
    run = launch(
        "import logging\n"
        "for name in ('train', '5'):\n"
        "    logging.getLogger().addHandler(logging.FileHandler(f'../output/{name}.log'))\n"
        "logging.warning('to the file')\n"
        "print('to the output')"
    )
    assert run.finished()["cause"] == "ok"
    assert [line.text for line in run.cluster.logs(run.handle, 0, follow=False)] == ["to the output"]
    assert run.uploaded(OutputKind.LOG) == {"output.log": b"to the output\n"}


@pytest.mark.parametrize("then", ["", "raise SystemExit(1)", "os.kill(os.getpid(), 9)"])
@pytest.mark.parametrize("what", ["..", "../..", "../../.."])
def test_one_that_removes_the_directory_of_its_run_is_told_so(launch, directory, what, then):
    program = f"import os, shutil\nshutil.rmtree(os.path.realpath({what!r}), ignore_errors=True)\n{then}"
    run = launch(program)
    finished = run.finished()
    assert finished["cause"] == "user_error"
    assert finished["message"].startswith("The entry point removed the directory")
    assert not run.events("restarted")
    wait_until(lambda: not processes_of(directory))
    assert run.cluster.stop(run.handle, 0).remaining == 0
    run.cluster.remove(run.handle)
    assert list(directory.glob("runs/*")) == []


@pytest.mark.req("TRN-13")
@pytest.mark.parametrize("then", ["", "os.makedirs(run + '/left')"])
def test_one_that_goes_on_without_the_directory_of_its_run_is_not_started_twice_and_can_be_stopped(
    launch, directory, then
):
    program = (
        f"import os, shutil, time\nrun = os.path.realpath('../../..')\nshutil.rmtree(run)\n{then}\ntime.sleep(600)"
    )
    run = launch(program)
    run.wait_for("started")
    wait_until(lambda: not run.layout.lock.exists())
    before = processes_of(directory)
    run.cluster.launch(run.plan)  # as a flow does that finds nothing of its run
    assert processes_of(directory) == before
    assert run.cluster.stop(run.handle, 0).remaining == 0
    assert not processes_of(directory)
    run.cluster.remove(run.handle)
    assert list(directory.glob("runs/*")) == []


@pytest.mark.req("TRN-03")
def test_requirements_that_cannot_be_installed_fail_with_the_installers_message(launch):
    run = launch(
        "print('never')",
        files={"requirements.txt": "./no-such-package.whl\n"},
        image=RunImage(name="this", python=sys.executable),
    )
    finished = run.finished()
    assert finished["cause"] == "environment_failed"
    assert "no-such-package.whl" in finished["message"]
    assert not run.events("started")
    assert b"no-such-package.whl" in run.uploaded(OutputKind.LOG)["output.log"]

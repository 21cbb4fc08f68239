"""Hostile programs under one supervisor."""

import json
import signal
import time

import pytest

from blocks.domain.plan import ExitRecord
from tests.integration.launcher.supervised import oldest_python
from tests.processes import processes_of
from tests.waiting import wait_until

FORK_AND_DAEMONISE = """
import os, signal, sys, time
ready, done = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(done, b"x")
        while True:
            time.sleep(60)
    os._exit(0)
os.read(ready, 1)
print("the parent is done")
"""

IGNORE_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready")
while True:
    time.sleep(60)
"""


def test_it_runs_in_the_oldest_python_that_it_promises(start):
    oldest = oldest_python()
    if oldest is None:
        pytest.skip("there is no Python 3.8 here; that the file's syntax is old enough is checked all the same")
    run = start("import sys\nprint(sys.version_info[:2])", python=oldest)
    assert run.end()["cause"] == "ok"
    assert run.output() == b"(3, 8)\n"


def test_its_record_has_the_fields_of_the_domains(start):
    record = ExitRecord.model_validate(start("import sys\nprint('bye')\nsys.exit(3)").end())
    assert (record.cause, record.code, record.signal) == ("user_error", 3, None)
    assert record.message == "The entry point exited with code 3: bye"
    assert record.tail == "bye\n"


@pytest.mark.req("TRN-13")
def test_what_forks_and_daemonises_is_ended_with_its_parent(start, directory):
    run = start(FORK_AND_DAEMONISE, grace_seconds=0.3)
    record = run.end()
    assert (record["cause"], record["code"]) == ("ok", 0)
    assert record["message"] == "Processes that it left running were ended."
    assert run.output() == b"the parent is done\n"
    assert not processes_of(directory)


@pytest.mark.req("TRN-13")
def test_what_ignores_sigterm_is_killed_after_the_grace(start, directory):
    run = start(IGNORE_SIGTERM, grace_seconds=0.3)
    run.wait_for(b"ready")
    run.process.terminate()
    record = run.end()
    assert (record["cause"], record["signal"]) == ("stopped", signal.SIGKILL)
    assert not processes_of(directory)


def test_what_ends_politely_has_its_grace(start):
    run = start(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(0)))\n"
        "print('ready')\ntime.sleep(60)"
    )
    run.wait_for(b"ready")
    run.process.terminate()
    record = run.end()
    assert (record["cause"], record["code"]) == ("stopped", 0)
    assert run.output() == b"ready\nsaved\n"


def test_a_second_stop_can_shorten_the_grace(start, directory):
    run = start(IGNORE_SIGTERM, grace_seconds=60)
    run.wait_for(b"ready")
    run.process.terminate()
    (directory / "stop-1.json").write_text(json.dumps({"grace_seconds": 0}))
    run.process.terminate()
    assert run.end()["signal"] == signal.SIGKILL
    assert not processes_of(directory)


@pytest.mark.req("TRN-09")
def test_past_the_time_limit_it_is_ended(start, directory):
    run = start("import time\nprint('ready')\ntime.sleep(60)", deadline=time.time() + 0.5, time_limit_seconds=90)
    record = run.end()
    assert record["cause"] == "time_limit"
    assert record["message"] == "The time limit of 90 seconds was reached."


def test_a_million_lines_are_kept_in_seconds_and_little_memory(start):
    began = time.monotonic()
    run = start("import sys\nfor i in range(1_000_000): sys.stdout.write(f'line {i}\\n')", env={})
    assert run.end()["cause"] == "ok"
    took = time.monotonic() - began
    assert run.output() == b"".join(b"line %d\n" % i for i in range(1_000_000))
    assert run.peak_rss < 50 << 20
    assert took < 20


def test_a_program_that_prints_unbuffered_is_not_slowed_down(start):
    run = start("import os\nfor i in range(100_000): os.write(1, b'x\\n')")
    assert run.end()["cause"] == "ok"
    assert run.output() == b"x\n" * 100_000


def test_broken_utf_8_is_kept_byte_for_byte(start):
    run = start("import os\nos.write(1, bytes(range(14, 256)) + b'\\xc3')")
    assert run.end()["cause"] == "ok"
    assert run.output() == bytes(range(14, 256)) + b"\xc3\n"


def test_a_progress_bar_that_prints_only_carriage_returns_is_lines(start):
    run = start("import sys, time\nfor i in range(1000): sys.stdout.write(f'\\r{i}%')\nprint()")
    assert run.end()["cause"] == "ok"
    assert run.output().splitlines() == [b"", *(b"%d%%" % i for i in range(1000))]


def test_a_progress_bar_is_seen_while_it_runs(start):
    run = start("import sys, time\nsys.stdout.write('\\r10%\\r')\nsys.stdout.flush()\ntime.sleep(60)")
    run.wait_for(b"10%\n")
    run.process.terminate()
    run.end()


def test_lines_of_megabytes_need_little_memory(start):
    run = start("import os\nfor _ in range(30): os.write(1, b'x' * (1 << 20))\nos.write(1, b'\\n')")
    assert run.end()["cause"] == "ok"
    assert run.output() == b"x" * (30 << 20) + b"\n"
    assert run.peak_rss < 50 << 20


def test_a_program_that_closes_its_output_goes_on(start):
    run = start("import os, time\nos.close(1)\nos.close(2)\ntime.sleep(0.3)\nos._exit(0)")
    assert run.end()["cause"] == "ok"


def test_one_that_is_killed_from_outside_is_lost(start):
    record = start("import os\nos.kill(os.getpid(), 9)").end()
    assert (record["cause"], record["signal"], record["code"]) == ("lost", 9, None)


def test_one_that_crashes_is_a_fault_of_the_program(start):
    record = start("import os\nos.abort()").end()
    assert (record["cause"], record["signal"]) == ("user_error", signal.SIGABRT)
    assert "SIGABRT" in str(record["message"])


def test_one_that_the_kernel_killed_for_memory_is_known_by_its_group(start, directory):
    counter = directory.parent / "memory.oom_control"
    counter.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    program = f"import os\nopen({str(counter)!r}, 'w').write('oom_kill 1\\n')\nos.kill(os.getpid(), 9)"
    record = start(program, oom_files=[str(counter)], memory_mib=512).end()
    assert record["cause"] == "out_of_memory"
    assert "512 MiB" in str(record["message"])


def test_when_the_supervisor_is_killed_the_entry_point_ends(start, directory):
    run = start("import time\nprint('ready')\ntime.sleep(60)")
    run.wait_for(b"ready")
    run.process.kill()
    run.process.wait()
    wait_until(lambda: not processes_of(directory))


def test_when_the_agent_is_gone_all_ends(start, directory):
    run = start("import time\nprint('ready')\ntime.sleep(60)")
    run.wait_for(b"ready")
    assert run.process.stdin
    run.process.stdin.close()
    record = run.end()
    assert record["cause"] == "lost"
    assert "agent" in str(record["message"])
    assert not processes_of(directory)


def test_what_was_being_written_when_it_was_stopped_is_on_record(start, directory):
    run = start(
        "import time\nopen('../checkpoints/whole', 'w').close()\n"
        "half = open('../checkpoints/half', 'w')\nread = open('../checkpoints/whole')\nprint('ready')\ntime.sleep(60)"
    )
    run.wait_for(b"ready")
    run.process.terminate()
    run.end()
    assert json.loads((directory / "open-1.json").read_text()) == {"files": ["half"]}


def test_an_interpreter_that_cannot_be_started_is_on_record(start):
    record = start("", argv=["/no/such/python", "main.py"]).end()
    assert record["cause"] == "launcher_error"
    assert "/no/such/python" in str(record["message"])
    assert record["began"] is not None


def test_an_attempt_that_never_stops_forking_is_ended(start, directory):
    program = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork():  # the child goes on, in a session of its own, and the parent ends
        os._exit(0)
    os.setsid()
    time.sleep(0.005)
"""
    run = start(program, grace_seconds=0.2)
    run.end()
    wait_until(lambda: not processes_of(directory))

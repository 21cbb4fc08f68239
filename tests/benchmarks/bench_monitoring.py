"""What monitoring costs: the agent that looks, the registry that keeps, the report that draws.

Run it: `python -m tests.benchmarks.bench_monitoring [--short]`. A look has to cost less than 1 % of a processor; it is
shown beside what psutil takes for the same.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import accumulate
from pathlib import Path

from blocks.domain.plan import Usage, WorkerUsage
from blocks.domain.specs import ExperimentSpec, TrainingSpec
from blocks.domain.usage import UsageKind, UsageScope
from blocks.launcher.accounting import accounts, host_traffic
from blocks.launcher.monitoring import LEAST_SECONDS, pause_seconds
from blocks.registry.database import open_registry
from tasks.monitoring_report import monitoring_report

TARGET_PERCENT = 1.0
PROCESSES = 8
KINDS = [kind for kind in UsageKind if not kind.startswith("gpu")]
WORKER = (
    "import subprocess, sys\n"
    "WAIT = 'import sys; sys.stdin.read()'\n"
    f"for _ in range({PROCESSES - 1}): subprocess.Popen([sys.executable, '-I', '-S', '-c', WAIT])\n"
    "print(1, flush=True)\n"
    "sys.stdin.read()"
)
PSUTIL = (
    "import time\nbegan = time.process_time()\nimport psutil\nimported = time.process_time() - began\n"
    "began = time.process_time()\n"
    "for _ in range(10):\n    list(psutil.process_iter(['ppid', 'cpu_times', 'memory_info']))\n"
    "print(imported * 1e3, (time.process_time() - began) * 100)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="few workers, samples and rounds")
    short = parser.parse_args().short
    for workers in (1,) if short else (1, 8):
        with _workers(workers) as supervisors:
            _report_looks(supervisors)
    imported, look = subprocess.check_output([sys.executable, "-c", PSUTIL], text=True).split()
    print(f"psutil: {float(look):.1f} ms a look, without disks and network; {float(imported):.0f} ms to import")
    _report_size()
    with tempfile.TemporaryDirectory(prefix="makerflow-bench-") as directory:
        _report_registry(Path(directory), *((50, 2) if short else (2000, 20)))


def _report_looks(supervisors: dict[int, int]) -> None:
    look = _milliseconds(lambda: (accounts(supervisors), host_traffic()))
    share = look / 10 / LEAST_SECONDS
    machine = sum(name.isdigit() for name in os.listdir("/proc"))
    verdict = "ok" if share < TARGET_PERCENT else "TOO MUCH"
    print(
        f"{len(supervisors)} workers of {PROCESSES} processes, {machine} on the machine: {look:.1f} ms a look, "
        f"at most {share:.2f} % of a processor (target {TARGET_PERCENT:g} %: {verdict})"
    )


def _report_size() -> None:
    line = len(json.dumps(_usage(1, 1).model_dump(mode="json"), separators=(",", ":")))
    for name, seconds in (("an hour", 3600), ("a day", 86400), ("30 days", 30 * 86400)):
        ages = accumulate(iter(int, 1), lambda age, _: age + pause_seconds(age), initial=0.0)
        looks = next(number for number, age in enumerate(ages) if age >= seconds)
        print(f"{name} of one worker: {looks:,} samples, {looks * line / 1e6:.1f} MB of events while it runs")


def _report_registry(directory: Path, samples: int, rounds: int) -> None:
    with open_registry(f"sqlite:///{directory}/registry.db") as registry:
        experiment = registry.experiments.ensure(ExperimentSpec(name="e"))
        for workers in (1, 8):
            spec = TrainingSpec(name=f"of-{workers}", algorithm="s3://b/c", entry_point="t.py")
            row = registry.trainings.create(spec, experiment.id)
            follow = partial(registry.trainings.follow, row.id)
            follow(usage=[_usage(n, workers) for n in range(1, samples)])
            store = _milliseconds(partial(follow, usage=[_usage(samples, workers)]), rounds)
            report = partial(monitoring_report, row, registry.monitoring)
            size = len(report()) / 1e3  # which also imports what draws
            draw = _milliseconds(report, rounds)
            print(f"{workers} workers, {samples:,} samples: {store:.1f} ms to store one more,", end=" ")
            print(f"{draw:.0f} ms to draw the report ({size:.0f} kB)")
    size = sum(file.stat().st_size for file in directory.iterdir() if file.is_file())
    print(f"the registry of these 9 workers and {9 * samples:,} samples takes {size / 1e6:.1f} MB")


def _usage(sequence: int, workers: int) -> Usage:
    values = {kind: float(sequence * 7 % 101) + 0.1 for kind in KINDS}
    return Usage(
        run_id="trn-0123456789abcdef0123456789",
        sequence=sequence,
        at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=2 * sequence),
        attempt=1,
        seconds=2.0,
        host="machine",
        network=UsageScope.HOST,
        workers=tuple(WorkerUsage(rank=rank, values=values) for rank in range(workers)),
    )


def _milliseconds(work: Callable[[], object], rounds: int = 20) -> float:
    """Of a processor, each."""
    began = time.process_time()
    for _ in range(rounds):
        work()
    return (time.process_time() - began) / rounds * 1e3


@contextmanager
def _workers(count: int) -> Iterator[dict[int, int]]:
    """Rank to the id of the process that all of a worker's processes are below."""
    command = [sys.executable, "-I", "-S", "-c", WORKER]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield {rank: process.pid for rank, process in enumerate(started)}
    finally:
        for process in started:
            process.communicate()  # closes what all of them read


if __name__ == "__main__":
    main()

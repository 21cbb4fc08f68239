"""What a run on this machine costs beside its entry point: a direct start, one through the host, and a bare subprocess.

All print one metric, two at a time. CPU is that of every process that took part; the 200 trials of a tuning are to cost
the platform under 150 ms of wall time each, of which this is the cluster's part.

Run it: `python -m tests.benchmarks.bench_launch [--short] [--runs N] [--seconds S]`.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import psutil

from blocks.cluster import agent_host
from blocks.cluster.agent_process import host_pid
from blocks.cluster.base import Selector
from blocks.cluster.local import LocalCluster
from blocks.domain.paths import StoragePath
from blocks.domain.plan import InputKind, PlannedInput, Resources, RunHandle, RunImage, RunPlan
from blocks.storage.open import open_storage
from tests.waiting import wait_until

PARALLEL = 2


@dataclass(frozen=True)
class Cost:
    """Of one run, in seconds."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few runs of each kind")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.0, help="for how long each entry point sleeps")
    arguments = parser.parse_args()
    runs = 4 if arguments.short else arguments.runs
    with tempfile.TemporaryDirectory(prefix="makerflow-bench-", ignore_cleanup_errors=True) as directory:
        source = Path(directory, "code")
        source.mkdir()
        (source / "trial.py").write_text(f"import time\ntime.sleep({arguments.seconds})\nprint('loss=0.5')\n")
        cluster = LocalCluster(Path(directory, "home"), vcpus=PARALLEL, memory_mib=4096)
        report(cluster, source, runs)


def report(cluster: LocalCluster, source: Path, runs: int) -> None:
    """Measure all three kinds, and print them."""
    bare = measure(lambda: run_bare(source, runs), runs)
    print(f"bare subprocess      {_said(bare)}")
    few = max(runs // 4, PARALLEL)
    with mock.patch.object(agent_host, "_SPARED", sys.maxsize):
        direct = measure(lambda: run_on(cluster, source, "direct", few), few)
    print(f"started directly     {_said(direct)}  {_beyond(direct, bare)}")
    run_on(cluster, source, "first", PARALLEL)
    wait_until(lambda: host_pid() is not None, "the host")
    hosted = measure(lambda: run_on(cluster, source, "hosted", runs), runs)
    print(f"through the host     {_said(hosted)}  {_beyond(hosted, bare)}")


def measure(work: Callable[[], None], runs: int) -> Cost:
    """What `runs` runs cost each, all processes together."""
    wall, cpu = time.monotonic(), _cpu_seconds()
    work()
    return Cost((time.monotonic() - wall) / runs, (_cpu_seconds() - cpu) / runs)


def run_bare(source: Path, runs: int) -> None:
    command = [sys.executable, str(source / "trial.py")]
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda _: subprocess.run(command, check=True, capture_output=True), range(runs)))


def run_on(cluster: LocalCluster, source: Path, name: str, runs: int) -> None:
    """As a tuning does: one loop over the events of all runs, the next one launched when one has finished."""
    plans = iter([make_plan(source, f"{name}-{number}") for number in range(runs)])
    left = runs
    watch = cluster.watch(Selector(labels={"bench": name}), idle_seconds=60)
    for _ in range(PARALLEL):
        _launch_next(cluster, plans)
    for event in watch:
        if event is None:
            raise SystemExit(f"{left} runs do not end: {cluster.find(Selector())}")
        if event.kind == "finished":
            if event.cause != "ok":
                raise SystemExit(f"{event.run_id} ended with {event.cause}: {event.message}")
            _launch_next(cluster, plans)
            cluster.remove(RunHandle(cluster="local", run_id=event.run_id))
            left -= 1
            if not left:
                return


def make_plan(source: Path, run_id: str) -> RunPlan:
    path = StoragePath.parse(f"file://{source}")
    objects = tuple(open_storage(path).plan(path))
    return RunPlan(
        run_id=run_id,
        labels={"bench": run_id.rpartition("-")[0]},
        created=datetime.now(UTC),
        workers=1,
        resources=Resources(vcpus=1, memory_mib=256),
        image=RunImage(name="this", python=sys.executable),
        entry_point="trial.py",
        inputs=(PlannedInput(kind=InputKind.SOURCE, path=str(path), objects=objects),),
        storage_mib=1000,
        time_limit_seconds=600,
    )


def _launch_next(cluster: LocalCluster, plans: Iterator[RunPlan]) -> None:
    plan = next(plans, None)
    if plan is not None:
        cluster.launch(plan)


def _cpu_seconds() -> float:
    """Of this process, of all that ended below it, and of the host with all that ended below that."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    times = psutil.Process(host_pid()).cpu_times()[:4] if host_pid() else ()
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime + sum(times)


def _said(cost: Cost) -> str:
    return f"{cost.wall * 1000:7.1f} ms wall, {cost.cpu * 1000:7.1f} ms CPU a run"


def _beyond(cost: Cost, bare: Cost) -> str:
    wall, cpu = (cost.wall - bare.wall) * 1000, (cost.cpu - bare.cpu) * 1000
    return f"{wall:+7.1f} ms wall, {cpu:+7.1f} ms CPU, {cost.wall / bare.wall:.2f} of the bare wall"


if __name__ == "__main__":
    main()

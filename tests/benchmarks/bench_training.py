"""What the platform adds to a training whose entry point is `pass`, and its memory while it follows many.

Run it: `python -m tests.benchmarks.bench_training [--short]`.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one round, no server, two followed trainings")
    short = parser.parse_args().short
    with tempfile.TemporaryDirectory(prefix="makerflow-bench-") as directory:
        os.environ["MAKERFLOW_HOME"] = str(Path(directory) / "home")
        os.environ.pop("MAKERFLOW_PREFECT_API_URL", None)
        code = Path(directory) / "code"
        code.mkdir()
        (code / "train.py").write_text("pass\n")
        rounds = 1 if short else 7
        bare = _median(lambda _: subprocess.run([sys.executable, "-I", str(code / "train.py")], check=True), rounds)
        print(f"bare interpreter running `pass`: {bare:.2f} s")
        _report("without a server", code, "offline", rounds, bare)
        if not short:
            _with_server(code, rounds, bare)
        _follow(Path(directory), 2 if short else 20)


def _with_server(code: Path, rounds: int, bare: float) -> None:
    from blocks.connections.server import prefect_server
    from blocks.connections.settings import Settings

    with prefect_server(Settings()) as api:
        os.environ["MAKERFLOW_PREFECT_API_URL"] = api
        _report("with a Prefect server, one after the other", code, "online", rounds, bare)
        # Right after a flow its server is busy writing it down, and makes the next one's client wait for two seconds.
        _report("with a Prefect server, after a pause", code, "paused", rounds, bare, pause_seconds=4)
        del os.environ["MAKERFLOW_PREFECT_API_URL"]


def _report(title: str, code: Path, prefix: str, rounds: int, bare: float, pause_seconds: float = 0) -> None:
    first = _median(lambda n: _train(code, f"{prefix}-first-{n}"), 1)
    median = _median(lambda n: _train(code, f"{prefix}-{n}"), rounds, pause_seconds)
    print(f"{title}: first in a process {first:.2f} s, then {median:.2f} s; overhead {median - bare:.2f} s")


def _train(code: Path, name: str) -> None:
    from blocks.domain.specs import TrainingSpec
    from flows.training import create_training

    spec = TrainingSpec.model_validate({"name": name, "algorithm": f"file://{code}", "entry_point": "train.py"})
    training = create_training(spec)
    if getattr(training, "status", "") != "COMPLETE":
        raise SystemExit(f"{name} did not complete: {training}")


def _follow(directory: Path, count: int) -> None:
    code = directory / "chatty"
    code.mkdir()
    (code / "train.py").write_text(
        "import time\nfor i in range(20):\n    print(f'step={i} loss={i}'); time.sleep(0.1)\n"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    threads = [threading.Thread(target=_train, args=(code, f"follow-{n}")) for n in range(count)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"one process following {count} trainings: peak memory {peak:.0f} MiB (before: {before:.0f} MiB), "
        f"{time.monotonic() - began:.1f} s in all"
    )


def _median(run: Callable[[int], object], rounds: int, pause_seconds: float = 0) -> float:
    times = []
    for number in range(rounds):
        time.sleep(pause_seconds)
        began = time.monotonic()
        run(number)
        times.append(time.monotonic() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main()

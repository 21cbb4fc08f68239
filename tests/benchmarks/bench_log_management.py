"""What log management costs a training: the same one without and with it, in turn, medians side by side.

`python -m tests.benchmarks.bench_log_management [--short]`. Target: neither an entry point that prints 1,000,000 lines
as fast as it can nor one that computes on every core and prints moderately takes more than 5 % longer.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from blocks.domain.specs import TrainingSpec
from blocks.registry.records import Training

LINES = {"prints": 1_000_000, "computes": 20_000}
SHORT_LINES = 2_000
ROUNDS = 3
TARGET_PERCENT = 5.0
TRAIN = {
    "prints": """
import os, time
began = time.perf_counter()
for step in range(int(os.environ["EM_HP_LINES"])):
    print(f"16:{step % 60:02d} INFO step={step} loss={1 / (step + 1):.4f} reading data from shard {step % 97}")
print("seconds", time.perf_counter() - began)
""",
    "computes": """
import os, time
began, cores = time.perf_counter(), len(os.sched_getaffinity(0))
others = [os.fork() for _ in range(cores - 1)] if cores > 1 else []
is_first = 0 not in others
for step in range(int(os.environ["EM_HP_LINES"])):
    value = sum(n * n for n in range(10_000))
    if is_first:
        print(f"16:{step % 60:02d} INFO step={step} loss={value} reading data from shard {step % 97}", flush=True)
if not is_first:
    os._exit(0)
for other in others:
    os.waitpid(other, 0)
print("seconds", time.perf_counter() - began)
""",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{SHORT_LINES:,} lines, one round")
    short = parser.parse_args().short
    with tempfile.TemporaryDirectory(prefix="makerflow-bench-") as name:
        for kind, lines in LINES.items():
            measure(Path(name), kind, SHORT_LINES if short else lines, 1 if short else ROUNDS)


def measure(directory: Path, kind: str, lines: int, rounds: int) -> None:
    """The medians of one kind of entry point."""
    train(directory, kind, f"{kind}-first", 1, kept=True)  # imports what all of them need
    inner: dict[bool, list[float]] = {False: [], True: []}
    whole: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(rounds):
        for kept in (False, True):
            seconds, total = train(directory, kind, f"{kind}-{kept}-{turn}", lines, kept=kept)
            inner[kept].append(seconds)
            whole[kept].append(total)
    target = f" (target {TARGET_PERCENT:g} %)"
    for what, seconds, wanted in (("the entry point", inner, target), ("until all is over and searchable", whole, "")):
        off, on = statistics.median(seconds[False]), statistics.median(seconds[True])
        print(
            f"{kind}, {lines:,} lines, {what}: log management off {off:.2f} s ({_spread(seconds[False])}), "
            f"on {on:.2f} s ({_spread(seconds[True])}): {(on / off - 1) * 100:+.1f} %{wanted}"
        )
    print(f"{kind}, {lines:,} lines: load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)


def train(directory: Path, kind: str, name: str, lines: int, *, kept: bool) -> tuple[float, float]:
    """The seconds of the entry point, and of all until its lines are searchable, which is checked."""
    from blocks.connections.platform import open_platform
    from blocks.connections.settings import ENVIRONMENT
    from flows.training import create_training

    ENVIRONMENT["MAKERFLOW_HOME"] = str(directory / "home")
    code = directory / kind
    code.mkdir(exist_ok=True)
    (code / "train.py").write_text(TRAIN[kind])
    spec = TrainingSpec.model_validate(
        {
            "name": name,
            "algorithm": f"file://{code}",
            "entry_point": "train.py",
            "hyperparameters": {"lines": lines},
            "output": f"file://{directory}/{name}",
            "log_management": kept,
        }
    )
    began = time.perf_counter()
    training = create_training(spec)
    whole = time.perf_counter() - began
    assert isinstance(training, Training), training
    store = open_platform().log_store
    assert store is not None
    found = store.search(f'trainingName:{name} AND "step={lines - 1}"', limit=10).records
    assert len(found) == kept, f"{name}: the last line is {len(found)} times in the log store"
    log = (directory / name / "makerflow-logs" / "output.log").read_text()
    return float(log.rstrip().rpartition(" ")[2]), whole


def _spread(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f}"


if __name__ == "__main__":
    main()

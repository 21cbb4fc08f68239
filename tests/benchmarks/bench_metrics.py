"""From log to metrics: how fast the default expression reads, against `grep -E` with the reference's one.

`python -m tests.benchmarks.bench_metrics [--short]`. Two logs, 1 GB together: *dense*, where every line reports three
metrics and a step, and *sparse*, where one line in 200 does and the others are what loggers, warnings and libraries
print, times and colons included. `grep` is measured in two ways, each in the C locale and in UTF-8: printing the lines
that match, and (`-o`) printing what matches, which is the work that we do.
"""

import argparse
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blocks.domain.metrics import MetricReader

REFERENCE = r"([[:alnum:]_|-]+)[[:space:]]*=[[:space:]]*([+-]?[0-9]*(\.[0-9]+)?([Ee][+-]?[0-9]+)?)"
CHUNK_BYTES = 4 << 20
BLOCK_BYTES = 10_000_000
WORDS = ("downloading", "shard", "of", "data", "from", "server", "reading", "batch", "queue", "worker", "cache", "hit")
OTHER_LINES = (
    "16:{clock},{number:03d} DEBUG worker[{rank}] {words}",
    "2026-11-23 16:{clock},{number:03d} - loader.cache - INFO - {words}",
    "2026-11-23T16:{clock}Z INFO loader: {words}",
    "gpu-{rank}:4711:4811 [{rank}] NCCL INFO Channel {rank:02d}/08 {words}",
    "/usr/lib/python3/site-packages/loader/cache.py:{number}: UserWarning: {words}",
    "GET http://store.example:9000/bucket/shard-{number:05d}.tar {words}",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="1 MB")
    blocks, size = (1, BLOCK_BYTES // 20) if parser.parse_args().short else (50, BLOCK_BYTES)
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="makerflow-bench-") as directory:
        for kind, line in (("dense", _dense), ("sparse", _sparse)):
            log = Path(directory) / f"{kind}.log"
            _write(log, blocks, "".join(_lines(line, chance, size)).encode())
            _report(kind, log)
            log.unlink()


def _report(kind: str, log: Path) -> None:
    size = log.stat().st_size / 1e6
    began = time.perf_counter()
    count = sum(1 for chunk in _chunks(log) for _ in MetricReader().reports(chunk))
    ours = size / (time.perf_counter() - began)
    print(f"{kind:7} {size:.0f} MB: {ours:.0f} MB/s, {count:,} reports")
    for locale in ("C.UTF-8", "C"):
        for option in ("-E", "-oE"):
            theirs = size / _grep(option, log, locale)
            print(f"        grep {option:3} in {locale:7}: {theirs:.0f} MB/s; ours is {ours / theirs:.2f} of it")


def _chunks(log: Path) -> Iterator[bytes]:
    """Whole lines, as the follower reads them."""
    with log.open("rb") as stream:
        while lines := stream.read(CHUNK_BYTES):
            yield lines + stream.readline()


def _grep(option: str, log: Path, locale: str) -> float:
    """Seconds. The output goes through a pipe: grep stops at the first match when it sees /dev/null."""
    began = time.perf_counter()
    with subprocess.Popen(
        ["grep", option, REFERENCE, str(log)], stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": locale}
    ) as process:
        assert process.stdout is not None
        while process.stdout.read(CHUNK_BYTES):
            pass
    return time.perf_counter() - began


def _write(log: Path, blocks: int, block: bytes) -> None:
    with log.open("wb") as stream:
        for _ in range(blocks):
            stream.write(block)


def _lines(line: Callable[[int, random.Random], str], chance: random.Random, size: int) -> Iterator[str]:
    written = number = 0
    while written < size:
        text = line(number, chance)
        yield text
        written, number = written + len(text), number + 1


def _dense(number: int, chance: random.Random) -> str:
    loss, accuracy, held_out = (chance.random() for _ in range(3))
    clock = f"{number % 60:02d}"
    return f"16:{clock}:{clock} INFO step={number} loss={loss:.4f} accuracy={accuracy:.4f} val/loss={held_out:.3e}\n"


def _sparse(number: int, chance: random.Random) -> str:
    if number % 200 == 0:
        return f"step={number} loss={chance.random():.4f}\n"
    return chance.choice(OTHER_LINES).format(
        clock=f"{number // 60 % 60:02d}:{number % 60:02d}",
        number=number % 1000,
        rank=number % 8,
        words=" ".join(chance.choices(WORDS, k=8)) + "\n",
    )


if __name__ == "__main__":
    main()

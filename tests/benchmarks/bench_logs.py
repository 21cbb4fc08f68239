"""The log store: a million lines in, and five; then queries, against `grep` and a scan of JSON lines.

`python -m tests.benchmarks.bench_logs [--short]`. Target: a query by fields answers in under 200 ms. What a training
pays is measured by `bench_log_management`.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blocks.domain.log_levels import LevelReader
from blocks.domain.log_records import TRAINING_CATEGORY, LogSource
from blocks.logs.base import LogCursor, Reading
from blocks.logs.sqlite import SQLiteLogStore

LINES = (1_000_000, 5_000_000)
SHORT_LINES = 20_000
TRAININGS = 40
BATCH = 8_000
REPEATS = 5
QUERIES = {
    "fields, rare": 'category:"easymaker.training" AND trainingId:trn-7 AND logLevel:ERROR',
    "fields, frequent": 'category:"easymaker.training" AND logLevel:INFO',
    "fields, nothing": "trainingId:trn-7 AND rank:5",
    "logType": r'logType:"NHNCloud\-AIEasyMaker"',
    "field or field": "trainingId:trn-3 OR logLevel:WARNING",
    "not": "NOT trainingId:trn-7 AND logLevel:ERROR",
    "a word, rare": "cheese",
    "a word, frequent": "loss",
    "word and fields": "shard AND trainingId:trn-7 AND logLevel:INFO",
    "rare word and fields": "cheese AND trainingId:trn-7",
    "frequent word, rare level": "data AND logLevel:ERROR",
    "phrase": '"queue of data"',
    "beginning": "chee* AND trainingId:trn-7",
    "word or field": "cheese OR logLevel:ERROR",
    "not the word": "logLevel:ERROR AND NOT cheese",
}
GREPS = {
    "fields, rare": '"trn-7".*"ERROR"|"ERROR".*"trn-7"',
    "a word, rare": "cheese",
}
WORDS = ("downloading", "shard", "of", "data", "from", "server", "reading", "batch", "queue", "worker", "cache", "hit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{SHORT_LINES:,} lines")
    for lines in (SHORT_LINES,) if parser.parse_args().short else LINES:
        with tempfile.TemporaryDirectory(prefix="makerflow-bench-") as name:
            measure_store(Path(name), lines)


def measure_store(directory: Path, lines: int) -> None:
    """How fast lines come in, and how fast each query is answered."""
    store, file = SQLiteLogStore(directory / "store"), directory / "lines.jsonl"
    ingest(store, file, lines)
    size = store.usage().bytes
    as_json = file.stat().st_size
    print(f"store   {size / lines:.0f} bytes a line, {size / 2**20:.0f} MiB; as JSON {as_json / 2**20:.0f} MiB")
    slowest = 0.0
    for name, query in QUERIES.items():
        seconds, found = median(lambda query=query: len(store.search(query, limit=100).records))
        theirs = f"; grep {grep(GREPS[name], file) * 1000:.0f} ms" if name in GREPS else ""
        print(f"query   {seconds * 1000:6.1f} ms  {found:3} found  {name}: {query}{theirs}")
        slowest = max(slowest, seconds)
    seconds, _ = median(
        lambda: scan(file, lambda record: record["trainingId"] == "trn-7" and record["logLevel"] == "ERROR")
    )
    print(f"        {seconds * 1000:6.0f} ms  for a scan of the JSON lines by fields")
    print(f"slowest query: {slowest * 1000:.0f} ms (target 200); load {os.getloadavg()[0]:.1f}", flush=True)
    store.close()


def ingest(store: SQLiteLogStore, file: Path, lines: int) -> None:
    """Bring lines in as the collector does, those of several trainings in turn; also to a file of JSON."""
    chance, took, longest, batch = random.Random(1), 0.0, 0.0, min(BATCH, lines // TRAININGS)
    with file.open("w") as stream:
        for number in range(lines // batch):
            training = f"trn-{number % TRAININGS}"
            source = LogSource(
                "makerflow", TRAINING_CATEGORY, training_id=training, training_name=f"name-{training}", rank="0"
            )
            at = number // TRAININGS * batch
            texts = list(some_lines(chance, batch))
            began = time.perf_counter()
            entries = list(LevelReader().read(texts))
            store.append(source, Reading(f"{training}/0", _cursor(at), _cursor(at + batch), entries))
            seconds = time.perf_counter() - began
            took, longest = took + seconds, max(longest, seconds)
            for entry in entries:
                record = {
                    "category": source.category,
                    "trainingId": training,
                    "logLevel": entry.level.value,
                    "body": entry.body,
                }
                stream.write(json.dumps(record) + "\n")
    rate = f"{lines / took:,.0f} lines/s, each searchable once its batch is in"
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"ingest  {lines:,} lines, {rate}; the longest batch of {batch:,} took {longest:.2f} s; {load}")


def some_lines(chance: random.Random, count: int) -> Iterator[str]:
    for number in range(count):
        words = " ".join(chance.choices(WORDS, k=6))
        kind = chance.random()
        if kind < 0.001:
            yield f"2026-11-23 16:00:01,{number % 1000:03d} - loader - ERROR - {words}" + " cheese" * (kind < 0.0002)
        elif kind < 0.01:
            yield f"WARNING: {words}"
        else:
            yield f"16:{number % 60:02d} INFO step={number} loss={chance.random():.4f} {words}"


def median(action: Callable[[], int]) -> tuple[float, int]:
    """Seconds, and what it gave."""
    found, seconds = 0, []
    for _ in range(REPEATS):
        began = time.perf_counter()
        found = action()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), found


def grep(pattern: str, file: Path) -> float:
    """Seconds that grep takes in its quickest locale; through a pipe, for it stops early when it sees /dev/null."""
    began = time.perf_counter()
    subprocess.run(
        ["grep", "-E", pattern, str(file)], check=False, stdout=subprocess.PIPE, env={**os.environ, "LC_ALL": "C"}
    )
    return time.perf_counter() - began


def scan(file: Path, wanted: Callable[[dict[str, str]], bool]) -> int:
    with file.open() as stream:
        return sum(wanted(json.loads(line)) for line in stream)


def _cursor(at: int) -> LogCursor:
    return LogCursor(at)


if __name__ == "__main__":
    main()

"""100,000 trainings: what a list, each filter, a page far behind, a detail and a million metric values cost.

`python -m tests.benchmarks.bench_registry [URL] [--short]` prints medians in milliseconds, beside what the plain
driver takes for the rows of the same list, so that the figures of different machines can be compared by their ratios.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.metrics import MetricPoint
from blocks.domain.specs import ExperimentSpec, TrainingSpec
from blocks.registry.database import Registry, open_registry
from blocks.registry.driver import open_driver
from blocks.registry.listing import join_tags, tag_hash
from blocks.registry.records import Query

TRAININGS = 100_000
SHORT_TRAININGS = 500
METRIC_VALUES = 10
"""Of one training, for each that there is."""
EXPERIMENTS = 100
LIMIT_MS = 50.0
REPEATS = 15
_STATUSES = [status.value for status in TrainingStatus]

QUERIES = {
    "list, newest 50": Query(),
    "list, oldest 50": Query(sort="created"),
    "list by name": Query(sort="name"),
    "list by status": Query(sort="-status"),
    "list by change": Query(sort="-changed"),
    "list, newest 1,000": Query(limit=1000),
    "filter: common status": Query(status=("COMPLETE",)),
    "filter: two statuses": Query(status=("COMPLETE", "STOPPED")),
    "filter: rare status": Query(status=("RUNNING",)),
    "filter: rare status, by name": Query(status=("RUNNING",), sort="name"),
    "filter: common status, by name": Query(status=("COMPLETE",), sort="name"),
    "filter: common part of a name": Query(name="train"),
    "filter: rare part of a name": Query(name="-077777"),
    "filter: no such name": Query(name="nothing-like-it"),
    "filter: pattern of a name": Query(name="*-00001?"),
    "filter: common tag": Query(tags={"team": "vision"}),
    "filter: common tag, by name": Query(tags={"team": "vision"}, sort="name"),
    "filter: any value of a tag": Query(tags={"team": None}),
    "filter: rare tag": Query(tags={"run": "77777"}),
    "filter: no such tag": Query(tags={"team": "nobody"}),
    "filter: experiment": Query(experiment="experiment-8"),
    "filter: experiment, by name": Query(experiment="experiment-8", sort="name"),
    "filter: large experiment": Query(experiment="experiment-0"),
    "filter: large experiment, by name": Query(experiment="experiment-0", sort="name"),
    "filter: all of them": Query(
        status=("COMPLETE",), name="train", tags={"team": "vision", "run": "70000"}, experiment="experiment-0"
    ),
    "filter: all common": Query(
        status=("COMPLETE",), name="train", tags={"team": "vision"}, experiment="experiment-0", sort="changed"
    ),
}


def fill(url: str, registry: Registry, trainings: int) -> None:
    """Put the trainings in below the interface, as many at a time as the driver can: half in one experiment."""
    experiments = [registry.experiments.ensure(ExperimentSpec(name=f"experiment-{n}")).id for n in range(EXPERIMENTS)]
    spec = TrainingSpec(name="x", algorithm="s3://bucket/code", entry_point="train.py", hyperparameters={"lr": 0.1})
    driver = open_driver(url)
    connection: Any = driver.connect(autocommit=False)
    cursor = connection.cursor()
    if driver.dialect == "sqlite":
        cursor.execute("BEGIN")
    for table, columns, rows in _tables(experiments, spec.model_dump_json(), trainings):
        marks = ", ".join(f":{column}" for column in columns.split(", "))
        insert = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - names of our own tables
        statement = driver.statement(insert)
        cursor.executemany(statement, (dict(zip(columns.split(", "), row, strict=True)) for row in rows))
    connection.commit()
    if driver.dialect == "postgresql":
        cursor.execute("ANALYZE")  # as the server does by itself within a minute
    connection.commit()
    connection.close()


def _tables(experiments: list[str], spec: str, trainings: int) -> Iterator[tuple[str, str, Iterator[tuple[Any, ...]]]]:
    numbers = range(trainings)
    yield (
        "training",
        "id, name, description, experiment_id, status, reason, tags, created_us, changed_us",
        (
            (
                f"trn-{n:08d}",
                f"train-{n:06d}",
                "A description of some length.",
                experiments[0 if n % 2 else n % EXPERIMENTS],
                "RUNNING" if n % 5000 == 0 else ("COMPLETE", "FAIL TRAIN", "STOPPED")[n % 3],
                "",
                join_tags({"team": "vision", "run": str(n)}),
                1_700_000_000_000_000 + n * 1_000_000,
                1_700_000_000_000_000 + (n * 7919 % trainings) * 1_000_000,
            )
            for n in numbers
        ),
    )
    yield (
        "training_document",
        "training_id, spec, event_cursor, log_cursors, reader_states, "
        "uploaded, logs_uploaded, points_refused, revision",
        ((f"trn-{n:08d}", spec, 0, "{}", "{}", "[]", False, 0, 0) for n in numbers),
    )
    tags = ((f"trn-{n:08d}", name, value) for n in numbers for name, value in (("team", "vision"), ("run", str(n))))
    yield "training_tag", "training_id, name, value, value_hash", ((*tag, tag_hash(tag[2])) for tag in tags)


def milliseconds(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The median of some calls."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def show(what: str, took: float, peer: float | None = None) -> None:
    """One line of the report; what has a peer has a limit."""
    compared = f"  {took / peer:5.1f}x of the driver's {peer:.2f} ms" if peer else ""
    above = "   ABOVE THE LIMIT" if peer and took > LIMIT_MS else ""
    print(f"{what:40s} {took:9.2f} ms{compared}{above}", flush=True)


def bench_lists(url: str, registry: Registry, trainings: int) -> None:
    """Lists, filters, pages and details."""
    driver = open_driver(url)
    plain: Any = driver.connect(autocommit=True)
    select = "SELECT id, name, description, status, created_us, changed_us FROM training ORDER BY created_us DESC LIMIT"
    peers = {rows: milliseconds(lambda n=rows: plain.execute(f"{select} {n}").fetchall()) for rows in (50, 1000)}
    for what, query in QUERIES.items():
        show(what, milliseconds(lambda q=query: registry.trainings.page(q)), peers[query.limit])
    cursor = ""
    for _ in range(trainings // 2000):
        cursor = registry.trainings.page(Query(limit=1000, cursor=cursor)).cursor
    show(
        "page after half of them",
        milliseconds(lambda: registry.trainings.page(Query(limit=50, cursor=cursor))),
        peers[50],
    )
    number = trainings * 7 // 9
    one = f"SELECT * FROM training JOIN training_document ON training_id = id WHERE id = 'trn-{number:08d}'"  # noqa: S608
    peer = milliseconds(lambda: plain.execute(one).fetchall())
    show("detail by id", milliseconds(lambda: registry.trainings.get(f"trn-{number:08d}")), peer)
    show("detail by name", milliseconds(lambda: registry.trainings.get(f"train-{number:06d}")), peer)
    plain.close()


def bench_metrics(registry: Registry, count: int) -> None:
    """A training that prints a million values of one metric, then one that prints a thousand metrics."""
    now = datetime.now(UTC)
    values = [
        MetricPoint(name="loss", value=float(n % 7919), text=str(n % 7919), step=n, rank=0, at=now)
        for n in range(count)
    ]
    began = time.perf_counter()
    for begin in range(0, len(values), 10_000):
        registry.trainings.follow("trn-00000001", log_cursors={0: begin}, points=values[begin : begin + 10_000])
    took = time.perf_counter() - began
    print(f"{f'{count:,} values, 10,000 at a time':40s} {took:9.2f} s   ({len(values) / took:,.0f} values a second)")
    show("10 more of them", milliseconds(lambda: registry.trainings.follow("trn-00000001", points=values[:10])))
    show("its curve of 1,000 points", milliseconds(lambda: registry.metrics.curve("trn-00000001", "loss")))
    many = [MetricPoint(name=f"metric/{n}", value=float(n), text=str(n), step=1, rank=0, at=now) for n in range(1000)]
    show("1,000 metrics, one value each", milliseconds(lambda: registry.trainings.follow("trn-00000002", points=many)))
    show("their figures", milliseconds(lambda: registry.metrics.names("trn-00000002")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="a new database; one in a file when not given")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_TRAININGS:,} trainings")
    asked = parser.parse_args()
    trainings = SHORT_TRAININGS if asked.short else TRAININGS
    with tempfile.TemporaryDirectory() as directory:
        measure(asked.url or f"sqlite:///{directory}/registry.db", trainings)


def measure(url: str, trainings: int) -> None:
    """Fill a new database and print what everything takes."""
    registry = open_registry(url)
    began = time.perf_counter()
    fill(url, registry, trainings)
    print(f"{trainings:,} trainings in {url.partition(':')[0]} (filled in {time.perf_counter() - began:.0f} s)")
    bench_lists(url, registry, trainings)
    bench_metrics(registry, METRIC_VALUES * trainings)
    registry.close()


if __name__ == "__main__":
    main()

"""Staging against its peers: rclone and plain boto3 for downloads, `cp -rl` and `cp -r` for what is in the cache.

`python -m tests.benchmarks.bench_staging [--short]`. All read from the same real S3 server on loopback (versitygw when
the machine has it, otherwise moto's, which is the limit then), in turns, into empty directories; medians. Ours plans,
downloads, verifies, keeps in the cache and links; rclone verifies too; boto3 does not.
Targets: at least rclone's speed; cached at most 1.3 times `cp -rl`.
"""

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from blocks.domain.paths import StoragePath
from blocks.domain.plan import InputKind, PlannedInput
from blocks.storage.cache import Cache
from blocks.storage.local_files import collect
from blocks.storage.open import open_storage
from blocks.storage.staging import stage
from tests.contract.test_storage import connection_to
from tests.servers import S3Server, moto_server, versitygw_binary, versitygw_server

KIB, MIB = 1 << 10, 1 << 20
AT_ONCE = 16
_UNLIMITED = 1 << 40


@dataclass(frozen=True)
class Load:
    """So many files of that size."""

    count: int
    size: int

    def __str__(self) -> str:
        size = f"{self.size // MIB} MiB" if self.size >= MIB else f"{self.size // KIB} KiB"
        return f"{self.count:,} x {size}"


FULL = (Load(10_000, 4 * KIB), Load(200, 5 * MIB), Load(1, 1024 * MIB))
SHORT = (Load(200, 4 * KIB), Load(4, 5 * MIB), Load(1, 64 * MIB))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few seconds, once each")
    short = parser.parse_args().short
    binary = versitygw_binary()
    server: AbstractContextManager[S3Server] = versitygw_server(binary) if binary else moto_server()
    with server as running, tempfile.TemporaryDirectory(prefix="makerflow-bench-") as scratch:
        print(f"server: {'versitygw' if binary else 'moto'}; seconds, medians of {1 if short else 3}")
        for load in SHORT if short else FULL:
            Bench(load, running, Path(scratch)).run(1 if short else 3)


class Bench:
    """One load, fetched and linked by everybody in turns."""

    def __init__(self, load: Load, server: S3Server, scratch: Path) -> None:
        self._load, self._server, self._scratch = load, server, scratch
        self._place = StoragePath.parse(f"s3://{server.make_bucket()}/data")
        self._storage = open_storage(self._place, connection_to(server))
        self._fresh = (scratch / str(number) for number in itertools.count())

    def run(self, turns: int) -> None:
        self._fill()
        ways = {"ours": self._ours, "rclone": self._rclone, "boto3": self._boto3}
        self._report("download", self._measure(turns, ways, shutil.rmtree), "rclone")
        cache, plain, planned = next(self._fresh), next(self._fresh), self._plan()
        self._stage(planned, plain, cache)
        # Linking the staged files themselves would make the cache verify them again.
        staged = shutil.copytree(plain, next(self._fresh))
        ways = {
            "ours": lambda into: self._stage(planned, into, cache),
            "cp -rl": lambda into: _run("cp", "-rl", str(staged), str(into)),
            "cp -r": lambda into: _run("cp", "-r", str(staged), str(into)),
        }
        # As an agent removes a run: the cache's files stay trusted.
        self._report("cached", self._measure(2 * turns - 1, ways, Cache(cache, _UNLIMITED).remove_tree), "cp -rl")
        self._storage.delete(self._place)
        for directory in self._scratch.iterdir():
            shutil.rmtree(directory)

    def _fill(self) -> None:
        source = next(self._fresh)
        block = os.urandom(self._load.size)
        for number in range(self._load.count):
            (source / f"{number % 10}").mkdir(parents=True, exist_ok=True)
            (source / f"{number % 10}/{number:06}").write_bytes(number.to_bytes(8, "big") + block[8:])
        for _ in self._storage.upload(collect(source), self._place, lambda size: None):
            pass

    def _measure(
        self, turns: int, ways: dict[str, Callable[[Path], None]], remove: Callable[[Path], None]
    ) -> dict[str, float]:
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(turns):
            for name, way in ways.items():
                if turn and name == "boto3":
                    continue  # one turn of it takes longer than all else together
                into = next(self._fresh)
                began = time.perf_counter()
                way(into)
                seconds[name].append(time.perf_counter() - began)
                assert sum(len(names) for _, _, names in os.walk(into)) == self._load.count
                if self._load.size >= MIB:
                    remove(into)  # of small files only at the end: ext4 is slow to make files for seconds after
        return {name: statistics.median(times) for name, times in seconds.items()}

    def _report(self, what: str, seconds: dict[str, float], peer: str) -> None:
        figures = ", ".join(f"{name} {time_:.2f}" for name, time_ in seconds.items())
        print(f"{self._load!s:>16} {what:8} {figures}; ours takes {seconds['ours'] / seconds[peer]:.2f} of {peer}")

    def _plan(self) -> PlannedInput:
        objects = tuple(self._storage.plan(self._place))
        return PlannedInput(kind=InputKind.DATASET, name="d", path=str(self._place), objects=objects)

    def _ours(self, into: Path) -> None:
        cache = next(self._fresh)
        self._stage(self._plan(), into, cache)
        if self._load.size >= MIB:
            shutil.rmtree(cache)

    def _stage(self, planned: PlannedInput, into: Path, cache: Path) -> None:
        stage([planned], lambda _: self._storage, Cache(cache, _UNLIMITED), into, lambda progress: None)

    def _rclone(self, into: Path) -> None:
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": self._server.endpoint_url, "REGION": "us-east-1"}
        remote |= {
            "ACCESS_KEY_ID": self._server.access_key_id,
            "SECRET_ACCESS_KEY": self._server.secret_access_key,
            "NO_CHECK_BUCKET": "true",
        }
        environment = {f"RCLONE_CONFIG_STORE_{name}": value for name, value in remote.items()}
        source = f"store:{self._place.bucket}/{self._place.key}"
        flags = ("--config", os.devnull, "--transfers", str(AT_ONCE), "--checkers", str(AT_ONCE), "--fast-list")
        _run("rclone", "copy", source, str(into), *flags, **environment)

    def _boto3(self, into: Path) -> None:
        prefix = f"{self._place.key}/"
        with self._server.client() as client, ThreadPoolExecutor(AT_ONCE) as pool:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._place.bucket, Prefix=prefix)
            keys = [found["Key"] for page in pages for found in page["Contents"]]
            targets = [into / key.removeprefix(prefix) for key in keys]
            for folder in {target.parent for target in targets}:
                folder.mkdir(parents=True)
            fetch = lambda key, target: client.download_file(self._place.bucket, key, str(target))  # noqa: E731 - short
            list(pool.map(fetch, keys, targets))


def _run(*command: str, **environment: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, **environment})


if __name__ == "__main__":
    main()

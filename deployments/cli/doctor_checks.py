"""The checks of `makerflow doctor`: each yields findings, and every finding that is not fine says what to do."""

import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from deployments.cli.access import open_registry, read_settings
from deployments.cli.doctor_cluster import cluster
from deployments.cli.doctor_leftovers import dead_flows, half_done_work, leftover_runs
from deployments.cli.fields import count_text, size_text
from deployments.cli.findings import Finding, fine, problem, warning

LITTLE_BYTES = 5 * 2**30
TOO_LITTLE_BYTES = 2**29
SHOWN_VERSIONS = ("makerflow", "prefect", "pydantic", "sqlmodel", "boto3", "scikit-learn", "uv")


def versions() -> Iterator[Finding]:
    """Whether what is installed is what the product needs."""
    from packaging.requirements import Requirement

    shown = ", ".join(f"{name} {_version(name) or 'missing'}" for name in SHOWN_VERSIONS)
    yield fine("versions", f"Python {sys.version.split()[0]}, {shown}")
    if not _version("makerflow"):
        yield warning("versions", "makerflow runs from its source tree", "pip install . makes it known to Python.")
        return
    for needed in map(Requirement, requires("makerflow") or ()):
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        found = _version(needed.name)
        if not found or not needed.specifier.contains(found, prereleases=True):
            there = found or "none"
            yield problem("versions", f"{needed} is needed, there is {there}", f"pip install '{needed}'")


def configuration() -> Iterator[Finding]:
    """Whether what is configured can be read: without that nothing else can be looked at."""
    read_settings()
    yield fine("configuration", "each setting has a value that it can have")


def home() -> Iterator[Finding]:
    """Whether state can be kept."""
    from blocks.connections.settings import make_home

    directory = make_home(read_settings())
    probe = directory / ".doctor"
    probe.write_bytes(b"")
    probe.unlink()
    yield fine("home", str(directory))


def database() -> Iterator[Finding]:
    """Whether the registry answers."""
    from blocks.registry.records import Query

    registry = open_registry()
    registry.trainings.page(Query(limit=1))
    kind = read_settings().database_url.partition(":")[0]
    yield fine("database", f"the registry answers ({kind})")


def prefect_server() -> Iterator[Finding]:
    """Whether the Prefect server answers, the configured one or that of `makerflow up`; none is needed."""
    from blocks.connections.server import configured_api, is_healthy

    settings = read_settings()
    api = configured_api(settings)
    if not api:
        yield fine("prefect server", "there is none; runs are kept, and shown when there is one")
    elif is_healthy(api):
        yield fine("prefect server", f"{api} answers")
    elif settings.prefect_api_url:
        remedy = "Start it, or unset MAKERFLOW_PREFECT_API_URL: flows work without one."
        yield warning("prefect server", f"{api} does not answer", remedy)
    else:
        remedy = "Start it again when you want to see runs: makerflow up. Flows work without it."
        yield warning("prefect server", f"{api}, which `makerflow up` started, does not answer", remedy)


def stores() -> Iterator[Finding]:
    """Whether what paths can name is there."""
    for name, directory in sorted(read_settings().nas.items()):
        if directory.is_dir():
            yield fine("stores", f"nas://{name}:/ is {directory}")
        else:
            remedy = "Mount it, or correct MAKERFLOW_NAS."
            yield problem("stores", f"nas://{name}:/ is {directory}, which is no directory", remedy)
    names = [connection.name for connection in open_registry().connections.list()]
    yield fine("stores", f"connections: {', '.join(names) or 'none'} (--deep tries them)")


def disk() -> Iterator[Finding]:
    """Whether there is room."""
    directory = read_settings().home
    free = shutil.disk_usage(directory).free
    text = f"{size_text(free)} free at {directory}"
    remedy = "Make room, or set MAKERFLOW_HOME to a larger disk."
    if free < TOO_LITTLE_BYTES:
        yield problem("disk", text, remedy)
    elif free < LITTLE_BYTES:
        yield warning("disk", text, remedy)
    else:
        yield fine("disk", text)


def limits() -> Iterator[Finding]:
    """Whether the machine holds workers to the CPU and memory of their flavor; elsewhere the cluster does."""
    if read_settings().cluster != "local":
        return
    from blocks.cluster.cgroups import enforcement

    held = enforcement()
    loose = [what for what, is_held in (("CPU", held.cpu), ("memory", held.memory)) if not is_held]
    if not loose:
        yield fine("limits", "workers are held to the CPU and memory of their flavor")
        return
    remedy = "Run as root or in a delegated control group (systemd: Delegate=yes). Runs are queued by flavor anyway."
    yield warning("limits", f"workers are not held to their flavor's {' and '.join(loose)}: {held.reason}", remedy)


def cache() -> Iterator[Finding]:
    """Whether the cache keeps its bound."""
    settings = read_settings()
    limit = int(settings.cache_gb * 2**30)
    used = _bytes_below(settings.home / "cache" / "objects")
    text = f"{size_text(used)} of {size_text(limit)} used"
    if used > limit:
        remedy = "The next staging trims it; raise MAKERFLOW_CACHE_GB when runs need more at once."
        yield warning("cache", text, remedy)
    else:
        yield fine("cache", text)


def log_store() -> Iterator[Finding]:
    """Whether the log store can be read and keeps its bounds."""
    from blocks.logs.room import REMEDY
    from blocks.logs.sqlite import SQLiteLogStore

    settings = read_settings()
    if settings.log_store == "off":
        yield fine("log store", "it is switched off (MAKERFLOW_LOG_STORE): log management is refused")
        return
    store = SQLiteLogStore(settings.log_directory, most_bytes=settings.log_store_bytes)
    usage, limit = store.usage(), settings.log_store_bytes
    sent = f"; sent to {settings.log_collector_url} as well" if settings.log_collector_url else ""
    days = f" from {usage.oldest_day} to {usage.newest_day}" if usage.records else ""
    text = f"{count_text(usage.records, 'record')}{days}, {size_text(usage.bytes)} of {size_text(limit)}{sent}"
    if usage.damaged:
        remedy = f"`sqlite3 FILE .recover` reads what is left in {store.directory}; each worker's log is at its output."
        yield warning("log store", f"{text}; damaged and not searched: {', '.join(usage.damaged)}", remedy)
    elif shortage := store.room().shortage:
        yield warning("log store", f"{text}; {shortage}", REMEDY)
    elif store.expired(settings.keep_log_store_days, limit):
        yield warning("log store", text, "`makerflow upkeep` removes the days that are past their time.")
    else:
        yield fine("log store", text)


def connections_in_depth() -> Iterator[Finding]:
    """Whether every connection works."""
    known = open_registry().connections.list()
    if not known:
        return  # and Prefect, which keeps their secrets, need not be asked
    from blocks.connections.s3 import test_connection
    from blocks.domain.errors import MakerflowError

    for connection in known:
        try:
            facts = test_connection(connection.name)
        except MakerflowError as error:
            remedy = f"makerflow connection set {connection.endpoint} --name {connection.name}"
            yield problem("connections", f"{connection.name}: {error}", remedy)
        else:
            yield fine("connections", f"{connection.name}: {', '.join(f'{k} {v}' for k, v in facts.items())}")


def database_in_depth() -> Iterator[Finding]:
    """Whether SQLite's own check finds every page sound."""
    import sqlite3
    from contextlib import closing

    url = read_settings().database_url
    if not url.startswith("sqlite:///"):
        return
    with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)) as connection:
        verdict = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    if verdict == ["ok"]:
        yield fine("database", "every page is sound")
    else:
        remedy = "Restore the file from a backup, or save what can be read: sqlite3 registry.db .recover"
        yield problem("database", "; ".join(verdict[:5]), remedy)


def cache_in_depth() -> Iterator[Finding]:
    """Whether every cached byte is what was fetched."""
    from blocks.storage.cache import Cache

    settings = read_settings()
    directory = settings.home / "cache" / "objects"
    if not directory.is_dir():
        yield fine("cache", "it is empty")
        return
    inspection = Cache(directory, int(settings.cache_gb * 2**30)).verify_all()
    if inspection.damaged or inspection.strays:
        yield warning(
            "cache",
            f"{len(inspection.damaged)} damaged and {inspection.strays} unknown files were dropped; what is needed "
            "is fetched again",
            "If it comes again: an entry point that runs as root writes to its inputs, or the disk fails.",
        )
    else:
        yield fine("cache", f"{inspection.files} files ({size_text(inspection.bytes)}) are what was fetched")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    versions,
    configuration,
    home,
    database,
    prefect_server,
    stores,
    cluster,
    disk,
    limits,
    cache,
    log_store,
    leftover_runs,
    half_done_work,
    dead_flows,
)
DEEP_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (database_in_depth, connections_in_depth, cache_in_depth)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _bytes_below(directory: Path) -> int:
    """The bytes on disk, every file once however many names it has."""
    inodes = {}
    for file in directory.rglob("*"):
        try:
            found = file.lstat()
        except FileNotFoundError:
            continue  # trimmed meanwhile
        inodes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(inodes.values())

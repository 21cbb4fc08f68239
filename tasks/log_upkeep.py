"""The step of upkeep that keeps the log store within its bounds, and its collector up to date."""

from functools import partial

from blocks.connections.platform import open_platform
from blocks.logs.base import LogStore
from blocks.upkeep.findings import Finding, Kind
from tasks.engine import step
from tasks.log_forwarding import forward_logs
from tasks.mending import WOULD_GO, Mending


@step("tidy log store")
def tidy_log_store(dry_run: bool) -> tuple[Finding, ...]:
    """Remove days that are past their keep time or above the bound; send what a collector has not got yet.

    The days go also where the store is switched off: nobody else would ever remove what it has kept before.
    """
    platform, mending = open_platform(), Mending(dry_run)
    store, settings = platform.kept_logs, platform.settings
    expired = partial(store.expired, settings.keep_log_store_days, settings.log_store_bytes)
    for day in mending.each(Kind.SCRATCH, "log store", expired):
        found = f"It is older than {settings.keep_log_store_days} days, or above {settings.log_store_gb:g} GB."
        mending.mend(Kind.SCRATCH, f"logs of {day}", found, partial(_remove, store, day), would=WOULD_GO)
    if not dry_run:
        for _ in mending.each(Kind.SCRATCH, "log collector", lambda: [forward_logs(platform)]):
            pass
    return mending.findings


def _remove(store: LogStore, day: str) -> str:
    store.remove(day)
    return "removed"

"""Looking for what a test left behind."""

from pathlib import Path

import psutil


def processes_of(home: Path) -> list[tuple[int, str]]:
    """Pid and command of every living process that belongs to a run below `home`."""
    marker = f"MAKERFLOW_RUN={home}".encode()
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if process.info["status"] == psutil.STATUS_ZOMBIE:
                continue
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if any(part.startswith(marker) for part in environment.split(b"\0")):
                found.append((process.pid, " ".join(process.cmdline())))
        except (OSError, psutil.Error):
            continue
    return found

"""Looking for what a test left behind."""

from pathlib import Path

import psutil


def _environment(process: psutil.Process) -> list[bytes]:
    """Empty of a process that lets nobody look into it, as an agent does."""
    try:
        return Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except PermissionError:
        return []


def processes_of(home: Path) -> list[tuple[int, str]]:
    """Pid and command of every living process that belongs to a run below `home`."""
    marker = f"MAKERFLOW_RUN={home}".encode()
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if process.info["status"] == psutil.STATUS_ZOMBIE:
                continue
            command = process.cmdline()
            is_agent = "blocks.launcher" in command and any(part.startswith(f"{home}/") for part in command)
            if is_agent or any(part.startswith(marker) for part in _environment(process)):
                found.append((process.pid, " ".join(command)))
        except (OSError, psutil.Error):
            continue
    return found


def parts_of(home: Path) -> dict[int, str]:
    """Pid and part of every living process that `makerflow up` on this home has started, however far removed."""
    marker = f"MAKERFLOW_PART={home}/up/parts/".encode()
    found = {}
    for process in psutil.process_iter(["status"]):
        try:
            environment = _environment(process)
        except OSError:
            continue
        marked = [entry.removeprefix(marker).decode() for entry in environment if entry.startswith(marker)]
        if marked and process.info["status"] != psutil.STATUS_ZOMBIE:
            found[process.pid] = marked[0]
    return found

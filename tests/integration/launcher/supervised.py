"""One worker under its supervisor, without an agent: what the supervisor's tests drive."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from blocks.launcher import supervisor
from tests.waiting import wait_until

SECONDS = 30


@dataclass
class Supervised:
    """A supervisor that was started, and what came of it."""

    directory: Path
    process: subprocess.Popen[bytes]
    peak_rss: int = field(default=0)

    def end(self) -> dict[str, object]:
        """Wait for the supervisor's end; the record that it left."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"the supervisor does not end: {self.output()[-500:]!r}"
            self._measure()
            time.sleep(0.01)
        record: dict[str, object] = json.loads((self.directory / "exit-1.json").read_bytes())
        return record

    def output(self) -> bytes:
        """All that was kept of the output."""
        return b"".join(file.read_bytes() for file in sorted((self.directory / "output").glob("*.log")))

    def wait_for(self, text: bytes) -> None:
        """Wait until the entry point has printed it."""
        wait_until(lambda: text in self.output())

    def _measure(self) -> None:
        try:
            self.peak_rss = max(self.peak_rss, psutil.Process(self.process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return


def oldest_python() -> str | None:
    """A Python 3.8, when this machine has one."""
    found = next((Path.home() / ".pyenv" / "versions").glob("3.8.*/bin/python"), None) or shutil.which("python3.8")
    # A version manager's shim may be on PATH without the version behind it.
    works = found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0
    return str(found) if works else None


def supervise(
    directory: Path, python: str, program: str, *, supervised_by: str = supervisor.__file__, **facts: object
) -> Supervised:
    """Start `program` under a supervisor; `facts` replace those of its worker.json."""
    for name in ("source", "checkpoints"):
        (directory / name).mkdir(parents=True)
    (directory / "source" / "main.py").write_text(program)
    worker = {
        "attempt": 1,
        "rank": 0,
        "argv": [python, "main.py"],
        "env": {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "MAKERFLOW_RUN": str(directory)},
        "cwd": str(directory / "source"),
        "deadline": time.time() + 60,
        "time_limit_seconds": 60,
        "grace_seconds": 5,
        "log_limit_bytes": 1 << 30,
        "memory_mib": 100,
        "watched": str(directory / "checkpoints"),
        "lifeline": True,
        **facts,
    }
    (directory / "worker.json").write_text(json.dumps(worker))
    process = subprocess.Popen(
        [python, "-I", "-S", supervised_by, str(directory)],
        stdin=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "MAKERFLOW_RUN": str(directory)},
        start_new_session=True,
    )
    return Supervised(directory, process)

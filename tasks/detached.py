"""The process that follows a training or a tuning when nobody waits for it."""

import subprocess
import sys
import threading
from pathlib import Path

from blocks.connections.platform import open_platform
from blocks.connections.settings import ENVIRONMENT, make_home


def start_follower(id: str, *more: str) -> None:
    """Start `python -m flows ID`, which outlives this process; its log is below the home.

    Args:
        id: Of a training or a tuning.
        more: What else it is told.
    """
    log = make_home(open_platform().settings) / "logs" / f"{id}.log"
    log.parent.mkdir(exist_ok=True, mode=0o700)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows", id, *more],  # -P: not a `flows` in the user's own folder
            env={**ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # Reaped as soon as it ends, so that whoever starts many collects no zombies.
    threading.Thread(target=process.wait, name=f"reaper of {id}", daemon=True).start()

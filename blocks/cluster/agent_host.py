"""The process that forks the agents of a process which launches many: `blocks.launcher.host`.

An agent that is started has to import all that it needs, which is most of what a short run costs; one that is forked
has it already. The host is started when it is worth it, in the background, and used once it is ready. Nothing depends
on it: whenever it cannot be asked, an agent is started directly.
"""

import json
import logging
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

HOST = "blocks.launcher.host"
"""The module that the host runs."""

ROOM = "MAKERFLOW_ROOM"
"""The variable that keeps room in the host's environment, in which an agent shows its run's marker."""

ROOM_BYTES = 1024
"""For the directory of a run; one whose name is longer has its agent started directly."""

ANSWER_SECONDS = 10.0
"""How long a host may take for an answer, which takes it some milliseconds. One that takes longer hangs."""

_ANSWER_BYTES = 1 << 12

_SPARED = 1
"""So many agents are started directly first: who launches no more than that needs no host."""

_FAILURES = 3
"""When so many hosts have ended before they were ready, this process does without."""

_UMASK = re.compile(r"^Umask:.*$", re.M)
_LIMITS = tuple(value for name, value in sorted(vars(resource).items()) if name.startswith("RLIMIT_"))

logger = logging.getLogger("makerflow")


class Hosting:
    """The host of this process, when there is one. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._host: _Host | None = None
        self._launched = self._failures = 0

    @property
    def pid(self) -> int | None:
        """The host's process id, once it is ready."""
        with self._lock:
            return self._host.process.pid if self._host and self._host.is_ready() else None

    def start_agent(
        self,
        run_directory: Path,
        environment: Mapping[str, str],
        files: tuple[int, int, int],
        modules: Collection[str] = (),
    ) -> int | None:
        """Have an agent forked that waits for its secrets; None when it is to be started directly.

        Args:
            run_directory: The run.
            environment: Of the agent, but for the run's marker.
            files: The agent's lock, the reading end of a pipe for its secrets, and its log. Who is answered None must
                close that pipe unused: an agent may have been forked all the same, which then ends at once.
            modules: What the agent is going to import beside what all need.

        Returns:
            The agent's process id.
        """
        with self._lock:
            self._launched += 1
            host = self._ready_host(environment) if self._launched > _SPARED else None
            if host is None:
                return None
            answer = host.ask({"directory": str(run_directory), "modules": sorted(modules)}, files)
            if answer is None:
                self._end()
                return None
            pid = answer.get("pid")
            if not isinstance(pid, int):
                logger.debug("The host of agents did not start one: %s", answer.get("error"))
                return None
            return pid

    def close(self) -> None:
        """End the host."""
        with self._lock:
            self._end()

    def disown(self) -> None:
        """To be called by a process that was forked from the host's owner: it must not keep the host alive."""
        if self._host:
            self._host.disown()
            self._host = None

    def _ready_host(self, environment: Mapping[str, str]) -> "_Host | None":
        """The host of agents of this environment; None while there is none, but it is started."""
        circumstances = _circumstances(environment)
        if self._host and self._host.circumstances != circumstances:
            self._end()
        if self._host and self._host.has_failed():
            self._failures += 1
            self._end()
        if self._host is None and self._failures < _FAILURES:
            with suppress(OSError):  # starting an agent directly will show it
                self._host = _Host(environment, circumstances)
        return self._host if self._host and self._host.is_ready() else None

    def _end(self) -> None:
        if self._host:
            self._host.close()
            self._host = None


class _Host:
    """A host process and our end of its socket."""

    def __init__(self, environment: Mapping[str, str], circumstances: tuple[object, ...]) -> None:
        self.circumstances = circumstances
        self._ready = self._failed = False
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", HOST, str(other.fileno()), "x" * ROOM_BYTES],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # it tells its errors by the socket
                cwd="/",
                env={**environment, ROOM: "x" * ROOM_BYTES},  # last: some readers stop where nothing is left of it
                start_new_session=True,
                pass_fds=(other.fileno(),),
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            other.close()
        Thread(target=self.process.wait, name="reaper of the host of agents", daemon=True).start()

    def is_ready(self) -> bool:
        """Whether it can be asked; without waiting."""
        if not self._ready and not self._failed:
            try:
                greeting = self._socket.recv(_ANSWER_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                greeting = b""
            self._ready, self._failed = greeting == b"{}", greeting != b"{}"
            if self._failed:
                logger.debug("The host of agents could not start: %s", greeting.decode() or "it has ended")
        return self._ready

    def has_failed(self) -> bool:
        """Whether it ended before it was ready."""
        return not self.is_ready() and self._failed

    def ask(self, request: Mapping[str, object], files: tuple[int, ...]) -> dict[str, object] | None:
        """Its answer; None when it has ended, or hangs."""
        self._socket.settimeout(ANSWER_SECONDS)
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], files)
            text = self._socket.recv(_ANSWER_BYTES)
        except OSError:  # a time-out is one
            text = b""
        return json.loads(text) if text else None

    def close(self) -> None:
        """End it, also when it hangs. Its agents go on."""
        self._socket.close()
        self.process.kill()

    def disown(self) -> None:
        """Let go of it in a process that was forked from its owner."""
        self._socket.close()
        self.process.returncode = 0  # it is no child of that process


def _circumstances(environment: Mapping[str, str]) -> tuple[object, ...]:
    """What a process that is started now would be given: a host serves as long as its own are the same."""
    return (
        sys.executable,
        dict(environment),
        _UMASK.findall(Path("/proc/self/status").read_text()),
        Path("/proc/self/oom_score_adj").read_text(),
        Path("/proc/self/cgroup").read_text(),
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getaffinity(0),
        [resource.getrlimit(limit) for limit in _LIMITS],
        (os.geteuid(), os.getegid(), os.getgroups()),
    )

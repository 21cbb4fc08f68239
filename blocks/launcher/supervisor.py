"""Runs one worker's entry point: `{python} -I -S supervisor.py WORKER_DIRECTORY`.

It runs in the user's interpreter, so it is one file, standard library only, Python 3.8 or later, and knows nothing of
the rest of the product. What it does is in `worker.json`; what came of it is in `exit-{attempt}.json`, with the fields
of `blocks.domain.plan.ExitRecord`; the output is in `output/` (see `Output`).

A short trial waits for it, so it imports what CPython has built in and little else: the modules around that, as
`signal`, `json`, `subprocess` or `ctypes`, take longer than all that is done here. They are there for other
interpreters, and for what goes wrong.

It ends the whole process tree and then itself when the entry point ends, on SIGTERM, at the deadline, and when the
agent that started it is gone (its standard input, of which the agent holds the other end, is closed).
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any
else:
    try:
        import _signal as signal
    except ImportError:
        import signal

READ_BYTES = 1 << 18
PIPE_BYTES = 1 << 20
BUSY_BYTES = 1 << 15  # a read this large says that more is waiting already
PACE_SECONDS = 0.005  # between two reads of little, so that a million lines are not a million wake-ups
TICK_SECONDS = 0.1  # while a tree is being ended; the end of a child wakes us at once
IDLE_SECONDS = 5.0  # the deadline is wall-clock time, which may jump
SEGMENTS = 8
TAIL_BYTES = 4096
RECENT_BYTES = 1 << 16  # of the output's end, in which a traceback is looked for
RESERVE_BYTES = 1 << 16  # for the exit record, when the disk is full
LAST_WORD_SECONDS = 10.0  # how long SIGKILL may take before we say that the machine refuses
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
F_SETPIPE_SZ = 1031
REMOVED = "The entry point removed the directory that its run lies in, and with it its output."
OUTPUT_REMOVED = "The entry point removed or replaced files in which its output was kept, so that it is lost."
MACHINE_OOM_FILE = "/proc/vmstat"
# The program's own doing, unlike SIGKILL and SIGTERM, which somebody else sends.
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSYS", "SIGTRAP")
FULL_DISK = r"Errno (28|122)\b|No space left on device|Disk quota exceeded"


class Ignored:
    """What `contextlib.suppress` is."""

    def __init__(self, *kinds: type[BaseException]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, self._kinds)


class Output:
    r"""Keeps a stream of bytes in segments: files named by the offset of their first byte in the whole stream.

    Line ends become `\n`; nothing else is changed. Past the limit the oldest segment but the first is deleted. A later
    attempt goes on where the last one ended. What a full disk refuses is counted in `refused` and dropped: the entry
    point is never blocked for it.
    """

    def __init__(self, directory: str, limit_bytes: int) -> None:
        os.makedirs(directory, exist_ok=True)
        self.refused = 0
        self._directory = directory
        self._segment_bytes = max(limit_bytes // SEGMENTS, 4096)
        self._offsets = sorted(int(name[:-4]) for name in os.listdir(directory) if is_segment(name)) or [0]
        self._after_return = False
        self._at_line_start = True
        self._recent = bytearray()
        self._file = self._open(self._offsets[-1])
        self._size = os.fstat(self._file).st_size

    def write(self, data: bytes) -> None:
        """Add to the stream."""
        if self._after_return and data[:1] == b"\n":  # a read cut \r\n in two
            data = data[1:]
            self._after_return = False
        if not data:
            return
        self._after_return = data[-1:] == b"\r"
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._at_line_start = data[-1:] == b"\n"
        self._recent += data
        if len(self._recent) > 2 * RECENT_BYTES:
            del self._recent[:-RECENT_BYTES]
        kept = 0
        try:
            for stop in self._cuts(data):
                kept += self._keep(data[kept:stop])
        except OSError:
            self.refused += len(data) - kept

    def end(self) -> None:
        """End the last line, so that the next attempt begins one of its own."""
        if not self._at_line_start:
            self.write(b"\n")
        os.close(self._file)

    def recent(self) -> str:
        """The end of the stream."""
        return bytes(self._recent[-RECENT_BYTES:]).decode("utf-8", "replace")

    def is_there(self) -> bool:
        """Whether what was kept is still where it was put."""
        try:
            last = os.lstat(self._path(self._offsets[-1]))
            return os.path.samestat(last, os.fstat(self._file)) and all(map(self._exists, self._offsets))
        except OSError:
            return False

    def _exists(self, offset: int) -> bool:
        return os.path.isfile(self._path(offset))

    def _cuts(self, data: bytes) -> Iterable[int]:
        """Where to cut `data` so that each piece fits the segment that is open when it is asked for."""
        start = 0
        while start < len(data):
            room = max(self._segment_bytes - self._size, 0)
            stop = len(data)
            if stop - start > room:
                stop = data.rfind(b"\n", start, start + room) + 1 or start + room
            yield stop
            start = stop
            if start < len(data):
                self._next_segment()

    def _keep(self, piece: bytes) -> int:
        rest = memoryview(piece)
        while rest:
            written = os.write(self._file, rest)
            self._size += written
            rest = rest[written:]
        return len(piece)

    def _next_segment(self) -> None:
        offset = self._offsets[-1] + self._size
        following = self._open(offset)
        os.close(self._file)
        self._file, self._size = following, 0
        self._offsets.append(offset)
        while len(self._offsets) > SEGMENTS:
            with Ignored(FileNotFoundError):
                os.unlink(self._path(self._offsets.pop(1)))

    def _open(self, offset: int) -> int:
        return open_plainly(self._path(offset), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def _path(self, offset: int) -> str:
        return os.path.join(self._directory, f"{offset:020d}.log")


def open_plainly(file: str, flags: int) -> int:
    """Open what an entry point may have put a link or a pipe in the place of: neither is followed or waited for."""
    return os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)


def is_segment(name: str) -> bool:
    """Whether a file is a segment of the output: an entry point can write others beside them."""
    return name[20:] == ".log" and name.isascii() and name[:20].isdigit()


class Supervisor:
    """One attempt of one worker."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._worker = read_document(self._path("worker.json"))
        self._attempt: int = self._worker["attempt"]
        self._output = Output(self._path("output"), self._worker["log_limit_bytes"])
        self._prctl = load_prctl()
        self._poll = select.poll()
        self._began: str | None = None
        self._pid = self._pipe = -1
        self._status: int | None = None  # of the entry point, once it ended; negative: the signal
        self._verdict: tuple[str, str] | None = None  # cause and message, once it is we who end it
        self._asked = False
        self._kill_at: float | None = None
        self._leftovers = False
        self._reserve = self._path(f".exit-{self._attempt}.reserve")
        with open(self._reserve, "wb") as stream_of_zeros:
            stream_of_zeros.write(bytes(RESERVE_BYTES))

    def run(self) -> None:
        """Start the entry point, and leave the record of its end when nothing of it is left."""
        self._prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._listen()
        own_kills, all_kills = self._oom_kills()
        self._start()
        while not self._reap():
            self._turn(self._patience())
            self._check_deadline()
            if self._status is not None or self._overdue():
                self._press(descendants())
        while self._pump():
            pass
        own_kills_now, all_kills_now = self._oom_kills()
        self.finish(*self._judge(own_kills_now > own_kills, all_kills_now > all_kills))

    def finish(self, cause: str, message: str) -> None:
        """Leave the record."""
        self._keep(self._record(cause, message))

    def _record(self, cause: str, message: str) -> dict[str, Any]:
        """How it ended, once there is no more output."""
        tail = self._output.recent().encode()[-TAIL_BYTES:].decode("utf-8", "ignore")
        is_there = self._output.is_there()
        self._output.end()
        if not is_there:
            message = f"{message} {OUTPUT_REMOVED}".strip()
        elif self._output.refused:
            message = f"{message} {self._output.refused} bytes of output could not be kept: the disk is full.".strip()
        if self._is_removed():
            cause, message = "user_error", REMOVED
        status = self._status
        return {
            "attempt": self._attempt,
            "rank": self._worker["rank"],
            "began": self._began,
            "ended": now(),
            "code": status if status is not None and status >= 0 else None,
            "signal": -status if status is not None and status < 0 else None,
            "cause": cause,
            "message": message,
            "tail": tail,
        }

    def _keep(self, record: Mapping[str, Any]) -> None:
        """Put the record into the space that was kept for it."""
        descriptor = open_plainly(self._reserve, os.O_RDWR | os.O_CREAT)
        os.ftruncate(descriptor, os.write(descriptor, flat_json(record).encode()))
        os.fsync(descriptor)
        os.close(descriptor)
        os.replace(self._reserve, self._path(f"exit-{self._attempt}.json"))

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _is_removed(self) -> bool:
        """Whether the entry point removed what is ours; the record gets its place back, unless the run has none."""
        if os.path.exists(self._reserve):
            return False
        if os.path.exists(os.path.dirname(os.path.dirname(self._directory))):
            os.makedirs(self._directory, exist_ok=True)
        return True

    def _listen(self) -> None:
        self._alarm, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGHUP):  # a handler, unlike SIG_IGN, is not inherited
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        self._poll.register(self._alarm, select.POLLIN)
        if self._worker.get("lifeline"):
            self._poll.register(0, select.POLLIN)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def _start(self) -> None:
        self._pipe, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._pipe, False)
        with Ignored(OSError):  # the user's pipes hold all that the system allows: a smaller one will do
            fcntl.fcntl(writer, F_SETPIPE_SZ, PIPE_BYTES)
        self._began = now()
        try:
            worker = self._worker
            self._pid = start(worker["argv"], worker["env"], worker["cwd"], writer, self._in_child)
        finally:
            os.close(writer)
        self._poll.register(self._pipe, select.POLLIN)

    def _in_child(self) -> None:
        self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with Ignored(OSError), open("/proc/self/oom_score_adj", "w") as stream:
            stream.write("500")  # rather this one than the agent
        for file in self._worker.get("procs_files", ()):
            with open(file, "w") as procs:
                procs.write("0")

    def _patience(self) -> float:
        if self._kill_at is not None or self._status is not None:
            return TICK_SECONDS
        left: float = self._worker["deadline"] - time.time()
        return min(max(left, 0.0), IDLE_SECONDS)

    def _turn(self, seconds: float) -> None:
        """Wait for output, a signal or the agent's end, and deal with it."""
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if descriptor == self._pipe:
                self._pump()
            elif descriptor == self._alarm:
                os.read(self._alarm, 4096)
            elif not os.read(0, 1):
                self._poll.unregister(0)
                self._end("lost", "The agent of this run was gone, so its entry point was ended.")
        if self._asked:
            self._asked = False
            self._reap()  # what ended before it was asked to was not stopped
            request = self._stop_request()
            message = request.get("message", "It was stopped.")
            self._end(request.get("cause", "stopped"), message, request.get("grace_seconds"))

    def _stop_request(self) -> dict[str, Any]:
        try:
            return read_document(self._path(f"stop-{self._attempt}.json"))
        except (OSError, ValueError):
            return {}

    def _pump(self) -> bool:
        """Take what is there; False at the end of the stream, or when there is nothing more for now."""
        try:
            data = os.read(self._pipe, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            with Ignored(KeyError):
                self._poll.unregister(self._pipe)
            return False
        self._output.write(data)
        if len(data) < BUSY_BYTES and self._status is None:
            time.sleep(PACE_SECONDS)
        return True

    def _reap(self) -> bool:
        """Take note of who has ended. True when nothing is left: what is below a subreaper comes to be its child."""
        try:
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if process == 0:
                    return False
                if process == self._pid:
                    self._status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        except ChildProcessError:
            return True

    def _check_deadline(self) -> None:
        if not self._verdict and self._status is None and time.time() >= self._worker["deadline"]:
            limit = self._worker["time_limit_seconds"]
            self._end("time_limit", f"The time limit of {limit:g} seconds was reached.")

    def _end(self, cause: str, message: str, grace_seconds: float | None = None) -> None:
        """End the tree. Asked again, it only ever ends sooner."""
        if self._status is None and not self._verdict:
            self._verdict = (cause, message)
        kill_at = time.monotonic() + (self._worker["grace_seconds"] if grace_seconds is None else grace_seconds)
        if self._kill_at is None:
            self._signal(descendants(), signal.SIGTERM)
            self._kill_at = kill_at
        self._kill_at = min(self._kill_at, kill_at)

    def _signal(self, processes: set[int], number: int) -> None:
        """End them, keeping on record which checkpoints they were in the middle of writing."""
        watched = self._worker.get("watched")
        if watched and self._status is None:
            self._keep_half_written(open_for_writing(processes, watched))
        signal_all(processes, number)

    def _keep_half_written(self, files: set[str]) -> None:
        new = self._path(f".open-{self._attempt}.json")
        with Ignored(OSError):
            import json

            with open(new, "w", opener=open_plainly) as stream:
                json.dump({"files": sorted(files)}, stream)
            os.replace(new, self._path(f"open-{self._attempt}.json"))

    def _overdue(self) -> bool:
        return self._kill_at is not None and time.monotonic() >= self._kill_at

    def _press(self, left: set[int]) -> None:
        """Go on with ending what has to end: politely, after the grace by force."""
        if not left:
            return
        if self._kill_at is None:  # the entry point ended by itself, what it started did not
            self._leftovers = True
            self._end("", "")
        elif self._overdue():
            self._signal(left, signal.SIGKILL)
            if time.monotonic() >= self._kill_at + LAST_WORD_SECONDS:
                raise RuntimeError(f"the processes {sorted(left)} do not end on SIGKILL")

    def _oom_kills(self) -> tuple[int, int]:
        """Out-of-memory kills so far: in the worker's own control group, and on the whole machine."""
        return sum(map(count_oom_kills, self._worker.get("oom_files", ()))), count_oom_kills(MACHINE_OOM_FILE)

    def _judge(self, own_oom: bool, any_oom: bool) -> tuple[str, str]:
        if self._verdict:
            return self._verdict
        status = self._status or 0
        if status == 0:
            return "ok", "Processes that it left running were ended." if self._leftovers else ""
        if own_oom or (any_oom and status == -signal.SIGKILL):
            return "out_of_memory", (
                f"The memory of {self._worker['memory_mib']} MiB ran out, and the system killed the entry point. "
                "Choose a flavor with more memory, or let it use less at a time."
            )
        return judge_signal(-status) if status < 0 else judge_code(status, self._output.recent())


def judge_signal(number: int) -> tuple[str, str]:
    """Cause and message of an entry point that a signal ended."""
    from signal import Signals

    name = Signals(number).name if number in set(Signals) else f"signal {number}"
    if name in CRASHES:
        return "user_error", f"The entry point crashed with {name}. Its last lines of output may say where."
    if name == "SIGXFSZ":
        return "disk_full", "The entry point was ended by SIGXFSZ: a file grew past the largest size allowed."
    return "lost", f"The entry point was killed by {name}, which was sent from outside."


def judge_code(code: int, recent: str) -> tuple[str, str]:
    """Cause and message of an entry point that exited with a code other than 0."""
    import re

    words, since_traceback = last_error(recent)
    message = f"The entry point exited with code {code}" + (f": {words}" if words else ".")
    return ("disk_full" if re.search(FULL_DISK, since_traceback) else "user_error"), message


def last_error(recent: str) -> tuple[str, str]:
    """The line that says what went wrong, and all since the last traceback began.

    The line is the first one after the last traceback's frames, or without a traceback the last one printed.
    """
    _, traceback, after = recent.rpartition("Traceback (most recent call last):\n")
    lines = [line for line in after.split("\n") if any(character.isalnum() for character in line)]
    if traceback:
        for line in lines:
            if not line[0].isspace():
                return line[:500], after
    return (lines[-1].strip()[:500] if lines else ""), after[-TAIL_BYTES:]


def descendants() -> set[int]:
    """The process ids below this process, without zombies.

    As this process is a child subreaper, none can leave: what daemonises becomes our child.
    """
    parents = {}
    ended = set()
    for process in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            with open(f"/proc/{process}/stat", "rb") as stat:
                state, parent = stat.read().rpartition(b")")[2].split(None, 2)[:2]
        except OSError:  # it ended meanwhile
            continue
        parents[process] = int(parent)
        if state in (b"Z", b"X"):
            ended.add(process)
    below = set()
    for process in parents:
        above = parents[process]
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid():
            below.add(process)
    return below - ended


def open_for_writing(processes: Iterable[int], directory: str) -> set[str]:
    """The files below `directory` that any of them has open for writing, relative to it."""
    inside = os.path.realpath(directory) + os.sep
    found = set()
    for process in processes:
        with Ignored(OSError):  # it ended meanwhile
            for descriptor in os.listdir(f"/proc/{process}/fd"):
                with Ignored(OSError):
                    path = os.readlink(f"/proc/{process}/fd/{descriptor}")
                    if path.startswith(inside) and is_written(f"/proc/{process}/fdinfo/{descriptor}"):
                        found.add(path[len(inside) :])
    return found


def is_written(fdinfo: str) -> bool:
    """Whether an open file was not opened for reading only."""
    with open(fdinfo) as stream:
        flags = [line.split()[1] for line in stream if line.startswith("flags:")]
    return bool(flags) and int(flags[0], 8) & os.O_ACCMODE != os.O_RDONLY


def signal_all(processes: Iterable[int], number: int) -> None:
    """Send a signal to each that is still there."""
    for process in processes:
        with Ignored(ProcessLookupError):
            os.kill(process, number)


def count_oom_kills(file: str) -> int:
    """What one of the kernel's files (`memory.events`, `memory.oom_control`, `vmstat`) counts; 0 where it does not."""
    try:
        with open(file) as stream:
            found = [line.split()[1] for line in stream if line.startswith("oom_kill ")]
    except OSError:
        return 0
    return int(found[0]) if found else 0


def start(
    argv: list[str], environment: Mapping[str, str], directory: str, output: int, prepare: Callable[[], None]
) -> int:
    """What `subprocess.Popen` does for a program in a session of its own; its process id.

    Args:
        argv: The program and its arguments.
        environment: All of its environment.
        directory: Where it starts.
        output: What it prints goes there; it has nothing to read.
        prepare: Called in the new process.

    Raises:
        OSError: It cannot be started.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    process = os.fork()
    if process == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(directory)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and so would the program
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            prepare()
            os.execvpe(argv[0], argv, environment)  # noqa: S606 - there is no shell in between, nor should there be
        except BaseException as error:
            code, name = getattr(error, "errno", errno.EINVAL), getattr(error, "filename", error)
            os.write(writer, f"{code} {name or ''}".encode("utf-8", "surrogateescape"))
        finally:
            os._exit(255)
    os.close(writer)
    with open(reader, "rb") as pipe:
        failure = pipe.read().decode("utf-8", "surrogateescape")
    if failure:
        os.waitpid(process, 0)
        reason, _, what = failure.partition(" ")
        raise OSError(int(reason), os.strerror(int(reason)), what or argv[0])
    return process


def read_document(file: str) -> dict[str, Any]:
    """The JSON object in a file."""
    with open(file, encoding="utf-8", opener=open_plainly) as stream:
        text = stream.read()
    try:
        from _json import make_scanner

        document: dict[str, Any] = make_scanner(Scanner)(text, 0)[0]  # type: ignore[arg-type]
    except (ImportError, AttributeError, TypeError, StopIteration):
        import json

        document = json.loads(text)
    return document


class Scanner:
    """How `json.loads` has CPython's scanner read."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float, parse_int, parse_constant = float, int, float


def flat_json(record: Mapping[str, str | int | None]) -> str:
    """An object without objects in it as JSON."""
    try:
        from _json import encode_basestring_ascii as quoted
    except ImportError:
        import json

        return json.dumps(record)
    words = {n: "null" if v is None else quoted(v) if isinstance(v, str) else str(v) for n, v in record.items()}
    return "{" + ", ".join(f"{quoted(name)}: {word}" for name, word in words.items()) + "}"


def load_prctl() -> Callable[..., int]:
    """The system call `prctl`, or a function that does nothing where the interpreter cannot reach it."""
    try:
        from _ctypes import call_function, dlopen, dlsym

        address = dlsym(dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        return lambda *arguments: call_function(address, arguments)
    except (ImportError, OSError, AttributeError):
        pass
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return lambda *_: -1


def now() -> str:
    """The time, with its zone."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds // 1000:06d}+00:00"


def main() -> None:
    """Supervise the worker whose directory is the last argument."""
    supervisor = Supervisor(sys.argv[-1])
    try:
        supervisor.run()
    except Exception as error:  # the top of the process: whatever it was must be on record
        signal_all(descendants(), signal.SIGKILL)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        message = f"The entry point could not be supervised: {type(error).__name__}: {error}"
        supervisor.finish("disk_full" if full else "launcher_error", message)
    os._exit(0)  # there is nothing to tidy up


if __name__ == "__main__":
    main()

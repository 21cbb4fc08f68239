"""The supervisor of one worker in a pod: `{python} -I -S pod_supervisor.py WORKER_DIRECTORY`.

It runs in the container of the user's image, from a volume into which the init container copied it, and does what
`supervisor` does. Beside it, in a container of ours, the sidecar uploads what the entry point makes. The two share the
volume and nothing else: neither sees the other's processes, so each leaves there what the other has to know.

Standard library only, Python 3.8 or later.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
if __package__:
    from blocks.launcher.accounting import account_below, host_traffic
    from blocks.launcher.pod_volume import DELIVERING, LEAVING, hold, is_held, read_object, write_object
    from blocks.launcher.supervisor import Ignored, Supervisor, descendants, open_for_writing, signal_all
elif not TYPE_CHECKING:  # a program, beside copies of these
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from accounting import account_below, host_traffic
    from pod_volume import DELIVERING, LEAVING, hold, is_held, read_object, write_object
    from supervisor import Ignored, Supervisor, descendants, open_for_writing, signal_all

LOOK_SECONDS = 0.25
REPORT_SECONDS = 1.0
DELIVERY_SECONDS = 660.0
"""For the sidecar to upload what is left once the pod is to end, and for one that was killed to come back."""

MOST_DEATHS = 5
"""Of sidecars that began to upload."""

UNKEPT = "How it ended could not be written down, so nothing more of it is uploaded: {error}."

MESSAGE_BYTES = 2400
"""Of what the containers of a pod say of their ends Kubernetes keeps 12 KiB, an equal share for each: there are four of
ours at most, and room is left for one that a cluster may put beside them."""

TERMINATION_LOG = "/dev/termination-log"
CODES = {"ok": 0, "stopped": 143, "time_limit": 124, "lost": 137, "out_of_memory": 137}


class PodSupervisor(Supervisor):
    """One attempt of one worker, in its container."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self._worker["env"] = {**os.environ, **self._worker["env"]}
        self._worker["argv"] = [sys.executable, *self._worker["argv"]]
        if self._worker["deadline"] is None:  # the first attempt's time begins now
            self._worker["deadline"] = time.time() + self._worker["time_limit_seconds"]
        self._requests: dict[str, Any] = {}
        self._is_terminated = False
        self._place = os.path.realpath(self._directory)
        hold(self._path("supervisor.lock"))  # the sidecar, which does not see this process, knows by it when it is gone
        self._report_at = 0.0
        self._gpus = Gpus() if self._worker.get("gpus") else None
        self._code = 1

    def _patience(self) -> float:
        return min(super()._patience(), LOOK_SECONDS)

    def _turn(self, seconds: float) -> None:
        super()._turn(seconds)
        if self._status is None:
            self._report()
        request = self._request()
        if request and request != self._requests:
            self._requests = request
            self._asked = True
            super()._turn(0)

    def _ask(self, *_: object) -> None:
        super()._ask()
        self._is_terminated = True

    def _stop_request(self) -> dict[str, Any]:
        return self._request()

    def _request(self) -> dict[str, Any]:
        """That the sidecar, or somebody through the pod's annotation, wants it to end."""
        with Ignored(OSError, ValueError):
            return read_object(self._path(f"stop-{self._attempt}.json"))
        return self._annotation()

    def _annotation(self) -> dict[str, Any]:
        """What somebody asks for through the pod's annotation; the kubelet puts a link there."""
        with Ignored(OSError, ValueError):
            return read_object(os.path.realpath(self._worker["stop_file"]))
        return {}

    def _report(self) -> None:
        """Now and then: what the sidecar cannot see itself."""
        if time.monotonic() < self._report_at:
            return
        self._report_at = time.monotonic() + REPORT_SECONDS
        account, traffic = account_below(os.getpid()), host_traffic()
        report = {
            "account": account.__dict__,
            "traffic": list(traffic) if traffic else None,
            "gpus": self._gpus.use() if self._gpus else None,
            "open": sorted(open_for_writing(descendants(), self._worker["watched"])),
        }
        with Ignored(OSError):
            write_object(self._path("report.json"), report)

    def finish(self, cause: str, message: str) -> None:
        """Leave the record, wait until all is uploaded, and tell Kubernetes how it ended."""
        record = self._record(cause, message)
        try:
            self._keep(record)
        except OSError as error:  # then the sidecar, which would wait for it, ends with this container
            if record["cause"] == "ok":
                record["cause"] = "user_error"
            record["message"] = f"{record['message']} {UNKEPT.format(error=error)}".strip()
            delivered: dict[str, Any] = {}
        else:
            delivered = self._delivered()
        tell(short(record))
        code = record["code"] or CODES.get(record["cause"], 1)
        self._code = code if record["cause"] != "ok" else CODES.get(str(delivered.get("cause", "ok")), 1)

    def _is_removed(self) -> bool:
        """Also when it was replaced; the sidecar looks for the record there, so there is a directory again."""
        if os.path.exists(self._reserve) and os.path.realpath(self._directory) == self._place:
            return False
        workers = os.path.dirname(self._directory)
        for place in (os.path.dirname(workers), workers, self._directory):
            with Ignored(OSError):
                if os.path.islink(place) or os.path.isfile(place):
                    os.unlink(place)
        with Ignored(OSError):
            os.makedirs(self._directory, exist_ok=True)
        return True

    def _delivered(self) -> dict[str, Any]:
        """What the sidecar says when it has uploaded what there was to upload, however long that takes."""
        patience, pause = Patience(time.monotonic()), 0.02
        while True:
            with Ignored(OSError, ValueError):
                return read_object(self._path("delivered.json"))
            is_at_it = is_held(self._path(DELIVERING)) is True
            is_to_end = self._is_terminated or bool(self._annotation())
            if is_to_end:
                with Ignored(OSError):
                    write_object(self._path(LEAVING), {})
            if patience.is_over(time.monotonic(), is_at_it=is_at_it, is_to_end=is_to_end):
                return {"cause": "launcher_error"}
            time.sleep(pause)
            pause = min(pause * 1.1, LOOK_SECONDS)

    @property
    def code(self) -> int:
        """With which the container ends."""
        return self._code


class Gpus:
    """What the GPUs do; nothing where Python has no `ctypes`, as one that was built without libffi."""

    def __init__(self) -> None:
        self._watch: Any = None
        self._is_tried = False

    def use(self) -> list[float] | None:
        """As they were last, once they are watched: from the first time on that somebody asks."""
        if not self._is_tried:
            self._is_tried = True
            with Ignored(ImportError):
                self._watch = watch_gpus()
        return self._watch.latest if self._watch else None


def watch_gpus() -> Any:
    """Begin to look at them."""
    if __package__:
        from blocks.launcher.pod_gpus import GpuWatch
    elif not TYPE_CHECKING:
        from pod_gpus import GpuWatch
    watch = GpuWatch()
    watch.start()
    return watch


class Patience:
    """How long to wait for the sidecar: for as long as it is at it.

    But not for one that does not come back, or dies again and again, nor without end once the pod is to end: then the
    pod's grace ends soon (`terminationGracePeriodSeconds`), and nothing could be told any more.
    """

    def __init__(self, now: float) -> None:
        self._seen, self._to_end = now, float("inf")
        self._was_at_it, self._deaths = False, 0

    def is_over(self, now: float, *, is_at_it: bool, is_to_end: bool) -> bool:
        """Whether it has waited for long enough, as it finds things now."""
        self._deaths += self._was_at_it and not is_at_it
        self._was_at_it = is_at_it
        if is_at_it:
            self._seen = now
        if is_to_end:
            self._to_end = min(self._to_end, now)
        return self._deaths >= MOST_DEATHS or now - min(self._seen, self._to_end) > DELIVERY_SECONDS


class Echo:
    """What the entry point prints, printed once more, so that `kubectl logs` shows it."""

    def __init__(self, output: Any) -> None:
        self._output = output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)

    def write(self, data: bytes) -> None:
        """Keep it, and print it."""
        self._output.write(data)
        with Ignored(OSError):
            os.write(1, data)


def tell(text: str) -> None:
    """Have Kubernetes keep it, where there is one."""
    with Ignored(OSError):
        descriptor = os.open(TERMINATION_LOG, os.O_WRONLY | os.O_TRUNC)  # never make it: it is the kubelet's
        os.write(descriptor, text.encode())
        os.close(descriptor)


def short(record: dict[str, Any]) -> str:
    """The record as JSON that fits what Kubernetes keeps: first the beginning of its tail goes, then its message's end.

    A character may take twelve bytes there, or one.
    """
    excess = len(json.dumps(record)) - MESSAGE_BYTES
    while excess > 0 and (record["tail"] or record["message"]):
        cut = max(excess // 12, 1)
        tail, message = record["tail"], record["message"]
        record = {**record, "tail": tail[cut:]} if tail else {**record, "message": message[:-cut]}
        excess = len(json.dumps(record)) - MESSAGE_BYTES
    return json.dumps(record)


def main() -> None:
    """Supervise the worker whose directory is the last argument."""
    supervisor = PodSupervisor(sys.argv[-1])
    supervisor._output = Echo(supervisor._output)  # type: ignore[assignment]
    try:
        supervisor.run()
    except Exception as error:  # the top of the process: whatever it was must be on record
        signal_all(descendants(), 9)
        message = f"The entry point could not be supervised: {type(error).__name__}: {error}"
        supervisor.finish("launcher_error", message)
    os._exit(supervisor.code)


if __name__ == "__main__":
    main()

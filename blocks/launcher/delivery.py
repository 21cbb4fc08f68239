"""Brings what the workers make to its place: while they run, and all of it at the end."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Lock

from blocks.cluster.layout import RunLayout
from blocks.cluster.outcome import Outcome
from blocks.cluster.output import end_of_output
from blocks.cluster.processes import find_processes
from blocks.domain.errors import StorageUnavailableError, TransientError
from blocks.domain.plan import ExitCause, OutputKind, RunPlan
from blocks.launcher.causes import uploading_outcome
from blocks.launcher.directories import CHECKPOINTS, TENSORBOARD
from blocks.launcher.doubts import known_doubts, note_doubts
from blocks.launcher.journal import Journal
from blocks.launcher.mirror import Mirror
from blocks.launcher.outputs import Arrival, outputs_of, upload_growing_log, upload_logs, upload_model
from blocks.launcher.stopping import StopSwitch, in_background
from blocks.launcher.stores import Stores
from blocks.launcher.supervisor import open_for_writing
from blocks.launcher.sync import SHARE_OF_TIME, OpenFiles, Synchroniser, tell_trouble

PATIENCE_SECONDS = 600.0
"""How long a store may be away at the end of a run before its results count as lost."""

STOP_PATIENCE_SECONDS = 30.0
"""The same once somebody wants the run to stop."""

RETRY_SECONDS = 5.0
LOG_SECONDS = 10.0
"""Between two uploads of a log that grows: each is of all of it, as stores cannot append; a long one's are rarer."""

NO_MODEL = "The entry point left nothing in EM_MODEL_DIR, so no model was written."


class Delivery:
    """The outputs of one run, as far as its workers are on this machine.

    Args:
        layout: Where they are.
        plan: Where they go.
        stores: That they go to.
        journal: Told of what has arrived.
        switch: Wakes who waits.
        ranks: The workers that are here; None for all.
        open_files: Which files below a directory are being written to; None to look at the processes of this machine.
        growing_logs: Where copies are made of logs that grow, to upload them while the workers run, too; None to upload
            them only at the end.
    """

    def __init__(
        self,
        layout: RunLayout,
        plan: RunPlan,
        stores: Stores,
        journal: Journal,
        switch: StopSwitch,
        *,
        ranks: Sequence[int] | None = None,
        open_files: OpenFiles | None = None,
        growing_logs: Path | None = None,
    ) -> None:
        self._growing_logs = growing_logs
        self._log_turn = Lock()  # what is uploaded at the end is the last
        self._layout = layout
        self._plan = plan
        self._ranks = range(plan.workers) if ranks is None else ranks
        self._stores = stores
        self._journal = journal
        self._switch = switch
        directories = {OutputKind.CHECKPOINT: CHECKPOINTS, OutputKind.TENSORBOARD: TENSORBOARD}
        mirrors = [
            Mirror(layout.worker(rank) / name, output, rank)
            for kind, name in directories.items()
            for output in outputs_of(plan, kind)
            for rank in self._ranks
        ]
        looks = open_files or self._open_files
        self._sync = Synchroniser(mirrors, stores, layout.directory / "snapshots", looks, self._arrived)
        self._doubt()

    @contextmanager
    def while_running(self) -> Iterator[None]:
        """Upload checkpoints and TensorBoard files as they come, and logs, where these are wanted."""
        ended = Event()
        in_background(self._switch, "synchronisation", lambda: self._sync.follow(ended))
        if self._growing_logs is not None:
            for rank in self._ranks:
                copy = self._growing_logs / f"growing-{rank}.log"
                in_background(self._switch, "logs", partial(self._follow_log, ended, rank, copy))
        try:
            yield
        finally:
            ended.set()

    def note_doubts(self, attempt: int) -> None:
        """Never upload what the killed workers of an attempt left half written."""
        note_doubts(self._layout, self._ranks, attempt)
        self._doubt()

    def deliver(self, outcome: Outcome, others: Callable[[], Outcome] = lambda: Outcome(ExitCause.OK)) -> Outcome:
        """Upload all that this end of the run leaves to upload; the outcome that the run has then.

        Args:
            outcome: Of the workers that are here.
            others: Waits for those that are elsewhere, and says how they ended; asked before a model is uploaded, as
                there is none but of workers that have all ended well.
        """
        outcome = self._step(outcome, "its checkpoints", self._rest)
        delivered = self.deliver_log(outcome)  # first, as it may be long until the others have ended
        if outcome.cause != ExitCause.OK:
            return delivered
        elsewhere = others()
        if elsewhere.cause == ExitCause.OK:
            return self._step(delivered, "its model", self._model)
        return elsewhere if delivered.cause == ExitCause.OK else delivered

    def deliver_log(self, outcome: Outcome) -> Outcome:
        """The part of it that is also due when no worker was ever started."""
        return self._step(outcome, "its log", self._logs)

    def _doubt(self) -> None:
        for mirror in self._sync.mirrors:
            if not mirror.growing:
                mirror.doubt(known_doubts(self._layout, mirror.rank))

    def _step(self, outcome: Outcome, what: str, work: Callable[[], str]) -> Outcome:
        """Do one part; a failure decides the outcome of a run that went well, and is added to another's message."""
        try:
            said = self._insist(what, work)
        except Exception as error:  # whatever a store's client raised: the other parts still have their turn
            if not isinstance(error, TransientError):
                traceback.print_exception(error)
            failure = uploading_outcome(error, self._layout.home)
            if outcome.cause == ExitCause.OK:
                return failure
            said = f"{outcome.message.rstrip('.')}. Also, {what} could not be uploaded: {failure.message}"
            return Outcome(outcome.cause, said)
        return Outcome(outcome.cause, f"{outcome.message} {said}".strip())

    def _insist(self, what: str, work: Callable[[], str | None]) -> str:
        """Do `work`, again while the store is away, as long as patience allows."""
        began = time.monotonic()
        asked: float | None = None
        while True:
            future = in_background(self._switch, what, work)
            while not future.done():
                asked = asked or (time.monotonic() if self._switch.asked() else None)
                if asked and time.monotonic() - asked > STOP_PATIENCE_SECONDS:
                    raise StorageUnavailableError(what, "it took too long after the run was to stop")
                self._switch.wait()
            error = future.exception()
            if error is None:
                return future.result() or ""
            away = time.monotonic() - (asked or began)
            limit = STOP_PATIENCE_SECONDS if asked else PATIENCE_SECONDS
            if not isinstance(error, TransientError) or away > limit:
                raise error
            print(f"uploading {what}: {error}", file=sys.stderr, flush=True)
            self._pause(RETRY_SECONDS)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._switch.wait(left)

    def _rest(self) -> str:
        self.note_doubts(self._journal.state.attempt)
        self._sync.finish()
        for mirror in self._sync.mirrors:
            if mirror.sent_files:
                self._report(Arrival(mirror.output.kind, str(mirror.to), mirror.sent_files, mirror.sent_bytes))
        return ""

    def _model(self) -> str:
        return "" if upload_model(self._layout, self._plan, self._ranks, self._stores, self._report) else NO_MODEL

    def _logs(self) -> str:
        with self._log_turn:
            upload_logs(self._layout, self._plan, self._ranks, self._stores, self._report)
        return ""

    def _follow_log(self, ended: Event, rank: int, copy: Path) -> None:
        """Upload a worker's output now and then: with a machine that is lost goes only what was printed last."""
        pause, sent = LOG_SECONDS, 0
        while not ended.wait(pause):
            began = time.monotonic()
            with self._log_turn:
                printed = end_of_output(self._layout.output(rank))
                if printed > sent and not ended.is_set() and self._send_log(ended, rank, copy):
                    sent = printed
            pause = max(LOG_SECONDS, SHARE_OF_TIME * (time.monotonic() - began))

    def _send_log(self, ended: Event, rank: int, copy: Path) -> bool:
        """Whether it is at its place; at the end it is tried for longer, and complained of."""

        def go_on(_: int) -> None:
            if ended.is_set():
                raise InterruptedError("the last upload follows")

        try:
            upload_growing_log(self._layout, self._plan, rank, self._stores, copy, go_on)
        except Exception as error:  # whatever a store's client raised: the next one may succeed
            tell_trouble("uploading the log while the worker runs", error)
            return False
        finally:
            copy.unlink(missing_ok=True)
        return True

    def _open_files(self, directory: Path) -> set[str]:
        return open_for_writing(find_processes(self._layout.directory, excluding={os.getpid()}), str(directory))

    def _arrived(self, mirror: Mirror, path: str, size: int) -> None:
        if mirror.output.kind is OutputKind.CHECKPOINT:
            self._journal.emit("checkpointed", path=path, size=size)

    def _report(self, arrival: Arrival) -> None:
        self._journal.emit("uploaded", output=arrival.kind, path=arrival.path, files=arrival.files, bytes=arrival.bytes)

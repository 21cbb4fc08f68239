"""The threads that care for the runs of trials, so that the control loop waits for no cluster."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from time import monotonic

from blocks.domain.errors import MakerflowError, PermanentError, PlaceGoneError, TransientError
from blocks.domain.lifecycle import TrialStatus
from tasks.trial_run import TrialRun, run_trial

END_AGAIN_SECONDS = 30.0

logger = logging.getLogger("makerflow")


class TrialThreads:
    """The threads of trials that run, each in the context of the flow run, so that their tasks are seen in it.

    Args:
        parallel: How many run at once. Those that end still have to be removed while others begin.
    """

    def __init__(self, parallel: int) -> None:
        self._runs = ThreadPoolExecutor(2 * parallel, thread_name_prefix="trial")
        self._others = ThreadPoolExecutor(2 * parallel, thread_name_prefix="care of a trial")
        self._under_way: set[tuple[str, str]] = set()

    def start(self, run: TrialRun) -> None:
        """Run its task; what goes wrong with it is the run's `trouble`."""

        def note(error: BaseException | None) -> None:
            run.trouble = error

        task = self._runs.submit(copy_context().run, run_trial.named, f"trial {run.trial.number}", run)
        task.add_done_callback(lambda done: note(done.exception()))

    def clear_away(self, run: TrialRun) -> None:
        """Have what a concluded trial left brought to its place and removed, without waiting for that."""
        self._others.submit(self._clear_away, run)

    def launch_again(self, run: TrialRun) -> None:
        """Have a run go on whose agent has died, without waiting for that; nothing while that is under way.

        Only that its place is gone is the run's `trouble`: any other refusal says nothing of it, and can be mended.
        """
        self._once(self._launch, run)

    def end(self, run: TrialRun, verdict: TrialStatus, reason: str) -> None:
        """Have a run ended, without waiting for that. A trial that has SUCCEEDED may first come to its end by itself.

        Args:
            run: Which one.
            verdict: What its trial is to be.
            reason: Why.
        """
        run.verdict, run.reason = verdict, reason
        self._end_after(run, run.plan.stop_grace_seconds if verdict is TrialStatus.SUCCEEDED else 0)

    def end_again(self, run: TrialRun) -> None:
        """Ask once more when a run was to be ended long ago, and nothing was heard of that."""
        if monotonic() - run.to_end_at > END_AGAIN_SECONDS:
            self._end_after(run, 0)

    def close(self) -> None:
        """Wait for all of them."""
        self._others.shutdown()
        self._runs.shutdown()

    def _end_after(self, run: TrialRun, seconds: float) -> None:
        run.to_end_at = monotonic() + seconds
        self._once(self._stop, run, seconds)

    def _once(self, work: Callable[..., None], run: TrialRun, *given: float) -> None:
        """Ending a run may take minutes: who asks again meanwhile must not take the threads of other runs."""
        key = (work.__name__, run.plan.run_id)
        if key not in self._under_way:
            self._under_way.add(key)
            self._others.submit(work, run, *given).add_done_callback(lambda _: self._under_way.discard(key))

    def _launch(self, run: TrialRun) -> None:
        pause = run.launch_pause
        try:
            run.launch()
            pause.refusal = None
        except PlaceGoneError as error:
            run.trouble = error
        except PermanentError as error:
            if str(error) != str(pause.refusal):
                logger.warning("%s is lost, and cannot be launched again yet: %s", run.name, error)
            pause.refusal = error
        except TransientError:
            logger.debug("%s is found lost again", run.name)

    def _clear_away(self, run: TrialRun) -> None:
        try:
            run.clear_away()
        except MakerflowError as error:
            logger.warning("What the trial %s left on the cluster is removed later, by upkeep: %s", run.name, error)

    def _stop(self, run: TrialRun, after_seconds: float) -> None:
        if not run.is_over_within(after_seconds):
            with suppress(MakerflowError):  # the control loop asks again as long as there is no last event
                run.stop()

"""One run of a trial: a task of its own on the flow's timeline, which launches it and waits until it is over.

Its events are read by the tuning's control loop, which says when it is over; so that however many trials run, one
stream is watched.
"""

import math
import threading
from functools import cached_property

from blocks.cluster.base import Secrets
from blocks.connections.platform import Platform
from blocks.domain.errors import PermanentError, RunFailedError
from blocks.domain.lifecycle import TRIAL_FAILED, TrialStatus
from blocks.domain.plan import RunHandle, RunPlan
from blocks.registry.records import Training, Trial, Tuning
from tasks.engine import step
from tasks.launch_pause import LaunchPause
from tasks.log_collection import collect_logs, collected_meanwhile

STOP_SECONDS = 2.0
"""Between asking a trial that is not needed any longer to end and ending it by force."""


class TrialRun:
    """A trial that runs, between the control loop and its own thread.

    Args:
        platform: Where it runs.
        tuning: Whose trial it is.
        trial: The trial.
        plan: Of its run.

    Attributes:
        verdict: How the control loop wants it to end: KILLED, EARLY_STOPPED, or SUCCEEDED for one that has reached the
            goal; None for as it ends by itself.
        reason: Why.
        to_end_at: When it is to be stopped, by the clock of `time.monotonic`.
        trouble: Why it could not be launched; None while that can be tried.
        launch_pause: Until it is launched again where it is lost.
    """

    def __init__(self, platform: Platform, tuning: Tuning, trial: Trial, plan: RunPlan) -> None:
        self.trial = trial
        self.plan = plan
        self.verdict: TrialStatus | None = None
        self.reason = ""
        self.to_end_at = math.inf
        self.trouble: BaseException | None = None
        self.launch_pause = LaunchPause()
        self.name = f"{tuning.name}/{trial.number}"
        self._platform = platform
        self._over = threading.Event()
        self._launching = threading.Lock()
        self._left = False
        self._launched = self._is_delivered = False
        self._is_logged = tuning.spec.limits.log_management
        self._outcome: tuple[TrialStatus, str] = (TrialStatus.KILLED, "")

    @cached_property
    def training(self) -> Training:
        """The row of its training as it was first read; it is removed when the trial is run again."""
        return self._platform.registry.trainings.get(self.plan.run_id)

    @property
    def handle(self) -> RunHandle:
        """The handle of its run."""
        return RunHandle(cluster="", run_id=self.plan.run_id)

    @property
    def is_launched(self) -> bool:
        """Whether the cluster has been asked to run it, so that it must know of it."""
        return self._launched

    @property
    def is_concluded(self) -> bool:
        """Whether the control loop is done with it."""
        return self._over.is_set()

    def find(self) -> None:
        """Note that an earlier process has launched it: it needs nothing but to be followed, unless it is lost."""
        self._launched = True

    def leave(self) -> None:
        """Let its thread end though it runs on: the control loop ends, and another one will follow it."""
        self._left = True
        self._over.set()

    def conclude(self, status: TrialStatus, reason: str, *, logs_uploaded: bool) -> None:
        """Say how it ended, and let its thread go on: by the control loop, once all that it told is kept.

        Args:
            status: What the trial is now.
            reason: Why.
            logs_uploaded: Whether its output is at its place, so that the run need not be kept for it.
        """
        with self._launching:  # nobody could end what is launched after that
            self._outcome, self._is_delivered = (status, reason), logs_uploaded
            self._over.set()

    def execute(self) -> TrialStatus:
        """Launch it, or find it; wait until it is concluded; remove what it left on the cluster.

        Raises:
            RunFailedError: It failed.
            PermanentError: It can never be launched, as it does not fit, or a connection of its plan is gone.
            TransientError: The cluster does not answer.
        """
        if not self._launched:
            self.launch()
        if self.verdict not in (None, TrialStatus.SUCCEEDED):  # before there was a run that could be stopped
            self.stop()
        self._wait()
        status, reason = self._outcome
        if self._left:
            return status
        self._clear_away()
        if status in TRIAL_FAILED:
            raise RunFailedError("trial", self.name, status, reason)
        return status

    def clear_away(self) -> None:
        """Do what an earlier process did not come to after it had concluded the trial.

        Raises:
            TransientError: The cluster, the registry or the log store does not answer.
        """
        self.stop()
        self._clear_away()

    def _clear_away(self) -> None:
        """Bring what is left of its lines into the log store, where that is asked for, and remove its run."""
        if self._is_logged:
            collect_logs(self._platform, self.training, self.handle)
        if self._is_delivered:
            self._platform.cluster.remove(self.handle)

    def _wait(self) -> None:
        """Until it is concluded; its lines go to the log store meanwhile, where that is asked for."""
        if not self._is_logged:
            self._over.wait()
            return
        with collected_meanwhile(self._platform, self.training, self.handle):
            self._over.wait()

    def launch(self) -> None:
        """Start its run, or find it; also that of an agent that died without a word. Once it is concluded, do nothing.

        Raises:
            PermanentError: It never can be: it does not fit, or a connection of its plan is gone.
            TransientError: The cluster does not answer.
        """
        secrets = self._platform.secrets(self.plan)  # a server may be slow to tell them: nobody waits for that
        with self._launching:
            if not self._over.is_set():
                self._platform.cluster.launch(self.plan, secrets)
                self._launched = True

    def is_over_within(self, seconds: float) -> bool:
        """Wait so long for its end; whether it came."""
        return self._over.wait(seconds)

    def stop(self) -> None:
        """End its run, and come back when nothing of it is left; the control loop hears of it by its last event."""
        self._platform.cluster.stop(self.handle, STOP_SECONDS, self._known_secrets())

    def _known_secrets(self) -> Secrets:
        try:
            return self._platform.secrets(self.plan)
        except PermanentError:  # a connection was deleted since; an agent that lives has what it needs
            return {}

    def __repr__(self) -> str:
        return f"TrialRun({self.name})"


@step("trial")
def run_trial(run: TrialRun) -> TrialStatus:
    """One trial, from its launch to its end; its truth is in the registry."""
    return run.execute()

"""The trials of a tuning: one control loop that starts them, hears of them, and ends them by the tuning's rules."""

import logging
from datetime import UTC, datetime
from time import monotonic

from blocks.cluster.base import Selector
from blocks.connections.platform import Platform, open_platform
from blocks.domain.errors import IllegalTransitionError, PermanentError, TransientError
from blocks.domain.lifecycle import TRIAL_FINISHED, TrialStatus, TuningStatus
from blocks.domain.plan import ExitCause, Finished, RunEvent, RunPhase
from blocks.domain.trials import Ending
from blocks.domain.tunings import ObjectiveValue
from blocks.registry.records import Trial, Tuning
from tasks.current_run import cancel_requested
from tasks.engine import retrying
from tasks.page_log import tell_moves
from tasks.planning import plan_of_trial
from tasks.trial_following import TrialFollower
from tasks.trial_results import TrialResults
from tasks.trial_run import TrialRun
from tasks.trial_threads import TrialThreads
from tasks.tuning import training_id_of_trial
from tasks.tuning_page import TuningPage

logger = logging.getLogger("makerflow")

LOOK_SECONDS = 0.25
"""So often the output of running trials is looked at."""

CHECK_SECONDS = 2.0
"""So often it is looked whether somebody else has stopped the tuning, or cancelled its flow run."""

_ENDING = {
    TuningStatus.STOP_IN_PROGRESS: "stopped on request",
    TuningStatus.COMPLETE_IN_PROGRESS: "the tuning has ended",
    TuningStatus.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS: "the tuning has failed",
}
"""Why trials that run are ended in these statuses."""


def run_trials(tuning_id: str) -> None:
    """Run trials until the tuning's rules, or somebody, ends it; goes on where an earlier process was.

    Raises:
        TransientError: The cluster or the registry did not answer, several times while no trial ended; running again
            goes on.
        InvalidInputError: It is for another cluster.
        PermanentError: No trial runs any more, and those that are lost may not be launched again: once that is mended,
            running again goes on.
    """
    while not retrying()(_run, tuning_id):
        pass


def _run(tuning_id: str) -> bool:
    """Whether that was all; else trials have ended since it began, and an error that may pass has interrupted it."""
    platform = open_platform()
    row = platform.registry.tunings.get(tuning_id)
    if row.plan is not None and row.status in (TuningStatus.CREATE_IN_PROGRESS, TuningStatus.RUNNING, *_ENDING):
        platform.check_cluster(row.plan)
        if row.status is TuningStatus.CREATE_IN_PROGRESS:
            row = _begun(platform, row)
        control = _Control(platform, row)
        try:
            control.run()
        except TransientError as error:
            if not control.has_concluded:
                raise
            logger.warning("The trials of %s are gone on with: %s", row.name, error)
            return False
        finally:
            control.close()
    return True


def _begun(platform: Platform, row: Tuning) -> Tuning:
    """RUNNING, unless somebody has stopped it meanwhile."""
    try:
        row = platform.registry.tunings.move(
            row.id, TuningStatus.RUNNING, row.reason if row.spec.search.warm_start else "trials begin"
        )
    except IllegalTransitionError:
        row = platform.registry.tunings.get(row.id)
        if row.status not in _ENDING:
            raise
    tell_moves()
    return row


class _Control:
    """The control loop. All of it runs in the calling thread, but for what waits for a cluster.

    Attributes:
        has_concluded: Whether a trial has come to its end.
    """

    def __init__(self, platform: Platform, tuning: Tuning) -> None:
        self._platform = platform
        self._tuning = tuning
        self._spec = tuning.spec
        self._selector = Selector(labels={"tuning": tuning.id})
        self._threads = TrialThreads(tuning.spec.trainings.parallel_trainings)
        self._running: dict[str, TrialFollower] = {}
        self._again: list[Trial] = []
        self._stopping = _ENDING.get(tuning.status, "")
        self._page = TuningPage(platform, tuning)
        self._next_look = self._next_check = 0.0
        self.has_concluded = False
        self._ended: dict[str, Finished] = {}
        self._known = platform.registry.tunings.trials(tuning.id)
        self._next_number = max((trial.number for trial in self._known), default=0) + 1
        self._results = TrialResults(platform, tuning, self._known)

    def run(self) -> None:
        """Until no trial runs and none is to begin."""
        self._recall(self._known)
        if self._is_over():
            return
        since = {run_id: follower.event_cursor for run_id, follower in self._running.items()}
        for event in self._platform.cluster.watch(self._selector, since, idle_seconds=LOOK_SECONDS):
            if event is not None:
                self._take(event)
            self._look()
            if self._is_over():
                return

    def close(self) -> None:
        """Wait for what is being removed from the cluster. Trials that run go on by themselves."""
        for follower in self._running.values():
            follower.leave()
        self._threads.close()

    def _recall(self, trials: list[Trial]) -> None:
        """Go on where an earlier process was: follow what runs."""
        found = {state.handle.run_id for state in self._platform.cluster.find(self._selector)}
        for trial in trials:
            if trial.status in (*TRIAL_FINISHED, TrialStatus.KILLED) and trial.training_id in found:
                self._clear_away(trial)
            if trial.status is TrialStatus.KILLED:
                self._again.append(trial)
            elif trial.status not in TRIAL_FINISHED:
                follower = self._watch(trial)
                if trial.training_id in found:
                    follower.run.find()
                if follower.event_cursor and trial.training_id not in found:
                    self._lose(follower)
                else:
                    self._start(follower)

    def _clear_away(self, trial: Trial) -> None:
        """Have done what an earlier process died before: it had concluded this trial, whose run is still there."""
        run = TrialRun(self._platform, self._tuning, trial, plan_of_trial(self._platform, self._tuning, trial))
        run.conclude(trial.status, trial.reason, logs_uploaded=run.training.logs_uploaded)
        self._threads.clear_away(run)

    def _is_over(self) -> bool:
        """Start what may start; whether nothing runs any more."""
        if not self._stopping:
            self._apply_rules()
        while not self._stopping and self._has_room() and self._begin():
            pass
        self._page.report()
        return not self._running and bool(self._stopping)

    def _has_room(self) -> bool:
        """Whether another trial may begin; where a lost one is refused, a new one would be, too."""
        most = min(self._spec.trainings.parallel_trainings, self._results.left)
        return len(self._running) < most and not any(f.run.launch_pause.refusal for f in self._running.values())

    def _begin(self) -> bool:
        """Start the next trial: one that was killed with the tuning, or a new one; whether there was one."""
        if self._is_stopped_by_others():
            return False
        tunings = self._platform.registry.tunings
        if self._again:
            killed = self._again.pop(0)
            id = training_id_of_trial(self._tuning.id, killed.number, killed.runs + 1)
            self._start(self._watch(tunings.run_again(self._tuning, killed, id)))
            return True
        point = self._results.suggest(self._next_number)
        if point is None:
            self._apply_rules(exhausted=not self._running)
            return False
        id = training_id_of_trial(self._tuning.id, self._next_number, 1)
        self._start(self._watch(tunings.add_trial(self._tuning, self._next_number, point, id)))
        self._next_number += 1
        return True

    def _watch(self, trial: Trial) -> TrialFollower:
        run = TrialRun(self._platform, self._tuning, trial, plan_of_trial(self._platform, self._tuning, trial))
        follower = TrialFollower(self._platform, self._tuning, run, self._results.doubt)
        self._running[trial.training_id] = follower
        return follower

    def _start(self, follower: TrialFollower) -> None:
        """Have its run launched, or found; and ended, if that is decided already."""
        trial = follower.trial
        self._threads.start(follower.run)
        if trial.verdict is not None:
            self._threads.end(follower.run, trial.verdict, trial.reason)
        elif self._stopping:
            self._threads.end(follower.run, TrialStatus.KILLED, self._stopping)

    def _take(self, event: RunEvent) -> None:
        follower = self._running.get(event.run_id)
        if follower is None:
            return  # of one that is over, whose last word was heard before
        follower.take(event)
        if isinstance(event, Finished):
            self._hear_out(follower, event)

    def _hear_out(self, follower: TrialFollower, event: Finished) -> None:
        """Conclude a trial that has ended once all that it printed is read; until then others have their turn, too."""
        self._ended[event.run_id] = event
        if follower.catch_up():
            self._conclude(follower, event.cause, event.message)

    def _look(self) -> None:
        """Now and then: what running trials have printed, and whether one could not even be launched."""
        now = monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        for id, follower in list(self._running.items()):
            if follower.run.trouble is not None:
                self._could_not_launch(follower, follower.run.trouble)
            elif id in self._ended:
                self._hear_out(follower, self._ended[id])
            else:
                follower.look()
                self._judge(follower)
                if warning := follower.warning():
                    self._page.warn(warning)
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            self._check()

    def _check(self) -> None:
        """Whether somebody else wants the tuning to end, or its time is over; whether a stop was not heard."""
        if cancel_requested() and not self._stopping:
            self._end(TuningStatus.STOP_IN_PROGRESS, "cancelled in the UI")
        self._is_stopped_by_others()
        self._check_runs()
        for follower in self._running.values():
            self._threads.end_again(follower.run)

    def _check_runs(self) -> None:
        """Whether the cluster still has every run: one that died without a word goes on, one that is gone is killed."""
        launched = [follower for follower in self._running.values() if follower.run.is_launched]
        phases = {state.handle.run_id: state.phase for state in self._platform.cluster.find(self._selector)}
        for follower in launched:
            phase = phases.get(follower.trial.training_id)
            if phase is None:
                self._lose(follower)
            elif phase is not RunPhase.LOST:
                follower.run.launch_pause.end()
            elif follower.run.verdict is None and follower.run.launch_pause.is_over:
                follower.run.launch_pause.begin()
                self._threads.launch_again(follower.run)
        self._check_refusals()

    def _check_refusals(self) -> None:
        """Leave the tuning as it is once it has nothing but lost runs that are refused; others go on meanwhile."""
        runs = [follower.run for follower in self._running.values()]
        refusals = [run.launch_pause.refusal for run in runs if run.verdict is None]
        refused = [refusal for refusal in refusals if refusal is not None]
        if refused and len(refused) == len(runs):
            raise refused[0]

    def _lose(self, follower: TrialFollower) -> None:
        """Its run is gone from the cluster, and nobody can tell what became of it: it is run again from the start."""
        self._conclude(follower, ExitCause.STOPPED, "Its run was removed from the cluster behind the tuning's back")

    def _could_not_launch(self, follower: TrialFollower, error: BaseException) -> None:
        if not isinstance(error, PermanentError):
            raise error  # such as a cluster that does not answer: the trial can be launched later
        self._conclude(follower, ExitCause.LAUNCHER_ERROR, str(error))
        if follower.run.is_launched:
            self._threads.clear_away(follower.run)
        if not self._stopping:
            self._end(TuningStatus.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS, str(error))

    def _is_stopped_by_others(self) -> bool:
        status = self._platform.registry.tunings.status(self._tuning.id)
        if status in _ENDING and not self._stopping:
            self._stop_all(_ENDING[status])
        return bool(self._stopping)

    def _judge(self, follower: TrialFollower) -> None:
        """Whether a running trial is to be ended early, by what it has reported."""
        if follower.run.verdict is None and follower.doubt:
            self._end_trial(follower, TrialStatus.EARLY_STOPPED, follower.doubt)

    def _apply_rules(self, *, exhausted: bool = False) -> None:
        objective = self._spec.objective
        reported = {
            follower.trial.number: follower.history.best
            for follower in self._running.values()
            if objective.goal is not None and objective.value is ObjectiveValue.BEST  # others may still get worse
            if follower.history.best is not None
        }
        deadline = self._tuning.deadline
        overdue = deadline is not None and datetime.now(UTC) >= deadline
        found = self._results.ending(reported, overdue=overdue, exhausted=exhausted)
        if found is not None:
            self._finish(found)

    def _finish(self, found: Ending) -> None:
        for follower in self._running.values():
            if follower.trial.number == found.winner:
                self._end_trial(follower, TrialStatus.SUCCEEDED, found.reason)
        failed = TuningStatus.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS
        self._end(failed if found.failed else TuningStatus.COMPLETE_IN_PROGRESS, found.reason)

    def _end(self, status: TuningStatus, reason: str) -> None:
        """Move the tuning, unless somebody was faster, and end what runs."""
        try:
            self._platform.registry.tunings.move(self._tuning.id, status, reason)
        except IllegalTransitionError:
            if not self._is_stopped_by_others():
                raise
            return
        tell_moves()
        self._stop_all(_ENDING[status] if status is TuningStatus.STOP_IN_PROGRESS else reason)

    def _stop_all(self, reason: str) -> None:
        self._stopping = reason
        for follower in self._running.values():
            if follower.run.verdict is None:
                self._threads.end(follower.run, TrialStatus.KILLED, reason)

    def _end_trial(self, follower: TrialFollower, verdict: TrialStatus, reason: str) -> None:
        """End one trial for what it has reported; whoever goes on with the tuning knows that it was decided."""
        self._platform.registry.tunings.keep_verdict(follower.trial, verdict, reason)
        self._threads.end(follower.run, verdict, reason)

    def _conclude(self, follower: TrialFollower, cause: ExitCause, message: str) -> None:
        follower.conclude(cause, message, self._results.best)
        self.has_concluded = True
        trial = follower.trial
        is_best = self._results.is_best(trial.objective)
        del self._running[trial.training_id]
        self._ended.pop(trial.training_id, None)
        follower.run.conclude(trial.status, trial.reason, logs_uploaded=follower.logs_uploaded)
        self._results.take(trial, follower.history)
        if trial.status is TrialStatus.KILLED and not self._stopping:  # by somebody else, such as a machine's shutdown
            self._again.append(trial)
        self._page.tell(trial, is_best=is_best)

"""What the flow run of a tuning shows of it while it goes on: a report, and lines on its page."""

import logging
from time import monotonic

from blocks.connections.platform import Platform
from blocks.domain.lifecycle import TRIAL_FAILED, TrialStatus
from blocks.registry.records import Trial, Tuning
from tasks.current_run import has_page
from tasks.page_log import tell_page
from tasks.publishing import publish_report

FIRST_REPORT_SECONDS = 1.0
REPORT_SECONDS = 5.0
REPORT_SHARE_OF_TIME = 20
"""Between two reports passes so many times the time that one takes, however many trials there are to draw."""

TOLD_TRIALS = 100
"""So many trials are told of on the page one by one; later ones only when they are the best, or failed."""

logger = logging.getLogger("makerflow")


class TuningPage:
    """The page of the current flow run, if it has one."""

    def __init__(self, platform: Platform, tuning: Tuning) -> None:
        self._platform, self._tuning = platform, tuning
        self._next_report = monotonic() + FIRST_REPORT_SECONDS
        self._warning = ""

    def tell(self, trial: Trial, *, is_best: bool) -> None:
        """How a trial ended."""
        failed = trial.status in TRIAL_FAILED
        if trial.number > TOLD_TRIALS and not failed and not is_best:
            return
        metric = self._tuning.spec.objective.metric
        value = "" if trial.objective is None else f" {metric}={trial.objective:.6g}"
        best = ", the best so far" if is_best else ""
        why = f": {trial.reason}" if trial.reason and trial.status is not TrialStatus.SUCCEEDED else ""
        level = logging.WARNING if failed else logging.INFO
        tell_page(f"trial {trial.number} {trial.status}{value}{best}{why}", level)

    def warn(self, text: str) -> None:
        """Once for the tuning, for its trials print alike: a minute of output has given no objective."""
        if not self._warning:
            self._warning = text
            logger.warning("%s", text)
            tell_page(text, logging.WARNING)
            self._next_report = 0.0

    def report(self) -> None:
        """Show it as it is now, when that is due."""
        now = monotonic()
        if now < self._next_report or not has_page():
            return
        report_tuning(self._platform, self._tuning.id, self._warning)
        self._next_report = now + max(REPORT_SECONDS, REPORT_SHARE_OF_TIME * (monotonic() - now))


def report_tuning(platform: Platform, tuning_id: str, warning: str = "") -> None:
    """Show the tuning on the flow run's page in the workflow UI, with what it has to be warned of."""
    from tasks.monitoring_report import running_report
    from tasks.tuning_report import tuning_report

    row, trials = platform.registry.tunings.get(tuning_id), platform.registry.tunings.trials(tuning_id)
    report = tuning_report(row, trials, warning, running_report(row, trials, platform.registry.monitoring))
    publish_report(f"tuning-{row.id}", f"Tuning {row.name}: {row.status}", report)

"""The live display of a tuning on a terminal: how far it is, the best trial so far, and as many trials as fit."""

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from blocks.registry.records import Trial
from deployments.cli.fields import duration_text, point_text, value_text
from deployments.cli.live import Picture
from deployments.cli.output import clean
from deployments.cli.tuning_documents import progress_text
from deployments.cli.tuning_progress import Trials, TuningProgress, best_line

HEADINGS = ("TRIAL", "STATUS", "OBJECTIVE", "TIME", "PARAMETERS")
OTHER_LINES = 6
"""Of the picture: what is above the rows of the table, and the line below."""


class LiveTuningDisplay(Picture):
    """A tuning."""

    def __init__(self, console: Console, name: str) -> None:
        super().__init__(console, name)
        self._trials = Trials()
        self._now: TuningProgress | None = None
        self.draw()

    def progress(self, now: TuningProgress) -> None:
        """Show it."""
        with self._lock:
            self._trials.take(now.changed)
            self._now = now

    def parts(self) -> list[RenderableType]:
        """As promised."""
        if self._now is None:
            return [self._head(), *self._noted()]
        now = self._now
        left = self._trials.seconds_left(now) if now.row.ended is None else None
        head = self._head(
            f"  {progress_text(now.row, now.spec.max_trainings)}",
            "" if left is None else f"  about {duration_text(left)} left",
        )
        found: list[RenderableType] = [_line(head), self._bar(now)]
        if best := best_line(now):
            found.append(_line(Text(clean(best), style="bold")))
        found += [_line(Text(clean(note), style="yellow")) for note in self._notes]
        room = max(self._console.size.height - OTHER_LINES - len(self._notes), 1)
        if shown := self._shown(room):
            found.append(_table(shown, now.row.best_number))
        return found

    def _bar(self, now: TuningProgress) -> ProgressBar:
        return ProgressBar(total=now.spec.max_trainings, completed=now.row.completed + now.row.failed, width=40)

    def _shown(self, room: int) -> list[Trial]:
        """Those that run, else the last that have run, by number; no more than there is room for."""
        running = sorted(self._trials.running.values(), key=_number)[:room]
        rest = room - len(running)
        return sorted([*list(self._trials.finished)[-rest:], *running] if rest else running, key=_number)


def _table(trials: list[Trial], best: int | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in HEADINGS:
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    for trial in trials:
        cells = (
            str(trial.number),
            trial.status.value,
            value_text(trial.objective),
            duration_text(trial.training_seconds) if trial.started else "",
            clean(point_text(trial.parameters)),
        )
        table.add_row(*cells, style="bold" if trial.number == best else "")
    return table


def _line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _number(trial: Trial) -> int:
    return trial.number

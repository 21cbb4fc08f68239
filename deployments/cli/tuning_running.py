"""A tuning as what a command runs, shows and stops."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from blocks.connections.platform import open_platform
from deployments.cli import tuning_details
from deployments.cli.subjects import Subject
from deployments.cli.tuning_documents import tuning_summary

if TYPE_CHECKING:
    from blocks.domain.tunings import TuningSpec
    from blocks.registry.records import TuningSummary
    from deployments.cli.tuning_progress import TuningDisplay


class TuningSubject(Subject["TuningSummary"]):
    """A tuning."""

    kind = "tuning"
    kept = "what its trainings have found is kept"

    def get(self, key: str) -> "TuningSummary":
        """As promised."""
        return open_platform().registry.tunings.summary(key)

    def current_spec(self, key: str) -> "TuningSpec":
        """As promised."""
        return open_platform().registry.tunings.get(key).current_spec

    def free_name(self, base: str) -> str:
        """As promised."""
        return open_platform().registry.tunings.free_name(base)

    def creator(self, *, take_up: bool) -> Callable[..., Any]:
        """As promised; a tuning is taken up by its id alone."""
        from flows.tuning import create_tuning

        return create_tuning

    def change(self, id: str, description: str | None, tags: Mapping[str, str] | None) -> "TuningSummary":
        """As promised."""
        from flows.tuning import change_tuning

        return change_tuning(id, description=description, tags=tags)

    def stop(self, id: str) -> None:
        """As promised."""
        from flows.tuning import stop_tuning

        stop_tuning(id)

    def leave(self, id: str) -> None:
        """As promised."""
        from tasks.detached import start_follower

        start_follower(id)  # waits for this process's lease, then goes on

    @contextmanager
    def shown(
        self, find: "Callable[[], TuningSummary | None]", stream: TextIO, name: str, *, in_full: bool
    ) -> Iterator[tuple["TuningDisplay", AbstractContextManager[object]]]:
        """As promised."""
        from deployments.cli.progress import open_display
        from deployments.cli.tuning_observing import TuningObserver
        from deployments.cli.tuning_progress import PlainTuningDisplay

        def live(console: Any) -> "TuningDisplay":
            from deployments.cli.tuning_live import LiveTuningDisplay

            return LiveTuningDisplay(console, name)

        plain: Callable[[TextIO], TuningDisplay] = PlainTuningDisplay
        with open_display(stream, plain, live) as display:
            yield display, TuningObserver(find, display)

    def summary(self, row: "TuningSummary") -> dict[str, Any]:
        """As promised."""
        return tuning_summary(row)

    def document(self, row: "TuningSummary") -> dict[str, Any]:
        """As promised."""
        return tuning_details.read_details(open_platform().registry, row.id).document

    def write_ending(self, row: "TuningSummary") -> None:
        """As promised."""
        tuning_details.write_ending(tuning_details.read_details(open_platform().registry, row.id))

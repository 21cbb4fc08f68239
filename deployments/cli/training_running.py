"""A training as what a command runs, shows and stops."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

from blocks.connections.platform import open_platform
from deployments.cli import documents
from deployments.cli.subjects import Subject
from deployments.cli.training_details import write_ending

if TYPE_CHECKING:
    from blocks.domain.specs import TrainingSpec
    from blocks.registry.records import Training
    from deployments.cli.progress import TrainingDisplay


class TrainingSubject(Subject["Training"]):
    """A training."""

    kind = "training"
    kept = "its checkpoints are kept"

    def get(self, key: str) -> "Training":
        """As promised."""
        return open_platform().registry.trainings.get(key)

    def current_spec(self, key: str) -> "TrainingSpec":
        """As promised."""
        return self.get(key).current_spec

    def free_name(self, base: str) -> str:
        """As promised."""
        return open_platform().registry.trainings.free_name(base)

    def creator(self, *, take_up: bool) -> Callable[..., Any]:
        """As promised."""
        from flows.training import create_training

        return partial(create_training, take_up=take_up)

    def change(self, id: str, description: str | None, tags: Mapping[str, str] | None) -> "Training":
        """As promised."""
        from flows.training import change_training

        return change_training(id, description=description, tags=tags)

    def stop(self, id: str) -> None:
        """As promised."""
        from flows.training import stop_training

        stop_training(id)

    def leave(self, id: str) -> None:
        """As promised."""
        from flows.training import TrainingHandle

        TrainingHandle.detached(id)  # waits for this process's lease, then follows the workers to their end

    @contextmanager
    def shown(
        self, find: Callable[[], "Training | None"], stream: TextIO, name: str, *, in_full: bool
    ) -> Iterator[tuple["TrainingDisplay", AbstractContextManager[object]]]:
        """As promised; in full, plain lines include what the workers print."""
        from deployments.cli.observing import TrainingObserver
        from deployments.cli.progress import PlainDisplay, open_display

        def live(console: Any) -> "TrainingDisplay":
            from deployments.cli.live import LiveDisplay

            return LiveDisplay(console, name)

        plain: Callable[[TextIO], TrainingDisplay] = partial(PlainDisplay, with_output=in_full)
        with open_display(stream, plain, live) as display:
            yield display, TrainingObserver(find, display)

    def summary(self, row: "Training") -> dict[str, Any]:
        """As promised."""
        return documents.training_summary(row)

    def document(self, row: "Training") -> dict[str, Any]:
        """As promised."""
        return documents.training_document(row, open_platform().registry.metrics.names(row.id))

    def write_ending(self, row: "Training") -> None:
        """As promised."""
        write_ending(row, open_platform().registry.metrics.names(row.id))

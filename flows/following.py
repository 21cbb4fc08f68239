"""How a training gets back to whoever asked for it: followed here to its end, or as a handle while another follows."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prefect import Flow
from prefect.exceptions import CancelledRun

from blocks.connections.platform import open_platform
from blocks.domain.errors import AlreadyExistsError, MakerflowError, NotFoundError
from blocks.domain.lifecycle import UNDER_WAY
from blocks.registry.records import Training
from tasks.detached import start_follower
from tasks.engine import run_flow
from tasks.training import refuse_elsewhere, refuse_trial
from tasks.triggering import handed_over


@dataclass(frozen=True)
class TrainingHandle:
    """A training that another process follows."""

    id: str

    @classmethod
    def detached(cls, training_id: str) -> "TrainingHandle":
        """Start a process of its own that follows the training to its end."""
        start_follower(training_id)
        return cls(training_id)

    @classmethod
    def resumed(cls, key: str) -> "TrainingHandle":
        """Have it gone on with as by `resume_training`, by the runner of `makerflow up` or a process of its own.

        Raises:
            NotFoundError: There is no such training.
            InUseError: It is a trial of a tuning.
            InvalidInputError: It runs on another cluster.
        """
        from flows.training_flows import resume_training_flow  # which follow trainings

        row = open_platform().registry.trainings.get(key)
        refuse_trial(row, "resume")
        refuse_elsewhere(row)
        with handed_over(resume_training_flow, row.id) as run:
            pass
        return cls(row.id) if run else cls.detached(row.id)

    def refresh(self) -> Training:
        """The training as it is now."""
        return open_platform().registry.trainings.get(self.id)

    def wait(self) -> Training:
        """Wait for the end; goes on with the training here when the process that followed it died."""
        from flows.training import resume_training  # which gives out handles

        return resume_training(self.id)

    def stop(self) -> Training:
        """Stop it."""
        from flows.training import stop_training  # the same

        return stop_training(self.id)


def run_to_end(flow: Flow[..., Any], argument: object, key: str) -> Training:
    """Run a flow that follows a training; its row tells how it went, unless nothing came of it."""
    trainings = open_platform().registry.trainings
    try:
        run_flow(flow, argument)
    except CancelledRun:
        pass
    except AlreadyExistsError:
        raise
    except MakerflowError:
        with suppress(NotFoundError):
            row = trainings.get(key)
            if row.status not in UNDER_WAY:
                return row
        raise
    return trainings.get(key)

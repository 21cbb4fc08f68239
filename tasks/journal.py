"""What is kept of a flow run that no server sees: what ran, when, how it ended, and its report."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from prefect.exceptions import CancelledRun
from pydantic import BaseModel

from blocks.connections.platform import open_platform
from blocks.domain.errors import TransientError
from blocks.registry.records import FlowRunRecord, StepRecord

logger = logging.getLogger("makerflow")


class Journal:
    """One flow run without a server."""

    def __init__(self, flow_name: str, parameters: dict[str, Any]) -> None:
        self.id = str(uuid.uuid4())
        self._flow_name = flow_name
        self._parameters = {name: _plain(value) for name, value in parameters.items()}
        self._began = datetime.now(UTC)
        self._steps: list[StepRecord] = []
        self.artifacts: dict[str, tuple[str, str]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Write down how long the block took, and how it ended."""
        began = datetime.now(UTC)
        state, message = "COMPLETED", ""
        try:
            yield
        except BaseException as error:
            state, message = failed_state(error), str(error)
            raise
        finally:
            ended = datetime.now(UTC)
            self._steps.append(StepRecord(name=name, state=state, message=message, started=began, ended=ended))

    def begin(self) -> None:
        """Write down that the run began, so that it is known of even when its process is killed.

        Raises:
            TransientError: The registry does not answer.
        """
        open_platform().registry.flow_runs.record(self._record("RUNNING", "", None))

    def keep(self, state: str, message: str) -> None:
        """Keep the run in the registry. Where that cannot be reached it is lost, for the run itself went as it went."""
        record = self._record(state, message, datetime.now(UTC))
        try:
            open_platform().registry.flow_runs.record(record)
        except TransientError as error:
            logger.warning(
                "The run of %s could not be journaled and will not be seen in the UI: %s", record.name, error
            )

    def _record(self, state: str, message: str, ended: datetime | None) -> FlowRunRecord:
        return FlowRunRecord(
            id=self.id,
            flow_name=self._flow_name,
            name=str(self._parameters.get("key") or (self._parameters.get("spec") or {}).get("name") or self.id[:8]),
            parameters=self._parameters,
            state=state,
            message=message,
            started=self._began,
            ended=ended,
            steps=tuple(self._steps),
            artifacts=self.artifacts,
        )


JOURNAL: ContextVar[Journal | None] = ContextVar("journal", default=None)
"""Of the current flow run; None under a server, and outside of any run."""


def failed_state(error: BaseException) -> str:
    """Prefect's word for how something ended that raised this."""
    return "CANCELLED" if isinstance(error, CancelledRun) else "FAILED"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value

"""Where a run's state lies in a pod."""

from pathlib import Path

from blocks.cluster.layout import RunLayout
from blocks.cluster.pod_settings import JOURNAL


class PodLayout(RunLayout):
    """As on one machine, but what only we write lies in a volume that the entry point does not have."""

    @property
    def events(self) -> Path:
        """What the pod tells."""
        return JOURNAL / "events.jsonl"

    @property
    def state(self) -> Path:
        """How far it has come."""
        return JOURNAL / "state.json"

    @property
    def stop(self) -> Path:
        """Nobody asks so: Kubernetes sends a signal."""
        return JOURNAL / "stop.json"

    @property
    def agent_log(self) -> Path:
        """There is none: what our containers print Kubernetes keeps."""
        return JOURNAL / "agent.log"

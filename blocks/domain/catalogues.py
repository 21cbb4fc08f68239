"""What can be chosen from: instance types (flavors), images, provided algorithms."""

import sys
from enum import StrEnum

from pydantic import Field

from blocks.domain.plan import Frozen, Resources, RunImage


class CoreType(StrEnum):
    """What does the computing."""

    CPU = "CPU"
    GPU = "GPU"


class Framework(StrEnum):
    """What an image brings."""

    TENSORFLOW = "TENSORFLOW"
    PYTORCH = "PYTORCH"
    PYTHON = "PYTHON"


class Flavor(Frozen):
    """An instance type: what each worker gets."""

    name: str
    core_type: CoreType
    vcpus: float = Field(gt=0)
    memory_mib: int = Field(gt=0)
    gpus: int = 0

    @property
    def resources(self) -> Resources:
        """The same, as a plan says it."""
        return Resources(vcpus=self.vcpus, memory_mib=self.memory_mib, gpus=self.gpus)


class Image(Frozen):
    """An image: the environment that an entry point runs in.

    Attributes:
        requirements: The locked recipe from which one machine builds it; empty for a bare interpreter.
        python_path: On one machine, an existing interpreter to use as it is instead of building one.
        container: The container image that Kubernetes runs.
    """

    name: str
    core_type: CoreType = CoreType.CPU
    framework: Framework = Framework.PYTHON
    framework_version: str = ""
    python_version: str = f"{sys.version_info.major}.{sys.version_info.minor}"
    requirements: tuple[str, ...] = ()
    python_path: str = ""
    container: str = ""

    @property
    def run_image(self) -> RunImage:
        """The same, as a plan says it."""
        return RunImage(
            name=self.name,
            python=self.python_path or self.python_version,
            requirements=self.requirements,
            container=self.container,
        )

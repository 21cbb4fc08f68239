"""The images that come with the platform: locked recipes of environments that one machine builds.

The pins are those of constraints.txt where both name a package (a test holds them equal). A marker chooses by Python
version, because numpy and scipy have left Python 3.11 behind.
"""

import re
import sys
from enum import StrEnum

from pydantic import Field, field_validator

from blocks.domain.plan import Frozen, RunImage


class CoreType(StrEnum):
    """What does the computing."""

    CPU = "CPU"
    GPU = "GPU"


class Framework(StrEnum):
    """What an image brings."""

    TENSORFLOW = "TENSORFLOW"
    PYTORCH = "PYTORCH"
    PYTHON = "PYTHON"


CONTAINER_NAME = re.compile(
    r"(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    r"[a-z0-9]+(?:(?:\.|__?|-+|/)[a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[a-z0-9+.-]+:[0-9a-f]{32,})?"
)
CATALOGUE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
OUR_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Image(Frozen):
    """An image: the environment that an entry point runs in.

    Attributes:
        requirements: The locked recipe from which one machine builds it; empty for a bare interpreter.
        python_path: On one machine, an existing interpreter to use as it is instead of building one.
        container: The container image that Kubernetes runs.
        container_python: The interpreter in that image, 3.8 or later: a name on its PATH or an absolute path.
    """

    name: str = Field(pattern=CATALOGUE_NAME)
    core_type: CoreType = CoreType.CPU
    framework: Framework = Framework.PYTHON
    framework_version: str = ""
    python_version: str = Field(default=OUR_PYTHON, pattern=r"^3\.\d{1,2}$")
    requirements: tuple[str, ...] = ()
    python_path: str = ""
    container: str = ""
    container_python: str = "python3"

    @field_validator("python_path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise ValueError("an interpreter is named by its absolute path")
        return value

    @field_validator("container")
    @classmethod
    def _container_name(cls, value: str) -> str:
        if value and not CONTAINER_NAME.fullmatch(value):
            raise ValueError("it is no name of a container image, such as registry.example.com/team/trainer:1.0")
        return value

    @property
    def run_image(self) -> RunImage:
        """The same, as a plan says it."""
        return RunImage(
            name=self.name,
            python=self.python_path or self.python_version,
            requirements=self.requirements,
            container=self.container,
            container_python=self.container_python,
        )


NUMPY = ("numpy==2.4.6 ; python_version < '3.12'", "numpy==2.5.5 ; python_version >= '3.12'")

SCIKIT_LEARN = (
    "cloudpickle==3.1.2",
    "joblib==1.6.0",
    "narwhals==2.29.0",
    *NUMPY,
    "pyarrow==26.0.1",
    "scikit-learn==1.9.1",
    "scipy==1.17.1 ; python_version < '3.12'",
    "scipy==1.18.1 ; python_version >= '3.12'",
    "threadpoolctl==3.8.0",
)

# torch pins the libraries of its CUDA builds itself; builds for the CPU have none.
PYTORCH = (
    "filelock==4.2.12",
    "fsspec==2026.9.0",
    "jinja2==3.1.6",
    "markupsafe==3.0.4",
    "mpmath==1.3.0",
    "networkx==3.6.1 ; python_version < '3.12'",
    "networkx==3.7 ; python_version >= '3.12'",
    *NUMPY,
    "setuptools==84.2.1",
    "sympy==1.14.0",
    "torch==2.13.0",
    "typing-extensions==4.16.0",
)

TENSORFLOW = (
    "absl-py==2.5.1",
    "astunparse==1.6.3",
    "certifi==2026.10.18",
    "charset-normalizer==3.5.2",
    "flatbuffers==25.12.19",
    "gast==0.7.0",
    "google-pasta==0.2.0",
    "grpcio==1.85.1",
    "h5py==3.14.0",
    "idna==3.20",
    "keras==3.15.1",
    "libclang==18.1.1",
    "markdown-it-py==4.3.0",
    "mdurl==0.1.2",
    "ml-dtypes==0.6.0",
    "namex==0.1.0",
    *NUMPY,
    "opt-einsum==3.4.0",
    "optree==0.20.0",
    "packaging==26.3",
    "protobuf==7.36.2",
    "pygments==2.21.0",
    "requests==2.34.2",
    "rich==15.0.0",
    "setuptools==84.2.1",
    "six==1.17.0",
    "tensorflow==2.21.0",
    "termcolor==3.3.0",
    "typing-extensions==4.16.0",
    "urllib3==2.8.0",
    "wheel==0.48.0",
    "wrapt==2.5.2",
)

IMAGES = (
    Image(name="python", container=f"python:{OUR_PYTHON}-slim"),
    *(
        Image(name=f"python-{version}", python_version=version, container=f"python:{version}-slim")
        for version in ("3.11", "3.12", "3.13")
    ),
    Image(
        name="scikit-learn",
        framework_version="scikit-learn 1.9.1",
        requirements=SCIKIT_LEARN,
        container=f"makerflow/scikit-learn:1.9.1-python{OUR_PYTHON}",
    ),
    Image(
        name="pytorch",
        framework=Framework.PYTORCH,
        framework_version="2.13.0",
        requirements=PYTORCH,
        container=f"makerflow/pytorch:2.13.0-python{OUR_PYTHON}",
    ),
    Image(
        name="tensorflow",
        framework=Framework.TENSORFLOW,
        framework_version="2.21.0",
        requirements=TENSORFLOW,
        container=f"makerflow/tensorflow:2.21.0-python{OUR_PYTHON}",
    ),
)
"""The first one is the default."""

"""The algorithms that come with the platform: entry points that are run as users' own are."""

from importlib.resources import files
from pathlib import Path

ENTRY_POINT = "train.py"
"""What is run, in the directory of every provided algorithm."""


def algorithm_directory(name: str) -> Path:
    """The directory that holds the provided algorithm `name`, to be staged as the source of a training.

    Raises:
        LookupError: There is no such algorithm; it names those that there are.
    """
    root = Path(str(files(__name__)))
    provided = sorted(path.parent.name for path in root.glob(f"*/{ENTRY_POINT}"))
    if name not in provided:
        raise LookupError(f"There is no provided algorithm {name!r}; there are: {', '.join(provided)}.")
    return root / name

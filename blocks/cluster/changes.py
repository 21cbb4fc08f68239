"""One watch on a directory: which of its files have changed, without looking at any of them."""

import errno
import time
from pathlib import Path
from types import TracebackType

from inotify_simple import INotify, flags

POLL_SECONDS = 0.2
"""How often to look while the kernel cannot tell."""

_ANY_MAY_HAVE_CHANGED = flags.Q_OVERFLOW | flags.IGNORED


class DirectoryWatch:
    """Tells which files of a directory were made, written or removed since it was asked last.

    The kernel tells (inotify). When it has no watches left, every answer is "look yourself", a few times a second.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._inotify = None
        try:
            self._inotify = INotify()
            self._inotify.add_watch(directory, flags.CREATE | flags.MODIFY | flags.MOVED_TO | flags.DELETE)
        except OSError as error:
            self.close()
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOSYS):
                raise

    def changed(self, timeout_seconds: float | None) -> set[str] | None:
        """Wait for a change, at most that long (None: for ever).

        Returns:
            Names of files; empty when the time was over; None when any file may have changed.
        """
        if self._inotify is None:
            time.sleep(POLL_SECONDS if timeout_seconds is None else min(POLL_SECONDS, timeout_seconds))
            return None
        timeout = None if timeout_seconds is None else max(0, round(timeout_seconds * 1000))
        events = list(self._inotify.read(timeout))
        if any(event.mask & _ANY_MAY_HAVE_CHANGED for event in events):
            return None
        return {event.name for event in events}

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def __enter__(self) -> "DirectoryWatch":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

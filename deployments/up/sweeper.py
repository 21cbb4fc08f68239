"""`python -P -m deployments.up.sweeper HOME`: the part that ends last, and ends what the others have left.

Flow runs live in sessions of their own and outlive a runner that dies. In order, the guard ends them; when the guard
was killed, nobody else would.
"""

import signal
import sys
from pathlib import Path

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Wait for the end; sweep if there is no guard any more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    signal.sigwait(SIGNALS)
    from blocks.locks import is_locked  # what is imported only now costs no memory before
    from deployments.up.layout import Layout
    from deployments.up.leftovers import end_descendants
    from deployments.up.parts import ACCESS, RUNNER

    layout = Layout(Path(sys.argv[1]))
    if not is_locked(layout.lock):
        for part in (RUNNER, ACCESS):
            end_descendants(layout, part)


if __name__ == "__main__":
    main()

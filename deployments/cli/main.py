"""The entry of the command `makerflow`.

Exit codes: 0 done (for a training or a tuning: COMPLETE), 1 failed, 2 what was given is wrong, 130 interrupted, 143
ended by SIGTERM.

Everything is imported inside the guard against Ctrl-C, which may come before the first import is over.
"""

import sys

TERMINATED = 143


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code."""
    as_json = "--json" in arguments
    try:
        from deployments.cli.root import answer

        return answer(arguments, as_json=as_json)
    except KeyboardInterrupt as interrupt:
        return _interrupted(str(interrupt) or _nothing_done(arguments), as_json=as_json)


def main() -> None:
    """Run this process's command line."""
    terminated: list[int] = []
    try:
        _interrupt_on_sigterm(terminated)
        code = run(sys.argv[1:])
        _end_quietly()
    except KeyboardInterrupt:  # pressed again while the first press was answered
        code = 130
    sys.exit(TERMINATED if code == 130 and terminated else code)


def _interrupt_on_sigterm(came: list[int]) -> None:
    """SIGTERM is answered as Ctrl-C is; the list tells afterwards whether it came."""
    import signal

    def interrupt(number: int, _frame: object) -> None:
        came.append(number)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, interrupt)


def _nothing_done(arguments: list[str]) -> str:
    starts = arguments[:1] in (["train"], ["tune"]) or arguments[:2] in (["training", "copy"], ["tuning", "copy"])
    return "Interrupted; nothing was started." if starts else "Interrupted."


def _interrupted(message: str, *, as_json: bool) -> int:
    import signal

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed again meanwhile: it is being told already
    from deployments.cli.output import INTERRUPTED, interrupted_document, write, write_document

    write(message, error=True)
    if as_json:
        write_document(interrupted_document(message))
    signal.signal(signal.SIGINT, before)
    return INTERRUPTED


def _end_quietly() -> None:
    """What is left to do cannot be interrupted any more, and is short."""
    import gc
    import signal

    from deployments.cli.output import close_output

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    close_output()
    gc.freeze()  # else the interpreter's end looks once more at all that Prefect has made: half a second

"""The root of all commands, and what becomes of an error in one."""

import logging
import os
from collections.abc import Sequence
from typing import Annotated

import typer

from deployments.cli.failures import report, report_usage
from deployments.cli.loading import CommandInterruptedError, LazyGroup
from deployments.cli.output import flush_output, prepare_output, write

app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich's help takes longer to import than the whole answer may take
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done (a training, a tuning: COMPLETE), 1 failed, 2 wrong input, 130 interrupted. "
    "Every command takes --json. State lies in MAKERFLOW_HOME (~/.makerflow).",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            write(f"makerflow {version('makerflow')}")
        except PackageNotFoundError:
            write("makerflow, not installed: run from its source tree")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """A self-hosted machine-learning life-cycle platform."""


def answer(arguments: Sequence[str], *, as_json: bool) -> int:
    """Run one command line; its exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C, with what to tell where the command knows more than that.
    """
    prepare_output()
    _leave_flow_runs_to_their_pages()
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name="makerflow", standalone_mode=False)
        flush_output()
    except typer.TyperException as error:
        return report_usage(error, as_json=as_json)
    except CommandInterruptedError as error:
        raise KeyboardInterrupt(*error.args) from error
    except typer.Abort as error:
        raise KeyboardInterrupt("Interrupted.") from error
    except Exception as error:  # the process's top: whatever it is becomes a message and an exit code
        return report(error, as_json=as_json)
    return code if isinstance(code, int) else 0


def _leave_flow_runs_to_their_pages() -> None:
    """Print none of what Prefect logs of runs, tracebacks among it, unless asked: commands say how it goes."""
    if "PREFECT_LOGGING_LEVEL" not in os.environ:
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).propagate = False

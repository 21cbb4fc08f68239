"""The entry of the command `makerflow`.

Exit codes: 0 done (for a training: COMPLETE), 1 failed, 2 what was given is wrong, 130 interrupted.
"""

import gc
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from deployments.cli.failures import report, report_usage
from deployments.cli.loading import LazyGroup
from deployments.cli.output import INTERRUPTED, close_output, prepare_output, write

app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich's help takes longer to import than the whole answer may take
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done (a training: COMPLETE), 1 failed, 2 wrong input, 130 interrupted. "
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


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code."""
    as_json = "--json" in arguments
    prepare_output()
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name="makerflow", standalone_mode=False)
    except typer.TyperException as error:
        return report_usage(error, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        write("Interrupted.", error=True)
        return INTERRUPTED
    except Exception as error:  # the process's top: whatever it is becomes a message and an exit code
        return report(error, as_json=as_json)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run this process's command line."""
    code = run(sys.argv[1:])
    close_output()
    gc.freeze()  # else the interpreter's end looks once more at all that Prefect has made: half a second
    sys.exit(code)

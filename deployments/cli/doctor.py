"""`makerflow doctor`: what is wrong with this installation, and what to do about each thing."""

from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from deployments.cli.fields import count_text
from deployments.cli.findings import Finding, problem
from deployments.cli.loading import single_command
from deployments.cli.output import FAILED, AsJson, clean_block, reserved_stdout, write, write_document

app = single_command()

MARKS = {"ok": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}


@app.command()
def doctor(
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also read every cached byte, the whole database, and try each connection.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check this installation; each finding comes with its remedy. The exit code is 1 when there is a problem.

    Looked at: versions, settings, the database, the stores, disk and cache, whether workers can be held to their
    flavor, the cluster and one's rights on it, and what dead processes left behind. What they left half made or half
    removed is removed.
    """
    from deployments.cli.doctor_checks import CHECKS, DEEP_CHECKS, configuration

    findings: list[Finding] = []
    for check in (*CHECKS, *(DEEP_CHECKS if deep else ())):
        with reserved_stdout():
            found = list(_run(check))
        findings += found
        if not as_json:
            for finding in found:
                _write(finding)
        if check is configuration and found[0].level == "problem":
            break
    wrong, doubted = ([one for one in findings if one.level == level] for level in ("problem", "warning"))
    if as_json:
        write_document({"status": "PROBLEMS" if wrong else "OK", "findings": [f.document() for f in findings]})
    else:
        write(f"\n{verdict(len(wrong), len(doubted))}")
    if wrong:
        raise typer.Exit(FAILED)


def _run(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """One check's findings; a check that fails is a finding itself."""
    from deployments.cli.failures import describe

    try:
        yield from check()
    except Exception as error:  # the doctor goes on with the other checks
        remedy = "Mend that, then run `makerflow doctor` again."
        yield problem(check.__name__.replace("_", " "), describe(error).message, remedy)


def verdict(problems: int, warnings: int) -> str:
    """The last line: how much there is to mend, or to be thought of."""
    if problems:
        return f"{count_text(problems, 'problem')}."
    return f"It works; {count_text(warnings, 'warning')}." if warnings else "All is well."


def _write(finding: Finding) -> None:
    write(f"{MARKS[finding.level]}  {finding.check}: {clean_block(finding.message)}")
    if finding.remedy:
        write(f"         -> {clean_block(finding.remedy)}")

"""`makerflow metrics test`: what each line of some output gives, and why a metric is not found in it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.cli.loading import command_group
from deployments.cli.output import FAILED, AsJson, clean, write, write_lines, write_listing, write_table

if TYPE_CHECKING:
    from blocks.domain.metric_hints import Diagnosis
    from deployments.cli.metrics_reading import Reading

HELP = "Try out what finds metrics in output: expressions on a file or a training."
SHOWN = 20

app = command_group(HELP)


@app.callback(help=HELP)
def _group() -> None:
    """With one command only, typer would leave out its name."""


@app.command("test")
def try_out(
    source: Annotated[
        str, typer.Argument(metavar="FILE|TRAINING|-", help="A file, a training or a trial by name or id, or stdin.")
    ],
    *,
    expression: Annotated[
        list[str] | None,
        typer.Option(help="A regular expression (RE2); repeatable. Else the training's, or the default.", metavar="RE"),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="The metric that is to be found. Else a trial's objective.", show_default=False)
    ] = "",
    rank: Annotated[int, typer.Option(help="Which worker of a training.", min=0)] = 0,
    show_all: Annotated[bool, typer.Option("--all", help=f"Show all reports, not the first {SHOWN} only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what each line of output gives: which metric, which value, at which step.

    When the metric (or any) is not found, show the lines that nearly report it and what to do. Exit code 0 when a
    finite number of it was found, 1 when not.
    """
    from deployments.cli.metrics_reading import Reading
    from deployments.cli.metrics_source import open_source

    checked = _checked(expression or [])
    with open_source(source, rank) as opened:
        sought = metric or opened.sought
        used = checked or opened.expressions
        reading = Reading(used, sought)
        reports = reading.reports(opened.pieces, None if show_all else SHOWN)
        if as_json:
            head = {"source": opened.name, "metric": sought or None, "expressions": list(used)}
            items = (report.document() for report in reports)
            write_listing(head, "reports", items, reading.document)
        else:
            write_lines(_lines(report.row() for report in reports), live=not show_all)
            _write_rest(reading)
    if not reading.found:
        raise typer.Exit(FAILED)


def _checked(expressions: list[str]) -> list[str]:
    from blocks.domain.errors import InvalidInputError
    from blocks.domain.metrics import check_expressions
    from blocks.domain.spec_groups import MAX_METRIC_EXPRESSIONS

    if len(expressions) > MAX_METRIC_EXPRESSIONS:
        why = f"at most {MAX_METRIC_EXPRESSIONS} are allowed (given: {len(expressions)})"
        raise InvalidInputError("--expression", why, "Join some of them with |.")
    check_expressions(expressions)
    return expressions


def _lines(rows: Iterator[tuple[str, str, str, str]]) -> Iterator[str]:
    """Rows as they come, so that output that still grows is shown as it does."""
    for number, row in enumerate(rows):
        if not number:
            yield f"{'LINE':>8}  {'STEP':>8}  {'METRIC':<24}  VALUE"
        line, step, name, text = row
        yield f"{line:>8}  {step:>8}  {clean(name):<24}  {text}"


def _write_rest(reading: "Reading") -> None:
    from deployments.cli.metrics_reading import HEADINGS

    if reading.not_shown:
        write(f"{'...':>8}  {reading.not_shown:,} more reports (--all shows them)")
    if reading.tallies:
        write("")
        write_table(HEADINGS, [tally.row(name) for name, tally in reading.tallies.items()], empty="")
        write("")
    if not reading.found:
        _write_diagnosis(reading.diagnosis())


def _write_diagnosis(diagnosis: "Diagnosis") -> None:
    write(clean(diagnosis.message))
    for number, line in enumerate(diagnosis.lines):
        write(f"  {'The closest line' if not number else 'Also'}: {clean(line)}")
    write(f"What to do: {clean(diagnosis.suggestion)}")

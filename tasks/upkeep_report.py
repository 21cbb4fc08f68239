"""What one upkeep did, as the workflow UI shows it."""

from blocks.upkeep.findings import UpkeepReport
from tasks.markdown import table


def upkeep_report(report: UpkeepReport) -> str:
    """Markdown of a report that found something: how much of what, and each finding."""
    counts = table(("What", "Findings"), [(kind, str(count)) for kind, count in report.counts.items() if count])
    rows = [finding.row for finding in report.findings]
    head = "Nothing was changed.\n\n" if report.dry_run else ""
    return f"{head}{counts}\n\n{table(('What', 'Which', 'Found', 'Done'), rows)}"

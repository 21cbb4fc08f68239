"""What one upkeep did, as the workflow UI shows it."""

from blocks.upkeep.findings import Finding, UpkeepReport
from tasks.markdown import table


def upkeep_report(report: UpkeepReport) -> str:
    """Markdown: how much of what, and each finding."""
    if not report.findings:
        return "Registry, cluster, disk and workflow server agree; nothing was to be done."
    counts = table(("What", "Findings"), [(kind, str(count)) for kind, count in report.counts.items() if count])
    rows = [(one.kind.value, one.name or one.id, one.found, _done(one)) for one in report.findings]
    head = "Nothing was changed.\n\n" if report.dry_run else ""
    return f"{head}{counts}\n\n{table(('What', 'Which', 'Found', 'Done'), rows)}"


def _done(finding: Finding) -> str:
    return f"FAILED: {finding.done}" if finding.failed else finding.done
